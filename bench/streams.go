package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	v2 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v2"
)

// streams measures the event streams of OFREP: the memory that each costs, how long a change
// takes to be told to all; and how clients of these and of flagd's streams come back after a restart.
func (b *bencher) streams(ctx context.Context) error {
	n := b.pick(10_000, 500)
	b.out.begin(fmt.Sprintf("OFREP event streams, %d at once", n))
	for _, secure := range []bool{false, true} {
		if err := b.manyStreams(ctx, n, secure); err != nil {
			return err
		}
	}
	const clients = 1000
	if err := b.comeBack(ctx, clients, returning{"OFREP", overOFREP, atMost(clients / 5)}); err != nil {
		return err
	}
	return b.comeBack(ctx, clients, returning{"gRPC", overGRPC, bound{}})
}

// A listened is a sidecar whose streams are listened to.
type listened struct {
	*process
	flags  string // the folder of its source
	args   []string
	addr   string
	grpc   string
	client *tls.Config // nil is plain
}

func (b *bencher) listened(ctx context.Context, name string, secure bool) (*listened, error) {
	l := &listened{flags: filepath.Join(b.dir, name+"-flags"), addr: freeAddr(), grpc: freeAddr()}
	if err := os.MkdirAll(l.flags, 0o755); err != nil {
		return nil, err
	}
	if err := l.write(1); err != nil {
		return nil, err
	}
	l.args = []string{
		"sidecar", "--source", "file:" + l.flags, "--http-addr", l.addr, "--grpc-addr", l.grpc, "--ops-addr", freeAddr(),
		"--data-dir", filepath.Join(b.dir, name), "--log-level", "error",
	}
	if secure {
		cert, key, err := b.certificate()
		if err != nil {
			return nil, err
		}
		l.args = append(l.args, "--tls-cert", cert, "--tls-key", key)
		l.client = &tls.Config{InsecureSkipVerify: true}
	}
	return l, l.start(ctx, b)
}

func (l *listened) start(ctx context.Context, b *bencher) (err error) {
	if l.process, err = started(exec.CommandContext(ctx, b.bin("tiergate"), l.args...)); err != nil {
		return err
	}
	return l.waitFor(func() bool { _, _, err := l.ask("nobody"); return err == nil })
}

// write changes the flags, of which there is one.
func (l *listened) write(version int) error {
	text := fmt.Sprintf(`{"flags": {"theme": {"state": "ENABLED", "variants": {"a": %d}, "defaultVariant": "a"}}}`, version)
	aside := filepath.Join(l.flags, "aside")
	return errors.Join(os.WriteFile(aside, []byte(text), 0o644), os.Rename(aside, filepath.Join(l.flags, "flags.json")))
}

func (l *listened) dial() (net.Conn, error) {
	if l.client != nil {
		return tls.Dial("tcp", l.addr, l.client)
	}
	return net.Dial("tcp", l.addr)
}

// ask asks for all flags and returns the address of the stream that the answer tells of, and the
// flag's value.
func (l *listened) ask(user string) (uri string, version int, err error) {
	c, err := l.dial()
	if err != nil {
		return "", 0, err
	}
	defer c.Close()
	if _, err := c.Write(question{path: "/ofrep/v1/evaluate/flags", body: fmt.Sprintf(`{"context":{"targetingKey":%q}}`, user)}.request()); err != nil {
		return "", 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	var answer struct {
		Flags        []struct{ Value int }
		EventStreams []struct{ Endpoint struct{ RequestURI string } }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || len(answer.EventStreams) == 0 || len(answer.Flags) != 1 {
		return "", 0, errors.Join(err, fmt.Errorf("all flags are answered with %d, %d flags and %d streams", resp.StatusCode, len(answer.Flags), len(answer.EventStreams)))
	}
	return answer.EventStreams[0].Endpoint.RequestURI, answer.Flags[0].Value, nil
}

// open opens a stream and returns how long the client is to wait before it comes back.
func (l *listened) open(uri string) (net.Conn, *bufio.Reader, time.Duration, error) {
	c, err := l.dial()
	if err != nil {
		return nil, nil, 0, err
	}
	r := bufio.NewReaderSize(c, 512)
	if _, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n", uri); err == nil {
		var line string
		for first := true; err == nil; first = false {
			line, err = r.ReadString('\n')
			if first && err == nil && !strings.HasPrefix(line, "HTTP/1.1 200 ") {
				err = errors.New("the stream is answered with " + line)
			}
			if ms, ok := strings.CutPrefix(line, "retry: "); ok {
				n, err := strconv.Atoi(strings.TrimSpace(ms))
				return c, r, time.Duration(n) * time.Millisecond, err
			}
		}
	}
	c.Close()
	return nil, nil, 0, err
}

// event waits for an event on a stream.
func event(r *bufio.Reader) error {
	for {
		line, err := r.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "data: ") {
			return err
		}
	}
}

// manyStreams measures the memory of n streams, and a change that is told to all of them.
func (b *bencher) manyStreams(ctx context.Context, n int, secure bool) error {
	name := "plain"
	if secure {
		name = "TLS"
	}
	l, err := b.listened(ctx, "streams-"+name, secure)
	if err != nil {
		return err
	}
	defer l.stop()
	uri, _, err := l.ask("alice")
	if err != nil {
		return err
	}
	settle := func() { time.Sleep(time.Duration(b.pick(20_000, 2000)) * time.Millisecond) }
	settle()
	before := l.rss()
	readers := make([]*bufio.Reader, n)
	for i := range n {
		c, r, _, err := l.open(uri)
		if err != nil {
			return fmt.Errorf("stream %d: %w", i, err)
		}
		defer c.Close()
		readers[i] = r
	}
	settle()
	each := float64(l.rss()-before) / float64(n) / 1024
	told, err := tellAll(l, readers)
	if err != nil {
		return err
	}
	settle()
	after := float64(l.rss()-before) / float64(n) / 1024
	b.out.row("memory of a stream, "+name, cell{"KiB idle", each, atMost(40)}, cell{"KiB after an event", after, atMost(40)})
	b.out.row("a change is told, "+name, cell{"ms to the first", told[0], bound{}}, cell{"ms to the last", told[n-1], bound{}},
		cell{"clients in the fullest 10 ms", float64(fullest(told, 10)), bound{}})
	return nil
}

// tellAll changes a flag and returns after how many milliseconds each client heard of it, in order.
func tellAll(l *listened, readers []*bufio.Reader) ([]float64, error) {
	told, errs := make([]float64, len(readers)), make([]error, len(readers))
	began := time.Now()
	var wg sync.WaitGroup
	for i, r := range readers {
		wg.Go(func() {
			errs[i] = event(r)
			told[i] = float64(time.Since(began).Microseconds()) / 1000
		})
	}
	if err := l.write(2); err != nil {
		return nil, err
	}
	wg.Wait()
	slices.Sort(told)
	return told, errors.Join(errs...)
}

// fullest is how many of sorted times lie within the fullest span.
func fullest(times []float64, span float64) (most int) {
	first := 0
	for i := range times {
		for times[i]-times[first] > span {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// returning are clients of one protocol that come back to a sidecar.
type returning struct {
	name string
	// follow follows a sidecar until it ends, calling here once it does, and returns when its stream
	// began again and what it was answered then.
	follow func(ctx context.Context, l *listened, user string, here func()) (back time.Time, version int, err error)
	spread bound // of the clients in the fullest 100 ms
}

// overOFREP comes back when its stream told it to, and asks when it is told that it is time to, as web
// providers do.
func overOFREP(_ context.Context, l *listened, user string, here func()) (back time.Time, version int, err error) {
	uri, _, err := l.ask(user)
	if err != nil {
		return back, 0, err
	}
	c, r, retry, err := l.open(uri)
	if err != nil {
		return back, 0, err
	}
	here()
	for event(r) == nil { // until the stream ends
	}
	c.Close()
	for range 20 {
		time.Sleep(retry)
		if c, r, _, err = l.open(uri); err == nil {
			break
		}
	}
	if err != nil {
		return back, 0, err
	}
	defer c.Close()
	back = time.Now()
	if err := errors.Join(c.SetDeadline(back.Add(10*time.Second)), event(r)); err != nil {
		return back, 0, fmt.Errorf("who came back is not told that it missed something: %w", err)
	}
	_, version, err = l.ask(user)
	return back, version, err
}

// overGRPC comes back with the backoff of its own connection, and asks once the provider is ready.
func overGRPC(ctx context.Context, l *listened, _ string, here func()) (back time.Time, version int, err error) {
	conn, err := grpc.NewClient(l.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		return back, 0, err
	}
	defer conn.Close()
	client := v2.NewServiceClient(conn)
	stream, err := openEvents(ctx, client)
	if err != nil {
		return back, 0, err
	}
	here()
	for err == nil { // until the stream ends
		_, err = stream.Recv()
	}
	conn.WaitForStateChange(ctx, connectivity.Ready) // until the sidecar takes no more on it
	for err != nil && ctx.Err() == nil {
		_, err = openEvents(ctx, client)
	}
	if err != nil {
		return back, 0, err
	}
	back = time.Now()
	answer, err := client.ResolveInt(ctx, &v2.ResolveIntRequest{FlagKey: "theme"})
	return back, int(answer.GetValue()), err
}

// openEvents opens a stream of events and waits until the provider is ready.
func openEvents(ctx context.Context, client v2.ServiceClient) (grpc.ServerStreamingClient[v2.EventStreamResponse], error) {
	stream, err := client.EventStream(ctx, &v2.EventStreamRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return nil, err
	}
	first, err := stream.Recv()
	if err == nil && first.Type != "provider_ready" {
		err = fmt.Errorf("a stream begins with %s", first.Type)
	}
	return stream, err
}

// comeBack measures how n clients come back when their sidecar is started again, from when it is
// told to end, and whether they are answered with what has changed while it was away.
func (b *bencher) comeBack(ctx context.Context, n int, clients returning) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	l, err := b.listened(ctx, "back-"+clients.name, false)
	if err != nil {
		return err
	}
	defer func() { l.stop() }()
	times, answers, errs := make([]time.Time, n), make([]int, n), make([]error, n)
	var here, all sync.WaitGroup
	here.Add(n)
	for i := range n {
		all.Go(func() {
			once := sync.OnceFunc(here.Done)
			defer once()
			times[i], answers[i], errs[i] = clients.follow(ctx, l, fmt.Sprint("user-", i), once)
		})
	}
	here.Wait()
	began := time.Now()
	l.stop()
	ended := time.Since(began)
	if err := errors.Join(l.write(2), l.start(ctx, b)); err != nil {
		return err
	}
	started := time.Since(began)
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	back, right := make([]float64, n), 0
	for i := range n {
		back[i] = float64(times[i].Sub(began).Microseconds()) / 1000
		if answers[i] == 2 {
			right++
		}
	}
	slices.Sort(back)
	b.out.row(fmt.Sprintf("%d clients after a restart, %s", n, clients.name), cell{"ms until it has ended", float64(ended.Milliseconds()), bound{}},
		cell{"ms until it serves again", float64(started.Milliseconds()), bound{}}, cell{"ms until the first is back", back[0], bound{}},
		cell{"ms until all are back", back[n-1], atMost(5000)}, cell{"clients in the fullest 100 ms", float64(fullest(back, 100)), clients.spread},
		cell{"clients are right", float64(right), atLeast(float64(n))})
	return nil
}

// certificate writes a certificate that signs itself, and its key.
func (b *bencher) certificate() (certFile, keyFile string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return "", "", err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", err
	}
	certFile, keyFile = filepath.Join(b.dir, "cert.pem"), filepath.Join(b.dir, "key.pem")
	var cert, private bytes.Buffer
	err = errors.Join(pem.Encode(&cert, &pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.Encode(&private, &pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
		os.WriteFile(certFile, cert.Bytes(), 0o644), os.WriteFile(keyFile, private.Bytes(), 0o600))
	return certFile, keyFile, err
}
