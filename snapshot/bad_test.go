package snapshot_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/snapshot"
)

// spoil makes a thing that cannot be applied out of one that can.
func spoil(thing any) any {
	if u, ok := thing.(*tiergate.User); ok {
		return &tiergate.User{ID: u.ID, Tier: u.Tier, Attributes: []byte(`["no object"]`)}
	}
	return &tiergate.Tier{Key: "of another kind or key"}
}

func spoiled(c tiergate.Change) bool {
	switch t := c.Put.(type) {
	case *tiergate.User:
		return strings.HasPrefix(string(t.Attributes), "[")
	case *tiergate.Tier:
		return t.Key != c.Key
	}
	return false
}

// badAfter names the things whose newest change cannot be applied.
func badAfter(bad map[string]bool, changes []tiergate.Change) map[string]bool {
	bad = maps.Clone(bad)
	for _, c := range changes {
		name := string(c.Kind) + " " + c.Key
		if delete(bad, name); spoiled(c) {
			bad[name] = true
		}
	}
	return bad
}

func badNames(v *snapshot.View) (names []string) {
	for _, b := range v.Bad() {
		names = append(names, string(b.Kind)+" "+b.Key)
	}
	return names
}

// What cannot be applied is left out with a reason, and what comes with it is not; the next
// revision goes on top.
func TestStore_leaves_out_what_is_bad(t *testing.T) {
	at := func(rev int64) tiergate.Resume { return tiergate.Resume{Epoch: "e", Rev: rev} }
	user := &tiergate.User{ID: "u", Tier: "free"}
	for why, tc := range map[string]struct {
		bad  tiergate.Change
		want string
	}{
		"a thing under another key":             {tiergate.Change{Kind: tiergate.KindUser, Key: "v", Put: user}, `user "v": the change puts "u"`},
		"a thing of another kind":               {tiergate.Change{Kind: tiergate.KindTier, Key: "u", Put: user}, `tier "u": the change puts a *tiergate.User`},
		"nothing that has a kind":               {tiergate.Change{Kind: tiergate.KindUser, Key: "u", Put: (*tiergate.User)(nil)}, `user "u": the change puts a *tiergate.User`},
		"a kind that does not exist":            {tiergate.Change{Kind: "x", Key: "u"}, `x "u": there is no such kind of thing`},
		"attributes that are not an object":     {tiergate.PutOf(&tiergate.User{ID: "u", Tier: "pro", Attributes: []byte(`[1]`)}), `user "u": attributes are not a JSON object`},
		"attributes that are not JSON":          {tiergate.PutOf(&tiergate.User{ID: "u", Tier: "pro", Attributes: []byte(`{`)}), `user "u": attributes are not a JSON object`},
		"a membership whose key is not two ids": {tiergate.Change{Kind: tiergate.KindMember, Key: "m"}, `member "m": the key of a membership is not two ids`},
	} {
		t.Run(why, func(t *testing.T) {
			var store snapshot.Store
			apply := func(r tiergate.Revision, changes ...tiergate.Change) *snapshot.View {
				t.Helper()
				r.Changes = tiergate.ChangesOf(changes...)
				v, _, err := store.Apply(r)
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
			apply(tiergate.Revision{Resume: at(1), Whole: true}, tiergate.PutOf(user))
			v := apply(tiergate.Revision{Resume: at(2)}, tc.bad, tiergate.PutOf(&tiergate.Team{ID: "t"}))
			bad := v.Bad()
			if len(bad) != 1 || bad[0].Kind != tc.bad.Kind || bad[0].Key != tc.bad.Key || bad[0].Err.Error() != tc.want || tiergate.CodeOf(bad[0].Err) != tiergate.Invalid {
				t.Errorf("Bad: %+v, want %s", bad, tc.want)
			}
			if u, ok := v.User("u"); !ok || u.Tier() != "free" || v.Team("t") == nil {
				t.Error("the user is another, or the team that came with it is not there")
			}
			next := apply(tiergate.Revision{Resume: at(3)})
			if diff := cmp.Diff(badNames(v), badNames(next)); diff != "" {
				t.Errorf("Bad after a revision that does not touch it (-before +after):\n%s", diff)
			}
			if v := apply(tiergate.Revision{Resume: at(4), Whole: true}); v.Bad() != nil {
				t.Errorf("Bad of a whole state: %+v", v.Bad())
			}
		})
	}
}
