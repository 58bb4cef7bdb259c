package server

import (
	"context"
	"net"
	"testing"
	"time"
)

// A program that is told to end before it has begun to accept ends all the same.
func TestServe_ends_when_told_before_it_begins(t *testing.T) {
	for range 200 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		done := make(chan error, 1)
		go func() { done <- Serve(ctx, NewApp(Config{}), ln, time.Second) }()
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("it does not end")
		}
	}
}
