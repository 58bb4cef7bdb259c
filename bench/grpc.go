package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tiergate/tiergate/internal/demo"
	v2 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v2"
)

// A grpcQuestion is one call, and what it may cost as a multiple of the floor.
type grpcQuestion struct {
	name, what, about string
	must              bound
}

var grpcQuestions = []grpcQuestion{
	{"static", "one", "new-dashboard", atMost(1.2)},
	{"tier-gated", "one", "white-label", atMost(1.2)},
	{"share of everyone", "one", "beta-search", atMost(1.2)},
	{"all of 100 flags", "all", "bulk", bound{}},
}

// grpc measures flagd's protocol against a bare grpc-go server, and what a stream of events
// keeps in memory.
func (b *bencher) grpc(ctx context.Context) error {
	cluster, url, err := b.database(ctx, slices.Concat(demo.Data(), bulkFlags()))
	if err != nil {
		return err
	}
	defer cluster.Close()
	floorAddr, addr, opsAddr := freeAddr(), freeAddr(), freeAddr()
	floor, err := startPinned(ctx, b.bin("grpcfloor"), floorAddr)
	if err != nil {
		return err
	}
	defer floor.stop()
	sidecar, err := startPinned(ctx, b.bin("tiergate"), "sidecar", "--source", url, "--http-addr", freeAddr(), "--grpc-addr", addr,
		"--ops-addr", opsAddr, "--data-dir", filepath.Join(b.dir, "grpc"), "--log-level", "warn")
	if err != nil {
		return err
	}
	defer sidecar.stop()
	if err := floor.waitFor(listening(floorAddr)); err != nil {
		return err
	}
	if err := sidecar.waitFor(ready(opsAddr)); err != nil {
		return err
	}
	n, each := b.rounds()
	b.out.begin(fmt.Sprintf("flagd's protocol over gRPC: CPU per call, median of %d rounds of %s, %s connections, one core", n, each, conns))
	for _, q := range grpcQuestions {
		var ours, least []float64
		for range n {
			a, err := b.grpcRound(ctx, floor, floorAddr, q)
			if err != nil {
				return fmt.Errorf("%s: %w", q.name, err)
			}
			z, err := b.grpcRound(ctx, sidecar, addr, q)
			if err != nil {
				return fmt.Errorf("%s: %w", q.name, err)
			}
			least, ours = append(least, a), append(ours, z)
		}
		b.out.row(q.name, cell{"µs", median(ours), bound{}}, cell{"µs floor", median(least), bound{}}, cell{"× the floor", median(ours) / median(least), q.must})
	}
	return b.eventStreams(ctx, sidecar, addr)
}

func (b *bencher) grpcRound(ctx context.Context, p *process, addr string, q grpcQuestion) (float64, error) {
	before, err := p.cpu()
	if err != nil {
		return 0, err
	}
	_, each := b.rounds()
	out, err := pinned(ctx, 1, b.bin("grpcload"), addr, q.what, q.about, each, conns).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	after, err := p.cpu()
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil || n == 0 {
		return 0, fmt.Errorf("the load says %q", out)
	}
	return float64(after-before) / float64(time.Microsecond) / float64(n), nil
}

// eventStreams measures the resident memory of an idle stream that has a connection of its own,
// and of one that shares it with others.
func (b *bencher) eventStreams(ctx context.Context, p *process, addr string) error {
	b.out.begin("resident memory of idle event streams")
	n := b.pick(2000, 100)
	for _, perConn := range []int{100, 1} { // the first leaves little behind
		before := settled(p)
		done, err := openStreams(ctx, addr, n, perConn)
		if err != nil {
			return err
		}
		b.out.row(fmt.Sprintf("%d streams, %d on a connection", n, perConn), cell{"KiB each", float64(settled(p)-before) / 1024 / float64(n), bound{}})
		done()
	}
	return nil
}

// settled is the resident memory of a process once it has not grown for a while.
func settled(p *process) int64 {
	rss := p.rss()
	for quiet := 0; quiet < 10; {
		time.Sleep(100 * time.Millisecond)
		if now := p.rss(); now > rss {
			rss, quiet = now, 0
		} else {
			quiet++
		}
	}
	return rss
}

// openStreams opens streams that have had their first message, and returns what ends them.
func openStreams(ctx context.Context, addr string, n, perConn int) (done func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var opened []*grpc.ClientConn
	done = func() {
		cancel()
		for _, c := range opened {
			_ = c.Close()
		}
	}
	for i := range n {
		if i%perConn == 0 {
			c, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
			if err != nil {
				return nil, err
			}
			opened = append(opened, c)
		}
		stream, err := v2.NewServiceClient(opened[len(opened)-1]).EventStream(ctx, &v2.EventStreamRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		if err != nil {
			done()
			return nil, err
		}
	}
	return done, nil
}
