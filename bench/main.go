// Command bench measures what tiergate promises, side by side with floors: processes
// pinned to one core under load from the other, and the benchmarks of the rooms. Figures
// are CPU time per request (user and system), the steadiest there is, and ratios to a bare
// Fiber handler. Usage: go run . [door|rooms|start]…
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
)

// A bencher holds what the sections share.
type bencher struct {
	dir  string // scratch
	root string // the checkout
}

func (b *bencher) bin(name string) string { return filepath.Join(b.dir, name) }

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		stop()
		log.Fatal("bench: ", err)
	}
}

func run(ctx context.Context, sections []string) error {
	dir, err := os.MkdirTemp("", "tiergate-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // Postgres may run as another uid
		return err
	}
	root, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	b := &bencher{dir: dir, root: root}
	for name, args := range map[string][]string{
		"tiergate": {"-C", root, "build", "-o", b.bin("tiergate"), "./cmd/tiergate"},
		"floor":    {"build", "-o", b.bin("floor"), "./floor"},
		"load":     {"build", "-o", b.bin("load"), "./load"},
	} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", name, err, out)
		}
	}
	for _, section := range []struct {
		name string
		run  func(context.Context) error
	}{{"door", b.door}, {"rooms", b.rooms}, {"start", b.start}} {
		if len(sections) > 0 && !slices.Contains(sections, section.name) {
			continue
		}
		if err := section.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", section.name, err)
		}
	}
	return nil
}
