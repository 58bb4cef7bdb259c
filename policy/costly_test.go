package policy_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/policy"
)

// greedy takes far longer than any deadline for an attribute that a caller chooses.
const greedy = `l := numbers
numbers := [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]
decision := {"allow": true, "reason": sprintf("fast %v", [input.attributes.n])} if not input.attributes.slow
decision := {"allow": count(x) > 0, "reason": "slow"} if {
	input.attributes.slow
	x := [1 | some a in l; some b in l; some c in l; some d in l; some e in l; some f in l; a + b + c + d + e + f > input.attributes.n]
}`

// ask makes a question of a user, "" for nobody, that nobody has asked before when n is new.
func ask(t testing.TB, user string, slow bool, n int) *policy.Input {
	t.Helper()
	text := fmt.Sprintf(`{"n": %d}`, n)
	if slow {
		text = fmt.Sprintf(`{"n": %d, "slow": true}`, n)
	}
	return &policy.Input{Feature: everyone, Subject: policy.Subject{UserID: user}, Attributes: attributesOf(t, text)}
}

// A question that overruns is stopped, is not remembered, and is told to the caller in a
// sentence that says nothing of the policy.
func TestEngine_overrun(t *testing.T) {
	e := compileAccess(t, policy.Settings{Deadline: time.Millisecond}, greedy)
	_, err := e.Access(ask(t, "x", true, 1000))
	if tiergate.CodeOf(err) != tiergate.Unavailable || !strings.Contains(err.Error(), "data.tiergate.access.decision: it overran its deadline of 1ms") {
		t.Errorf("the overrun is told as %v", err)
	}
	if got := policy.PublicMessage(err); got != "the policy took too long" {
		t.Errorf("callers are told %q", got)
	}
	if s := e.Stats(); s.Overruns != 1 || s.CacheItems != 1 || len(s.Failures) != 0 { // the tier is known
		t.Errorf("Stats = %+v", s)
	}
}

// A caller whose questions overrun again and again, each another one, is soon refused
// without an evaluation. Nobody else notices, and what the caller has asked before is
// answered all the same.
func TestEngine_only_the_caller_of_costly_questions_rests(t *testing.T) {
	e := compileAccess(t, policy.Settings{Deadline: time.Millisecond}, greedy)
	known := ask(t, "x", false, 0)
	if _, err := e.Access(known); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := e.Access(ask(t, "x", true, 1000+i)); tiergate.CodeOf(err) != tiergate.Unavailable {
			t.Fatalf("costly question %d: %v", i, err)
		}
		for _, other := range []string{"y", ""} {
			if got, err := e.Access(ask(t, other, false, i)); err != nil || got.Reason != fmt.Sprint("fast ", i) {
				t.Errorf("%q, who asks something cheap, is answered with %+v, %v", other, got, err)
			}
		}
	}
	before := e.Stats()
	for i, slow := range []bool{true, false} {
		_, err := e.Access(ask(t, "x", slow, 2000+i))
		if tiergate.CodeOf(err) != tiergate.Unavailable || !strings.Contains(policy.PublicMessage(err), "rests") {
			t.Errorf("after three overruns: %v", err)
		}
	}
	if after := e.Stats(); after.Evaluations != before.Evaluations || after.Resting != 1 {
		t.Errorf("%d evaluations for one who rests, %d resting", after.Evaluations-before.Evaluations, after.Resting)
	}
	if got, err := e.Access(known); err != nil || got.Reason != "fast 0" {
		t.Errorf("what is known is answered with %+v, %v", got, err)
	}
	if got, err := e.Access(ask(t, "y", false, 3000)); err != nil || got.Reason != "fast 3000" {
		t.Errorf("somebody else is answered with %+v, %v", got, err)
	}
}

// Where no user is named the question rests, not everybody.
func TestEngine_a_costly_question_of_nobody_rests(t *testing.T) {
	e := compileAccess(t, policy.Settings{Deadline: time.Millisecond}, greedy)
	for range 3 {
		if _, err := e.Access(ask(t, "", true, 1000)); tiergate.CodeOf(err) != tiergate.Unavailable {
			t.Fatal(err)
		}
	}
	before := e.Stats().Evaluations
	if _, err := e.Access(ask(t, "", true, 1000)); tiergate.CodeOf(err) != tiergate.Unavailable || e.Stats().Evaluations != before {
		t.Errorf("the fourth time: %v after %d evaluations", err, e.Stats().Evaluations-before)
	}
	if got, err := e.Access(ask(t, "", false, 5)); err != nil || got.Reason != "fast 5" {
		t.Errorf("another question is answered with %+v, %v", got, err)
	}
}

// Any number of callers whose every question is costly, and who change their names, leave
// room for one who asks cheap ones.
func TestEngine_costly_questions_leave_room(t *testing.T) {
	e := compileAccess(t, policy.Settings{Deadline: 20 * time.Millisecond, Concurrency: 2}, greedy)
	done := make(chan struct{})
	var hostile sync.WaitGroup
	for g := range 6 {
		hostile.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				if _, err := e.Access(ask(t, fmt.Sprintf("x-%d-%d", g, i), true, 1000)); tiergate.CodeOf(err) != tiergate.Unavailable {
					t.Errorf("a costly question is answered with %v", err)
					return
				}
			}
		})
	}
	for e.Stats().Overruns < 3 { // they are at it
		if _, err := patient(e, ask(t, "y", false, 0)); err != nil {
			t.Errorf("y is answered with %v", err)
			break
		}
	}
	for i := range 50 {
		if got, err := patient(e, ask(t, "y", false, i)); err != nil || got.Reason != fmt.Sprint("fast ", i) {
			t.Errorf("question %d of y is answered with %+v, %v", i, got, err)
		}
	}
	close(done)
	hostile.Wait()
}

// patient asks again a few times: on a busy machine a whole process may stand still for as long
// as a question waits for its turn.
func patient(e *policy.Engine, in *policy.Input) (got policy.Access, err error) {
	for range 5 {
		if got, err = e.Access(in); tiergate.CodeOf(err) != tiergate.Unavailable {
			break
		}
	}
	return got, err
}

// Who manages and overruns rests alone, too.
func TestEngine_AllowAdmin_overrun(t *testing.T) {
	e, err := policy.Settings{Deadline: time.Millisecond}.Compile(map[string]string{"admin.rego": `package tiergate.admin
l := numbers
numbers := [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]
allow if input.caller.id == "y"
allow if {
	input.caller.id == "x"
	count([1 | some a in l; some b in l; some c in l; some d in l; some e in l; some f in l; a + b + c + d + e + f > 1000]) > 0
}`}, demoDefinitions())
	if err != nil {
		t.Fatal(err)
	}
	may := func(id string) (bool, error) {
		return e.AllowAdmin(t.Context(), policy.AdminInput{Caller: tiergate.Caller{ID: id}, Action: "flags.read"})
	}
	for range 3 {
		if _, err := may("x"); tiergate.CodeOf(err) != tiergate.Unavailable {
			t.Fatal(err)
		}
	}
	if ok, err := may("y"); !ok || err != nil {
		t.Errorf("y may: %t, %v", ok, err)
	}
	if ok, err := may("z"); ok || err != nil { // no answer is a refusal
		t.Errorf("z may: %t, %v", ok, err)
	}
	if _, err := may("x"); err == nil || !strings.Contains(err.Error(), "rests") {
		t.Errorf("x may: %v", err)
	}
}
