package policy

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/tiergate/tiergate"
)

// A Failure is one way in which the policy in force gave no usable answer: it conflicted
// with itself, gave none, or one of the wrong shape. It is for operators: its message may
// quote the policy and what callers said.
type Failure struct {
	EntryPoint string `json:"entryPoint"` // such as "data.tiergate.access.decision"
	Problem
	Count int64     `json:"count"`
	Last  time.Time `json:"last"`
}

// PublicMessage returns what a caller may be told about an error of Access or Limits: one
// of a few sentences that never change with the question and tell nothing about the
// policy. It is "" for nil.
func PublicMessage(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*tiergate.Error](err); ok && e.Code != tiergate.Invalid {
		return e.Message
	}
	return noAnswer
}

const noAnswer = "the policy gave no usable answer"

// failed notes that an entry point gave no usable answer, and returns the error to answer
// with, whose cause is for operators.
func (e *Engine) failed(p *entryPoint, err error) error {
	f := &failure{p.problem(err), err}
	e.failures.note(p.name, f.Problem, kindOf(err), time.Now())
	return tiergate.Errorf(tiergate.Internal, noAnswer).Because(f)
}

// A failure is the cause of what failed returns.
type failure struct {
	Problem
	err error
}

func (f *failure) Error() string { return f.String() }

func (f *failure) Unwrap() error { return f.err }

// problem says where in the policy an error comes from: the place that OPA names, else the
// rule that answers.
func (p *entryPoint) problem(err error) Problem {
	at, message := p.rule, p.name+": "+err.Error()
	if e, ok := errors.AsType[*topdown.Error](err); ok {
		message = p.name + ": " + strings.Join(strings.Fields(e.Message), " ") // one line
		if e.Location != nil {
			at = e.Location
		}
	}
	problem := Problem{Message: cut(message, maxFailureBytes)}
	if at != nil {
		problem.File, problem.Row, problem.Col = at.File, at.Row, at.Col
	}
	return problem
}

// kindOf is what errors of one kind have in common, whatever the question was.
func kindOf(err error) string {
	if e, ok := errors.AsType[*topdown.Error](err); ok {
		return e.Code
	}
	if w, ok := errors.AsType[*wrongAnswer](err); ok {
		return w.what
	}
	return cut(err.Error(), 40)
}

// A wrongAnswer is an answer that is not of the shape that it must have.
type wrongAnswer struct {
	what string
	got  string // what the policy said; "" when that says nothing
}

func (w *wrongAnswer) Error() string {
	if w.got == "" {
		return w.what
	}
	return w.what + ": " + w.got
}

// wrong makes a wrongAnswer about a term.
func wrong(got *ast.Term, format string, args ...any) error {
	return &wrongAnswer{fmt.Sprintf(format, args...), cut(got.String(), 80)}
}

func cut(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "") }

// Bounds of what is remembered of failures.
const (
	maxFailures     = 8   // different ones
	maxFailureBytes = 400 // of a message
)

// failureLog counts failures and remembers the last different ones. The zero value is
// ready to use; it is safe for concurrent use.
type failureLog struct {
	mu     sync.Mutex
	counts map[string]int64 // by entry point
	last   []notedFailure
}

type notedFailure struct {
	Failure
	kind string
}

func (l *failureLog) note(point string, problem Problem, kind string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counts == nil {
		l.counts = map[string]int64{}
	}
	l.counts[point]++
	i := slices.IndexFunc(l.last, func(f notedFailure) bool {
		return f.EntryPoint == point && f.kind == kind && f.File == problem.File && f.Row == problem.Row && f.Col == problem.Col
	})
	if i < 0 && len(l.last) < maxFailures {
		i, l.last = len(l.last), append(l.last, notedFailure{})
	} else if i < 0 {
		for j := range l.last { // in place of the one that was seen longest ago
			if i < 0 || l.last[j].Last.Before(l.last[i].Last) {
				i = j
			}
		}
		l.last[i] = notedFailure{}
	}
	f := &l.last[i]
	f.Failure = Failure{EntryPoint: point, Problem: problem, Count: f.Count + 1, Last: now}
	f.kind = kind
}

// read returns how often each entry point has failed, and the last different failures, the
// newest first.
func (l *failureLog) read() (map[string]int64, []Failure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var last []Failure
	for _, f := range l.last {
		last = append(last, f.Failure)
	}
	slices.SortStableFunc(last, func(a, b Failure) int {
		return cmp.Or(b.Last.Compare(a.Last), strings.Compare(a.Message, b.Message))
	})
	return maps.Clone(l.counts), last
}
