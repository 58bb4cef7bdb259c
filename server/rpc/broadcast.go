package rpc

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// mostWait is how long a stream waits for a client that takes nothing.
const mostWait = 2 * time.Minute

var errNotRead = status.Error(codes.Unavailable, "the client does not read its stream")

// A Broadcast is one message for many streams, encoded once in each way in which it is sent. Nobody
// may change what it was made of. Safe for concurrent use.
type Broadcast struct {
	value        proto.Message
	binary, json func() ([]byte, error) // for Connect

	mu       sync.Mutex
	prepared *grpc.PreparedMsg // its bytes, which no stream changes; nil before somebody needed them
}

// NewBroadcast makes a Broadcast of a message.
func NewBroadcast(value proto.Message) *Broadcast {
	return &Broadcast{
		value:  value,
		binary: sync.OnceValues(func() ([]byte, error) { return appendBinary(nil, value) }),
		json:   sync.OnceValues(func() ([]byte, error) { return appendJSON(nil, value) }),
	}
}

// Send sends the message on a stream of a call. It waits for a client that reads slowly, but no
// longer than its key lasts, and for two minutes at most. After an error the method must return.
func (b *Broadcast) Send(to grpc.ServerStream) error {
	ctx := to.Context()
	what := any(b.value)
	switch way := grpc.ServerTransportStreamFromContext(ctx).(type) {
	case *said: // Connect, which bounds each write
		return to.SendMsg(b)
	case interface{ SendCompress() string }:
		if way.SendCompress() == "" { // such streams all send the same bytes
			what = b.encoded(to)
		}
	}
	return bounded(ctx, func() error { return to.SendMsg(what) })
}

// encoded returns the message as its bytes, or as it is where that cannot be had.
func (b *Broadcast) encoded(to grpc.ServerStream) any {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.prepared == nil {
		prepared := &grpc.PreparedMsg{}
		if prepared.Encode(to, b.value) != nil {
			return b.value
		}
		b.prepared = prepared
	}
	return b.prepared
}

// bounded runs a send, which gRPC lets wait for as long as its client reads nothing: it ends when
// the method returns, and not before, so that it must not run in the method's own goroutine.
func bounded(ctx context.Context, send func() error) error {
	sent := make(chan error, 1)
	go func() { sent <- send() }()
	end := time.NewTimer(mostWait)
	defer end.Stop()
	for {
		var look <-chan time.Time
		if in := RecheckIn(ctx); in > 0 {
			look = time.After(in)
		}
		select {
		case err := <-sent:
			return err
		case <-look:
			if err := Recheck(ctx); err != nil {
				return err
			}
		case <-end.C:
			return errNotRead
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
