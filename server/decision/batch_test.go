package decision_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tiergate/tiergate"
)

// Each item of a batch is answered on its own, in the order of the items, whatever becomes of
// the others.
func TestBatch_answers_each_item(t *testing.T) {
	addr, g := serve(t, nil)
	got := ask(t, addr, post("/v1/batch/consume", `{"items":[
		{"feature":"x","idempotencyKey":"k"}, {"feature":"x","cost":0}, {"feature":"tier"}, {"feature":"reused"}, 7, {"feature":"broken"}, {"feature":"exports","cost":2}]}`))
	var answer struct {
		Items []struct {
			Allow   *bool
			Feature string
			Error   *fault
		}
		Revision string
	}
	if err := json.Unmarshal([]byte(got.body), &answer); err != nil || got.status != 200 {
		t.Fatalf("%d %s: %v", got.status, got.body, err)
	}
	var short []string
	for _, it := range answer.Items {
		if it.Error != nil {
			short = append(short, fmt.Sprintf("%d %s", it.Error.Status, it.Error.Field))
			continue
		}
		short = append(short, fmt.Sprintf("%s %v", it.Feature, *it.Allow))
	}
	want := []string{"x true", "400 cost", "tier false", "422 ", "400 items[4]", "500 ", "exports true"}
	if !slices.Equal(short, want) {
		t.Errorf("got  %q\nwant %q", short, want)
	}
	if it := answer.Items[4]; it.Error == nil || it.Error.Detail != "items[4] is not an object" {
		t.Errorf("the item that is a number: %+v", it.Error)
	}
	if answer.Revision != "01234567-7" || got.header.Get("Tiergate-Revision") != "01234567-7" {
		t.Errorf("revision %q", answer.Revision)
	}
	if len(g.uses) != 5 {
		t.Errorf("the gate was asked %q", g.uses)
	}
	if empty := ask(t, addr, post("/v1/batch/check", `{"items":[]}`)); empty.body != `{"items":[],"revision":"01234567-7"}` {
		t.Errorf("nothing asked: %s", empty.body)
	}
}

// Items that compete for one limit are worked on in their order; the others at the same time,
// so that a batch waits for the disk once.
func TestBatch_waits_together_and_keeps_order(t *testing.T) {
	addr, g := serve(t, nil)
	var mu sync.Mutex
	var order []int64
	var together sync.WaitGroup
	together.Add(10) // all ten features at once, or this test never ends
	g.say = func(_ string, u *tiergate.Use) (tiergate.Verdict, error) {
		if u.Cost == 1 {
			together.Done()
			together.Wait()
		}
		if u.Flag == "f0" {
			mu.Lock()
			order = append(order, u.Cost)
			mu.Unlock()
		}
		return tiergate.Verdict{Allow: true, Reason: tiergate.UseAllowed}, nil
	}
	var items []string
	for i := range 100 {
		items = append(items, fmt.Sprintf(`{"feature":"f%d","cost":%d}`, i%10, i/10+1))
	}
	got := ask(t, addr, post("/v1/batch/consume", `{"items":[`+strings.Join(items, ",")+`]}`))
	if n := strings.Count(got.body, `"allow":true`); got.status != 200 || n != 100 {
		t.Errorf("%d, %d allowed", got.status, n)
	}
	if !slices.Equal(order, []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}) {
		t.Errorf("the items about f0 were worked on in the order %v", order)
	}
}

// Events that are tracked refuse each other nothing, so that all wait together, but for those
// that repeat an idempotency key.
func TestBatch_tracks_together(t *testing.T) {
	addr, g := serve(t, nil)
	var together sync.WaitGroup
	together.Add(99)
	var mu sync.Mutex
	var again []string
	g.say = func(_ string, u *tiergate.Use) (tiergate.Verdict, error) {
		if u.IdempotencyKey != "" {
			mu.Lock()
			defer mu.Unlock()
			again = append(again, fmt.Sprint(u.Cost))
			if len(again) > 1 {
				return tiergate.Verdict{Allow: true, Reason: tiergate.UseAllowed, Replayed: true}, nil
			}
		}
		together.Done()
		if u.IdempotencyKey == "" {
			together.Wait()
		}
		return tiergate.Verdict{Allow: true, Reason: tiergate.UseAllowed}, nil
	}
	items := []string{`{"feature":"x","idempotencyKey":"k","cost":1}`}
	for range 98 {
		items = append(items, `{"feature":"x"}`)
	}
	items = append(items, `{"feature":"x","idempotencyKey":"k","cost":2}`)
	got := ask(t, addr, post("/v1/batch/track", `{"items":[`+strings.Join(items, ",")+`]}`))
	if n := strings.Count(got.body, `"allow":true`); got.status != 200 || n != 100 || strings.Count(got.body, `"replayed":true`) != 1 {
		t.Errorf("%d, %d allowed: %s", got.status, n, got.body)
	}
	if !slices.Equal(again, []string{"1", "2"}) {
		t.Errorf("the repeated key was worked on as %v", again)
	}
}
