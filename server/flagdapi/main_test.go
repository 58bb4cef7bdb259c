package flagdapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/internal/porttest"
	wirev1 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v1"
	wirev2 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v2"
	"github.com/tiergate/tiergate/server/flagdapi"
	"github.com/tiergate/tiergate/server/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func resume(rev int64) tiergate.Resume { return tiergate.Resume{Epoch: "0123456789abcdef", Rev: rev} }

// engine is the real evaluator over the demo data and more.
func engine(tb testing.TB, more ...tiergate.Change) *evaluator.Engine {
	tb.Helper()
	e := evaluator.New(evaluator.Options{})
	whole(tb, e, 7, more...)
	return e
}

// whole puts the demo data and more in force.
func whole(tb testing.TB, e *evaluator.Engine, rev int64, more ...tiergate.Change) {
	tb.Helper()
	r := tiergate.Revision{Resume: resume(rev), Whole: true, Changes: tiergate.ChangesOf(append(conformance.Demo(), more...)...)}
	if err := e.Apply(tb.Context(), r); err != nil {
		tb.Fatal(err)
	}
}

// step puts changes in force on top of what is.
func step(tb testing.TB, e *evaluator.Engine, changes ...tiergate.Change) {
	tb.Helper()
	rev := e.Generation().Resume().Rev + 1
	if err := e.Apply(tb.Context(), tiergate.Revision{Resume: resume(rev), Changes: tiergate.ChangesOf(changes...)}); err != nil {
		tb.Fatal(err)
	}
}

// flag is a flag that everybody gets.
func flag(name string, kind tiergate.FlagType, value string, edit func(*tiergate.Flag)) tiergate.Change {
	f := &tiergate.Flag{
		ID: name, Set: tiergate.DefaultSet, Name: name, Type: kind, Enabled: true,
		Variants: map[string]json.RawMessage{"v": json.RawMessage(value)}, DefaultVariant: "v", OffVariant: "v",
		Rules: tiergate.Rules{Tiers: []string{}, Percentage: 100},
	}
	if edit != nil {
		edit(f)
	}
	return tiergate.PutOf(f)
}

func gone(name string) tiergate.Change { return tiergate.Change{Kind: tiergate.KindFlag, Key: name} }

// A door is the services on a listener, and clients of them.
type door struct {
	addr string
	conn *grpc.ClientConn
	v1   wirev1.ServiceClient
	v2   wirev2.ServiceClient
	stop func()
}

func open(tb testing.TB, cfg flagdapi.Config) door {
	tb.Helper()
	return openOn(tb, porttest.Addr(tb), cfg)
}

func openOn(tb testing.TB, addr string, cfg flagdapi.Config) door {
	tb.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, end := context.WithCancel(context.WithoutCancel(tb.Context()))
	done := make(chan error, 1)
	go func() { done <- rpc.New(rpc.Config{}, flagdapi.Services(cfg)...).Serve(ctx, ln, 10*time.Second) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		end()
		if err := <-done; err != nil {
			tb.Errorf("Serve: %v", err)
		}
	}
	tb.Cleanup(stop)
	conn, err := grpc.NewClient(ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return door{ln.Addr().String(), conn, wirev1.NewServiceClient(conn), wirev2.NewServiceClient(conn), stop}
}

func contextOf(tb testing.TB, members map[string]any) *structpb.Struct {
	tb.Helper()
	s, err := structpb.NewStruct(members)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// post asks over Connect as JSON.
func (d door) post(tb testing.TB, method string, request any, header ...string) (status int, answer map[string]any) {
	tb.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		tb.Fatal(err)
	}
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, "http://"+d.addr+"/flagd.evaluation."+method, bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		tb.Fatalf("%d %q: %v", resp.StatusCode, text, err)
	}
	return resp.StatusCode, answer
}

func with(ctx context.Context, md ...string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, md...)
}
