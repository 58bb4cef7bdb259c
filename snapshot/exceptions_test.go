package snapshot_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/snapshot"
)

// exceptionChange puts or deletes an override or a grant, of a team or a user.
func exceptionChange(t *rapid.T) tiergate.Change {
	few := func(label string) int { return rapid.IntRange(0, 2).Draw(t, label) }
	var team, user string
	if rapid.Bool().Draw(t, "team") {
		team = id("team", few("owner"))
	} else {
		user = id("user", few("owner"))
	}
	when := func(label string) time.Time {
		if n := few(label); n > 0 {
			return time.Unix(int64(n), 0)
		}
		return time.Time{}
	}
	var thing any
	if limit := id("limit", few("limit")); rapid.Bool().Draw(t, "override") {
		thing = &tiergate.Override{
			ID: id("o", rapid.IntRange(0, 19).Draw(t, "n")), TeamID: team, UserID: user, LimitKey: limit, ExpiresAt: when("ends"),
		}
	} else {
		thing = &tiergate.Grant{
			ID: id("g", rapid.IntRange(0, 19).Draw(t, "n")), TeamID: team, UserID: user, LimitKey: limit,
			Priority: few("priority"), ExpiresAt: when("ends"), StartsAt: when("begins"),
		}
	}
	c := tiergate.PutOf(thing)
	switch rapid.IntRange(0, 7).Draw(t, "what") {
	case 0, 1:
		c.Put = nil
	case 2:
		c.Put = spoil(thing)
	}
	return c
}

// After any revisions everybody has the exceptions that the tables say, in the order in which
// they are spent; and older views stay as they were.
func TestView_exceptions_are_what_the_tables_say(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var store snapshot.Store
		var views []*snapshot.View
		var then []string
		for rev := range int64(rapid.IntRange(1, 8).Draw(t, "revisions")) {
			var changes []tiergate.Change
			for range rapid.IntRange(0, 30).Draw(t, "changes") {
				changes = append(changes, exceptionChange(t))
			}
			v, _, err := store.Apply(tiergate.Revision{
				Resume: tiergate.Resume{Epoch: "e", Rev: rev + 1}, Changes: tiergate.ChangesOf(changes...),
				Whole: rev == 0 || rapid.IntRange(0, 5).Draw(t, "whole") == 0,
			})
			if err != nil {
				t.Fatal(err)
			}
			views, then = append(views, v), append(then, checkExceptions(t, v))
		}
		for i, v := range views {
			if now := checkExceptions(t, v); now != then[i] {
				t.Fatalf("view %d has changed:\n%s\nand was\n%s", i, now, then[i])
			}
		}
	})
}

// checkExceptions holds the index against the tables and tells what is in it.
func checkExceptions(t *rapid.T, v *snapshot.View) string {
	var told strings.Builder
	for n := range 4 { // the fourth is nobody
		team, user := id("team", n), id("user", n)
		checkOwner(t, team, v.TeamExceptions(team), slices.Collect(v.TeamOverrides(team)), slices.Collect(v.TeamGrants(team)))
		checkOwner(t, user, v.UserExceptions(user), slices.Collect(v.UserOverrides(user)), slices.Collect(v.UserGrants(user)))
		for _, x := range []*snapshot.Exceptions{v.TeamExceptions(team), v.UserExceptions(user)} {
			if x != nil {
				fmt.Fprintf(&told, "%s %s:", team, user)
				for _, o := range x.Overrides {
					fmt.Fprintf(&told, " %+v", *o)
				}
				for _, g := range x.Grants {
					fmt.Fprintf(&told, " %+v", *g)
				}
			}
		}
	}
	return told.String()
}

func checkOwner(t *rapid.T, who string, x *snapshot.Exceptions, overrides []*tiergate.Override, grants []*tiergate.Grant) {
	if (x == nil) != (len(overrides)+len(grants) == 0) {
		t.Fatalf("the exceptions of %s are %v; the tables have %d overrides and %d grants", who, x, len(overrides), len(grants))
	}
	for n := range 4 {
		limit := id("limit", n)
		gotOverrides, gotGrants := x.Of(limit)
		wantOverrides := inOrder(overrides, func(o *tiergate.Override) string { return overrideOrder(o, limit) })
		if diff := cmp.Diff(wantOverrides, gotOverrides, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("overrides of %s on %s (-want +got):\n%s", who, limit, diff)
		}
		wantGrants := inOrder(grants, func(g *tiergate.Grant) string { return grantOrder(g, limit) })
		if diff := cmp.Diff(wantGrants, gotGrants, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("grants of %s on %s (-want +got):\n%s", who, limit, diff)
		}
	}
}

// inOrder sorts rows by a text, leaving out those whose text is "".
func inOrder[T any](rows []*T, text func(*T) string) []*T {
	rows = slices.DeleteFunc(slices.Clone(rows), func(row *T) bool { return text(row) == "" })
	slices.SortFunc(rows, func(a, b *T) int { return strings.Compare(text(a), text(b)) })
	return rows
}

func overrideOrder(o *tiergate.Override, limit string) string {
	if o.LimitKey != limit {
		return ""
	}
	return endText(o.ExpiresAt) + " " + o.ID
}

func grantOrder(g *tiergate.Grant, limit string) string {
	if g.LimitKey != limit {
		return ""
	}
	return fmt.Sprint(g.Priority, " ", endText(g.ExpiresAt), " ", g.ID)
}

func endText(t time.Time) string {
	if t.IsZero() {
		return "never" // behind all digits
	}
	return fmt.Sprintf("%03d", t.Unix())
}

// Looking up what exceptions a team and a user have allocates nothing.
func TestView_exceptions_do_not_allocate(t *testing.T) {
	v := exceptional(t, 1000)
	n := testing.AllocsPerRun(100, func() {
		overrides, grants := v.TeamExceptions("team-7").Of("limit-1")
		_, none := v.UserExceptions("nobody").Of("limit-1")
		if len(overrides) != 1 || len(grants) != 1 || none != nil {
			t.Fatal("not found")
		}
	})
	if n != 0 {
		t.Errorf("looking exceptions up allocates %v times", n)
	}
}

// exceptional is a view of teams that have three overrides and grants each.
func exceptional(tb testing.TB, teams int) *snapshot.View {
	tb.Helper()
	var changes []tiergate.Change
	for n := range teams {
		for limit := range 3 {
			name := fmt.Sprint(n, "-", limit)
			changes = append(changes,
				tiergate.PutOf(&tiergate.Override{ID: name, TeamID: id("team", n), LimitKey: id("limit", limit)}),
				tiergate.PutOf(&tiergate.Grant{ID: name, TeamID: id("team", n), LimitKey: id("limit", limit), Amount: 1}))
		}
	}
	var store snapshot.Store
	v, _, err := store.Apply(tiergate.Revision{Whole: true, Changes: tiergate.ChangesOf(changes...)})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func BenchmarkView_exceptions(b *testing.B) {
	v := exceptional(b, 10_000)
	for name, team := range map[string]string{"some": "team-777", "none": "nobody"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, grants := v.TeamExceptions(team).Of("limit-1"); (len(grants) == 0) != (name == "none") {
					b.Fatal("wrong")
				}
			}
		})
	}
}
