package main

import (
	"strings"
	"testing"
)

// A figure past its bound is marked where it stands and named again at the end.
func TestBoard_names_what_missed(t *testing.T) {
	var out strings.Builder
	b := &board{to: &out}
	b.begin("speed")
	b.row("fast", cell{"ns", 349.9, atMost(350)}, cell{"allocations", 0, atMost(0)})
	b.row("slow", cell{"ns", 351, atMost(350)}, cell{"reads", 9_999_999, atLeast(10_000_000)}, cell{"ms", 1.234, bound{}})
	b.close()
	for _, want := range []string{
		"350 ns (must ≤ 350: ok)  0 allocations (must ≤ 0: ok)\n",
		"351 ns (must ≤ 350: MISSED)  9,999,999 reads (must ≥ 10,000,000: MISSED)  1.23 ms\n",
		"\n4 figures have a bound, 2 are past it\n  speed, slow: 351 ns, must be ≤ 350\n  speed, slow: 9,999,999 reads, must be ≥ 10,000,000\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the board has no %q:\n%s", want, out.String())
		}
	}
}
