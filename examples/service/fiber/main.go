// Command fiber is the service of command nethttp, written with Fiber.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os/signal"
	"strings"
	"syscall"

	"github.com/gofiber/fiber/v2"

	"github.com/tiergate/tiergate/client"
	"github.com/tiergate/tiergate/client/fibergate"
)

// tokens stand for what a real service has: sessions, or verified JWTs.
var tokens = map[string]client.Subject{
	"alice-token": {User: "alice", Team: "acme"},
	"bob-token":   {User: "bob", Team: "globex"},
	"carol-token": {User: "carol"},
}

func subject(c *fiber.Ctx) client.Subject {
	return tokens[strings.TrimPrefix(c.Get(fiber.HeaderAuthorization), "Bearer ")]
}

// authenticated refuses who is nobody, before anything is decided about them.
func authenticated(c *fiber.Ctx) error {
	if subject(c).User == "" {
		return fiber.NewError(fiber.StatusUnauthorized, "who are you?")
	}
	return c.Next()
}

func service(c *client.Client) *fiber.App {
	gate := fibergate.Middleware{
		Guard:   client.Guard{Client: c, OnError: func(_ context.Context, err error) { log.Print(err) }},
		Subject: subject,
	}
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Use(authenticated)
	app.Get("/brand", gate.RequireFeature("white-label"), say("your brand, your colours"))
	app.Post("/exports", gate.EnforceLimit("exports"), say("exported"))
	return app
}

func say(text string) fiber.Handler {
	return func(c *fiber.Ctx) error {
		return c.SendString(fmt.Sprintf("%s, %s\n", text, fibergate.DecisionOf(c).Tier))
	}
}

func run() error {
	addr := flag.String("addr", "127.0.0.1:8081", "where to listen")
	target := flag.String("tiergate", client.DefaultTarget, "where the sidecar listens")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	c, err := client.New(client.Options{Target: *target})
	if err != nil {
		return err
	}
	defer c.Close()
	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	fmt.Println("listening on", ln.Addr())
	app := service(c)
	context.AfterFunc(ctx, func() { _ = app.Shutdown() })
	return app.Listener(ln)
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
