package policy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/tiergate/tiergate"
)

// An entryPoint is one prepared query and what it depends on.
type entryPoint struct {
	name     string // such as "data.tiergate.access.decision"
	query    ast.Body
	compiler ast.QueryCompiler
	reads    projection
	rule     *ast.Location // of the rule that answers; nil when there is none
}

const answerVar = ast.Var("answer")

func prepare(c *ast.Compiler, name string) (*entryPoint, error) {
	ref, err := ast.ParseRef(name)
	if err != nil {
		return nil, err
	}
	qc := c.QueryCompiler()
	query, err := qc.Compile(ast.NewBody(ast.Equality.Expr(ast.NewTerm(ref), ast.NewTerm(answerVar))))
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", name, err)
	}
	return &entryPoint{name: name, query: query, compiler: qc, reads: project(c, ref), rule: ruleOf(c, ref)}, nil
}

// ruleOf finds where the rule that answers is written: its first branch that is no default.
func ruleOf(c *ast.Compiler, ref ast.Ref) *ast.Location {
	var at *ast.Location
	for _, rule := range c.GetRulesForVirtualDocument(ref) {
		switch {
		case rule.Location == nil:
		case !rule.Default:
			return rule.Location
		case at == nil:
			at = rule.Location
		}
	}
	return at
}

var (
	errUndefined = errors.New("the answer is undefined")
	errOverrun   = errors.New("the evaluation took too long") // the verdict of a turn
)

// evaluate answers one entry point for one input document, under the deadline.
func (e *Engine) evaluate(t *turn, p *entryPoint, input *ast.Term) (*ast.Term, error) {
	e.evaluations.Add(1)
	t.start()
	answer, err := e.run(p, input, t)
	switch {
	case errors.Is(t.verdict, errOverrun):
		e.overruns.Add(1)
		e.resting.overran(t.who, time.Now())
		return nil, tiergate.Errorf(tiergate.Unavailable, "the policy took too long").
			Because(&failure{p.problem(fmt.Errorf("it overran its deadline of %s", e.settings.Deadline)), errOverrun})
	case t.verdict != nil:
		return nil, t.verdict
	case err != nil:
		return nil, e.failed(p, err)
	case answer == nil:
		return nil, e.failed(p, errUndefined)
	}
	return answer, nil
}

var noMetadata = map[string]any{} // else OPA makes one for each evaluation

// run evaluates; a panic inside OPA is an error of this evaluation alone.
func (e *Engine) run(p *entryPoint, input *ast.Term, t *turn) (answer *ast.Term, err error) {
	defer func() {
		if bug := recover(); bug != nil {
			answer, err = nil, fmt.Errorf("the evaluator broke: %v", bug)
		}
		t.rules.reset() // what it holds is of no use to another, and need not live on in the pool
	}()
	t.rules.Push()
	err = topdown.NewQuery(p.query).
		WithQueryCompiler(p.compiler).
		WithCompiler(e.compiler).
		WithStore(e.store).
		WithTransaction(e.txn).
		WithInput(input).
		WithCancel(t).
		WithMetrics(metrics.NoOp()).
		WithVirtualCache(&t.rules).
		WithBaseCache(&e.definitions).
		WithRequestMetadata(noMetadata).
		WithTime(t.began).
		Iter(context.Background(), func(result topdown.QueryResult) error {
			answer = result[answerVar]
			return nil
		})
	return answer, err
}
