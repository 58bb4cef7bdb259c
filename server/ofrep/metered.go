package ofrep

import (
	"strconv"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
)

// A metered flag's metadata tells of one of its limits, the first quota or else the first of
// all: how much it allows in all, and in an answer about this flag alone, which nobody may keep,
// what is left of it. An answer about all flags does not say that, so that it stays the same
// until the next revision. Without a Gate, or where limits cannot be told of, it says nothing.

// asked is what one check needs, kept for the next.
type asked = server.Meter

// appendLimit appends what is known of a metered flag's limit: to the gate, if there is one,
// else to the decision.
func (c *call) appendLimit(b []byte, d *tiergate.Decision, gate tiergate.Gate) []byte {
	if d.Limit != nil {
		return appendFlagLimit(b, d.Limit.Key, d.Limit.Amount, d.Limit.Period)
	}
	if gate == nil {
		return b
	}
	if c.asked == nil {
		c.asked = new(asked)
	}
	left := c.asked.Left(gate, d, &c.req, c.resume)
	if left == nil {
		return b
	}
	b = appendFlagLimit(b, left.Key, left.Amount, left.Period)
	if left.Known {
		b = strconv.AppendInt(append(b, `,"remaining":`...), left.Remaining, 10)
	}
	if left.ResetsAt.IsZero() {
		return b
	}
	return append(left.ResetsAt.AppendFormat(append(b, `,"resetsAt":"`...), time.RFC3339), '"')
}

func appendFlagLimit(b []byte, key string, amount int64, period string) []byte {
	b = strconv.AppendInt(append(b, `,"limit":`...), amount, 10)
	b = server.AppendString(append(b, `,"limitKey":`...), key)
	if period != "" {
		b = server.AppendString(append(b, `,"period":`...), period)
	}
	return b
}
