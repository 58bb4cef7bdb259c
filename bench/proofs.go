package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
)

// proofs runs the properties that tests hold in small, in large: cached policy answers
// are those of plain evaluation, no reader ever sees half a revision, periods begin when a
// calendar that is read day by day says, and no order of events has leases admit too much. One
// that does not hold is an error, not a figure.
func (b *bencher) proofs(ctx context.Context) error {
	b.out.begin("policy: cached against plain evaluation, any difference fails")
	if err := b.differential(ctx, b.pick(1_000_000, 20_000)); err != nil {
		return err
	}
	b.out.begin("readers who demand what was written together to agree, any torn read fails")
	if err := b.torn(ctx); err != nil {
		return err
	}
	b.out.begin("periods against a day-by-day oracle, all zones 1970 to 2100, any difference fails")
	if err := b.periods(ctx); err != nil {
		return err
	}
	b.out.begin("leases: every state that holders, their messages and the ledger can reach, any wrong one fails")
	return b.explore(ctx)
}

var tally = regexp.MustCompile(`differential: (\d+) comparisons, (\d+) hits, (\d+) differences, .*`)

func (b *bencher) differential(ctx context.Context, comparisons int) error {
	cmd := exec.CommandContext(ctx, "go", "-C", b.root, "test", "./policy", "-count=1", "-run", "^TestDifferential_cached_against_plain$", "-v", "-timeout", "120m")
	cmd.Env = append(os.Environ(), "TIERGATE_DIFFERENTIAL="+strconv.Itoa(comparisons))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("the policy's cache differs from plain evaluation: %w: %s", err, out)
	}
	line := tally.FindSubmatch(out)
	if line == nil {
		return fmt.Errorf("the test of the policy's cache does not say what it did: %s", out)
	}
	compared, _ := strconv.ParseFloat(string(line[1]), 64)
	hits, _ := strconv.ParseFloat(string(line[2]), 64)
	differences, _ := strconv.ParseFloat(string(line[3]), 64)
	b.out.say(string(line[0]))
	b.out.row("differences", cell{"", differences, atMost(0)})
	b.out.row("comparisons", cell{"", compared, atLeast(1_000_000)}, cell{"% hits", 100 * hits / compared, atLeast(50)})
	return nil
}

func (b *bencher) torn(ctx context.Context) error {
	found, names, err := b.goBench(ctx, "./evaluator", "no_generation_is_torn", "1x")
	if err != nil {
		return err
	}
	for _, name := range names {
		b.out.row("reads", cell{"", found[name]["reads"], atLeast(10_000_000)}, cell{"revisions meanwhile", found[name]["revisions"], bound{}}, cell{"torn", 0, atMost(0)})
	}
	return nil
}

var periods = regexp.MustCompile(`calendar: (\d+) zones, (\d+) moves, (\d+) periods, 0 differences`)

func (b *bencher) periods(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "-C", b.root, "test", "./quota", "-count=1", "-run", "^TestCalendar_agrees_with_the_oracle_in_every_zone$", "-v", "-timeout", "120m")
	if cmd.Env = os.Environ(); !b.quick {
		cmd.Env = append(cmd.Env, "TIERGATE_CALENDAR=all")
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("a calendar differs from the oracle: %w: %s", err, out)
	}
	line := periods.FindSubmatch(out)
	if line == nil {
		return fmt.Errorf("the test of the calendars does not say what it did: %s", out)
	}
	zones, _ := strconv.ParseFloat(string(line[1]), 64)
	moves, _ := strconv.ParseFloat(string(line[2]), 64)
	compared, _ := strconv.ParseFloat(string(line[3]), 64)
	b.out.row("periods", cell{"", compared, atLeast(float64(b.pick(40_000_000, 1_000_000)))}, cell{"zones", zones, atLeast(400)}, cell{"moved clocks", moves, bound{}}, cell{"different", 0, atMost(0)})
	return nil
}

var explored = regexp.MustCompile(`explorer: .+: (\d+) states`)

func (b *bencher) explore(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "-C", b.root, "test", "./quota", "-count=1", "-run", "^TestExplore_every_state$", "-v", "-timeout", "120m")
	if cmd.Env = os.Environ(); !b.quick {
		cmd.Env = append(cmd.Env, "TIERGATE_EXPLORE=deep")
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("the explorer found a state that must not be: %w: %s", err, out)
	}
	lines := explored.FindAllSubmatch(out, -1)
	states := 0.0
	for _, line := range lines {
		n, _ := strconv.ParseFloat(string(line[1]), 64)
		states += n
	}
	b.out.row("states", cell{"", states, atLeast(float64(b.pick(8_000_000, 1_000_000)))}, cell{"worlds", float64(len(lines)), atLeast(10)}, cell{"wrong", 0, atMost(0)})
	return nil
}
