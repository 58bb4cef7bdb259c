package admin

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humafiber"
	"github.com/gofiber/fiber/v2"
)

type humaContext = huma.Context

// A request is huma's view of a request, without three habits of the adapter: it reads
// the body through Fiber's inflating Body, it hands on path parameters still escaped, and
// it negotiates a media type where there is one only.
type request struct{ humaContext }

// Unwrap lets humafiber find its own context.
func (r request) Unwrap() huma.Context { return r.humaContext }

// BodyReader reads the body as it was sent.
func (r request) BodyReader() io.Reader {
	return bytes.NewReader(humafiber.Unwrap(r.humaContext).BodyRaw())
}

// Param returns a path parameter unescaped. The guard has seen that it can be.
func (r request) Param(name string) string {
	value := r.humaContext.Param(name)
	if plain, err := url.PathUnescape(value); err == nil {
		return plain
	}
	return value
}

// Header returns a request header; whatever a caller accepts, it gets JSON.
func (r request) Header(name string) string {
	if strings.EqualFold(name, "Accept") {
		return ""
	}
	return r.humaContext.Header(name)
}

// id returns the parameter that names the thing of the path, "" when there is none.
func (r request) id() string {
	_, after, _ := strings.Cut(r.Operation().Path, "{")
	name, _, _ := strings.Cut(after, "}")
	if name == "" {
		return ""
	}
	return r.Param(name)
}

// headToo registers HEAD beside each GET, which huma's adapter leaves out. The server
// drops the body.
type headToo struct{ fiber.Router }

func (h headToo) Add(method, path string, handlers ...fiber.Handler) fiber.Router {
	if method == http.MethodGet {
		h.Router.Add(http.MethodHead, path, handlers...)
	}
	return h.Router.Add(method, path, handlers...)
}
