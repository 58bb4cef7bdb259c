package decision

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
)

// An item is one question of a batch and what became of it.
type item struct {
	question question
	verdict  tiergate.Verdict
	err      error
	lane     int // the first item of the batch that this one may not overtake
}

// many answers a batch: each item on its own, in the order of the items.
func (d *door) many(ctx *fasthttp.RequestCtx, c *call) error {
	doc, err := c.parse(ctx, false)
	if err != nil {
		return err
	}
	for i := range doc.Len() {
		if doc.KeyAt(i) != "items" {
			return tiergate.FieldErrorf(doc.KeyAt(i), "a batch has items and no member %.40q", doc.KeyAt(i))
		}
	}
	items := doc.Field("items")
	if items.Kind() != tiergate.ArrayValue {
		return tiergate.FieldErrorf("items", "items are not an array")
	}
	err = d.askBatch(context.Background(), c, items.Len(), func(i int) (tiergate.Value, error) {
		if it := items.Index(i); it.Kind() == tiergate.ObjectValue {
			return it, nil
		}
		return tiergate.Value{}, object("items["+strconv.Itoa(i)+"]", items.Index(i))
	})
	if err == nil {
		d.answerBatch(ctx, c)
	}
	return err
}

// askBatch asks n questions, of which at returns one or why it is none.
func (d *door) askBatch(ctx context.Context, c *call, n int, at func(i int) (tiergate.Value, error)) error {
	if n > MaxBatch {
		return tiergate.FieldErrorf("items", "there are more than %d items", MaxBatch)
	}
	d.work(ctx, c, c.readBatch(n, at))
	return nil
}

// readBatch reads the questions and returns the lanes: items of one lane are worked on one
// after the other, because the answer to one depends on those before it.
func (c *call) readBatch(n int, at func(i int) (tiergate.Value, error)) (lanes []int) {
	for i := range n {
		it := item{lane: i}
		var doc tiergate.Value
		if doc, it.err = at(i); it.err == nil {
			it.err = c.read(doc, c.kind, &it.question)
		}
		for j := range c.batch {
			if before := &c.batch[j]; before.err == nil && it.err == nil && sameLane(c.kind, &before.question.use, &it.question.use) {
				it.lane = before.lane
				break
			}
		}
		if it.lane == i {
			lanes = append(lanes, i)
		}
		c.batch = append(c.batch, it)
	}
	return lanes
}

// sameLane says that two questions compete for the same limits, or may be the same one.
// Checking waits for nothing, so that it is quickest in one lane.
func sameLane(k kind, a, b *tiergate.Use) bool {
	switch k {
	case consume:
		return a.Flag == b.Flag
	case track:
		return a.IdempotencyKey != "" && a.IdempotencyKey == b.IdempotencyKey
	}
	return true
}

// work asks about all items, several lanes at once as far as helpers are free: each item may
// wait for the disk, and those that wait together wait once. What has not begun when ctx ends is
// not done.
func (d *door) work(ctx context.Context, c *call, lanes []int) {
	var next atomic.Int64
	run := func() {
		for {
			n := int(next.Add(1)) - 1
			if n >= len(lanes) {
				return
			}
			for i := lanes[n]; i < len(c.batch); i++ {
				if it := &c.batch[i]; it.lane == lanes[n] && it.err == nil {
					if it.err = ctx.Err(); it.err == nil {
						it.verdict, it.err = d.ask(ctx, c.kind, &it.question.use)
					}
				}
			}
		}
	}
	var helping sync.WaitGroup
	var panicked atomic.Pointer[any]
	for n := 1; n < len(lanes) && d.helperFree(); n++ {
		helping.Go(func() {
			defer func() {
				if reason := recover(); reason != nil {
					panicked.Store(&reason)
				}
				<-d.helpers
			}()
			run()
		})
	}
	func() {
		defer helping.Wait()
		run()
	}()
	if reason := panicked.Load(); reason != nil {
		panic(*reason) // where the front of the doors survives it
	}
}

// helperFree takes one of the helpers, which gives itself back.
func (d *door) helperFree() bool {
	select {
	case d.helpers <- struct{}{}:
		return true
	default:
		return false
	}
}

func (d *door) answerBatch(ctx *fasthttp.RequestCtx, c *call) {
	newest := d.cfg.Evaluator.Generation().Resume()
	b := ctx.Response.SwapBody(nil)[:0]
	b = append(b, `{"items":[`...)
	for i := range c.batch {
		it := &c.batch[i]
		if i > 0 {
			b = append(b, ',')
		}
		if it.err != nil {
			b = append(d.problemOf(it.err).appendTo(append(b, `{"error":`...)), '}')
			continue
		}
		b = append(appendVerdict(append(b, '{'), &it.verdict, it.question.use.Flag, c.stale), '}')
	}
	b = append(server.AppendRevision(append(b, `],"revision":"`...), &newest), `"}`...)
	if cap(b) > maxPooledBytes {
		ctx.Response.SetBodyRaw(b) // which the connection does not keep
	} else {
		ctx.Response.SwapBody(b)
	}
	c.setRevision(ctx, &newest)
	ctx.SetContentType(jsonType)
}
