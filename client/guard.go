package client

import (
	"context"
	"errors"
	"net/http"

	"github.com/tiergate/tiergate"
)

// What a guarded route answers its callers.
const (
	notForTier    = "Feature not available for your tier"
	limitExceeded = "Usage limit exceeded"
	notNow        = "Service temporarily unavailable"
	notChecked    = "The request could not be checked"
)

// WhenAway says what becomes of requests while the sidecar cannot be asked.
type WhenAway int

// The zero value denies: nobody gets for nothing what others pay for.
const (
	DenyWhenAway  WhenAway = iota // 503
	AllowWhenAway                 // as if everything were allowed; nothing is counted
)

// A Guard decides whether a request may pass; it is what the middlewares of all frameworks have
// in common. Client is needed. Safe for concurrent use.
type Guard struct {
	Client   *Client
	WhenAway WhenAway
	// OnError is told why there was no decision; nil means nobody. It may be called by several
	// goroutines at once.
	OnError func(ctx context.Context, err error)
}

// An Outcome says whether a request may pass, and otherwise what is answered instead.
type Outcome struct {
	Pass     bool
	Decision Decision    // the zero value when there was none
	Header   http.Header // for the answer, whether the request passes or not
	Status   int         // 403, 409, 422, 429, 500 or 503
	Error    string      // one sentence; the answer's body is {"error": Error}
}

// RequireFeature lets a use pass when its subject may use the feature: flag, tier and policy.
// Otherwise the outcome is 403. Nothing is taken, and limits that are used up do not matter.
func (g *Guard) RequireFeature(ctx context.Context, u Use) Outcome {
	d, err := g.Client.Check(ctx, u)
	switch {
	case err != nil:
		return g.undecided(ctx, err)
	case d.Allow, d.DeniedBy != "", d.Status == http.StatusTooManyRequests:
		return Outcome{Pass: true, Decision: d}
	case d.Status == http.StatusServiceUnavailable:
		return Outcome{Decision: d, Header: d.Header, Status: d.Status, Error: notNow}
	}
	return Outcome{Decision: d, Status: http.StatusForbidden, Error: notForTier}
}

// EnforceLimit takes the use and lets it pass. Otherwise the outcome is 429 when a limit has not
// as much left, 503 when nobody can say, and 403 when the subject may not use the feature.
func (g *Guard) EnforceLimit(ctx context.Context, u Use) Outcome {
	d, err := g.Client.Consume(ctx, u)
	if err != nil {
		return g.undecided(ctx, err)
	}
	o := Outcome{Pass: d.Allow, Decision: d, Header: d.Header}
	switch {
	case d.Allow:
	case d.Status == http.StatusTooManyRequests:
		o.Status, o.Error = d.Status, limitExceeded
	case d.Status == http.StatusServiceUnavailable:
		o.Status, o.Error = d.Status, notNow
	default:
		o.Status, o.Error = http.StatusForbidden, notForTier
	}
	return o
}

// undecided is the outcome of a question that has no answer.
func (g *Guard) undecided(ctx context.Context, err error) Outcome {
	if g.OnError != nil {
		g.OnError(ctx, err)
	}
	e, _ := errors.AsType[*Error](err)
	switch code := tiergate.CodeOf(err); {
	case code == tiergate.Unavailable && g.WhenAway == AllowWhenAway:
		return Outcome{Pass: true}
	case code == tiergate.Unavailable:
		return Outcome{Status: http.StatusServiceUnavailable, Error: notNow, Header: http.Header{"Retry-After": {"1"}}}
	case e != nil && (code == tiergate.Conflict || code == tiergate.KeyReused):
		return Outcome{Status: e.Status, Error: e.Message} // the caller's own idempotency key
	}
	return Outcome{Status: http.StatusInternalServerError, Error: notChecked}
}
