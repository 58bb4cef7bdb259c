package main

import (
	"context"
	"strconv"
)

// feed measures from a commit in Postgres to the decision that has it, with the whole
// replica of a sidecar, beside the floor: a session that only waits for the notification.
func (b *bencher) feed(ctx context.Context) error {
	b.out.begin("commit in Postgres → in force")
	found, _, err := b.goBench(ctx, "./cmd/tiergate", "Commit_to_in_force/flags", strconv.Itoa(b.pick(1000, 20))+"x")
	if err != nil {
		return err
	}
	const ms = 1000 // µs
	for _, flags := range []string{"10", "10000"} {
		f := found["Commit_to_in_force/flags="+flags]
		b.out.row(flags+" flags: in force",
			cell{"ms median", f["in-force-p50-µs"] / ms, atMost(3)}, cell{"ms p99", f["in-force-p99-µs"] / ms, atMost(10)})
		b.out.row(flags+" flags: floor, LISTEN to NOTIFY",
			cell{"ms median", f["floor-p50-µs"] / ms, bound{}}, cell{"ms p99", f["floor-p99-µs"] / ms, bound{}})
	}
	found, _, err = b.goBench(ctx, "./cmd/tiergate", "Commit_to_in_force/notifications", strconv.Itoa(b.pick(50, 3))+"x")
	if err != nil {
		return err
	}
	f := found["Commit_to_in_force/notifications=lost"]
	b.out.row("10 flags, all notifications lost: in force",
		cell{"ms median", f["in-force-p50-µs"] / ms, bound{}}, cell{"ms at worst", f["in-force-max-µs"] / ms, atMost(1500)})
	return nil
}
