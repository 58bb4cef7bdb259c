package main

import (
	"runtime"
	"testing"
)

// A little configuration leaves room for garbage, a large one half of its own size.
func TestRoomFor(t *testing.T) {
	for live, want := range map[uint64]int{0: 400, 1 << 20: 400, 5 << 20: 200, 10 << 20: 100, 20 << 20: 50, 1 << 30: 50} {
		if got := roomFor(live); got != want {
			t.Errorf("%d MiB live: %d percent, want %d", live>>20, got, want)
		}
	}
	runtime.GC()
	if liveBytes() == 0 {
		t.Error("nothing is live")
	}
}
