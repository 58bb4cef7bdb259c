package rpc

import (
	"context"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/tiergate/tiergate/server"
)

// How many requests may be arriving at once over HTTP/2, of all connections: as many as one listener
// of HTTP reads, and a few of our own services. With a million bytes each that is what they can hold.
const (
	maxArriving    = server.DefaultMaxConns
	maxArrivingOwn = 128
)

const unreadable = "the request cannot be read: "

var (
	errLate     = status.Error(codes.DeadlineExceeded, "the request took too long to arrive")
	errArriving = status.Error(codes.ResourceExhausted, "there are too many requests that have not arrived")
)

// arrivals are the requests that are being read, of services that share their room.
type arrivals struct {
	now  atomic.Int64
	most int64
}

// native returns a guarded service's description for gRPC's own server. Unlike Connect's, it
// calls a method before its request is there.
func (a *arrivals) native(guarded *grpc.ServiceDesc) *grpc.ServiceDesc {
	desc := *guarded
	desc.Methods, desc.Streams = slices.Clone(desc.Methods), slices.Clone(desc.Streams)
	for i := range desc.Methods {
		run := desc.Methods[i].Handler
		desc.Methods[i].Handler = func(impl any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			return run(impl, ctx, func(into any) error { return a.request(ctx, decode, into) }, nil)
		}
	}
	for i := range desc.Streams {
		run, talks := desc.Streams[i].Handler, desc.Streams[i].ClientStreams
		desc.Streams[i].Handler = func(impl any, ss grpc.ServerStream) error { return run(impl, &nativeStream{ss, a, talks}) }
	}
	return &desc
}

// nativeStream is a stream of a native call.
type nativeStream struct {
	grpc.ServerStream
	room  *arrivals
	talks bool // its client sends messages for as long as it likes, not one
}

// RecvMsg reads the request of a stream, or its next one.
func (s *nativeStream) RecvMsg(into any) error {
	if s.talks {
		return receive(s.Context(), server.Timeouts.Idle, s.ServerStream.RecvMsg, into)
	}
	return s.room.request(s.Context(), s.ServerStream.RecvMsg, into)
}

// request reads the one request of a call.
func (a *arrivals) request(ctx context.Context, from func(any) error, into any) error {
	defer a.now.Add(-1)
	if a.now.Add(1) > a.most {
		return errArriving
	}
	return receive(ctx, server.Timeouts.Request, from, into)
}

// receive reads a message of a native call, which has to arrive within a time.
func receive(ctx context.Context, within time.Duration, from func(any) error, into any) error {
	late := time.AfterFunc(within, ctx.Value(arrivalKey{}).(*arrival).end)
	m := arrived{into: into}
	err := from(&m)
	switch {
	case !late.Stop():
		return errLate
	case m.err != nil:
		return status.Error(codes.InvalidArgument, unreadable+m.err.Error())
	}
	// With a broken frame grpc-go has told the caller INTERNAL by now. Yet nothing is broken here.
	switch st := status.Convert(err); st.Code() {
	case codes.Internal:
		return status.Error(codes.InvalidArgument, unreadable+st.Message())
	case codes.ResourceExhausted:
		return Counted(st, http.StatusRequestEntityTooLarge)
	}
	return err
}

// An arrival is the context of a native call: nothing but its end ends the wait for a message.
type arrival struct {
	context.Context
	cancel context.CancelFunc
	late   atomic.Bool
}

type arrivalKey struct{}

// arrive is told of each call that begins. The context ends with the call.
func arrive(ctx context.Context, _ *tap.Info) (context.Context, error) {
	a := new(arrival)
	a.Context, a.cancel = context.WithCancel(ctx)
	return a, nil
}

// end ends the call because it took too long.
func (a *arrival) end() {
	a.late.Store(true)
	a.cancel()
}

// Err says DeadlineExceeded after end, which grpc-go tells the client.
func (a *arrival) Err() error {
	err := a.Context.Err()
	if err != nil && a.late.Load() {
		return context.DeadlineExceeded
	}
	return err
}

// Value finds the arrival itself.
func (a *arrival) Value(key any) any {
	if key == (arrivalKey{}) {
		return a
	}
	return a.Context.Value(key)
}

// arrived is a message that a native call reads.
type arrived struct {
	into any
	err  error // why its bytes are no such message
}

// nativeCodec keeps from grpc-go that bytes are no message: it would tell the caller that the
// server is broken.
type nativeCodec struct{ encoding.CodecV2 }

func (c nativeCodec) Unmarshal(data mem.BufferSlice, into any) error {
	m, ok := into.(*arrived)
	if !ok {
		return c.CodecV2.Unmarshal(data, into)
	}
	m.err = c.CodecV2.Unmarshal(data, m.into)
	return nil
}
