package ofrep

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
)

// A history is a watcher whose generations concern whom the test says.
type history struct {
	mu       sync.Mutex
	at       tiergate.Resume
	concerns []string // by revision, whom each concerned: a user, "" for all, or "flag " and a name
	steps    tiergate.ClockStep
	more     chan struct{}
}

func newHistory() *history { return &history{more: make(chan struct{})} }

// next puts another generation in force, which concerns a user, all for "", or a flag.
func (h *history) next(user string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at = tiergate.Resume{Epoch: "0123456789abcdef", Rev: h.at.Rev + 1}
	h.concerns = append(h.concerns, user)
	close(h.more)
	h.more = make(chan struct{})
}

func (h *history) Since(from tiergate.Resume, a tiergate.Audience) (tiergate.Difference, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := tiergate.Difference{To: h.at}
	switch {
	case h.at == tiergate.Resume{}:
	case from == tiergate.Resume{}:
		d.All = true
	default:
		for _, user := range h.concerns[from.Rev:] {
			name, flag := strings.CutPrefix(user, "flag ")
			if flag {
				d.Flags = append(d.Flags, tiergate.FlagChange{Name: name})
			}
			d.Subject = d.Subject || !flag && (user == "" || user == a.UserID)
		}
	}
	return d, h.more
}

func (h *history) Generation() tiergate.Generation {
	h.mu.Lock()
	defer h.mu.Unlock()
	if (h.at == tiergate.Resume{}) {
		return nil
	}
	return moment{h.at, h.steps}
}

// A moment is a generation that knows when it is.
type moment struct {
	at    tiergate.Resume
	steps tiergate.ClockStep
}

func (m moment) Decide(*tiergate.Request) tiergate.Decision { return tiergate.Decision{} }
func (m moment) All(*tiergate.Request) iter.Seq[tiergate.Decision] {
	return func(func(tiergate.Decision) bool) {}
}
func (m moment) HasSet(string) bool                 { return true }
func (m moment) SetMetadata(string) json.RawMessage { return nil }
func (m moment) Steps(string) tiergate.ClockStep    { return m.steps }
func (m moment) Resume() tiergate.Resume            { return m.at }

// An event is what came on a stream: an event, or a heartbeat without an id.
type event struct {
	id, etag string
	flags    []string
	after    time.Duration // since the stream began
}

// A client is the other end of a stream.
type client struct {
	net.Conn
	began  time.Time
	events chan event // closed when the stream has ended
}

// connect lets a client listen, over a connection that holds no byte.
func connect(s *Streams, p pass) *client {
	ours, theirs := net.Pipe()
	c := &client{Conn: theirs, began: time.Now(), events: make(chan event, 1000)}
	if !s.enter(ours) {
		panic("no room")
	}
	go s.follow(ours, p, []byte("retry: 1\n\n"))
	return c
}

// listen reads what comes.
func (c *client) listen() *client {
	go func() {
		defer close(c.events)
		r := bufio.NewReader(c)
		e := event{}
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			switch name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); name {
			case "id":
				e.id = value
			case "data":
				var data struct {
					Type, Etag string
					Flags      []string
				}
				if json.Unmarshal([]byte(value), &data) == nil && data.Type == "refetchEvaluation" {
					e.etag, e.flags = data.Etag, data.Flags
				}
			case ":":
				e = event{id: "beat"}
			case "":
				if e.id != "" {
					e.after = time.Since(c.began)
					c.events <- e
				}
				e = event{}
			}
		}
	}()
	return c
}

// got returns the events so far, heartbeats left out, and whether the stream goes on.
func (c *client) got() (ids []string, open bool) {
	for {
		select {
		case e, open := <-c.events:
			if !open {
				return ids, false
			}
			if e.id != "beat" {
				ids = append(ids, e.id)
			}
		default:
			return ids, true
		}
	}
}

func (c *client) expect(t *testing.T, what string, ids ...string) {
	t.Helper()
	synctest.Wait()
	got, open := c.got()
	if fmt.Sprint(got) != fmt.Sprint(ids) || !open {
		t.Errorf("%s: got the events %v, want %v; still there: %v", what, got, ids, open)
	}
}

func (c *client) ends(t *testing.T, what string) {
	t.Helper()
	synctest.Wait()
	if ids, open := c.got(); open || len(ids) > 0 {
		t.Errorf("%s: the stream goes on with %v", what, ids)
	}
}

// bubble runs a test of streams on a clock of their own.
func bubble(t *testing.T, cfg StreamConfig, test func(t *testing.T, h *history, s *Streams)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHistory()
		h.next("")
		cfg.Watcher, cfg.Secret = h, []byte("0123456789abcdef0123456789abcdef")
		s := NewStreams(cfg)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		test(t, h, s)
		stop()
		if err := <-done; err != nil || s.Open() != 0 {
			t.Errorf("Run: %v; %d streams are left", err, s.Open())
		}
	})
}

// at is the pass of a client that has the answers of a place.
func at(place, user string) pass {
	return pass{
		audience: tiergate.Audience{Set: "default", UserID: user}, place: place,
		expires: time.Now().Add(24 * time.Hour).Unix(),
	}
}

const afterwards = coalesce + time.Millisecond // what was changed has been told by then

// A client hears of what concerns it, once, and of nothing else.
func TestStream_tells_what_concerns_its_client(t *testing.T) {
	bubble(t, StreamConfig{}, func(t *testing.T, h *history, s *Streams) {
		alice, bob := connect(s, at("01234567-1", "alice")).listen(), connect(s, at("01234567-1", "bob")).listen()
		alice.expect(t, "at the newest")
		h.next("alice")
		time.Sleep(afterwards)
		alice.expect(t, "her change", "01234567-2")
		bob.expect(t, "a change of alice")
		h.next("")
		time.Sleep(afterwards)
		alice.expect(t, "a change for all", "01234567-3")
		bob.expect(t, "a change for all", "01234567-3")
		time.Sleep(time.Hour)
		alice.expect(t, "an hour of nothing")
	})
}

// Many changes at once are one event, which names the newest; two events are never close.
func TestStream_tells_of_many_changes_once(t *testing.T) {
	bubble(t, StreamConfig{}, func(t *testing.T, h *history, s *Streams) {
		c := connect(s, at("01234567-1", "alice")).listen()
		synctest.Wait()
		for range 1000 {
			h.next("")
			time.Sleep(time.Millisecond)
		}
		time.Sleep(2 * coalesce)
		var last event
		n := 0
		for _, e := range c.all() {
			if since := e.after - last.after; n > 0 && since < coalesce {
				t.Errorf("two events are %s apart", since)
			}
			if e.etag != e.id {
				t.Errorf("the event %s has the etag %s", e.id, e.etag)
			}
			last = e
			n++
		}
		if n < 2 || n > 11 || last.id != "01234567-1001" {
			t.Errorf("a second of changes: %d events, the last is %s", n, last.id)
		}
	})
}

// all returns the events so far, without heartbeats.
func (c *client) all() (told []event) {
	synctest.Wait()
	for len(c.events) > 0 {
		if e := <-c.events; e.id != "beat" {
			told = append(told, e)
		}
	}
	return told
}

// Behind an address that sidecars share, a client that was told may have asked one that is behind:
// it is told once more. What was told of something newer meanwhile is enough.
func TestStream_tells_once_more_where_sidecars_share_an_address(t *testing.T) {
	bubble(t, StreamConfig{Shared: true}, func(t *testing.T, h *history, s *Streams) {
		alice, bob := connect(s, at("01234567-1", "alice")).listen(), connect(s, at("01234567-1", "bob")).listen()
		synctest.Wait()
		h.next("alice")
		time.Sleep(time.Hour)
		first := alice.all()
		if len(first) != 2 || first[0].id != "01234567-2" || first[1].id != first[0].id || first[1].etag != first[0].etag || first[1].after-first[0].after != retell {
			t.Errorf("she is told %+v", first)
		}
		h.next("alice")
		time.Sleep(retell / 2)
		h.next("alice")
		time.Sleep(time.Hour)
		alice.expect(t, "a change while the one before was to be told again", "01234567-3", "01234567-4", "01234567-4")
		bob.expect(t, "changes of hers")
	})
}

// However changes fall, two events are never close, each is told twice at most, and the newest twice.
func TestStream_tells_once_more_without_haste(t *testing.T) {
	bubble(t, StreamConfig{Shared: true}, func(t *testing.T, h *history, s *Streams) {
		c := connect(s, at("01234567-1", "alice")).listen()
		synctest.Wait()
		for i := range 300 {
			h.next([]string{"", "bob"}[i%2])
			time.Sleep(time.Duration(i) * 17 * time.Millisecond % (retell + coalesce))
		}
		h.next("")
		time.Sleep(time.Hour)
		told, times := c.all(), map[string]int{}
		for i, e := range told {
			if times[e.id]++; i > 0 && e.after-told[i-1].after < coalesce {
				t.Errorf("%s comes %s after the event before", e.id, e.after-told[i-1].after)
			}
		}
		for id, n := range times {
			if newest := id == "01234567-302"; n > 2 || newest && n != 2 {
				t.Errorf("%s is told %d times", id, n)
			}
		}
		if len(times) < 100 || len(told) < len(times)+10 {
			t.Errorf("%d events of %d places", len(told), len(times))
		}
	})
}

// What is told again names the flags that it named, unless it stands for an event before it, which
// is not told again.
func TestStream_names_flags_once_more(t *testing.T) {
	bubble(t, StreamConfig{Shared: true}, func(t *testing.T, h *history, s *Streams) {
		everyone := at("01234567-1", "")
		everyone.audience.Everyone = true
		c := connect(s, everyone).listen()
		synctest.Wait()
		h.next("flag a")
		time.Sleep(time.Minute)
		h.next("flag b")
		time.Sleep(retell / 2)
		h.next("flag c")
		time.Sleep(time.Minute)
		var named []string
		for _, e := range c.all() {
			named = append(named, fmt.Sprint(e.id, e.flags))
		}
		want := []string{"01234567-2[a]", "01234567-2[a]", "01234567-3[b]", "01234567-4[c]", "01234567-4[]"}
		if !slices.Equal(named, want) {
			t.Errorf("it is told %v, want %v", named, want)
		}
	})
}

// A client that reconnects hears of what it missed at once, and of nothing when it missed
// nothing that concerns it.
func TestStream_replays_what_was_missed(t *testing.T) {
	bubble(t, StreamConfig{}, func(t *testing.T, h *history, s *Streams) {
		witness := connect(s, at("01234567-1", "")).listen() // while somebody listens, places are remembered
		synctest.Wait()
		for _, user := range []string{"bob", "alice", "bob"} {
			h.next(user)
			time.Sleep(afterwards)
		}
		for place, want := range map[string][]string{
			"01234567-4":  nil,
			"01234567-3":  nil,            // since then only bob
			"01234567-2":  {"01234567-4"}, // alice was the third
			"01234567-1":  {"01234567-4"},
			"01234567-99": {"01234567-4"}, // of another life
			"fedcba98-4":  {"01234567-4"},
			"":            {"01234567-4"},
			"\n":          {"01234567-4"},
		} {
			c := connect(s, at(place, "alice")).listen()
			c.expect(t, fmt.Sprintf("from %q", place), want...)
			_ = c.Close()
		}
		witness.expect(t, "changes of others")
	})
}

// After a restart a client that has the newest state hears nothing, and one that is behind does,
// though nobody remembers what it missed; and so does one that came before any state was there.
func TestStream_after_a_restart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory()
		s := NewStreams(StreamConfig{Watcher: h, Secret: []byte("0123456789abcdef0123456789abcdef")})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		newest, behind := connect(s, at("01234567-1", "alice")).listen(), connect(s, at("01234567-0", "alice")).listen()
		newest.expect(t, "before the first state")
		behind.expect(t, "before the first state")
		h.next("")
		time.Sleep(afterwards)
		newest.expect(t, "at the newest")
		behind.expect(t, "behind", "01234567-1")
		h.next("alice")
		time.Sleep(afterwards)
		newest.expect(t, "a change", "01234567-2")
		behind.expect(t, "a change", "01234567-2")
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		newest.ends(t, "after the end")
	})
}

// Silence is broken every fifteen seconds or so, at moments that differ.
func TestStream_heartbeat(t *testing.T) {
	bubble(t, StreamConfig{}, func(t *testing.T, _ *history, s *Streams) {
		c := connect(s, at("01234567-1", "")).listen()
		time.Sleep(time.Hour)
		synctest.Wait()
		var last time.Duration
		apart := map[time.Duration]bool{}
		for len(c.events) > 0 {
			e := <-c.events
			if since := e.after - last; e.id != "beat" || since < heartbeat*4/5 || since > heartbeat*6/5 {
				t.Errorf("%+v comes %s after the one before", e, since)
			}
			apart[e.after-last] = true
			last = e.after
		}
		if len(apart) < 100 {
			t.Errorf("the heartbeats of an hour have %d distances", len(apart))
		}
	})
}

// A stream ends when its pass or its key expires, and when the key is taken away.
func TestStream_ends_with_its_right(t *testing.T) {
	var mu sync.Mutex
	keys := map[string]*tiergate.Key{}
	set := func(k *tiergate.Key) {
		mu.Lock()
		defer mu.Unlock()
		keys[k.ID] = k
	}
	unknown := false
	cfg := StreamConfig{Key: func(id string) (*tiergate.Key, error) {
		mu.Lock()
		defer mu.Unlock()
		k := keys[id]
		switch {
		case unknown:
			return nil, tiergate.Errorf(tiergate.Unavailable, "no keys yet")
		case k == nil || !k.Usable(time.Now()):
			return nil, tiergate.Errorf(tiergate.Unauthorized, "no")
		}
		return k, nil
	}}
	bubble(t, cfg, func(t *testing.T, h *history, s *Streams) {
		unknown = true
		active := tiergate.Key{TeamID: "acme", State: tiergate.KeyActive}
		of := func(id string, change func(*tiergate.Key)) *client {
			k := active
			k.ID = id
			change(&k)
			set(&k)
			p := at("01234567-1", "alice")
			p.audience.TeamID, p.key = "acme", id
			if id == "short" {
				p.expires = time.Now().Add(time.Hour).Unix()
			}
			return connect(s, p).listen()
		}
		forever := of("forever", func(*tiergate.Key) {})
		short := of("short", func(*tiergate.Key) {})
		expires := of("expires", func(k *tiergate.Key) { k.ExpiresAt = time.Now().Add(30 * time.Minute) })
		revoked := of("revoked", func(*tiergate.Key) {})
		moved := of("moved", func(*tiergate.Key) {})
		bound := of("bound", func(*tiergate.Key) {})
		all := []*client{forever, short, expires, revoked, moved, bound}
		for _, c := range all {
			c.expect(t, "before any key is known")
		}
		mu.Lock()
		unknown = false
		mu.Unlock()
		time.Sleep(time.Minute)
		for _, c := range all {
			c.expect(t, "a valid key")
		}
		set(&tiergate.Key{ID: "revoked", TeamID: "acme", State: tiergate.KeyRevoked})
		set(&tiergate.Key{ID: "moved", TeamID: "globex", State: tiergate.KeyActive})
		set(&tiergate.Key{ID: "bound", TeamID: "acme", State: tiergate.KeyActive, Sets: []string{"other"}})
		h.next("nobody") // the revision that brought it
		time.Sleep(afterwards)
		revoked.ends(t, "a revoked key")
		moved.ends(t, "a key of another team")
		bound.ends(t, "a key that is bound to another set")
		time.Sleep(30*time.Minute - time.Minute - afterwards - time.Millisecond)
		expires.expect(t, "just before the key expires")
		time.Sleep(2 * time.Millisecond)
		expires.ends(t, "an expired key")
		short.expect(t, "a pass that is still good")
		time.Sleep(30 * time.Minute)
		short.ends(t, "an expired pass")
		forever.expect(t, "a key that is still good")
		set(&tiergate.Key{ID: "forever", TeamID: "acme", State: tiergate.KeyRevoked})
		time.Sleep(heartbeat * 6 / 5)
		forever.ends(t, "a key that was withdrawn without a revision")
	})
}

// A client that takes no byte is dropped after a while, and others hear of changes meanwhile.
func TestStream_drops_who_does_not_read(t *testing.T) {
	bubble(t, StreamConfig{}, func(t *testing.T, h *history, s *Streams) {
		stuck, well := connect(s, at("01234567-1", "")), connect(s, at("01234567-1", "")).listen()
		time.Sleep(time.Second)
		h.next("")
		time.Sleep(afterwards)
		well.expect(t, "beside one who is stuck", "01234567-2")
		time.Sleep(writeBound)
		if n := s.Open(); n != 1 {
			t.Errorf("%d streams are left", n)
		}
		_ = stuck.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := io.ReadAll(stuck); err != nil {
			t.Errorf("the stuck one's connection ended with %v", err)
		}
		well.expect(t, "afterwards")
	})
}

// The end does not wait long for a client that takes no byte.
func TestStream_ends_for_all(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStreams(StreamConfig{Watcher: newHistory(), Secret: []byte("0123456789abcdef0123456789abcdef")})
		stuck, well := connect(s, at("", "")), connect(s, at("", "")).listen()
		synctest.Wait()
		ctx, stop := context.WithCancel(t.Context())
		stop()
		began := time.Now()
		if err := s.Run(ctx); err != nil || time.Since(began) > farewell {
			t.Errorf("it ends after %s with %v", time.Since(began), err)
		}
		well.ends(t, "the end")
		ours, theirs := net.Pipe()
		if s.room() || s.enter(ours) {
			t.Error("a stream may come after the end")
		}
		_, _, _ = ours.Close(), theirs.Close(), stuck.Close()
	})
}

// Where the clock changes answers, clients are told at its steps; and who was away over one is
// told when it comes back.
func TestStream_follows_the_clock(t *testing.T) {
	bubble(t, StreamConfig{}, func(t *testing.T, h *history, s *Streams) {
		h.steps = tiergate.StepHour
		hour := func() int64 { return server.Turn(tiergate.StepHour, time.Now()) }
		place := func(hour int64) string { return fmt.Sprintf("01234567-1@%d", hour) }
		time.Sleep(time.Until(server.NextTurn(tiergate.StepHour, time.Now())) + time.Minute)
		began := hour()
		c := connect(s, at(place(began), "")).listen()
		time.Sleep(58 * time.Minute)
		c.expect(t, "during an hour")
		time.Sleep(time.Minute + afterwards)
		c.expect(t, "at the hour", place(began+1))
		time.Sleep(time.Hour)
		c.expect(t, "at the next hour", place(began+2))
		for from, want := range map[string][]string{place(began + 2): nil, place(began + 1): {place(began + 2)}} {
			back := connect(s, at(from, "")).listen()
			back.expect(t, "back from "+from, want...)
			_ = back.Close()
		}
	})
}

// FuzzPlace lets a client come back from whatever it says that it was told last: it is told of the
// newest state, unless that is the one, and nothing that it said is told to it.
func FuzzPlace(f *testing.F) {
	s := NewStreams(StreamConfig{Watcher: newHistory(), Secret: []byte("0123456789abcdef0123456789abcdef"), Shared: true})
	h := s.cfg.Watcher.(*history)
	h.next("")
	h.next("bob")
	for rev := range int64(2) {
		s.places.tell(tiergate.Resume{Epoch: "0123456789abcdef", Rev: rev + 1}, time.Now())
	}
	for _, place := range []string{"", "01234567-2", "01234567-1", "01234567-1@", "@", "01234567-2@7", "fedcba98-2", "\n", "\x00", "01234567-99"} {
		f.Add(place, "alice")
		f.Add(place, "bob")
	}
	f.Fuzz(func(t *testing.T, place, user string) {
		var told recorder
		st := stream{Streams: s, conn: &told, pass: at(place, user)}
		if !st.tell(time.Now()) || st.more == nil {
			t.Fatal("the stream ends")
		}
		revision, step, _ := strings.Cut(place, "@")
		current := revision == "01234567-2" || revision == "01234567-1" && user != "bob"
		if got := string(told.text); (got != "") != (!current || step != "") {
			t.Errorf("from %q %s is told %q", place, user, got)
		}
		if st.last != nil && !st.tellAgain(time.Now()) {
			t.Fatal("the stream ends")
		}
		const newest = "id: 01234567-2\nevent: message\ndata: {\"type\":\"refetchEvaluation\",\"etag\":\"01234567-2\",\"lastModified\":"
		if all := string(told.text); all != "" && (!strings.HasPrefix(all, newest) || strings.Count(all, newest) != 2 || strings.Count(all, "\n") != 8) {
			t.Errorf("from %q %s is told %q", place, user, all)
		}
	})
}

// A recorder is a connection that keeps what is written.
type recorder struct {
	net.Conn
	text []byte
}

func (r *recorder) SetWriteDeadline(time.Time) error { return nil }
func (r *recorder) Write(b []byte) (int, error) {
	r.text = append(r.text, b...)
	return len(b), nil
}

// There are as many streams as are allowed.
func TestStreams_are_bounded(t *testing.T) {
	bubble(t, StreamConfig{Most: 2}, func(t *testing.T, h *history, s *Streams) {
		first, second := connect(s, at("01234567-1", "")).listen(), connect(s, at("01234567-1", "")).listen()
		ours, theirs := net.Pipe()
		if s.room() || s.enter(ours) {
			t.Error("there is room for a third")
		}
		_ = first.Close()
		time.Sleep(heartbeat * 6 / 5)
		if s.Open() != 1 || !s.room() {
			t.Error("who has gone keeps its place")
		}
		second.expect(t, "the other")
		_, _ = ours.Close(), theirs.Close()
	})
}

// Places are remembered up to a bound, and the oldest are forgotten.
func TestPlaces_are_bounded(t *testing.T) {
	var p places
	for i := range int64(3 * keptPlaces) {
		at := tiergate.Resume{Epoch: "0123456789abcdef", Rev: i}
		if got := p.tell(at, time.Unix(i, 0)); got.since != i {
			t.Fatalf("place %d is of %d", i, got.since)
		}
		if again := p.tell(at, time.Unix(i+5, 0)); again.since != i {
			t.Fatalf("place %d is of %d later", i, again.since)
		}
	}
	if len(p.kept) != keptPlaces || (p.recall("01234567-1") != tiergate.Resume{}) || p.recall("01234567-700").Rev != 700 {
		t.Errorf("%d places are kept", len(p.kept))
	}
}

var errNotRead = errors.New("not read")

// brokenConn fails to write.
type brokenConn struct{ net.Conn }

func (brokenConn) Write([]byte) (int, error) { return 0, errNotRead }

// A client to whom nothing can be written leaves nothing behind.
func TestStream_ends_when_its_client_has_gone(t *testing.T) {
	bubble(t, StreamConfig{}, func(t *testing.T, _ *history, s *Streams) {
		ours, theirs := net.Pipe()
		c := brokenConn{ours}
		if !s.enter(c) {
			t.Fatal("no room")
		}
		s.follow(c, at("", ""), []byte("head"))
		if s.Open() != 0 {
			t.Error("its place is still taken")
		}
		_ = theirs.Close()
	})
}
