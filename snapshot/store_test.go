package snapshot_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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

// model is a plain map of everything, keyed by kind and key.
type model map[string]any

func (m model) apply(changes []tiergate.Change) model {
	next := maps.Clone(m)
	for _, c := range changes {
		switch name := string(c.Kind) + " " + c.Key; {
		case spoiled(c):
		case c.Put == nil:
			delete(next, name)
		default:
			next[name] = c.Put
		}
	}
	return next
}

func (m model) revision(r tiergate.Resume, order []int) tiergate.Revision {
	keys := slices.Sorted(maps.Keys(m))
	var changes []tiergate.Change
	for i := range keys {
		changes = append(changes, tiergate.PutOf(m[keys[(i+order[0])%len(keys)]]))
	}
	return tiergate.Revision{Resume: r, Whole: true, Changes: tiergate.ChangesOf(changes...)}
}

func get[T any](m model, kind tiergate.Kind, key string) *T {
	t, _ := m[string(kind)+" "+key].(*T)
	return t
}

const things = 7 // ids of each kind: few, so that changes meet

func id(kind string, n int) string { return fmt.Sprint(kind, "-", n) }

func genPut(t *rapid.T, kind tiergate.Kind, n int) any {
	pick := func(label string) int { return rapid.IntRange(0, things-1).Draw(t, label) }
	switch kind {
	case tiergate.KindFlagSet:
		return &tiergate.FlagSet{Name: id("set", n%3), Metadata: map[string]any{"n": pick("metadata")}}
	case tiergate.KindFlag:
		return &tiergate.Flag{
			ID: id("f", n), Set: id("set", pick("set")%3), Name: id("flag", pick("name")), Type: tiergate.Boolean,
			Variants: map[string]json.RawMessage{"on": []byte("true"), "off": []byte("false")}, Version: int64(pick("version")),
			UpdatedAt: time.Unix(int64(pick("at")), 0),
		}
	case tiergate.KindTier:
		return &tiergate.Tier{Key: id("tier", n), Rank: pick("rank")}
	case tiergate.KindLimit:
		return &tiergate.Limit{ID: id("l", n), Key: id("limit", n), Feature: id("flag", pick("feature"))}
	case tiergate.KindTeam:
		return &tiergate.Team{ID: id("team", n), Tier: id("tier", pick("tier"))}
	case tiergate.KindUser:
		return &tiergate.User{ID: id("user", n), Tier: id("tier", pick("tier")), Attributes: json.RawMessage(rapid.SampledFrom([]string{"", `{"a":1}`, `{"plan":"x","n":[1,2]}`}).Draw(t, "attributes"))}
	case tiergate.KindMember:
		role := rapid.SampledFrom([]tiergate.Role{tiergate.RoleOwner, tiergate.RoleAdmin, tiergate.RoleMember}).Draw(t, "role")
		return &tiergate.Member{TeamID: id("team", pick("team")), UserID: id("user", n), Role: role}
	case tiergate.KindKey:
		return &tiergate.Key{ID: id("key", n), TeamID: id("team", pick("team")), State: tiergate.KeyActive}
	case tiergate.KindOverride:
		return &tiergate.Override{ID: id("o", n), UserID: id("user", pick("user")), LimitKey: "l"}
	case tiergate.KindGrant:
		return &tiergate.Grant{ID: id("g", n), TeamID: id("team", pick("team")), LimitKey: "l", Amount: 1}
	}
	return &tiergate.PolicyBundle{ID: id("p", n), Version: int64(n), Comment: fmt.Sprint(pick("comment"))}
}

var kinds = []tiergate.Kind{
	tiergate.KindFlagSet, tiergate.KindFlag, tiergate.KindTier, tiergate.KindLimit, tiergate.KindTeam, tiergate.KindUser,
	tiergate.KindMember, tiergate.KindKey, tiergate.KindOverride, tiergate.KindGrant, tiergate.KindPolicy,
}

func genChanges(t *rapid.T, most int) []tiergate.Change {
	changes := make([]tiergate.Change, rapid.IntRange(0, most).Draw(t, "changes"))
	for i := range changes {
		kind := rapid.SampledFrom(kinds).Draw(t, "kind")
		put := genPut(t, kind, rapid.IntRange(0, things-1).Draw(t, "n"))
		changes[i] = tiergate.PutOf(put)
		switch rapid.IntRange(0, 11).Draw(t, "what") {
		case 0, 1, 2:
			changes[i].Put = nil
		case 3:
			changes[i].Put = spoil(put)
		}
	}
	return changes
}

// Any sequence of revisions, some broken off by an error, some whole, some with changes
// that cannot be applied, leaves what a plain map holds: by every look-up and by the digest
// of a replay from scratch. Older views stay.
func TestStore_is_what_a_map_would_be(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var store snapshot.Store
		held := model{}
		type version struct {
			view *snapshot.View
			held model
			bad  []string
		}
		var versions []version
		bad := map[string]bool{}
		for rev := range int64(rapid.IntRange(1, 10).Draw(t, "revisions")) {
			changes := genChanges(t, 25)
			resume := tiergate.Resume{Epoch: "e", Rev: rev + 1}
			r := tiergate.Revision{Resume: resume, Changes: tiergate.ChangesOf(changes...)}
			base := held
			if rev == 0 || rapid.IntRange(0, 9).Draw(t, "whole") == 0 {
				r.Whole, base, bad = true, model{}, map[string]bool{}
			}
			if rapid.IntRange(0, 4).Draw(t, "broken") == 0 {
				checkBroken(t, &store, r)
			}
			view, _, err := store.Apply(r)
			if err != nil {
				t.Fatalf("Apply: %v", err)
			}
			held = base.apply(changes)
			bad = badAfter(bad, changes)
			versions = append(versions, version{view, held, slices.Sorted(maps.Keys(bad))})
		}
		for _, v := range versions {
			if diff := cmp.Diff(v.bad, badNames(v.view), cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("Bad mismatch (-want +got):\n%s", diff)
			}
			checkView(t, v.view, v.held)
		}
	})
}

func checkBroken(t *rapid.T, store *snapshot.Store, r tiergate.Revision) {
	before := store.View()
	changes := r.Changes
	r.Changes = func(yield func(tiergate.Change, error) bool) {
		for c, err := range changes {
			if !yield(c, err) {
				return
			}
		}
		yield(tiergate.Change{}, errors.New("the line broke"))
	}
	if _, _, err := store.Apply(r); err == nil || !strings.Contains(err.Error(), "the line broke") {
		t.Fatalf("Apply of a broken stream: %v", err)
	}
	if store.View() != before {
		t.Fatal("a broken stream changed the store")
	}
}

func checkView(t *rapid.T, v *snapshot.View, m model) {
	got := model{}
	for c, err := range v.State().Changes {
		if err != nil {
			t.Fatal(err)
		}
		got[string(c.Kind)+" "+c.Key] = c.Put
	}
	if diff := cmp.Diff(m, got, cmp.Transformer("json", func(r json.RawMessage) string { return string(r) })); diff != "" {
		t.Fatalf("State mismatch (-want +got):\n%s", diff)
	}
	var again snapshot.Store
	order := []int{rapid.IntRange(0, 100).Draw(t, "order")}
	replayed, _, err := again.Apply(m.revision(v.Resume(), order))
	if err != nil {
		t.Fatal(err)
	}
	if v.Digest() != replayed.Digest() {
		t.Fatal("the digest depends on history")
	}
	checkLookups(t, v, m)
}

func checkLookups(t *rapid.T, v *snapshot.View, m model) {
	for n := range things {
		want := get[tiergate.Key](m, tiergate.KindKey, id("key", n))
		if got, ok := v.Key(id("key", n)); got != want || ok != (want != nil) {
			t.Fatalf("Key(%d) = %v, want %v", n, got, want)
		}
		team, row := v.Team(id("team", n)), get[tiergate.Team](m, tiergate.KindTeam, id("team", n))
		if (team == nil) != (row == nil) || team != nil && team.Team != row {
			t.Fatalf("Team(%d) = %v, want %v", n, team, row)
		}
		checkUser(t, v, m, id("user", n))
		for s := range 3 {
			checkFlag(t, v, m, id("set", s), id("flag", n))
		}
		limits := slices.Collect(v.Limits(id("flag", n)))
		for _, l := range limits {
			if l.Feature != id("flag", n) || get[tiergate.Limit](m, tiergate.KindLimit, l.ID) != l {
				t.Fatalf("Limits(flag-%d) holds %v", n, l)
			}
		}
	}
	for i, tier := range v.Tiers() {
		if i > 0 && v.Tiers()[i-1].Rank > tier.Rank || get[tiergate.Tier](m, tiergate.KindTier, tier.Key) != tier {
			t.Fatalf("Tiers has %v at %d", tier, i)
		}
	}
	var newest *tiergate.PolicyBundle
	for n := range things {
		if b := get[tiergate.PolicyBundle](m, tiergate.KindPolicy, id("p", n)); b != nil {
			newest = b
		}
	}
	if v.Policy() != newest {
		t.Fatalf("Policy is %v, want %v", v.Policy(), newest)
	}
}

func checkUser(t *rapid.T, v *snapshot.View, m model, user string) {
	got, ok := v.User(user)
	want := get[tiergate.User](m, tiergate.KindUser, user)
	if ok != (want != nil) {
		t.Fatalf("User(%s): found is %v", user, ok)
	}
	if !ok {
		return
	}
	if got.ID() != user || got.Tier() != want.Tier || got.Attributes() != string(want.Attributes) {
		t.Fatalf("User(%s) = %q %q, want %+v", user, got.Tier(), got.Attributes(), want)
	}
	teams := map[string]tiergate.Role{}
	for ms := got.Memberships(); ; {
		team, role, ok := ms.Next()
		if !ok {
			break
		}
		teams[team.ID] = role
	}
	expected := map[string]tiergate.Role{}
	for n := range things {
		member := get[tiergate.Member](m, tiergate.KindMember, tiergate.MemberKey(id("team", n), user))
		if member != nil && get[tiergate.Team](m, tiergate.KindTeam, id("team", n)) != nil {
			expected[id("team", n)] = member.Role
		}
	}
	if diff := cmp.Diff(expected, teams); diff != "" {
		t.Fatalf("Memberships of %s mismatch (-want +got):\n%s", user, diff)
	}
}

func checkFlag(t *rapid.T, v *snapshot.View, m model, set, name string) {
	var want *tiergate.Flag
	for n := things - 1; n >= 0; n-- {
		if f := get[tiergate.Flag](m, tiergate.KindFlag, id("f", n)); f != nil && f.Set == set && f.Name == name {
			want = f
		}
	}
	if diff := cmp.Diff(want, v.Flag(set, name)); diff != "" {
		t.Fatalf("Flag(%s, %s) mismatch (-want +got):\n%s", set, name, diff)
	}
}

// Thousands of users come and go, leaves split and merge, and each is found.
func TestStore_many_users(t *testing.T) {
	var store snapshot.Store
	apply := func(rev int64, whole bool, changes []tiergate.Change) *snapshot.View {
		t.Helper()
		v, _, err := store.Apply(tiergate.Revision{Resume: tiergate.Resume{Epoch: "e", Rev: rev}, Whole: whole, Changes: tiergate.ChangesOf(changes...)})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	const n = 20000
	var puts, deletes []tiergate.Change
	for i := range n {
		user := id("user", i)
		puts = append(puts, tiergate.PutOf(&tiergate.Member{TeamID: id("team", i%500), UserID: user, Role: tiergate.RoleMember}),
			tiergate.PutOf(&tiergate.User{ID: user, Tier: "pro", Attributes: fmt.Appendf(nil, `{"n":%d}`, i)}))
		if i%100 != 0 {
			deletes = append(deletes, tiergate.Change{Kind: tiergate.KindUser, Key: user},
				tiergate.Change{Kind: tiergate.KindMember, Key: tiergate.MemberKey(id("team", i%500), user)})
		}
	}
	full := apply(1, true, puts)
	few := apply(2, false, deletes)
	for i := range n {
		u, ok := full.User(id("user", i))
		if !ok || u.Attributes() != fmt.Sprintf(`{"n":%d}`, i) {
			t.Fatalf("user %d of the full view: %v %q", i, ok, u.Attributes())
		}
		if _, ok := few.User(id("user", i)); ok != (i%100 == 0) {
			t.Fatalf("user %d of the small view: %v", i, ok)
		}
	}
	if full.Users() != n || full.Members() != n || few.Users() != n/100 || few.Members() != n/100 {
		t.Errorf("counts are %d, %d and %d, %d", full.Users(), full.Members(), few.Users(), few.Members())
	}
}

// What cannot be applied is refused with a code and a sentence, and changes nothing.
func TestStore_refuses(t *testing.T) {
	at := func(rev int64) tiergate.Resume { return tiergate.Resume{Epoch: "e", Rev: rev} }
	user := &tiergate.User{ID: "u"}
	manyBad := func(yield func(tiergate.Change, error) bool) {
		for n := 0; yield(tiergate.PutOf(spoil(&tiergate.User{ID: id("user", n)})), nil); n++ {
		}
	}
	for name, tc := range map[string]struct {
		r    tiergate.Revision
		code tiergate.Code
	}{
		"a revision that leaves one out":     {tiergate.Revision{Resume: at(7), Changes: tiergate.ChangesOf()}, tiergate.Conflict},
		"a revision of another history":      {tiergate.Revision{Resume: tiergate.Resume{Epoch: "x", Rev: 2}, Changes: tiergate.ChangesOf()}, tiergate.Conflict},
		"no changes at all":                  {tiergate.Revision{Resume: at(2)}, tiergate.Invalid},
		"more bad changes than it remembers": {tiergate.Revision{Resume: at(2), Changes: manyBad}, tiergate.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			var store snapshot.Store
			if _, _, err := store.Apply(tiergate.Revision{Resume: at(1), Whole: true, Changes: tiergate.ChangesOf(tiergate.PutOf(user))}); err != nil {
				t.Fatal(err)
			}
			before := store.View()
			if _, _, err := store.Apply(tc.r); tiergate.CodeOf(err) != tc.code {
				t.Errorf("Apply: %v, want code %s", err, tc.code)
			}
			if store.View() != before {
				t.Error("the store changed")
			}
		})
	}
}

// Finding a user, a team and the memberships allocates nothing.
func TestView_lookups_do_not_allocate(t *testing.T) {
	var store snapshot.Store
	v, _, err := store.Apply(tiergate.Revision{Whole: true, Changes: tiergate.ChangesOf(
		tiergate.PutOf(&tiergate.User{ID: "u", Tier: "pro", Attributes: []byte(`{"a":1}`)}),
		tiergate.PutOf(&tiergate.Team{ID: "t"}),
		tiergate.PutOf(&tiergate.Member{TeamID: "t", UserID: "u", Role: tiergate.RoleOwner}),
		tiergate.PutOf(&tiergate.Key{ID: "k"}),
	)})
	if err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(100, func() {
		u, _ := v.User("u")
		ms := u.Memberships()
		team, role, _ := ms.Next()
		key, _ := v.Key("k")
		if team != v.Team("t") || role != tiergate.RoleOwner || u.Tier() != "pro" || key == nil {
			t.Fatal("not found")
		}
	})
	if n != 0 {
		t.Errorf("looking up allocates %v times", n)
	}
}
