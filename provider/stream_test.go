package provider_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/open-feature/go-sdk/openfeature"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/internal/porttest"
	syncv1 "github.com/tiergate/tiergate/internal/wire/flagd/sync/v1"
	"github.com/tiergate/tiergate/provider"
	"github.com/tiergate/tiergate/provider/internal/sdktest"
	"github.com/tiergate/tiergate/server/flagdapi/flagsync"
	"github.com/tiergate/tiergate/server/rpc"
)

// A flagServer streams what its test sends, as flagd does; its code is generated.
type flagServer struct {
	syncv1.UnimplementedFlagSyncServiceServer
	documents chan string // "" ends the stream
	age       string      // of its data, in milliseconds
	looks     atomic.Int64
	mu        sync.Mutex
	asked     *syncv1.SyncFlagsRequest
	header    metadata.MD
}

func (s *flagServer) SyncFlags(req *syncv1.SyncFlagsRequest, stream grpc.ServerStreamingServer[syncv1.SyncFlagsResponse]) error {
	header, _ := metadata.FromIncomingContext(stream.Context())
	s.mu.Lock()
	s.asked, s.header = req, header
	s.mu.Unlock()
	for {
		select {
		case d := <-s.documents:
			if d == "" {
				return status.Error(codes.Unavailable, "it ends")
			}
			about, _ := structpb.NewStruct(map[string]any{"region": "eu"})
			if err := stream.Send(&syncv1.SyncFlagsResponse{FlagConfiguration: d, SyncContext: about}); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (s *flagServer) GetMetadata(ctx context.Context, _ *syncv1.GetMetadataRequest) (*syncv1.GetMetadataResponse, error) {
	s.looks.Add(1)
	if s.age == "" {
		return nil, status.Error(codes.Unimplemented, "no such question")
	}
	return &syncv1.GetMetadataResponse{}, grpc.SetHeader(ctx, metadata.Pairs("tiergate-age-ms", s.age))
}

// serveFlags serves s at addr until the function that it returns is called, or the test ends.
func serveFlags(t *testing.T, s *flagServer, addr string) (at string, down func()) {
	t.Helper()
	network, address := "tcp", addr
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, address = "unix", path
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	syncv1.RegisterFlagSyncServiceServer(server, s)
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	down = sync.OnceFunc(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(down)
	if network == "unix" {
		return addr, down
	}
	return ln.Addr().String(), down
}

// document is a flag file with one flag, on for some tiers.
func document(flag string, tiers ...string) string {
	return `{"flags": {"` + flag + `": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off",
		"targeting": {"if": [{"in": [{"var": "tier"}, ["` + strings.Join(tiers, `","`) + `"]]}, "on", "off"]}}},
		"metadata": {"version": "41", "flagSetId": "shop"}}`
}

// versioned is a flag file with one flag and a version.
func versioned(version string) string {
	return strings.Replace(document("premium", "pro"), `"41"`, `"`+version+`"`, 1)
}

func tierOf(t *testing.T, c *openfeature.Client, flag, tier string) openfeature.BooleanEvaluationDetails {
	t.Helper()
	d, _ := c.BooleanValueDetails(t.Context(), flag, false, openfeature.NewEvaluationContext("alice", map[string]any{"tier": tier}))
	return d
}

// Flags that a server streams are decided in process, by the tier of the context; each document
// is a change, and what cannot be read leaves the one before in force.
func TestSyncStream_follows_a_server(t *testing.T) {
	s := &flagServer{documents: make(chan string)}
	addr, _ := serveFlags(t, s, "127.0.0.1:0")
	go func() { s.documents <- document("premium", "pro", "enterprise") }()
	c := client(t, provider.InProcess(provider.SyncStream(addr, provider.StreamOptions{Set: "shop", Key: "tg_dev_1"}), provider.Options{}))
	events := watch(c)
	s.mu.Lock()
	if s.asked.ProviderId != "tiergate-go" || !slices.Equal(s.header["flagd-selector"], []string{"flagSetId=shop"}) ||
		!slices.Equal(s.header["authorization"], []string{"Bearer tg_dev_1"}) {
		t.Errorf("the server was asked %v with %v", s.asked, s.header)
	}
	s.mu.Unlock()
	for tier, want := range map[string]bool{"free": false, "pro": true, "enterprise": true, "": false} {
		if d := tierOf(t, c, "premium", tier); d.Value != want || d.ErrorCode != "" || d.FlagMetadata["version"] != "41" || d.FlagMetadata["flagSetId"] != "shop" {
			t.Errorf("premium for %q: %+v", tier, d)
		}
	}
	s.documents <- document("premium", "pro", "enterprise") // the same again
	s.documents <- `{"flags": `
	s.documents <- document("gold", "gold")
	if e := next(t, events, openfeature.ProviderConfigChange); !slices.Equal(e.FlagChanges, []string{"gold", "premium"}) {
		t.Errorf("the change is %+v", e)
	}
	if d := tierOf(t, c, "gold", "gold"); !d.Value {
		t.Errorf("gold: %+v", d)
	}
	if d := tierOf(t, c, "premium", "pro"); d.ErrorCode != openfeature.FlagNotFoundCode {
		t.Errorf("a flag that has gone: %+v", d)
	}
	s.documents <- `{"flags": {"bad": {"state": "ENABLED", "variants": {}}, "gold": {"state": "DISABLED", "variants": {"on": true}, "defaultVariant": "on"}}}`
	next(t, events, openfeature.ProviderConfigChange)
	if d := tierOf(t, c, "bad", ""); d.ErrorCode != openfeature.ParseErrorCode {
		t.Errorf("a bad flag: %+v", d)
	}
	if d := tierOf(t, c, "gold", "gold"); d.Reason != openfeature.DisabledReason || d.ErrorCode != "" {
		t.Errorf("a disabled flag: %+v", d)
	}
}

// A server that ends its stream, or goes away, is asked again; the flags stay in force meanwhile.
func TestSyncStream_comes_back_to_a_server(t *testing.T) {
	for _, addr := range []string{porttest.Addr(t), "unix:" + filepath.Join(t.TempDir(), "s")} {
		s := &flagServer{documents: make(chan string)}
		at, down := serveFlags(t, s, addr)
		go func() { s.documents <- document("a", "pro") }()
		c := client(t, provider.InProcess(provider.SyncStream(at, provider.StreamOptions{}), provider.Options{StaleAfter: 3 * time.Second}))
		events := watch(c)
		s.documents <- ""
		s.documents <- document("b", "pro")
		if e := next(t, events, openfeature.ProviderConfigChange); !slices.Equal(e.FlagChanges, []string{"a", "b"}) {
			t.Errorf("after the stream had ended: %+v", e)
		}
		is := func(state openfeature.State, stale any) func() bool {
			return func() bool {
				d := tierOf(t, c, "b", "pro")
				return c.State() == state && d.Value && d.FlagMetadata["stale"] == stale
			}
		}
		await(t, "READY beside the server", is(openfeature.ReadyState, nil))
		down()
		await(t, "STALE while the server is away", is(openfeature.StaleState, true))
		serveFlags(t, s, at)
		s.documents <- document("b", "pro")
		await(t, "READY once the server is back", is(openfeature.ReadyState, nil))
	}
}

// However soon a provider is STALE, a server that says nothing new is heard often enough not to be taken
// for one that is away.
func TestSyncStream_asks_as_often_as_it_would_be_stale(t *testing.T) {
	s := &flagServer{documents: make(chan string)}
	addr, _ := serveFlags(t, s, "127.0.0.1:0")
	go func() { s.documents <- document("a", "pro") }()
	client(t, provider.InProcess(provider.SyncStream(addr, provider.StreamOptions{}), provider.Options{StaleAfter: 600 * time.Millisecond}))
	await(t, "the server is asked ten times", func() bool { return s.looks.Load() >= 10 })
}

// A document that says nothing new but its version changes no flag, and the version that answers tell.
func TestSyncStream_tells_the_version_of_the_newest_document(t *testing.T) {
	s := &flagServer{documents: make(chan string)}
	addr, _ := serveFlags(t, s, "127.0.0.1:0")
	go func() { s.documents <- versioned("1") }()
	c := client(t, provider.InProcess(provider.SyncStream(addr, provider.StreamOptions{}), provider.Options{}))
	for _, version := range []string{"1", "2", "3"} {
		if version != "1" {
			s.documents <- versioned(version)
		}
		await(t, "version "+version+" is told", func() bool {
			return tierOf(t, c, "premium", "pro").FlagMetadata["version"] == version
		})
	}
}

// However fast documents follow each other, an answer and the version that it tells are of the same one.
func TestSyncStream_answers_from_one_document(t *testing.T) {
	s := &flagServer{documents: make(chan string)}
	addr, _ := serveFlags(t, s, "127.0.0.1:0")
	go func() { s.documents <- versioned("0") }() // in which it is on for "pro"; in each other one it is not
	c := client(t, provider.InProcess(provider.SyncStream(addr, provider.StreamOptions{}), provider.Options{}))
	var over atomic.Bool
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for !over.Load() {
				d := tierOf(t, c, "premium", "pro")
				if n, err := strconv.Atoi(fmt.Sprint(d.FlagMetadata["version"])); err != nil || d.Value != (n%2 == 0) {
					t.Errorf("%v of version %v: %v", d.Value, d.FlagMetadata["version"], err)
					return
				}
			}
		})
	}
	for n := 1; n <= 300 && !t.Failed(); n++ {
		s.documents <- strings.Replace(versioned(strconv.Itoa(n)), `"pro"`, `"`+[]string{"pro", "free"}[n%2]+`"`, 1)
	}
	over.Store(true)
	readers.Wait()
}

// When the newest document cannot be read, STALE says so, and the one before stays in force; the next
// that can be read ends it.
func TestSyncStream_says_that_a_document_cannot_be_read(t *testing.T) {
	s := &flagServer{documents: make(chan string)}
	addr, _ := serveFlags(t, s, "127.0.0.1:0")
	go func() { s.documents <- document("a", "pro") }()
	c := client(t, provider.InProcess(provider.SyncStream(addr, provider.StreamOptions{}), provider.Options{StaleAfter: time.Second}))
	events := watch(c)
	s.documents <- `{"flags": `
	if e := next(t, events, openfeature.ProviderStale); !strings.Contains(e.Message, "cannot be read") {
		t.Errorf("it is stale because %q", e.Message)
	}
	if d := tierOf(t, c, "a", "pro"); !d.Value {
		t.Errorf("meanwhile: %+v", d)
	}
	s.documents <- document("a", "pro")
	next(t, events, openfeature.ProviderReady)
}

// A sidecar whose own data are old says so, and then what is decided from its stream is old as well,
// however well it answers.
func TestSyncStream_is_as_old_as_its_server(t *testing.T) {
	s := &flagServer{documents: make(chan string), age: "60000"}
	addr, _ := serveFlags(t, s, "127.0.0.1:0")
	go func() { s.documents <- document("a", "pro") }()
	c := client(t, provider.InProcess(provider.SyncStream(addr, provider.StreamOptions{}), provider.Options{StaleAfter: 50 * time.Second}))
	await(t, "its answers say that they are old", func() bool {
		d := tierOf(t, c, "a", "pro")
		return d.Value && d.FlagMetadata["stale"] == true
	})
	await(t, "the provider is STALE", func() bool { return c.State() == openfeature.StaleState })
}

// An API key does not travel in plain text to another machine, unless its owner says that it may.
func TestSyncStream_keeps_its_key_to_itself(t *testing.T) {
	for _, tc := range []struct {
		addr    string
		o       provider.StreamOptions
		refused bool
	}{
		{"192.0.2.1:8015", provider.StreamOptions{Key: "tg_dev_1"}, true},
		{"sidecar:8015", provider.StreamOptions{Key: "tg_dev_1"}, true},
		{"192.0.2.1:8015", provider.StreamOptions{Key: "tg_dev_1", Insecure: true}, false},
		{"192.0.2.1:8015", provider.StreamOptions{Key: "tg_dev_1", TLS: &tls.Config{}}, false},
		{"192.0.2.1:8015", provider.StreamOptions{}, false},
		{"localhost:1", provider.StreamOptions{Key: "tg_dev_1"}, false},
		{"[::1]:1", provider.StreamOptions{Key: "tg_dev_1"}, false},
		{"unix:/nowhere", provider.StreamOptions{Key: "tg_dev_1"}, false},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		err := provider.SyncStream(tc.addr, tc.o).Follow(ctx, tiergate.Resume{}, nil)
		cancel()
		if err == nil || strings.Contains(err.Error(), "plain text") != tc.refused {
			t.Errorf("%s with %+v: %v", tc.addr, tc.o, err)
		}
	}
}

// A flag that came in one of many documents keeps that document in memory no longer than it is the newest.
func TestSyncStream_keeps_no_old_documents(t *testing.T) {
	const documents, size = 40, 1 << 20
	var flags [documents]string
	for i := range flags {
		flags[i] = fmt.Sprintf(`"flag-%d": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off"}`, i)
	}
	ballast := strings.Repeat("x", size)
	of := func(on int) string {
		flags[on] = strings.Replace(flags[on], `"defaultVariant": "off"`, `"defaultVariant": "on"`, 1)
		return `{"ballast": "` + ballast + `", "flags": {` + strings.Join(flags[:], ",") + `}}`
	}
	s := &flagServer{documents: make(chan string)}
	addr, _ := serveFlags(t, s, "127.0.0.1:0")
	go func() { s.documents <- of(0) }()
	c := client(t, provider.InProcess(provider.SyncStream(addr, provider.StreamOptions{}), provider.Options{}))
	before := heap()
	for i := 1; i < documents; i++ {
		s.documents <- of(i)
		await(t, "the document is in force", func() bool { return boolOf(t, c, fmt.Sprintf("flag-%d", i)).Value })
	}
	if grown := int64(heap()) - int64(before); grown > documents*size/4 {
		t.Errorf("after %d documents of a megabyte the heap has grown by %d bytes", documents, grown)
	}
}

// heap is how many bytes are in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what has a finalizer goes the second time
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A sidecar's own stream leads to the decisions that were worked out by hand, once the context
// names the tier: values, variants and reasons. What only the sidecar knows, exceptions of teams, is less.
func TestSyncStream_of_a_sidecar_decides_as_worked_out_by_hand(t *testing.T) {
	e := evaluator.New(evaluator.Options{})
	apply := func(rev int64, whole bool, changes ...tiergate.Change) {
		t.Helper()
		err := e.Apply(t.Context(), tiergate.Revision{
			Resume: tiergate.Resume{Epoch: "0123456789abcdef", Rev: rev}, Whole: whole, Changes: tiergate.ChangesOf(changes...),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	apply(1, true, conformance.Demo()...)
	c := client(t, provider.InProcess(provider.SyncStream(syncServer(t, e), provider.StreamOptions{}), provider.Options{}))
	events := watch(c)
	exceptions := 0
	conformance.Run(t, func(t *testing.T, tc conformance.Case) conformance.Answer {
		asked := tc
		if tc.Want.Tier != "" {
			asked.Context = maps.Clone(tc.Context)
			asked.Context["tier"] = tc.Want.Tier
		}
		a := sdktest.Ask(t, c, asked)
		if a.Tier != "" || a.Denied || a.Upgrade != "" {
			t.Errorf("a document tells of tiers: %+v", a)
		}
		a.Tier, a.Denied, a.Upgrade = tc.Want.Tier, tc.Want.Denied, tc.Want.Upgrade
		if tc.Flag == "custom-reports" && tc.Want.Variant == "on" && tc.Want.Tier == "free" {
			if exceptions++; a.Variant != "off" {
				t.Errorf("an exception of a team is known: %+v", a)
			}
			return tc.Want
		}
		return a
	})
	if exceptions != 1 {
		t.Errorf("%d cases are exceptions of a team, want 1", exceptions)
	}
	apply(2, false, boolean("new-dashboard", false))
	if e := next(t, events, openfeature.ProviderConfigChange); !slices.Equal(e.FlagChanges, []string{"new-dashboard"}) {
		t.Errorf("the change is %+v", e)
	}
	if d := boolOf(t, c, "new-dashboard"); d.Value {
		t.Errorf("after it: %+v", d)
	}
}

// syncServer serves the flags of e until the test ends.
func syncServer(t *testing.T, e *evaluator.Engine) string {
	t.Helper()
	ln, err := listen.Listen("127.0.0.1:0", listen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	s := rpc.New(rpc.Config{}, flagsync.New(flagsync.Config{Exporter: e}))
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln, time.Second) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}
