package decision_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server/decision"
)

// reservations holds one reservation, "r1" of acme, and remembers what it was asked.
type reservations struct {
	asked []string
	fail  error
}

func held(u *tiergate.Use) tiergate.Reservation {
	return tiergate.Reservation{
		ID: "r1", State: tiergate.ReservationHeld, TeamID: "acme", UserID: "alice", Feature: "train",
		Holds: []tiergate.Hold{
			{Bucket: tiergate.Bucket{Limit: "train-month", Scope: "team", Subject: "acme", Period: "2026-03"}, Kind: tiergate.Quota, Units: 3},
			{Bucket: tiergate.Bucket{Limit: "train-slots", Scope: "team", Subject: "acme"}, Kind: tiergate.Concurrency, Units: 1},
		},
		Metadata: u.Metadata, CreatedAt: now, ExpiresAt: now.Add(time.Minute),
	}
}

func (r *reservations) Reserve(_ context.Context, u *tiergate.Use, ttl time.Duration) (tiergate.Verdict, tiergate.Reservation, error) {
	r.asked = append(r.asked, fmt.Sprint(describe("reserve", u), " for ", ttl, " print ", len(u.Fingerprint)))
	if r.fail != nil {
		return tiergate.Verdict{}, tiergate.Reservation{}, r.fail
	}
	v, err := answers("reserve", u)
	return v, held(u), err
}

func (r *reservations) find(did string, id string, by tiergate.Owner) (tiergate.Reservation, error) {
	r.asked = append(r.asked, fmt.Sprintf("%s %s by %q", did, id, by))
	if id != "r1" || by != "" && by != "acme" {
		return tiergate.Reservation{}, tiergate.Errorf(tiergate.NotFound, "there is no such reservation")
	}
	return held(&tiergate.Use{}), r.fail
}

func (r *reservations) Extend(_ context.Context, id string, by tiergate.Owner, ttl time.Duration) (tiergate.Reservation, error) {
	return r.find(fmt.Sprint("extend by ", ttl), id, by)
}

func (r *reservations) Commit(_ context.Context, id string, by tiergate.Owner, actual int64, capped bool) (tiergate.Reservation, error) {
	got, err := r.find(fmt.Sprint("commit ", actual, capped), id, by)
	got.State, got.Actual, got.SettledAt = tiergate.ReservationCommitted, actual, now.Add(time.Second)
	return got, err
}

func (r *reservations) Release(_ context.Context, id string, by tiergate.Owner) (tiergate.Reservation, error) {
	got, err := r.find("release", id, by)
	got.State, got.SettledAt = tiergate.ReservationReleased, now.Add(time.Second)
	return got, err
}

func (r *reservations) Reservation(_ context.Context, id string, by tiergate.Owner) (tiergate.Reservation, error) {
	return r.find("look at", id, by)
}

const (
	holding = `{"id":"r1","state":"HELD",` + holdingRest
	// holdingRest is what does not change when a reservation is settled.
	holdingRest = `"feature":"train","subject":{"user":"alice","team":"acme"},"holds":[` +
		`{"limit":"train-month","kind":"quota","scope":"team","period":"2026-03","units":3},` +
		`{"limit":"train-slots","kind":"concurrency","scope":"team","period":"","units":1}]`
	times   = `,"createdAt":"2026-03-01T12:00:00Z","expiresAt":"2026-03-01T12:01:00Z"`
	settled = `,"settledAt":"2026-03-01T12:00:01Z"`
	inPlace = `,"revision":"01234567-7"}`
)

// A reservation is made, extended, committed with less or more, released and looked at.
func TestReservations(t *testing.T) {
	r := new(reservations)
	addr, _ := serve(t, func(cfg *decision.Config) { cfg.Reservations = r })
	for name, tc := range map[string]struct{ raw, asked, want string }{
		"made": {
			post("/v1/reservations", `{"feature":"train","subject":{"user":"alice"},"cost":3,"id":"job-7.a_b~c","ttlMs":60000,"metadata":{"a":1}}`),
			`reserve default/train by alice of - cost 3 key job-7.a_b~c with {"a":1} for 1m0s print 24`,
			`{"allow":true,"status":200,"reason":"ALLOWED","message":"","feature":"train",` + on + `"limits":[],"retryAfterMs":null,` + rev + `"decisionId":"d1","reservation":` +
				holding + `,"metadata":{"a":1}` + times + `}}`,
		},
		"made without id": {
			post("/v1/reservations", `{"feature":"tier"}`), `reserve default/tier by - of - cost 0 for 5m0s print 24`,
			`{"allow":false,"status":403,"reason":"TIER","message":"Feature not available for your tier","feature":"tier",` + off + `"limits":[],"retryAfterMs":null,"upgrade":"pro",` + rev + `"decisionId":"d2","reservation":null}`,
		},
		"looked at":          {request("GET", "/v1/reservations/r1", ""), `look at r1 by ""`, `{"reservation":` + holding + times + `}` + inPlace},
		"extended":           {post("/v1/reservations/r1/extend", `{"ttlMs":1000}`), `extend by 1s r1 by ""`, `{"reservation":` + holding + times + `}` + inPlace},
		"extended as usual":  {post("/v1/reservations/r1/extend", ``), `extend by 5m0s r1 by ""`, `{"reservation":` + holding + times + `}` + inPlace},
		"committed":          {post("/v1/reservations/r1/commit", ``), `commit -1 false r1 by ""`, `{"reservation":{"id":"r1","state":"COMMITTED",` + holdingRest + times + settled + `}` + inPlace},
		"committed none":     {post("/v1/reservations/r1/commit", `{"actual":0}`), `commit 0 false r1 by ""`, `{"reservation":{"id":"r1","state":"COMMITTED",` + holdingRest + `,"actual":0` + times + settled + `}` + inPlace},
		"committed and more": {post("/v1/reservations/r1/commit", `{"actual":5,"capped":true}`), `commit 5 true r1 by ""`, `{"reservation":{"id":"r1","state":"COMMITTED",` + holdingRest + `,"actual":5` + times + settled + `}` + inPlace},
		"released":           {post("/v1/reservations/r1/release", `{}`), `release r1 by ""`, `{"reservation":{"id":"r1","state":"RELEASED",` + holdingRest + times + settled + `}` + inPlace},
	} {
		t.Run(name, func(t *testing.T) {
			r.asked = nil
			got := ask(t, addr, tc.raw)
			if got.status != 200 || got.body != tc.want || got.header.Get("Tiergate-Revision") != "01234567-7" {
				t.Errorf("%d %s\nwant %s", got.status, got.body, tc.want)
			}
			if diff := cmp.Diff([]string{tc.asked}, r.asked); diff != "" {
				t.Errorf("what was asked (-want +got):\n%s", diff)
			}
		})
	}
}

// What cannot be held or settled says why, each with its own status.
func TestReservations_refuse(t *testing.T) {
	r := new(reservations)
	acme := &tiergate.Key{ID: "k", TeamID: "acme", Scopes: []string{tiergate.ScopeConsume}}
	globex := &tiergate.Key{ID: "k", TeamID: "globex", Scopes: []string{tiergate.ScopeConsume}}
	addr, _ := serve(t, func(cfg *decision.Config) {
		cfg.Reservations = r
		cfg.Credential = func(text string) (*tiergate.Key, error) {
			if text == "acme" {
				return acme, nil
			}
			return globex, nil
		}
	})
	short := &tiergate.ShortError{Bucket: tiergate.Bucket{Limit: "train-month"}}
	for name, tc := range map[string]struct {
		raw    string
		key    string
		fail   error
		status int
		field  string
	}{
		"its own":                  {post("/v1/reservations/r1/extend", ""), "acme", nil, 200, ""},
		"another team's":           {post("/v1/reservations/r1/commit", ""), "globex", nil, 404, ""},
		"another team's, seen":     {request("GET", "/v1/reservations/r1", ""), "globex", nil, 404, ""},
		"none":                     {post("/v1/reservations/r2/release", ""), "acme", nil, 404, ""},
		"an impossible id":         {post("/v1/reservations/a%20b/release", ""), "acme", nil, 404, ""},
		"no id":                    {post("/v1/reservations//release", ""), "acme", nil, 404, ""},
		"no such verb":             {post("/v1/reservations/r1/eat", ""), "acme", nil, 404, ""},
		"a list":                   {request("GET", "/v1/reservations", ""), "acme", nil, 405, ""},
		"an action by GET":         {request("GET", "/v1/reservations/r1/commit", ""), "acme", nil, 405, ""},
		"expired":                  {post("/v1/reservations/r1/commit", ""), "acme", tiergate.Errorf(tiergate.Gone, "its time is over"), 410, ""},
		"settled otherwise":        {post("/v1/reservations/r1/commit", ""), "acme", tiergate.Errorf(tiergate.Conflict, "it was released"), 409, ""},
		"more than there is":       {post("/v1/reservations/r1/commit", `{"actual":9}`), "acme", short, 429, ""},
		"the id of another":        {post("/v1/reservations", `{"feature":"x","id":"r1"}`), "acme", tiergate.Errorf(tiergate.KeyReused, "taken"), 422, ""},
		"the ledger is away":       {post("/v1/reservations", `{"feature":"x","id":"r1"}`), "acme", tiergate.Errorf(tiergate.Unavailable, "away"), 503, ""},
		"negative actual":          {post("/v1/reservations/r1/commit", `{"actual":-1}`), "acme", nil, 400, "actual"},
		"fractional actual":        {post("/v1/reservations/r1/commit", `{"actual":0.5}`), "acme", nil, 400, "actual"},
		"capped is a string":       {post("/v1/reservations/r1/commit", `{"capped":"yes"}`), "acme", nil, 400, "capped"},
		"unknown member":           {post("/v1/reservations/r1/commit", `{"used":1}`), "acme", nil, 400, "used"},
		"member of a commit":       {post("/v1/reservations/r1/release", `{"actual":1}`), "acme", nil, 400, "actual"},
		"no time":                  {post("/v1/reservations/r1/extend", `{"ttlMs":0}`), "acme", nil, 400, "ttlMs"},
		"a short time":             {post("/v1/reservations", `{"feature":"x","ttlMs":999}`), "acme", nil, 400, "ttlMs"},
		"a long time":              {post("/v1/reservations", `{"feature":"x","ttlMs":604800001}`), "acme", nil, 400, "ttlMs"},
		"a very long time":         {post("/v1/reservations", `{"feature":"x","ttlMs":9007199254740992}`), "acme", nil, 400, "ttlMs"},
		"an id with a slash":       {post("/v1/reservations", `{"feature":"x","id":"a/b"}`), "acme", nil, 400, "id"},
		"an id that is a dot":      {post("/v1/reservations", `{"feature":"x","id":".."}`), "acme", nil, 400, "id"},
		"an empty id":              {post("/v1/reservations", `{"feature":"x","id":""}`), "acme", nil, 400, "id"},
		"a key beside the id":      {post("/v1/reservations", `{"feature":"x","idempotencyKey":"k"}`), "acme", nil, 400, "idempotencyKey"},
		"a parameter":              {post("/v1/reservations/r1/commit?reflect=1", ""), "acme", nil, 400, "reflect"},
		"a body that is no object": {post("/v1/reservations/r1/commit", "5"), "acme", nil, 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r.fail = tc.fail
			got := ask(t, addr, strings.Replace(tc.raw, "\r\n\r\n", "\r\nX-API-Key: "+tc.key+"\r\n\r\n", 1))
			if got.status != tc.status {
				t.Fatalf("%d %s, want %d", got.status, got.body, tc.status)
			}
			if got.status == 200 {
				return
			}
			f := readFault(t, got)
			if f.Field != tc.field {
				t.Errorf("field %q, want %q", f.Field, tc.field)
			}
			if tc.status == 429 && (len(f.Violated) != 1 || f.Violated[0] != "train-month") {
				t.Errorf("violated are %q", f.Violated)
			}
			if again := got.header.Get("Retry-After"); (again != "") != (tc.status == 503) {
				t.Errorf("Retry-After is %q", again)
			}
		})
	}
}
