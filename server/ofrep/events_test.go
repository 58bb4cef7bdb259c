package ofrep_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/ofrep"
)

const streamSecret = "0123456789abcdef0123456789abcdef"

// streamsOf runs streams until the test ends.
func streamsOf(t *testing.T, cfg ofrep.StreamConfig) *ofrep.Streams {
	t.Helper()
	if cfg.Secret == nil {
		cfg.Secret = []byte(streamSecret)
	}
	s := ofrep.NewStreams(cfg)
	runStreams(t, s)
	return s
}

// runStreams runs streams until the test ends or what it returns is called.
func runStreams(t *testing.T, s *ofrep.Streams) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// load brings the demo data into force.
func load(t *testing.T, e *evaluator.Engine) {
	t.Helper()
	whole := tiergate.Revision{
		Resume: tiergate.Resume{Epoch: "0123456789abcdef", Rev: 7}, Whole: true, Changes: tiergate.ChangesOf(conformance.Demo()...),
	}
	if err := e.Apply(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
}

// put brings the next revision into force.
func put(t *testing.T, e *evaluator.Engine, changes ...tiergate.Change) {
	t.Helper()
	state, _ := e.State()
	next := state.Resume
	next.Rev++
	if err := e.Apply(t.Context(), tiergate.Revision{Resume: next, Changes: tiergate.ChangesOf(changes...)}); err != nil {
		t.Fatal(err)
	}
}

// aFlag is a flag of the default set, another one each time.
func aFlag(rev int) tiergate.Change {
	return tiergate.PutOf(&tiergate.Flag{
		ID: "f-new", Set: "default", Name: "new-flag", Title: fmt.Sprint("version ", rev), Type: tiergate.Boolean, Enabled: true,
		Variants:       map[string]json.RawMessage{"on": json.RawMessage("true"), "off": json.RawMessage("false")},
		DefaultVariant: "on", OffVariant: "off", Rules: tiergate.Rules{Percentage: 100},
	})
}

// acme is alice's and dave's team, in a tier.
func acme(tier string) tiergate.Change {
	return tiergate.PutOf(&tiergate.Team{ID: "acme", Name: "Acme", OwnerID: "alice", Tier: tier, Status: tiergate.TeamActive})
}

// streamOf asks for all flags and returns the URL of the stream that the answer tells of, and its tag.
func streamOf(t *testing.T, addr, body string, headers ...string) (uri, tag string) {
	t.Helper()
	got := exchange(t, addr, post(flags, body, headers...), 1)[0]
	return streamIn(t, got), got.header.Get("ETag")
}

// streamIn returns the address of the stream that an answer tells of.
func streamIn(t *testing.T, got answer) string {
	t.Helper()
	var answer struct {
		EventStreams []struct {
			Type     string
			Endpoint struct {
				Origin     *string
				RequestURI string `json:"requestUri"`
			}
			InactivityDelaySec int
		}
	}
	if err := json.Unmarshal([]byte(got.body), &answer); err != nil || got.status != 200 || len(answer.EventStreams) != 1 {
		t.Fatalf("%d %s: %v", got.status, got.body, err)
	}
	s := answer.EventStreams[0]
	if s.Type != "sse" || s.Endpoint.Origin != nil || s.InactivityDelaySec != 120 || !strings.HasPrefix(s.Endpoint.RequestURI, "/ofrep/v1/sse?token=") {
		t.Fatalf("the stream is %+v", s)
	}
	return s.Endpoint.RequestURI
}

// told is one event.
type told struct {
	ID   string
	Type string
	Etag string
	At   int64 `json:"lastModified"`
}

// An ear is the client of a stream.
type ear struct {
	t     *testing.T
	conn  net.Conn
	res   *http.Response
	lines *bufio.Reader
	retry string
}

// listenTo opens a stream.
func listenTo(t *testing.T, addr, uri string, headers ...string) *ear {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return listenOn(t, c, uri, headers...)
}

func get(uri string, headers ...string) string {
	return "GET " + uri + " HTTP/1.1\r\n" + strings.Join(append([]string{"Host: localhost", "Accept: text/event-stream"}, append(headers, "", "")...), "\r\n")
}

func listenOn(t *testing.T, c net.Conn, uri string, headers ...string) *ear {
	t.Helper()
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, get(uri, headers...)); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	e := &ear{t: t, conn: c, res: res, lines: bufio.NewReader(res.Body)}
	if res.StatusCode != 200 {
		body, _ := io.ReadAll(res.Body)
		t.Fatalf("the stream is answered with %d %s", res.StatusCode, body)
	}
	if name, value, _ := strings.Cut(e.line(), ": "); name != "retry" || e.line() != "" {
		t.Fatalf("the stream begins with %s: %s", name, value)
	} else {
		e.retry = value
	}
	return e
}

func (e *ear) line() string {
	e.t.Helper()
	line, err := e.lines.ReadString('\n')
	if err != nil {
		e.t.Fatalf("read the stream: %v", err)
	}
	return strings.TrimSuffix(line, "\n")
}

// next waits for an event and returns it.
func (e *ear) next() (n told) {
	e.t.Helper()
	for {
		switch name, value, _ := strings.Cut(e.line(), ": "); name {
		case "id":
			n.ID = value
		case "data":
			id := n.ID
			if err := json.Unmarshal([]byte(value), &n); err != nil {
				e.t.Fatalf("%s: %v", value, err)
			}
			n.ID = id
		case "":
			if n.ID != "" {
				return n
			}
		}
	}
}

func (e *ear) expect(id string) {
	e.t.Helper()
	revision, _, _ := strings.Cut(id, "@")
	if got := e.next(); got.ID != id || got.Etag != revision || got.Type != "refetchEvaluation" || time.Since(time.Unix(got.At, 0)).Abs() > time.Minute {
		e.t.Errorf("got the event %+v, want %s", got, id)
	}
}

// ends waits for the end of the stream.
func (e *ear) ends() {
	e.t.Helper()
	if rest, err := io.ReadAll(e.lines); err != nil {
		e.t.Errorf("the stream ends with %q, %v", rest, err)
	}
}

// A client that asked for all flags hears of the changes that concern it, and of no others.
func TestEvents_tell_whom_a_change_concerns(t *testing.T) {
	e := engine(t)
	addr := serve(t, appOf(ofrep.Config{Evaluator: e, Streams: streamsOf(t, ofrep.StreamConfig{Watcher: e})}))
	listen := func(user, headers string) *ear {
		uri, _ := streamOf(t, addr, `{"context":{"targetingKey":"`+user+`"}}`, headers)
		return listenTo(t, addr, uri)
	}
	alice, carol := listen("alice", "X: y"), listen("carol", "X: y")
	elsewhere := listen("alice", "Flagd-Selector: flagSetId=elsewhere")
	put(t, e, acme("free"))
	alice.expect("01234567-8")
	elsewhere.expect("01234567-8")
	put(t, e, aFlag(1))
	carol.expect("01234567-9") // and the team's change was no matter of hers
	alice.expect("01234567-9")
	put(t, e, acme("pro"))
	elsewhere.expect("01234567-10") // and a flag of another set is no matter of this one
	if h := alice.res.Header; h.Get("Content-Type") != "text/event-stream" || h.Get("Cache-Control") != "no-store" || h.Get("X-Accel-Buffering") != "no" {
		t.Errorf("the headers are %v", h)
	}
	if alice.retry < "1000" || alice.retry >= "3000" {
		t.Errorf("clients are told to come back after %s ms", alice.retry)
	}
}

// What changes between an answer and the stream that it tells of is not missed, nor what changes
// while a client is away, at this sidecar or at another one that shares the key.
func TestEvents_replay(t *testing.T) {
	e := engine(t)
	here := serve(t, appOf(ofrep.Config{Evaluator: e, Streams: streamsOf(t, ofrep.StreamConfig{Watcher: e})}))
	there := serve(t, appOf(ofrep.Config{Evaluator: e, Streams: streamsOf(t, ofrep.StreamConfig{Watcher: e})}))
	uri, _ := streamOf(t, here, `{"context":{"targetingKey":"alice"}}`)
	put(t, e, aFlag(8))
	var ears []*ear
	for _, addr := range []string{here, there} {
		late := listenTo(t, addr, uri)
		late.expect("01234567-8")
		ears = append(ears, late, listenTo(t, addr, uri, "Last-Event-ID: 01234567-8"))
	}
	put(t, e, aFlag(9))
	for _, e := range ears {
		e.expect("01234567-9")
	}
	put(t, e, acme("free"))
	for _, addr := range []string{here, there} {
		listenTo(t, addr, uri, "Last-Event-ID: 01234567-9").expect("01234567-10")
	}
}

// A server that starts again with the same key accepts the tokens that it gave out before, also
// before its first state is there; with another key it does not, and its answers have other tags,
// so that a client gets a new token instead of a 304.
func TestEvents_after_a_restart(t *testing.T) {
	e := engine(t)
	serveWith := func(e *evaluator.Engine, secret string) string {
		return serve(t, appOf(ofrep.Config{Evaluator: e, Streams: streamsOf(t, ofrep.StreamConfig{Watcher: e, Secret: []byte(secret)})}))
	}
	body := `{"context":{"targetingKey":"alice"}}`
	uri, tag := streamOf(t, serveWith(e, streamSecret), body)

	if got := exchange(t, serveWith(e, streamSecret), post(flags, body, "If-None-Match: "+tag), 1)[0]; got.status != 304 || got.body != "" {
		t.Errorf("with the same key: %d %s", got.status, got.body)
	}
	again, _ := streamOf(t, serveWith(e, streamSecret), body)
	if again != uri {
		t.Error("the same question has another URL with the same key")
	}
	other, otherTag := streamOf(t, serveWith(e, strings.Repeat("x", 32)), body, "If-None-Match: "+tag)
	if other == uri || otherTag == tag {
		t.Error("another key makes no difference")
	}
	if got := exchange(t, serveWith(e, strings.Repeat("x", 32)), get(uri), 1)[0]; got.status != 401 {
		t.Errorf("a token of another key is answered with %d", got.status)
	}

	fresh := evaluator.New(evaluator.Options{})
	addr := serveWith(fresh, streamSecret)
	early, behind := listenTo(t, addr, uri), listenTo(t, addr, uri, "Last-Event-ID: 01234567-6")
	load(t, fresh)
	behind.expect("01234567-7")
	put(t, fresh, aFlag(1))
	early.expect("01234567-8") // and the first state was the one that it has
	behind.expect("01234567-8")
}

// Without a valid token there is no stream, and nothing about it is said.
func TestEvents_are_refused(t *testing.T) {
	e := engine(t)
	cfg := ofrep.Config{Evaluator: e, Streams: streamsOf(t, ofrep.StreamConfig{Watcher: e, Most: 1})}
	addr := serve(t, server.NewApp(server.Config{CORSOrigins: []string{"https://app.example"}}, ofrep.New(cfg)))
	none := serve(t, appOf(ofrep.Config{Evaluator: e}))
	uri, _ := streamOf(t, addr, `{}`)
	var now atomic.Int64
	now.Store(time.Now().Unix())
	clock := func() time.Time { return time.Unix(now.Load(), 0) }
	timed := serve(t, appOf(ofrep.Config{Evaluator: e, Now: clock, Streams: streamsOf(t, ofrep.StreamConfig{Watcher: e, Now: clock})}))
	old, oldTag := streamOf(t, timed, `{}`)
	now.Add(24 * 60 * 60)
	const page = "Origin: https://app.example"
	for _, tc := range []struct {
		name, addr, raw string
		status          int
	}{
		{"no token", addr, get("/ofrep/v1/sse", page), 401},
		{"an empty token", addr, get("/ofrep/v1/sse?token=", page), 401},
		{"a changed token", addr, get(strings.Replace(uri, "token=AQ", "token=AR", 1), page), 401},
		{"an expired token", timed, get(old), 401},
		{"POST", addr, strings.Replace(get(uri, page), "GET", "POST", 1), 405},
		{"another path", addr, get(strings.Replace(uri, "sse", "sse/", 1), page), 404},
		{"another host", addr, strings.Replace(get(uri, page), "Host: localhost", "Host: evil.example", 1), 421},
		{"no streams here", none, get(uri), 404},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := exchange(t, tc.addr, tc.raw, 1)[0]
			if got.status != tc.status {
				t.Errorf("%d %s", got.status, got.body)
			}
			readFailure(t, got)
			if strings.Contains(tc.raw, "Origin") && tc.status != 421 && got.header.Get("Access-Control-Allow-Origin") != "https://app.example" {
				t.Errorf("a page may not read why: %v", got.header)
			}
		})
	}
	// What an expired token's client does next: it asks again, with the tag that it has.
	if renewed, tag := streamOf(t, timed, `{}`, "If-None-Match: "+oldTag); renewed == old || tag == oldTag {
		t.Error("a client with an expired token gets no other")
	}
	first := listenTo(t, addr, uri, page)
	if first.res.Header.Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Errorf("a page may not read the stream: %v", first.res.Header)
	}
	if got := exchange(t, addr, get(uri), 1)[0]; got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("one stream too many is answered with %d %v", got.status, got.header)
	}
}

// A stream is its key's: it is the key's team that is told, and one that is revoked or has lost
// its scope is told nothing more.
func TestEvents_with_keys(t *testing.T) {
	e := engine(t)
	state := new(atomic.Pointer[tiergate.Key])
	state.Store(&tiergate.Key{ID: "k1", TeamID: "acme", State: tiergate.KeyActive, Scopes: []string{tiergate.ScopeEvaluate}})
	find := func(string) (*tiergate.Key, error) {
		switch k := state.Load(); {
		case !k.Usable(time.Now()):
			return nil, tiergate.Errorf(tiergate.Unauthorized, "no")
		case !k.Allows(tiergate.ScopeEvaluate):
			return nil, tiergate.Errorf(tiergate.Forbidden, "no")
		default:
			return k, nil
		}
	}
	with := appOf(ofrep.Config{Evaluator: e, Credential: find, Streams: streamsOf(t, ofrep.StreamConfig{Watcher: e, Key: find})})
	addr := serve(t, with)
	open := serve(t, appOf(ofrep.Config{Evaluator: e, Streams: streamsOf(t, ofrep.StreamConfig{Watcher: e})}))
	uri, _ := streamOf(t, addr, `{}`, "X-API-Key: k")
	ofTeam := listenTo(t, addr, uri)
	put(t, e, acme("free"))
	ofTeam.expect("01234567-8")
	keyless, _ := streamOf(t, open, `{}`)
	if got := exchange(t, addr, get(keyless), 1)[0]; got.status != 401 {
		t.Errorf("a token of before keys were needed is answered with %d", got.status)
	}
	state.Store(&tiergate.Key{ID: "k1", TeamID: "acme", State: tiergate.KeyActive})
	if got := exchange(t, addr, get(uri), 1)[0]; got.status != 403 {
		t.Errorf("a key without the scope is answered with %d", got.status)
	}
	state.Store(&tiergate.Key{ID: "k1", TeamID: "acme", State: tiergate.KeyRevoked})
	put(t, e, aFlag(1))
	ofTeam.ends()
	if got := exchange(t, addr, get(uri), 1)[0]; got.status != 401 {
		t.Errorf("a revoked key is answered with %d", got.status)
	}
}

// A stream is no connection of the server's: it takes no place there, and the end of the server
// need not wait for it; it ends with the streams.
func TestEvents_take_no_connection(t *testing.T) {
	e := engine(t)
	streams := ofrep.NewStreams(ofrep.StreamConfig{Watcher: e, Secret: []byte(streamSecret)})
	stop := runStreams(t, streams)
	addr := serve(t, server.NewApp(server.Config{MaxConns: 4}, ofrep.New(ofrep.Config{Evaluator: e, Streams: streams})))
	uri, _ := streamOf(t, addr, `{}`)
	var ears []*ear
	for range 8 {
		ears = append(ears, listenTo(t, addr, uri))
	}
	if got := exchange(t, addr, post(flags, `{}`), 1)[0]; got.status != 200 {
		t.Errorf("beside eight streams: %d", got.status)
	}
	if n := streams.Open(); n != 8 {
		t.Errorf("there are %d streams", n)
	}
	put(t, e, aFlag(1))
	for _, e := range ears {
		e.expect("01234567-8")
	}
	stop()
	for _, e := range ears {
		e.ends()
	}
	if got := exchange(t, addr, get(uri), 1)[0]; got.status != 503 {
		t.Errorf("after the end a stream is answered with %d", got.status)
	}
}

// Streams come over TLS and through Unix sockets as well.
func TestEvents_over_TLS_and_Unix_sockets(t *testing.T) {
	e := engine(t)
	app := func() *ofrep.Streams { return streamsOf(t, ofrep.StreamConfig{Watcher: e}) }
	uri, _ := streamOf(t, serve(t, appOf(ofrep.Config{Evaluator: e, Streams: app()})), `{}`)

	cert, key := selfSigned(t)
	secure, err := listen.Listen("127.0.0.1:0", listen.Options{Cert: cert, Key: key, Timeouts: server.Timeouts})
	if err != nil {
		t.Fatal(err)
	}
	addr := serveOn(t, appOf(ofrep.Config{Evaluator: e, Streams: app()}), secure)
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}) // a test's own certificate
	if err != nil {
		t.Fatal(err)
	}
	overTLS := listenOn(t, c, uri)

	path := filepath.Join(t.TempDir(), "s")
	socket, err := listen.Listen("unix:"+path, listen.Options{Timeouts: server.Timeouts})
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, appOf(ofrep.Config{Evaluator: e, Streams: app()}), socket)
	u, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	overUnix := listenOn(t, u, uri)
	for rev := 8; rev < 12; rev++ {
		put(t, e, aFlag(rev))
		overTLS.expect(fmt.Sprint("01234567-", rev))
		overUnix.expect(fmt.Sprint("01234567-", rev))
	}
}

// A 304 tells of no stream, and neither does an error.
func TestEvents_are_told_of_in_answers(t *testing.T) {
	e := engine(t)
	addr := serve(t, appOf(ofrep.Config{Evaluator: e, Streams: streamsOf(t, ofrep.StreamConfig{Watcher: e})}))
	_, tag := streamOf(t, addr, `{}`)
	if got := exchange(t, addr, post(flags+"/nothing", `{}`), 1)[0]; got.status != 404 || strings.Contains(got.body, "eventStreams") {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := exchange(t, addr, post(flags, `{}`, "If-None-Match: "+tag), 1)[0]; got.status != 304 || got.body != "" {
		t.Errorf("%d %s", got.status, got.body)
	}
	long := strings.Repeat("s", 300)
	if got := exchange(t, addr, post(flags, `{}`, "Flagd-Selector: flagSetId="+long), 1)[0]; got.status != 400 {
		t.Errorf("a set that cannot exist: %d %s", got.status, got.body)
	}
}

// An answer about one flag tells of the stream for all who ask with the same key about the same set:
// it is the same for each user, tells of changes for any of them, and of those since the answer.
func TestEvents_of_those_who_ask_about_one_flag(t *testing.T) {
	e := engine(t)
	key := func(name string) (*tiergate.Key, error) { return &tiergate.Key{ID: name, TeamID: "acme"}, nil }
	addr := serve(t, appOf(ofrep.Config{Evaluator: e, Credential: key, Streams: streamsOf(t, ofrep.StreamConfig{Watcher: e, Key: key})}))
	one := func(user, key string) string {
		return streamIn(t, exchange(t, addr, post(flags+"/new-dashboard", `{"context":{"targetingKey":"`+user+`"}}`, "X-API-Key: "+key), 1)[0])
	}
	uri := one("alice", "k")
	if one("bob", "k") != uri || one("alice", "other") == uri || one("alice", "k") != uri {
		t.Error("a stream is not that of a key")
	}
	put(t, e, aFlag(8))
	if one("alice", "k") == uri {
		t.Error("the stream begins where an earlier answer was")
	}
	page := listenTo(t, addr, uri)
	page.expect("01234567-8")
	put(t, e, tiergate.PutOf(&tiergate.User{ID: "somebody", Tier: "free"}))
	page.expect("01234567-9")
}

// A client that an event told of the state in force has its answer confirmed by its tag; one that
// was told of a state that is here in a moment gets that.
func TestNotModified_after_an_event(t *testing.T) {
	gen := demo()
	evaluator := fakeOf(gen)
	addr := serve(t, appOf(ofrep.Config{Evaluator: evaluator}))
	tag := asker{t, addr}.tag("{}")
	ask := func(query string) answer {
		return exchange(t, addr, post(flags+query, "{}", quiet, "If-None-Match: "+tag), 1)[0]
	}
	if got := ask("?flagConfigEtag=01234567-7&flagConfigLastModified=1771622898"); got.status != 304 {
		t.Errorf("told of the state in force: %d", got.status)
	}
	var looks atomic.Int32
	evaluator.asked = func() {
		if looks.Add(1) == 4 { // while the request waits
			next := demo()
			next.resume.Rev = 8
			evaluator.gen.Store(next)
		}
	}
	if got := ask("?flagConfigEtag=01234567-8&flagConfigLastModified=1771622898"); got.status != 200 || got.header.Get("Tiergate-Revision") != "01234567-8" {
		t.Errorf("told of the next state: %d at %s", got.status, got.header.Get("Tiergate-Revision"))
	}
	if got := ask("?flagConfigEtag=fedcba98-8"); got.status != 200 {
		t.Errorf("told of another history: %d", got.status)
	}
}

// Of two sidecars behind one address one is behind, for longer than a request waits. A client that
// the other one told, and that asks this one, gets the older answer, and after that the newer one:
// it is told once more, and then has its answer confirmed.
func TestEvents_make_up_for_a_sidecar_that_is_behind(t *testing.T) {
	ahead, behind := engine(t), engine(t)
	share := func(e *evaluator.Engine) string {
		return serve(t, appOf(ofrep.Config{Evaluator: e, Streams: streamsOf(t, ofrep.StreamConfig{Watcher: e, Shared: true})}))
	}
	here, there := share(ahead), share(behind)
	uri, tag := streamOf(t, there, `{}`)
	page := listenTo(t, here, uri)
	asks := func() answer {
		got := exchange(t, there, post(flags+"?flagConfigEtag="+page.next().Etag, `{}`, "If-None-Match: "+tag), 1)[0]
		tag = got.header.Get("ETag")
		return got
	}
	put(t, ahead, aFlag(8))
	if got := asks(); got.status != 200 || got.header.Get("Tiergate-Revision") != "01234567-7" {
		t.Errorf("the one that is behind answers %d at %s", got.status, got.header.Get("Tiergate-Revision"))
	}
	put(t, behind, aFlag(8))
	if got := asks(); got.status != 200 || got.header.Get("Tiergate-Revision") != "01234567-8" {
		t.Errorf("told once more, it asks and gets %d at %s", got.status, got.header.Get("Tiergate-Revision"))
	}
	if got := exchange(t, there, post(flags+"?flagConfigEtag=01234567-8", `{}`, "If-None-Match: "+tag), 1)[0]; got.status != 304 {
		t.Errorf("who has the newest answer gets %d", got.status)
	}
}

// Who may not ask does not wait: the places of those who wait are for callers. And who may ask no
// longer once the revision is there gets no answer.
func TestWaiting_is_for_those_who_may_ask(t *testing.T) {
	evaluator := fakeOf(demo())
	var looks, comes, next atomic.Int64 // at which look the next revision is there
	next.Store(8)
	evaluator.asked = func() {
		if looks.Add(1) == comes.Load() {
			gen := demo()
			gen.resume.Rev = next.Load()
			evaluator.gen.Store(gen)
		}
	}
	addr := serve(t, appOf(ofrep.Config{Evaluator: evaluator, Credential: func(key string) (*tiergate.Key, error) {
		if key == "revoked" && evaluator.gen.Load().resume.Rev < next.Load() || key == "good" {
			return &tiergate.Key{ID: key, TeamID: "acme"}, nil
		}
		return nil, tiergate.Errorf(tiergate.Unauthorized, "no")
	}}))
	ask := func(key string, demands bool) answer {
		rev := fmt.Sprint("01234567-", next.Load())
		if looks.Store(0); demands {
			return exchange(t, addr, post(flags+"/on", "{}", quiet, "X-API-Key: "+key, "Tiergate-Min-Revision: "+rev), 1)[0]
		}
		return exchange(t, addr, post(flags+"?flagConfigEtag="+rev, "{}", quiet, "X-API-Key: "+key), 1)[0]
	}
	for _, demands := range []bool{true, false} {
		if got := ask("bad", demands); got.status != 401 || looks.Load() != 1 {
			t.Errorf("a bad key, demanding: %v: %d after %d looks", demands, got.status, looks.Load())
		}
	}
	comes.Store(4)
	for _, demands := range []bool{true, false} {
		if got := ask("good", demands); got.status != 200 || got.header.Get("Tiergate-Revision") != fmt.Sprint("01234567-", next.Load()) {
			t.Errorf("a good key, demanding: %v: %d at %s", demands, got.status, got.header.Get("Tiergate-Revision"))
		}
		next.Add(1)
		if got := ask("revoked", demands); got.status != 401 {
			t.Errorf("a key that was revoked meanwhile, demanding: %v: %d", demands, got.status)
		}
		next.Add(1)
	}
}

// Nobody waits for a revision of another history, such as another process's of a folder: it may
// never come, and what is in force may be newer.
func TestWaiting_is_not_for_another_history(t *testing.T) {
	evaluator := fakeOf(demo())
	var looks atomic.Int32
	evaluator.asked = func() { looks.Add(1) }
	addr := serve(t, appOf(ofrep.Config{Evaluator: evaluator}))
	for request, want := range map[string]int{
		post(flags+"?flagConfigEtag=fedcba98-1", "{}", quiet):                200,
		post(flags, "{}", quiet, "Tiergate-Min-Revision: fedcba98-1"):        412,
		post(flags+"/on", "{}", quiet, "Tiergate-Min-Revision: fedcba98-99"): 412,
	} {
		looks.Store(0)
		if got := exchange(t, addr, request, 1)[0]; got.status != want || looks.Load() > 2 {
			t.Errorf("%.80s: %d after %d looks", request, got.status, looks.Load())
		}
	}
}

// Answers that time alone or luck may change say for how long they may be kept; others hold
// until the next revision and say nothing.
func TestCacheControl(t *testing.T) {
	now := time.Date(2026, 3, 4, 22, 58, 30, 0, time.UTC)
	gen := demo()
	gen.sets["quiet"]["lucky"] = always(tiergate.Decision{Reason: tiergate.ReasonError, ErrorCode: tiergate.General, ErrorDetails: "no time", Transient: true})
	addr := serve(t, appOf(ofrep.Config{Evaluator: fakeOf(gen), Now: func() time.Time { return now }}))
	for steps, want := range map[tiergate.ClockStep]string{
		tiergate.StepNever:  "",
		tiergate.StepHour:   "private, max-age=90",
		tiergate.StepDay:    "private, max-age=3690",
		tiergate.StepAlways: "no-store",
	} {
		gen.steps = steps
		one := exchange(t, addr, post(flags+"/on", "{}", quiet), 1)[0].header.Get("Cache-Control")
		unlucky := exchange(t, addr, post(flags+"/lucky", "{}", quiet), 1)[0].header.Get("Cache-Control")
		someUnlucky := exchange(t, addr, post(flags, "{}", quiet), 1)[0].header.Get("Cache-Control")
		elsewhere := exchange(t, addr, post(flags, "{}", "Flagd-Selector: flagSetId=nope"), 1)[0]
		if one != want || elsewhere.header.Get("Cache-Control") != want || unlucky != "no-store" || someUnlucky != "no-store" {
			t.Errorf("steps %d: %q and %q, want %q; with luck needed %q and %q", steps, one, elsewhere.header.Get("Cache-Control"), want, unlucky, someUnlucky)
		}
		again := exchange(t, addr, post(flags, "{}", "Flagd-Selector: flagSetId=nope", "If-None-Match: "+elsewhere.header.Get("ETag")), 1)[0]
		if again.status != 304 || again.header.Get("Cache-Control") != want {
			t.Errorf("steps %d: %d says %q, want %q", steps, again.status, again.header.Get("Cache-Control"), want)
		}
	}
}

// Whatever is asked of the stream's address, there is no panic and no 500; and who has a token gets
// its stream, whatever it says that it was told last.
func FuzzStreamRequest(f *testing.F) {
	e := engine(f)
	streams := ofrep.NewStreams(ofrep.StreamConfig{Watcher: e, Secret: []byte(streamSecret)})
	handler := appOf(ofrep.Config{Evaluator: e, Streams: streams}).Server().Handler
	var asked fasthttp.RequestCtx
	fill(&asked, flags)
	handler(&asked)
	_, rest, _ := strings.Cut(string(asked.Response.Body()), "/ofrep/v1/sse?")
	valid, _, ok := strings.Cut(rest, `"`)
	if !ok {
		f.Fatalf("no stream is told of: %s", asked.Response.Body())
	}
	for _, last := range []string{"", "01234567-7", "01234567-6@12", "\x00", "@", "a\r\nb: c", strings.Repeat("x", 200)} {
		f.Add(true, "", last)
		f.Add(true, "x=%00&token=x", last)
		f.Add(false, valid, last)
	}
	f.Add(false, "token=AQA", "01234567-7")
	f.Add(false, "token=%00&token=x", "\x00")
	f.Add(false, "", "@")
	f.Fuzz(func(t *testing.T, signed bool, query, last string) {
		if signed { // the first of two tokens counts
			query = valid + "&" + query
		}
		var req fasthttp.Request
		req.Header.SetRequestURI("/ofrep/v1/sse?" + query)
		req.Header.SetHost("localhost")
		req.Header.Set("Last-Event-ID", last)
		var ctx fasthttp.RequestCtx
		ctx.Init(&req, nil, nil)
		handler(&ctx)
		status, opened := ctx.Response.StatusCode(), ctx.Hijacked()
		if signed && !opened && status != 400 || opened != (status == 200) || !opened && status != 401 && status != 404 && status != 400 {
			t.Errorf("%d %s, a stream: %v", status, ctx.Response.Body(), opened)
		}
	})
}
