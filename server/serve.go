package server

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/gofiber/fiber/v2"
)

// Serve answers on ln until ctx ends; then it lets the requests under way finish for at
// most drain, closes the connections, and returns nil. It returns earlier only with the
// reason why ln broke.
func Serve(ctx context.Context, app *fiber.App, ln net.Listener, drain time.Duration) error {
	done := make(chan error, 1)
	go func() { done <- app.Listener(ln) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	err := app.ShutdownWithContext(bounded)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil // what was still open has been cut
	}
	return errors.Join(err, <-done)
}
