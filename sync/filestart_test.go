package syncer

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
)

// At the start nobody knows what a broken file said before: rules that cannot be read never
// stand for none, and a flag file that cannot be read leaves the others served only where no
// earlier state is known.
func TestFileSource_starts_with_a_broken_file(t *testing.T) {
	opts := fast()
	opts.Admit = func(context.Context, map[string]string) (string, error) {
		return "", errors.New("access.rego:1:1: broken")
	}
	earlier := tiergate.Resume{Epoch: "another", Rev: 3}
	for name, c := range map[string]struct {
		text string
		from tiergate.Resume
		want string // "" when the others are served
	}{
		"access.rego":                       {"package broken", tiergate.Resume{}, "access.rego:1:1: broken"},
		"tiers.yaml":                        {"bogus: 1", tiergate.Resume{}, "tiers.yaml: "},
		"teams.yaml":                        {"bogus: 1", tiergate.Resume{}, "teams.yaml: "},
		"broken.json":                       {`{"flags":`, tiergate.Resume{}, ""},
		"broken.json of an earlier state":   {`{"flags":`, earlier, "broken.json: "},
		"complete.json of an earlier state": {flagFile("b"), earlier, ""},
	} {
		dir := t.TempDir()
		put(t, dir, "flags.json", flagFile("a"))
		put(t, dir, strings.Fields(name)[0], c.text)
		ctx, cancel := context.WithCancel(t.Context())
		p := &pupil{revisions: make(chan tiergate.Revision, 1), confirms: make(chan time.Time, 1)}
		go func() {
			select {
			case <-p.confirms:
				cancel()
			case <-ctx.Done():
			}
		}()
		s := NewFileSource(dir, opts)
		err := s.Follow(ctx, c.from, p)
		served := len(p.revisions) == 1
		switch {
		case c.want == "" && (!served || !errors.Is(err, context.Canceled)):
			t.Errorf("%s: the others are not served: %v", name, err)
		case c.want != "" && (served || err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(s.Problems()[0], c.want)):
			t.Errorf("%s: served: %v, error: %v, problems: %q", name, served, err, s.Problems())
		}
		cancel()
	}
}
