package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
)

func flag(name string) *tiergate.Flag {
	return &tiergate.Flag{
		ID: "id-" + name, Set: "default", Name: name, Type: tiergate.Boolean, Enabled: true,
		Variants:       map[string]json.RawMessage{"on": json.RawMessage("true"), "off": json.RawMessage("false")},
		DefaultVariant: "on", OffVariant: "off",
		Rules: tiergate.Rules{Tiers: []string{"pro"}, Percentage: 12.5, Targeting: json.RawMessage(`{"if":[true,"on"]}`)},
	}
}

func apiKey(id string, state tiergate.KeyState) *tiergate.Key {
	return &tiergate.Key{ID: id, TeamID: "acme", Hash: "00", Scopes: []string{"flags"}, State: state}
}

// says makes a source that hands over revisions and then stays.
func says(revisions ...tiergate.Revision) *script {
	return &script{calls: []follow{func(ctx context.Context, _ tiergate.Resume, f tiergate.Follower) error {
		for _, r := range revisions {
			_ = f.Apply(ctx, r)
		}
		f.Confirm(time.Now())
		<-ctx.Done()
		return ctx.Err()
	}}}
}

// awayFor is a source that can never be reached.
type gone struct{}

func (gone) Follow(context.Context, tiergate.Resume, tiergate.Follower) error {
	return errors.New("connection refused")
}

// run hands revisions to a fresh syncer over dir and stops it cleanly.
func run(t *testing.T, dir string, revisions ...tiergate.Revision) {
	t.Helper()
	s := New(Config{Source: says(revisions...), Applier: &memory{}, Name: "test", Dir: dir})
	stop := start(t, s)
	if err := s.Wait(t.Context(), revisions[len(revisions)-1].Resume); err != nil {
		t.Fatal(err)
	}
	stop()
	if p := s.Problems(); len(p) > 0 {
		t.Fatalf("problems: %q", p)
	}
}

// restart starts over dir with the source away and returns what is in force, nil when nothing is.
func restart(t *testing.T, cfg Config) (*memory, *Syncer) {
	t.Helper()
	m := &memory{}
	tried := make(chan struct{})
	cfg.Source = &script{calls: []follow{away, func(ctx context.Context, _ tiergate.Resume, _ tiergate.Follower) error {
		close(tried) // a source that failed once: what is on disk has had its chance
		<-ctx.Done()
		return ctx.Err()
	}}}
	cfg.Applier, cfg.Name = m, "test"
	s := New(cfg)
	stop := start(t, s)
	select {
	case <-s.Ready():
	case <-tried:
	}
	stop()
	return m, s
}

// With the source away a restart serves the last state from disk, says where it is from and how old it is.
func TestRestart_serves_the_last_known_good_state(t *testing.T) {
	dir := t.TempDir()
	tier := &tiergate.Tier{Key: "pro", Name: "Pro", Rank: 10}
	run(t, dir, whole(at(1), flag("a"), tier), puts(at(2), flag("b")))

	m, s := restart(t, Config{Dir: dir})
	for _, want := range []any{flag("a"), flag("b"), tier} {
		if diff := cmp.Diff(want, m.get(want)); diff != "" {
			t.Errorf("after the restart (-want +got):\n%s", diff)
		}
	}
	f := s.Freshness()
	if m.at != at(2) || f.Source != "last-known-good" || f.Connected || f.AsOf.IsZero() || f.Age(time.Now()) > time.Hour {
		t.Errorf("in force at %v, freshness %+v", m.at, f)
	}
}

// A state that was saved before the source confirmed it is saved again with its age, so that
// a restart in an outage does not take it for ancient.
func TestRestart_knows_the_age_of_a_first_state(t *testing.T) {
	dir := t.TempDir()
	saved := func() bool { _, err := os.Stat(filepath.Join(dir, stateName)); return err == nil }
	src := &script{calls: []follow{func(ctx context.Context, _ tiergate.Resume, f tiergate.Follower) error {
		if err := f.Apply(ctx, whole(at(1), flag("a"))); err != nil {
			return err
		}
		for !saved() {
			time.Sleep(time.Millisecond) // a file appears: there is nothing to wait on
		}
		f.Confirm(time.Now())
		<-ctx.Done()
		return nil
	}}}
	s := New(Config{Source: src, Applier: &memory{}, Name: "test", Dir: dir})
	stop := start(t, s)
	for s.Freshness().AsOf.IsZero() {
		time.Sleep(time.Millisecond)
	}
	stop()
	if _, s := restart(t, Config{Dir: dir}); s.Freshness().Age(time.Now()) > time.Hour {
		t.Errorf("after a restart the state is %v old", s.Freshness().Age(time.Now()))
	}
}

// When the source answers, the state on disk is only what it goes on from.
func TestRestart_goes_on_from_the_last_known_good_state(t *testing.T) {
	dir := t.TempDir()
	run(t, dir, whole(at(1), flag("a")))
	m := &memory{}
	src := says(puts(at(2), flag("b")))
	s := New(Config{Source: src, Applier: m, Name: "test", Dir: dir})
	start(t, s)
	if err := s.Wait(t.Context(), at(2)); err != nil {
		t.Fatal(err)
	}
	if m.get(flag("a")) == nil || m.get(flag("b")) == nil || src.asked()[0] != at(1) || s.Freshness().Source != "test" {
		t.Errorf("asked from %v, in force %v", src.asked(), m.things)
	}
}

// A whole state that the source hands over at once replaces the one on disk, which is never in force.
func TestRestart_prefers_a_whole_state_of_the_source(t *testing.T) {
	dir := t.TempDir()
	run(t, dir, whole(at(1), flag("a")))
	var seen []tiergate.Resume
	m := &memory{refuse: func(r tiergate.Revision) error { seen = append(seen, r.Resume); return nil }}
	s := New(Config{Source: says(whole(at(9), flag("b"))), Applier: m, Name: "test", Dir: dir, Grace: time.Hour})
	stop := start(t, s)
	<-s.Ready()
	stop()
	if diff := cmp.Diff([]tiergate.Resume{at(9)}, seen); diff != "" || m.get(flag("a")) != nil {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
}

// A revoked key stays revoked over a restart, a resync to another history and an older dump.
func TestRevocation_is_final(t *testing.T) {
	dir := t.TempDir()
	run(t, dir, whole(at(1), apiKey("k", tiergate.KeyActive)), puts(at(2), apiKey("k", tiergate.KeyRevoked)))
	if m, _ := restart(t, Config{Dir: dir}); m.get(apiKey("k", "")).(*tiergate.Key).State != tiergate.KeyRevoked {
		t.Error("the key is active after a restart")
	}
	m := &memory{}
	other := tiergate.Resume{Epoch: "another", Rev: 1}
	s := New(Config{Source: says(whole(other, apiKey("k", tiergate.KeyActive), apiKey("l", tiergate.KeyActive))), Applier: m, Name: "test", Dir: dir})
	start(t, s)
	if err := s.Wait(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if m.get(apiKey("k", "")).(*tiergate.Key).State != tiergate.KeyRevoked || m.get(apiKey("l", "")).(*tiergate.Key).State != tiergate.KeyActive {
		t.Error("the restored dump brought the key back, or took another one")
	}
}

// Each way in which a file on disk can be wrong is named in a sentence, and the older good one serves, or none.
func TestRestart_names_what_is_not_used(t *testing.T) {
	state := func(dir string) string { return filepath.Join(dir, stateName) }
	rewrite := func(t *testing.T, path string, change func([]byte) []byte) {
		data, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, change(data), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	flip := func(data []byte) []byte { data[len(data)/2] ^= 1; return data }
	for name, c := range map[string]struct {
		harm func(t *testing.T, dir string)
		says string
		rev  int64 // in force afterwards; 0 for none
	}{
		"damage":    {func(t *testing.T, dir string) { rewrite(t, state(dir), flip) }, "last-known-good is not used: its signature does not fit", 1},
		"truncated": {func(t *testing.T, dir string) { rewrite(t, state(dir), func(b []byte) []byte { return b[:10] }) }, "breaks off", 1},
		"old version": {func(t *testing.T, dir string) {
			rewrite(t, state(dir), func(b []byte) []byte { b[len(stateMagic)+3] = 0; return b })
		}, "its format version is 0, not 1", 1},
		"newer version": {func(t *testing.T, dir string) {
			rewrite(t, state(dir), func(b []byte) []byte { b[len(stateMagic)+3] = stateVersion + 1; return b })
		}, "its format version is 2, not 1", 1},
		"empty": {func(t *testing.T, dir string) { rewrite(t, state(dir), func([]byte) []byte { return nil }) }, "last-known-good is not used: it breaks off", 1},
		"unreadable": {func(t *testing.T, dir string) {
			if os.Geteuid() == 0 {
				_ = os.Chown(state(dir), 65534, 65534) // no mode keeps root from reading
			} else {
				_ = os.Chmod(state(dir), 0)
			}
		}, map[bool]string{true: "it belongs to user 65534, and we are 0", false: "permission denied"}[os.Geteuid() == 0], 1},
		"world writable": {func(t *testing.T, dir string) { _ = os.Chmod(state(dir), 0o666) }, "its mode 0666 lets others at it", 1},
		"symbolic link": {func(t *testing.T, dir string) {
			_ = os.Rename(state(dir), dir+"/x")
			_ = os.Symlink(dir+"/x", state(dir))
		}, "it is a symbolic link", 1},
		"directory": {func(t *testing.T, dir string) { _ = os.Remove(state(dir)); _ = os.Mkdir(state(dir), 0o700) }, "it is not a regular file", 1},
		"rolled back": {func(t *testing.T, dir string) {
			data, _ := os.ReadFile(filepath.Join(dir, previousName))
			_ = os.WriteFile(state(dir), data, 0o600)
		}, "revision 0192f0aa-1 is older than what was saved last (0192f0aa-2): it was put back", 1},
		"another key": {func(t *testing.T, dir string) {
			_ = os.Remove(filepath.Join(dir, keyName))
		}, "was signed with another key", 0},
		"key of others": {func(t *testing.T, dir string) { _ = os.Chmod(filepath.Join(dir, keyName), 0o644) }, "its mode 0644 lets others at it", 0},
		"tombstones damaged": {func(t *testing.T, dir string) {
			rewrite(t, filepath.Join(dir, tombsName), flip)
		}, "tombstones is not used: it is damaged, or was signed with another key; without it", 0},
		"tombstones missing": {func(t *testing.T, dir string) { _ = os.Remove(filepath.Join(dir, tombsName)) }, "tombstones is not used: it is missing", 0},
		"mark damaged":       {func(t *testing.T, dir string) { rewrite(t, filepath.Join(dir, markName), flip) }, "high-water is not used", 2},
		"both damaged": {func(t *testing.T, dir string) {
			rewrite(t, state(dir), flip)
			rewrite(t, filepath.Join(dir, previousName), flip)
		}, "last-known-good.previous is not used", 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			run(t, dir, whole(at(1), flag("a")))
			run(t, dir, deletes(at(2), flag("none")))
			c.harm(t, dir)
			var m *memory
			var problems string
			if name == "key of others" {
				m = &memory{}
				s := New(Config{Source: gone{}, Applier: m, Dir: dir})
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if err := s.Run(ctx); err != nil {
					t.Fatal(err)
				}
				problems = strings.Join(s.Problems(), "\n")
			} else {
				var s *Syncer
				m, s = restart(t, Config{Dir: dir})
				problems = strings.Join(s.Problems(), "\n")
			}
			if m.at.Rev != c.rev {
				t.Errorf("in force is revision %d, want %d", m.at.Rev, c.rev)
			}
			if !strings.Contains(problems, c.says) {
				t.Errorf("problems are %q, want %q in them", problems, c.says)
			}
		})
	}
}

// Each thing of each kind comes back from its record as it was, down to the last field.
func TestRecord_keeps_every_field(t *testing.T) {
	for _, thing := range []any{
		&tiergate.FlagSet{}, &tiergate.Flag{}, &tiergate.Tier{}, &tiergate.Limit{}, &tiergate.Team{}, &tiergate.User{},
		&tiergate.Member{}, &tiergate.Key{}, &tiergate.Override{}, &tiergate.Grant{}, &tiergate.PolicyBundle{},
	} {
		for _, full := range []bool{true, false} {
			if full {
				fill(t, reflect.ValueOf(thing).Elem())
			} else {
				reflect.ValueOf(thing).Elem().SetZero()
				if f, ok := thing.(*tiergate.Flag); ok {
					f.Rules.Percentage = 0
				}
			}
			record, err := appendRecord(nil, thing)
			if err != nil {
				t.Fatal(err)
			}
			got, err := newDecoder().thing(record)
			if err != nil {
				t.Fatalf("%T: %v", thing, err)
			}
			if diff := cmp.Diff(thing, got); diff != "" {
				t.Errorf("%T (-want +got):\n%s", thing, diff)
			}
		}
	}
}

// fill sets every field to something that is not its zero value.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		*p = time.Date(2026, 2, 3, 4, 5, 6, 789, time.UTC)
		return
	case *json.RawMessage:
		*p = json.RawMessage(`{"a":[1,"x",null]}`)
		return
	case *any:
		*p = "text"
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("text of " + v.Type().String())
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(-77)
	case reflect.Float64:
		v.SetFloat(33.333)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key)
		fill(t, value)
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(t, field)
		}
	default:
		t.Fatalf("no value for a %s", v.Type())
	}
}
