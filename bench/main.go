// Command bench measures what tiergate promises, side by side with floors, and prints
// beside each figure what it must be. Figures of servers are CPU time per request (user
// and system), the steadiest there is: processes pinned to one core, under load from the
// other. Usage: go run . [-quick] [door|grpc|rooms|provider|usage|streams|feed|start|proofs]…
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

// A bencher holds what the sections share.
type bencher struct {
	dir   string // scratch
	root  string // the checkout
	quick bool   // small numbers, to see that everything runs
	out   *board
}

func (b *bencher) bin(name string) string { return filepath.Join(b.dir, name) }

// pick returns the size of something: the small one in a quick run.
func (b *bencher) pick(full, quick int) int {
	if b.quick {
		return quick
	}
	return full
}

// A section is one part of the measurement.
type section struct {
	name string
	run  func(context.Context) error
}

func (b *bencher) sections() []section {
	return []section{{"door", b.door}, {"grpc", b.grpc}, {"rooms", b.rooms}, {"provider", b.provider}, {"usage", b.usage}, {"streams", b.streams}, {"feed", b.feed}, {"start", b.start}, {"proofs", b.proofs}}
}

func main() {
	log.SetFlags(0)
	quick := flag.Bool("quick", false, "small numbers, to see that everything runs: the figures mean little")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: bench [-quick] [door|grpc|rooms|provider|usage|streams|feed|start|proofs]…")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, flag.Args(), *quick, os.Stdout)
	stop()
	if err != nil {
		log.Fatal("bench: ", err)
	}
}

func run(ctx context.Context, wanted []string, quick bool, out io.Writer) error {
	for _, name := range []string{"TIERGATE_GRPC_ADDR", "TIERGATE_SYNC_ADDR"} { // several sidecars run beside each other
		if err := os.Setenv(name, "none"); err != nil {
			return err
		}
	}
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
	b := &bencher{dir: dir, root: root, quick: quick, out: &board{to: out}}
	var names []string
	for _, s := range b.sections() {
		names = append(names, s.name)
	}
	for _, name := range wanted {
		if !slices.Contains(names, name) {
			return fmt.Errorf("there is no section %q: say any of %s", name, strings.Join(names, ", "))
		}
	}
	if err := b.build(ctx); err != nil {
		return err
	}
	for _, s := range b.sections() {
		if len(wanted) > 0 && !slices.Contains(wanted, s.name) {
			continue
		}
		if err := s.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	b.out.close()
	return nil
}

// build builds the programs that are measured and that measure.
func (b *bencher) build(ctx context.Context) error {
	for name, args := range map[string][]string{
		"tiergate": {"-C", b.root, "build", "-trimpath", "-ldflags", "-s -w", "-o", b.bin("tiergate"), "./cmd/tiergate"},
		"floor":    {"build", "-o", b.bin("floor"), "./floor"},
		"load":     {"build", "-o", b.bin("load"), "./load"},

		"grpcfloor": {"build", "-o", b.bin("grpcfloor"), "./grpcfloor"},
		"grpcload":  {"build", "-o", b.bin("grpcload"), "./grpcload"},
	} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", name, err, out)
		}
	}
	return nil
}
