package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/porttest"
	evaluationv2 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v2"
	syncv1 "github.com/tiergate/tiergate/internal/wire/flagd/sync/v1"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

// onGRPC is a program that gets an address for gRPC, too.
func onGRPC(t *testing.T) *program {
	t.Helper()
	return &program{http: porttest.Addr(t), grpc: porttest.Addr(t), ops: porttest.Addr(t), adm: porttest.Addr(t)}
}

// dialGRPC returns a client of an address.
func dialGRPC(t *testing.T, addr string, c credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(c), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func theme(t *testing.T, conn *grpc.ClientConn) (float64, error) {
	t.Helper()
	got, err := evaluationv2.NewServiceClient(conn).ResolveFloat(t.Context(), &evaluationv2.ResolveFloatRequest{FlagKey: "theme"})
	return got.GetValue(), err
}

// A sidecar answers flagd's clients on --grpc-addr, says in /status that it does and in /metrics
// what it answered, tells gRPC's health service when it is ready, and at the end ends streams
// so that clients come back.
func TestSidecar_over_gRPC(t *testing.T) {
	p := launchOn(t, onGRPC(t), dataDir(t), "sidecar", "--source", "file:"+folderOf(t, oneFlag))
	p.waitReady(t)
	conn := dialGRPC(t, p.grpc, insecure.NewCredentials())
	if v, err := theme(t, conn); v != 1 || err != nil {
		t.Errorf("the answer is %v, %v", v, err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.grpc+"/flagd.evaluation.v1.Service/ResolveInt", strings.NewReader(`{"flagKey": "theme"}`))
	if err != nil {
		t.Fatal(err)
	}
	if status, got := p.do(t, req, "Content-Type", "application/json"); status != 200 || value(got, "value") != "1" {
		t.Errorf("over Connect the answer is %d: %v", status, got)
	}
	health, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "flagd.evaluation.v2.Service"})
	if err != nil || health.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("the health is %v, %v", health, err)
	}
	if got := p.get("/status"); !strings.Contains(got, `{"name":"grpc","addr":"`+p.grpc+`","tls":false}`) {
		t.Errorf("the status is %s", got)
	}
	if got := p.get("/metrics"); !strings.Contains(got, `tiergate_server_requests_total{door="flagd",outcome="ok"} 2`) {
		t.Errorf("the metrics are %s", got)
	}
	stream, err := evaluationv2.NewServiceClient(conn).EventStream(t.Context(), &evaluationv2.EventStreamRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := stream.Recv(); err != nil || first.Type != "provider_ready" {
		t.Fatalf("the stream begins with %v, %v", first, err)
	}
	began := time.Now()
	if code := p.stop(t, syscall.SIGTERM); code != 0 || time.Since(began) > drainTime {
		t.Errorf("after %v the exit code is %d", time.Since(began), code)
	}
	if _, err := stream.Recv(); grpcstatus.Code(err) != codes.Unavailable {
		t.Errorf("the stream ends with %v", err)
	}
}

// --max-streams bounds the streams on each port, and the metrics tell how many there are.
func TestSidecar_bounds_the_streams_of_gRPC(t *testing.T) {
	p, at := onGRPC(t), porttest.Addr(t)
	launchOn(t, p, dataDir(t), "sidecar", "--source", "file:"+folderOf(t, oneFlag), "--sync-addr", at, "--max-streams", "1")
	p.waitReady(t)
	events := evaluationv2.NewServiceClient(dialGRPC(t, p.grpc, insecure.NewCredentials()))
	definitions := definitionsAt(t, at)
	for i, want := range []codes.Code{codes.OK, codes.ResourceExhausted} {
		event, err := events.EventStream(t.Context(), &evaluationv2.EventStreamRequest{})
		if err == nil {
			_, err = event.Recv()
		}
		if grpcstatus.Code(err) != want {
			t.Errorf("stream %d of events: %v", i, err)
		}
		definition, err := definitions.SyncFlags(t.Context(), &syncv1.SyncFlagsRequest{})
		if err == nil {
			_, err = definition.Recv()
		}
		if grpcstatus.Code(err) != want {
			t.Errorf("stream %d of definitions: %v", i, err)
		}
	}
	got := p.get("/metrics")
	for _, want := range []string{`tiergate_rpc_streams{listener="grpc"} 1`, `tiergate_rpc_streams{listener="sync"} 1`} {
		if !strings.Contains(got, want) {
			t.Errorf("the metrics have no %s", want)
		}
	}
}

// With TLS a client that speaks HTTP/2 alone gets gRPC, also a proxy, and one that speaks both, as
// browsers do, gets Connect.
func TestSidecar_over_gRPC_and_TLS(t *testing.T) {
	server, friend := identityOf(t, "server"), identityOf(t, "friend")
	dir := t.TempDir()
	p := launchOn(t, onGRPC(t), dataDir(t), "sidecar", "--source", "file:"+folderOf(t, oneFlag),
		"--tls-cert", save(t, dir, "cert.pem", server.cert), "--tls-key", save(t, dir, "key.pem", server.key),
		"--tls-client-ca", save(t, dir, "ca.pem", friend.cert))
	p.scheme, p.client = "https", visitor(&friend, server)
	p.waitReady(t)
	config := &tls.Config{RootCAs: x509.NewCertPool(), Certificates: []tls.Certificate{friend.tls}}
	config.RootCAs.AppendCertsFromPEM(server.cert)
	if v, err := theme(t, dialGRPC(t, p.grpc, credentials.NewTLS(config))); v != 1 || err != nil {
		t.Errorf("the answer is %v, %v", v, err)
	}
	browser := &http.Client{Transport: &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true, DisableKeepAlives: true}}
	resp, err := browser.Post("https://"+p.grpc+"/flagd.evaluation.v2.Service/ResolveFloat", "application/json", strings.NewReader(`{"flagKey": "theme"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil || resp.ProtoMajor != 1 || got["value"] != 1.0 {
		t.Errorf("over Connect the answer is %s %s, %v", resp.Proto, text, err)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	proxy := &http.Transport{TLSClientConfig: config.Clone(), Protocols: protocols}
	defer proxy.CloseIdleConnections()
	passed, err := (&http.Client{Transport: proxy}).Post("https://"+p.grpc+"/flagd.evaluation.v2.Service/ResolveFloat", "application/grpc", strings.NewReader("\x00\x00\x00\x00\x00"))
	if err != nil {
		t.Fatal(err)
	}
	if _ = passed.Body.Close(); passed.ProtoMajor != 2 || passed.StatusCode != 200 {
		t.Errorf("what offers HTTP/2 alone is answered over %s with %d", passed.Proto, passed.StatusCode)
	}
	if _, err := theme(t, dialGRPC(t, p.grpc, insecure.NewCredentials())); err == nil {
		t.Error("plain gRPC is answered")
	}
	config.Certificates = nil
	if _, err := theme(t, dialGRPC(t, p.grpc, credentials.NewTLS(config))); err == nil {
		t.Error("a client without a certificate is answered")
	}
}

// With --auth keys calls need a key, and its team is who asks; a key that is revoked ends the
// stream that it has opened.
func TestSidecar_over_gRPC_asks_for_keys(t *testing.T) {
	text, key := mint("globex")
	d := seeded(t, tiergate.PutOf(key))
	p := launchOn(t, onGRPC(t), dataDir(t), "sidecar", "--source", d.url(), "--auth", "keys")
	p.waitReady(t)
	client := evaluationv2.NewServiceClient(dialGRPC(t, p.grpc, insecure.NewCredentials()))
	ask := &evaluationv2.ResolveBooleanRequest{FlagKey: "model-training"}
	if _, err := client.ResolveBoolean(t.Context(), ask); grpcstatus.Code(err) != codes.Unauthenticated {
		t.Errorf("without a key: %v", err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+text)
	if got, err := client.ResolveBoolean(ctx, ask); err != nil || !got.GetValue() || got.Metadata.Fields["tier"].GetStringValue() != "pro" {
		t.Errorf("with a key of globex: %v, %v", got, err)
	}
	stream, err := client.EventStream(ctx, &evaluationv2.EventStreamRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := stream.Recv(); err != nil || first.Type != "provider_ready" {
		t.Fatalf("the stream begins with %v, %v", first, err)
	}
	pgtest.Exec(t, d.url(), "update team_api_keys set state = 'revoked' where id = '"+key.ID+"'")
	for err == nil {
		_, err = stream.Recv()
	}
	if grpcstatus.Code(err) != codes.Unauthenticated {
		t.Errorf("the stream of a revoked key ends with %v", err)
	}
}
