package evaluator_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
)

// All tells of a metered flag's first quota, with the exceptions of the subject that hold until
// the next revision, and says nothing of an amount that time alone changes.
func TestGeneration_All_tells_of_a_limit(t *testing.T) {
	monthly := func(n int64) *tiergate.FlagLimit {
		return &tiergate.FlagLimit{Key: "model-training-monthly", Amount: n, Period: "month"}
	}
	of := func(key string, o tiergate.Override) tiergate.Change {
		o.ID, o.LimitKey = "o", key
		return tiergate.PutOf(&o)
	}
	grant := func(g tiergate.Grant) tiergate.Change {
		g.ID, g.LimitKey, g.Amount = "g", "model-training-monthly", 3
		return tiergate.PutOf(&g)
	}
	seven, later := int64(7), now.Add(time.Hour)
	slots := func(key string) tiergate.Change {
		return limitOf(key, "new-dashboard", func(l *tiergate.Limit) { l.Kind, l.Period = tiergate.Concurrency, "" }, map[string]*int64{"pro": &seven})
	}
	for name, tc := range map[string]struct {
		more []tiergate.Change
		user string
		flag string
		want *tiergate.FlagLimit
	}{
		"the tier's amount":                {nil, "bob", "model-training", monthly(5)},
		"another tier's amount":            {nil, "alice", "model-training", monthly(100)},
		"a flag that is denied":            {nil, "ivan", "model-training", nil},
		"a flag without limits":            {nil, "bob", "api-access", nil},
		"a flag that is switched off":      {[]tiergate.Change{limitOf("l", "legacy-export", nil, map[string]*int64{"pro": &seven})}, "bob", "legacy-export", nil},
		"an override":                      {[]tiergate.Change{of("model-training-monthly", tiergate.Override{TeamID: "globex", Amount: &seven})}, "bob", "model-training", monthly(7)},
		"another team's override":          {[]tiergate.Change{of("model-training-monthly", tiergate.Override{TeamID: "acme", Amount: &seven})}, "bob", "model-training", monthly(5)},
		"an override of another limit":     {[]tiergate.Change{of("seats", tiergate.Override{TeamID: "globex", Amount: &seven})}, "bob", "model-training", monthly(5)},
		"an override that ends":            {[]tiergate.Change{of("model-training-monthly", tiergate.Override{TeamID: "globex", Amount: &seven, ExpiresAt: later})}, "bob", "model-training", nil},
		"an override that ended long ago":  {[]tiergate.Change{of("model-training-monthly", tiergate.Override{TeamID: "globex", Amount: &seven, ExpiresAt: time.Unix(1, 0)})}, "bob", "model-training", nil},
		"a grant":                          {[]tiergate.Change{grant(tiergate.Grant{TeamID: "globex"})}, "bob", "model-training", monthly(8)},
		"a grant that begins":              {[]tiergate.Change{grant(tiergate.Grant{TeamID: "globex", StartsAt: later})}, "bob", "model-training", nil},
		"a grant that ends":                {[]tiergate.Change{grant(tiergate.Grant{TeamID: "globex", ExpiresAt: later})}, "bob", "model-training", nil},
		"an override that lifts the quota": {[]tiergate.Change{of("model-training-monthly", tiergate.Override{TeamID: "globex"})}, "bob", "model-training", &tiergate.FlagLimit{Key: "model-training-at-once", Amount: 1}},
		"unlimited":                        {[]tiergate.Change{limitOf("l", "new-dashboard", nil, map[string]*int64{"pro": nil})}, "bob", "new-dashboard", nil},
		"unlimited but for an override": {
			[]tiergate.Change{limitOf("l", "new-dashboard", nil, map[string]*int64{"pro": nil}), of("l", tiergate.Override{TeamID: "globex", Amount: &seven})},
			"bob", "new-dashboard",
			&tiergate.FlagLimit{Key: "l", Amount: 7, Period: "day"},
		},
		"no quota, and the first limit changes by time": {
			[]tiergate.Change{slots("a"), slots("b"), of("a", tiergate.Override{TeamID: "globex", Amount: &seven, ExpiresAt: later})},
			"bob", "new-dashboard", nil,
		},
		"several teams and none is named": {[]tiergate.Change{tiergate.PutOf(&tiergate.Member{TeamID: "acme", UserID: "bob", Role: tiergate.RoleMember})}, "bob", "model-training", nil},
		"a policy without an answer":      {[]tiergate.Change{bundle(2, "package tiergate.limits\n\nlimits := 1 if input.attributes.never", nil)}, "bob", "model-training", nil},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			e := demo(t, tc.more...)
			found := false
			for d := range e.Generation().All(&tiergate.Request{UserID: tc.user, Now: now}) {
				if d.Flag != tc.flag {
					continue
				}
				found = true
				if diff := cmp.Diff(tc.want, d.Limit); diff != "" {
					t.Errorf("%s: the limit (-want +got):\n%s", name, diff)
				}
				if want := tc.flag != "api-access"; d.Metered != want || d.Metered && d.Reason == tiergate.ReasonStatic || d.Transient {
					t.Errorf("%s: metered is %v, the reason %s", name, d.Metered, d.Reason)
				}
			}
			if !found {
				t.Errorf("%s is not among all", tc.flag)
			}
		})
	}
}

// The clock that a policy's limits read is a clock of sets that have metered flags, and of
// these only; and limits are told the time although nothing else is.
func TestGeneration_Steps_of_limits(t *testing.T) {
	hourly := bundle(2, `package tiergate.limits

limits := [{"key": "l", "kind": "quota", "period": "day", "scope": "user", "amount": input.clock.hour}]`, nil)
	e := demo(t, hourly, boolean("x", func(f *tiergate.Flag) { f.Set = "plain" }))
	g := e.Generation()
	if g.Steps("") != tiergate.StepHour || g.Steps("plain") != tiergate.StepNever {
		t.Errorf("the steps are %d and %d", g.Steps(""), g.Steps("plain"))
	}
	for d := range g.All(&tiergate.Request{UserID: "bob", Now: now}) {
		if d.Metered && d.Limit.Amount != int64(now.Hour()) {
			t.Errorf("%s has %+v", d.Flag, d.Limit)
		}
	}
	apply(t, e, step(2, tiergate.Change{Kind: tiergate.KindLimit, Key: "model-training-monthly"}, tiergate.Change{Kind: tiergate.KindLimit, Key: "model-training-at-once"}))
	if got := e.Generation().Steps(""); got != tiergate.StepNever {
		t.Errorf("without metered flags the step is %d", got)
	}
	apply(t, e, step(3, limitOf("l", "new-dashboard", nil, nil)))
	if got := e.Generation().Steps(""); got != tiergate.StepHour {
		t.Errorf("with one again the step is %d", got)
	}
}
