package server_test

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
)

// A course is an evaluator of which only the revision in force is of interest.
type course struct {
	at    atomic.Pointer[tiergate.Resume]
	looks atomic.Int32
	hangs int32 // the look that takes a second, counted from 1; 0 is none
}

func courseAt(rev int64) *course {
	c := new(course)
	c.puts("0123456789abcdef", rev)
	return c
}

func (c *course) puts(epoch string, rev int64) { c.at.Store(&tiergate.Resume{Epoch: epoch, Rev: rev}) }

func (c *course) Generation() tiergate.Generation {
	if c.looks.Add(1) == c.hangs {
		time.Sleep(time.Second)
	}
	return leg{at: *c.at.Load()}
}

type leg struct {
	tiergate.Generation
	at tiergate.Resume
}

func (l leg) Resume() tiergate.Resume { return l.at }

// asks demands a revision, and returns which one answers, why none does, and how long that took.
func asks(ctx context.Context, s *server.Revisions, want string) (rev int64, code tiergate.Code, took time.Duration) {
	began := time.Now()
	gen, err := s.AtLeast(ctx, want, s.Evaluator.Generation())
	if err == nil {
		rev = gen.Resume().Rev
	}
	return rev, tiergate.CodeOf(err), time.Since(began)
}

// A demanded revision is waited for as long as need be and no longer: neither for one that is not
// to come, nor for one of another history, which nobody can say has come.
func TestRevisions_AtLeast_waits(t *testing.T) {
	const while = 50 * time.Millisecond
	for name, tc := range map[string]struct {
		want  string
		later func(*course) // what happens after a while
		end   time.Duration // of the caller's patience
		rev   int64
		code  tiergate.Code
		took  time.Duration
	}{
		"it is in force":               {want: "01234567-7", rev: 7},
		"a later one is":               {want: "01234567-3", rev: 7},
		"it comes":                     {want: "01234567-8", later: func(c *course) { c.puts("0123456789abcdef", 8) }, rev: 8, took: while},
		"a later one comes":            {want: "01234567-8", later: func(c *course) { c.puts("0123456789abcdef", 12) }, rev: 12, took: while},
		"one comes that is not enough": {want: "01234567-9", later: func(c *course) { c.puts("0123456789abcdef", 8) }, code: tiergate.Unavailable, took: 4 * while},
		"it does not come":             {want: "01234567-8", code: tiergate.Unavailable, took: 4 * while},
		"the caller goes":              {want: "01234567-8", end: while, code: tiergate.Unavailable, took: while},
		"of another history":           {want: "fedcba98-8", code: tiergate.Stale},
		"another history comes":        {want: "01234567-8", later: func(c *course) { c.puts("fedcba9876543210", 8) }, code: tiergate.Stale, took: while},
		"no revision":                  {want: "8", code: tiergate.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := courseAt(7)
				defer time.Sleep(time.Second) // until nobody looks any more
				if tc.later != nil {
					time.AfterFunc(while, func() { tc.later(c) })
				}
				ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(tc.end, time.Hour))
				defer cancel()
				rev, code, took := asks(ctx, &server.Revisions{Evaluator: c}, tc.want)
				if late := took - tc.took; rev != tc.rev || code != tc.code || late < 0 || late > 2*time.Millisecond {
					t.Errorf("%d, %q after %v; want %d, %q after %v", rev, code, took, tc.rev, tc.code, tc.took)
				}
			})
		})
	}
}

// Who waits after others have waited is told as they were.
func TestRevisions_AtLeast_waits_again(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := courseAt(7)
		defer time.Sleep(time.Second) // until nobody looks any more
		s := &server.Revisions{Evaluator: c}
		for rev := int64(8); rev < 20; rev++ {
			time.AfterFunc(10*time.Millisecond, func() { c.puts("0123456789abcdef", rev) })
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() {
					if got, code, took := asks(t.Context(), s, fmt.Sprint("01234567-", rev)); got != rev || took > 12*time.Millisecond {
						t.Errorf("waiting for %d: %d, %q after %v", rev, got, code, took)
					}
				})
			}
			all.Wait()
			time.Sleep(time.Duration(rev%4) * time.Millisecond) // so that nobody looks any more, or still does
		}
	})
}

// A revision that came while nobody looked, as on a busy machine, is there all the same.
func TestRevisions_AtLeast_looks_at_the_end(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := courseAt(7)
		c.hangs = 4                        // the first of who looks for all
		defer time.Sleep(10 * time.Second) // until nobody looks any more
		time.AfterFunc(50*time.Millisecond, func() { c.puts("0123456789abcdef", 8) })
		if rev, code, took := asks(t.Context(), &server.Revisions{Evaluator: c}, "01234567-8"); rev != 8 || took > time.Second/2 {
			t.Errorf("%d, %q after %v", rev, code, took)
		}
	})
}
