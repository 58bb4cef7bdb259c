package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const oneFlag = `{"flags": {"theme": {"state": "ENABLED", "variants": {"a": 1}, "defaultVariant": "a"}}}`

func folderOf(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	save(t, dir, "flags.json", []byte(text))
	return dir
}

// visitor returns a client that trusts the servers given, with a certificate or none, and
// opens a connection for each request.
func visitor(certificate *identity, trusted ...identity) *http.Client {
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	for _, id := range trusted {
		config.RootCAs.AppendCertsFromPEM(id.cert)
	}
	if certificate != nil {
		config.Certificates = []tls.Certificate{certificate.tls}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
}

// With certificates both doors speak TLS to clients with a certificate of the authority,
// and to nobody else; changed files are in use without a restart, and broken ones are
// named and not used.
func TestSidecar_over_TLS(t *testing.T) {
	first, second := identityOf(t, "first"), identityOf(t, "second")
	friend, stranger := identityOf(t, "friend"), identityOf(t, "stranger")
	dir := t.TempDir()
	cert, key := save(t, dir, "cert.pem", first.cert), save(t, dir, "key.pem", first.key)
	p := launch(t, dataDir(t), "sidecar", "--source", "file:"+folderOf(t, oneFlag),
		"--tls-cert", cert, "--tls-key", key, "--tls-client-ca", save(t, dir, "ca.pem", friend.cert))
	p.scheme, p.client = "https", visitor(&friend, first, second)
	p.waitReady(t)
	shown := func() string { return p.certificate(t, &friend, first, second) }

	if status, got := p.ask(t, "theme", nil); status != 200 || value(got, "variant") != "a" || shown() != "first" {
		t.Errorf("the answer is %d: %v, of %s", status, got, shown())
	}
	if status := p.get("/status"); strings.Count(status, `"tls":true`) != 2 {
		t.Errorf("the status is %s", status)
	}
	for what, client := range map[string]*http.Client{
		"without a certificate": visitor(nil, first), "with a certificate of somebody else": visitor(&stranger, first),
	} {
		for _, addr := range []string{p.http, p.ops} {
			if resp, err := client.Get("https://" + addr + "/healthz"); err == nil {
				_ = resp.Body.Close()
				t.Errorf("a client %s is answered with %s", what, resp.Status)
			}
		}
	}
	if resp, err := http.Get("http://" + p.http + "/"); err == nil {
		_ = resp.Body.Close()
		t.Errorf("plain HTTP is answered with %s", resp.Status)
	}

	save(t, dir, "cert.pem", second.cert) // with the key of the first
	p.eventually(t, "the broken pair is named", func() bool {
		p.get("/healthz")
		return strings.Contains(p.out.String(), "TLS files changed and are broken: the old ones stay in use")
	})
	if shown() != "first" {
		t.Errorf("beside a broken pair the certificate is of %s", shown())
	}
	save(t, dir, "key.pem", second.key)
	p.eventually(t, "the new pair is in use", func() bool { return shown() == "second" })
	if code := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the exit code is %d", code)
	}
}

// certificate returns the name in the certificate of the OFREP door.
func (p *program) certificate(t *testing.T, client *identity, trusted ...identity) string {
	t.Helper()
	config := visitor(client, trusted...).Transport.(*http.Transport).TLSClientConfig
	conn, err := tls.Dial("tcp", p.http, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}

// On Unix sockets both doors answer their owner only; the sockets go with the program, and
// those that a killed one left behind are taken over.
func TestSidecar_over_unix_sockets(t *testing.T) {
	dir, flags, data := t.TempDir(), folderOf(t, oneFlag), dataDir(t)
	sockets := map[string]string{"http": filepath.Join(dir, "http"), "ops": filepath.Join(dir, "ops")}
	over := func(door string) *http.Client {
		return &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", sockets[door])
			},
		}}
	}
	for _, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		p := launchOn(t, &program{http: "unix:" + sockets["http"], ops: "unix:" + sockets["ops"]}, data, "sidecar", "--source", "file:"+flags)
		asked := &program{http: "localhost", ops: "localhost", client: over("http")}
		watched := &program{ops: "localhost", client: over("ops"), done: p.done}
		watched.waitReady(t)
		if status, got := asked.ask(t, "theme", nil); status != 200 || value(got, "variant") != "a" {
			t.Errorf("the answer is %d: %v", status, got)
		}
		for door, path := range sockets {
			if info, err := os.Stat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
				t.Errorf("the socket of %s: %v, %v", door, info.Mode(), err)
			}
		}
		code := p.stop(t, end)
		if end == syscall.SIGKILL {
			continue
		}
		if left, err := os.ReadDir(dir); code != 0 || err != nil || len(left) > 0 {
			t.Errorf("exit code %d, and %v is left, %v", code, left, err)
		}
	}
}
