package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
)

// rooms runs the benchmarks of the rooms, each beside its floor.
func (b *bencher) rooms(ctx context.Context) error {
	for _, r := range []struct{ title, pkg, pattern, time string }{
		{"Decide in process", "./evaluator", ".", "1s"},
		{"targeting", "./evaluator/targeting", ".", "1s"},
		{"policy, cached and uncached", "./policy", ".", "1s"},
		{"commit in Postgres → handed over", "./postgres", ".", "200x"},
		{"the last-known-good file", "./sync", ".", "1s"},
	} {
		fmt.Printf("\n%s\n\n", r.title)
		cmd := exec.CommandContext(ctx, "go", "-C", b.root, "test", r.pkg, "-run", "^$", "-bench", r.pattern, "-benchmem", "-benchtime", r.time)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", r.pkg, err)
		}
	}
	return nil
}
