package evaluator_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/quota"
)

// Seats are held until there are as many as the tier has, given back, and replaced beyond it;
// an override makes room.
func TestGate_gauges(t *testing.T) {
	ten := int64(10)
	two := tiergate.PutOf(&tiergate.Member{TeamID: "acme", UserID: "bob", Role: tiergate.RoleMember})
	g, c := demoGate(t,
		tiergate.PutOf(&tiergate.Override{ID: "o", TeamID: "globex", LimitKey: "seats", Amount: &ten}),
		tiergate.PutOf(&tiergate.Override{ID: "p", TeamID: "acme", LimitKey: "seats"}), two)
	told := func(v tiergate.Verdict, err error) string {
		t.Helper()
		if err != nil {
			return err.Error()
		}
		text := string(v.Reason)
		for _, l := range v.Limits {
			text += fmt.Sprintf(" %s %d of %d", l.Key, l.Min, l.Amount)
		}
		return strings.Join(strings.Fields(text+" "+v.Denied+" "+v.Decision.Upgrade), " ")
	}
	hold := func(user, team, item string) string { return told(g.Hold(t.Context(), use("seats", user, team), item)) }
	drop := func(team, item string) string { return told(g.Drop(t.Context(), use("seats", "", team), item)) }
	replace := func(team string, items ...string) string {
		return told(g.Replace(t.Context(), use("seats", "", team), items))
	}
	for _, s := range []struct{ did, want string }{
		{hold("ivan", "", "ivan"), "ALLOWED seats 4 of 5"},
		{hold("ivan", "", "ivan"), "ALLOWED seats 4 of 5"},
		{replace("initech", "a", "b", "c", "d", "e"), "ALLOWED seats 0 of 5"},
		{hold("ivan", "", "f"), "EXHAUSTED seats 0 of 5 seats pro"},
		{replace("initech", "a", "b", "c", "d", "e", "f"), "ALLOWED seats 0 of 5"},
		{hold("ivan", "", "a"), "ALLOWED seats 0 of 5"},
		{drop("initech", "a"), "ALLOWED seats 0 of 5"},
		{drop("initech", "b"), "ALLOWED seats 1 of 5"},
		{drop("initech", "b"), "ALLOWED seats 1 of 5"},
		{hold("", "globex", "bob"), "ALLOWED seats 9 of 10"},
		{hold("", "acme", "bob"), "ALLOWED"},
		{hold("carol", "acme", "carol"), "INVALID_CONTEXT seats"},
		{told(g.Drop(t.Context(), use("seats", "bob", ""), "bob")), "INVALID_CONTEXT seats"},
		{told(g.Hold(t.Context(), use("exports", "bob", "globex"), "x")), "FLAG_NOT_FOUND"},
		{told(g.Hold(t.Context(), use("model-training", "ivan", ""), "x")), "TIER pro"},
		{told(g.Drop(t.Context(), use("no-such", "bob", ""), "x")), "FLAG_NOT_FOUND"},
		{told(g.Hold(t.Context(), use("seats", "ivan", ""), "")), "an item is a text of 1 to 256 bytes"},
		{told(g.Drop(t.Context(), use("seats", "ivan", ""), "a\x00")), "an item is a text of 1 to 256 bytes"},
		{replace("initech", "a", "a"), `item "a" is there twice`},
		{replace("initech", make([]string, 10_001)...), "there are more than 10000 items"},
	} {
		if diff := cmp.Diff(s.want, s.did); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	denied := []tiergate.UseReason{
		tiergate.UseExhausted, tiergate.UseInvalid, tiergate.UseInvalid, tiergate.UseFlagNotFound, tiergate.UseTier, tiergate.UseFlagNotFound,
	}
	if diff := cmp.Diff(denied, c.denied); diff != "" {
		t.Errorf("told of denials (-want +got):\n%s", diff)
	}
	c.fail = tiergate.Errorf(tiergate.Unavailable, "away")
	if got := hold("ivan", "", "z"); got != "UNAVAILABLE" {
		t.Errorf("without the ledger: %s", got)
	}
	if v, err := g.Replace(t.Context(), use("seats", "ivan", ""), nil); err != nil || v.RetryAfter <= 0 {
		t.Errorf("without the ledger nobody is told when to ask again: %+v, %v", v, err)
	}
}

// A gauge of a team needs no user, although another limit of the feature does.
func TestGate_gauge_beside_another_limit(t *testing.T) {
	five := int64(5)
	g, _ := demoGate(t, limitOf("a", "seats", func(l *tiergate.Limit) { l.Scope = "user" }, map[string]*int64{"pro": &five}))
	for _, do := range []func(context.Context, *tiergate.Use, string) (tiergate.Verdict, error){g.Hold, g.Drop} {
		v, err := do(t.Context(), use("seats", "", "globex"), "bob")
		if err != nil || !v.Allow || v.Denied != "" || v.Message != "" || len(v.Limits) != 1 || v.Limits[0].Key != "seats" {
			t.Errorf("%+v, %v", v, err)
		}
	}
}

// asking keeps the context of a check.
type asking struct {
	*counter
	ctx context.Context
}

func (a *asking) Check(ctx context.Context, t *quota.Take, states []tiergate.LimitState) (quota.Outcome, []tiergate.LimitState) {
	a.ctx = ctx
	return a.counter.Check(ctx, t, states)
}

// A hurried gate's checks ask nobody but this process, whatever context they are given.
func TestGate_Hurried(t *testing.T) {
	a := &asking{counter: newCounter()}
	g := evaluator.NewGate(demo(t), a)
	if v, err := g.Hurried().Check(t.Context(), use("exports", "bob", "")); err != nil || !v.Allow || v.Limits[0].Min != 50 {
		t.Fatalf("Check = %+v, %v", v, err)
	}
	if fmt.Sprint(a.ctx) != fmt.Sprint(quota.Hurried(context.Background())) {
		t.Errorf("the context is %v, which may wait", a.ctx)
	}
}
