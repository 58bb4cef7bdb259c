package decision_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/listen"
	tiergatev1 "github.com/tiergate/tiergate/internal/wire/tiergate/v1"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/decision"
	"github.com/tiergate/tiergate/server/rpc"
)

// listenRPC serves the gRPC door as the program does, until the test ends.
func listenRPC(t *testing.T, cfg decision.Config) (addr string) {
	t.Helper()
	return serveRPC(t, rpc.New(rpc.Config{}, decision.Service(cfg)))
}

func serveRPC(t *testing.T, s *rpc.Server) (addr string) {
	t.Helper()
	ln, err := listen.Listen("127.0.0.1:0", listen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln, 5*time.Second) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return ln.Addr().String()
}

// A tally is how often each status was counted, at whatever door. Safe for concurrent use.
type tally struct {
	mu       sync.Mutex
	statuses map[int]int
}

func (c *tally) observe(string) func(int) {
	return func(status int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.statuses[status]++
	}
}

// lines counts what is logged. Safe for concurrent use.
type lines struct{ atomic.Int64 }

func (l *lines) Write(p []byte) (int, error) {
	l.Add(1)
	return len(p), nil
}

// Whatever comes of a call counts as it does over HTTP; and what callers are not told is in the
// log once, as there.
func TestRPC_counts_as_HTTP(t *testing.T) {
	overHTTP, overRPC := tally{statuses: map[int]int{}}, tally{statuses: map[int]int{}}
	var logged lines
	r, log := new(reservations), slog.New(slog.NewTextHandler(&logged, nil))
	change := func(cfg *decision.Config) { cfg.Reservations, cfg.Log = r, log }
	d, _ := door(change)
	addr := serveApp(t, server.NewApp(server.Config{Observe: overHTTP.observe}, d))
	cfg := decision.Config{Evaluator: inForce{&resume}, Gate: &gate{say: answers}, Now: func() time.Time { return now }}
	change(&cfg)
	conn, err := grpc.NewClient(serveRPC(t, rpc.New(rpc.Config{Observe: overRPC.observe, Log: log}, decision.Service(cfg))),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	client := tiergatev1.NewDecisionServiceClient(conn)
	for _, feature := range []string{"exports", "tier", "", "running", "reused", "loading", "broken"} {
		want := int64(0)
		if feature == "broken" {
			want = 1
		}
		before := logged.Load()
		ask(t, addr, post("/v1/consume", `{"feature":"`+feature+`"}`))
		between := logged.Load()
		_, _ = client.Consume(t.Context(), &tiergatev1.ConsumeRequest{Question: &tiergatev1.Question{Feature: feature}})
		if a, b := between-before, logged.Load()-between; a != want || b != want {
			t.Errorf("about %q the log tells %d times over HTTP, and %d times over gRPC", feature, a, b)
		}
	}
	for _, code := range []tiergate.Code{
		tiergate.Invalid, tiergate.Forbidden, tiergate.NotFound, tiergate.Conflict, tiergate.Stale, tiergate.KeyReused, tiergate.Gone,
		tiergate.Exhausted, tiergate.Unavailable, tiergate.Internal,
	} {
		r.fail = tiergate.Errorf(code, "because")
		ask(t, addr, post("/v1/reservations/r1/commit", ""))
		_, _ = client.CommitReservation(t.Context(), &tiergatev1.CommitReservationRequest{Id: "r1"})
	}
	if diff := cmp.Diff(overHTTP.statuses, overRPC.statuses); diff != "" {
		t.Errorf("counted (-over HTTP +over gRPC):\n%s", diff)
	}
}

// On the listener of gRPC an HTTP client asks in JSON, a gRPC client natively, both with their
// API key; what JSON has too much is refused, and what a page of another site may send without
// asking a browser takes nothing.
func TestRPC_on_its_listener(t *testing.T) {
	key := &tiergate.Key{ID: "k", TeamID: "globex", Scopes: []string{tiergate.ScopeConsume}}
	g := &gate{say: answers}
	addr := listenRPC(t, decision.Config{
		Evaluator: inForce{&resume}, Gate: g, Now: func() time.Time { return now },
		Credential: func(text string) (*tiergate.Key, error) {
			if text == "secret" {
				return key, nil
			}
			return nil, tiergate.Errorf(tiergate.Unauthorized, "no")
		},
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for name, tc := range map[string]struct {
		method, body, kind, key string
		status                  int
		code, asked             string
	}{
		"a use":            {"Consume", `{"question":{"feature":"exports","subject":{"user":"bob"}},"cost":"2"}`, "application/json", "secret", 200, "", "consume default/exports by bob of globex cost 2"},
		"a denial":         {"Check", `{"question":{"feature":"tier"}}`, "application/json", "secret", 200, "", "check default/tier by - of globex cost 0"},
		"no key":           {"Check", `{"question":{"feature":"x"}}`, "application/json", "", 401, "unauthenticated", ""},
		"another key":      {"Check", `{"question":{"feature":"x"}}`, "application/json", "stolen", 401, "unauthenticated", ""},
		"mistyped":         {"Consume", `{"question":{"feature":"x"},"idempotencykey":"k"}`, "application/json", "secret", 400, "invalid_argument", ""},
		"mistyped inside":  {"Consume", `{"question":{"feature":"x","subjekt":{"user":"bob"}}}`, "application/json", "secret", 400, "invalid_argument", ""},
		"no feature":       {"Consume", `{}`, "application/json", "secret", 400, "invalid_argument", ""},
		"a fraction":       {"Consume", `{"question":{"feature":"x"},"cost":1.5}`, "application/json", "secret", 400, "invalid_argument", ""},
		"key of another":   {"Consume", `{"question":{"feature":"reused"},"idempotencyKey":"k"}`, "application/json", "secret", 409, "already_exists", "consume default/reused by - of globex cost 0 key k"},
		"worked on":        {"Track", `{"question":{"feature":"running"},"idempotencyKey":"k"}`, "application/json", "secret", 409, "aborted", "track default/running by - of globex cost 0 key k"},
		"a panic":          {"Consume", `{"question":{"feature":"panics"}}`, "application/json", "secret", 500, "internal", "consume default/panics by - of globex cost 0"},
		"a page's text":    {"Consume", `{"question":{"feature":"x"}}`, "text/plain", "secret", 415, "", ""},
		"a page's form":    {"Consume", `{"question":{"feature":"x"}}`, "application/x-www-form-urlencoded", "secret", 415, "", ""},
		"no reservations":  {"Reserve", `{"question":{"feature":"x"}}`, "application/json", "secret", 501, "unimplemented", ""},
		"no such a method": {"Destroy", `{}`, "application/json", "secret", 404, "", ""},
	} {
		g.uses = nil
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/tiergate.v1.DecisionService/"+tc.method, strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", tc.kind)
		if tc.key != "" {
			req.Header.Set("Authorization", "Bearer "+tc.key)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		var got struct {
			Code    string
			Verdict struct {
				Feature  string
				Revision string
			}
		}
		_ = json.Unmarshal(text, &got)
		if resp.StatusCode != tc.status || got.Code != tc.code || strings.Join(g.uses, ";") != tc.asked {
			t.Errorf("%s: %d %s, and the gate was asked %q", name, resp.StatusCode, text, g.uses)
		}
		if tc.status == 200 && (got.Verdict.Revision != "01234567-7" || resp.Header.Get("Tiergate-Revision") != "01234567-7") {
			t.Errorf("%s: %s, with the revision %q", name, text, resp.Header.Get("Tiergate-Revision"))
		}
	}

	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	native := tiergatev1.NewDecisionServiceClient(conn)
	ask := func(ctx context.Context, feature string) error {
		_, err := native.Consume(ctx, &tiergatev1.ConsumeRequest{Question: &tiergatev1.Question{Feature: feature}})
		return err
	}
	if err := ask(t.Context(), "exports"); status.Code(err) != codes.Unauthenticated {
		t.Errorf("natively without a key: %v", err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer secret")
	if err := ask(ctx, "exports"); err != nil {
		t.Errorf("natively: %v", err)
	}
	if err := ask(ctx, "panics"); status.Code(err) != codes.Internal || strings.Contains(err.Error(), "boom") {
		t.Errorf("a panic: %v", err)
	}
	if err := ask(ctx, strings.Repeat("x", rpc.MaxMessageBytes)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a message that is too large: %v", err)
	}
}
