package policy_test

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	oparego "github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/policy"
	"github.com/tiergate/tiergate/rego"
)

// A decision that is known.
func BenchmarkAccess_cached(b *testing.B) {
	e := compileDemo(b)
	in := &policy.Input{Feature: reports, Subject: ivanHome}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Access(in); err != nil {
			b.Fatal(err)
		}
	}
}

// A decision that is not: tier and access evaluated, allowed by an exception.
func BenchmarkAccess_uncached(b *testing.B) {
	e, err := policy.Settings{Deadline: time.Second}.Compile(nil, demoDefinitions()) // whatever else the machine does
	if err != nil {
		b.Fatal(err)
	}
	in := &policy.Input{Feature: reports, Subject: ivanHome}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Decide(in); err != nil {
			b.Fatal(err)
		}
	}
}

// A question that nobody has asked: the cache is missed and filled. The subject is on its
// tier for reasons that are known from other questions, as most subjects are.
func BenchmarkAccess_new_question(b *testing.B) {
	e, err := policy.Settings{Deadline: time.Second}.Compile(nil, demoDefinitions()) // whatever else the machine does
	if err != nil {
		b.Fatal(err)
	}
	in := &policy.Input{Subject: ivanHome}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		in.Feature = policy.NewFeature("feature-"+strconv.Itoa(i), "default", tiergate.Boolean, true, []string{"free"}, 100, nil)
		if _, err := e.Access(in); err != nil {
			b.Fatal(err)
		}
	}
	if misses := e.Misses(); misses < int64(b.N) {
		b.Fatalf("%d misses in %d questions", misses, b.N)
	}
}

// The floor of OPA: a rule that is a constant, through its own front door.
func BenchmarkFloor_constant_rule(b *testing.B) {
	benchmarkPlain(b, []string{"data.floor.p"}, map[string]string{"floor.rego": "package floor\n\np := true"}, nil)
}

// The same decision as above by plain OPA: tier and access, each with the whole input.
func BenchmarkFloor_plain_evaluation(b *testing.B) {
	q := question{feature: 3, user: "ivan", userTier: "free", teamTier: "free", team: 2, role: "OWNER", attributes: map[string]string{}}
	tier := "free"
	var input any
	if err := json.Unmarshal([]byte(q.document(&tier)), &input); err != nil {
		b.Fatal(err)
	}
	benchmarkPlain(b, []string{"data.tiergate.subject.tier", "data.tiergate.access.decision"}, rego.Modules(), input)
}

func benchmarkPlain(b *testing.B, queries []string, modules map[string]string, input any) {
	var prepared []oparego.PreparedEvalQuery
	for _, query := range queries {
		options := []func(*oparego.Rego){oparego.Query(query), oparego.Store(inmem.NewFromReader(strings.NewReader(oracleData)))}
		for path, text := range modules {
			options = append(options, oparego.Module(path, text))
		}
		p, err := oparego.New(options...).PrepareForEval(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		prepared = append(prepared, p)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, p := range prepared {
			if set, err := p.Eval(context.Background(), oparego.EvalInput(input)); err != nil || len(set) == 0 {
				b.Fatal(set, err)
			}
		}
	}
}
