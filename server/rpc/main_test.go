package rpc_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tiergate/tiergate"
	wire "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v1"
	"github.com/tiergate/tiergate/server/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a service that says what it was asked, and streams what it is told to.
type echo struct {
	wire.UnimplementedServiceServer
	events chan string   // what streams send
	begun  chan struct{} // told of each stream that begins; nil: nobody
	ended  chan error    // told how each stream's context ended; nil: nobody
	calls  atomic.Int64
}

func (e *echo) ResolveString(ctx context.Context, req *wire.ResolveStringRequest) (*wire.ResolveStringResponse, error) {
	e.calls.Add(1)
	switch req.FlagKey {
	case "panic":
		panic("secret reason")
	case "bug":
		return nil, io.ErrUnexpectedEOF
	case "domain":
		return nil, tiergate.Errorf(tiergate.Conflict, "it is being worked on")
	case "gone":
		return nil, tiergate.Errorf(tiergate.Gone, "its time is over")
	case "reused":
		return nil, tiergate.Errorf(tiergate.KeyReused, "the key stands for another request")
	case "stale":
		return nil, tiergate.Errorf(tiergate.Stale, "it is of another history")
	case "status":
		return nil, status.Error(codes.DataLoss, "the targeting is broken")
	case "settled":
		return nil, rpc.Counted(status.New(codes.FailedPrecondition, "it is settled"), 409)
	case "hidden":
		return nil, rpc.StatusOf(io.ErrUnexpectedEOF)
	case "broken":
		return nil, status.Error(codes.Internal, "it is broken here")
	case "counted":
		return nil, rpc.Counted(status.New(codes.Internal, "internal error"), 500)
	case "key":
		return &wire.ResolveStringResponse{Value: rpc.KeyOf(ctx).ID}, nil
	case "sent":
		return &wire.ResolveStringResponse{Value: rpc.Sent(ctx, "flagd-selector")}, nil
	}
	return &wire.ResolveStringResponse{Value: req.FlagKey, Reason: "STATIC"}, nil
}

func (e *echo) EventStream(_ *wire.EventStreamRequest, to grpc.ServerStreamingServer[wire.EventStreamResponse]) error {
	if e.begun != nil {
		e.begun <- struct{}{}
	}
	if err := to.Send(&wire.EventStreamResponse{Type: "begun"}); err != nil {
		return err
	}
	for {
		select {
		case kind := <-e.events:
			switch kind {
			case "recheck":
				return rpc.Recheck(to.Context())
			case "withdraw":
				return status.Error(codes.Unauthenticated, "it was withdrawn")
			}
			if err := to.Send(&wire.EventStreamResponse{Type: kind}); err != nil {
				return err
			}
		case <-to.Context().Done():
			if e.ended != nil {
				e.ended <- to.Context().Err()
			}
			return nil
		}
	}
}

func (e *echo) service() rpc.Service {
	return rpc.Service{Desc: &wire.Service_ServiceDesc, Impl: e, Door: "echo"}
}

const (
	prefix  = "/flagd.evaluation.v1.Service/"
	resolve = prefix + "ResolveString"
)

// A running server, until the test ends or stop is called.
type running struct {
	addr string
	stop func() time.Duration // how long the end took
}

func serve(t *testing.T, cfg rpc.Config, services ...rpc.Service) running {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, ln, cfg, services...)
}

// drain is how long calls may go on at the end. Tests that wait for it would take as long.
const drain = 20 * time.Second

func serveOn(t *testing.T, ln net.Listener, cfg rpc.Config, services ...rpc.Service) running {
	t.Helper()
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- rpc.New(cfg, services...).Serve(ctx, ln, drain) }()
	stop := func() time.Duration {
		if ctx.Err() != nil {
			return 0
		}
		began := time.Now()
		end()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		return time.Since(began)
	}
	t.Cleanup(func() { stop() })
	return running{ln.Addr().String(), stop}
}

// dial returns a gRPC client of an address.
func dial(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// An outcome is what a call came to, by whatever protocol.
type outcome struct {
	value string
	code  codes.Code
	text  string // of an error
}

// ask calls ResolveString over gRPC.
func ask(ctx context.Context, t *testing.T, conn *grpc.ClientConn, flag string) outcome {
	t.Helper()
	resp, err := wire.NewServiceClient(conn).ResolveString(ctx, &wire.ResolveStringRequest{FlagKey: flag}, grpc.MaxCallSendMsgSize(1<<30))
	return outcome{resp.GetValue(), status.Code(err), status.Convert(err).Message()}
}

// post sends one HTTP/1.1 request on a connection of its own.
func post(t *testing.T, addr, path, kind string, body []byte, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	return do(t, req)
}

func do(t *testing.T, req *http.Request) (*http.Response, []byte) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, answer
}

// frame puts a message as gRPC-Web and Connect's streams have it.
func frame(m proto.Message) []byte {
	body, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
}

// unframe returns the first frame of a body, its flags, and what follows.
func unframe(t *testing.T, body []byte) (flags byte, content, rest []byte) {
	t.Helper()
	if len(body) < 5 || uint32(len(body)-5) < binary.BigEndian.Uint32(body[1:]) {
		t.Fatalf("%q holds no whole frame", body)
	}
	n := 5 + binary.BigEndian.Uint32(body[1:])
	return body[0], body[5:n], body[n:]
}

// web calls ResolveString over gRPC-Web.
func web(t *testing.T, addr, flag string, header ...string) outcome {
	t.Helper()
	resp, body := post(t, addr, resolve, "application/grpc-web+proto", frame(&wire.ResolveStringRequest{FlagKey: flag}), header...)
	if resp.StatusCode != 200 {
		return outcome{code: codes.Code(1000 + resp.StatusCode)}
	}
	var answer wire.ResolveStringResponse
	trailer := resp.Header.Get("Grpc-Status") + " " + resp.Header.Get("Grpc-Message")
	for len(body) > 0 {
		flags, content, rest := unframe(t, body)
		if body = rest; flags&0x80 != 0 {
			lines := map[string]string{}
			for line := range strings.Lines(string(content)) {
				name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
				lines[strings.ToLower(name)] = strings.TrimSpace(value)
			}
			trailer = lines["grpc-status"] + " " + lines["grpc-message"]
		} else if err := proto.Unmarshal(content, &answer); err != nil {
			t.Fatal(err)
		}
	}
	number, text, _ := strings.Cut(trailer, " ")
	var code codes.Code
	if err := code.UnmarshalJSON([]byte(number)); err != nil {
		t.Fatalf("%q: %v", trailer, err)
	}
	return outcome{answer.Value, code, strings.ReplaceAll(text, "%20", " ")}
}
