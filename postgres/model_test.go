package postgres_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

// everything is one thing of each kind, with every field that a replica knows.
func everything() []tiergate.Change {
	soon := time.Date(2030, 1, 2, 3, 4, 5, 678901000, time.UTC)
	modules := map[string]string{"access.rego": "package tiergate.access\n\n# \"quoted\" \\ é\n"}
	return []tiergate.Change{
		tiergate.PutOf(&tiergate.Member{TeamID: "acme", UserID: "alice", Role: tiergate.RoleOwner}),
		tiergate.PutOf(&tiergate.Tier{Key: "free", Name: "Free"}),
		tiergate.PutOf(&tiergate.Tier{Key: "pro", Name: "Pro \"é\"", Rank: 10}),
		tiergate.PutOf(&tiergate.FlagSet{Name: "s", Fractional: "v2", Evaluators: map[string]json.RawMessage{"e": json.RawMessage(`{"==": [1, 1]}`)}, Metadata: map[string]any{"m": true}}),
		tiergate.PutOf(&tiergate.Flag{
			ID: "f", Set: "s", Name: "f", Title: "T", Description: "D\n", Type: tiergate.Object, Enabled: true,
			Variants:       map[string]json.RawMessage{"a\"b": json.RawMessage(`{"x": [1, null, "\"y\""]}`), "": json.RawMessage(`{}`)},
			DefaultVariant: "a\"b", Rules: tiergate.Rules{Tiers: []string{"pro"}, Percentage: 12.345}, Metadata: map[string]any{"k": "v"},
		}),
		tiergate.PutOf(&tiergate.Limit{
			ID: "l", Key: "exports", Feature: "exports", Kind: tiergate.Rate, Scope: "team", Class: "local", Period: "second",
			Amounts: map[string]*int64{"free": new(int64(1)), "pro": nil}, Bursts: map[string]int64{"free": 3}, Cost: 2, OnUnavailable: "allowUpTo(5)",
		}),
		tiergate.PutOf(&tiergate.Limit{
			ID: "m", Key: "trainings", Feature: "training", Kind: tiergate.Quota, Scope: "team", Period: "month", Zone: "Europe/Berlin",
			Anchor: "2026-01-31T15:00:00", Amounts: map[string]*int64{},
		}),
		tiergate.PutOf(&tiergate.User{ID: "alice", Tier: "pro", Attributes: json.RawMessage(`{"age": 30, "name": "é"}`)}),
		tiergate.PutOf(&tiergate.User{ID: "bob", Tier: "free"}),
		tiergate.PutOf(&tiergate.Team{ID: "acme", Name: "Acme", OwnerID: "alice", Tier: "pro", Status: "active", Settings: tiergate.TeamSettings{MaxMembers: 9, AllowedFeatures: []string{"f"}}}),
		tiergate.PutOf(&tiergate.Key{ID: "key", TeamID: "acme", Hash: strings.Repeat("ab", 32), Scopes: []string{"eval", "a,\"b"}, Sets: []string{"s"}, State: tiergate.KeyActive, ExpiresAt: soon}),
		tiergate.PutOf(&tiergate.Override{ID: "o", TeamID: "acme", LimitKey: "exports", ExpiresAt: soon}),
		tiergate.PutOf(&tiergate.Grant{ID: "g", UserID: "bob", LimitKey: "exports", Amount: 5, Priority: -1, StartsAt: soon, ExpiresAt: soon.Add(time.Hour)}),
		tiergate.PutOf(&tiergate.PolicyBundle{ID: "p", Modules: modules, Hash: tiergate.ModulesHash(modules), Admission: "opa", Comment: "c", CreatedBy: "x"}),
	}
}

// plainOf is a thing without what the database stamps on it.
func plainOf(thing any) any {
	switch t := thing.(type) {
	case *tiergate.Flag:
		c := *t
		c.Version, c.CreatedAt, c.UpdatedAt = 0, time.Time{}, time.Time{}
		return c
	case *tiergate.Tier:
		return tiergate.Tier{Key: t.Key, Name: t.Name, Rank: t.Rank}
	case *tiergate.Limit:
		c := *t
		c.Version, c.CreatedAt, c.UpdatedAt = 0, time.Time{}, time.Time{}
		return c
	case *tiergate.Team:
		c := *t
		c.Version, c.CreatedAt, c.UpdatedAt = 0, time.Time{}, time.Time{}
		return c
	case *tiergate.PolicyBundle:
		c := *t
		c.Version, c.CreatedAt = 0, time.Time{}
		return c
	}
	return thing
}

func byKey(changes []tiergate.Change) map[string]any {
	out := map[string]any{}
	for _, c := range changes {
		if c.Put != nil {
			out[string(c.Kind)+"/"+c.Key] = plainOf(c.Put)
		}
	}
	return out
}

// Every kind of thing comes out of a snapshot and out of the log as it went in; seeding
// is one revision, and a database that has something is not seeded.
func TestEverything_round_trips(t *testing.T) {
	url := pgtest.New(t)
	db := open(t, url)
	l, _ := follow(t, cfgOf(url), tiergate.Resume{})
	l.next(t)
	if done, err := db.SeedDemo(t.Context(), everything()); err != nil || !done {
		t.Fatalf("SeedDemo = %v, %v", done, err)
	}
	if done, err := db.SeedDemo(t.Context(), everything()); err != nil || done {
		t.Errorf("SeedDemo again = %v, %v; want nothing done", done, err)
	}
	want := byKey(everything())
	revision := l.next(t)
	if diff := cmp.Diff(want, byKey(revision.changes)); diff != "" {
		t.Errorf("the revision mismatch (-want +got):\n%s", diff)
	}
	l, _ = follow(t, cfgOf(url), tiergate.Resume{})
	whole := l.next(t)
	want["flag_set/default"] = &tiergate.FlagSet{Name: "default", Fractional: "v2"}
	if diff := cmp.Diff(want, byKey(whole.changes)); diff != "" {
		t.Errorf("the snapshot mismatch (-want +got):\n%s", diff)
	}
	if revision.Resume != whole.Resume {
		t.Errorf("seeded at %v and read at %v", revision.Resume, whole.Resume)
	}
}

// Published policies follow each other; a replica holds the one in force only.
func TestPolicies(t *testing.T) {
	url := pgtest.New(t)
	db := open(t, url)
	if _, err := db.CurrentPolicy(t.Context()); tiergate.CodeOf(err) != tiergate.NotFound {
		t.Errorf("CurrentPolicy = %v, want not found", err)
	}
	publish := func(text string, w tiergate.Write) error {
		m := map[string]string{"a.rego": text}
		_, err := db.PublishPolicy(t.Context(), tiergate.PolicyBundle{Modules: m, Hash: tiergate.ModulesHash(m), Admission: "x"}, w)
		return err
	}
	for _, text := range []string{"one", "two", "three"} {
		if err := publish(text, clerk); err != nil {
			t.Fatal(err)
		}
	}
	if err := publish("four", tiergate.Write{IfVersion: 2}); tiergate.CodeOf(err) != tiergate.Stale {
		t.Errorf("publish over a version that is not in force: %v, want stale", err)
	}
	if _, err := db.PublishPolicy(t.Context(), tiergate.PolicyBundle{Hash: "x", Admission: "x"}, clerk); tiergate.CodeOf(err) != tiergate.Invalid {
		t.Errorf("publish what was not admitted: %v, want invalid", err)
	}
	current, err := db.CurrentPolicy(t.Context())
	if err != nil || current.Version != 3 || current.Modules["a.rego"] != "three" || current.CreatedBy != "clerk" {
		t.Errorf("CurrentPolicy = %+v, %v", current, err)
	}
	first, err := db.Policies(t.Context(), tiergate.Page{Size: 2})
	if err != nil || len(first.Items) != 2 || first.Items[0].Version != 3 {
		t.Fatalf("Policies = %+v, %v", first, err)
	}
	last, err := db.Policies(t.Context(), tiergate.Page{Size: 2, Token: first.Next})
	if err != nil || len(last.Items) != 1 || last.Items[0].Version != 1 || last.Next != "" {
		t.Errorf("the last page = %+v, %v", last, err)
	}
	l, _ := follow(t, cfgOf(url), tiergate.Resume{})
	held := 0
	for _, c := range l.next(t).changes {
		if b, ok := c.Put.(*tiergate.PolicyBundle); ok && b.Version == 3 {
			held++
		} else if ok {
			t.Errorf("version %d is in the snapshot", b.Version)
		}
	}
	if held != 1 {
		t.Errorf("the snapshot holds the policy %d times", held)
	}
}

// A tier that anything names stays; ranks are unique, and can be swapped.
func TestTiers(t *testing.T) {
	url := pgtest.New(t)
	db := open(t, url)
	if _, err := db.SeedDemo(t.Context(), everything()); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"free", "pro"} {
		if _, err := db.DeleteTier(t.Context(), key, clerk); tiergate.CodeOf(err) != tiergate.Conflict {
			t.Errorf("delete %s: %v, want conflict", key, err)
		}
	}
	if _, err := db.CreateTier(t.Context(), tiergate.Tier{Key: "x", Name: "X", Rank: 10}, clerk); tiergate.CodeOf(err) != tiergate.Conflict {
		t.Errorf("a rank twice: %v, want conflict", err)
	}
	if _, err := db.CreateTier(t.Context(), tiergate.Tier{Key: "x", Name: "X", Rank: 11}, clerk); err != nil {
		t.Fatal(err)
	}
	never := tiergate.Write{IfVersion: math.MaxInt64}
	if _, err := db.UpdateTier(t.Context(), tiergate.Tier{Key: "x", Name: "Y", Rank: 12}, never); tiergate.CodeOf(err) != tiergate.Stale {
		t.Errorf("update of a version that never was: %v, want stale", err)
	}
	if _, err := db.DeleteTier(t.Context(), "x", never); tiergate.CodeOf(err) != tiergate.Stale {
		t.Errorf("delete of a version that never was: %v, want stale", err)
	}
	up, err := db.UpdateTier(t.Context(), tiergate.Tier{Key: "x", Name: "Y", Rank: 12}, tiergate.Write{IfVersion: 1})
	if err != nil || up.Thing.Version != 2 || up.Thing.Name != "Y" {
		t.Errorf("update = %+v, %v", up, err)
	}
	if gone, err := db.DeleteTier(t.Context(), "x", clerk); err != nil || gone.Thing.Name != "Y" {
		t.Errorf("delete = %+v, %v", gone, err)
	}
	if tiers, err := db.Tiers(t.Context()); err != nil || len(tiers) != 2 || tiers[0].Key != "free" {
		t.Errorf("Tiers = %+v, %v", tiers, err)
	}
}

// Limits are kept as given; one with overrides stays; teams, users and members are read.
func TestLimits_teams_users(t *testing.T) {
	db := open(t, pgtest.New(t))
	if _, err := db.SeedDemo(t.Context(), everything()); err != nil {
		t.Fatal(err)
	}
	l, err := db.Limit(t.Context(), "l")
	if err != nil {
		t.Fatal(err)
	}
	l.Cost = 7
	never := tiergate.Write{IfVersion: math.MaxInt64}
	if _, err := db.UpdateLimit(t.Context(), l, never); tiergate.CodeOf(err) != tiergate.Stale {
		t.Errorf("update of a version that never was: %v, want stale", err)
	}
	if up, err := db.UpdateLimit(t.Context(), l, tiergate.Write{IfVersion: 1}); err != nil || up.Thing.Cost != 7 || up.Thing.Version != 2 {
		t.Errorf("update = %+v, %v", up, err)
	}
	if _, err := db.DeleteLimit(t.Context(), "l", clerk); tiergate.CodeOf(err) != tiergate.Conflict {
		t.Errorf("delete: %v, want conflict", err)
	}
	l.ID, l.Key = "", "other"
	made, err := db.CreateLimit(t.Context(), l, clerk)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := db.Limits(t.Context(), "exports", tiergate.Page{Size: 1}); err != nil || len(list.Items) != 1 || list.Next == "" {
		t.Errorf("Limits = %+v, %v", list, err)
	}
	if _, err := db.DeleteLimit(t.Context(), made.Thing.ID, clerk); err != nil {
		t.Error(err)
	}
	if members, err := db.Members(t.Context(), "acme"); err != nil || len(members) != 1 {
		t.Errorf("Members = %v, %v", members, err)
	}
	if _, err := db.Members(t.Context(), "ghost"); tiergate.CodeOf(err) != tiergate.NotFound {
		t.Errorf("Members of a ghost: %v", err)
	}
	if teams, err := db.Teams(t.Context(), tiergate.Page{}); err != nil || len(teams.Items) != 1 {
		t.Errorf("Teams = %v, %v", teams, err)
	}
	if users, err := db.Users(t.Context(), tiergate.Page{Size: 1}); err != nil || len(users.Items) != 1 || users.Next == "" {
		t.Errorf("Users = %v, %v", users, err)
	}
	if u, err := db.User(t.Context(), "alice"); err != nil || u.Tier != "pro" {
		t.Errorf("User = %v, %v", u, err)
	}
}
