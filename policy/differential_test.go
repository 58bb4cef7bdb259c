package policy_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	oparego "github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"pgregory.net/rapid"

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
	tier, access oparego.PreparedEvalQuery
	known        map[string]oracleAnswer // by the whole input and the resolved tier
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
	for path, text := range rego.Modules() {
		if m := ast.MustParseModule(text); !own[m.Package.String()] {
			parsed[path] = m
		}
	}
	compiler := ast.NewCompiler()
	if compiler.Compile(parsed); compiler.Failed() {
		t.Fatalf("the oracle refuses the policy: %v", compiler.Errors)
	}
	store := inmem.NewFromReader(strings.NewReader(oracleData))
	o := &oracle{known: map[string]oracleAnswer{}}
	for query, into := range map[string]*oparego.PreparedEvalQuery{
		"data.tiergate.subject.tier": &o.tier, "data.tiergate.access.decision": &o.access,
	} {
		prepared, err := oparego.New(oparego.Query(query), oparego.Compiler(compiler), oparego.Store(store)).PrepareForEval(context.Background())
		if err != nil {
			t.Fatalf("the oracle refuses the policy: %v", err)
		}
		*into = prepared
	}
	return o
}

var errOracleUndefined = errors.New("undefined")

func (o *oracle) eval(q *oparego.PreparedEvalQuery, document string) (any, error) {
	if known, ok := o.known[document]; ok {
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
	o.known[document] = oracleAnswer{value, err}
	return value, err
}

func (o *oracle) decide(q *question, tier string) (policy.Access, error) {
	value, err := o.eval(&o.access, q.document(&tier))
	if err != nil {
		return policy.Access{}, err
	}
	decision := value.(map[string]any)
	return policy.Access{Tier: tier, Allow: decision["allow"].(bool), Reason: decision["reason"].(string)}, nil
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
	policies, compared, hits, errors, bare int
	counts                                 map[string]int
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
	want := comparisons(t, 61_000)
	total := &tally{counts: map[string]int{}}
	questions := 56
	if want >= 500_000 {
		questions = 400 // a long run asks more of each policy too
	}
	for total.compared < want {
		rapid.Check(t, func(rt *rapid.T) { compare(rt, total, questions) })
		if t.Failed() {
			return
		}
	}
	t.Logf("%d policies (%d read the whole input), %d comparisons, %d hits, %d errors alike; %v",
		total.policies, total.bare, total.compared, total.hits, total.errors, total.counts)
	if total.hits*2 < total.compared {
		t.Errorf("only %d of %d comparisons were hits", total.hits, total.compared)
	}
	for _, c := range constructs {
		if least := 500 * min(want, 61_000) / 61_000; want > 6100 && total.counts[c.name] < least {
			t.Errorf("%q was generated %d times, less than %d", c.name, total.counts[c.name], least)
		}
	}
}

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
	if e.Stats().AccessReads == "input" {
		total.bare++
	}
	o := newOracle(rt, modules)
	asked := []question{drawQuestion(rt)}
	first := map[*policy.Feature]policy.Access{}
	var parser jsonvalue.Parser
	for range questions {
		q := asked[rapid.IntRange(0, len(asked)-1).Draw(rt, "like")]
		switch rapid.IntRange(0, 3).Draw(rt, "again") {
		case 1, 2:
			q.change(rt, rapid.IntRange(0, questionParts-1).Draw(rt, "part"))
		case 3:
			q.twist(rt)
		}
		asked = append(asked, q)
		in := q.input(&parser)
		before := e.Misses()
		got, gotErr := e.Access(in)
		want, wantErr := o.answer(&q)
		total.compared++
		if e.Misses() == before {
			total.hits++
		}
		if gotErr != nil && wantErr != nil {
			total.errors++
			continue
		}
		if got != want || (gotErr == nil) != (wantErr == nil) {
			rt.Fatalf("Access = %+v, %v\nplain  = %+v, %v\nreads %s\ninput %s\n%s", got, gotErr, want, wantErr, e.Stats().AccessReads, q.document(&want.Tier), texts(modules))
		}
		got.Tier, want.Tier = "", ""
		if before, seen := first[in.Feature]; seen && before != got && !e.CallerMatters(in.Feature) {
			rt.Fatalf("the caller does not matter, but Access = %+v after %+v\n%s", got, before, texts(modules))
		}
		first[in.Feature] = got
	}
}

func texts(modules map[string]string) string {
	out := ""
	for path, text := range modules {
		out += "== " + path + "\n" + text + "\n"
	}
	return out
}
