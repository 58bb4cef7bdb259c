package evaluator_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/conformance"
)

var _ tiergate.Lister = (*evaluator.Engine)(nil)

// The names of a set's flags are had in order and without a decision, of the state in force.
func TestEngine_Names(t *testing.T) {
	e := newEngine(evaluator.Options{})
	if got := slices.Collect(e.Names("")); len(got) != 0 {
		t.Errorf("before the first state there are %v", got)
	}
	in := func(f *tiergate.Flag) { f.Set = "other" }
	apply(t, e, whole(1, boolean("b", nil), boolean("a", nil), boolean("c", in)))
	apply(t, e, step(2, boolean("d", nil), tiergate.Change{Kind: tiergate.KindFlag, Key: "b"}))
	for set, want := range map[string][]string{"": {"a", "d"}, tiergate.DefaultSet: {"a", "d"}, "other": {"c"}, "none": nil} {
		if got := slices.Collect(e.Names(set)); !slices.Equal(got, want) {
			t.Errorf("the flags of %q are %v, want %v", set, got, want)
		}
	}
	for name := range e.Names("") { // which may end early
		if name != "a" {
			t.Errorf("the first name is %q", name)
		}
		break
	}
}

// What a revision changes is told to those whom it concerns, and to nobody else.
func TestEngine_Since_tells_whom_it_concerns(t *testing.T) {
	updated := []tiergate.FlagChange{{Name: "new-dashboard", Kind: tiergate.FlagUpdated}}
	put := func(thing any) []tiergate.Change { return []tiergate.Change{tiergate.PutOf(thing)} }
	alice, bob := tiergate.Audience{UserID: "alice"}, tiergate.Audience{UserID: "bob"}
	everyone, stranger := tiergate.Audience{Everyone: true}, tiergate.Audience{}
	for story, tc := range map[string]struct {
		changes []tiergate.Change
		to      tiergate.Audience
		want    tiergate.Difference
	}{
		"a new flag":                     {[]tiergate.Change{boolean("late", nil)}, stranger, tiergate.Difference{Flags: []tiergate.FlagChange{{Name: "late", Kind: tiergate.FlagWritten}}}},
		"a flag that is put again":       {[]tiergate.Change{boolean("new-dashboard", nil)}, alice, tiergate.Difference{Flags: updated}},
		"a flag that is deleted":         {[]tiergate.Change{{Kind: tiergate.KindFlag, Key: "new-dashboard"}}, alice, tiergate.Difference{Flags: []tiergate.FlagChange{{Name: "new-dashboard", Kind: tiergate.FlagDeleted}}}},
		"a flag of another set":          {[]tiergate.Change{boolean("late", func(f *tiergate.Flag) { f.Set = "other" })}, alice, tiergate.Difference{}},
		"a flag, for those of its set":   {[]tiergate.Change{boolean("late", func(f *tiergate.Flag) { f.Set = "other" })}, tiergate.Audience{Set: "other"}, tiergate.Difference{Flags: []tiergate.FlagChange{{Name: "late", Kind: tiergate.FlagWritten}}}},
		"the definition of a set":        {put(&tiergate.FlagSet{Name: tiergate.DefaultSet}), alice, tiergate.Difference{All: true}},
		"a tier":                         {put(&tiergate.Tier{Key: "gold", Name: "Gold", Rank: 30}), stranger, tiergate.Difference{All: true}},
		"a policy":                       {[]tiergate.Change{bundle(2, denyAll, nil)}, stranger, tiergate.Difference{All: true}},
		"one's own tier":                 {put(&tiergate.User{ID: "bob", Tier: "enterprise"}), bob, tiergate.Difference{Subject: true}},
		"another's tier":                 {put(&tiergate.User{ID: "bob", Tier: "enterprise"}), alice, tiergate.Difference{}},
		"anybody's tier, for everyone":   {put(&tiergate.User{ID: "bob", Tier: "enterprise"}), everyone, tiergate.Difference{Subject: true}},
		"one's team":                     {put(&tiergate.Team{ID: "acme", Name: "Acme", OwnerID: "alice", Tier: "free", Status: tiergate.TeamActive}), alice, tiergate.Difference{Subject: true}},
		"another's team":                 {put(&tiergate.Team{ID: "acme", Name: "Acme", OwnerID: "alice", Tier: "free", Status: tiergate.TeamActive}), bob, tiergate.Difference{}},
		"the team that is named":         {put(&tiergate.Team{ID: "acme", Name: "Acme", OwnerID: "alice", Tier: "free", Status: tiergate.TeamActive}), tiergate.Audience{TeamID: "acme"}, tiergate.Difference{Subject: true}},
		"a team that is gone":            {[]tiergate.Change{{Kind: tiergate.KindTeam, Key: "acme"}}, alice, tiergate.Difference{Subject: true}},
		"one who leaves a team":          {[]tiergate.Change{{Kind: tiergate.KindMember, Key: tiergate.MemberKey("acme", "alice")}}, alice, tiergate.Difference{Subject: true}},
		"one who comes, for who is told": {put(&tiergate.Member{TeamID: "acme", UserID: "bob", Role: tiergate.RoleMember}), bob, tiergate.Difference{Subject: true}},
		"a key":                          {put(&tiergate.Key{ID: "k", TeamID: "acme", State: tiergate.KeyActive}), alice, tiergate.Difference{Keys: true}},
	} {
		t.Run(story, func(t *testing.T) {
			e := demo(t)
			_, more := e.Since(resume(1), tc.to)
			apply(t, e, step(2, tc.changes...))
			select {
			case <-more:
			default:
				t.Error("nobody was woken")
			}
			tc.want.To = resume(2)
			got, _ := e.Since(resume(1), tc.to)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("difference (-want +got):\n%s", diff)
			}
		})
	}
}

// Before the first state there is nothing to tell; then everything is new, also for a place
// that nobody knows.
func TestEngine_Since_a_place_nobody_knows(t *testing.T) {
	e := newEngine(evaluator.Options{})
	d, more := e.Since(tiergate.Resume{}, tiergate.Audience{})
	if d.Any() || d.To != (tiergate.Resume{}) {
		t.Errorf("before the first state: %+v", d)
	}
	apply(t, e, whole(1))
	<-more
	for _, from := range []tiergate.Resume{{}, resume(99), {Epoch: "another", Rev: 1}} {
		if d, _ = e.Since(from, tiergate.Audience{}); !d.All || d.To != resume(1) {
			t.Errorf("since %s: %+v", from, d)
		}
	}
}

// What a refused revision changed is told with the revision that puts it in force; and one
// who missed several is told once. Of a flag that came and went, too: others may have been
// answered about it.
func TestEngine_Since_adds_up(t *testing.T) {
	e := demo(t)
	if err := e.Apply(t.Context(), step(2, boolean("late", nil), bundle(2, "package", nil))); err == nil {
		t.Fatal("a policy that does not parse was taken")
	}
	if d, _ := e.Since(resume(1), tiergate.Audience{}); d.Any() {
		t.Errorf("a refused revision is told: %+v", d)
	}
	apply(t, e, step(3, bundle(3, "", nil)))
	if d, _ := e.Since(resume(1), tiergate.Audience{}); !d.All {
		t.Errorf("the refused policy came and went, and: %+v", d)
	}
	apply(t, e, step(4, boolean("brief", nil), boolean("new-dashboard", nil)))
	apply(t, e, step(5, tiergate.Change{Kind: tiergate.KindFlag, Key: "brief"}, boolean("stays", nil)))
	want := tiergate.Difference{To: resume(5), Flags: []tiergate.FlagChange{{Name: "brief", Kind: "delete"}, {Name: "new-dashboard", Kind: "update"}, {Name: "stays", Kind: "write"}}}
	got, _ := e.Since(resume(3), tiergate.Audience{})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("difference (-want +got):\n%s", diff)
	}
}

// Whoever is so far behind that not everything is kept is told that all may be different.
func TestEngine_Since_is_bounded(t *testing.T) {
	e := demo(t)
	for rev := int64(2); rev < 600; rev++ {
		apply(t, e, step(rev, boolean(fmt.Sprint("f", rev%7), nil)))
	}
	if d, _ := e.Since(resume(1), tiergate.Audience{}); !d.All {
		t.Errorf("600 revisions behind: %+v", d)
	}
	if d, _ := e.Since(resume(500), tiergate.Audience{}); d.All || len(d.Flags) != 7 {
		t.Errorf("100 revisions behind: %+v", d)
	}
}

// Since never misses anything: whenever an answer is different, it is told, by the flag's name
// unless all of the set or the subject is.
func TestEngine_Since_misses_nothing(t *testing.T) {
	users, teams, tiers := []string{"alice", "bob", "carol", "ivan", "dave"}, []string{"acme", "globex", "initech"}, []string{"free", "pro", "enterprise"}
	rapid.Check(t, func(t *rapid.T) {
		e := newEngine(evaluator.Options{})
		mustApply(t, e, whole(1, conformance.Demo()...))
		a := tiergate.Audience{UserID: rapid.SampledFrom(append(users, "")).Draw(t, "user"), TeamID: rapid.SampledFrom(append(teams, "")).Draw(t, "team")}
		from, before := resume(1), answers(e, a)
		for rev := int64(2); rev < 12; rev++ {
			var changes []tiergate.Change
			for range rapid.IntRange(1, 3).Draw(t, "changes") {
				user, team, tier := rapid.SampledFrom(users).Draw(t, "who"), rapid.SampledFrom(teams).Draw(t, "which"), rapid.SampledFrom(tiers).Draw(t, "tier")
				changes = append(changes, rapid.SampledFrom([]tiergate.Change{
					tiergate.PutOf(&tiergate.User{ID: user, Tier: tier}),
					{Kind: tiergate.KindUser, Key: user},
					tiergate.PutOf(&tiergate.Member{TeamID: team, UserID: user, Role: tiergate.RoleMember}),
					{Kind: tiergate.KindMember, Key: tiergate.MemberKey(team, user)},
					tiergate.PutOf(&tiergate.Team{ID: team, Name: team, OwnerID: user, Tier: tier, Status: tiergate.TeamActive}),
					{Kind: tiergate.KindTeam, Key: team},
					boolean("new-dashboard", func(f *tiergate.Flag) { f.Rules.Tiers = []string{tier} }),
					boolean("late-"+tier, nil),
					{Kind: tiergate.KindFlag, Key: "late-" + tier},
					tiergate.PutOf(&tiergate.Tier{Key: "gold", Name: "Gold", Rank: 30}),
					tiergate.PutOf(&tiergate.FlagSet{Name: tiergate.DefaultSet, Metadata: map[string]any{"owner": tier}}),
				}).Draw(t, "change"))
			}
			mustApply(t, e, step(rev, changes...))
			if !rapid.Bool().Draw(t, "look") {
				continue
			}
			after := answers(e, a)
			d, _ := e.Since(from, a)
			for _, flag := range slices.Sorted(maps.Keys(merged(before, after))) {
				named := slices.ContainsFunc(d.Flags, func(c tiergate.FlagChange) bool { return c.Name == flag })
				if before[flag] != after[flag] && !d.All && !d.Subject && !named {
					t.Fatalf("%s was %s and is %s for %+v, and the difference is %+v", flag, before[flag], after[flag], a, d)
				}
			}
			from, before = d.To, after
		}
	})
}

func merged(a, b map[string]string) map[string]string {
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
}

// answers are all answers to an audience, as text.
func answers(e *evaluator.Engine, a tiergate.Audience) map[string]string {
	all := map[string]string{}
	for d := range e.Generation().All(&tiergate.Request{UserID: a.UserID, TeamID: a.TeamID, Now: now}) {
		all[d.Flag] = fmt.Sprintf("%s %s %s %s %v %s", d.Value, d.Variant, d.Reason, d.Tier, d.Denied, d.Metadata)
	}
	return all
}

func mustApply(t *rapid.T, e *evaluator.Engine, r tiergate.Revision) {
	if err := e.Apply(t.Context(), r); err != nil {
		t.Fatalf("Apply: %v", err)
	}
}
