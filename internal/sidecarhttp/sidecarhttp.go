// Package sidecarhttp makes HTTP clients for a sidecar, which is next door.
package sidecarhttp

import (
	"context"
	"net"
	"net/http"
	"time"
)

// New returns a client that dials a Unix socket, or with "" what it is asked for. It uses no proxy
// and follows no redirect: a sidecar sends none, so one says that something else has answered.
func New(socket string) *http.Client {
	t := transport()
	t.Proxy = nil
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 100, 100
	t.DisableCompression = true
	t.IdleConnTimeout = 30 * time.Second // half of what a sidecar waits
	if socket != "" {
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}
	}
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// transport is as net/http's own, which a program may have replaced by what is none.
func transport() *http.Transport {
	if t, ok := http.DefaultTransport.(*http.Transport); ok {
		return t.Clone()
	}
	return &http.Transport{ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second}
}
