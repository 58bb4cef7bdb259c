package provider

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
)

// A refusing follower says why it does not put in force what it is given, nil if it does.
type refusing struct {
	stream *Stream
	why    error
	at     tiergate.Resume // what is in force
	told   string          // the version that was told as soon as it was
}

func (f *refusing) Apply(_ context.Context, r tiergate.Revision) error {
	if f.why == nil {
		f.at = r.Resume
	}
	f.told = f.version()
	return f.why
}

func (f *refusing) version() string {
	if v, known := f.stream.editions.Load().version(f.at); known && v != nil {
		return *v
	}
	return ""
}

func (f *refusing) Confirm(time.Time) {}

// The version that is told is that of the document in force, from the moment at which it is: not of
// one that was refused, however often it comes, and of the next one that is not.
func TestStream_version_is_of_the_document_in_force(t *testing.T) {
	s := SyncStream("", StreamOptions{})
	f := &refusing{stream: s}
	for _, step := range []struct {
		story, flag, version string
		why                  error
		want                 string
	}{
		{"the first", "a", "1", nil, "1"},
		{"only the version is new", "a", "2", nil, "2"},
		{"one that is refused", "b", "3", errors.New("a policy does not compile"), "2"},
		{"the same again", "b", "3", nil, "2"},
		{"the same in another version", "b", "4", nil, "2"},
		{"one that is not refused", "c", "5", nil, "5"},
		{"without a version", "c", "", nil, ""},
	} {
		f.why, f.told = step.why, step.want
		about := `, "metadata": {"version": "` + step.version + `"}`
		if step.version == "" {
			about = ""
		}
		s.take(t.Context(), []byte(`{"flags": {"`+step.flag+`": {"state": "DISABLED", "variants": {"on": true}}}`+about+`}`), f)
		if got := f.version(); got != step.want || f.told != step.want {
			t.Errorf("%s: version %q is told, and %q at first, want %q", step.story, got, f.told, step.want)
		}
	}
}

// A server is asked thrice before its provider is STALE, neither all the time nor less often than it
// would be without.
func TestStream_asks_thrice_before_it_is_stale(t *testing.T) {
	for staleAfter, want := range map[time.Duration]time.Duration{
		-1: 5 * time.Second, time.Hour: 5 * time.Second, DefaultStaleAfter: 5 * time.Second,
		3 * time.Second: time.Second, time.Millisecond: 100 * time.Millisecond,
	} {
		if s := InProcess(SyncStream("", StreamOptions{}), Options{StaleAfter: staleAfter}).stream; s.every != want {
			t.Errorf("STALE after %v, it asks each %v, want %v", staleAfter, s.every, want)
		}
	}
}
