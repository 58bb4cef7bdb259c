package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/gofiber/fiber/v2"
)

// Serve answers on ln until ctx ends; then it closes ln, tells clients to close, lets the
// requests under way finish for at most drain, and returns nil. Connections that are still
// busy then end with the program. It returns earlier only with the reason why ln broke.
func Serve(ctx context.Context, app *fiber.App, ln net.Listener, drain time.Duration) error {
	done := make(chan error, 1)
	go func() { done <- app.Listener(ln) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve %s: %w", ln.Addr(), cmp.Or(err, net.ErrClosed))
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	err := app.ShutdownWithContext(bounded)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	_ = ln.Close() // a shutdown that comes before the first accept leaves it open
	if ended := <-done; err == nil && !errors.Is(ended, net.ErrClosed) {
		err = ended
	}
	return err
}
