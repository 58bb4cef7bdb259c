package provider

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/flagd"
)

// DefaultSyncAddr is where a sidecar on this machine streams its flags.
const DefaultSyncAddr = "127.0.0.1:8015"

// probeEvery is how often a server that sends nothing is asked whether it is there, unless its
// provider is STALE sooner, but not more often than probeLeast; probeTime is how long it has to
// answer.
const (
	probeEvery = 5 * time.Second
	probeLeast = 100 * time.Millisecond
	probeTime  = 5 * time.Second
)

// framing is more than a message has around its document.
const framing = 1 << 10

// StreamOptions say how a SyncStream asks. The zero value asks without a key in plain text.
type StreamOptions struct {
	Set        string       // the flag set; "" is the server's default
	Key        string       // an API key; "" sends none
	TLS        *tls.Config  // nil is plain text
	Insecure   bool         // lets Key go in plain text to another machine
	ProviderID string       // names the program to the server; "" is "tiergate-go"
	MaxBytes   int          // of a document; 0 is 64 MiB
	Log        *slog.Logger // nil is the provider's, and without one discards
}

// A Stream is a Source that follows the flags of one set as a server of flagd.sync.v1 streams
// them: a sidecar, or flagd. The flags are all that it holds: tiers and shares are in their
// rules, which read "tier" from the evaluation context as a client in any language does. Users,
// teams, limits and policies stay with the sidecar.
//
// Each Stream is a history of its own, as a folder of flag files is. It is followed by one
// Syncer at a time.
type Stream struct {
	addr string
	set  string
	opts StreamOptions

	editions atomic.Pointer[editions] // nil before the first document
	unread   func(error)              // told why a document could not be read, nil for nobody
	every    time.Duration            // how often the server is asked whether it is there

	following sync.Mutex // held by Follow; guards the fields below
	epoch     string
	rev       int64
	sent      map[tiergate.Kind]map[string]any // what was handed over as revision rev; nil is nothing
	refused   bool                             // it did not come into force
	force     edition                          // what did last
}

// An edition is a state and the version of the document that it is of, nil for one that has none.
type edition struct {
	of      tiergate.Resume
	version *string
}

// editions are the state in force and the one that may be so at any moment. They do not change.
type editions struct{ force, next edition }

// version returns the version of the document that a state is of, nil for one that has none, and
// reports whether it knows.
func (e *editions) version(of tiergate.Resume) (version *string, known bool) {
	switch {
	case e == nil:
		return nil, false
	case of == e.next.of:
		return e.next.version, true
	case of == e.force.of:
		return e.force.version, true
	}
	return nil, false
}

// SyncStream makes a source of a server at "host:port" or "unix:/path"; "" is DefaultSyncAddr.
// Nothing is asked yet.
func SyncStream(addr string, o StreamOptions) *Stream {
	o.MaxBytes = cmp.Or(o.MaxBytes, flagd.MaxBytes)
	o.ProviderID = cmp.Or(o.ProviderID, "tiergate-go")
	return &Stream{addr: cmp.Or(addr, DefaultSyncAddr), set: cmp.Or(o.Set, tiergate.DefaultSet), opts: o, every: probeEvery, epoch: newEpoch()}
}

// probesFor is how often to ask a server, so that a provider that is STALE after so long is not so
// because one answer is late.
func probesFor(staleAfter time.Duration) time.Duration {
	if staleAfter < 0 {
		return probeEvery
	}
	return max(min(probeEvery, staleAfter/3), probeLeast)
}

func (s *Stream) log() *slog.Logger {
	if s.opts.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.opts.Log
}

// newEpoch makes a random UUID.
func newEpoch() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Follow hands over the server's flags and then each change of them, until ctx ends or the
// server is lost. A document that cannot be read is logged, and the one before stays in force.
func (s *Stream) Follow(ctx context.Context, from tiergate.Resume, f tiergate.Follower) error {
	if !s.following.TryLock() {
		return errors.New("the stream is followed already")
	}
	defer s.following.Unlock()
	if from != (tiergate.Resume{Epoch: s.epoch, Rev: s.rev}) {
		s.sent = nil
	}
	conn, err := s.dial()
	if err != nil {
		return fmt.Errorf("follow the flags of %s: %w", s.addr, err)
	}
	defer conn.Close()
	if err := s.followOn(ctx, conn, f); err != nil && ctx.Err() == nil {
		return fmt.Errorf("follow the flags of %s: %w", s.addr, err)
	}
	return ctx.Err()
}

func (s *Stream) followOn(ctx context.Context, conn *grpc.ClientConn, f tiergate.Follower) error {
	ctx, cancel := context.WithCancel(ctx)
	var helping sync.WaitGroup
	defer helping.Wait()
	defer cancel()
	seen, err := s.look(ctx, conn)
	if err != nil {
		return err
	}
	documents, sightings, lost := make(chan []byte), make(chan sighting), make(chan error, 2)
	helping.Go(func() { lost <- s.receive(ctx, conn, documents) })
	helping.Go(func() { lost <- s.probe(ctx, conn, sightings) })
	current := false // the newest document is in force, or was refused by who applies it
	for {
		select {
		case d := <-documents:
			seen.at = time.Now()
			current = s.take(ctx, d, f)
		case seen = <-sightings:
		case err := <-lost:
			return err
		}
		if current {
			f.Confirm(seen.at.Add(-seen.age))
		}
	}
}

// A sighting is a moment at which the server was there, and how old its own data was then.
type sighting struct {
	at  time.Time
	age time.Duration
}

// unusable is why the stream can never be followed as it was made, nil if it can.
func (s *Stream) unusable() error {
	if s.opts.Key != "" && s.opts.TLS == nil && !s.opts.Insecure && !isHere(s.addr) {
		return errors.New("an API key is not sent in plain text to another machine: set TLS, or Insecure")
	}
	if s.set != "" {
		return tiergate.ValidName("Set", s.set)
	}
	return nil
}

func (s *Stream) dial() (*grpc.ClientConn, error) {
	if err := s.unusable(); err != nil {
		return nil, err
	}
	secure := insecure.NewCredentials()
	if s.opts.TLS != nil {
		secure = credentials.NewTLS(s.opts.TLS)
	}
	target := s.addr
	if !strings.HasPrefix(target, "unix:") {
		target = "passthrough:///" + target // looked up when it is dialled, as for any connection
	}
	return grpc.NewClient(target, grpc.WithTransportCredentials(secure), grpc.WithNoProxy(), // the sidecar is next door
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{}), grpc.MaxCallRecvMsgSize(s.opts.MaxBytes+framing)))
}

// isHere reports whether an address is one of this machine's own.
func isHere(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return strings.HasPrefix(addr, "unix:") || err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
}

// outgoing is ctx with what tells who asks for what.
func (s *Stream) outgoing(ctx context.Context) context.Context {
	if s.opts.Set != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "flagd-selector", "flagSetId="+s.opts.Set)
	}
	if s.opts.Key != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+s.opts.Key)
	}
	return ctx
}

// receive hands on what the server sends, until that ends.
func (s *Stream) receive(ctx context.Context, conn *grpc.ClientConn, to chan<- []byte) error {
	stream, err := conn.NewStream(s.outgoing(ctx), &grpc.StreamDesc{ServerStreams: true}, methodSync)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&syncRequest{providerID: s.opts.ProviderID}); err != nil && !errors.Is(err, io.EOF) {
		return err // else why it ended is what receiving says
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		var m syncResponse
		switch err := stream.RecvMsg(&m); {
		case errors.Is(err, io.EOF):
			return errors.New("the server has ended the stream")
		case err != nil:
			return err
		}
		select {
		case to <- m.document:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// probe looks again and again, for a stream says nothing while nothing changes.
func (s *Stream) probe(ctx context.Context, conn *grpc.ClientConn, to chan<- sighting) error {
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		seen, err := s.look(ctx, conn)
		if err != nil {
			return err
		}
		select {
		case to <- seen:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// look asks whether the server is there. An answer that it knows no such question is an answer.
func (s *Stream) look(ctx context.Context, conn *grpc.ClientConn) (sighting, error) {
	ctx, cancel := context.WithTimeout(s.outgoing(ctx), probeTime)
	defer cancel()
	at := time.Now()
	var header metadata.MD
	err := conn.Invoke(ctx, methodMetadata, &nothing{}, &nothing{}, grpc.Header(&header))
	if code := status.Code(err); code != codes.OK && code != codes.Unimplemented {
		return sighting{}, fmt.Errorf("the server does not answer: %w", err)
	}
	return sighting{at, ageOf(header)}, nil
}

// ageOf is how old a sidecar says that what it serves is; other servers do not say.
func ageOf(header metadata.MD) time.Duration {
	for _, text := range header.Get("tiergate-age-ms") {
		if ms, err := strconv.ParseUint(text, 10, 40); err == nil {
			return time.Duration(ms) * time.Millisecond
		}
	}
	return 0
}

// take hands over what a document changes, and reports false when it cannot be read. A refusal
// is the follower's to report.
func (s *Stream) take(ctx context.Context, document []byte, f tiergate.Follower) bool {
	file, err := flagd.Parse(document)
	if err != nil {
		s.log().Error("the flags cannot be read; those before stay in force", "server", s.addr, "error", err)
		if s.unread != nil {
			s.unread(fmt.Errorf("the flags of %s cannot be read: %w", s.addr, err))
		}
		return false
	}
	next, version := s.contentOf(&file)
	whole := s.sent == nil
	if changes := changesBetween(s.sent, next); whole || len(changes) > 0 {
		s.rev++
		s.sent = next
		to := edition{tiergate.Resume{Epoch: s.epoch, Rev: s.rev}, version}
		s.editions.Store(&editions{s.force, to}) // before anybody is answered from it
		err = f.Apply(ctx, tiergate.Revision{Resume: to.of, Whole: whole, Changes: tiergate.ChangesOf(changes...), At: time.Now()})
		if s.refused = err != nil; !s.refused {
			s.force = to
		}
	} else if !s.refused && !same(s.force.version, version) {
		s.force.version = version
		s.editions.Store(&editions{force: s.force})
	}
	return err == nil || ctx.Err() == nil
}

func same(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

// contentOf is what a document says, all of it in the one set that was asked for, and its version if
// it has one. A flag that cannot be used is there and answers with an error.
func (s *Stream) contentOf(file *flagd.File) (content map[tiergate.Kind]map[string]any, version *string) {
	flags := map[string]any{}
	put := func(flag *tiergate.Flag) {
		flag.Set, flag.ID = s.set, s.set+"/"+flag.Name
		flags[flag.ID] = flag
	}
	for _, p := range file.Problems {
		s.log().Warn("problem in the flags", "server", s.addr, "problem", p.String())
		if p.Flag != "" && len(p.Flag) <= tiergate.MaxNameLength {
			put(&tiergate.Flag{Name: p.Flag, Enabled: true, Fault: p.Message})
		}
	}
	for i := range file.Flags {
		put(&file.Flags[i])
	}
	set := file.Sets[0] // all of them have the document's shared rules and metadata
	set.Name = s.set
	if text, ok := set.Metadata["version"].(string); ok {
		version = &text
		set.Metadata = maps.Clone(set.Metadata)
		delete(set.Metadata, "version") // which would make each change one of all flags
	}
	return map[tiergate.Kind]map[string]any{
		tiergate.KindFlagSet: {set.Name: &set},
		tiergate.KindFlag:    flags,
	}, version
}

// changesBetween returns what makes next of before, sets first, in the order of their keys. What is
// the same in both next has from before afterwards, and what is not is its own: a document that
// changes often is not kept in as many versions as it has flags.
func changesBetween(before, next map[tiergate.Kind]map[string]any) []tiergate.Change {
	var changes []tiergate.Change
	for _, kind := range [...]tiergate.Kind{tiergate.KindFlagSet, tiergate.KindFlag} {
		from := len(changes)
		for key, thing := range next[kind] {
			old, ok := before[kind][key]
			if ok && reflect.DeepEqual(old, thing) {
				next[kind][key] = old
				continue
			}
			if before != nil {
				thing = flagd.Own(thing)
				next[kind][key] = thing
			}
			changes = append(changes, tiergate.Change{Kind: kind, Key: key, Put: thing})
		}
		for key := range before[kind] {
			if _, ok := next[kind][key]; !ok {
				changes = append(changes, tiergate.Change{Kind: kind, Key: key})
			}
		}
		slices.SortFunc(changes[from:], func(a, b tiergate.Change) int { return cmp.Compare(a.Key, b.Key) })
	}
	return changes
}
