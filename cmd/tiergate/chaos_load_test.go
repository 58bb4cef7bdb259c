package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// The callers of the fault run. Each keeps its own tally of what it was told, and believes
// nobody else: what it does not know it asks again under the same key until it knows.

// The features that callers use, and what the limits allow each subject.
const (
	tightAmount   = 100 // of "tight", per team and ever, for each minute of the run
	userAmount    = 5   // of "exports", per user and ever, for each minute
	jobsAmount    = 20  // of "jobs", per team and ever, for each minute
	jobSlots      = 6
	bulkAmount    = 1 << 40
	bulkFeatures  = 10
	chaosTeams    = 6
	usersPerTeam  = 8
	chaosSidecars = 16
	chaosCallers  = 96
)

type tallyKey struct{ feature, subject string }

// A tally is what callers were told.
type tally struct {
	mu      sync.Mutex
	units   map[tallyKey]int64 // surely taken
	unknown map[tallyKey]int64 // of calls without a key that were never answered
	events  int64              // acknowledged
	denied  map[string]int64
	// doubtful are reservations that may be held though their caller knows of none: an earlier
	// attempt of theirs may be carried out after a later one was denied.
	doubtful int64
}

func newTally() *tally {
	return &tally{units: map[tallyKey]int64{}, unknown: map[tallyKey]int64{}, denied: map[string]int64{}}
}

func (t *tally) took(key tallyKey, units, events int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.units[key] += units
	t.events += events
}

func (t *tally) mayHave(key tallyKey, units int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unknown[key] += units
}

func (t *tally) doubts() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.doubtful++
}

func (t *tally) was(reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.denied[reason]++
}

// A caller asks random sidecars random things, one at a time.
type caller struct {
	tally  *tally
	addrs  func() []string
	client *http.Client
	rng    *rand.Rand
	id     int
	minted int
	again  bool // the last call had to be repeated …
	roamed bool // … and at another sidecar, which does not know what became of it at the first
}

func (c *caller) mint() string {
	c.minted++
	return fmt.Sprintf("caller-%d-%d", c.id, c.minted)
}

func (c *caller) sidecar() string {
	all := c.addrs()
	return all[c.rng.IntN(len(all))]
}

// answered is what a caller learns of one call.
type answered struct {
	status int // 0: no answer, and nobody knows
	body   map[string]any
}

func (c *caller) call(ctx context.Context, addr, path string, body any) answered {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+path, bytes.NewReader(text))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.client.Do(req)
	if err != nil {
		return answered{}
	}
	defer resp.Body.Close()
	out := answered{status: resp.StatusCode}
	answer, err := io.ReadAll(resp.Body)
	if err != nil || json.Unmarshal(answer, &out.body) != nil {
		return answered{}
	}
	return out
}

// until repeats a call that may be repeated until its outcome is known.
func (c *caller) until(ctx context.Context, path string, body any) (answered, bool) {
	addr := c.sidecar()
	for c.again, c.roamed = false, false; ctx.Err() == nil; c.again = true {
		out := c.call(ctx, addr, path, body)
		switch out.status {
		case 0, http.StatusConflict, http.StatusServiceUnavailable, http.StatusRequestTimeout:
			out.body = map[string]any{"reason": "UNAVAILABLE"}
		}
		if out.body["reason"] == "UNAVAILABLE" { // nobody could say, or it may have happened
			if c.id%2 == 0 && c.rng.IntN(2) == 0 { // half of the callers stay with the sidecar beside them
				addr, c.roamed = c.sidecar(), true
			}
			time.Sleep(time.Duration(10+c.rng.IntN(100)) * time.Millisecond)
			continue
		}
		return out, true
	}
	return answered{}, false
}

func teamName(i int) string       { return fmt.Sprintf("team-%d", i) }
func bulkName(i int) string       { return fmt.Sprintf("bulk-%d", i) }
func userName(team, i int) string { return fmt.Sprintf("user-%d-%d", team, i) }
func (c *caller) team() int       { return c.rng.IntN(chaosTeams) }
func text(v any) string           { s, _ := v.(string); return s }

// run asks until stop ends; what has been begun is asked to its end, at most until ctx ends.
func (c *caller) run(ctx, stop context.Context) {
	for stop.Err() == nil {
		switch n := c.rng.IntN(100); {
		case n < 12:
			c.keyed(ctx, "/v1/consume", "tight", false)
		case n < 18:
			c.keyed(ctx, "/v1/consume", "exports", true)
		case n < 22:
			c.keyed(ctx, "/v1/track", "tracked", false)
		case n < 27:
			c.job(ctx)
		case n < 30:
			c.check(ctx)
		default:
			c.batch(ctx)
		}
	}
}

// keyed takes one use under a key, and repeats it until it knows the outcome.
func (c *caller) keyed(ctx context.Context, path, feature string, ofUser bool) {
	team := c.team()
	subject := map[string]any{"team": teamName(team)}
	key := tallyKey{feature, teamName(team)}
	if ofUser {
		user := userName(team, c.rng.IntN(usersPerTeam))
		subject["user"] = user
		key.subject = user
	}
	cost := 1 + c.rng.IntN(3)
	out, known := c.until(ctx, path, map[string]any{
		"feature": feature, "subject": subject, "cost": cost, "idempotencyKey": c.mint(),
	})
	switch {
	case !known:
		c.tally.mayHave(key, int64(cost))
	case out.status != http.StatusOK:
		c.tally.was(fmt.Sprintf("%s answered %d: %v", path, out.status, out.body))
	case out.body["allow"] == true || path == "/v1/track":
		c.tally.took(key, int64(cost), 1)
	case c.roamed: // the first sidecar may have taken it, and nothing be left for another
		c.tally.mayHave(key, int64(cost))
		c.tally.was(text(out.body["reason"]))
	default:
		c.tally.was(text(out.body["reason"]))
	}
}

// batch takes many uses of several features at once without keys: when there is no answer,
// nobody knows.
func (c *caller) batch(ctx context.Context) {
	const each = 100 / bulkFeatures
	team := teamName(c.team())
	var items []any
	for range each {
		for i := range bulkFeatures {
			items = append(items, map[string]any{"feature": bulkName(i), "subject": map[string]any{"team": team}, "cost": 1})
		}
	}
	out := c.call(ctx, c.sidecar(), "/v1/batch/consume", map[string]any{"items": items})
	answers, _ := out.body["items"].([]any)
	if out.status != http.StatusOK || len(answers) != len(items) {
		for i := range bulkFeatures {
			c.tally.mayHave(tallyKey{bulkName(i), team}, each)
		}
		return
	}
	for n, a := range answers {
		if item, _ := a.(map[string]any); item["allow"] == true {
			c.tally.took(tallyKey{bulkName(n % bulkFeatures), team}, 1, 1)
		} else {
			c.tally.was(text(item["reason"]))
		}
	}
}

// job reserves, works a moment, and settles, with less, as much or more than it held.
func (c *caller) job(ctx context.Context) {
	team, id := c.team(), c.mint()
	out, known := c.until(ctx, "/v1/reservations", map[string]any{
		"id": id, "feature": "jobs", "subject": map[string]any{"team": teamName(team)}, "cost": 2, "ttlMs": 600_000,
	})
	key := tallyKey{"jobs", teamName(team)}
	if c.again && out.body["allow"] != true {
		c.tally.doubts()
	}
	if !known {
		return // it is held at most, and then its time will be over
	}
	if out.body["allow"] != true {
		c.tally.was(text(out.body["reason"]))
		return
	}
	path := "/v1/reservations/" + id
	if c.rng.IntN(4) == 0 {
		if out, known := c.until(ctx, path+"/release", map[string]any{}); known && out.status != http.StatusOK {
			c.tally.was(fmt.Sprintf("a release was answered with %d: %v", out.status, out.body))
		}
		return
	}
	actual := c.rng.IntN(4)
	out, known = c.until(ctx, path+"/commit", map[string]any{"actual": actual})
	if known && out.status == http.StatusTooManyRequests { // there is not as much as it used
		actual = 2
		out, known = c.until(ctx, path+"/commit", map[string]any{"actual": actual})
	}
	switch {
	case !known:
		c.tally.mayHave(key, 3)
	case out.status == http.StatusOK:
		c.tally.took(key, int64(actual), 1)
	default:
		c.tally.was(fmt.Sprintf("a commit was answered with %d: %v", out.status, out.body))
		c.tally.mayHave(key, 3)
	}
}

func (c *caller) check(ctx context.Context) {
	c.call(ctx, c.sidecar(), "/v1/check", map[string]any{"feature": "tight", "subject": map[string]any{"team": teamName(c.team())}})
}
