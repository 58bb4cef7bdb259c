package postgres_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

func open(t testing.TB, url string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func boolFlag(name string) tiergate.Flag {
	return tiergate.Flag{
		Set: tiergate.DefaultSet, Name: name, Type: tiergate.Boolean, Enabled: true,
		Variants:       map[string]json.RawMessage{"on": json.RawMessage(`true`), "off": json.RawMessage(`false`)},
		DefaultVariant: "on", OffVariant: "off",
		Rules:    tiergate.Rules{Tiers: []string{}, Percentage: 33.333, Targeting: json.RawMessage(`{"if": [true, "on"]}`)},
		Metadata: map[string]any{"owner": "ada", "n": 1.5, "ok": true},
	}
}

var clerk = tiergate.Write{Caller: tiergate.Caller{ID: "clerk"}, RequestID: "r1", Reason: "because"}

// A flag is stored as it was given, with an id and a first version, and the write names
// the revision that holds it.
func TestFlags_create_and_read(t *testing.T) {
	db := open(t, pgtest.New(t))
	if _, err := db.CreateTier(t.Context(), tiergate.Tier{Key: "pro", Name: "Pro"}, clerk); err != nil {
		t.Fatal(err)
	}
	want := boolFlag("a")
	want.Rules.Tiers = []string{"pro"}
	made, err := db.CreateFlag(t.Context(), want, clerk)
	if err != nil {
		t.Fatal(err)
	}
	head, err := db.Head(t.Context())
	if err != nil || made.Resume != head {
		t.Errorf("the write is at %v, the head at %v (%v)", made.Resume, head, err)
	}
	got, err := db.Flag(t.Context(), made.Thing.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID == "" || got.Version != 1 || got.CreatedAt.IsZero() || got.UpdatedAt.IsZero() {
		t.Errorf("the flag was not stamped: %+v", got)
	}
	want.ID, want.Version, want.CreatedAt, want.UpdatedAt = got.ID, 1, got.CreatedAt, got.UpdatedAt
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the flag mismatch (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(made.Thing, got); diff != "" {
		t.Errorf("what the write returned mismatch (-returned +read):\n%s", diff)
	}
}

// What can be wrong with a write has its code.
func TestFlags_refuse(t *testing.T) {
	db := open(t, pgtest.New(t))
	made, err := db.CreateFlag(t.Context(), boolFlag("a"), clerk)
	if err != nil {
		t.Fatal(err)
	}
	stale, f := clerk, made.Thing
	stale.IfVersion = math.MaxInt64 // the admin API's for a tag that it never gave out
	bad := boolFlag("b")
	bad.Rules.Percentage = 101
	zero := boolFlag("c")
	zero.Title = "a\x00b"
	ghost := boolFlag("d")
	ghost.ID = "ghost"
	for name, c := range map[string]struct {
		code tiergate.Code
		do   func() error
	}{
		"name taken":    {tiergate.Conflict, func() error { _, err := db.CreateFlag(t.Context(), boolFlag("a"), clerk); return err }},
		"invalid":       {tiergate.Invalid, func() error { _, err := db.CreateFlag(t.Context(), bad, clerk); return err }},
		"zero byte":     {tiergate.Invalid, func() error { _, err := db.CreateFlag(t.Context(), zero, clerk); return err }},
		"stale update":  {tiergate.Stale, func() error { _, err := db.UpdateFlag(t.Context(), f, stale); return err }},
		"stale delete":  {tiergate.Stale, func() error { _, err := db.DeleteFlag(t.Context(), f.ID, stale); return err }},
		"update ghost":  {tiergate.NotFound, func() error { _, err := db.UpdateFlag(t.Context(), ghost, clerk); return err }},
		"delete ghost":  {tiergate.NotFound, func() error { _, err := db.DeleteFlag(t.Context(), "ghost", clerk); return err }},
		"read ghost":    {tiergate.NotFound, func() error { _, err := db.Flag(t.Context(), "ghost"); return err }},
		"foreign token": {tiergate.Invalid, func() error { _, err := db.Users(t.Context(), tiergate.Page{Token: "WyJmbGFncyIsImEiXQ"}); return err }},
		"page too big":  {tiergate.Invalid, func() error { _, err := db.Users(t.Context(), tiergate.Page{Size: 501}); return err }},
	} {
		if err := c.do(); tiergate.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	if head, _ := db.Head(t.Context()); head != made.Resume {
		t.Errorf("refused writes moved the head to %v", head)
	}
}

// A dry run answers as the write would, and changes nothing.
func TestFlags_dry_run(t *testing.T) {
	db := open(t, pgtest.New(t))
	dry := clerk
	dry.DryRun, dry.IdempotencyKey = true, "k"
	out, err := db.CreateFlag(t.Context(), boolFlag("a"), dry)
	if err != nil || out.Thing.ID == "" || out.Resume != (tiergate.Resume{}) {
		t.Errorf("dry run = %+v, %v", out, err)
	}
	list, err := db.Flags(t.Context(), tiergate.FlagFilter{}, tiergate.Page{})
	if err != nil || len(list.Items) != 0 {
		t.Errorf("after a dry run there are %v, %v", list.Items, err)
	}
	if wet, err := db.CreateFlag(t.Context(), boolFlag("a"), tiergate.Write{IdempotencyKey: "k"}); err != nil || wet.Replayed {
		t.Errorf("a dry run used up the idempotency key: %+v, %v", wet, err)
	}
}

// A create that is repeated under its key, even at once, happens once and answers alike.
func TestFlags_idempotency(t *testing.T) {
	db := open(t, pgtest.New(t))
	w := clerk
	w.IdempotencyKey, w.Fingerprint = "key-1", "f1"
	answers := make([]tiergate.Written[tiergate.Flag], 8)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			var err error
			if answers[i], err = db.CreateFlag(t.Context(), boolFlag("a"), w); err != nil {
				t.Errorf("create %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	first := 0
	for _, a := range answers {
		if !a.Replayed {
			first++
		}
		if diff := cmp.Diff(answers[0].Thing, a.Thing); diff != "" || a.Resume != answers[0].Resume {
			t.Errorf("answers differ: %v, %v\n%s", answers[0].Resume, a.Resume, diff)
		}
	}
	if first != 1 {
		t.Errorf("%d writes happened, want 1", first)
	}
	w.Fingerprint = "f2"
	if _, err := db.CreateFlag(t.Context(), boolFlag("b"), w); tiergate.CodeOf(err) != tiergate.Invalid {
		t.Errorf("the key with another request: %v, want invalid", err)
	}
	w.Caller.ID = "somebody else"
	if out, err := db.CreateFlag(t.Context(), boolFlag("c"), w); err != nil || out.Replayed {
		t.Errorf("another caller's key of the same name: %+v, %v", out, err)
	}
}

// A refused create gives its key back: the next try is not answered with the failure.
func TestFlags_idempotency_after_a_refusal(t *testing.T) {
	db := open(t, pgtest.New(t))
	made, err := db.CreateFlag(t.Context(), boolFlag("a"), clerk)
	if err != nil {
		t.Fatal(err)
	}
	w := tiergate.Write{IdempotencyKey: "k"}
	if _, err := db.CreateFlag(t.Context(), boolFlag("a"), w); tiergate.CodeOf(err) != tiergate.Conflict {
		t.Fatalf("create: %v, want conflict", err)
	}
	if _, err := db.DeleteFlag(t.Context(), made.Thing.ID, clerk); err != nil {
		t.Fatal(err)
	}
	if out, err := db.CreateFlag(t.Context(), boolFlag("a"), w); err != nil || out.Replayed {
		t.Errorf("create again = %+v, %v", out, err)
	}
}

// Of many who update what they have seen, one wins and the others are stale.
func TestFlags_lost_updates(t *testing.T) {
	db := open(t, pgtest.New(t))
	made, err := db.CreateFlag(t.Context(), boolFlag("a"), clerk)
	if err != nil {
		t.Fatal(err)
	}
	var won, stale atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			f, w := made.Thing, clerk
			f.Title, w.IfVersion = fmt.Sprint("title ", i), f.Version
			switch _, err := db.UpdateFlag(t.Context(), f, w); tiergate.CodeOf(err) {
			case "":
				won.Add(1)
			case tiergate.Stale:
				stale.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || stale.Load() != 7 {
		t.Errorf("%d won and %d were stale, want 1 and 7", won.Load(), stale.Load())
	}
	same, err := db.Flag(t.Context(), made.Thing.ID)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := db.UpdateFlag(t.Context(), same, clerk); err != nil || out.Resume != (tiergate.Resume{}) || out.Thing.Version != same.Version {
		t.Errorf("an update that changes nothing = %+v, %v; want no revision", out, err)
	}
}

// Pages of any size hold every flag once, in order.
func TestFlags_pages(t *testing.T) {
	db := open(t, pgtest.New(t))
	var flags []tiergate.Flag
	for i := range 23 {
		f := boolFlag(fmt.Sprint("flag-", i))
		f.Set = fmt.Sprint("set-", i%3)
		flags = append(flags, f)
	}
	out, err := db.ImportFlags(t.Context(), []tiergate.FlagSet{{Name: "set-0", Metadata: map[string]any{"a": "b"}}}, flags, clerk)
	if err != nil || out.Thing != 23 || out.Resume.Rev != 2 {
		t.Fatalf("ImportFlags = %+v, %v; want 23 flags in one revision", out, err)
	}
	if out, err = db.ImportFlags(t.Context(), nil, flags, clerk); err != nil || out.Resume != (tiergate.Resume{}) {
		t.Errorf("the same import again = %+v, %v; want no revision", out, err)
	}
	for _, size := range []int{1, 4, 23, 500} {
		var got []string
		for page := (tiergate.Page{Size: size}); ; {
			list, err := db.Flags(t.Context(), tiergate.FlagFilter{}, page)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range list.Items {
				got = append(got, f.Set+"/"+f.Name)
			}
			if page.Token = list.Next; page.Token == "" {
				break
			}
		}
		if !slices.IsSorted(got) || len(slices.Compact(got)) != 23 {
			t.Errorf("pages of %d hold %d: %v", size, len(got), got)
		}
	}
	one, err := db.Flags(t.Context(), tiergate.FlagFilter{Set: "set-1", Name: "flag-4"}, tiergate.Page{})
	if err != nil || len(one.Items) != 1 {
		t.Errorf("found %v, %v", one.Items, err)
	}
}
