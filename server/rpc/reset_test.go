package rpc_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	wire "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v1"
	"github.com/tiergate/tiergate/server/rpc"
)

// deaf is a service whose method does not notice for ten milliseconds that its caller has gone. It
// answers about "x" at once.
type deaf struct {
	echo
	running, most, begun atomic.Int64
}

func (d *deaf) ResolveString(ctx context.Context, req *wire.ResolveStringRequest) (*wire.ResolveStringResponse, error) {
	if req.FlagKey == "x" {
		return d.echo.ResolveString(ctx, req)
	}
	d.begun.Add(1)
	now := d.running.Add(1)
	defer d.running.Add(-1)
	for most := d.most.Load(); now > most && !d.most.CompareAndSwap(most, now); {
		most = d.most.Load()
	}
	time.Sleep(10 * time.Millisecond)
	return &wire.ResolveStringResponse{}, nil
}

// A client opens calls and resets them as fast as it can, which costs it nothing: it never has more
// than one of them. No more of its methods run at once than a connection may have calls, others are
// answered all the time, and when it is gone nothing is left of it.
func TestServer_survives_rapid_resets(t *testing.T) {
	calls := 30_000
	if testing.Short() {
		calls = 6000
	}
	synctest.Test(t, func(t *testing.T) {
		const callsOfConn = 1000
		var seen atomic.Int64
		d := &deaf{}
		p := inMemory(t, time.Second, rpc.Config{Observe: func(string) func(int) { return func(int) { seen.Add(1) } }},
			rpc.Service{Desc: &wire.Service_ServiceDesc, Impl: d, Door: "deaf"})
		other := p.client(t)
		if got := ask(t.Context(), t, other, "x"); got.value != "x" {
			t.Fatalf("before: %+v", got)
		}
		synctest.Wait()
		before, answered := inBubble(t), int64(1)

		c, flooded := p.dial(t), make(chan error, 1)
		go func() { _, _ = io.Copy(io.Discard, c) }()
		go func() { flooded <- resets(c, calls) }()
		for under := true; under; time.Sleep(time.Millisecond) {
			select {
			case err := <-flooded:
				if under = false; err != nil {
					t.Errorf("the connection breaks: %v", err)
				}
			default:
			}
			if got := ask(t.Context(), t, other, "x"); got.value != "x" {
				t.Fatalf("beside it another connection is answered with %+v", got)
			}
			answered++
		}
		time.Sleep(time.Second)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		synctest.Wait()

		if most := d.most.Load(); most > callsOfConn || most < callsOfConn/2 {
			t.Errorf("%d methods ran at once, and a connection may have %d calls", most, callsOfConn)
		}
		if n := seen.Load() - answered; n != int64(calls) || d.running.Load() != 0 {
			t.Errorf("%d of %d calls have ended, and %d still run", n, calls, d.running.Load())
		}
		if now := inBubble(t); now != before {
			t.Errorf("%d goroutines are left, and %d were there before", now, before)
		}
		t.Logf("%d of %d calls reached the method; beside them %d were answered", d.begun.Load(), calls, answered)
	})
}

// inBubble is how many goroutines a test's bubble has. The runtime's own come and go.
func inBubble(t *testing.T) int {
	t.Helper()
	stacks := make([]byte, 4<<20)
	n := bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("synctest bubble"))
	if n == 0 {
		t.Fatal("the stacks of goroutines do not tell any more which are of the bubble")
	}
	return n
}

// resets opens calls of HTTP/2 on a connection, each with its whole request, and resets each at once.
func resets(to io.Writer, calls int) error {
	const (
		data, headers, reset, settings = 0x0, 0x1, 0x3, 0x4 // types of frames
		endStream, endHeaders          = 0x1, 0x4
		cancel                         = "\x00\x00\x00\x08"
	)
	fields := ""
	for _, f := range [][2]string{
		{":method", "POST"},
		{":scheme", "http"},
		{":path", resolve},
		{":authority", "localhost"},
		{"content-type", "application/grpc"},
		{"te", "trailers"},
	} {
		fields += literal(f[0], f[1])
	}
	request := string(frame(&wire.ResolveStringRequest{FlagKey: "deaf"}))
	w := bufio.NewWriter(to)
	_, _ = w.WriteString("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frameOf(settings, 0, 0, ""))
	for i := range calls {
		id := uint32(2*i + 1)
		_, err := w.WriteString(frameOf(headers, endHeaders, id, fields) + frameOf(data, endStream, id, request) + frameOf(reset, 0, id, cancel))
		if err != nil {
			return err
		}
	}
	return w.Flush()
}

// frameOf is a frame of HTTP/2.
func frameOf(kind, flags byte, stream uint32, payload string) string {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	return string(binary.BigEndian.AppendUint32(append(head, flags), stream)) + payload
}

// literal is a header field of HTTP/2 that refers to no other.
func literal(name, value string) string {
	return "\x00" + string([]byte{byte(len(name))}) + name + string([]byte{byte(len(value))}) + value
}
