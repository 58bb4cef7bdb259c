package client_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/tiergate/tiergate/client"
	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/server"
)

// exampleSidecar stands for a sidecar that listens at a target. The gate behind it lets each user
// use exports three times a day, and nobody white-label.
func exampleSidecar() (target string, end func()) {
	ln, err := listen.Listen("127.0.0.1:0", listen.Options{})
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, server.NewApp(server.Config{}, newGate().door()), ln, time.Second) }()
	return "http://" + ln.Addr().String(), func() {
		stop()
		if err := <-done; err != nil {
			fmt.Println(err)
		}
	}
}

func ExampleClient_Consume() {
	target, end := exampleSidecar()
	defer end()
	c, err := client.New(client.Options{Target: target})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	for range 4 {
		d, err := c.Consume(context.Background(), client.Use{Feature: "exports", Subject: client.Subject{User: "alice", Team: "acme"}})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(d.Allow, d.Reason, d.Limits[0].Min, d.RetryAfter.Round(time.Minute))
	}
	// Output:
	// true ALLOWED 2 0s
	// true ALLOWED 1 0s
	// true ALLOWED 0 0s
	// false EXHAUSTED 0 1h0m0s
}

func ExampleMiddleware() {
	target, end := exampleSidecar()
	defer end()
	c, err := client.New(client.Options{Target: target})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	gate := client.Middleware{
		Guard: client.Guard{Client: c},
		Subject: func(r *http.Request) client.Subject {
			user, _, _ := r.BasicAuth() // which a real service has verified
			return client.Subject{User: user}
		},
	}
	mux := http.NewServeMux()
	mux.Handle("GET /brand", gate.RequireFeature("white-label")(http.NotFoundHandler()))
	mux.Handle("POST /exports", gate.EnforceLimit("exports")(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, "exported")
	})))

	for _, request := range []string{"GET /brand", "POST /exports", "POST /exports", "POST /exports", "POST /exports"} {
		var method, path string
		_, _ = fmt.Sscan(request, &method, &path)
		r := httptest.NewRequest(method, path, nil)
		r.SetBasicAuth("alice", "secret")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 403 {"error":"Feature not available for your tier"}
	// 200 exported
	// 200 exported
	// 200 exported
	// 429 {"error":"Usage limit exceeded"}
}
