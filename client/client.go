package client

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/sidecarhttp"
)

// The defaults of Options.
const (
	DefaultTarget   = "http://127.0.0.1:8016"
	DefaultTimeout  = 2 * time.Second
	DefaultAttempts = 3
	// DefaultReserveTimeout is that of calls about reservations: the sidecar asks Postgres, and
	// answers after five seconds at the latest.
	DefaultReserveTimeout = 6 * time.Second
)

// Options say how a Client asks. The zero value asks a sidecar on this machine, without a key.
type Options struct {
	// Target is where the sidecar listens: "http://host:port", "https://host:port" or
	// "unix:/path"; "" is DefaultTarget.
	Target string
	// Key is an API key; "" sends none. It needs the scope evaluate to check, and consume for
	// everything else.
	Key string
	// HTTP sends the requests; nil is one made for this client, which keeps up to 100 idle
	// connections and follows no redirects. With a Target of "unix:" it must be nil.
	HTTP *http.Client
	// Timeout bounds a whole call with all its attempts; 0 is DefaultTimeout, and about
	// reservations DefaultReserveTimeout; negative is no bound but the context's.
	Timeout time.Duration
	// Attempts is how often a call is sent in all while the sidecar cannot be reached, is
	// not ready, or is still working on the same key; 0 is DefaultAttempts.
	Attempts int
}

// A Client asks one sidecar. Make it with New; it is safe for concurrent use.
type Client struct {
	base     string
	key      string
	http     *http.Client
	timeout  time.Duration
	attempts int
	pause    func(ctx context.Context, d time.Duration) error
}

// New makes a client. Errors are about the options: it sends nothing.
func New(o Options) (*Client, error) {
	c := &Client{
		key: o.Key, http: o.HTTP, pause: pause,
		timeout: o.Timeout, attempts: cmp.Or(o.Attempts, DefaultAttempts),
	}
	if c.attempts < 0 {
		return nil, tiergate.FieldErrorf("Attempts", "a call is sent at least once")
	}
	target := cmp.Or(o.Target, DefaultTarget)
	if path, ok := strings.CutPrefix(target, "unix:"); ok {
		if c.http != nil || path == "" {
			return nil, tiergate.FieldErrorf("Target", "target %q needs a path, and no HTTP client of your own", target)
		}
		c.base, c.http = "http://localhost", sidecarhttp.New(path)
		return c, nil
	}
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, tiergate.FieldErrorf("Target", "target %q is not http://host:port, https://host:port or unix:/path", target)
	}
	c.base = strings.TrimSuffix(target, "/")
	if c.http == nil {
		c.http = sidecarhttp.New("")
	}
	return c, nil
}

// Close closes connections that are idle. The client can be used on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// An Error is why there is no answer. tiergate.CodeOf tells its Code too.
type Error struct {
	Status   int           // of the answer; 0 when there was none
	Code     tiergate.Code // Unavailable when the sidecar could not be asked
	Message  string        // for people
	Field    string        // the member at fault, "" for none
	Violated []string      // the keys of the limits that have not as much left
	Err      error         // the cause, when there was no answer
}

func (e *Error) Error() string {
	switch {
	case e.Err != nil:
		return fmt.Sprintf("ask tiergate: %s: %v", e.Message, e.Err)
	case e.Field != "":
		return fmt.Sprintf("ask tiergate: %s: %s (status %d)", e.Field, e.Message, e.Status)
	}
	return fmt.Sprintf("ask tiergate: %s (status %d)", e.Message, e.Status)
}

// Unwrap returns the error in tiergate's words, and the cause.
func (e *Error) Unwrap() []error {
	words := &tiergate.Error{Code: e.Code, Message: e.Message, Field: e.Field}
	if e.Err == nil {
		return []error{words}
	}
	return []error{words, e.Err}
}
