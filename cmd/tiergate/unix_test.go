package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	evaluationv1 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v1"
	tiergatev1 "github.com/tiergate/tiergate/internal/wire/tiergate/v1"
)

// Applications ask over Unix sockets what they ask over TCP: OFREP and the decision API, gRPC and
// Connect. The sockets are their owner's only, those of a killed program are taken over, those in
// use are not, and a program that ends removes its own.
func TestSidecar_answers_all_protocols_over_unix_sockets(t *testing.T) {
	dir, flags, data := t.TempDir(), folderOf(t, oneFlag), dataDir(t)
	path := func(door string) string { return filepath.Join(dir, door) }
	doors := []string{"http", "grpc", "ops"}
	start := func(data string) *program {
		p := &program{http: "unix:" + path("http"), ops: "unix:" + path("ops")}
		return launchOn(t, p, data, "sidecar", "--source", "file:"+flags, "--grpc-addr", "unix:"+path("grpc"))
	}
	for _, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		p := start(data)
		(&program{ops: "localhost", client: overSocket(path("ops")), done: p.done}).waitReady(t)
		for _, door := range doors {
			if info, err := os.Stat(path(door)); err != nil || info.Mode() != os.ModeSocket|0o600 {
				t.Errorf("the socket of %s: %v, %v", door, info.Mode(), err)
			}
		}
		askEverything(t, path("http"), path("grpc"))

		second := start(dataDir(t))
		select {
		case <-second.done:
		case <-time.After(30 * time.Second):
			t.Fatal("a second program goes on")
		}
		if said := second.out.String(); second.cmd.ProcessState.ExitCode() == 0 || !strings.Contains(said, "is in use by another program") {
			t.Errorf("a second program ends with %d and says %s", second.cmd.ProcessState.ExitCode(), said)
		}
		askEverything(t, path("http"), path("grpc")) // the first one's sockets are still its own

		code := p.stop(t, end)
		left, err := os.ReadDir(dir)
		switch {
		case err != nil:
			t.Error(err)
		case end == syscall.SIGKILL && len(left) != len(doors):
			t.Errorf("a killed program leaves %v", left)
		case end == syscall.SIGTERM && (code != 0 || len(left) > 0):
			t.Errorf("exit code %d, and %v is left", code, left)
		}
	}
}

// overSocket returns a client that asks over a socket, whatever host a URL names.
func overSocket(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
}

// askEverything asks in each protocol about the one flag that there is.
func askEverything(t *testing.T, httpPath, grpcPath string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, tc := range []struct{ door, path, body, variant string }{
		{httpPath, "/ofrep/v1/evaluate/flags/theme", `{"context":{"targetingKey":"u"}}`, "variant"},
		{httpPath, "/v1/check", `{"feature":"theme","subject":{"user":"u"}}`, "variant"},
		{grpcPath, "/flagd.evaluation.v1.Service/ResolveFloat", `{"flagKey":"theme","context":{"targetingKey":"u"}}`, "variant"},
		{grpcPath, "/tiergate.v1.DecisionService/Check", `{"question":{"feature":"theme","subject":{"user":"u"}}}`, "verdict.variant"},
	} {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost"+tc.path, strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := overSocket(tc.door).Do(req)
		if err != nil {
			t.Errorf("%s: %v", tc.path, err)
			continue
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		var answer map[string]any
		if err := json.Unmarshal(text, &answer); err != nil || resp.StatusCode != 200 || value(answer, strings.Split(tc.variant, ".")...) != "a" {
			t.Errorf("%s: %d %s, %v", tc.path, resp.StatusCode, text, err)
		}
	}
	conn, err := grpc.NewClient("unix:"+grpcPath, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	flag, err := evaluationv1.NewServiceClient(conn).ResolveFloat(ctx, &evaluationv1.ResolveFloatRequest{FlagKey: "theme"})
	if err != nil || flag.Variant != "a" {
		t.Errorf("flagd.evaluation.v1: %v, %v", flag, err)
	}
	use, err := tiergatev1.NewDecisionServiceClient(conn).Consume(ctx, &tiergatev1.ConsumeRequest{Question: &tiergatev1.Question{Feature: "theme"}})
	if err != nil || !use.Verdict.Allow || use.Verdict.Variant != "a" {
		t.Errorf("tiergate.v1: %v, %v", use, err)
	}
}
