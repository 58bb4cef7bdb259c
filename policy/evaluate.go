package policy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/tiergate/tiergate"
)

// An entryPoint is one prepared query and what it depends on.
type entryPoint struct {
	breaker  int    // which of the engine's breakers is its own
	name     string // such as "data.tiergate.access.decision"
	query    ast.Body
	compiler ast.QueryCompiler
	reads    projection
}

const answerVar = ast.Var("answer")

func prepare(c *ast.Compiler, name string, breaker int) (*entryPoint, error) {
	ref, err := ast.ParseRef(name)
	if err != nil {
		return nil, err
	}
	qc := c.QueryCompiler()
	query, err := qc.Compile(ast.NewBody(ast.Equality.Expr(ast.NewTerm(ref), ast.NewTerm(answerVar))))
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", name, err)
	}
	return &entryPoint{breaker: breaker, name: name, query: query, compiler: qc, reads: project(c, ref)}, nil
}

// A stopwatch stops one evaluation at a time when its time is over. OPA asks it between
// expressions; it costs no goroutine.
//
// The deadline is by the wall clock, and on a busy machine a goroutine may lose the
// processor for longer than that. So an evaluation that has done next to nothing by its
// deadline is taken for starved, not for greedy, and has patience deadlines.
type stopwatch struct {
	over   atomic.Bool // the deadline has passed
	timer  *time.Timer
	asked  int // how often OPA has asked; by the evaluating goroutine only
	last   time.Time
	greedy bool // the answer was "stop" once
}

const (
	greedyAsks      = 2000 // expressions: well over what a deadline is for
	defaultPatience = 100  // deadlines
)

// Cancel marks the deadline.
func (s *stopwatch) Cancel() { s.over.Store(true) }

// Cancelled reports whether the evaluation must stop.
func (s *stopwatch) Cancelled() bool {
	s.asked++
	if !s.over.Load() {
		return false
	}
	s.greedy = s.greedy || s.asked > greedyAsks || time.Now().After(s.last)
	return s.greedy
}

var stopwatches = sync.Pool{New: func() any { return &stopwatch{} }}

// startStopwatch takes one that runs for d, and for patience times d when starved.
func startStopwatch(d time.Duration, patience int) *stopwatch {
	s := stopwatches.Get().(*stopwatch)
	s.asked, s.greedy, s.last = 0, false, time.Now().Add(d*time.Duration(patience))
	if s.timer == nil {
		s.timer = time.AfterFunc(d, s.Cancel)
	} else {
		s.timer.Reset(d)
	}
	return s
}

// stop gives the stopwatch back. One that has rung, or may be about to, is thrown away.
func (s *stopwatch) stop() {
	if s.timer.Stop() {
		stopwatches.Put(s)
	}
}

// A breaker rests a policy that overruns again and again, so that it cannot take all the
// machine's time: what is cached is answered, the rest is refused for a moment.
type breaker struct {
	overruns atomic.Int32 // in a row
	until    atomic.Int64 // resting until this time, in Unix nanoseconds; 0 is not
}

const (
	breakAfter = 3 // overruns in a row
	restFor    = time.Second
)

func (b *breaker) resting() bool {
	until := b.until.Load()
	return until != 0 && time.Now().UnixNano() < until
}

func (b *breaker) overran() {
	if b.overruns.Add(1) >= breakAfter {
		b.until.Store(time.Now().Add(restFor).UnixNano())
	}
}

func (b *breaker) finished() {
	if b.overruns.Load() != 0 {
		b.overruns.Store(0)
		b.until.Store(0)
	}
}

// errUndefined is returned by evaluate when the entry point has no value.
var errUndefined = errors.New("undefined")

// evaluate answers one entry point for one input document, under the deadline and with no
// more than the allowed number of others at once.
func (e *Engine) evaluate(p *entryPoint, input *ast.Term) (*ast.Term, error) {
	breaker := &e.breakers[p.breaker]
	if breaker.resting() {
		return nil, tiergate.Errorf(tiergate.Unavailable,
			"%s overran its deadline of %s %d times in a row and rests for %s", p.name, e.settings.Deadline, breakAfter, restFor)
	}
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	watch := startStopwatch(e.settings.Deadline, e.settings.patience)
	defer watch.stop()
	e.evaluations.Add(1)

	answer, err := e.run(p, input, watch)
	switch {
	case topdown.IsCancel(err):
		breaker.overran()
		e.overruns.Add(1)
		return nil, tiergate.Errorf(tiergate.Unavailable, "%s overran its deadline of %s", p.name, e.settings.Deadline)
	case err != nil:
		breaker.finished()
		return nil, fmt.Errorf("evaluate %s: %w", p.name, err)
	}
	breaker.finished()
	if answer == nil {
		return nil, fmt.Errorf("evaluate %s: %w", p.name, errUndefined)
	}
	return answer, nil
}

// run evaluates; a panic inside OPA is an error of this evaluation alone.
func (e *Engine) run(p *entryPoint, input *ast.Term, watch *stopwatch) (answer *ast.Term, err error) {
	defer func() {
		if bug := recover(); bug != nil {
			answer, err = nil, fmt.Errorf("the evaluator broke: %v", bug)
		}
	}()
	err = topdown.NewQuery(p.query).
		WithQueryCompiler(p.compiler).
		WithCompiler(e.compiler).
		WithStore(e.store).
		WithTransaction(e.txn).
		WithInput(input).
		WithCancel(watch).
		WithMetrics(metrics.NoOp()).
		Iter(context.Background(), func(result topdown.QueryResult) error {
			answer = result[answerVar]
			return nil
		})
	return answer, err
}

// enter waits for a place among the evaluations, at most for as long as one may take.
func (e *Engine) enter() error {
	select {
	case e.places <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(e.settings.Deadline * maxQueue)
	defer timer.Stop()
	select {
	case e.places <- struct{}{}:
		return nil
	case <-timer.C:
		return tiergate.Errorf(tiergate.Unavailable, "%d policy evaluations are under way and none ended in time", cap(e.places))
	}
}

func (e *Engine) leave() { <-e.places }

// maxQueue is how many deadlines an evaluation waits for its place.
const maxQueue = 4
