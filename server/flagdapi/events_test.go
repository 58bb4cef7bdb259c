package flagdapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	wirev1 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v1"
	wirev2 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v2"
	"github.com/tiergate/tiergate/server/flagdapi"
)

type event struct {
	kind  string
	flags map[string]any // nil without data
}

type stream = grpc.ServerStreamingClient[wirev2.EventStreamResponse]

// follow begins a stream.
func (d door) follow(t *testing.T, md ...string) stream {
	t.Helper()
	s, err := d.v2.EventStream(with(t.Context(), md...), &wirev2.EventStreamRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ready is follow up to the first message.
func (d door) ready(t *testing.T, md ...string) stream {
	t.Helper()
	s := d.follow(t, md...)
	if got := next(t, s); got.kind != "provider_ready" || got.flags != nil {
		t.Fatalf("the first message is %v", got)
	}
	return s
}

func next(t *testing.T, s stream) event {
	t.Helper()
	m, err := s.Recv()
	if err != nil {
		t.Fatal(err)
	}
	e := event{kind: m.Type}
	if m.Data != nil {
		e.flags = m.Data.AsMap()["flags"].(map[string]any)
	}
	return e
}

// told waits for the next message, which must be a change of flags.
func told(t *testing.T, s stream, kinds map[string]string) {
	t.Helper()
	want := map[string]any{}
	for name, kind := range kinds {
		want[name] = map[string]any{"type": kind}
	}
	got := next(t, s)
	if diff := cmp.Diff(want, got.flags); got.kind != "configuration_change" || diff != "" {
		t.Errorf("%s (-want +got):\n%s", got.kind, diff)
	}
}

// ends waits for the end of a stream.
func ends(t *testing.T, s stream, code codes.Code) {
	t.Helper()
	for {
		_, err := s.Recv()
		if err == nil {
			continue
		}
		if status.Code(err) != code || errors.Is(err, io.EOF) {
			t.Errorf("the stream ends with %v, want %v", err, code)
		}
		return
	}
}

// A stream names each flag that is written, updated or deleted, in its set only.
func TestEventStream_names_flags(t *testing.T) {
	e := engine(t)
	s := open(t, flagdapi.Config{Watcher: e}).ready(t, "flagd-selector", "flagSetId=default")
	step(t, e, flag("late", tiergate.Boolean, "true", nil), flag("brief", tiergate.Boolean, "true", nil))
	told(t, s, map[string]string{"late": "write", "brief": "write"})
	step(t, e, flag("late", tiergate.Boolean, "false", nil), gone("brief"))
	told(t, s, map[string]string{"late": "update", "brief": "delete"})
	step(t, e, flag("elsewhere", tiergate.Boolean, "true", func(f *tiergate.Flag) { f.Set = "other" }))
	step(t, e, gone("late"))
	told(t, s, map[string]string{"late": "delete"})
}

// When every answer may be different all flags are named, also those that the same revision
// deletes: clients keep answers about those, too.
func TestEventStream_names_all(t *testing.T) {
	e := engine(t, flag("brief", tiergate.Boolean, "true", nil))
	d := open(t, flagdapi.Config{Watcher: e})
	all := map[string]string{"brief": "update"}
	for decision := range e.Generation().All(&tiergate.Request{Set: tiergate.DefaultSet}) {
		all[decision.Flag] = "update"
	}
	s, late := d.ready(t), d.ready(t)
	step(t, e, tiergate.PutOf(&tiergate.Tier{Key: "gold", Name: "Gold", Rank: 30}))
	told(t, s, all)
	told(t, late, all)
	whole(t, e, 20)
	all["brief"] = "delete"
	told(t, s, all)
	told(t, late, all)
	step(t, e, flag("late", tiergate.Boolean, "true", nil))
	told(t, s, map[string]string{"late": "write"})
}

// More flags than a message can name end the stream when all may be different, so that clients
// drop what they keep; single ones are named all the same.
func TestEventStream_of_many_flags(t *testing.T) {
	var many []tiergate.Change
	for i := range 5000 {
		many = append(many, flag(fmt.Sprint("f", i), tiergate.Boolean, "true", nil))
	}
	e := engine(t, many...)
	s := open(t, flagdapi.Config{Watcher: e}).ready(t)
	step(t, e, flag("f7", tiergate.Boolean, "false", nil))
	told(t, s, map[string]string{"f7": "update"})
	step(t, e, tiergate.PutOf(&tiergate.Tier{Key: "gold", Name: "Gold", Rank: 30}))
	ends(t, s, codes.Unavailable)
}

// What is different about users or teams is told without names, since nothing that clients keep
// depends on them.
func TestEventStream_tells_of_subjects(t *testing.T) {
	e := engine(t)
	s := open(t, flagdapi.Config{Watcher: e}).ready(t)
	step(t, e, tiergate.PutOf(&tiergate.User{ID: "bob", Tier: "enterprise"}))
	told(t, s, map[string]string{})
	first := time.Now()
	step(t, e, tiergate.PutOf(&tiergate.User{ID: "bob", Tier: "free"})) // told a second after that …
	step(t, e, flag("late", tiergate.Boolean, "true", nil))             // … or with what comes before
	got := next(t, s)
	if len(got.flags) == 0 && time.Since(first) > 900*time.Millisecond { // the second was over before
		got = next(t, s)
	}
	if want := map[string]any{"late": map[string]any{"type": "write"}}; !cmp.Equal(want, got.flags) {
		t.Errorf("%s of %v", got.kind, got.flags)
	}
}

// A client that selects a set for its questions and none for its events hears of that set's flags.
func TestEventStream_without_a_selector(t *testing.T) {
	other := func(f *tiergate.Flag) { f.ID, f.Set = "other."+f.Name, "other" }
	e := engine(t, flag("theirs", tiergate.Boolean, "true", other))
	d := open(t, flagdapi.Config{Watcher: e})
	s := d.ready(t)
	for _, set := range []string{"other", "nothing"} {
		_, _ = d.v2.ResolveBoolean(with(t.Context(), "flagd-selector", "flagSetId="+set), &wirev2.ResolveBooleanRequest{FlagKey: "theirs"})
	}
	step(t, e, flag("theirs", tiergate.Boolean, "false", other))
	told(t, s, map[string]string{"theirs": "update"})
	step(t, e, tiergate.PutOf(&tiergate.FlagSet{Name: "other"}), tiergate.Change{Kind: tiergate.KindFlag, Key: "other.theirs"})
	told(t, s, map[string]string{"theirs": "delete"})
}

// However many sets callers have selected, a stream without a selector tells of each, and of all at once.
func TestEventStream_of_many_sets(t *testing.T) {
	const sets = 40
	in := func(i int) func(*tiergate.Flag) {
		return func(f *tiergate.Flag) { f.Set, f.ID = fmt.Sprint("set", i), fmt.Sprint("set", i, ".", f.Name) }
	}
	var changes []tiergate.Change
	for i := range sets {
		changes = append(changes, flag(fmt.Sprint("f", i), tiergate.Boolean, "true", in(i)))
	}
	e := engine(t, changes...)
	d := open(t, flagdapi.Config{Watcher: e})
	s := d.ready(t)
	all := map[string]string{}
	for i := range sets {
		name := fmt.Sprint("f", i)
		all[name] = "update"
		answer, err := d.v2.ResolveBoolean(with(t.Context(), "flagd-selector", fmt.Sprint("flagSetId=set", i)), &wirev2.ResolveBooleanRequest{FlagKey: name})
		if err != nil || answer.Reason != string(tiergate.ReasonStatic) {
			t.Fatalf("%s: %v, %v", name, answer, err)
		}
	}
	for i := range sets {
		name := fmt.Sprint("f", i)
		step(t, e, flag(name, tiergate.Boolean, "false", in(i)))
		told(t, s, map[string]string{name: "update"})
	}
	for name := range e.Names(tiergate.DefaultSet) {
		all[name] = "update"
	}
	step(t, e, tiergate.PutOf(&tiergate.Tier{Key: "gold", Name: "Gold", Rank: 30}))
	told(t, s, all)
}

// A client whose key is bound to a set keeps answers about it while it has no stream: the next one
// begins with what has changed.
func TestEventStream_begins_with_what_changed_meanwhile(t *testing.T) {
	theirs := func(f *tiergate.Flag) { f.ID, f.Set = "other."+f.Name, "other" }
	e := engine(t, flag("kept", tiergate.Boolean, "true", theirs))
	d := open(t, flagdapi.Config{Watcher: e, Credential: func(string) (*tiergate.Key, error) {
		return &tiergate.Key{ID: "k", Sets: []string{"other"}}, nil
	}})
	if _, err := d.v2.ResolveBoolean(with(t.Context(), "x-api-key", "k"), &wirev2.ResolveBooleanRequest{FlagKey: "kept"}); err != nil {
		t.Fatal(err)
	}
	step(t, e, flag("kept", tiergate.Boolean, "false", theirs), flag("elsewhere", tiergate.Boolean, "true", nil))
	told(t, d.ready(t, "x-api-key", "k"), map[string]string{"kept": "update"})
}

// An arriving revision comes into force when somebody looks for the second time.
type arriving struct {
	tiergate.Lister
	looks  atomic.Int64
	arrive func()
}

func (a *arriving) Generation() tiergate.Generation {
	if a.looks.Add(1) == 2 {
		a.arrive()
	}
	return a.Lister.Generation()
}

// A caller waits for a revision, which revokes the key that was good when the question came: it gets
// no answer.
func TestResolve_a_key_that_was_revoked_meanwhile(t *testing.T) {
	for key, want := range map[string]codes.Code{"good": codes.OK, "revoked": codes.Unauthenticated} {
		e := engine(t, flag("f", tiergate.Boolean, "true", nil))
		was := e.Generation().Resume()
		a := &arriving{Lister: e, arrive: func() { step(t, e, flag("f", tiergate.Boolean, "false", nil)) }}
		d := open(t, flagdapi.Config{Watcher: a, Credential: func(text string) (*tiergate.Key, error) {
			if text == "revoked" && e.Generation().Resume() != was {
				return nil, tiergate.Errorf(tiergate.Unauthorized, "no")
			}
			return &tiergate.Key{ID: text}, nil
		}})
		next := tiergate.Resume{Epoch: was.Epoch, Rev: was.Rev + 1}
		ctx := with(t.Context(), "x-api-key", key, "tiergate-min-revision", next.Revision())
		if _, err := d.v2.ResolveBoolean(ctx, &wirev2.ResolveBooleanRequest{FlagKey: "f"}); status.Code(err) != want {
			t.Errorf("a key that is %s: %v, want %v", key, err, want)
		}
	}
}

// Streams of sets that there are not take nothing from others, and tell of such a set once it is there.
func TestEventStream_of_sets_that_are_not_there(t *testing.T) {
	e := engine(t)
	d := open(t, flagdapi.Config{Watcher: e})
	var late stream
	for i := range 40 {
		late = d.ready(t, "flagd-selector", fmt.Sprint("flagSetId=late", i))
	}
	s := d.ready(t)
	all := map[string]string{}
	for name := range e.Names(tiergate.DefaultSet) {
		all[name] = "update"
	}
	step(t, e, tiergate.PutOf(&tiergate.Tier{Key: "gold", Name: "Gold", Rank: 30}))
	told(t, s, all)
	told(t, late, map[string]string{})
	step(t, e, flag("f", tiergate.Boolean, "true", func(f *tiergate.Flag) { f.Set, f.ID = "late39", "late39.f" }))
	told(t, late, map[string]string{"f": "write"})
}

// Both versions of the protocol tell the same, each in its own message.
func TestEventStream_of_both_versions(t *testing.T) {
	e := engine(t)
	d := open(t, flagdapi.Config{Watcher: e})
	v2 := d.ready(t)
	v1, err := d.v1.EventStream(t.Context(), &wirev1.EventStreamRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := v1.Recv(); err != nil || m.Type != "provider_ready" {
		t.Fatalf("%v, %v", m, err)
	}
	step(t, e, flag("late", tiergate.Boolean, "true", nil))
	told(t, v2, map[string]string{"late": "write"})
	m, err := v1.Recv()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"flags": map[string]any{"late": map[string]any{"type": "write"}}}
	if diff := cmp.Diff(want, m.Data.AsMap()); m.Type != "configuration_change" || diff != "" {
		t.Errorf("%s (-want +got):\n%s", m.Type, diff)
	}
}

// A stream says that the provider is ready when there is something to answer from, and not
// before: a browser then asks for all flags, once.
func TestEventStream_before_the_first_state(t *testing.T) {
	e := evaluator.New(evaluator.Options{})
	s := open(t, flagdapi.Config{Watcher: e}).follow(t)
	whole(t, e, 7)
	if got := next(t, s); got.kind != "provider_ready" {
		t.Fatalf("the first message is %v", got)
	}
	step(t, e, flag("late", tiergate.Boolean, "true", nil))
	told(t, s, map[string]string{"late": "write"})
}

// A key that is revoked, and one whose time is over, end the stream.
func TestEventStream_ends_with_its_key(t *testing.T) {
	e := engine(t)
	var revoked atomic.Bool
	expires := sync.OnceValue(func() time.Time { return time.Now().Add(2 * time.Second) })
	d := open(t, flagdapi.Config{Watcher: e, Credential: func(text string) (*tiergate.Key, error) {
		key := &tiergate.Key{ID: text}
		if text == "brief" {
			key.ExpiresAt = expires()
		}
		if text == "bad" && revoked.Load() || text == "brief" && !time.Now().Before(expires()) {
			return nil, tiergate.Errorf(tiergate.Unauthorized, "it does not open")
		}
		return key, nil
	}})
	brief, good, bad := d.ready(t, "x-api-key", "brief"), d.ready(t, "x-api-key", "good"), d.ready(t, "x-api-key", "bad")
	ends(t, brief, codes.Unauthenticated)
	revoked.Store(true)
	step(t, e, tiergate.PutOf(&tiergate.Key{ID: "k", TeamID: "acme", State: tiergate.KeyRevoked}))
	ends(t, bad, codes.Unauthenticated)
	step(t, e, flag("late", tiergate.Boolean, "true", nil))
	told(t, good, map[string]string{"late": "write"})
}

// A selector that OFREP refuses is refused here, too.
func TestEventStream_selectors(t *testing.T) {
	d := open(t, flagdapi.Config{Watcher: engine(t), Credential: func(string) (*tiergate.Key, error) {
		return &tiergate.Key{Sets: []string{"other"}}, nil
	}})
	ends(t, d.follow(t, "x-api-key", "k", "flagd-selector", "source=x"), codes.InvalidArgument)
	ends(t, d.follow(t, "x-api-key", "k", "flagd-selector", "flagSetId=default"), codes.PermissionDenied)
	d.ready(t, "x-api-key", "k")
}

// A server that ends tells its streams with UNAVAILABLE; clients find the next one at the same
// place, and it tells of what changes then.
func TestEventStream_over_a_restart(t *testing.T) {
	e := engine(t)
	first := open(t, flagdapi.Config{Watcher: e})
	s := first.ready(t)
	first.stop()
	ends(t, s, codes.Unavailable)
	openOn(t, first.addr, flagdapi.Config{Watcher: e})
	again, err := first.v2.EventStream(t.Context(), &wirev2.EventStreamRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	if got := next(t, again); got.kind != "provider_ready" {
		t.Fatalf("the first message is %v", got)
	}
	step(t, e, flag("late", tiergate.Boolean, "true", nil))
	told(t, again, map[string]string{"late": "write"})
	got, err := first.v1.ResolveBoolean(t.Context(), &wirev1.ResolveBooleanRequest{FlagKey: "late"})
	if err != nil || !got.Value {
		t.Errorf("the flag is %v, %v", got, err)
	}
}

// A browser gets the same events over Connect as JSON.
func TestEventStream_over_Connect(t *testing.T) {
	e := engine(t)
	d := open(t, flagdapi.Config{Watcher: e})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+d.addr+"/flagd.evaluation.v1.Service/EventStream",
		bytes.NewReader([]byte("\x00\x00\x00\x00\x02{}")))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/connect+json")
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	read := func() map[string]any {
		t.Helper()
		var head [5]byte
		if _, err := io.ReadFull(resp.Body, head[:]); err != nil {
			t.Fatal(err)
		}
		content := make([]byte, int(head[3])<<8|int(head[4]))
		if _, err := io.ReadFull(resp.Body, content); err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(content, &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	if got := read(); got["type"] != "provider_ready" {
		t.Fatalf("the first message is %v", got)
	}
	step(t, e, flag("late", tiergate.Boolean, "true", nil))
	want := map[string]any{"type": "configuration_change", "data": map[string]any{"flags": map[string]any{"late": map[string]any{"type": "write"}}}}
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Errorf("mismatch (-want +got):\n%s", diff)
	}
}
