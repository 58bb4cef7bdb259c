package decision

import (
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
	bound, cancel := slow()
	defer cancel()
	use, held := own(&c.question.use), strings.Clone(c.question.item)
	var v tiergate.Verdict
	switch c.kind {
	case hold:
		v, err = d.cfg.Gauges.Hold(bound, &use, held)
	case drop:
		v, err = d.cfg.Gauges.Drop(bound, &use, held)
	default:
		items := slices.Clone(c.question.items)
		for i := range items {
			items[i] = strings.Clone(items[i])
		}
		v, err = d.cfg.Gauges.Replace(bound, &use, items)
	}
	if err != nil {
		return err
	}
	c.answer(ctx, &v, nil)
	return nil
}
