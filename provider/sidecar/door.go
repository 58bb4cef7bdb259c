package sidecar

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/sidecarhttp"
	"github.com/tiergate/tiergate/provider/internal/sdk"
)

const (
	flagsPath = "/ofrep/v1/evaluate/flags"
	trackPath = "/v1/batch/track"
	noFlag    = "-" // which is the name of none: a name begins otherwise

	maxOne  = 1 << 20  // bytes of an answer about one flag that are read
	maxBulk = 64 << 20 // … and about all
	maxWait = time.Minute
)

// errAway is wrapped by an error that says that the sidecar cannot be asked now: it is not there, or
// something else answers in its place. One that refuses a key is there.
var errAway = errors.New("the sidecar is away")

// errTooLarge is wrapped by an error about an answer that is not read to its end.
var errTooLarge = fmt.Errorf("%w: its answer is too large", errAway)

// A door sends questions to one sidecar. Safe for concurrent use.
type door struct {
	base *url.URL
	key  string
	set  string
	http *http.Client
	own  bool // nobody else sends anything with http
}

func newDoor(target string, o *Options) (*door, error) {
	d := &door{key: o.Key, set: o.Set, http: o.HTTP}
	socket, unix := strings.CutPrefix(target, "unix:")
	switch {
	case !unix:
		socket = ""
	case d.http != nil || socket == "":
		return nil, tiergate.FieldErrorf("target", "target %q needs a path, and no HTTP client of your own", target)
	default:
		target = "http://localhost"
	}
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, tiergate.FieldErrorf("target", "target %q is not http://host:port, https://host:port or unix:/path", target)
	}
	switch {
	case o.Key != "" && u.Scheme == "http" && !unix && !isHere(u.Hostname()) && !o.Insecure:
		return nil, tiergate.FieldErrorf("Key", "a key is not sent in plain text to another machine: use https://, or allow it with Insecure")
	case d.http != nil && d.http.Timeout != 0:
		return nil, tiergate.FieldErrorf("HTTP", "an HTTP client with a Timeout would end event streams: use Options.Timeout")
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	if d.base = u; d.http == nil {
		d.http, d.own = sidecarhttp.New(socket), true
	}
	return d, nil
}

// closeIdle closes the connections that are idle, unless somebody else may use them.
func (d *door) closeIdle() {
	if d.own {
		d.http.CloseIdleConnections()
	}
}

// isHere reports whether a host is this machine.
func isHere(host string) bool { return host == "localhost" || net.ParseIP(host).IsLoopback() }

// An answer is one flag's, as OFREP has it.
type answer struct {
	Key          string                   `json:"key"`
	Reason       openfeature.Reason       `json:"reason"`
	Variant      string                   `json:"variant"`
	Value        json.RawMessage          `json:"value"`
	Metadata     openfeature.FlagMetadata `json:"metadata"`
	ErrorCode    tiergate.ErrorCode       `json:"errorCode"`
	ErrorDetails string                   `json:"errorDetails"`
}

// A reply is what came back.
type reply struct {
	status  int
	answers []answer
	at      place     // the state that answered
	until   time.Time // when time alone may change it; zero is never
	lasting bool      // it may be kept at all
}

// complete adds to what the sidecar tells beside an answer what it tells once beside all of them,
// and the names by which the SDK's telemetry looks for the set and its version.
func (d *door) complete(a *answer, all openfeature.FlagMetadata) {
	if a.Metadata == nil {
		a.Metadata = openfeature.FlagMetadata{}
	}
	add := func(name string, value any) {
		if _, own := a.Metadata[name]; !own && value != nil && value != "" {
			a.Metadata[name] = value
		}
	}
	add("revision", all["revision"])
	add("stale", all["stale"])
	add("flagSetId", d.setName())
	add("flagSetId", all["flagSetId"])
	add("version", a.Metadata["revision"])
}

// outcome is what an answer means.
func (a *answer) outcome() sdk.Outcome {
	var o sdk.Outcome
	o.Value, o.Variant, o.Reason, o.FlagMetadata = a.Value, a.Variant, a.Reason, a.Metadata
	if string(o.Value) == "null" {
		o.Value = nil
	}
	if a.ErrorCode != "" {
		o.Fail(a.ErrorCode, a.ErrorDetails)
	}
	return o
}

// setName is the name of the flag set, "" when only the sidecar knows which is the key's.
func (d *door) setName() string {
	if d.set == "" && d.key == "" {
		return tiergate.DefaultSet
	}
	return d.set
}

// metered reports whether an answer tells of a limit: what is left of it is old at once.
func (a *answer) metered() bool { _, is := a.Metadata["limit"]; return is }

// keepable reports whether an answer holds until something changes.
func (a *answer) keepable() bool {
	_, stale := a.Metadata["stale"]
	return a.ErrorCode == "" && !stale && !a.metered()
}

// one asks about one flag. Context is the context as JSON, "" for none.
func (d *door) one(ctx context.Context, flag string, context []byte) (reply, error) {
	u := d.base.JoinPath(flagsPath)
	u.RawPath, u.Path = u.EscapedPath()+"/"+url.PathEscape(flag), u.Path+"/"+flag
	got, err := d.post(ctx, u, nil, questionOf(context), maxOne)
	if err != nil {
		return reply{}, err
	}
	r := replyOf(got)
	var a answer
	if json.Unmarshal(got.text, &a) != nil || got.status == http.StatusOK && a.Reason == "" || got.status != http.StatusOK && a.ErrorCode == "" {
		return reply{}, refusalOf(got.status)
	}
	d.complete(&a, nil)
	r.answers = []answer{a}
	return r, nil
}

// all asks about all flags.
func (d *door) all(ctx context.Context, context []byte) (reply, error) {
	got, err := d.post(ctx, d.base.JoinPath(flagsPath), nil, questionOf(context), maxBulk)
	if err != nil {
		return reply{}, err
	}
	var bulk struct {
		Flags    []answer                 `json:"flags"`
		Metadata openfeature.FlagMetadata `json:"metadata"`
	}
	if got.status != http.StatusOK || json.Unmarshal(got.text, &bulk) != nil {
		return reply{}, refusalOf(got.status)
	}
	for i := range bulk.Flags {
		d.complete(&bulk.Flags[i], bulk.Metadata)
	}
	r := replyOf(got)
	r.answers, r.lasting = bulk.Flags, r.lasting && bulk.Metadata["stale"] != true
	return r, nil
}

// A sight is what a look at the sidecar sees.
type sight struct {
	at    place // the state that is in force
	stale bool  // it is old by the sidecar's own word
}

// look asks about a flag that there is not, which costs least.
func (d *door) look(ctx context.Context) (sight, error) {
	r, err := d.one(ctx, noFlag, nil)
	if err != nil {
		return sight{}, err
	}
	switch a := &r.answers[0]; {
	case r.status == http.StatusUnauthorized || r.status == http.StatusForbidden:
		return sight{}, refusalOf(r.status)
	case r.status == http.StatusBadRequest: // it is there, and no question of ours can be answered
		return sight{}, fmt.Errorf("the sidecar refuses the question: %.300s (status %d)", a.ErrorDetails, r.status)
	case a.ErrorCode != "" && a.ErrorCode != tiergate.FlagNotFound:
		return sight{}, fmt.Errorf("%w: %.300s (status %d)", errAway, a.ErrorDetails, r.status)
	default:
		return sight{at: r.at, stale: a.Metadata["stale"] == true}, nil
	}
}

// A telling is where the sidecar tells of changes for anybody.
type telling struct {
	tag     string // names what was found; "" is of nothing, or of what has no name
	at      place  // the state from which on it tells
	streams []eventStream
}

// find asks about all flags for nobody, and leaves them aside. What was found before is not told
// again.
func (d *door) find(ctx context.Context, before *telling) (telling, error) {
	more := http.Header{"Tiergate-Audience": {"everyone"}}
	if before.tag != "" {
		more.Set("If-None-Match", before.tag)
	}
	got, err := d.post(ctx, d.base.JoinPath(flagsPath), more, questionOf(nil), maxBulk)
	if err != nil {
		return telling{}, err
	}
	found := telling{tag: got.header.Get("ETag"), at: placeOf(got.header.Get("Tiergate-Revision"))}
	if got.status == http.StatusNotModified && before.tag != "" {
		found.tag, found.streams = before.tag, before.streams
		return found, nil
	}
	var bulk struct {
		Streams []eventStream `json:"eventStreams"`
	}
	if got.status != http.StatusOK || json.Unmarshal(got.text, &bulk) != nil {
		return telling{}, refusalOf(got.status)
	}
	found.streams = bulk.Streams
	return found, nil
}

func questionOf(context []byte) []byte {
	if len(context) == 0 {
		return []byte("{}")
	}
	return append(append([]byte(`{"context":`), context...), '}')
}

// replyOf reads what the header of an answer says.
func replyOf(got *letter) reply {
	r := reply{status: got.status, at: placeOf(got.header.Get("Tiergate-Revision")), lasting: true}
	for directive := range strings.SplitSeq(got.header.Get("Cache-Control"), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-store", "no-cache":
			r.lasting = false
		case "max-age":
			seconds, err := strconv.ParseInt(value, 10, 32)
			if r.until = time.Now().Add(time.Duration(seconds) * time.Second); err != nil || seconds <= 0 {
				r.lasting = false
			}
		}
	}
	return r
}

// A letter is what was read of an HTTP answer.
type letter struct {
	status int
	header http.Header
	text   []byte
}

// post sends a question, with more in its header, and reads the whole answer, at most most bytes.
// Its error wraps errAway when the sidecar cannot be asked now.
func (d *door) post(ctx context.Context, u *url.URL, more http.Header, body []byte, most int64) (*letter, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask the sidecar: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	// A connection that the sidecar closes just now, because it was idle, is no reason to fail: every
	// question may be sent again. This says so to net/http, and to nobody else.
	req.Header["Idempotency-Key"] = nil
	if d.set != "" {
		req.Header.Set("Flagd-Selector", "flagSetId="+d.set)
	}
	maps.Copy(req.Header, more)
	if d.key != "" {
		req.Header.Set("Authorization", "Bearer "+d.key)
	}
	res, err := d.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAway, err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: its answer broke off: %w", errAway, err)
	case int64(len(text)) > most:
		return nil, fmt.Errorf("%w, larger than %d bytes", errTooLarge, most)
	}
	switch res.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return nil, &busyError{status: res.StatusCode, wait: retryAfter(res.Header)}
	}
	return &letter{res.StatusCode, res.Header, text}, nil
}

// A busyError is the answer of a sidecar, or of what is in front of it, that it cannot answer now.
type busyError struct {
	status int
	wait   time.Duration // how long it wants to be left alone; 0 says nothing
}

func (e *busyError) Error() string {
	return fmt.Sprintf("the sidecar cannot answer now (status %d)", e.status)
}

// Unwrap makes it one of those that say that the sidecar is away.
func (e *busyError) Unwrap() error { return errAway }

// retryAfter is how long to wait, as a number of seconds or a date says it; a minute at most.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxWait)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(time.Until(at), 0), maxWait)
	}
	return 0
}

// An oddError is an answer that is not a sidecar's, but perhaps of what is in front of one: an ingress
// answers with a page of its own, of any status, while a sidecar restarts behind it.
type oddError struct{ status int }

func (e *oddError) Error() string {
	return fmt.Sprintf("the answer is not a sidecar's (status %d)", e.status)
}

// Unwrap makes it one of those that say that the sidecar is away.
func (e *oddError) Unwrap() error { return errAway }

// refusalOf says what an answer means that is none.
func refusalOf(status int) error {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("the sidecar refuses the API key (status %d)", status)
	}
	return &oddError{status}
}
