package quota

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
)

// A request's memory is used again for the next request. What was denied before stays under the
// names that it was denied to, however often.
func TestDenials_keep_the_names_of_requests_that_are_over(t *testing.T) {
	var d denials
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var want []tiergate.Denial
	memory := make([]byte, 64)
	part := func(s string, from int) string {
		n := copy(memory[from:], s)
		return unsafe.String(&memory[from], n)
	}
	for i := range 3 {
		team, user, feature := fmt.Sprintf("team-%d", i), fmt.Sprintf("user-%d", i), fmt.Sprintf("exports-%d", i)
		for range i + 1 {
			d.add(&Take{TeamID: part(team, 0), UserID: part(user, 16), Feature: part(feature, 32)}, tiergate.UseExhausted, at)
			copy(memory, strings.Repeat("!", len(memory)))
		}
		want = append(want, tiergate.Denial{Hour: at.Truncate(time.Hour), TeamID: team, UserID: user, Feature: feature, Reason: tiergate.UseExhausted, Count: int64(i + 1)})
	}
	d.restore(d.drain()) // as when the usage log takes nothing
	got := d.drain()
	slices.SortFunc(got, func(a, b tiergate.Denial) int { return strings.Compare(a.TeamID, b.TeamID) })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what was denied (-want +got):\n%s", diff)
	}
}

// More kinds of denials than are told apart are counted all the same, first without the user
// and then without the team.
func TestDenials_are_bounded(t *testing.T) {
	var d denials
	const calls = 4 * maxDenials
	for i := range calls {
		d.add(&Take{TeamID: fmt.Sprintf("team-%d", i), UserID: "u", Feature: "f"}, tiergate.UseTier, time.Unix(0, 0))
	}
	all, sum := d.drain(), int64(0)
	for i := range all {
		sum += all[i].Count
	}
	if len(all) > 2*maxDenials+1 || sum != calls {
		t.Errorf("%d denials of %d kinds, want %d of at most %d", sum, len(all), calls, 2*maxDenials+1)
	}
}
