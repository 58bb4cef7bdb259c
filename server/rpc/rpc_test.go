package rpc_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tiergate/tiergate"
	wire "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v1"
	"github.com/tiergate/tiergate/server/rpc"
)

// connectJSON calls ResolveString with Connect and JSON.
func connectJSON(t *testing.T, addr, flag string, header ...string) outcome {
	t.Helper()
	body, err := json.Marshal(map[string]any{"flagKey": flag, "unknown": true})
	if err != nil {
		t.Fatal(err)
	}
	resp, answer := post(t, addr, resolve, "application/json", body, header...)
	var got struct{ Value, Code, Message string }
	if err := json.Unmarshal(answer, &got); err != nil {
		t.Fatalf("%d %q: %v", resp.StatusCode, answer, err)
	}
	o := outcome{value: got.Value, text: got.Message}
	if resp.StatusCode != 200 {
		if err := o.code.UnmarshalJSON([]byte(`"` + strings.ToUpper(got.Code) + `"`)); err != nil {
			t.Fatalf("%d %q: %v", resp.StatusCode, answer, err)
		}
	}
	return o
}

// connectProto calls ResolveString with Connect and protobuf.
func connectProto(t *testing.T, addr, flag string, header ...string) outcome {
	t.Helper()
	body, _ := proto.Marshal(&wire.ResolveStringRequest{FlagKey: flag})
	resp, answer := post(t, addr, resolve, "application/proto", body, header...)
	if resp.StatusCode != 200 { // its errors are JSON
		return connectJSON(t, addr, flag, header...)
	}
	var got wire.ResolveStringResponse
	if err := proto.Unmarshal(answer, &got); err != nil {
		t.Fatal(err)
	}
	return outcome{value: got.Value}
}

// everyWay asks over each protocol, with metadata that are HTTP headers.
func everyWay(t *testing.T, addr, flag string, md ...string) map[string]outcome {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(t.Context(), md...)
	return map[string]outcome{
		"gRPC":             ask(ctx, t, dial(t, addr), flag),
		"Connect as JSON":  connectJSON(t, addr, flag, md...),
		"Connect as proto": connectProto(t, addr, flag, md...),
		"gRPC-Web":         web(t, addr, flag, md...),
	}
}

func same(t *testing.T, got map[string]outcome, want outcome) {
	t.Helper()
	for way, o := range got {
		if o != want {
			t.Errorf("over %s: %+v, want %+v", way, o, want)
		}
	}
}

// On one port a method answers the same whatever is spoken: values, domain errors, statuses, and
// bugs, of which nothing is told.
func TestServer_answers_every_protocol(t *testing.T) {
	addr := serve(t, rpc.Config{}, (&echo{}).service()).addr
	same(t, everyWay(t, addr, "größe/ä b"), outcome{value: "größe/ä b"})
	same(t, everyWay(t, addr, "sent", "flagd-selector", "flagSetId=x"), outcome{value: "flagSetId=x"})
	same(t, everyWay(t, addr, "domain"), outcome{code: codes.Aborted, text: "it is being worked on"})
	same(t, everyWay(t, addr, "status"), outcome{code: codes.DataLoss, text: "the targeting is broken"})
	same(t, everyWay(t, addr, "bug"), outcome{code: codes.Internal, text: "internal error"})
}

// Connect's JSON is as flagd has it: members without value are there.
func TestServer_JSON(t *testing.T) {
	addr := serve(t, rpc.Config{}, (&echo{}).service()).addr
	for _, kind := range []string{"application/json", "application/json; charset=utf-8"} {
		_, body := post(t, addr, resolve, kind, []byte(`{"flag_key":"x"}`))
		var got map[string]any
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		if diff := cmp.Diff(map[string]any{"value": "x", "reason": "STATIC", "variant": "", "metadata": nil}, got); diff != "" {
			t.Errorf("%s mismatch (-want +got):\n%s", kind, diff)
		}
	}
	for _, broken := range []string{"", "{", "[]", `{"flagKey":7}`, `"x"`} {
		resp, body := post(t, addr, resolve, "application/json", []byte(broken))
		if resp.StatusCode != 400 || !strings.Contains(string(body), `"invalid_argument"`) {
			t.Errorf("%q is answered with %d %s", broken, resp.StatusCode, body)
		}
	}
}

// A key is asked for before anything is decoded, over every protocol, however it is presented.
func TestServer_asks_for_a_key(t *testing.T) {
	e := &echo{}
	sv := e.service()
	sv.Credential = func(text string) (*tiergate.Key, error) {
		switch text {
		case "good":
			return &tiergate.Key{ID: "k1"}, nil
		case "weak":
			return nil, tiergate.Errorf(tiergate.Forbidden, "the API key does not have the scope %q", "evaluate")
		case "early":
			return nil, tiergate.Errorf(tiergate.Unavailable, "no keys are known yet")
		case "nothing":
			return nil, nil
		}
		return nil, tiergate.Errorf(tiergate.Unauthorized, "there is no key of this kind")
	}
	addr := serve(t, rpc.Config{}, sv).addr
	for _, md := range [][]string{{"authorization", "Bearer good"}, {"authorization", "good"}, {"x-api-key", "good"}} {
		same(t, everyWay(t, addr, "key", md...), outcome{value: "k1"})
	}
	before := e.calls.Load()
	none := outcome{code: codes.Unauthenticated, text: "no valid API key: send Authorization: Bearer or X-API-Key"}
	for want, all := range map[outcome][][]string{
		none: {nil, {"x-api-key", "bad"}, {"authorization", "Basic good"}, {"authorization", "Bearer good", "x-api-key", "other"}},
		{code: codes.PermissionDenied, text: `the API key does not have the scope "evaluate"`}: {{"x-api-key", "weak"}},
		{code: codes.Unavailable, text: "the API keys have not been loaded yet"}:               {{"x-api-key", "early"}},
		{code: codes.Internal, text: "internal error"}:                                         {{"x-api-key", "nothing"}},
	} {
		for _, md := range all {
			same(t, everyWay(t, addr, "x", md...), want)
		}
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-api-key", "good", "x-api-key", "good")
	if got := ask(ctx, t, dial(t, addr), "x"); got.code != codes.Unauthenticated {
		t.Errorf("two keys: %+v", got)
	}
	stream, err := wire.NewServiceClient(dial(t, addr)).EventStream(t.Context(), &wire.EventStreamRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("a stream without a key: %v", err)
	}
	if n := e.calls.Load() - before; n != 0 {
		t.Errorf("%d calls without a key reached the service", n)
	}
}

// A key that does not open any more ends a stream that looks again.
func TestRecheck(t *testing.T) {
	e := &echo{events: make(chan string)}
	var revoked atomic.Bool
	sv := e.service()
	sv.Credential = func(string) (*tiergate.Key, error) {
		if revoked.Load() {
			return nil, tiergate.Errorf(tiergate.Unauthorized, "revoked")
		}
		return &tiergate.Key{}, nil
	}
	conn := dial(t, serve(t, rpc.Config{}, sv).addr)
	for _, want := range []codes.Code{codes.OK, codes.Unauthenticated} {
		revoked.Store(false)
		stream := follow(t, conn, "x-api-key", "k")
		revoked.Store(want != codes.OK)
		e.events <- "recheck"
		if _, err := stream.Recv(); status.Code(err) != want && (want != codes.OK || !errors.Is(err, io.EOF)) {
			t.Errorf("the stream ends with %v, want %v", err, want)
		}
	}
}

// follow begins a stream over gRPC.
func follow(t *testing.T, conn *grpc.ClientConn, md ...string) grpc.ServerStreamingClient[wire.EventStreamResponse] {
	t.Helper()
	stream, err := wire.NewServiceClient(conn).EventStream(metadata.AppendToOutgoingContext(t.Context(), md...), &wire.EventStreamRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := stream.Recv(); err != nil || first.Type != "begun" {
		t.Fatalf("the stream begins with %v, %v", first, err)
	}
	return stream
}

// followConnect begins a stream over Connect, and returns its connection and what arrives on it.
func followConnect(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, begin(t, c)
}

// connectRequest asks for a stream over Connect, with an empty message.
const connectRequest = "POST " + prefix + "EventStream HTTP/1.1\r\nHost: localhost\r\n" +
	"Content-Type: application/connect+proto\r\nContent-Length: 5\r\n\r\n\x00\x00\x00\x00\x00"

// begin begins a stream over Connect on a connection, and returns what arrives on it.
func begin(t *testing.T, c net.Conn) *bufio.Reader {
	t.Helper()
	if _, err := io.WriteString(c, connectRequest); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v, %v", resp, err)
	}
	frames := bufio.NewReader(resp.Body)
	if got := nextType(t, frames); got != "begun" {
		t.Fatalf("the stream begins with %q", got)
	}
	return frames
}

// nextType reads a frame of a Connect stream: the type of an event, or the JSON of the end.
func nextType(t *testing.T, frames *bufio.Reader) string {
	t.Helper()
	var head [5]byte
	if _, err := io.ReadFull(frames, head[:]); err != nil {
		return err.Error()
	}
	content := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(frames, content); err != nil {
		return err.Error()
	}
	if head[0]&2 != 0 {
		return string(content)
	}
	var event wire.EventStreamResponse
	if err := proto.Unmarshal(content, &event); err != nil {
		t.Fatal(err)
	}
	return event.Type
}

// At the end streams get UNAVAILABLE over both protocols, at once, and nothing is left running;
// connections that say nothing, idle clients and half a request hold nobody up.
func TestServe_ends_streams(t *testing.T) {
	e := &echo{ended: make(chan error, 2)}
	s := serve(t, rpc.Config{}, e.service())
	stream := follow(t, dial(t, s.addr))
	_, frames := followConnect(t, s.addr)
	idle := dial(t, s.addr)
	if got := ask(t.Context(), t, idle, "x"); got.value != "x" {
		t.Fatalf("%+v", got)
	}
	for _, beginning := range []string{"", "PR", "POST /"} {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, beginning); err != nil {
			t.Fatal(err)
		}
	}
	took := make(chan time.Duration, 1)
	go func() { took <- s.stop() }()
	for range 2 {
		if err := <-e.ended; err == nil {
			t.Error("the context of a stream has not ended")
		}
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the gRPC stream ends with %v", err)
	}
	if got := nextType(t, frames); !strings.Contains(got, `"unavailable"`) || !strings.Contains(got, "the server is shutting down") {
		t.Errorf("the Connect stream ends with %s", got)
	}
	if d := <-took; d > drain/2 {
		t.Errorf("the end took %v", d)
	}
	if got := ask(t.Context(), t, idle, "x"); got.code != codes.Unavailable {
		t.Errorf("after the end: %+v", got)
	}
}

// A panic ends its own call, is told and counted, and nothing of it reaches the caller.
func TestServer_survives_panics(t *testing.T) {
	var logged strings.Builder
	var mu sync.Mutex
	var panics atomic.Int64
	addr := serve(t, rpc.Config{
		Log:      slog.New(slog.NewTextHandler(lockedWriter{&mu, &logged}, nil)),
		Panicked: func() { panics.Add(1) },
	}, (&echo{}).service()).addr
	ways := everyWay(t, addr, "panic")
	same(t, ways, outcome{code: codes.Internal, text: "internal error"})
	same(t, everyWay(t, addr, "x"), outcome{value: "x"})
	mu.Lock()
	defer mu.Unlock()
	// the call as protobuf is made twice, since its error is read as JSON
	if n := panics.Load(); n != int64(len(ways))+1 || !strings.Contains(logged.String(), "secret reason") {
		t.Errorf("%d panics, and the log is %s", n, logged.String())
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// counts are how often each status was counted at each door. Safe for concurrent use.
type counts struct {
	mu    sync.Mutex
	doors map[string]map[int]int
}

func (c *counts) observe(door string) func(int) {
	return func(status int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.doors == nil {
			c.doors = map[string]map[int]int{}
		}
		if c.doors[door] == nil {
			c.doors[door] = map[int]int{}
		}
		c.doors[door][status]++
	}
}

// Outcomes are counted by door, as the doors over HTTP count the same; so are calls of what is not
// there.
func TestServer_counts(t *testing.T) {
	var counted counts
	s := serve(t, rpc.Config{Observe: counted.observe}, (&echo{}).service())
	conn := dial(t, s.addr)
	for _, flag := range []string{"x", "x", "domain", "gone", "reused", "stale", "status", "bug", "panic", "settled"} {
		ask(t.Context(), t, conn, flag)
	}
	connectJSON(t, s.addr, "x")
	_ = conn.Invoke(t.Context(), "/nobody/Knows", &wire.ResolveStringRequest{}, &wire.ResolveStringResponse{})
	post(t, s.addr, "/nobody/Knows", "application/json", nil)
	s.stop()
	want := map[string]map[int]int{"echo": {200: 3, 409: 2, 410: 1, 422: 1, 412: 1, 400: 1, 500: 2}, "": {404: 2}}
	if diff := cmp.Diff(want, counted.doors); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
}

// What is refused before any method is reached counts at the door of the method that was asked
// for, once, as the caller's fault.
func TestServer_counts_what_Connect_refuses(t *testing.T) {
	whole := string(frame(&wire.ResolveStringRequest{FlagKey: "x"}))
	for name, tc := range map[string]struct {
		method, path, kind, body string
		encoding                 string // the name of a header and gzip; "" for none
		want                     int
	}{
		"another method":             {"PUT", resolve, "application/json", "{}", "", 405},
		"text":                       {"POST", resolve, "text/plain", "{}", "", 415},
		"encoded":                    {"POST", resolve, "application/json", "x", "Content-Encoding", 415},
		"encoded, gRPC-Web":          {"POST", resolve, "application/grpc-web+proto", whole, "Grpc-Encoding", 400},
		"too large":                  {"POST", resolve, "application/json", strings.Repeat(" ", rpc.MaxMessageBytes+1), "", 413},
		"too large, gRPC-Web":        {"POST", resolve, "application/grpc-web+proto", "\x00\x00\x7f\xff\xffx", "", 413},
		"half a frame":               {"POST", resolve, "application/grpc-web+proto", whole[:len(whole)-1], "", 400},
		"no frame":                   {"POST", resolve, "application/grpc-web+proto", "", "", 400},
		"half a frame of a stream":   {"POST", prefix + "EventStream", "application/connect+proto", "\x00\x00", "", 400},
		"a stream's request encoded": {"POST", prefix + "EventStream", "application/connect+proto", "\x00\x00\x00\x00\x00", "Connect-Content-Encoding", 400},
		"no JSON":                    {"POST", resolve, "application/json", "{", "", 400},
	} {
		var counted counts
		s := serve(t, rpc.Config{Observe: counted.observe}, (&echo{}).service())
		req, err := http.NewRequestWithContext(t.Context(), tc.method, "http://"+s.addr+tc.path, strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", tc.kind)
		if tc.encoding != "" {
			req.Header.Set(tc.encoding, "gzip")
		}
		do(t, req)
		s.stop()
		if diff := cmp.Diff(map[string]map[int]int{"echo": {tc.want: 1}}, counted.doors); diff != "" {
			t.Errorf("%s is counted (-want +got):\n%s", name, diff)
		}
	}
}

// raw sends bytes as a message.
type raw struct{}

func (raw) Name() string                  { return "proto" }
func (raw) Marshal(v any) ([]byte, error) { return []byte(v.(string)), nil }
func (raw) Unmarshal([]byte, any) error   { return nil }

// Bytes that are no message are their sender's fault over every protocol, and are not in the log,
// which anybody could fill.
func TestServer_malformed_requests(t *testing.T) {
	var counted counts
	var logged strings.Builder
	var mu sync.Mutex
	s := serve(t, rpc.Config{
		Observe: counted.observe, Log: slog.New(slog.NewTextHandler(lockedWriter{&mu, &logged}, nil)),
	}, (&echo{}).service())
	conn := dial(t, s.addr)
	for path, bodies := range map[string][]string{
		resolve: {"\xff\xff", "\x0a\x01\xff"}, prefix + "EventStream": {"\xff\xff"}, // not protobuf, not UTF-8
	} {
		for _, body := range bodies {
			stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, path, grpc.ForceCodec(raw{}))
			if err == nil {
				err = errors.Join(stream.SendMsg(body), stream.CloseSend())
			}
			if err != nil {
				t.Fatal(err)
			}
			err = stream.RecvMsg(nil)
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "the request cannot be read: ") {
				t.Errorf("%q to %s: %v", body, path, err)
			}
		}
	}
	for _, body := range []string{"\xff\xff", "\x0a\x01\xff"} {
		if resp, text := post(t, s.addr, resolve, "application/proto", []byte(body)); resp.StatusCode != 400 {
			t.Errorf("%q over Connect: %d %s", body, resp.StatusCode, text)
		}
	}
	none, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, resolve)
	if err == nil {
		err = none.CloseSend()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := none.RecvMsg(&wire.ResolveStringResponse{}); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a call without a message: %v", err)
	}
	s.stop()
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff(map[string]map[int]int{"echo": {400: 6}}, counted.doors); diff != "" || logged.Len() > 0 {
		t.Errorf("the log is %q, and counted (-want +got):\n%s", logged.String(), diff)
	}
}

// What callers are not told is in the log once: by whoever knows it.
func TestServer_logs_what_INTERNAL_hides(t *testing.T) {
	for flag, want := range map[string]string{
		"bug":     "unexpected EOF",
		"hidden":  "unexpected EOF",
		"status":  "",
		"broken":  "it is broken here",
		"counted": "",
		"domain":  "",
	} {
		var logged strings.Builder
		var mu sync.Mutex
		s := serve(t, rpc.Config{Log: slog.New(slog.NewTextHandler(lockedWriter{&mu, &logged}, nil))}, (&echo{}).service())
		ask(t.Context(), t, dial(t, s.addr), flag)
		s.stop()
		mu.Lock()
		if n := strings.Count(logged.String(), "\n"); n > 1 || (n == 1) != (want != "") || !strings.Contains(logged.String(), want) {
			t.Errorf("about %s the log is %q", flag, logged.String())
		}
		mu.Unlock()
	}
}

// Two services of one name would end the program without a word: they panic.
func TestNew_with_two_services_of_one_name(t *testing.T) {
	defer func() {
		if reason, _ := recover().(string); !strings.Contains(reason, "flagd.evaluation.v1.Service") {
			t.Errorf("it panics with %q", reason)
		}
	}()
	rpc.New(rpc.Config{}, (&echo{}).service(), (&echo{}).service())
}

// A request of more than a million bytes is refused over every protocol, one of a little less
// is answered, and nothing is inflated.
func TestServer_bounds_requests(t *testing.T) {
	addr := serve(t, rpc.Config{}, (&echo{}).service()).addr
	fits := strings.Repeat("x", rpc.MaxMessageBytes-100)
	for way, got := range everyWay(t, addr, fits) {
		if got.value != fits {
			t.Errorf("over %s a large request comes to %v %s", way, got.code, got.text)
		}
	}
	large := strings.Repeat("x", rpc.MaxMessageBytes+1)
	for way, got := range everyWay(t, addr, large) {
		if got.code != codes.ResourceExhausted {
			t.Errorf("over %s a too large request comes to %v %s", way, got.code, got.text)
		}
	}
	same(t, everyWay(t, addr, "x"), outcome{value: "x"})

	resp, body := post(t, addr, resolve, "application/json", []byte("\x1f\x8b"), "Content-Encoding", "gzip")
	if resp.StatusCode != 501 || !strings.Contains(string(body), "unimplemented") {
		t.Errorf("a compressed body is answered with %d %s", resp.StatusCode, body)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-large", strings.Repeat("x", 20<<10))
	if got := ask(ctx, t, dial(t, addr), "x"); got.code == codes.OK {
		t.Error("a header of 20 KiB is taken over gRPC")
	}
	if resp, _ := post(t, addr, resolve, "application/json", []byte("{}"), "X-Large", strings.Repeat("x", 20<<10)); resp.StatusCode != 431 {
		t.Errorf("a header of 20 KiB is answered with %d", resp.StatusCode)
	}
}

// There are at most so many connections and streams; those that are there are served on, and a
// stream that ends makes room.
func TestServer_bounds_connections_and_streams(t *testing.T) {
	e := &echo{ended: make(chan error, 1)}
	s := serve(t, rpc.Config{MaxConns: 2, MaxStreams: 1}, e.service())
	conn := dial(t, s.addr)
	ctx, cancel := context.WithCancel(t.Context())
	first, err := wire.NewServiceClient(conn).EventStream(ctx, &wire.EventStreamRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Recv(); err != nil {
		t.Fatal(err)
	}
	second, err := wire.NewServiceClient(conn).EventStream(t.Context(), &wire.EventStreamRequest{})
	if err == nil {
		_, err = second.Recv()
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a second stream: %v", err)
	}
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err == nil {
		_, err = watch.Recv()
	}
	if err != nil {
		t.Errorf("who watches the health beside it: %v", err)
	}
	cancel()
	if err := <-e.ended; err == nil {
		t.Error("the context of the stream has not ended")
	}
	for code := codes.ResourceExhausted; code == codes.ResourceExhausted; { // until the first is counted off
		again, err := wire.NewServiceClient(conn).EventStream(t.Context(), &wire.EventStreamRequest{})
		if err == nil {
			_, err = again.Recv()
		}
		code = status.Code(err)
	}

	another, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer another.Close()
	beyond, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer beyond.Close()
	if _, err := beyond.Read(make([]byte, 1)); err == nil {
		t.Error("a connection beyond the bound is served")
	}
	if got := ask(t.Context(), t, conn, "x"); got.value != "x" {
		t.Errorf("beside it: %+v", got)
	}
}

// What is no method's path, byte for byte, is no method, whatever it is made to look like.
func TestServer_paths(t *testing.T) {
	e := &echo{}
	addr := serve(t, rpc.Config{}, e.service()).addr
	conn := dial(t, addr)
	for _, path := range tricks {
		if err := conn.Invoke(t.Context(), path, &wire.ResolveStringRequest{FlagKey: "x"}, &wire.ResolveStringResponse{}); status.Code(err) != codes.Unimplemented {
			t.Errorf("%.60q over gRPC: %v", path, err)
		}
		if got := statusOfPath(t, addr, path); got != 404 {
			t.Errorf("%.60q over Connect is answered with %d", path, got)
		}
	}
	for _, path := range []string{resolve + "\x00", resolve + " ", "/a\nb/c", resolve[1:], "x", "*"} { // which HTTP/1.1 has not, or hardly
		if err := conn.Invoke(t.Context(), path, &wire.ResolveStringRequest{FlagKey: "x"}, &wire.ResolveStringResponse{}); err == nil {
			t.Errorf("%q is answered over gRPC", path)
		}
		if got := statusOfPath(t, addr, path); got != 400 && got != 404 {
			t.Errorf("%q over Connect is answered with %d", path, got)
		}
	}
	if n := e.calls.Load(); n != 0 {
		t.Errorf("%d calls reached the service", n)
	}
}

var tricks = []string{
	"/", "//", "/x", "/" + resolve, prefix, prefix + "/ResolveString", prefix + "../Service/ResolveString", prefix + "./ResolveString",
	strings.ToLower(resolve), prefix + "resolveString", resolve + "/", resolve + "/x", resolve + "%00", prefix + "Resolve%53tring",
	"/flagd.evaluation.v1.Service%2FResolveString", "/flagd.evaluation.v1.ServiceResolveString", "/flagd.evaluation.v1/Service.ResolveString", "/.Service/ResolveString",
	prefix + strings.Repeat("x", 4000),
}

// statusOfPath posts a request whose path is sent as it is.
func statusOfPath(t testing.TB, addr, path string) int {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const rest = " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
	if _, err := io.WriteString(c, "POST "+path+rest); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 400 // the connection was closed
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// A path reaches a method only when it is that method's.
func FuzzPath(f *testing.F) {
	for _, path := range append(slices.Clone(tricks), resolve, resolve+"\x00", "POST", "", "*") {
		f.Add(path)
	}
	e := &echo{}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- rpc.New(rpc.Config{}, e.service()).Serve(ctx, ln, time.Second) }()
	f.Cleanup(func() {
		end()
		if err := <-done; err != nil {
			f.Errorf("Serve: %v", err)
		}
	})
	f.Fuzz(func(t *testing.T, path string) {
		if strings.ContainsAny(path, "\r\n?") || strings.Contains(path, "://") || len(path) > 5000 {
			t.Skip("it is another request, a path and more, or longer than a header may be")
		}
		before := e.calls.Load()
		conn := dial(t, ln.Addr().String())
		err := conn.Invoke(t.Context(), path, &wire.ResolveStringRequest{FlagKey: "x"}, &wire.ResolveStringResponse{})
		if (err == nil) != (path == resolve) {
			t.Errorf("%q over gRPC: %v", path, err)
		}
		if got := statusOfPath(t, ln.Addr().String(), path); (got == 200) != (path == resolve) {
			t.Errorf("%q over Connect: %d", path, got)
		}
		if n := e.calls.Load() - before; (n == 2) != (path == resolve) || n == 1 {
			t.Errorf("%q reached the service %d times", path, n)
		}
	})
}

// Pages of strangers get nothing: neither those of another origin, nor those that have made
// their own name point here.
func TestServer_browsers(t *testing.T) {
	addr := serve(t, rpc.Config{CORSOrigins: []string{"https://app.example"}}, (&echo{}).service()).addr
	preflight := func(origin string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, "http://"+addr+resolve, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Origin": {origin}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"connect-protocol-version,content-type"}}
		resp, _ := do(t, req)
		return resp
	}
	resp := preflight("https://app.example")
	if resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Origin") != "https://app.example" ||
		!strings.Contains(resp.Header.Get("Access-Control-Allow-Headers"), "Connect-Protocol-Version") {
		t.Errorf("a page of ours is told %d %v", resp.StatusCode, resp.Header)
	}
	if resp := preflight("https://evil.example"); resp.StatusCode < 400 || resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("a page of a stranger is told %d %v", resp.StatusCode, resp.Header)
	}
	resp, _ = post(t, addr, resolve, "application/json", []byte("{}"), "Origin", "https://app.example")
	if resp.StatusCode != 200 || !strings.Contains(resp.Header.Get("Access-Control-Expose-Headers"), "Grpc-Status") {
		t.Errorf("a page of ours is answered with %d %v", resp.StatusCode, resp.Header)
	}
	resp, _ = post(t, addr, resolve, "text/plain", []byte("{}")) // which needs no preflight
	if resp.StatusCode != 415 {
		t.Errorf("text is answered with %d", resp.StatusCode)
	}
	resp, _ = post(t, addr, resolve, "application/json", []byte("{}"), "Host", "evil.example")
	if resp.StatusCode != 421 {
		t.Errorf("another host is answered with %d", resp.StatusCode)
	}
}

// gRPC's health service tells whether the program is ready, also to who watches, and its
// reflection service tells what is here.
func TestServer_health_and_reflection(t *testing.T) {
	var ready atomic.Bool
	s := serve(t, rpc.Config{Ready: ready.Load}, (&echo{}).service())
	conn := dial(t, s.addr)
	client := grpc_health_v1.NewHealthClient(conn)
	for _, now := range []bool{false, true} {
		ready.Store(now)
		want := grpc_health_v1.HealthCheckResponse_NOT_SERVING
		if now {
			want = grpc_health_v1.HealthCheckResponse_SERVING
		}
		for _, name := range []string{"", "flagd.evaluation.v1.Service"} {
			if got, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: name}); err != nil || got.Status != want {
				t.Errorf("%q is %v, %v, want %v", name, got, err, want)
			}
		}
	}
	if _, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "nobody"}); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown service: %v", err)
	}
	watch, err := client.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []grpc_health_v1.HealthCheckResponse_ServingStatus{grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING} {
		if got, err := watch.Recv(); err != nil || got.Status != want {
			t.Fatalf("a watcher is told %v, %v, want %v", got, err, want)
		}
		ready.Store(false)
	}

	reflection, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := reflection.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	list, err := reflection.Recv()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, sv := range list.GetListServicesResponse().GetService() {
		names[sv.Name] = true
	}
	for _, want := range []string{"flagd.evaluation.v1.Service", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} {
		if !names[want] {
			t.Errorf("reflection tells %v", slices.Sorted(maps.Keys(names)))
		}
	}
	_ = reflection.CloseSend()
}
