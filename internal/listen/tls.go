package listen

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Files are looked at when a client connects, at most once in checkEvery. A file that was
// written less than settleTime before it was read may have changed again unseen, within
// one tick of the file system's clock, and is read again.
const (
	checkEvery = time.Second
	settleTime = 2 * time.Second
)

// certFiles is a certificate, its key and the client CA in files. Safe for concurrent use.
type certFiles struct {
	opts Options
	log  *slog.Logger
	now  func() time.Time

	config atomic.Pointer[tls.Config] // made of the last good files
	next   atomic.Int64               // when to look again, Unix nanoseconds

	mu      sync.Mutex // guards what follows
	seen    []os.FileInfo
	settled bool
	problem string // of the last reading; logged once
}

func loadCertFiles(opts Options) (*certFiles, error) {
	if opts.Cert == "" || opts.Key == "" {
		return nil, errors.New("TLS needs both --tls-cert and --tls-key")
	}
	f := &certFiles{opts: opts, log: opts.log(), now: opts.Now}
	if f.now == nil {
		f.now = time.Now
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f, f.read()
}

// configFor returns the settings for one connection; it never fails.
func (f *certFiles) configFor(*tls.ClientHelloInfo) (*tls.Config, error) {
	now := f.now()
	if now.UnixNano() >= f.next.Load() && f.mu.TryLock() {
		f.refresh(now)
		f.mu.Unlock()
	}
	return f.config.Load(), nil
}

func (f *certFiles) refresh(now time.Time) {
	f.next.Store(now.Add(checkEvery).UnixNano())
	if f.settled && f.problem == "" && !f.changed() {
		return
	}
	old := f.config.Load()
	err := f.read()
	switch {
	case err != nil && err.Error() != f.problem:
		f.log.Error("TLS files changed and are broken: the old ones stay in use", "error", err)
		f.problem = err.Error()
	case err == nil && f.config.Load() != old:
		f.problem = ""
		f.log.Info("TLS files changed and are in use", "cert", f.opts.Cert)
	case err == nil:
		f.problem = ""
	}
}

func (f *certFiles) paths() []string {
	paths := []string{f.opts.Cert, f.opts.Key}
	if f.opts.ClientCA != "" {
		paths = append(paths, f.opts.ClientCA)
	}
	return paths
}

func (f *certFiles) changed() bool {
	for i, path := range f.paths() {
		info, err := os.Stat(path)
		if err != nil || !os.SameFile(info, f.seen[i]) || !info.ModTime().Equal(f.seen[i].ModTime()) || info.Size() != f.seen[i].Size() {
			return true
		}
	}
	return false
}

// read makes a config of the files and puts it in use. On an error the old one stays.
func (f *certFiles) read() error {
	var seen []os.FileInfo
	settled := true
	for _, path := range f.paths() { // before the contents, so that a later change is seen
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("read TLS files: %w", err)
		}
		seen = append(seen, info)
		settled = settled && f.now().Sub(info.ModTime()) > settleTime
	}
	pair, err := tls.LoadX509KeyPair(f.opts.Cert, f.opts.Key)
	if err != nil {
		return fmt.Errorf("read TLS certificate %s with key %s: %w", f.opts.Cert, f.opts.Key, err)
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{pair},
		NextProtos:   f.opts.Protocols,
	}
	if config.NextProtos == nil {
		config.NextProtos = []string{"http/1.1"}
	}
	if f.opts.ClientCA != "" {
		pem, err := os.ReadFile(f.opts.ClientCA)
		if err != nil {
			return fmt.Errorf("read TLS files: %w", err)
		}
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("read TLS files: %s holds no PEM certificate", f.opts.ClientCA)
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	f.seen, f.settled = seen, settled
	f.config.Store(config)
	return nil
}
