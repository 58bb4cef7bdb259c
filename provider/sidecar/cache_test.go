package sidecar

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/tiergate/tiergate/provider/internal/sdk"
)

func answerOf(size int) sdk.Outcome {
	return sdk.Outcome{Value: json.RawMessage(strings.Repeat("x", size))}
}

// The cache holds no more answers and no more bytes than it may; what was used longest ago goes first.
func TestCache_is_bounded(t *testing.T) {
	c := newCache(100, 100_000)
	c.connected(place{})
	number, _ := c.now()
	first := key{flag: "first"}
	c.put(number, place{}, first, answerOf(10), time.Time{})
	for i := range 1000 {
		c.put(number, place{}, key{flag: fmt.Sprint(i)}, answerOf(10), time.Time{})
		if _, ok := c.fresh(first); !ok {
			t.Fatalf("what is used all the time was dropped after %d", i)
		}
	}
	if n := len(c.byKey); n != 100 || c.order.Len() != n {
		t.Errorf("%d answers", n)
	}
	for i := range 1000 {
		c.put(number, place{}, key{flag: fmt.Sprint(i)}, answerOf(5000), time.Time{})
		if c.bytes > 100_000 {
			t.Fatalf("%d bytes", c.bytes)
		}
	}
	c.put(number, place{}, key{flag: "huge"}, answerOf(200_000), time.Time{})
	if c.bytes > 100_000 {
		t.Errorf("%d bytes", c.bytes)
	}
	for c.order.Len() > 0 {
		c.remove(c.order.Back())
	}
	if c.bytes != 0 || len(c.byKey) != 0 {
		t.Errorf("%d bytes and %d answers are left of nothing", c.bytes, len(c.byKey))
	}
}

// A cache with a bound that is negative keeps nothing, and says so.
func TestCache_keeps_nothing(t *testing.T) {
	for _, c := range []*cache{newCache(-1, 1000), newCache(1000, -1)} {
		c.connected(place{})
		number, keeps := c.now()
		c.put(number, place{}, key{flag: "x"}, answerOf(10), time.Time{})
		if keeps || len(c.byKey) != 0 {
			t.Errorf("it keeps %d, and says %v", len(c.byKey), keeps)
		}
	}
}

// An answer is true only while the stream is connected and has told of nothing since the question.
func TestCache_keeps_what_is_still_true(t *testing.T) {
	c, k := newCache(10, 10_000), key{flag: "x"}
	put := func(number uint64) { c.put(number, place{}, k, answerOf(1), time.Time{}) }
	expect := func(when string, fresh, last bool) {
		t.Helper()
		_, isFresh := c.fresh(k)
		if _, isLast := c.last(k); isFresh != fresh || isLast != last {
			t.Errorf("%s it is fresh: %v, known: %v; want %v, %v", when, isFresh, isLast, fresh, last)
		}
	}
	before, _ := c.now()
	put(before)
	expect("before the stream", false, false)
	c.connected(place{})
	put(before)
	expect("asked before the stream", false, false)
	number, _ := c.now()
	put(number)
	expect("asked during the stream", true, true)
	c.lost()
	expect("once the stream is lost", false, true)
	put(number)
	c.connected(place{})
	expect("once it is connected again", false, false)
	number, _ = c.now()
	put(number)
	c.changed(place{}, []string{"y"})
	expect("after a change of another flag", true, true)
	c.changed(place{}, []string{"x"})
	expect("after a change of the flag", false, false)
	put(number)
	expect("asked before the change", false, false)
	number, _ = c.now()
	put(number)
	c.changed(place{}, nil)
	expect("after a change of anything", false, false)
}

// What is read of a stream is bounded, whatever comes.
func TestStream_next(t *testing.T) {
	event := "data: {\"type\":\"refetchEvaluation\",\"etag\":\"e-1\"}\n\n"
	for name, tc := range map[string]struct {
		text   string
		events int
	}{
		"nothing":           {"", 0},
		"one":               {event, 1},
		"not_finished":      {strings.TrimSuffix(event, "\n"), 0},
		"behind_a_comment":  {": hello\n\nretry: 1000\n\n" + event, 1},
		"two":               {event + event, 2},
		"told_again":        {"id: e-1\n" + event + "id: e-1\n" + event, 1},
		"at_a_later_hour":   {"id: e-1@7\n" + event + "id: e-1@8\n" + event, 2},
		"carriage_returns":  {strings.ReplaceAll(event, "\n", "\r\n"), 1},
		"no_space":          {strings.Replace(event, "data: ", "data:", 1), 1},
		"longer_than_usual": {": " + strings.Repeat("x", 100_000) + "\n\n" + event, 1},
		"a_line_too_long":   {": " + strings.Repeat("x", 2<<20) + "\n\n" + event, 0},
		"an_event_too_long": {strings.Repeat("data: "+strings.Repeat("x", 1000)+"\n", 2000) + "\n" + event, 0},
	} {
		s := &stream{body: io.NopCloser(nil), lines: bufio.NewReaderSize(strings.NewReader(tc.text), 4<<10)}
		n := 0
		for {
			e, err := s.next(func() {})
			if err != nil {
				break
			}
			if n++; e.Etag != "e-1" {
				t.Errorf("%s: %+v", name, e)
			}
		}
		if n != tc.events {
			t.Errorf("%s: %d events, want %d", name, n, tc.events)
		}
	}
}

// Revisions are read as the sidecar says them, and compared within their history.
func TestPlace(t *testing.T) {
	for text, want := range map[string]place{
		"": {}, "x": {}, "-1": {}, "epoch-": {}, "epoch-x": {}, "0123abcd-7": {"0123abcd", 7}, "a-b-12@491234": {"a-b", 12}, `"hash"`: {},
	} {
		if got := placeOf(text); got != want {
			t.Errorf("placeOf(%q) = %+v, want %+v", text, got, want)
		}
	}
	if placeOf("a-1").before(placeOf("a-1")) || !placeOf("a-1").before(placeOf("a-2")) || !placeOf("b-9").before(placeOf("a-2")) ||
		placeOf("").before(placeOf("a-2")) || placeOf("a-1").before(placeOf("")) {
		t.Error("the order of places is another")
	}
}
