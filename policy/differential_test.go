package policy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	oparego "github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
	"github.com/tiergate/tiergate/policy"
	"github.com/tiergate/tiergate/rego"
)

// oracleData are the demo's tiers as the oracle has them.
const oracleData = `{"tiergate": {"definitions": {"limits": {}, "config": {"b": 1},
		"tiers": {"free": {"key": "free", "name": "Free", "rank": 0}, "pro": {"key": "pro", "name": "Pro", "rank": 10},
		          "enterprise": {"key": "enterprise", "name": "Enterprise", "rank": 20}}}}}`

// An oracle answers by plain evaluation of the whole input, with OPA's own front door. It
// knows nothing of projections, of caches and of how an Engine builds its input.
type oracle struct {
	tier, access, limits oparego.PreparedEvalQuery
	known                map[oracleQuestion]oracleAnswer
}

type oracleQuestion struct {
	query    *oparego.PreparedEvalQuery
	document string // the whole input, with the resolved tier
}

type oracleAnswer struct {
	value any
	err   error
}

func newOracle(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, modules map[string]string,
) *oracle {
	t.Helper()
	parsed, own := map[string]*ast.Module{}, map[string]bool{}
	for path, text := range modules {
		parsed[path] = ast.MustParseModule(text)
		own[parsed[path].Package.String()] = true
	}
	for path, m := range builtinOfOracle() {
		if !own[m.Package.String()] {
			parsed[path] = m
		}
	}
	compiler := ast.NewCompiler()
	if compiler.Compile(parsed); compiler.Failed() {
		t.Fatalf("the oracle refuses the policy: %v", compiler.Errors)
	}
	store := inmem.NewFromReader(strings.NewReader(oracleData))
	o := &oracle{known: map[oracleQuestion]oracleAnswer{}}
	for query, into := range map[string]*oparego.PreparedEvalQuery{
		"data.tiergate.subject.tier": &o.tier, "data.tiergate.access.decision": &o.access, "data.tiergate.limits.limits": &o.limits,
	} {
		prepared, err := oparego.New(oparego.Query(query), oparego.Compiler(compiler), oparego.Store(store)).PrepareForEval(context.Background())
		if err != nil {
			t.Fatalf("the oracle refuses the policy: %v", err)
		}
		*into = prepared
	}
	return o
}

var builtinOfOracle = sync.OnceValue(func() map[string]*ast.Module {
	out := map[string]*ast.Module{}
	for path, text := range rego.Modules() {
		out[path] = ast.MustParseModule(text)
	}
	return out
})

var errOracleUndefined = errors.New("undefined")

func (o *oracle) eval(q *oparego.PreparedEvalQuery, document string) (any, error) {
	if known, ok := o.known[oracleQuestion{q, document}]; ok {
		return known.value, known.err
	}
	var input any
	dec := json.NewDecoder(strings.NewReader(document))
	dec.UseNumber()
	if err := dec.Decode(&input); err != nil {
		return nil, err
	}
	set, err := q.Eval(context.Background(), oparego.EvalInput(input))
	var value any
	switch {
	case err != nil:
	case len(set) == 0:
		err = errOracleUndefined
	default:
		value = set[0].Expressions[0].Value
	}
	o.known[oracleQuestion{q, document}] = oracleAnswer{value, err}
	return value, err
}

func (o *oracle) decide(q *question, tier string) (policy.Access, error) {
	value, err := o.eval(&o.access, q.document(&tier))
	if err != nil {
		return policy.Access{}, err
	}
	decision := value.(map[string]any)
	variant, _ := decision["variant"].(string)
	return policy.Access{Tier: tier, Allow: decision["allow"].(bool), Reason: decision["reason"].(string), Variant: variant}, nil
}

func (o *oracle) applying(q *question, tier string) ([]policy.Limit, error) {
	value, err := o.eval(&o.limits, q.document(&tier))
	if err != nil {
		return nil, err
	}
	limits := []policy.Limit{}
	for _, item := range value.([]any) {
		l := item.(map[string]any)
		amount, err := l["amount"].(json.Number).Int64()
		if err != nil {
			return nil, err
		}
		limits = append(limits, policy.Limit{
			Key: l["key"].(string), Kind: tiergate.LimitKind(l["kind"].(string)), Scope: l["scope"].(string), Amount: amount, Cost: 1, OnUnavailable: "deny",
		})
	}
	return limits, nil
}

func (o *oracle) answer(q *question) (policy.Access, error) {
	tier, err := o.eval(&o.tier, q.document(nil))
	if err != nil {
		return policy.Access{}, err
	}
	answer, err := o.decide(q, tier.(string))
	if err != nil || answer.Allow {
		return answer, err
	}
	for _, other := range []string{"free", "pro", "enterprise"} {
		if other == answer.Tier {
			continue
		}
		upgraded, err := o.decide(q, other)
		if err != nil {
			return policy.Access{}, err
		}
		if upgraded.Allow {
			answer.Upgrade = other
			break
		}
	}
	return answer, nil
}

// A tally counts what the property has done.
type tally struct {
	policies, bare int
	access, limits agreement
	counts         map[string]int
}

// An agreement counts comparisons of one entry point. There are no disagreements: the
// first ends the test.
type agreement struct{ compared, hits, errors int }

func (a agreement) String() string {
	return fmt.Sprintf("%d (%d hits, %d errors alike)", a.compared, a.hits, a.errors)
}

// comparisons is how many comparisons a run makes, from the environment when it says so.
func comparisons(t testing.TB, otherwise int) int {
	text := os.Getenv("TIERGATE_DIFFERENTIAL")
	if text == "" && testing.Short() {
		return otherwise / 10
	}
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("TIERGATE_DIFFERENTIAL: %v", err)
	}
	return n
}

// The answers through the projection and the cache are those of plain evaluation, whatever
// the policy and the input.
func TestDifferential_cached_against_plain(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // policies are garbage soon
	want := comparisons(t, usualComparisons)
	total := &tally{counts: map[string]int{}}
	questions := 46
	if want >= 500_000 {
		questions = 300 // a long run asks more of each policy too
	}
	all := agreement{}
	for all.compared < want {
		rapid.Check(t, func(rt *rapid.T) { compare(rt, total, questions) })
		if t.Failed() {
			return
		}
		all = agreement{
			total.access.compared + total.limits.compared, total.access.hits + total.limits.hits, total.access.errors + total.limits.errors,
		}
	}
	t.Logf("differential: %d comparisons, %d hits, 0 differences, %d errors alike; access %s, limits %s; %d policies, %d of whose entry points read the whole input; %v",
		all.compared, all.hits, all.errors, total.access, total.limits, total.policies, total.bare, total.counts)
	if all.hits*2 < all.compared {
		t.Errorf("only %d of %d comparisons were hits", all.hits, all.compared)
	}
	if all.errors*10 > all.compared {
		t.Errorf("%d of %d comparisons were of errors, which say little", all.errors, all.compared)
	}
	for _, c := range constructs {
		if least := 500 * min(want, usualComparisons) / usualComparisons; want > 6100 && total.counts[c.name] < least {
			t.Errorf("%q was generated %d times, less than %d", c.name, total.counts[c.name], least)
		}
	}
}

const usualComparisons = 55_000

// compare draws a policy, and questions each of which differs little from one before.
func compare(rt *rapid.T, total *tally, questions int) {
	g := &generator{rt: rt, counts: total.counts}
	modules := g.policyText()
	settings := policy.Settings{CacheBytes: 1 << 20, Deadline: 10 * time.Second}
	defs := demoDefinitions()
	defs.Limits, defs.Config = nil, json.RawMessage(`{"b": 1}`)
	e, err := settings.Compile(modules, defs)
	if err != nil {
		rt.Fatalf("the generator wrote a policy that is refused: %v\n%s", err, texts(modules))
	}
	total.policies++
	for _, reads := range e.Reads() {
		if reads == "input" {
			total.bare++
		}
	}
	c := &comparison{rt: rt, engine: e, oracle: newOracle(rt, modules), modules: modules, first: map[*policy.Feature]policy.Access{}}
	asked := []question{drawQuestion(rt)}
	for range questions {
		q := asked[rapid.IntRange(0, len(asked)-1).Draw(rt, "like")]
		switch rapid.IntRange(0, 4).Draw(rt, "again") {
		case 1, 2:
			q.change(rt, rapid.IntRange(0, questionParts-1).Draw(rt, "part"))
		case 3:
			q.twist(rt)
		}
		asked = append(asked, q)
		tier := c.access(&q, &total.access)
		c.limits(&q, tier, &total.limits)
	}
}

// A comparison holds one engine against the oracle of the same policy.
type comparison struct {
	rt      *rapid.T
	engine  *policy.Engine
	oracle  *oracle
	modules map[string]string
	parser  jsonvalue.Parser
	first   map[*policy.Feature]policy.Access // an answer about each
}

// access compares a decision and returns the tier in it, "free" where there is none.
func (c *comparison) access(q *question, count *agreement) string {
	in := q.input(&c.parser)
	before := c.engine.Misses()
	got, gotErr := c.engine.Access(in)
	want, wantErr := c.oracle.answer(q)
	if c.alike(q, want.Tier, fmt.Sprintf("%+v", got), gotErr, fmt.Sprintf("%+v", want), wantErr, before, count) {
		return "free"
	}
	tier := got.Tier
	got.Tier = ""
	if before, seen := c.first[in.Feature]; seen && before != got && !c.engine.CallerMatters(in.Feature) {
		c.rt.Fatalf("the caller does not matter, but Access = %+v after %+v\n%s", got, before, texts(c.modules))
	}
	c.first[in.Feature] = got
	return tier
}

func (c *comparison) limits(q *question, tier string, count *agreement) {
	before := c.engine.Misses()
	got, gotErr := limitsOf(c.engine, q.input(&c.parser), tier)
	want, wantErr := c.oracle.applying(q, tier)
	c.alike(q, tier, fmt.Sprintf("%+v", got), gotErr, fmt.Sprintf("%+v", want), wantErr, before, count)
}

// alike counts a comparison, which fails unless both sides have said the same, and reports
// whether what they have said is an error.
func (c *comparison) alike(q *question, tier, got string, gotErr error, want string, wantErr error, misses int64, count *agreement) bool {
	count.compared++
	if c.engine.Misses() == misses {
		count.hits++
	}
	if gotErr != nil && wantErr != nil {
		count.errors++
		return true
	}
	if got != want || gotErr != nil || wantErr != nil {
		c.rt.Fatalf("engine = %s, %v\nplain  = %s, %v\nreads %v\ninput %s\n%s", got, gotErr, want, wantErr, c.engine.Reads(), q.document(&tier), texts(c.modules))
	}
	return false
}

func texts(modules map[string]string) string {
	out := ""
	for path, text := range modules {
		out += "== " + path + "\n" + text + "\n"
	}
	return out
}
