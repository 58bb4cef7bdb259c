package decision_test

import (
	"bufio"
	"context"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/decision"
)

const (
	benchBody = `{"feature":"exports","subject":{"user":"alice","team":"acme"},"cost":1}`
	benchKey  = `{"feature":"exports","subject":{"user":"alice","team":"acme"},"attributes":{"country":"NZ"},"cost":1,` +
		`"idempotencyKey":"0198c5f6-7d6c-7b5a-9a53-6f0d0e1f2a3b","metadata":{"path":"/exports","bytes":1024}}`
)

// decided is a gate that has decided everything, so that the door's own cost shows.
type decided struct{ verdict tiergate.Verdict }

func (g *decided) Check(context.Context, *tiergate.Use) (tiergate.Verdict, error) {
	return g.verdict, nil
}

func (g *decided) Consume(context.Context, *tiergate.Use) (tiergate.Verdict, error) {
	return g.verdict, nil
}

func (g *decided) Track(context.Context, *tiergate.Use) (tiergate.Verdict, error) {
	return g.verdict, nil
}

func decidedDoor() server.Door {
	v, _ := answers("consume", &tiergate.Use{Request: tiergate.Request{Flag: "exports"}})
	d, _ := door(func(cfg *decision.Config) { cfg.Gate = &decided{v} })
	return d
}

// bareFiber is the floor: a Fiber handler that reads the body and answers a fixed one.
func bareFiber() *fiber.App {
	var ctx fasthttp.RequestCtx
	fill(&ctx, "/v1/consume", benchBody)
	decidedDoor().Handle(&ctx)
	fixed := ctx.Response.Body()
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Post("/v1/consume", func(c *fiber.Ctx) error {
		if len(c.Body()) == 0 {
			return fiber.ErrBadRequest
		}
		c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
		return c.Send(fixed)
	})
	return app
}

func fill(ctx *fasthttp.RequestCtx, path, body string) {
	var req fasthttp.Request
	req.Header.SetMethod(fasthttp.MethodPost)
	req.Header.SetRequestURI(path)
	req.Header.SetHost("localhost")
	req.Header.SetContentType("application/json")
	req.SetBodyString(body)
	ctx.Init(&req, nil, nil)
	ctx.Response.KeepBodyBuffer = true // as a connection does
}

// BenchmarkHandler measures what is between a parsed request and its answer.
func BenchmarkHandler(b *testing.B) {
	app := server.NewApp(server.Config{}, decidedDoor())
	handler, floor := app.Server().Handler, bareFiber().Handler()
	for _, bc := range []struct {
		name, path, body string
		handler          fasthttp.RequestHandler
	}{
		{"floor", "/v1/consume", benchBody, floor},
		{"check", "/v1/check", benchBody, handler},
		{"consume", "/v1/consume", benchBody, handler},
		{"key", "/v1/consume", benchKey, handler},
		{"reflect", "/v1/consume?reflect=1", benchBody, handler},
		{"nginx", "/v1/auth/nginx?user=alice&mode=consume", "", handler},
	} {
		b.Run(bc.name, func(b *testing.B) {
			var ctx fasthttp.RequestCtx
			fill(&ctx, bc.path, bc.body)
			ctx.Request.Header.Set("Tiergate-Feature", "exports") // for the proxy's
			b.ReportAllocs()
			for b.Loop() {
				ctx.Response.Reset()
				bc.handler(&ctx)
			}
			if s := ctx.Response.StatusCode(); s >= 300 {
				b.Fatalf("status %d: %s", s, ctx.Response.Body())
			}
		})
	}
}

// BenchmarkRequest measures whole requests over a connection in memory.
func BenchmarkRequest(b *testing.B) {
	for _, bc := range []struct {
		name, body string
		app        *fiber.App
	}{
		{"floor", benchBody, bareFiber()},
		{"consume", benchBody, server.NewApp(server.Config{}, decidedDoor())},
		{"key", benchKey, server.NewApp(server.Config{}, decidedDoor())},
	} {
		b.Run(bc.name, func(b *testing.B) {
			ln := fasthttputil.NewInmemoryListener()
			go func() { _ = bc.app.Listener(ln) }()
			c, err := ln.Dial()
			if err != nil {
				b.Fatal(err)
			}
			raw := []byte(post("/v1/consume", bc.body))
			r := bufio.NewReader(c)
			var res fasthttp.Response
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(raw); err != nil {
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
