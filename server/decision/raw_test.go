package decision_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A body that is too large is refused, and its sender gets to read why, though it is still
// sending.
func TestLargeBody_is_refused_readably(t *testing.T) {
	addr, _ := serve(t, nil)
	large := `{"feature":"` + strings.Repeat("x", 10<<20) + `"}`
	if got := ask(t, addr, post("/v1/consume", large)); got.status != 413 || readFault(t, got).Code != "too_large" {
		t.Errorf("%d %s", got.status, got.body)
	}
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 1<<20, large[:1<<20])
	chunked := "POST /v1/consume HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat(chunk, 10)
	if got := ask(t, addr, chunked); got.status != 413 || readFault(t, got).Code != "too_large" {
		t.Errorf("chunked: %d %s", got.status, got.body)
	}
}

// A gzip body below the limit that would become almost a gigabyte is refused without being inflated.
func TestGzipBomb_is_never_inflated(t *testing.T) {
	addr, _ := serve(t, nil)
	var member bytes.Buffer
	z := gzip.NewWriter(&member)
	_, _ = z.Write(make([]byte, 1<<20))
	_ = z.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got := ask(t, addr, post("/v1/consume", strings.Repeat(member.String(), 900), "Content-Encoding: gzip"))
	runtime.ReadMemStats(&after)
	if got.status != 415 || readFault(t, got).Code != "encoded" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
		t.Errorf("the request allocated %d bytes", used)
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

// What could be read as two different requests by two programs in a row takes nothing, also
// where no bodies are read.
func TestSmuggling_takes_nothing(t *testing.T) {
	addr, g := serve(t, nil)
	smuggled := post("/v1/consume", `{"feature":"x"}`)
	for _, head := range []string{"POST /v1/check HTTP/1.1\r\nHost: localhost\r\n", "GET /v1/auth/nginx?feature=x HTTP/1.1\r\nHost: localhost\r\n"} {
		for name, rest := range map[string]string{
			"TE and CL":           "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			"two lengths":         "Content-Length: 0\r\nContent-Length: 80\r\n\r\n",
			"obscured chunked":    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
			"signed length":       "Content-Length: +2\r\n\r\n{}",
			"chunk size overflow": "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff2\r\n{}\r\n0\r\n\r\n",
			"bare LF in header":   "Content-Length: 2\n\n{}",
			"folded header":       "X-A: b\r\n Content-Length: 80\r\n\r\n",
			"two hosts":           "Host: other\r\nContent-Length: 2\r\n\r\n{}",
		} {
			g.uses = nil
			got := everything(t, addr, head+rest+smuggled)
			for _, use := range g.uses {
				if strings.HasPrefix(use, "consume") {
					t.Errorf("%s after %q: the smuggled request took %s\n%s", name, head, use, got)
				}
			}
		}
	}
	g.uses = nil
	everything(t, addr, "GET /v1/auth/nginx?feature=x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"+smuggled)
	if len(g.uses) != 1 {
		t.Errorf("after a body that is not read: %q", g.uses)
	}
}

// Several requests sent at once on one connection are answered in order.
func TestPipelining_keeps_order(t *testing.T) {
	addr, _ := serve(t, nil)
	got := everything(t, addr, post("/v1/check", `{"feature":"tier"}`)+post("/v1/consume", `{`)+request("GET", "/v1/auth/forward?feature=x", "")+
		post("/v1/track", `{"feature":"x"}`))
	at := -1
	for _, want := range []string{`"reason":"TIER"`, `"code":"invalid"`, "HTTP/1.1 204", `"decisionId":"d1"`} {
		i := strings.Index(got, want)
		if i <= at {
			t.Fatalf("%s is not where it should be in:\n%s", want, got)
		}
		at = i
	}
}
