package listen_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tiergate/tiergate/internal/listen"
)

// pair is a certificate that signs itself, for servers and clients named name.
type pair struct {
	cert, key []byte // PEM
	tls       tls.Certificate
}

func pairOf(t *testing.T, name string) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p := pair{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	}
	if p.tls, err = tls.X509KeyPair(p.cert, p.key); err != nil {
		t.Fatal(err)
	}
	return p
}

// secured is a TLS listener on files that the test changes, with a clock of its own.
type secured struct {
	ln    net.Listener
	cert  string
	key   string
	clock atomic.Int64 // seconds since the beginning
	log   bytes.Buffer // written under the handshake, which the test waits for
}

func secure(t *testing.T, p pair, clientCA []byte) *secured {
	t.Helper()
	folder, beginning := t.TempDir(), time.Now()
	s := &secured{cert: filepath.Join(folder, "cert.pem"), key: filepath.Join(folder, "key.pem")}
	s.write(t, s.cert, p.cert)
	s.write(t, s.key, p.key)
	opts := listen.Options{
		Cert: s.cert, Key: s.key, Log: slog.New(slog.NewTextHandler(&s.log, nil)),
		Now: func() time.Time { return beginning.Add(time.Duration(s.clock.Load()) * time.Second) },
	}
	if clientCA != nil {
		opts.ClientCA = filepath.Join(folder, "ca.pem")
		s.write(t, opts.ClientCA, clientCA)
	}
	s.ln = open(t, "127.0.0.1:0", opts)
	return s
}

func (s *secured) write(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// handshake connects and returns the name in the server's certificate, or the error.
func (s *secured) handshake(t *testing.T, client *tls.Config) (string, error) {
	t.Helper()
	accepted := make(chan error, 1)
	go func() {
		c, err := s.ln.Accept()
		if err != nil {
			accepted <- err
			return
		}
		accepted <- c.(*tls.Conn).HandshakeContext(t.Context())
		_ = c.Close()
	}()
	client.InsecureSkipVerify = true // the test looks at the certificate itself
	c, err := tls.Dial("tcp", s.ln.Addr().String(), client)
	if serverErr := <-accepted; serverErr != nil {
		if c != nil {
			_ = c.Close()
		}
		return "", serverErr
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

func (s *secured) mustServe(t *testing.T, want string) {
	t.Helper()
	got, err := s.handshake(t, &tls.Config{})
	if err != nil || got != want {
		t.Errorf("the server shows %q, %v; want %q", got, err, want)
	}
}

// Changed files are in use within a second; a broken pair keeps the old one and says so
// once; mending it needs no restart.
func TestTLS_files_are_read_again(t *testing.T) {
	first, second := pairOf(t, "first"), pairOf(t, "second")
	s := secure(t, first, nil)
	s.mustServe(t, "first")

	s.clock.Add(10)
	s.write(t, s.cert, second.cert) // the key does not fit yet
	s.mustServe(t, "first")
	s.clock.Add(10)
	s.mustServe(t, "first")
	if n := strings.Count(s.log.String(), "broken"); n != 1 {
		t.Errorf("the broken pair is told %d times:\n%s", n, s.log.String())
	}

	s.clock.Add(10)
	s.write(t, s.key, second.key)
	s.mustServe(t, "second")

	s.clock.Add(10)
	if err := os.Remove(s.key); err != nil {
		t.Fatal(err)
	}
	s.mustServe(t, "second")
	if n := strings.Count(s.log.String(), "broken"); n != 2 {
		t.Errorf("the lost key is not told:\n%s", s.log.String())
	}
	if strings.Contains(s.log.String(), "PRIVATE") {
		t.Error("the log shows the key")
	}
}

// Files are not looked at more than once a second.
func TestTLS_files_are_left_alone_for_a_second(t *testing.T) {
	first, second := pairOf(t, "first"), pairOf(t, "second")
	s := secure(t, first, nil)
	s.clock.Store(3600)
	s.mustServe(t, "first") // looks
	s.write(t, s.cert, second.cert)
	s.write(t, s.key, second.key)
	s.mustServe(t, "first") // in the same second
	s.clock.Add(1)
	s.mustServe(t, "second")
}

// With a client CA, only its clients get in.
func TestTLS_client_certificates(t *testing.T) {
	server, friend, stranger := pairOf(t, "server"), pairOf(t, "friend"), pairOf(t, "stranger")
	s := secure(t, server, friend.cert)
	if name, err := s.handshake(t, &tls.Config{Certificates: []tls.Certificate{friend.tls}}); err != nil || name != "server" {
		t.Errorf("a friend got %q, %v", name, err)
	}
	if _, err := s.handshake(t, &tls.Config{Certificates: []tls.Certificate{stranger.tls}}); err == nil {
		t.Error("a stranger got in")
	}
	if _, err := s.handshake(t, &tls.Config{}); err == nil {
		t.Error("a client without certificate got in")
	}
	if _, err := s.handshake(t, &tls.Config{Certificates: []tls.Certificate{friend.tls}, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 got in")
	}
}

// Missing, half or broken TLS settings are one sentence at the start.
func TestTLS_settings_are_checked(t *testing.T) {
	p := pairOf(t, "p")
	folder := t.TempDir()
	cert, key, bad := filepath.Join(folder, "c"), filepath.Join(folder, "k"), filepath.Join(folder, "bad")
	for file, data := range map[string][]byte{cert: p.cert, key: p.key, bad: []byte("nonsense")} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	addr := "127.0.0.1:0"
	refused(t, addr, listen.Options{Cert: cert}, "--tls-cert", "--tls-key")
	refused(t, addr, listen.Options{ClientCA: cert}, "--tls-cert", "--tls-key")
	refused(t, addr, listen.Options{Cert: cert, Key: filepath.Join(folder, "none")}, "none", "no such file")
	refused(t, addr, listen.Options{Cert: cert, Key: bad}, bad)
	refused(t, addr, listen.Options{Cert: cert, Key: key, ClientCA: bad}, bad, "no PEM certificate")
	greet(t, open(t, "0.0.0.0:0", listen.Options{Cert: cert, Key: key}))
}
