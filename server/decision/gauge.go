package decision

import (
	"context"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
)

// gauge adds an item to what a subject holds, removes one, or says what all of them are.
func (d *door) gauge(ctx *fasthttp.RequestCtx, c *call) error {
	doc, err := c.parse(ctx, false)
	if err != nil {
		return err
	}
	if err := c.read(doc, c.kind, &c.question); err != nil {
		return err
	}
	bound, cancel := slow(context.Background())
	defer cancel()
	v, err := d.askGauge(bound, c)
	if err != nil {
		return err
	}
	c.answer(ctx, &v, nil)
	return nil
}

// askGauge does what is asked, with copies of all that those who keep it may keep.
func (d *door) askGauge(ctx context.Context, c *call) (tiergate.Verdict, error) {
	use, held := own(&c.question.use), strings.Clone(c.question.item)
	switch c.kind {
	case hold:
		return d.cfg.Gauges.Hold(ctx, &use, held)
	case drop:
		return d.cfg.Gauges.Drop(ctx, &use, held)
	}
	items := slices.Clone(c.question.items)
	for i := range items {
		items[i] = strings.Clone(items[i])
	}
	return d.cfg.Gauges.Replace(ctx, &use, items)
}
