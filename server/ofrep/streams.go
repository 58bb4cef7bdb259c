package ofrep

import (
	"cmp"
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
)

const (
	// DefaultMaxStreams is how many streams there are at once unless told otherwise.
	DefaultMaxStreams = 10_000

	inactivityDelay = "120" // seconds after which a hidden page may let go of its stream: OFREP's default

	// coalesce is the time between two events of a stream at least, and what all clients are
	// told at one moment is spread over it, or over longer when they are many.
	coalesce = 100 * time.Millisecond

	// A client that is told may ask a sidecar that is behind the one that told it, gets what is in
	// force there, and asks again only when it is told again. Where sidecars share an address …
	retell = 2 * time.Second // … its newest event is told once more so long after

	// Clients come back at a moment of their own in this time when a stream ends.
	soonestRetry, latestRetry = 1000, 3000 // milliseconds

	heartbeat  = 15 * time.Second // give or take a fifth: proxies end what is silent for a minute
	writeBound = 10 * time.Second // how long a client may take no byte …
	farewell   = time.Second      // … when all streams end

	mostNamed  = 100 // flags in an event
	maxPlace   = 128 // bytes of a place; a longer one is none of ours
	keptPlaces = 256 // how many generations back a client that reconnects may be and be told in particular
)

// A StreamConfig says what streams tell of. Watcher and Secret are needed.
type StreamConfig struct {
	Watcher tiergate.Watcher
	// Secret signs what the URL of a stream says about its client, 32 bytes or more. Sidecars
	// behind one address share it.
	Secret []byte
	// Shared says that other sidecars behind the same address have the secret too.
	Shared bool
	// Key returns the API key of an id while it may be used, and else an error as a Resolver
	// does; it is asked again while a stream lasts. nil means that nobody needs a key.
	Key func(id string) (*tiergate.Key, error)
	// Most is how many streams there are at once; beyond, the answer is 503. 0 means
	// DefaultMaxStreams.
	Most int
	Now  func() time.Time // nil means time.Now
}

// Streams tell clients that their flags may have changed: each over a connection of its own
// that has left the server, with one goroutine. They last until Run ends. Safe for concurrent use.
type Streams struct {
	cfg    StreamConfig
	secret secret
	places places

	mu      sync.Mutex
	conns   map[net.Conn]struct{} // of the streams there are
	ended   chan struct{}         // closed when there are to be no more
	running sync.WaitGroup
}

// NewStreams makes streams for a Config. They end only where Run is called.
func NewStreams(cfg StreamConfig) *Streams {
	cfg.Most = cmp.Or(cfg.Most, DefaultMaxStreams)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Streams{cfg: cfg, secret: newSecret(cfg.Secret), conns: map[net.Conn]struct{}{}, ended: make(chan struct{})}
}

// Run waits for the end of ctx, ends all streams and returns nil. It is called once.
func (s *Streams) Run(ctx context.Context) error {
	<-ctx.Done()
	s.mu.Lock()
	close(s.ended)
	s.mu.Unlock()
	cut := time.AfterFunc(farewell, s.cut)
	defer cut.Stop()
	s.running.Wait()
	return nil
}

// cut closes the connections of those who take no byte, not even the end of TLS.
func (s *Streams) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if outer, ok := c.(interface{ NetConn() net.Conn }); ok { // *tls.Conn
			c = outer.NetConn()
		}
		_ = c.Close()
	}
}

// Open is how many streams there are.
func (s *Streams) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// room reports whether another stream may come.
func (s *Streams) room() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roomLocked()
}

func (s *Streams) roomLocked() bool {
	select {
	case <-s.ended:
		return false
	default:
		return len(s.conns) < s.cfg.Most
	}
}

// enter makes c one of the streams, and reports whether it may be.
func (s *Streams) enter(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.roomLocked() {
		return false
	}
	s.conns[c] = struct{}{}
	s.running.Add(1)
	return true
}

// leave ends one of the streams.
func (s *Streams) leave(c net.Conn) {
	_ = c.Close()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.running.Done()
}

// holder returns the key of a pass, nil when nobody needs one or none are known yet. The error
// says that its holder may not listen, or no longer.
func (s *Streams) holder(p *pass) (*tiergate.Key, error) {
	switch {
	case p.expires <= s.cfg.Now().Unix():
		return nil, tiergate.Errorf(tiergate.Unauthorized, "the token has expired")
	case s.cfg.Key == nil:
		return nil, nil
	case p.key == "":
		return nil, tiergate.Errorf(tiergate.Unauthorized, "the token was given for no API key")
	}
	key, err := s.cfg.Key(p.key)
	if tiergate.CodeOf(err) == tiergate.Unavailable { // the signature says that it was valid
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := server.SetFor(p.audience.Set, key); err != nil {
		return nil, err
	}
	if !p.audience.Everyone && key.TeamID != "" && key.TeamID != p.audience.TeamID {
		return nil, tiergate.Errorf(tiergate.Unauthorized, "the API key is another team's now")
	}
	return key, nil
}

// spread returns a part of the time over which what happens to all clients is spread.
func (s *Streams) spread() time.Duration {
	return server.Spread(s.Open(), coalesce)
}

// clock says on which steps of the clock the answers of a set depend now.
func (s *Streams) clock(set string) tiergate.ClockStep {
	if gen := s.cfg.Watcher.Generation(); gen != nil {
		return gen.Steps(set)
	}
	return tiergate.StepNever
}

// places are the last states that were in force here while somebody listened. Safe for
// concurrent use; the zero value is ready.
type places struct {
	mu   sync.RWMutex
	kept []onePlace // the newest last
}

type onePlace struct {
	resume   tiergate.Resume
	revision string // as clients see it
	since    int64  // when it was first told, in seconds of Unix time
}

// tell returns the place of a state and remembers it.
func (p *places) tell(at tiergate.Resume, now time.Time) onePlace {
	p.mu.RLock()
	last, ok := p.lastLocked(at)
	p.mu.RUnlock()
	if ok {
		return last
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if last, ok := p.lastLocked(at); ok {
		return last
	}
	if len(p.kept) == keptPlaces {
		copy(p.kept, p.kept[1:])
		p.kept = p.kept[:keptPlaces-1]
	}
	p.kept = append(p.kept, onePlace{at, at.Revision(), now.Unix()})
	return p.kept[len(p.kept)-1]
}

func (p *places) lastLocked(at tiergate.Resume) (onePlace, bool) {
	for _, one := range slices.Backward(p.kept) {
		if one.resume == at {
			return one, true
		}
	}
	return onePlace{}, false
}

// recall returns the state that a revision names, and the zero value when it is not known.
func (p *places) recall(revision string) tiergate.Resume {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, one := range slices.Backward(p.kept) {
		if one.revision == revision {
			return one.resume
		}
	}
	return tiergate.Resume{}
}
