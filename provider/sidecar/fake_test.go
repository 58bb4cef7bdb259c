package sidecar_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// A fake sidecar answers as its test says, and tells of changes when it is told to. Every flag is
// on, for the reason that how names.
type fake struct {
	url string

	mu     sync.Mutex
	counts map[string]int
	held   map[string]chan struct{}
	how    func(w http.ResponseWriter, flag string) bool // answers in another way, and reports that it did
	reason string
	events chan string // lines of the event stream; nil has none
	full   bool        // no event stream is connected, for half a minute
	stale  bool        // its data are old
	ended  chan struct{}
	seen   []http.Header // of questions
	opened []string      // of event streams: addresses and headers
	same   int           // how many knew the answer about all flags
}

func newFake(t *testing.T) *fake {
	f := &fake{counts: map[string]int{}, held: map[string]chan struct{}{}, reason: "TARGETING_MATCH", events: make(chan string), ended: make(chan struct{})}
	s := httptest.NewServer(f)
	f.url = s.URL
	t.Cleanup(func() {
		close(f.ended)
		s.CloseClientConnections()
		s.Close()
	})
	return f
}

const (
	evaluate = "/ofrep/v1/evaluate/flags"
	look     = "-" // the flag that a look asks about, which there is not
)

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/events" {
		f.stream(w, r)
		return
	}
	name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, evaluate), "/")
	f.mu.Lock()
	f.counts[name]++
	f.seen = append(f.seen, r.Header.Clone())
	held, how, reason, events, stale := f.held[name], f.how, f.reason, f.events, f.stale
	f.mu.Unlock()
	tag, about := fmt.Sprintf(`"stale: %v, streams: %v"`, stale, events != nil), `{}`
	if stale {
		about = `{"stale":true}`
	}
	if held != nil {
		select {
		case <-held:
		case <-r.Context().Done():
			return
		case <-f.ended:
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case how != nil && how(w, name):
	case name == look:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"key":%q,"errorCode":"FLAG_NOT_FOUND","errorDetails":"there is no such flag","metadata":%s}`, name, about)
	case name != "":
		fmt.Fprintf(w, `{"key":%q,"reason":%q,"variant":"on","value":true,"metadata":{"revision":"epoch-1"}}`, name, reason)
	case r.Header.Get("If-None-Match") == tag:
		f.mu.Lock()
		f.same++
		f.mu.Unlock()
		w.WriteHeader(http.StatusNotModified)
	case events != nil:
		w.Header().Set("ETag", tag)
		fmt.Fprintf(w, `{"flags":[],"metadata":%s,"eventStreams":[{"type":"carrier-pigeon","url":"coo:"},{"type":"sse","endpoint":{"requestUri":"/events"}}]}`, about)
	default:
		w.Header().Set("ETag", tag)
		fmt.Fprintf(w, `{"flags":[],"metadata":%s}`, about)
	}
}

func (f *fake) stream(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.opened = append(f.opened, fmt.Sprint(r.URL, r.Header))
	full := f.full
	f.mu.Unlock()
	if full {
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	for {
		select {
		case line := <-f.events:
			if line == "" {
				return
			}
			fmt.Fprint(w, line)
			_ = http.NewResponseController(w).Flush()
		case <-r.Context().Done():
			return
		case <-f.ended:
			return
		}
	}
}

// hold lets nobody have an answer about a flag until release.
func (f *fake) hold(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held[name] = make(chan struct{})
}

func (f *fake) release(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.held[name])
	delete(f.held, name)
}

// asked is how often a flag was asked for.
func (f *fake) asked(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[name]
}

// known is how often somebody knew the answer about all flags.
func (f *fake) known() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.same
}

// age makes its data old, or new.
func (f *fake) age(old bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stale = old
}

// answer answers in another way from now on; nil as usual.
func (f *fake) answer(how func(w http.ResponseWriter, flag string) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.how = how
}

// lines are what was logged. Safe for concurrent use.
type lines struct {
	mu  sync.Mutex
	all []byte
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, line...)
	return len(line), nil
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.all)
}
