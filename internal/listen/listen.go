package listen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"time"
)

// Options say how to listen. The zero value is plain TCP on loopback, or a Unix socket
// for the current user only.
type Options struct {
	Flag string // the setting that chose the address, such as "--http-addr"; errors name it

	Cert     string // file with the PEM certificate chain; "" means no TLS
	Key      string // file with its PEM private key
	ClientCA string // file with the PEM certificates that client certificates must descend from; "" asks for none
	// Protocols are the application protocols of TLS, in order; nil means HTTP/1.1 only.
	Protocols []string

	Timeouts Timeouts    // of accepted connections; the zero value sets none
	Insecure bool        // allows an address beyond loopback without TLS
	UnixMode fs.FileMode // of a Unix socket; 0 means 0600
	Log      *slog.Logger
	Now      func() time.Time // nil means time.Now; paces the look at changed TLS files
}

func (o Options) log() *slog.Logger {
	if o.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Log
}

func (o Options) flag() string {
	if o.Flag == "" {
		return "another address"
	}
	return o.Flag
}

// Listen opens addr, "host:port" or "unix:/path". Its errors are one sentence that says
// what to do. A Unix socket never has TLS: its file mode says who may connect. Closing the
// listener removes the socket's file, and accepted connections outlive it.
func Listen(addr string, opts Options) (net.Listener, error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return listenUnix(path, opts)
	}
	var files *certFiles
	if opts.Cert != "" || opts.Key != "" || opts.ClientCA != "" {
		var err error
		if files, err = loadCertFiles(opts); err != nil {
			return nil, fmt.Errorf("listen on %s: %w", addr, err)
		}
	}
	ln, err := listenTCP(addr, files != nil, opts)
	if err != nil {
		return nil, err
	}
	if files == nil {
		return ln, nil
	}
	return tls.NewListener(ln, &tls.Config{GetConfigForClient: files.configFor, MinVersion: tls.VersionTLS12}), nil
}

func listenTCP(addr string, secure bool, opts Options) (net.Listener, error) {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("address %q of %s is not host:port or unix:/path: %w", addr, opts.flag(), err)
	}
	if !secure && !opts.Insecure && !tcp.IP.IsLoopback() {
		return nil, fmt.Errorf("address %s of %s can be reached from other machines: give --tls-cert and --tls-key, or allow it with --insecure",
			addr, opts.flag())
	}
	ln, err := net.ListenTCP("tcp", tcp)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("address %s is in use by another program: stop that, or choose another address with %s", addr, opts.flag())
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("address %s may not be used by this user: choose a port above 1023 with %s", addr, opts.flag())
	case err != nil:
		return nil, fmt.Errorf("listen on %s (%s): %w", addr, opts.flag(), err)
	}
	return listener{Listener: ln, timeouts: opts.Timeouts}, nil
}
