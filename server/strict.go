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
	for raw := view(h.RawHeaders()); raw != ""; {
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

func startsFold(line, name string) bool {
	return len(line) >= len(name) && strings.EqualFold(line[:len(name)], name)
}
