package syncer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
)

// The committed examples, which show every key, are read to the last one.
func TestSettings_reads_every_key(t *testing.T) {
	read := func(name string) *settings {
		data, err := os.ReadFile(filepath.Join("testdata", "folder", name))
		if err != nil {
			t.Fatal(err)
		}
		s, err := parseSettings(name, data)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	tiers := &settings{
		Tiers: []tiergate.Tier{
			{Key: "free", Name: "Free"}, {Key: "pro", Name: "Pro", Rank: 10}, {Key: "enterprise", Name: "enterprise", Rank: 20},
		},
		Limits: []tiergate.Limit{
			{
				ID: "exports", Key: "exports", Feature: "exports", Kind: tiergate.Quota, Scope: "user", Class: "exact", Period: "day",
				Zone: "Europe/Berlin", Anchor: "2026-01-31T15:00:00", Amounts: map[string]*int64{"free": new(int64(3)), "pro": new(int64(50)), "enterprise": nil}, Cost: 1, OnUnavailable: "deny",
			},
			{
				ID: "api-calls", Key: "api-calls", Feature: "api-calls", Kind: tiergate.Rate, Scope: "team", Period: "second",
				Amounts: map[string]*int64{"free": new(int64(10)), "pro": new(int64(100)), "enterprise": new(int64(1000))},
				Bursts:  map[string]int64{"free": 20, "pro": 200, "enterprise": 2000},
			},
		},
	}
	if diff := cmp.Diff(tiers, read("tiers.yaml")); diff != "" {
		t.Errorf("tiers.yaml (-want +got):\n%s", diff)
	}
	teams := &settings{
		Users: []tiergate.User{
			{ID: "alice", Tier: "free", Attributes: json.RawMessage(`{"beta":true,"country":"DE"}`)}, {ID: "dave"},
		},
		Teams: []tiergate.Team{{
			ID: "acme", Name: "Acme", OwnerID: "alice", Tier: "enterprise", Status: "active",
			Settings: tiergate.TeamSettings{MaxMembers: 50, AllowedFeatures: []string{"custom-reports"}},
		}},
		Members: []tiergate.Member{{TeamID: "acme", UserID: "alice", Role: tiergate.RoleOwner}, {TeamID: "acme", UserID: "dave", Role: tiergate.RoleMember}},
		Keys: []tiergate.Key{{
			ID: "a1b2c3d4e5f6", TeamID: "acme", Hash: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
			Scopes: []string{"evaluate"}, Sets: []string{"default"}, State: tiergate.KeyActive, ExpiresAt: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC),
		}},
	}
	if diff := cmp.Diff(teams, read("teams.yaml")); diff != "" {
		t.Errorf("teams.yaml (-want +got):\n%s", diff)
	}
}

// What is wrong in a settings file is said with its line.
func TestSettings_names_the_line_of_a_mistake(t *testing.T) {
	const tier = "tiers:\n  - key: free\n"
	const team = "teams:\n  - id: acme\n"
	for name, c := range map[string]struct{ file, text, want string }{
		"unknown key":       {"tiers.yaml", "tiers:\n  - key: free\n    rnak: 1\n", "[3:5] unknown field \"rnak\""},
		"no tiers":          {"tiers.yaml", "limits: []\n", "there are 1 to 64 tiers, not 0"},
		"empty":             {"tiers.yaml", "  \n", "the file is empty"},
		"not YAML":          {"tiers.yaml", "tiers: [", "[1:8]"},
		"wrong type":        {"tiers.yaml", "tiers:\n  - key: free\n    rank: high\n", "[3:11]"},
		"a tier twice":      {"tiers.yaml", tier + "  - key: free\n    rank: 1\n", `line 3: tiers[1]: the tier "free" is there twice`},
		"a rank twice":      {"tiers.yaml", tier + "  - key: pro\n", "tiers[1]: the rank 0 is there twice"},
		"a limit's kind":    {"tiers.yaml", tier + "limits:\n  - key: x\n    kind: speed\n", `limits[0]: kind "speed" is none of`},
		"a limit twice":     {"tiers.yaml", tier + "limits:\n  - {key: x, kind: gauge}\n  - {key: x, kind: gauge}\n", `limits[1]: the limit "x" is there twice`},
		"a limit's tier":    {"tiers.yaml", tier + "limits:\n  - {key: x, kind: gauge, amounts: {por: 1}}\n", `amounts has the tier "por"`},
		"a user without id": {"teams.yaml", "users:\n  - tier: free\n", `users[0]: the id "" is not one line`},
		"a user twice":      {"teams.yaml", "users:\n  - id: a\n  - id: a\n", `users[1]: the user "a" is there twice`},
		"a status":          {"teams.yaml", team + "    status: gone\n", `teams[0]: status "gone" is neither`},
		"a role":            {"teams.yaml", team + "    members:\n      - {user: a, role: BOSS}\n", `the role "BOSS" of "a" is none of`},
		"a member twice":    {"teams.yaml", team + "    members: [{user: a}, {user: a}]\n", `the member "a" is there twice`},
		"a key's team":      {"teams.yaml", "keys:\n  - {id: k, team: none}\n", `keys[0]: the team "none" is not in this file`},
		"a key's hash":      {"teams.yaml", team + "keys:\n  - {id: k, team: acme, hash: secret}\n", "keys[0]: the hash is not a SHA-256 in hex"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseSettings(c.file, []byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
			if err != nil && strings.HasPrefix(c.want, "tiers[") && !strings.HasPrefix(err.Error(), "line ") {
				t.Errorf("no line in %v", err)
			}
		})
	}
}

// FuzzSettings reads arbitrary text as tiers.yaml and teams.yaml; what is accepted is valid.
func FuzzSettings(f *testing.F) {
	for _, name := range []string{"tiers.yaml", "teams.yaml"} {
		data, err := os.ReadFile(filepath.Join("testdata", "folder", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("tiers: [&a {key: *a}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range []string{"tiers.yaml", "teams.yaml"} {
			taken := file{}
			if taken.take(name, data) != nil {
				continue
			}
			for _, tier := range taken.settings.Tiers {
				if err := tier.Validate(); err != nil {
					t.Errorf("an invalid tier was taken: %v", err)
				}
			}
			for _, thing := range append(pointers(taken.settings.Users), pointers(taken.settings.Limits)...) {
				if _, err := appendRecord(nil, thing); err != nil {
					t.Errorf("a thing was taken that cannot be kept: %v", err)
				}
			}
		}
	})
}

// Settings are put in force with the flags, and a tier that there is not is named.
func TestFileSource_puts_settings_in_force(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/folder")); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "flags.json", flagFile("a"))
	s := NewFileSource(dir, fast())
	p := attend(t, s)
	p.next(t)
	for _, thing := range []any{
		&tiergate.Tier{Key: "pro"}, &tiergate.Limit{ID: "exports"}, &tiergate.Team{ID: "acme"}, &tiergate.User{ID: "alice"},
		&tiergate.Member{TeamID: "acme", UserID: "dave"}, &tiergate.Key{ID: "a1b2c3d4e5f6"},
	} {
		if p.get(thing) == nil {
			t.Errorf("%T is not in force", thing)
		}
	}
	put(t, dir, "tiers.yaml", "tiers:\n  - key: free\n  - key: broken\n")
	p.until(t, "the mistake is named", func() bool { return len(s.Problems()) == 1 })
	if p.get(&tiergate.Tier{Key: "pro"}) == nil {
		t.Error("a mistake in tiers.yaml took the tiers away")
	}
	put(t, dir, "tiers.yaml", "tiers:\n  - key: free\n")
	p.until(t, "there are fewer tiers", func() bool { return p.get(&tiergate.Tier{Key: "pro"}) == nil })
	want := []string{`1 teams and users are on the tier "enterprise", which there is not`}
	if diff := cmp.Diff(want, s.Problems()); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
