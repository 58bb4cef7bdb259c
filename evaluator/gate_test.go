package evaluator_test

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/quota"
)

var (
	_ tiergate.Gate         = (*evaluator.Gate)(nil)
	_ tiergate.Reservations = (*evaluator.Gate)(nil)
	_ tiergate.Gauges       = (*evaluator.Gate)(nil)
	_ evaluator.Counter     = (*quota.Engine)(nil)
)

// demoGate is a gate over the demo data and more changes.
func demoGate(tb testing.TB, more ...tiergate.Change) (*evaluator.Gate, *counter) {
	tb.Helper()
	c := newCounter()
	return evaluator.NewGate(demo(tb, more...), c), c
}

func use(feature, user, team string) *tiergate.Use {
	return &tiergate.Use{Request: tiergate.Request{Flag: feature, UserID: user, TeamID: team, Now: now}}
}

func consume(tb testing.TB, g *evaluator.Gate, u *tiergate.Use) tiergate.Verdict {
	tb.Helper()
	v, err := g.Consume(tb.Context(), u)
	if err != nil {
		tb.Fatalf("Consume: %v", err)
	}
	return v
}

func limitOf(key, feature string, edit func(*tiergate.Limit), amounts map[string]*int64) tiergate.Change {
	l := &tiergate.Limit{ID: key, Key: key, Feature: feature, Kind: tiergate.Quota, Scope: "team", Period: "day", Amounts: amounts}
	if edit != nil {
		edit(l)
	}
	return tiergate.PutOf(l)
}

// A story is what one use comes to: the reason, what is told of it, and what was claimed.
type story struct {
	Reason  tiergate.UseReason
	Denied  string
	Tier    string
	Upgrade string
	Left    map[string]int64 // by limit
	Charged map[string]int64 // units by limit and subject
	Told    []tiergate.UseReason
}

func storyOf(v *tiergate.Verdict, c *counter) story {
	s := story{Reason: v.Reason, Denied: v.Denied, Tier: v.Decision.Tier, Upgrade: v.Decision.Upgrade, Told: c.denied}
	for _, l := range v.Limits {
		if s.Left == nil {
			s.Left = map[string]int64{}
		}
		s.Left[l.Key] = l.Min
	}
	for b, n := range c.used {
		if s.Charged == nil {
			s.Charged = map[string]int64{}
		}
		s.Charged[b.Limit+" of "+b.Scope+" "+b.Subject] = n
	}
	return s
}

// Each way through the gate ends with its reason, and nobody is charged who should not be.
func TestGate_Consume(t *testing.T) {
	all := tiergate.PutOf(&tiergate.Member{TeamID: "globex", UserID: "dave", Role: tiergate.RoleMember})
	suspended := tiergate.PutOf(&tiergate.Team{ID: "acme", Name: "Acme", OwnerID: "alice", Tier: "enterprise", Status: tiergate.TeamSuspended})
	two, many := int64(2), int64(1000)
	amounts := map[string]*int64{"free": &two, "pro": &many, "enterprise": nil}
	seats := limitOf("words", "max-upload-mb", nil, amounts)
	off := boolean("x", func(f *tiergate.Flag) { f.Rules.Percentage = 0 })
	broken := boolean("x", func(f *tiergate.Flag) { f.OffVariant = "nope" })
	refusing := bundle(2, `package tiergate.access

decision := {"allow": false, "reason": "weekend"}`, nil)
	for name, tc := range map[string]struct {
		more []tiergate.Change
		use  *tiergate.Use
		want story
	}{
		"a feature that has only a limit": {
			nil, use("exports", "bob", ""),
			story{Reason: "ALLOWED", Tier: "pro", Left: map[string]int64{"exports-daily": 49}, Charged: map[string]int64{"exports-daily of user bob": 1}},
		},
		"a flag that has no limit": {nil, use("api-access", "bob", ""), story{Reason: "ALLOWED", Tier: "pro"}},
		"a flag and two limits of a team": {
			nil, use("model-training", "bob", ""),
			story{
				Reason: "ALLOWED", Tier: "pro", Left: map[string]int64{"model-training-monthly": 4, "model-training-at-once": 1},
				Charged: map[string]int64{"model-training-monthly of team globex": 1},
			},
		},
		"the caller's cost is of quotas and not of slots": {
			nil, cost(use("model-training", "bob", ""), 3),
			story{
				Reason: "ALLOWED", Tier: "pro", Left: map[string]int64{"model-training-monthly": 2, "model-training-at-once": 1},
				Charged: map[string]int64{"model-training-monthly of team globex": 3},
			},
		},
		"more than there is": {
			nil, cost(use("exports", "bob", ""), 51),
			story{Reason: "EXHAUSTED", Denied: "exports-daily", Tier: "pro", Upgrade: "enterprise", Left: map[string]int64{"exports-daily": 50}},
		},
		"more than there is on the lowest tier": {
			nil, cost(use("exports", "carol", ""), 4),
			story{Reason: "EXHAUSTED", Denied: "exports-daily", Tier: "free", Upgrade: "pro", Left: map[string]int64{"exports-daily": 3}},
		},
		"more than any tier has": {
			nil, cost(use("model-training", "alice", ""), 101),
			story{Reason: "EXHAUSTED", Denied: "model-training-monthly", Tier: "enterprise", Left: map[string]int64{"model-training-monthly": 100, "model-training-at-once": 4}},
		},
		"more than an override has": {
			[]tiergate.Change{tiergate.PutOf(&tiergate.Override{ID: "o", UserID: "bob", LimitKey: "exports-daily", Amount: &two})},
			cost(use("exports", "bob", ""), 3),
			story{Reason: "EXHAUSTED", Denied: "exports-daily", Tier: "pro", Left: map[string]int64{"exports-daily": 2}},
		},
		"more than before an override that has ended": {
			[]tiergate.Change{tiergate.PutOf(&tiergate.Override{ID: "o", UserID: "bob", LimitKey: "exports-daily", Amount: &many, ExpiresAt: now})},
			cost(use("exports", "bob", ""), 51),
			story{Reason: "EXHAUSTED", Denied: "exports-daily", Tier: "pro", Upgrade: "enterprise", Left: map[string]int64{"exports-daily": 50}},
		},
		"more than the tier and a grant": {
			[]tiergate.Change{tiergate.PutOf(&tiergate.Grant{ID: "g", UserID: "carol", LimitKey: "exports-daily", Amount: 60})},
			cost(use("exports", "carol", ""), 64),
			story{Reason: "EXHAUSTED", Denied: "exports-daily", Tier: "free", Upgrade: "pro", Left: map[string]int64{"exports-daily": 63}},
		},
		"unlimited":                            {nil, cost(use("exports", "alice", ""), 51), story{Reason: "ALLOWED", Tier: "enterprise"}},
		"a user whom nobody knows":             {nil, use("exports", "mallory", ""), story{Reason: "ALLOWED", Tier: "free", Left: map[string]int64{"exports-daily": 2}, Charged: map[string]int64{"exports-daily of user mallory": 1}}},
		"the tier does not have the feature":   {nil, use("model-training", "ivan", ""), story{Reason: "TIER", Tier: "free", Upgrade: "pro", Told: []tiergate.UseReason{"TIER"}}},
		"the policy says no":                   {[]tiergate.Change{refusing}, use("api-access", "bob", ""), story{Reason: "POLICY", Tier: "pro", Told: []tiergate.UseReason{"POLICY"}}},
		"the policy says no to a mere name":    {[]tiergate.Change{refusing}, use("exports", "bob", ""), story{Reason: "POLICY", Tier: "pro", Told: []tiergate.UseReason{"POLICY"}}},
		"the flag is off for the subject":      {[]tiergate.Change{off}, use("x", "bob", ""), story{Reason: "TARGETING", Tier: "pro", Told: []tiergate.UseReason{"TARGETING"}}},
		"the flag is switched off":             {nil, use("legacy-export", "bob", ""), story{Reason: "FLAG_DISABLED", Told: []tiergate.UseReason{"FLAG_DISABLED"}}},
		"the flag is broken":                   {[]tiergate.Change{broken}, use("x", "bob", ""), story{Reason: "UNAVAILABLE", Told: []tiergate.UseReason{"UNAVAILABLE"}}},
		"neither a flag nor a limit":           {nil, use("no-such", "bob", ""), story{Reason: "FLAG_NOT_FOUND", Told: []tiergate.UseReason{"FLAG_NOT_FOUND"}}},
		"a flag that is no boolean and not on": {[]tiergate.Change{seats}, use("max-upload-mb", "carol", "initech"), story{Reason: "INVALID_CONTEXT", Denied: "words", Tier: "free", Told: []tiergate.UseReason{"INVALID_CONTEXT"}}},
		"a number flag with a limit":           {[]tiergate.Change{seats}, use("max-upload-mb", "ivan", ""), story{Reason: "ALLOWED", Tier: "free", Left: map[string]int64{"words": 1}, Charged: map[string]int64{"words of team initech": 1}}},
		"several teams and none is named":      {[]tiergate.Change{all}, use("model-training", "dave", ""), story{Reason: "INVALID_CONTEXT", Denied: "model-training-at-once", Tier: "enterprise", Told: []tiergate.UseReason{"INVALID_CONTEXT"}}},
		"several teams and one is named":       {[]tiergate.Change{all}, use("model-training", "dave", "globex"), story{Reason: "ALLOWED", Tier: "pro", Left: map[string]int64{"model-training-monthly": 4, "model-training-at-once": 1}, Charged: map[string]int64{"model-training-monthly of team globex": 1}}},
		"several teams and a user's limit":     {[]tiergate.Change{all, limitOf("u", "x", func(l *tiergate.Limit) { l.Scope = "user" }, map[string]*int64{"enterprise": &many})}, use("x", "dave", ""), story{Reason: "ALLOWED", Tier: "enterprise", Left: map[string]int64{"u": 999}, Charged: map[string]int64{"u of user dave": 1}}},
		"a team that the user is not in":       {nil, use("api-calls", "carol", "acme"), story{Reason: "INVALID_CONTEXT", Denied: "api-calls-rate", Tier: "free", Told: []tiergate.UseReason{"INVALID_CONTEXT"}}},
		"a team that does not exist":           {nil, use("api-calls", "", "nowhere"), story{Reason: "INVALID_CONTEXT", Denied: "api-calls-rate", Tier: "free", Told: []tiergate.UseReason{"INVALID_CONTEXT"}}},
		"a team that is suspended":             {[]tiergate.Change{suspended}, use("api-calls", "alice", "acme"), story{Reason: "INVALID_CONTEXT", Denied: "api-calls-rate", Tier: "free", Told: []tiergate.UseReason{"INVALID_CONTEXT"}}},
		"a user's limit and no user":           {nil, use("exports", "", "globex"), story{Reason: "INVALID_CONTEXT", Denied: "exports-daily", Tier: "pro", Told: []tiergate.UseReason{"INVALID_CONTEXT"}}},
		"unlimited needs no user":              {nil, use("exports", "", "acme"), story{Reason: "ALLOWED", Tier: "enterprise"}},
		"a team for itself":                    {nil, use("api-calls", "", "globex"), story{Reason: "ALLOWED", Tier: "pro", Left: map[string]int64{"api-calls-rate": 99}, Charged: map[string]int64{"api-calls-rate of team globex": 1}}},
		"a limit that the policy invents": {
			[]tiergate.Change{bundle(2, `package tiergate.limits

limits := [{"key": "own", "kind": "quota", "period": "hour", "scope": "user", "amount": count(input.feature.name)}]`, nil)},
			use("invented", "bob", ""),
			story{Reason: "ALLOWED", Tier: "pro", Left: map[string]int64{"own": 7}, Charged: map[string]int64{"own of user bob": 1}},
		},
		"a policy that has no answer about limits": {
			[]tiergate.Change{bundle(2, "package tiergate.limits\n\nlimits := 1 if input.attributes.never", nil)},
			use("exports", "bob", ""),
			story{Reason: "UNAVAILABLE", Tier: "pro", Told: []tiergate.UseReason{"UNAVAILABLE"}},
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			g, c := demoGate(t, tc.more...)
			check, err := g.Check(t.Context(), tc.use)
			if err != nil || len(c.used)+len(c.denied) != 0 {
				t.Fatalf("a check comes to %v and counts %v %v", err, c.used, c.denied)
			}
			v := consume(t, g, tc.use)
			if diff := cmp.Diff(tc.want, storyOf(&v, c)); diff != "" {
				t.Errorf("%s: (-want +got):\n%s", name, diff)
			}
			if check.Reason != v.Reason || v.Allow != (v.Reason == tiergate.UseAllowed) || v.Allow != (v.Message == "") || v.Resume.Rev != 1 {
				t.Errorf("the check says %s, the verdict is %+v", check.Reason, v)
			}
			if len(v.ID) != 36 || len(check.ID) != 36 || check.ID[14] != '7' || !strings.ContainsRune("89ab", rune(check.ID[19])) {
				t.Errorf("the ids are %q and %q", v.ID, check.ID)
			}
		})
	}
}

func cost(u *tiergate.Use, n int64) *tiergate.Use {
	u.Cost = n
	return u
}

// What is consumed is claimed with all that the limit says and recorded with the units of the
// first quota, and its key is the credential's.
func TestGate_Consume_claims(t *testing.T) {
	five, ten := int64(5), int64(10)
	g, c := demoGate(t,
		limitOf("r", "x", func(l *tiergate.Limit) {
			l.Kind, l.Period, l.Class, l.OnUnavailable, l.Bursts = tiergate.Rate, "minute", "leased", "allow", map[string]int64{"pro": 7}
		}, map[string]*int64{"pro": &five}),
		limitOf("s", "x", func(l *tiergate.Limit) { l.Cost, l.Zone, l.OnUnavailable = 4, "Europe/Zurich", "allowUpTo(2)" }, map[string]*int64{"pro": &ten}))
	u := use("x", "bob", "")
	u.Key = &tiergate.Key{ID: "k", TeamID: "globex"}
	u.IdempotencyKey, u.Fingerprint, u.Metadata = "once", "f", json.RawMessage(`{"a":1}`)
	if v := consume(t, g, u); v.Reason != tiergate.UseAllowed || v.ID != "01020300-0000-0000-0000-000000000000" {
		t.Fatalf("the verdict is %+v", v)
	}
	want := quota.Take{
		Claims: []quota.Claim{
			{Key: "r", Kind: tiergate.Rate, Scope: "team", Subject: "globex", Amount: 5, Rev: 1, Units: 1, Period: "minute", Burst: 7, Leased: true, Fallback: tiergate.Fallback{Allow: true}},
			{Key: "s", Kind: tiergate.Quota, Scope: "team", Subject: "globex", Amount: 10, Rev: 1, Units: 4, Period: "day", Fallback: tiergate.Fallback{UpTo: 2}},
		},
		TeamID: "globex", UserID: "bob", Feature: "x", Units: 4, Metadata: u.Metadata,
		Key: &tiergate.UsageKey{Scope: "globex", Key: "once", Fingerprint: "f"},
	}
	if diff := cmp.Diff([]quota.Take{want}, c.takes, cmpopts.IgnoreFields(quota.Claim{}, "Calendar")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if p := c.takes[0].Claims[1].Calendar.At(now); p.Start.Format(time.RFC3339) != "2026-03-03T23:00:00Z" || c.takes[0].Claims[0].Calendar != nil {
		t.Errorf("the period is %+v", p)
	}
}

// What can never work is refused with the field that is at fault, and nothing is counted.
func TestGate_refuses(t *testing.T) {
	edit := func(how func(*tiergate.Use)) *tiergate.Use {
		u := use("exports", "bob", "")
		how(u)
		return u
	}
	for field, all := range map[string][]*tiergate.Use{
		"cost":           {cost(use("exports", "bob", ""), -1), cost(use("exports", "bob", ""), tiergate.MaxAmount+1)},
		"subject.user":   {use("exports", strings.Repeat("x", 257), ""), use("exports", "a\x00b", ""), use("exports", "\xff", "")},
		"subject.team":   {use("exports", "bob", strings.Repeat("x", 257))},
		"idempotencyKey": {edit(func(u *tiergate.Use) { u.IdempotencyKey = strings.Repeat("x", 256) }), edit(func(u *tiergate.Use) { u.IdempotencyKey = "grün" })},
		"metadata":       {edit(func(u *tiergate.Use) { u.Metadata = json.RawMessage(`{"a":"` + strings.Repeat("x", 16<<10) + `"}`) }), edit(func(u *tiergate.Use) { u.Metadata = json.RawMessage(`{"a":"\u0000"}`) })},
	} {
		for _, u := range all {
			g, c := demoGate(t)
			_, _, reserve := g.Reserve(t.Context(), u, time.Minute)
			_, check := g.Check(t.Context(), u)
			_, take := g.Consume(t.Context(), u)
			_, track := g.Track(t.Context(), u)
			for _, err := range []error{reserve, check, take, track} {
				if e, ok := errors.AsType[*tiergate.Error](err); !ok || e.Code != tiergate.Invalid || e.Field != field {
					t.Errorf("%s: %v", field, err)
				}
			}
			if len(c.takes) != 0 {
				t.Errorf("%s: %+v", field, c.takes)
			}
		}
	}
	g, _ := demoGate(t)
	if v := consume(t, g, cost(use("exports", "alice", ""), tiergate.MaxAmount)); !v.Allow {
		t.Errorf("the largest cost is %+v", v)
	}
	for _, ttl := range []time.Duration{0, -1, time.Millisecond, 8 * 24 * time.Hour} {
		_, _, reserve := g.Reserve(t.Context(), use("exports", "bob", ""), ttl)
		if _, extend := g.Extend(t.Context(), "r", "", ttl); tiergate.CodeOf(reserve) != tiergate.Invalid || tiergate.CodeOf(extend) != tiergate.Invalid {
			t.Errorf("for %v: %v, %v", ttl, reserve, extend)
		}
	}
	if _, err := g.Commit(t.Context(), "r", "", tiergate.MaxAmount+1, false); tiergate.CodeOf(err) != tiergate.Invalid {
		t.Errorf("a huge actual: %v", err)
	}
}

// Before anything was loaded nobody can say, and errors of the counter come through.
func TestGate_passes_errors_on(t *testing.T) {
	g := evaluator.NewGate(newEngine(evaluator.Options{}), newCounter())
	if _, err := g.Check(t.Context(), use("exports", "bob", "")); tiergate.CodeOf(err) != tiergate.Unavailable {
		t.Errorf("before the first revision: %v", err)
	}
	g, c := demoGate(t)
	c.fail = tiergate.Errorf(tiergate.KeyReused, "used")
	_, take := g.Consume(t.Context(), use("exports", "bob", ""))
	_, track := g.Track(t.Context(), use("exports", "bob", ""))
	_, _, reserve := g.Reserve(t.Context(), use("exports", "bob", ""), time.Minute)
	for _, err := range []error{take, track, reserve} {
		if tiergate.CodeOf(err) != tiergate.KeyReused {
			t.Errorf("the counter's error becomes %v", err)
		}
	}
}

// Whatever has happened is recorded, and debited where its limits have a subject.
func TestGate_Track(t *testing.T) {
	for name, tc := range map[string]struct {
		more  []tiergate.Change
		use   *tiergate.Use
		units int64
		want  map[string]int64
		tier  string
	}{
		"beyond the limit":                {nil, cost(use("exports", "carol", ""), 100), 100, map[string]int64{"exports-daily of user carol": 100}, "free"},
		"what the tier does not have":     {nil, use("model-training", "ivan", ""), 1, map[string]int64{"model-training-monthly of team initech": 1}, "free"},
		"a flag that is switched off":     {nil, use("legacy-export", "bob", ""), 1, nil, "pro"},
		"a feature that nobody knows":     {nil, cost(use("new one", "bob", ""), 3), 3, nil, ""},
		"a team's limit without a team":   {nil, use("api-calls", "carol", "acme"), 1, nil, "free"},
		"nobody":                          {nil, use("exports", "", ""), 1, nil, "free"},
		"a flag that is broken":           {[]tiergate.Change{boolean("exports", func(f *tiergate.Flag) { f.OffVariant = "nope" })}, use("exports", "bob", ""), 1, map[string]int64{"exports-daily of user bob": 1}, "pro"},
		"a policy that has no answer":     {[]tiergate.Change{bundle(2, "package tiergate.limits\n\nlimits := 1 if input.attributes.never", nil)}, use("exports", "bob", ""), 1, nil, "pro"},
		"unlimited, with the quota's own": {[]tiergate.Change{limitOf("w", "w", func(l *tiergate.Limit) { l.Cost = 9 }, map[string]*int64{"pro": nil})}, use("w", "bob", ""), 9, nil, "pro"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			g, c := demoGate(t, tc.more...)
			tc.use.At = now.Add(-time.Hour)
			v, err := g.Track(t.Context(), tc.use)
			if err != nil || !v.Allow || v.Decision.Tier != tc.tier || v.ID != "04000000-0000-0000-0000-000000000000" {
				t.Fatalf("Track = %+v, %v", v, err)
			}
			if diff := cmp.Diff(tc.want, storyOf(&v, c).Charged); diff != "" {
				t.Errorf("charged (-want +got):\n%s", diff)
			}
			take := c.takes[0]
			if take.Units != tc.units || !take.At.Equal(tc.use.At) || take.Feature != tc.use.Flag || len(c.denied) != 0 {
				t.Errorf("recorded as %+v", take)
			}
		})
	}
}

// What could not have happened, or has no name, is not recorded.
func TestGate_Track_refuses(t *testing.T) {
	g, c := demoGate(t)
	at := func(d time.Duration) *tiergate.Use {
		u := use("exports", "bob", "")
		u.At = now.Add(d)
		return u
	}
	for _, u := range []*tiergate.Use{at(5*time.Minute + 1), at(-30*24*time.Hour - 1), use("", "bob", ""), use("no\nname", "bob", ""), use(strings.Repeat("x", 300), "bob", "")} {
		if _, err := g.Track(t.Context(), u); tiergate.CodeOf(err) != tiergate.Invalid {
			t.Errorf("%q at %v: %v", u.Flag, u.At, err)
		}
	}
	if len(c.takes) != 0 {
		t.Errorf("recorded %+v", c.takes)
	}
	for _, u := range []*tiergate.Use{at(5 * time.Minute), at(-30 * 24 * time.Hour)} {
		if _, err := g.Track(t.Context(), u); err != nil {
			t.Errorf("at %v: %v", u.At, err)
		}
	}
}

// A reservation is judged as a use is, has the id that the caller minted, and belongs to the
// team whose key the caller has.
func TestGate_Reserve(t *testing.T) {
	g, c := demoGate(t)
	u := use("model-training", "bob", "")
	u.IdempotencyKey, u.Fingerprint, u.Key = "job-1", "f", &tiergate.Key{ID: "k", TeamID: "globex"}
	v, r, err := g.Reserve(t.Context(), u, time.Hour)
	if err != nil || !v.Allow || r.ID != "job-1" || r.TeamID != "globex" || r.Owner != "globex" || r.Fingerprint != "f" {
		t.Fatalf("Reserve = %+v, %+v, %v", v, r, err)
	}
	if v, r, err := g.Reserve(t.Context(), use("model-training", "bob", ""), time.Hour); err != nil || v.Reason != tiergate.UseConcurrency || v.Denied != "model-training-at-once" || v.Decision.Upgrade != "enterprise" || r.ID != "" {
		t.Errorf("a second job at once: %+v, %+v, %v", v, r, err)
	}
	if v, _, err := g.Reserve(t.Context(), use("model-training", "ivan", ""), time.Hour); err != nil || v.Reason != tiergate.UseTier || len(c.denied) != 1 {
		t.Errorf("a free team's job: %+v, %v", v, err)
	}
	if _, r, err := g.Reserve(t.Context(), use("exports", "bob", ""), time.Hour); err != nil || len(r.ID) != 36 || r.Owner != "" {
		t.Errorf("a reservation without an id of its own: %+v, %v", r, err)
	}
	if r, err := g.Extend(t.Context(), "job-1", "globex", 2*time.Hour); err != nil || !r.ExpiresAt.Equal(now.Add(2*time.Hour)) {
		t.Errorf("Extend = %+v, %v", r, err)
	}
	if _, err := g.Reservation(t.Context(), "job-1", "acme"); tiergate.CodeOf(err) != tiergate.NotFound {
		t.Errorf("another team's: %v", err)
	}
	if r, err := g.Commit(t.Context(), "job-1", "globex", 2, true); err != nil || r.State != tiergate.ReservationCommitted || r.Actual != 2 {
		t.Errorf("Commit = %+v, %v", r, err)
	}
	if r, err := g.Release(t.Context(), "job-1", "globex"); err != nil || r.State != tiergate.ReservationReleased {
		t.Errorf("Release = %+v, %v", r, err)
	}
}

// A newer revision decides, and its claims say so.
func TestGate_follows_revisions(t *testing.T) {
	e := demo(t)
	c := newCounter()
	g := evaluator.NewGate(e, c)
	if v := consume(t, g, use("x", "bob", "")); v.Reason != tiergate.UseFlagNotFound {
		t.Fatalf("before there is a limit: %+v", v)
	}
	apply(t, e, step(2, limitOf("l", "x", nil, map[string]*int64{"pro": new(int64(3))})))
	if v := consume(t, g, use("x", "bob", "")); !v.Allow || v.Resume.Rev != 2 || c.takes[1].Claims[0].Rev != 2 {
		t.Fatalf("with a limit: %+v", v)
	}
	apply(t, e, step(3, tiergate.PutOf(&tiergate.Grant{ID: "g", TeamID: "globex", LimitKey: "l", Amount: 4})))
	if v := consume(t, g, use("x", "bob", "")); v.Limits[0].Amount != 7 {
		t.Fatalf("with a grant: %+v", v)
	}
	apply(t, e, step(4, tiergate.Change{Kind: tiergate.KindLimit, Key: "l"}))
	if v := consume(t, g, use("x", "bob", "")); v.Reason != tiergate.UseFlagNotFound {
		t.Fatalf("without the limit: %+v", v)
	}
}

// A verdict with room is in the room, and the next one takes its place.
func TestGate_uses_the_callers_room(t *testing.T) {
	g, _ := demoGate(t)
	room := new(tiergate.Room)
	u := use("model-training", "bob", "")
	u.Room = room
	v, err := g.Check(t.Context(), u)
	if err != nil || len(v.Limits) != 2 || &v.Limits[0] != &room.Limits[0] || v.ID != string(room.ID[:]) {
		t.Fatalf("Check = %+v, %v", v, err)
	}
	u.Flag = "exports"
	if again, err := g.Check(t.Context(), u); err != nil || len(again.Limits) != 1 || &again.Limits[0] != &v.Limits[0] || again.Limits[0].Key != "exports-daily" {
		t.Fatalf("Check = %+v, %v", again, err)
	}
}

// Callers at the same time, while revisions come, each get their own answer.
func TestGate_keeps_callers_apart(t *testing.T) {
	e := demo(t)
	g := evaluator.NewGate(e, newCounter())
	stop := make(chan struct{})
	var revisions, callers sync.WaitGroup
	revisions.Go(func() {
		for rev := int64(2); ; rev++ {
			select {
			case <-stop:
				return
			default:
				apply(t, e, step(rev, tiergate.PutOf(&tiergate.Grant{ID: "g", UserID: "ivan", LimitKey: "exports-daily", Amount: rev})))
			}
		}
	})
	for _, user := range []string{"alice", "bob", "carol", "mallory"} {
		callers.Go(func() {
			want := map[string]string{"alice": "enterprise", "bob": "pro", "carol": "free", "mallory": "free"}[user]
			u := use("exports", user, "")
			u.Room = new(tiergate.Room)
			for range 500 {
				v, err := g.Check(t.Context(), u)
				if err != nil || !v.Allow || v.Decision.Tier != want || (len(v.Limits) == 0) != (user == "alice") {
					t.Errorf("%s: %+v, %v", user, v, err)
					return
				}
			}
		})
	}
	callers.Wait()
	close(stop)
	revisions.Wait()
}
