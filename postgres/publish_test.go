package postgres_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

func bundleOf(text string) tiergate.PolicyBundle {
	m := map[string]string{"a.rego": text}
	return tiergate.PolicyBundle{Modules: m, Hash: tiergate.ModulesHash(m), Admission: "x"}
}

// Of many who publish the first policy, having seen that there is none, one wins and the
// others are stale.
func TestPolicies_first_publication_wins_once(t *testing.T) {
	db := open(t, pgtest.New(t))
	w := clerk
	w.IfVersion = tiergate.NoVersion
	codes := make([]tiergate.Code, 8)
	var wg sync.WaitGroup
	for i := range codes {
		wg.Go(func() {
			_, err := db.PublishPolicy(t.Context(), bundleOf(fmt.Sprint("package p", i)), w)
			codes[i] = tiergate.CodeOf(err)
		})
	}
	wg.Wait()
	count := map[tiergate.Code]int{}
	for _, code := range codes {
		count[code]++
	}
	if diff := cmp.Diff(map[tiergate.Code]int{"": 1, tiergate.Stale: 7}, count); diff != "" {
		t.Errorf("the outcomes mismatch (-want +got):\n%s", diff)
	}
	if _, err := db.PublishPolicy(t.Context(), bundleOf("package q"), tiergate.Write{IfVersion: 1}); err != nil {
		t.Errorf("publish over the winner: %v", err)
	}
}

// What was published under a key is found again under it, by its caller and for the same
// request only, though the version that it was published over is long past.
func TestPolicies_replay(t *testing.T) {
	db := open(t, pgtest.New(t))
	w := clerk
	w.IdempotencyKey, w.Fingerprint, w.IfVersion = "k", "f", tiergate.NoVersion
	if out, err := db.ReplayPolicy(t.Context(), w); err != nil || out.Replayed {
		t.Errorf("ReplayPolicy of a new key = %+v, %v", out, err)
	}
	first, err := db.PublishPolicy(t.Context(), bundleOf("package p"), w)
	if err != nil {
		t.Fatal(err)
	}
	first.Replayed = true
	for name, again := range map[string]func() (tiergate.Written[tiergate.PolicyBundle], error){
		"ReplayPolicy": func() (tiergate.Written[tiergate.PolicyBundle], error) { return db.ReplayPolicy(t.Context(), w) },
		"PublishPolicy": func() (tiergate.Written[tiergate.PolicyBundle], error) {
			return db.PublishPolicy(t.Context(), bundleOf("package p"), w)
		},
	} {
		got, err := again()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(first, got); diff != "" {
			t.Errorf("%s mismatch (-first +again):\n%s", name, diff)
		}
	}
	other, stranger, dry := w, w, w
	other.Fingerprint, stranger.Caller.ID, dry.DryRun = "g", "somebody else", true
	if _, err := db.ReplayPolicy(t.Context(), other); tiergate.CodeOf(err) != tiergate.Invalid {
		t.Errorf("the key with another request: %v, want invalid", err)
	}
	for name, w := range map[string]tiergate.Write{"another caller": stranger, "a dry run": dry, "no key": clerk} {
		if out, err := db.ReplayPolicy(t.Context(), w); err != nil || out.Replayed {
			t.Errorf("ReplayPolicy of %s = %+v, %v", name, out, err)
		}
	}
}
