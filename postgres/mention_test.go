package postgres_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

func limitOn(key string, amounts map[string]*int64, bursts map[string]int64) tiergate.Limit {
	return tiergate.Limit{Key: key, Feature: "calls", Kind: tiergate.Rate, Scope: "team", Period: "second", Amounts: amounts, Bursts: bursts}
}

func withTiers(t *testing.T, db *postgres.DB, keys ...string) {
	t.Helper()
	for i, key := range keys {
		if _, err := db.CreateTier(t.Context(), tiergate.Tier{Key: key, Name: key, Rank: 10 * i}, clerk); err != nil {
			t.Fatal(err)
		}
	}
}

// A flag or limit that names a tier which does not exist, or one twice, is refused; the
// error has the place and says which tiers there are.
func TestWrites_name_only_tiers_that_exist(t *testing.T) {
	db := open(t, pgtest.New(t))
	flag := func(tiers ...string) tiergate.Flag {
		f := boolFlag("f")
		f.Rules.Tiers = tiers
		return f
	}
	_, err := db.CreateFlag(t.Context(), flag("free"), clerk)
	if e, ok := errors.AsType[*tiergate.Error](err); !ok || e.Message != `there is no tier "free"; there are none yet` {
		t.Errorf("a flag without any tiers: %v", err)
	}
	withTiers(t, db, "free", "pro")
	five := int64(5)
	made, err := db.CreateFlag(t.Context(), flag("free", "pro"), clerk)
	if err != nil {
		t.Fatal(err)
	}
	limit, err := db.CreateLimit(t.Context(), limitOn("l", map[string]*int64{"free": nil, "pro": &five}, map[string]int64{"pro": 7}), clerk)
	if err != nil {
		t.Fatal(err)
	}
	ghost := map[string]*int64{"pro": &five, "gold": nil}
	for name, c := range map[string]struct {
		do          func() error
		field, says string
	}{
		"create a flag": {
			func() error { _, err := db.CreateFlag(t.Context(), flag("pro", "gold"), clerk); return err },
			"rules.tiers[1]", `there is no tier "gold"; the tiers are free, pro`,
		},
		"update a flag": {func() error {
			f := flag("Pro")
			f.ID = made.Thing.ID
			_, err := db.UpdateFlag(t.Context(), f, clerk)
			return err
		}, "rules.tiers[0]", `there is no tier "Pro"; the tiers are free, pro`},
		"a flag that names one twice": {
			func() error { _, err := db.CreateFlag(t.Context(), flag("pro", "free", "pro"), clerk); return err },
			"rules.tiers[2]", `tier "pro" is there twice`,
		},
		"import": {
			func() error {
				_, err := db.ImportFlags(t.Context(), nil, []tiergate.Flag{flag("gold")}, clerk)
				return err
			},
			"rules.tiers[0]", `there is no tier "gold"; the tiers are free, pro`,
		},
		"create a limit": {
			func() error { _, err := db.CreateLimit(t.Context(), limitOn("m", ghost, nil), clerk); return err },
			"amounts.gold", `there is no tier "gold"; the tiers are free, pro`,
		},
		"update a limit": {func() error {
			l := limit.Thing
			l.Bursts = map[string]int64{"silver": 1}
			_, err := db.UpdateLimit(t.Context(), l, clerk)
			return err
		}, "bursts.silver", `there is no tier "silver"; the tiers are free, pro`},
	} {
		e, ok := errors.AsType[*tiergate.Error](c.do())
		if !ok || e.Code != tiergate.Invalid || e.Field != c.field || e.Message != c.says {
			t.Errorf("%s: %+v, want %s at %s", name, e, c.says, c.field)
		}
	}
	if head, err := db.Head(t.Context()); err != nil || head != limit.Resume {
		t.Errorf("refused writes moved the head to %v (%v)", head, err)
	}
}

// A tier that anything names stays, and the refusal says what names it; nothing of that
// matters to who has not seen the tier as it is.
func TestTiers_in_use(t *testing.T) {
	url := pgtest.New(t)
	db := open(t, url)
	withTiers(t, db, "free", "pro", "gold")
	for i := range 7 {
		f := boolFlag(fmt.Sprint("flag-", i))
		f.Rules.Tiers = []string{"pro"}
		if _, err := db.CreateFlag(t.Context(), f, clerk); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.CreateLimit(t.Context(), limitOn("a", nil, map[string]int64{"pro": 1}), clerk); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, url, `insert into users (id, tier) values ('ada', 'pro'), ('bob', 'pro')`, `insert into teams (id, name, owner_id, tier) values ('acme', 'Acme', 'ada', 'pro')`)
	_, err := db.DeleteTier(t.Context(), "pro", clerk)
	want := `tier "pro" is in use by flags flag-0, flag-1, flag-2, flag-3, flag-4 and 2 more; limit a; team acme; 2 users`
	if e, ok := errors.AsType[*tiergate.Error](err); !ok || e.Code != tiergate.Conflict || e.Message != want {
		t.Errorf("delete a tier in use: %v\nwant %s", err, want)
	}
	stale := clerk
	stale.IfVersion = 9
	got := map[string]tiergate.Code{}
	for key, w := range map[string]tiergate.Write{"pro": stale, "none": clerk, "gold": clerk} {
		_, err := db.DeleteTier(t.Context(), key, w)
		got[key] = tiergate.CodeOf(err)
	}
	if diff := cmp.Diff(map[string]tiergate.Code{"pro": tiergate.Stale, "none": tiergate.NotFound, "gold": ""}, got); diff != "" {
		t.Errorf("deletions mismatch (-want +got):\n%s", diff)
	}
}

// However flags and deletions of the tier that they name meet, no flag is left with a tier
// that does not exist.
func TestTiers_go_and_flags_come_at_once(t *testing.T) {
	db := open(t, pgtest.New(t))
	outcomes := map[[2]tiergate.Code]int{}
	for i := range 40 {
		tier := fmt.Sprint("tier-", i)
		if _, err := db.CreateTier(t.Context(), tiergate.Tier{Key: tier, Name: tier, Rank: i}, clerk); err != nil {
			t.Fatal(err)
		}
		var created, deleted error
		var wg sync.WaitGroup
		wg.Go(func() {
			f := boolFlag(fmt.Sprint("flag-", i))
			f.Rules.Tiers = []string{tier}
			_, created = db.CreateFlag(t.Context(), f, clerk)
		})
		wg.Go(func() { _, deleted = db.DeleteTier(t.Context(), tier, clerk) })
		wg.Wait()
		outcomes[[2]tiergate.Code{tiergate.CodeOf(created), tiergate.CodeOf(deleted)}]++
	}
	for outcome := range outcomes {
		if outcome != [2]tiergate.Code{"", tiergate.Conflict} && outcome != [2]tiergate.Code{tiergate.Invalid, ""} {
			t.Errorf("%d times the flag came with %q and the tier went with %q", outcomes[outcome], outcome[0], outcome[1])
		}
	}
}
