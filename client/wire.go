package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/tiergate/tiergate"
)

const (
	maxAnswer = 8 << 20 // bytes of an answer that are read

	// Between two attempts a random time passes, of which the bound doubles.
	firstPause   = 50 * time.Millisecond
	longestPause = 400 * time.Millisecond
)

// A message is one call, which may be sent several times.
type message struct {
	method, path string
	body         any  // nil is none
	again        bool // a Conflict says that the same call is still being worked on
	reserves     bool // it is about a reservation
}

// send sends a message until it is answered, at most as often as the options say, and decodes
// the answer into out. It returns the answer's header.
func (c *Client) send(ctx context.Context, m message, out any) (http.Header, error) {
	var body []byte
	if m.body != nil {
		var err error
		if body, err = json.Marshal(m.body); err != nil {
			return nil, &Error{Code: tiergate.Invalid, Message: "the question cannot be written as JSON", Err: err}
		}
	}
	if timeout := c.timeoutOf(m); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	bound := firstPause
	for attempt := 1; ; attempt++ {
		header, err := c.attempt(ctx, m, body, out)
		if err == nil || attempt >= c.attempts || !worthAgain(m, err) || ctx.Err() != nil {
			return header, err
		}
		if c.pause(ctx, rand.N(bound)+1) != nil {
			return nil, err // what the last attempt said tells more than that time is over
		}
		bound = min(2*bound, longestPause)
	}
}

func (c *Client) timeoutOf(m message) time.Duration {
	if m.reserves {
		return cmp.Or(c.timeout, DefaultReserveTimeout)
	}
	return cmp.Or(c.timeout, DefaultTimeout)
}

func worthAgain(m message, err error) bool {
	code := tiergate.CodeOf(err)
	return code == tiergate.Unavailable || m.again && code == tiergate.Conflict
}

func (c *Client) attempt(ctx context.Context, m message, body []byte, out any) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, m.method, c.base+m.path, bytes.NewReader(body))
	if err != nil {
		return nil, &Error{Code: tiergate.Invalid, Message: "the request cannot be made", Err: err}
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, &Error{Code: tiergate.Unavailable, Message: "the sidecar could not be reached", Err: err}
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, &Error{Code: tiergate.Unavailable, Message: "the sidecar's answer broke off", Err: err}
	}
	return res.Header, read(res.StatusCode, res.Header.Get("Content-Type"), text, out)
}

// read decodes an answer. A decision that denies is a problem document as well, when its
// status is the answer's; it is told from other problems by its member "allow".
func read(status int, contentType string, text []byte, out any) error {
	if status == http.StatusOK {
		if err := json.Unmarshal(text, out); err != nil {
			return &Error{Status: status, Code: tiergate.Internal, Message: "the answer is not the sidecar's", Err: err}
		}
		return nil
	}
	var p struct {
		Allow    *bool
		Code     tiergate.Code
		Detail   string
		Field    string
		Violated []string `json:"violated-policies"`
	}
	known := strings.HasPrefix(contentType, "application/problem+json") && json.Unmarshal(text, &p) == nil
	if known && p.Allow != nil {
		return read(http.StatusOK, contentType, text, out)
	}
	e := &Error{Status: status, Code: p.Code, Message: p.Detail, Field: p.Field, Violated: p.Violated}
	switch {
	case status == http.StatusRequestTimeout: // the question was not read, so that it had no effect
		e.Code, e.Message = tiergate.Unavailable, "the question took the sidecar too long to arrive"
	case known && e.Code != "":
	case status == http.StatusServiceUnavailable, status == http.StatusBadGateway, status == http.StatusGatewayTimeout:
		e.Code, e.Message = tiergate.Unavailable, "something before the sidecar says that it is away"
	default:
		e.Code, e.Message = tiergate.Internal, "the answer is not the sidecar's"
	}
	return e
}

// away reports whether an error says that the sidecar cannot be asked now.
func away(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == tiergate.Unavailable
}
