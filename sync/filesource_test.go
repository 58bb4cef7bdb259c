package syncer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
)

// A pupil is a Follower that keeps a memory in step and tells of each call.
type pupil struct {
	memory
	revisions chan tiergate.Revision
	confirms  chan time.Time
}

func (p *pupil) Apply(ctx context.Context, r tiergate.Revision) error {
	err := p.memory.Apply(ctx, r)
	select {
	case p.revisions <- r:
	case <-ctx.Done():
	}
	return err
}

func (p *pupil) Confirm(asOf time.Time) {
	select {
	case p.confirms <- asOf:
	default:
	}
}

// next waits for the next revision.
func (p *pupil) next(t *testing.T) tiergate.Revision {
	t.Helper()
	select {
	case r := <-p.revisions:
		return r
	case <-time.After(20 * time.Second):
		t.Fatal("no revision came")
		return tiergate.Revision{}
	}
}

// until waits for revisions until ok holds.
func (p *pupil) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-p.revisions:
		case <-p.confirms:
		case <-deadline:
			t.Fatalf("it never came true that %s; in force: %v", what, p.names())
		}
	}
}

func (p *pupil) names() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var names []string
	for _, t := range p.things {
		if f, ok := t.(*tiergate.Flag); ok {
			names = append(names, f.Name)
		}
	}
	slices.Sort(names)
	return names
}

func (p *pupil) has(want ...string) func() bool {
	return func() bool { return slices.Equal(p.names(), want) }
}

type sourceFunc follow

func (f sourceFunc) Follow(ctx context.Context, from tiergate.Resume, to tiergate.Follower) error {
	return f(ctx, from, to)
}

// fast reads a folder often enough for a test.
func fast() FileOptions {
	return FileOptions{Rescan: 50 * time.Millisecond, Settle: 5 * time.Millisecond}
}

// attend follows a source until the test ends.
func attend(t *testing.T, s *FileSource) *pupil {
	t.Helper()
	p := &pupil{revisions: make(chan tiergate.Revision), confirms: make(chan time.Time, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Follow(ctx, tiergate.Resume{}, p)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return p
}

func flagFile(names ...string) string {
	var b strings.Builder
	for i, n := range names {
		fmt.Fprintf(&b, `%s"%s": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on"}`, strings.Repeat(",", min(i, 1)), n)
	}
	return `{"flags": {` + b.String() + `}}`
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// Without tiers.yaml a folder of flags works: there is one tier.
func TestFileSource_hands_over_the_folder_as_a_whole(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "flags.json", flagFile("a", "b"))
	put(t, dir, "more.yaml", "flags:\n  c:\n    state: ENABLED\n    variants: {x: 1, y: 2}\n    defaultVariant: x\n")
	put(t, dir, "README.md", "not a flag file")
	p := attend(t, NewFileSource(dir, FileOptions{}))
	r := p.next(t)
	if !r.Whole || r.Resume.Rev != 1 || len(r.Resume.Epoch) != 36 || !p.has("a", "b", "c")() {
		t.Errorf("first revision %+v with %v", r, p.names())
	}
	if p.get(&tiergate.Tier{Key: "free"}) == nil || p.get(&tiergate.FlagSet{Name: "default"}) == nil {
		t.Errorf("no tier or no set: %v", p.things)
	}
	<-p.confirms
}

// However a file is changed, one revision carries just what is new, within moments.
func TestFileSource_notices(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string)
		want   []string
	}{
		"an edit in place":       {func(t *testing.T, dir string) { put(t, dir, "flags.json", flagFile("a", "z")) }, []string{"a", "other", "z"}},
		"a new file":             {func(t *testing.T, dir string) { put(t, dir, "new.json", flagFile("n")) }, []string{"a", "b", "n", "other"}},
		"a file that is deleted": {func(t *testing.T, dir string) { _ = os.Remove(filepath.Join(dir, "flags.json")) }, []string{"other"}},
		"an atomic rename": {func(t *testing.T, dir string) {
			put(t, dir, ".flags.json.tmp", flagFile("z"))
			move(t, dir+"/.flags.json.tmp", dir+"/flags.json")
		}, []string{"other", "z"}},
		"an editor that moves the old file away": {func(t *testing.T, dir string) {
			move(t, dir+"/flags.json", dir+"/flags.json~")
			put(t, dir, "flags.json", flagFile("z"))
		}, []string{"other", "z"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, "flags.json", flagFile("a", "b"))
			put(t, dir, "other.json", flagFile("other"))
			settle := 5 * time.Millisecond
			if strings.HasPrefix(name, "an editor") { // a file may be away for ten times as long
				settle = 500 * time.Millisecond
			}
			p := attend(t, NewFileSource(dir, FileOptions{Settle: settle}))
			p.next(t)
			c.change(t, dir)
			r := p.next(t)
			if r.Whole || r.Resume.Rev != 2 {
				t.Errorf("a change came as %+v", r)
			}
			if diff := cmp.Diff(c.want, p.names()); diff != "" {
				t.Errorf("flags (-want +got):\n%s", diff)
			}
		})
	}
}

// Kubernetes swaps the ..data link of a mounted ConfigMap: the names in the folder do not change.
func TestFileSource_follows_a_swap_of_the_data_link(t *testing.T) {
	dir := t.TempDir()
	mount := func(version, text string) {
		if err := os.Mkdir(filepath.Join(dir, version), 0o755); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, version), "flags.json", text)
		if err := os.Symlink(version, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		move(t, filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data"))
	}
	mount("..2026_01", flagFile("a"))
	if err := os.Symlink("..data/flags.json", filepath.Join(dir, "flags.json")); err != nil {
		t.Fatal(err)
	}
	p := attend(t, NewFileSource(dir, FileOptions{Settle: 5 * time.Millisecond}))
	p.next(t)
	mount("..2026_02", flagFile("b"))
	if err := os.RemoveAll(filepath.Join(dir, "..2026_01")); err != nil {
		t.Fatal(err)
	}
	p.until(t, "the swap is in force", p.has("b"))
}

// A half-written file keeps its last good content and is named; the rest of it mends that.
func TestFileSource_keeps_the_last_good_content_of_a_half_written_file(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "flags.json", flagFile("a", "b"))
	put(t, dir, "other.json", flagFile("other"))
	s := NewFileSource(dir, fast())
	p := attend(t, s)
	p.next(t)
	text := flagFile("a", "c")
	put(t, dir, "flags.json", text[:len(text)/2])
	p.until(t, "the problem is named", func() bool { return len(s.Problems()) == 1 })
	if got := s.Problems()[0]; !strings.HasPrefix(got, "flags.json: ") || !strings.HasSuffix(got, "its last good content stays in force") {
		t.Errorf("problem is %q", got)
	}
	put(t, dir, "other.json", flagFile("another"))
	p.until(t, "other files change meanwhile", p.has("a", "another", "b"))
	put(t, dir, "flags.json", text)
	p.until(t, "the whole file is in force", p.has("a", "another", "c"))
	p.until(t, "the problem is gone", func() bool { return len(s.Problems()) == 0 })
}

// One bad flag is named and left out; all others serve.
func TestFileSource_hands_over_a_bad_flag_with_its_fault(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "flags.json", `{"flags": {"good": {"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"}, "bad": {"state": "MAYBE", "variants": {"on": true}, "defaultVariant": "on"}}}`)
	s := NewFileSource(dir, FileOptions{})
	p := attend(t, s)
	p.next(t)
	if diff := cmp.Diff([]string{"bad", "good"}, p.names()); diff != "" {
		t.Errorf("flags (-want +got):\n%s", diff)
	}
	if got := p.get(&tiergate.Flag{ID: "default/bad"}).(*tiergate.Flag); got.Fault == "" || got.Validate() == nil {
		t.Errorf("the bad flag is handed over as %+v", got)
	}
	if got := s.Problems(); len(got) != 1 || !strings.HasPrefix(got[0], `flags.json: flag "bad": `) {
		t.Errorf("problems are %q", got)
	}
}

// Of one flag in two files the later file by name wins, and that is said.
func TestFileSource_says_when_two_files_have_one_flag(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "10.json", flagFile("a"))
	put(t, dir, "20.json", strings.Replace(flagFile("a"), `"on"}`, `"off"}`, 1))
	s := NewFileSource(dir, FileOptions{})
	p := attend(t, s)
	p.next(t)
	if f, _ := p.get(&tiergate.Flag{ID: "default/a"}).(*tiergate.Flag); f == nil || f.DefaultVariant != "off" {
		t.Errorf("in force is %+v", f)
	}
	want := []string{`20.json: flag "default/a" is also in 10.json; this one is in force`}
	if diff := cmp.Diff(want, s.Problems()); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// With every event lost the re-scan carries the change; a scan without change only confirms.
func TestFileSource_makes_up_for_lost_events(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "flags.json", flagFile("a"))
	s := NewFileSource(dir, fast())
	s.watch = func(string, *slog.Logger) *watch {
		return &watch{changed: make(chan struct{}), close: func() {}}
	}
	p := attend(t, s)
	p.next(t)
	put(t, dir, "flags.json", flagFile("b"))
	if r := p.next(t); r.Resume.Rev != 2 || !p.has("b")() {
		t.Errorf("revision %v with %v", r.Resume, p.names())
	}
	for range 3 {
		select {
		case <-p.confirms:
		case r := <-p.revisions:
			t.Errorf("a scan without change made revision %v", r.Resume)
		}
	}
}

// A thousand files that change together come as few revisions, and none is lost.
func TestFileSource_takes_a_mass_change(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "first.json", flagFile("first"))
	p := attend(t, NewFileSource(dir, FileOptions{}))
	p.next(t)
	want := []string{"first"}
	for i := range 1000 {
		name := fmt.Sprintf("f%03d", i)
		put(t, dir, name+".json", flagFile(name))
		want = append(want, name)
	}
	slices.Sort(want)
	p.until(t, "all are in force", p.has(want...))
	if p.at.Rev > 100 {
		t.Errorf("it took %d revisions", p.at.Rev)
	}
}

// A folder that is removed leaves what is in force, and is followed again once it is back.
func TestFileSource_survives_a_folder_that_is_removed_and_comes_back(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "flags")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "flags.json", flagFile("a"))
	src, m := NewFileSource(dir, fast()), &memory{}
	applied, lost := make(chan struct{}, 1), make(chan struct{}, 1)
	signal := func(c chan struct{}) {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	m.refuse = func(tiergate.Revision) error { signal(applied); return nil }
	s := New(Config{Applier: m, Name: "file", Source: sourceFunc(func(ctx context.Context, from tiergate.Resume, f tiergate.Follower) error {
		defer signal(lost)
		return src.Follow(ctx, from, f)
	})})
	start(t, s)
	<-s.Ready()
	move(t, dir, dir+".away")
	<-lost
	if m.get(&tiergate.Flag{ID: "default/a"}) == nil || src.Check(t.Context()) == nil {
		t.Error("what was in force is gone, or nobody says that the folder is away")
	}
	if p := src.Problems(); len(p) != 1 || !strings.Contains(p[0], "no such file or directory; what was read before stays in force") {
		t.Errorf("problems are %q", p)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"b", "c"} { // c: the new folder is watched, too
		put(t, dir, "flags.json", flagFile(want))
		for m.get(&tiergate.Flag{ID: "default/" + want}) == nil {
			<-applied
		}
	}
}

// Policies go through admission once for each content; refused ones leave the last good in force.
func TestFileSource_admits_policies(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "flags.json", flagFile("a"))
	put(t, dir, "access.rego", "package tiergate.access")
	put(t, dir, "access_test.rego", "package tiergate.access_test")
	var asked atomic.Int32
	opts := fast()
	opts.Admit = func(_ context.Context, modules map[string]string) (string, error) {
		asked.Add(1)
		if len(modules) != 1 || strings.Contains(modules["access.rego"], "broken") {
			return "", errors.New("access.rego:1:1: it is broken")
		}
		return "v1", nil
	}
	s := NewFileSource(dir, opts)
	p := attend(t, s)
	p.next(t)
	bundle := func() *tiergate.PolicyBundle {
		b, _ := p.get(&tiergate.PolicyBundle{ID: "file"}).(*tiergate.PolicyBundle)
		return b
	}
	first := bundle()
	if first == nil || first.Version != 1 || first.Admission != "v1" || first.Hash != tiergate.ModulesHash(first.Modules) {
		t.Fatalf("bundle in force: %+v", first)
	}
	swap := func(text string) { // at once: half of a policy would be asked about as well
		put(t, dir, ".access.rego", text)
		move(t, filepath.Join(dir, ".access.rego"), filepath.Join(dir, "access.rego"))
	}
	swap("package broken")
	p.until(t, "the refusal is named", func() bool { return len(s.Problems()) == 1 })
	if want := "the policy is not admitted: access.rego:1:1: it is broken; the last good policy stays in force"; s.Problems()[0] != want {
		t.Errorf("problem is %q, want %q", s.Problems()[0], want)
	}
	for range 3 {
		<-p.confirms
	}
	if bundle() != first || asked.Load() != 2 {
		t.Errorf("after a refusal: bundle %+v, asked %d times", bundle(), asked.Load())
	}
	swap("package tiergate.access # mended")
	p.until(t, "the mended policy is in force", func() bool { return bundle().Version == 2 })
	if err := os.Remove(filepath.Join(dir, "access.rego")); err != nil {
		t.Fatal(err)
	}
	p.until(t, "the built-in policy is back", func() bool { return bundle() == nil })
}

// A source that is asked again from where it was goes on there, and from elsewhere starts anew.
func TestFileSource_resumes(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "flags.json", flagFile("a"))
	s := NewFileSource(dir, fast())
	ask := func(from tiergate.Resume, p *pupil, want string) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- s.Follow(ctx, from, p) }()
		p.until(t, "all is handed over", p.has(want))
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Follow ended with %v", err)
		}
	}
	p := &pupil{revisions: make(chan tiergate.Revision), confirms: make(chan time.Time, 1)}
	ask(tiergate.Resume{}, p, "a")
	first := p.at
	put(t, dir, "flags.json", flagFile("b"))
	ask(first, p, "b")
	if p.at.Rev != 2 || p.at.Epoch != first.Epoch || !p.has("b")() {
		t.Errorf("resumed to %v with %v", p.at, p.names())
	}
	fresh := &pupil{revisions: make(chan tiergate.Revision), confirms: make(chan time.Time, 1)}
	ask(tiergate.Resume{Epoch: "other", Rev: 2}, fresh, "b")
	if fresh.at.Rev != 3 || !fresh.has("b")() {
		t.Errorf("started anew at %v with %v", fresh.at, fresh.names())
	}
}
