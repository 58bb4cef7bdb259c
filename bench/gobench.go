package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// figures are those of one benchmark, by unit.
type figures map[string]float64

var processors = regexp.MustCompile(`-\d+$`)

// goBench runs the benchmarks of a package and returns what they report, by name without
// "Benchmark", and the names in their order.
func (b *bencher) goBench(ctx context.Context, pkg, pattern, time string) (map[string]figures, []string, error) {
	cmd := exec.CommandContext(ctx, "go", "-C", b.root, "test", pkg, "-run", "^$", "-bench", pattern, "-benchmem", "-benchtime", time, "-timeout", "60m")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, nil, fmt.Errorf("benchmarks of %s: %w: %s", pkg, err, out)
	}
	found, names := map[string]figures{}, []string{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		name := processors.ReplaceAllString(strings.TrimPrefix(words[0], "Benchmark"), "")
		f := figures{}
		for i := 2; i+1 < len(words); i += 2 {
			if f[words[i+1]], err = strconv.ParseFloat(words[i], 64); err != nil {
				return nil, nil, fmt.Errorf("read %q: %w", lines.Text(), err)
			}
		}
		found[name], names = f, append(names, name)
	}
	if len(names) == 0 {
		return nil, nil, fmt.Errorf("no benchmark of %s is called %s: %s", pkg, pattern, out)
	}
	return found, names, nil
}
