package main

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	rpcstatus "google.golang.org/grpc/status"

	"github.com/tiergate/tiergate/internal/porttest"
	syncv1 "github.com/tiergate/tiergate/internal/wire/flagd/sync/v1"
)

// definitionsAt asks a program for flag definitions.
func definitionsAt(t *testing.T, addr string) syncv1.FlagSyncServiceClient {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return syncv1.NewFlagSyncServiceClient(conn)
}

// A sidecar hands out its flag definitions and each change of them, and ends streams so that
// clients come back.
func TestSidecar_hands_out_flag_definitions(t *testing.T) {
	folder, addr := folderOf(t, oneFlag), porttest.Addr(t)
	p := launch(t, dataDir(t), "sidecar", "--source", "file:"+folder, "--sync-addr", addr)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stream, err := definitionsAt(t, addr).SyncFlags(ctx, &syncv1.SyncFlagsRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	next := func(part string) {
		t.Helper()
		m, err := stream.Recv()
		if err != nil || !strings.Contains(m.FlagConfiguration, part) {
			t.Fatalf("received %v, %v, without %s", m, err, part)
		}
	}
	next(`"theme":{"state":"ENABLED","variants":{"a":1},"defaultVariant":"a","metadata":{"version":"`)
	save(t, folder, "flags.json", []byte(strings.ReplaceAll(oneFlag, `{"a": 1}`, `{"a": 2}`)))
	next(`"theme":{"state":"ENABLED","variants":{"a":2},"defaultVariant":"a","metadata":{"version":"`)
	if got := p.get("/status"); !strings.Contains(got, `"sync"`) || !strings.Contains(got, addr) {
		t.Errorf("the status is %s, without the door", got)
	}
	if code := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	if m, err := stream.Recv(); rpcstatus.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v, %v", m, err)
	}
}

// Where keys are needed, nobody gets definitions without one.
func TestSidecar_hands_out_no_definitions_without_a_key(t *testing.T) {
	addr := porttest.Addr(t)
	p := launch(t, dataDir(t), "sidecar", "--source", "file:"+folderOf(t, oneFlag), "--sync-addr", addr, "--auth", "keys")
	p.waitReady(t)
	if m, err := definitionsAt(t, addr).FetchAllFlags(t.Context(), &syncv1.FetchAllFlagsRequest{}); rpcstatus.Code(err) != codes.Unauthenticated {
		t.Errorf("%v, %v", m, err)
	}
}
