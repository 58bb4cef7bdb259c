// Command nethttp is a small service whose routes are guarded by a tiergate sidecar.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/tiergate/tiergate/client"
)

// tokens stand for what a real service has: sessions, or verified JWTs.
var tokens = map[string]client.Subject{
	"alice-token": {User: "alice", Team: "acme"},
	"bob-token":   {User: "bob", Team: "globex"},
	"carol-token": {User: "carol"},
}

func subject(r *http.Request) client.Subject {
	return tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
}

// authenticated refuses who is nobody, before anything is decided about them.
func authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subject(r).User == "" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func service(c *client.Client) http.Handler {
	gate := client.Middleware{
		Guard:   client.Guard{Client: c, OnError: func(_ context.Context, err error) { log.Print(err) }},
		Subject: subject,
	}
	mux := http.NewServeMux()
	mux.Handle("GET /brand", gate.RequireFeature("white-label")(say("your brand, your colours")))
	mux.Handle("POST /exports", gate.EnforceLimit("exports")(say("exported")))
	return authenticated(mux)
}

func say(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s, %s\n", text, client.DecisionOf(r.Context()).Tier)
	})
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
	s := &http.Server{Handler: service(c), ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	if err := s.Serve(ln); ctx.Err() == nil {
		return err
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
