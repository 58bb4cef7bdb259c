package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

// What readers of things that are written together must have seen before they may say that
// nothing was torn.
const (
	tornReads     = 200_000
	tornRevisions = 50
	tornReaders   = 3
	tornPipeline  = 64 // requests that one connection sends at once
)

// The set "pair" has two flags whose default variants are always changed together, and
// together with the rank of the tier "swing", which is the lowest tier, and so the one of
// somebody who is not known, when the variants are "on".
func pair() []tiergate.Change {
	changes := []tiergate.Change{
		tiergate.PutOf(&tiergate.FlagSet{Name: "pair", Fractional: "v2"}),
		tiergate.PutOf(&tiergate.Tier{Key: "steady", Name: "Steady", Rank: -10}),
		tiergate.PutOf(&tiergate.Tier{Key: "swing", Name: "Swing", Rank: -20}),
	}
	for _, name := range []string{"left", "right"} {
		changes = append(changes, tiergate.PutOf(&tiergate.Flag{
			ID: name, Set: "pair", Name: name, Type: tiergate.Boolean, Enabled: true,
			Variants:       map[string]json.RawMessage{"on": json.RawMessage("true"), "off": json.RawMessage("false")},
			DefaultVariant: "on", OffVariant: "off",
			Rules: tiergate.Rules{Tiers: []string{"steady", "swing"}, Percentage: 100},
		}))
	}
	return changes
}

// swing changes the pair again and again, one transaction each, until ctx ends.
func swing(ctx context.Context, t *testing.T, exec func(sql string) error) {
	for n := 1; ctx.Err() == nil; n++ {
		variant, rank := "on", -20
		if n%2 == 1 {
			variant, rank = "off", -5
		}
		err := exec(fmt.Sprintf(`begin;
			update feature_flags set default_variant = '%[1]s' where id = 'left';
			update tiers set rank = %[2]d where key = 'swing';
			update feature_flags set default_variant = '%[1]s' where id = 'right';
			commit`, variant, rank))
		if err != nil {
			t.Errorf("change the pair: %v", err)
			return
		}
	}
}

// A sight is what one read saw of the pair.
type sight struct{ left, right, leftTier, rightTier string }

func (s sight) agrees() bool {
	tier := map[string]string{"on": "swing", "off": "steady"}[s.left]
	return tier != "" && s == sight{s.left, s.left, tier, tier}
}

// look reads the left flag of one generation and the right one of another, or of the same.
func look(left, right tiergate.Generation) sight {
	req := tiergate.Request{Set: "pair", UserID: "somebody", Now: time.Now()}
	req.Flag = "left"
	l := left.Decide(&req)
	req.Flag = "right"
	r := right.Decide(&req)
	return sight{l.Variant, r.Variant, l.Tier, r.Tier}
}

// A lookout counts what its readers saw. Safe for concurrent use.
type lookout struct {
	reads atomic.Int64
	torn  atomic.Pointer[string]
	mu    sync.Mutex
	seen  map[string]bool // revisions
}

func (o *lookout) saw(revision string, s sight) {
	o.reads.Add(1)
	if !s.agrees() {
		what := fmt.Sprintf("%+v of revision %s", s, revision)
		o.torn.Store(&what)
	}
}

// note says which revisions a reader saw, and whether it has to go on.
func (o *lookout) note(revisions map[string]bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for r := range revisions {
		o.seen[r] = true
	}
	return o.torn.Load() == nil && (o.reads.Load() < tornReads || len(o.seen) < tornRevisions)
}

// read lets readers read until they have read and seen enough, or something torn.
func (o *lookout) read(t *testing.T, reader func(ctx context.Context) error) {
	t.Helper()
	o.seen = map[string]bool{}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	var readers sync.WaitGroup
	for range tornReaders {
		readers.Go(func() {
			if err := reader(ctx); err != nil {
				t.Errorf("a reader ends: %v", err)
			}
		})
	}
	readers.Wait()
	if torn := o.torn.Load(); torn != nil {
		t.Errorf("torn: %s", *torn)
	}
	if o.reads.Load() < tornReads || len(o.seen) < tornRevisions {
		t.Errorf("%d reads of %d revisions, want %d of %d", o.reads.Load(), len(o.seen), tornReads, tornRevisions)
	}
	t.Logf("%d reads of %d revisions", o.reads.Load(), len(o.seen))
}

// What one transaction wrote is seen together: in each generation that a request may pin,
// and in each bulk answer. A reader that does not pin is found out.
func TestReplica_is_never_torn(t *testing.T) {
	d := seeded(t, pair()...)
	p := launch(t, dataDir(t), "sidecar", "--source", d.url())
	p.waitReady(t)
	r := running(t, d.url())

	ctx, stop := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	defer writer.Wait()
	defer stop()
	conn := pgtest.Connect(t, d.url())
	writer.Go(func() {
		swing(ctx, t, func(sql string) error {
			_, err := conn.Exec(context.WithoutCancel(ctx), sql)
			return err
		})
	})

	t.Run("generation", func(t *testing.T) {
		var o lookout
		o.read(t, func(ctx context.Context) error {
			revisions := map[string]bool{}
			for n := 1; n%1000 != 0 || o.note(revisions) && ctx.Err() == nil; n++ {
				g := r.engine.Generation()
				revision := g.Resume().Revision()
				revisions[revision] = true
				o.saw(revision, look(g, g))
			}
			return ctx.Err()
		})
	})
	t.Run("bulk answer", func(t *testing.T) {
		var o lookout
		o.read(t, func(ctx context.Context) error { return readBulk(ctx, p.http, &o) })
	})
	t.Run("two generations", func(t *testing.T) {
		end := time.Now().Add(time.Minute)
		for first := r.engine.Generation(); time.Now().Before(end); {
			second := r.engine.Generation()
			if look(first, first).left != look(second, second).left {
				if s := look(first, second); s.agrees() {
					t.Errorf("what is torn seems to agree: %+v", s)
				}
				return
			}
		}
		t.Error("nothing changes any more")
	})
}

// running returns a replica that follows a database until the test ends.
func running(t *testing.T, url string) *replica {
	t.Helper()
	r, err := newReplica(url, replicaOptions{}, "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- together(ctx, r.syncer.Run) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the replica ends: %v", err)
		}
	})
	select {
	case <-r.syncer.Ready():
	case <-time.After(30 * time.Second):
		t.Fatal("the replica is not ready")
	}
	return r
}

// readBulk asks for the pair over one connection, many requests at once.
func readBulk(ctx context.Context, addr string, o *lookout) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	const body = `{"context": {"targetingKey": "somebody"}}`
	request := fmt.Sprintf("POST /ofrep/v1/evaluate/flags HTTP/1.1\r\nHost: %s\r\nFlagd-Selector: flagSetId=pair\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", addr, len(body), body)
	in, requests := bufio.NewReader(conn), strings.Repeat(request, tornPipeline)
	revisions := map[string]bool{}
	for o.note(revisions) && ctx.Err() == nil {
		if _, err := io.WriteString(conn, requests); err != nil {
			return err
		}
		for range tornPipeline {
			revision, s, err := readAnswer(in)
			if err != nil {
				return err
			}
			revisions[revision] = true
			o.saw(revision, s)
		}
	}
	return ctx.Err()
}

// readAnswer reads one bulk answer about the pair.
func readAnswer(in *bufio.Reader) (revision string, s sight, err error) {
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return "", sight{}, err
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", sight{}, err
	}
	var answer struct {
		Flags []struct {
			Key, Variant string
			Metadata     struct{ Tier string }
		}
		Metadata struct{ Revision string }
	}
	if err := json.Unmarshal(text, &answer); err != nil || len(answer.Flags) != 2 || answer.Flags[0].Key != "left" {
		return "", sight{}, fmt.Errorf("status %d: %s", resp.StatusCode, bytes.TrimSpace(text))
	}
	l, r := answer.Flags[0], answer.Flags[1]
	return answer.Metadata.Revision, sight{l.Variant, r.Variant, l.Metadata.Tier, r.Metadata.Tier}, nil
}
