package flagsync_test

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tiergate/tiergate"
	syncv1 "github.com/tiergate/tiergate/internal/wire/flagd/sync/v1"
	"github.com/tiergate/tiergate/server/flagdapi/flagsync"
)

// A stream begins with the whole document and has the next one when it is different, and
// only then.
func TestSyncFlags_sends_each_document_once(t *testing.T) {
	f := newFake()
	f.put("default", "one")
	addr, _ := serve(t, flagsync.Config{Exporter: f})
	stream := follow(t, client(t, addr), "")
	if got := next(t, stream); got != "one" {
		t.Errorf("the first document is %q", got)
	}
	<-f.asked
	f.put("default", "one")
	<-f.asked // and it was the same
	f.put("other", "else")
	<-f.asked
	f.put("default", "two")
	if got := next(t, stream); got != "two" {
		t.Errorf("after nothing, something of another set, and a change: %q", got)
	}
}

// A stream that begins before there is anything gets it as soon as there is.
func TestSyncFlags_waits_for_the_first_state(t *testing.T) {
	f := newFake()
	f.err = tiergate.Errorf(tiergate.Unavailable, "not yet")
	addr, _ := serve(t, flagsync.Config{Exporter: f})
	c := client(t, addr)
	if _, err := c.FetchAllFlags(sending(t), &syncv1.FetchAllFlagsRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("FetchAllFlags before there is anything: %v", err)
	}
	stream := follow(t, c, "")
	<-f.asked // by FetchAllFlags
	<-f.asked
	f.change(func() { f.err = nil })
	if got := next(t, stream); got != "none of default" {
		t.Errorf("the first document is %q", got)
	}
}

// A selector names the set: the metadata's before the request's; what is none is refused.
func TestSelectors(t *testing.T) {
	f := newFake()
	f.put("default", "the default set")
	f.put("web", "the web set")
	addr, _ := serve(t, flagsync.Config{Exporter: f})
	c := client(t, addr)
	for story, tc := range map[string]struct {
		md, body string
		want     string
		code     codes.Code
	}{
		"nothing is the default set":          {"", "", "the default set", codes.OK},
		"an empty name is the default set":    {"flagSetId=", "", "the default set", codes.OK},
		"by metadata":                         {"flagSetId=web", "", "the web set", codes.OK},
		"by the request":                      {"", "flagSetId=web", "the web set", codes.OK},
		"metadata goes before the request":    {"flagSetId=web", "flagSetId=default", "the web set", codes.OK},
		"metadata saves a bad request":        {"flagSetId=web", "nonsense=1", "the web set", codes.OK},
		"a set that is not there has nothing": {"flagSetId=nope", "", "none of nope", codes.OK},
		"another key":                         {"source=web", "", "", codes.InvalidArgument},
		"a bare word, a source to flagd":      {"web", "", "", codes.InvalidArgument},
		"two keys":                            {"flagSetId=web=x", "", "", codes.InvalidArgument},
		"another key in the request":          {"", "source=web", "", codes.InvalidArgument},
	} {
		t.Run(story, func(t *testing.T) {
			var md []string
			if tc.md != "" {
				md = []string{"flagd-selector", tc.md}
			}
			answer, err := c.FetchAllFlags(sending(t, md...), &syncv1.FetchAllFlagsRequest{Selector: tc.body})
			if answer.GetFlagConfiguration() != tc.want || status.Code(err) != tc.code {
				t.Errorf("%s: FetchAllFlags says %q, %v", story, answer.GetFlagConfiguration(), err)
			}
			first, err := follow(t, c, tc.body, md...).Recv()
			if first.GetFlagConfiguration() != tc.want || status.Code(err) != tc.code {
				t.Errorf("%s: SyncFlags says %q, %v", story, first.GetFlagConfiguration(), err)
			}
		})
	}
}

// How old the definitions are is said in a header, and not while there are none.
func TestGetMetadata_tells_the_age(t *testing.T) {
	for name, tc := range map[string]struct {
		asOf         func() time.Time
		least, below int64 // milliseconds; -1: nothing is said
	}{
		"nobody knows":      {nil, -1, -1},
		"nothing is loaded": {func() time.Time { return time.Time{} }, -1, -1},
		"an hour":           {func() time.Time { return time.Now().Add(-time.Hour) }, 3_600_000, 3_700_000},
		"a moment to come":  {func() time.Time { return time.Now().Add(time.Hour) }, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			addr, _ := serve(t, flagsync.Config{Exporter: newFake(), AsOf: tc.asOf})
			var header metadata.MD
			if _, err := client(t, addr).GetMetadata(sending(t), &syncv1.GetMetadataRequest{}, grpc.Header(&header)); err != nil {
				t.Fatal(err)
			}
			said := int64(-1)
			if texts := header.Get("tiergate-age-ms"); len(texts) > 0 {
				said, _ = strconv.ParseInt(texts[0], 10, 64)
			}
			if said < tc.least || said >= tc.below && tc.least >= 0 || tc.least < 0 && said >= 0 {
				t.Errorf("%s: the age is %d ms (%v)", name, said, header)
			}
		})
	}
}

// Nothing is put over the contexts of a client's callers.
func TestGetMetadata_is_empty(t *testing.T) {
	f := newFake()
	addr, _ := serve(t, flagsync.Config{Exporter: f})
	c := client(t, addr)
	answer, err := c.GetMetadata(sending(t), &syncv1.GetMetadataRequest{})
	if err != nil || answer.Metadata == nil || len(answer.Metadata.Fields) > 0 {
		t.Errorf("GetMetadata: %v, %v", answer, err)
	}
	m, err := follow(t, c, "").Recv()
	if err != nil || m.SyncContext != nil {
		t.Errorf("SyncFlags: %v, %v", m, err)
	}
}

// A key opens its sets only, and the only one of them without being named; a stream ends with it.
func TestKeys(t *testing.T) {
	f := newFake()
	for _, set := range []string{"default", "web", "app"} {
		f.put(set, "the "+set+" set")
	}
	var withdrawn atomic.Bool
	addr, _ := serve(t, flagsync.Config{Exporter: f, Credential: func(text string) (*tiergate.Key, error) {
		sets := map[string][]string{"any": nil, "web": {"web"}, "two": {"web", "app"}}
		if withdrawn.Load() {
			return nil, tiergate.Errorf(tiergate.Unauthorized, "withdrawn")
		}
		bound, ok := sets[text]
		if !ok {
			return nil, tiergate.Errorf(tiergate.Unauthorized, "there is no such key")
		}
		return &tiergate.Key{ID: text, Sets: bound}, nil
	}})
	c := client(t, addr)
	for story, tc := range map[string]struct {
		key, selector, want string
		code                codes.Code
	}{
		"no key":                     {"", "", "", codes.Unauthenticated},
		"an unknown key":             {"x", "", "", codes.Unauthenticated},
		"a key for all sets":         {"any", "flagSetId=app", "the app set", codes.OK},
		"the only set of a key":      {"web", "", "the web set", codes.OK},
		"another set":                {"web", "flagSetId=app", "", codes.PermissionDenied},
		"one of the key's sets":      {"two", "flagSetId=app", "the app set", codes.OK},
		"the default is not of them": {"two", "", "", codes.PermissionDenied},
	} {
		t.Run(story, func(t *testing.T) {
			m, err := follow(t, c, tc.selector, "authorization", "Bearer "+tc.key).Recv()
			if m.GetFlagConfiguration() != tc.want || status.Code(err) != tc.code {
				t.Errorf("%s: %q, %v", story, m.GetFlagConfiguration(), err)
			}
		})
	}
	stream := follow(t, c, "", "x-api-key", "any")
	next(t, stream)
	withdrawn.Store(true)
	f.put("default", "more")
	if _, err := stream.Recv(); status.Code(err) != codes.Unauthenticated {
		t.Errorf("after the key was withdrawn: %v", err)
	}
}

// A stream whose key was for other sets ends, and its client comes back with what the key is for now.
func TestKeys_for_other_sets(t *testing.T) {
	f := newFake()
	var sets atomic.Pointer[[]string]
	sets.Store(&[]string{"web", "app"})
	addr, _ := serve(t, flagsync.Config{Exporter: f, Credential: func(string) (*tiergate.Key, error) {
		return &tiergate.Key{ID: "k", Sets: *sets.Load()}, nil
	}})
	stream := follow(t, client(t, addr), "flagSetId=web", "x-api-key", "k")
	next(t, stream)
	sets.Store(&[]string{"app"})
	f.put("web", "more")
	if m, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("%v, %v", m, err)
	}
}

// A stream ends when its key's time is over, although nothing changes.
func TestKeys_expire(t *testing.T) {
	f := newFake()
	until := sync.OnceValue(func() time.Time { return time.Now().Add(2 * time.Second) })
	addr, _ := serve(t, flagsync.Config{Exporter: f, Credential: func(string) (*tiergate.Key, error) {
		if time.Now().After(until()) {
			return nil, tiergate.Errorf(tiergate.Unauthorized, "expired")
		}
		return &tiergate.Key{ID: "k", ExpiresAt: until()}, nil
	}})
	stream := follow(t, client(t, addr), "", "x-api-key", "k")
	next(t, stream)
	if _, err := stream.Recv(); status.Code(err) != codes.Unauthenticated || time.Now().Before(until()) {
		t.Errorf("the end of the key's time: %v", err)
	}
}

// The end of the server is UNAVAILABLE to streams, so that clients come back.
func TestSyncFlags_ends_with_the_server(t *testing.T) {
	f := newFake()
	addr, stop := serve(t, flagsync.Config{Exporter: f})
	stream := follow(t, client(t, addr), "")
	next(t, stream)
	stop()
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v", err)
	}
}

// A document that is too large to be made is the end of a stream.
func TestSyncFlags_of_what_is_too_large(t *testing.T) {
	f := newFake()
	addr, _ := serve(t, flagsync.Config{Exporter: f})
	stream := follow(t, client(t, addr), "")
	next(t, stream)
	f.change(func() { f.err = tiergate.Errorf(tiergate.Exhausted, "the flags are too many") })
	if _, err := stream.Recv(); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "too many") {
		t.Errorf("the stream ended with %v", err)
	}
}

// A document that the policy had no time for is made again soon.
func TestSyncFlags_completes_documents(t *testing.T) {
	f := newFake()
	f.change(func() { f.docs["default"] = &tiergate.FlagDocument{JSON: "some", Incomplete: true} })
	addr, _ := serve(t, flagsync.Config{Exporter: f})
	stream := follow(t, client(t, addr), "")
	next(t, stream)
	f.mu.Lock()
	f.docs["default"] = &tiergate.FlagDocument{JSON: "all"} // nothing has changed
	f.mu.Unlock()
	if got := next(t, stream); got != "all" {
		t.Errorf("the next document is %q", got)
	}
}

// Who does not read keeps nobody else waiting, and later has the newest document and few before it.
func TestSyncFlags_a_slow_client_delays_nobody(t *testing.T) {
	f := newFake()
	large := strings.Repeat("x", 3<<20)
	f.put("default", large+"0")
	addr, _ := serve(t, flagsync.Config{Exporter: f})
	slow, quick := follow(t, client(t, addr), ""), follow(t, client(t, addr), "")
	last := func(s string) string { return s[len(large):] }
	for round := range 5 {
		if got := last(next(t, quick)); got != string(rune('0'+round)) {
			t.Fatalf("round %d: %q", round, got)
		}
		f.put("default", large+string(rune('1'+round)))
	}
	got, documents := "", 0
	for got != "5" {
		got = last(next(t, slow))
		documents++
	}
	if documents > 4 {
		t.Errorf("the slow client had %d documents to read, of 6", documents)
	}
}

// What is larger than a gRPC client takes by default is its error, and is taken by one that is told.
func TestSyncFlags_beyond_the_default_limit_of_clients(t *testing.T) {
	f := newFake()
	f.put("default", strings.Repeat("x", 5<<20))
	addr, _ := serve(t, flagsync.Config{Exporter: f})
	if _, err := follow(t, client(t, addr), "").Recv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("by default: %v", err)
	}
	c := client(t, addr, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if got := next(t, follow(t, c, "")); len(got) != 5<<20 {
		t.Errorf("%d bytes", len(got))
	}
}
