package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"time"

	"github.com/tiergate/tiergate"
)

// A Subject is who uses something. With an API key the team is the key's, whatever is said here.
type Subject struct {
	User string `json:"user,omitempty"`
	Team string `json:"team,omitempty"`
}

// A Use asks whether a subject may use a feature. Only Feature is needed.
type Use struct {
	Feature    string
	Subject    Subject
	Attributes map[string]any // the evaluation context
	Cost       int64          // units, 1 to 2^53; 0 is each limit's own
	Set        string         // the flag set; "" is the default one
	// IdempotencyKey makes a repeated Consume or Track answer as the first did, also from
	// another process; "" is a new one for each call, which all its attempts share.
	IdempotencyKey string
	Metadata       map[string]any // kept with the usage, at most 16 KiB
	At             time.Time      // when what is tracked happened; zero is now
}

// question is a Use on the wire.
type question struct {
	Feature        string         `json:"feature"`
	Subject        *Subject       `json:"subject,omitempty"`
	Attributes     map[string]any `json:"attributes,omitempty"`
	Cost           int64          `json:"cost,omitempty"`
	Set            string         `json:"set,omitempty"`
	IdempotencyKey string         `json:"idempotencyKey,omitempty"`
	Metadata       map[string]any `json:"metadata,omitempty"`
	At             *time.Time     `json:"at,omitempty"`
	ID             string         `json:"id,omitempty"`
	TTL            int64          `json:"ttlMs,omitempty"`
}

func (u *Use) question() question {
	q := question{Feature: u.Feature, Attributes: u.Attributes, Cost: u.Cost, Set: u.Set}
	if u.Subject != (Subject{}) {
		q.Subject = &u.Subject
	}
	return q
}

// taking is the question of a call with an effect, under a key of its own.
func (u *Use) taking() question {
	q := u.question()
	q.IdempotencyKey, q.Metadata = u.IdempotencyKey, u.Metadata
	if q.IdempotencyKey == "" {
		q.IdempotencyKey = rand.Text()
	}
	return q
}

// A Decision is the sidecar's answer about a use.
type Decision struct {
	Allow   bool
	Status  int // what an HTTP API should answer: 200, 400, 403, 404, 429 or 503
	Reason  tiergate.UseReason
	Message string // one sentence for people; "" when allowed

	Feature string
	Variant string          // the flag's; "" when there is none
	Value   json.RawMessage // the flag's; null when the caller's own default applies
	Tier    string          // the subject's
	Upgrade string          // the lowest tier that would be allowed; "" when none or allowed

	Limits     []Limit
	DeniedBy   string        // the key of the limit that denied; "" for none
	RetryAfter time.Duration // when asking again may help; 0 is not known

	Revision string // the configuration that decided
	Stale    bool   // that configuration is older than it should be
	Replayed bool   // an earlier call with the same key took it
	ID       string // the decision's; the usage record's when there is one

	// Header holds RateLimit, RateLimit-Policy and Retry-After as an HTTP API should answer
	// them. It is not to be changed.
	Header http.Header
}

// A Limit is how much of one limit is left.
type Limit struct {
	Key      string
	Kind     tiergate.LimitKind
	Amount   int64 // what is allowed in all
	Min, Max int64 // what was left at AsOf: Min, and up to Max if others give back what they held
	Exact    bool
	AsOf     time.Time     // when that was so; zero when nobody knows what is left
	ResetsIn time.Duration // until the next period; negative is never
}

// decision is a Decision on the wire.
type decision struct {
	Decision
	RetryAfterMs *int64
	DecisionID   string
	Limits       []struct {
		Key        string
		Kind       tiergate.LimitKind
		Limit      int64
		Remaining  struct{ Min, Max int64 }
		ResetsInMs *int64
		Exact      bool
		AsOf       time.Time // null leaves it zero
	}
	Reservation *Reservation
}

func (d *decision) decoded(header http.Header) Decision {
	out := d.Decision
	out.ID, out.Limits, out.Header = d.DecisionID, make([]Limit, 0, len(d.Limits)), http.Header{}
	if d.RetryAfterMs != nil {
		out.RetryAfter = time.Duration(*d.RetryAfterMs) * time.Millisecond
	}
	for _, l := range d.Limits {
		resets := time.Duration(-1)
		if l.ResetsInMs != nil {
			resets = time.Duration(*l.ResetsInMs) * time.Millisecond
		}
		out.Limits = append(out.Limits, Limit{l.Key, l.Kind, l.Limit, l.Remaining.Min, l.Remaining.Max, l.Exact, l.AsOf, resets})
	}
	for _, name := range []string{"Ratelimit", "Ratelimit-Policy", "Retry-After"} {
		if values := header.Values(name); len(values) > 0 {
			out.Header[name] = values
		}
	}
	return out
}

// Check says what Consume would say, and takes nothing.
func (c *Client) Check(ctx context.Context, u Use) (Decision, error) {
	return c.ask(ctx, message{method: http.MethodPost, path: "/v1/check?reflect=1", body: u.question()})
}

// Consume takes a use when it is allowed; then its usage is recorded durably. A Decision that
// denies is no error.
func (c *Client) Consume(ctx context.Context, u Use) (Decision, error) {
	return c.ask(ctx, message{method: http.MethodPost, path: "/v1/consume?reflect=1", body: u.taking(), again: true})
}

// Track records a use that has happened, whatever the limits are.
func (c *Client) Track(ctx context.Context, u Use) (Decision, error) {
	q := u.taking()
	if !u.At.IsZero() {
		q.At = &u.At
	}
	return c.ask(ctx, message{method: http.MethodPost, path: "/v1/track?reflect=1", body: q, again: true})
}

func (c *Client) ask(ctx context.Context, m message) (Decision, error) {
	var d decision
	header, err := c.send(ctx, m, &d)
	if err != nil {
		return Decision{}, err
	}
	return d.decoded(header), nil
}
