package ofrep_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/ofrep"
)

// A body that is too large is refused, and its sender gets to read why, though it is
// still sending.
func TestLargeBody_is_refused_readably(t *testing.T) {
	addr := serve(t, appOf(ofrep.Config{Evaluator: fakeOf(demo())}))
	large := `{"context":{"a":"` + strings.Repeat("x", 10<<20) + `"}}`
	got := exchange(t, addr, post(flags+"/on", large), 1)[0]
	if key, code := readFailure(t, got); got.status != 413 || key != "on" || code != "GENERAL" {
		t.Errorf("%d %s", got.status, got.body)
	}
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 1<<20, large[:1<<20])
	chunked := "POST " + flags + "/on HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat(chunk, 10)
	if got := exchange(t, addr, chunked, 1)[0]; got.status != 413 {
		t.Errorf("chunked: %d %s", got.status, got.body)
	}
	fits := `{"context":{"a":"` + strings.Repeat("x", ofrep.MaxBodyBytes-20) + `"}}`
	if got := exchange(t, addr, post(flags+"/on", fits), 1)[0]; got.status != 200 {
		t.Errorf("a body of %d bytes: %d %s", len(fits), got.status, got.body)
	}
}

// A gzip body below the limit that would become almost a gigabyte is refused without being inflated.
func TestGzipBomb_is_never_inflated(t *testing.T) {
	addr := serve(t, appOf(ofrep.Config{Evaluator: fakeOf(demo())}))
	var member bytes.Buffer
	z := gzip.NewWriter(&member)
	_, _ = z.Write(make([]byte, 1<<20))
	_ = z.Close()
	bomb := strings.Repeat(member.String(), 900) // members in a row are one gzip text
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got := exchange(t, addr, post(flags+"/on", bomb, "Content-Encoding: gzip"), 1)[0]
	runtime.ReadMemStats(&after)
	if _, code := readFailure(t, got); got.status != 415 || code != "GENERAL" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
		t.Errorf("the request allocated %d bytes", used)
	}
}

// What could be read as two different requests by two programs in a row is read as none.
func TestSmuggling_is_refused(t *testing.T) {
	addr := serve(t, appOf(ofrep.Config{Evaluator: fakeOf(demo())}))
	smuggled := "POST " + flags + "/blue HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
	head := "POST " + flags + "/on HTTP/1.1\r\nHost: localhost\r\n"
	for name, raw := range map[string]string{
		"TE and CL":            head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"CL and TE":            head + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + smuggled,
		"two lengths":          head + "Content-Length: 0\r\nContent-Length: 80\r\n\r\n" + smuggled,
		"two encodings":        head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + smuggled,
		"obscured chunked":     head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + smuggled,
		"space before colon":   head + "Content-Length : 5\r\n\r\n" + smuggled,
		"tab in encoding":      head + "Transfer-Encoding:\tchunked, identity\r\n\r\n0\r\n\r\n" + smuggled,
		"signed length":        head + "Content-Length: +2\r\n\r\n{}" + smuggled,
		"hex length":           head + "Content-Length: 0x2\r\n\r\n{}" + smuggled,
		"chunked in HTTP/1.0":  strings.Replace(head, "HTTP/1.1", "HTTP/1.0", 1) + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"chunk with bare LF":   head + "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n" + smuggled,
		"chunk size overflow":  head + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff2\r\n{}\r\n0\r\n\r\n" + smuggled,
		"bare LF in header":    "POST " + flags + "/on HTTP/1.1\nHost: localhost\nContent-Length: 2\n\n{}" + smuggled,
		"bare CR in header":    head + "X-A: b\rContent-Length: 80\r\n\r\n" + smuggled,
		"folded header":        head + "X-A: b\r\n Content-Length: 80\r\n\r\n" + smuggled,
		"no host":              "POST " + flags + "/on HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}" + smuggled,
		"two hosts":            head + "Host: other\r\nContent-Length: 2\r\n\r\n{}" + smuggled,
		"NUL in a name":        head + "X\x00A: b\r\nContent-Length: 2\r\n\r\n{}" + smuggled,
		"space in the target":  "POST " + flags + "/o n HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}" + smuggled,
		"not HTTP":             "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
		"another HTTP version": "POST " + flags + "/on HTTP/2.0\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}" + smuggled,
	} {
		t.Run(name, func(t *testing.T) {
			answers := everything(t, addr, raw)
			if strings.Contains(answers, "#00f") {
				t.Errorf("the smuggled request was answered:\n%s", answers)
			}
			if n := strings.Count(answers, "HTTP/1.1 "); n > 1 || strings.Contains(answers, " 200 ") {
				t.Errorf("%d answers, want one refusal:\n%s", n, answers)
			}
		})
	}
}

// everything sends raw and reads all that comes until the server closes.
func everything(t *testing.T, addr, raw string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c, raw)
	_ = c.(*net.TCPConn).CloseWrite()
	all, _ := io.ReadAll(c)
	return string(all)
}

// A header that is larger than the bound is refused as such.
func TestLargeHeader_is_refused(t *testing.T) {
	addr := serve(t, appOf(ofrep.Config{Evaluator: fakeOf(demo())}))
	got := exchange(t, addr, post(flags+"/on", "{}", "X-Long: "+strings.Repeat("x", 1<<20)), 1)[0]
	if _, code := readFailure(t, got); got.status != 431 || code != "GENERAL" {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// A client that never finishes its request is cut off; others are answered meanwhile.
func TestSlowBody_is_cut_off(t *testing.T) {
	ln, err := listen.Listen("127.0.0.1:0", listen.Options{Timeouts: listen.Timeouts{Request: 2 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	addr := serveOn(t, appOf(ofrep.Config{Evaluator: fakeOf(demo())}), ln)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, post(flags+"/on", strings.Repeat(" ", 100))[:100])
	if got := exchange(t, addr, post(flags+"/on", "{}"), 1)[0]; got.status != 200 {
		t.Errorf("another client got %d", got.status)
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	all, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(all), "HTTP/1.1 408 ") || !strings.Contains(string(all), `"errorCode":"GENERAL"`) {
		t.Errorf("the slow client got %q, %v", all, err)
	}
}

// A client that waits for the go-ahead gets it, and a refusal before it sends a large body.
func TestExpectContinue(t *testing.T) {
	addr := serve(t, appOf(ofrep.Config{Evaluator: fakeOf(demo())}))
	got := everything(t, addr, post(flags+"/on", "{}", "Expect: 100-continue"))
	if !strings.HasPrefix(got, "HTTP/1.1 100 ") || !strings.Contains(got, "HTTP/1.1 200 ") {
		t.Errorf("got %q", got)
	}
}

// Through a Unix socket any Host is answered: the file's mode says who may connect.
func TestUnixSocket_answers_any_host(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := listen.Listen("unix:"+path, listen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, appOf(ofrep.Config{Evaluator: fakeOf(demo())}), ln)
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
	res, err := client.Post("http://whatever"+flags+"/on", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 200 {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

// Pages of listed origins may ask and read the headers that web providers need; others
// get no CORS header at all, and neither does anybody when no origin is listed.
func TestCORS(t *testing.T) {
	door := ofrep.New(ofrep.Config{Evaluator: fakeOf(demo())})
	listed := serve(t, server.NewApp(server.Config{CORSOrigins: []string{"https://app.example"}}, door))
	all := serve(t, server.NewApp(server.Config{CORSOrigins: []string{"*"}}, door))
	none := serve(t, server.NewApp(server.Config{}, door))
	preflight := "OPTIONS " + flags + " HTTP/1.1\r\nHost: localhost\r\nOrigin: %s\r\nAccess-Control-Request-Method: POST\r\n\r\n"
	for _, tc := range []struct {
		name, addr, raw, origin string
		status                  int
	}{
		{"listed preflight", listed, fmt.Sprintf(preflight, "https://app.example"), "https://app.example", 204},
		{"other preflight", listed, fmt.Sprintf(preflight, "https://evil.example"), "", 405},
		{"any preflight", all, fmt.Sprintf(preflight, "https://evil.example"), "*", 204},
		{"no CORS", none, fmt.Sprintf(preflight, "https://app.example"), "", 405},
		{"listed request", listed, post(flags+"/on", "{}", "Origin: https://app.example"), "https://app.example", 200},
		{"listed error", listed, post(flags+"/nope", "{}", "Origin: https://app.example"), "https://app.example", 404},
		{"listed refusal", listed, post(flags+"/on", strings.Repeat(" ", 2<<20), "Origin: https://app.example"), "https://app.example", 413},
		{"other request", listed, post(flags+"/on", "{}", "Origin: https://evil.example"), "", 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := exchange(t, tc.addr, tc.raw, 1)[0]
			if got.status != tc.status || got.header.Get("Access-Control-Allow-Origin") != tc.origin {
				t.Errorf("status %d, headers %v", got.status, got.header)
			}
			exposed := got.header.Get("Access-Control-Expose-Headers")
			if tc.origin != "" && (!strings.Contains(exposed, "ETag") || !strings.Contains(exposed, "Retry-After")) {
				t.Errorf("exposed are %q", exposed)
			}
			if tc.status == 204 {
				for _, h := range []string{"Authorization", "X-API-Key", "If-None-Match", "Content-Type", "Flagd-Selector"} {
					if !strings.Contains(got.header.Get("Access-Control-Allow-Headers"), h) {
						t.Errorf("%s is not allowed", h)
					}
				}
			}
		})
	}
}

// A request over TLS that is refused unread is closed as gently as a plain one.
func TestTLS_large_body_is_refused_readably(t *testing.T) {
	cert, key := selfSigned(t)
	ln, err := listen.Listen("127.0.0.1:0", listen.Options{Cert: cert, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	addr := serveOn(t, appOf(ofrep.Config{Evaluator: fakeOf(demo())}), ln)
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // a test's own certificate
	}}
	res, err := client.Post("https://"+addr+flags+"/on", "application/json", strings.NewReader(strings.Repeat(" ", 10<<20)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 413 {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}
