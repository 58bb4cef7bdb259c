package server

import (
	"strings"

	"github.com/valyala/fasthttp"
)

// ambiguous reports whether a request could be read in another way by a proxy before us:
// then one of its readers might see a second request inside it. fasthttp refuses most such
// requests itself; what it forgives is refused here: a line that ends with a bare line
// feed, a line folded into the one before, and a length beside a transfer encoding.
func ambiguous(h *fasthttp.RequestHeader) bool {
	length, encoding := false, false
	for raw := View(h.RawHeaders()); raw != ""; {
		end := strings.IndexByte(raw, '\n')
		if end < 1 || raw[end-1] != '\r' {
			return true
		}
		switch raw[0] {
		case ' ', '\t':
			return true
		case 'c', 'C':
			length = length || startsFold(raw, "content-length:")
		case 't', 'T':
			encoding = encoding || startsFold(raw, "transfer-encoding:")
		}
		raw = raw[end+1:]
	}
	return length && encoding
}

// declaresBody reports whether a request that is not ambiguous says that a body follows.
func declaresBody(h *fasthttp.RequestHeader) bool {
	for raw := View(h.RawHeaders()); raw != ""; {
		line, rest, _ := strings.Cut(raw, "\r\n")
		if startsFold(line, "transfer-encoding:") {
			return true
		}
		if startsFold(line, "content-length:") {
			return strings.Trim(line[len("content-length:"):], " \t0") != ""
		}
		raw = rest
	}
	return false
}

func startsFold(line, name string) bool {
	return len(line) >= len(name) && strings.EqualFold(line[:len(name)], name)
}

// Encoded reports whether a request's body is something else than what its length says. The
// name for no encoding does not belong into a request, and some clients send it all the same.
func Encoded(ctx *fasthttp.RequestCtx) bool {
	encoding := ctx.Request.Header.ContentEncoding()
	return len(encoding) > 0 && !strings.EqualFold(View(encoding), "identity")
}
