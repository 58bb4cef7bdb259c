package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	evaluationv2 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v2"
)

// A follower follows a sidecar until that ends, calling follows once it does, comes back by itself,
// and returns what it is answered then.
type follower func(ctx context.Context, follows func()) (theme float64, err error)

// A hundred clients over each protocol follow a sidecar when it ends, and a flag changes while it is
// away. All come back to the sidecar that starts with the same key, and the first answer that each of
// them gets there is the new one: it has no last-known-good state to begin with.
func TestSidecar_has_all_its_clients_back_after_a_restart(t *testing.T) {
	const each = 100
	flags, key := folderOf(t, oneFlag), save(t, t.TempDir(), "key", bytes.Repeat([]byte("k"), 32))
	args := []string{"sidecar", "--source", "file:" + flags, "--stream-key", key}
	p := launchOn(t, onGRPC(t), dataDir(t), args...)
	p.waitReady(t)
	var followers []follower
	for i := range each {
		followers = append(followers, p.page(fmt.Sprint("user-", i)), provider(dialGRPC(t, p.grpc, insecure.NewCredentials())))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var following, all sync.WaitGroup
	following.Add(len(followers))
	answers, errs := make([]float64, len(followers)), make([]error, len(followers))
	for i, follow := range followers {
		all.Go(func() {
			once := sync.OnceFunc(following.Done)
			defer once()
			answers[i], errs[i] = follow(ctx, once)
		})
	}
	following.Wait()
	if code := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the sidecar ends with %d", code)
	}
	save(t, flags, "flags.json", []byte(strings.Replace(oneFlag, `"a": 1`, `"a": 2`, 1)))
	launchOn(t, &program{http: p.http, grpc: p.grpc, ops: p.ops, adm: p.adm}, dataDir(t), args...).waitReady(t)
	all.Wait()
	right := 0
	for i := range followers {
		if answers[i] == 2 && errs[i] == nil {
			right++
		} else {
			t.Logf("client %d is answered with %v, %v", i, answers[i], errs[i])
		}
	}
	if right != len(followers) {
		t.Errorf("%d of %d clients are back and right", right, len(followers))
	}
}

// page follows the event stream of OFREP as web providers do: it comes back when its stream told it
// to, and asks for all flags when it is told that it is time to.
func (p *program) page(user string) follower {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return func(ctx context.Context, follows func()) (float64, error) {
		url, _, err := p.everything(ctx, client, user)
		if err != nil {
			return 0, err
		}
		stream, err := openEvents(ctx, client, url)
		if err != nil {
			return 0, err
		}
		follows()
		for stream.next() { // until it ends
		}
		_ = stream.body.Close()
		for retry := stream.retry; ; {
			select {
			case <-time.After(retry):
			case <-ctx.Done():
				return 0, errors.Join(ctx.Err(), err)
			}
			if stream, err = openEvents(ctx, client, url); err == nil {
				break
			}
		}
		defer stream.body.Close()
		if !stream.next() {
			return 0, errors.New("who came back is not told that it missed something")
		}
		_, theme, err := p.everything(ctx, client, user)
		return theme, err
	}
}

// everything asks for all flags and returns the address of the event stream that the answer tells
// of, and the value of "theme".
func (p *program) everything(ctx context.Context, client *http.Client, user string) (url string, theme float64, err error) {
	body := strings.NewReader(fmt.Sprintf(`{"context":{"targetingKey":%q}}`, user))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url(p.http, "/ofrep/v1/evaluate/flags"), body)
	if err != nil {
		return "", 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	var answer struct {
		Flags        []struct{ Value float64 }
		EventStreams []struct{ Endpoint struct{ RequestURI string } }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || len(answer.Flags) != 1 || len(answer.EventStreams) != 1 {
		return "", 0, errors.Join(err, fmt.Errorf("all flags are answered with %d: %+v", resp.StatusCode, answer))
	}
	return p.url(p.http, answer.EventStreams[0].Endpoint.RequestURI), answer.Flags[0].Value, nil
}

// events are what comes on an event stream.
type events struct {
	lines *bufio.Scanner
	retry time.Duration // how long its client is to wait before it comes back
	body  io.Closer
}

func openEvents(ctx context.Context, client *http.Client, url string) (*events, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	e := &events{lines: bufio.NewScanner(resp.Body), body: resp.Body}
	for resp.StatusCode == 200 && e.lines.Scan() {
		if ms, ok := strings.CutPrefix(e.lines.Text(), "retry: "); ok {
			n, err := strconv.Atoi(ms)
			e.retry = time.Duration(n) * time.Millisecond
			return e, err
		}
	}
	return nil, errors.Join(fmt.Errorf("the stream is answered with %d and no retry", resp.StatusCode), e.lines.Err(), resp.Body.Close())
}

// next waits for an event and reports whether one came before the stream ended.
func (e *events) next() bool {
	for e.lines.Scan() {
		if strings.HasPrefix(e.lines.Text(), "data: ") {
			return true
		}
	}
	return false
}

// provider follows the stream of flagd's protocol: it comes back with the backoff of its connection,
// and asks once the provider is ready.
func provider(conn *grpc.ClientConn) follower {
	client := evaluationv2.NewServiceClient(conn)
	open := func(ctx context.Context) (grpc.ServerStreamingClient[evaluationv2.EventStreamResponse], error) {
		stream, err := client.EventStream(ctx, &evaluationv2.EventStreamRequest{}, grpc.WaitForReady(true))
		if err != nil {
			return nil, err
		}
		first, err := stream.Recv()
		if err == nil && first.Type != "provider_ready" {
			err = fmt.Errorf("a stream begins with %s", first.Type)
		}
		return stream, err
	}
	return func(ctx context.Context, follows func()) (float64, error) {
		stream, err := open(ctx)
		if err != nil {
			return 0, err
		}
		follows()
		for err == nil { // until the stream ends
			_, err = stream.Recv()
		}
		conn.WaitForStateChange(ctx, connectivity.Ready) // until the sidecar takes no more on it
		for err != nil && ctx.Err() == nil {
			_, err = open(ctx)
		}
		if err != nil {
			return 0, err
		}
		answer, err := client.ResolveFloat(ctx, &evaluationv2.ResolveFloatRequest{FlagKey: "theme"})
		return answer.GetValue(), err
	}
}
