package ofrep_test

import (
	"bufio"
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server/ofrep"
)

const benchBody = `{"context":{"targetingKey":"alice","teamId":"acme","plan":"enterprise","country":"NZ","age":33}}`

// bareFiber is the floor: a Fiber handler that reads the body and answers a fixed one.
func bareFiber() *fiber.App {
	fixed := []byte(`{"key":"on","reason":"STATIC","variant":"on","value":true,"metadata":{"revision":"01234567-7"}}`)
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Post("/ofrep/v1/evaluate/flags/:key", func(c *fiber.Ctx) error {
		if len(c.Body()) == 0 {
			return fiber.ErrBadRequest
		}
		c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
		return c.Send(fixed)
	})
	return app
}

// decided is a generation that has decided everything, so that the door's own cost shows.
type decided struct {
	*generation
	all []tiergate.Decision
}

func (g *decided) Decide(*tiergate.Request) tiergate.Decision { return g.all[0] }

func (g *decided) All(*tiergate.Request) iter.Seq[tiergate.Decision] { return slices.Values(g.all) }

type decidedEvaluator struct{ gen *decided }

func (e decidedEvaluator) Generation() tiergate.Generation { return e.gen }

// doorOf100 is an app over 100 decided flags; streaming, its answers tell of streams.
func doorOf100(streaming bool) *fiber.App {
	g := &decided{generation: demo()}
	for i := range 100 {
		d := value(tiergate.Boolean, "on", "true")
		d.Flag, d.Tier = fmt.Sprintf("feature-number-%d", i), "enterprise"
		g.all = append(g.all, d)
	}
	cfg := ofrep.Config{Evaluator: decidedEvaluator{g}}
	if streaming {
		cfg.Streams = ofrep.NewStreams(ofrep.StreamConfig{Secret: []byte(streamSecret)})
	}
	return appOf(cfg)
}

// BenchmarkHandler measures what is between a parsed request and its answer.
func BenchmarkHandler(b *testing.B) {
	door, streaming, floor := doorOf100(false), doorOf100(true), bareFiber()
	tagOf := func(app *fiber.App) string {
		var ctx fasthttp.RequestCtx
		fill(&ctx, flags)
		app.Server().Handler(&ctx)
		return string(ctx.Response.Header.Peek("ETag"))
	}
	for _, bc := range []struct {
		name, path, tag string
		app             *fiber.App
	}{
		{"floor", flags + "/on", "", floor},
		{"single", flags + "/on", "", door},
		{"single/streaming", flags + "/on", "", streaming},
		{"bulk100", flags, "", door},
		{"bulk100/streaming", flags, "", streaming},
		{"notmodified", flags, tagOf(door), door},
		{"notmodified/streaming", flags, tagOf(streaming), streaming},
	} {
		b.Run(bc.name, func(b *testing.B) {
			handler := bc.app.Handler()
			if bc.app != floor {
				handler = bc.app.Server().Handler
			}
			var ctx fasthttp.RequestCtx
			fill(&ctx, bc.path)
			if bc.tag != "" {
				ctx.Request.Header.Set("If-None-Match", bc.tag)
			}
			b.ReportAllocs()
			for b.Loop() {
				ctx.Response.Reset()
				handler(&ctx)
			}
		})
	}
}

func fill(ctx *fasthttp.RequestCtx, path string) {
	var req fasthttp.Request
	req.Header.SetMethod(fasthttp.MethodPost)
	req.Header.SetRequestURI(path)
	req.Header.SetHost("localhost")
	req.Header.SetContentType("application/json")
	req.SetBodyString(benchBody)
	ctx.Init(&req, nil, nil)
	ctx.Response.KeepBodyBuffer = true // as a connection does
}

// BenchmarkRequest measures whole requests over a connection in memory.
func BenchmarkRequest(b *testing.B) {
	door, floor := doorOf100(false), bareFiber()
	for _, bc := range []struct {
		name, path string
		app        *fiber.App
	}{
		{"floor", flags + "/on", floor},
		{"single", flags + "/on", door},
		{"bulk100", flags, door},
	} {
		b.Run(bc.name, func(b *testing.B) {
			ln := fasthttputil.NewInmemoryListener()
			go func() { _ = bc.app.Listener(ln) }()
			c, err := ln.Dial()
			if err != nil {
				b.Fatal(err)
			}
			request := []byte(post(bc.path, benchBody))
			r := bufio.NewReader(c)
			var res fasthttp.Response
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(request); err != nil {
					b.Fatal(err)
				}
				if err := res.Read(r); err != nil || res.StatusCode() != 200 {
					b.Fatal(err, res.StatusCode())
				}
			}
			_ = c.Close()
			_ = bc.app.Shutdown()
		})
	}
}
