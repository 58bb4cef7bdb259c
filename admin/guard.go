package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/listen"
)

const headerRequestID = "X-Request-Id"

type requestIDKey struct{}

// requestIDOf returns the id of the request that ctx belongs to, or "".
func requestIDOf(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

var requestIDRE = regexp.MustCompile(`^[A-Za-z0-9._:+/=-]{1,64}$`)

// identify gives the request its id: the caller's own if it is sane, else a new one.
func identify(c *fiber.Ctx) string {
	id := c.Get(headerRequestID)
	if !requestIDRE.MatchString(id) {
		id = rand.Text()
	}
	c.SetUserContext(context.WithValue(c.UserContext(), requestIDKey{}, id))
	c.Set(headerRequestID, id)
	return id
}

// watch is the outermost guard: it names the request, survives panics, turns what comes
// back as an error into a problem, and says at debug level what happened. It logs the
// path without the query, and no header.
func (a *api) watch(c *fiber.Ctx) error {
	start, id := time.Now(), identify(c)
	if err := a.survive(c); err != nil {
		a.fail(c, err)
	}
	operation, _ := c.Locals(operationKey{}).(string)
	a.Observe(operation, c.Response().StatusCode())
	if a.log.Enabled(c.UserContext(), slog.LevelDebug) {
		a.log.DebugContext(c.UserContext(), "admin request", "method", c.Method(), "path", c.Path(),
			"status", c.Response().StatusCode(), "took", time.Since(start), "requestId", id)
	}
	return nil
}

// operationKey is where a request keeps the id of its operation, once that is known.
type operationKey struct{}

// survive turns a panic into an error that says nothing to the caller.
func (a *api) survive(c *fiber.Ctx) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			a.log.ErrorContext(c.UserContext(), "an admin request made the program panic",
				"requestId", requestIDOf(c.UserContext()), "panic", reason, "stack", string(debug.Stack()))
			err = newProblem(http.StatusInternalServerError, string(tiergate.Internal), "internal error")
		}
	}()
	return c.Next()
}

// fail answers with the problem of an error.
func (a *api) fail(c *fiber.Ctx, err error) {
	p := problemOf(plainError(err))
	logFailure(c.UserContext(), a.log, p, err)
	sendProblem(c, p)
}

func sendProblem(c *fiber.Ctx, p *Problem) {
	p.RequestID = requestIDOf(c.UserContext())
	if p.Status == http.StatusServiceUnavailable {
		c.Set(fiber.HeaderRetryAfter, "1")
	}
	c.Status(p.Status)
	_ = c.JSON(p) // strings and numbers: this cannot go wrong
	c.Set(fiber.HeaderContentType, problemType)
}

// plainError puts Fiber's own errors, whose texts repeat what was sent, in our words.
func plainError(err error) error {
	e, ok := errors.AsType[*fiber.Error](err)
	if !ok {
		return err
	}
	detail, known := map[int]string{
		http.StatusNotFound:                    "there is no such path",
		http.StatusMethodNotAllowed:            "this path does not know the method; the Allow header says which it knows",
		http.StatusRequestEntityTooLarge:       "the body is larger than 512 KiB",
		http.StatusRequestHeaderFieldsTooLarge: "the header is larger than 8 KiB",
		http.StatusRequestTimeout:              "the request took too long to arrive",
		http.StatusNotImplemented:              "nothing here knows the method",
		http.StatusMisdirectedRequest:          listen.WrongHost,
	}[e.Code]
	if !known {
		return newProblem(http.StatusBadRequest, string(tiergate.Invalid), "the request is not valid HTTP")
	}
	return newProblem(e.Code, codeOfStatus(e.Code), detail)
}

// connectionFailed answers what never became a request: too large, too slow, not HTTP.
// Nothing of it is logged: anybody can send it.
func (a *api) connectionFailed(c *fiber.Ctx, err error) error {
	identify(c)
	setHeaders(c)
	sendProblem(c, problemOf(plainError(err)))
	a.Observe("", c.Response().StatusCode())
	c.Context().SetConnectionClose()
	listen.Linger(c.Context().Conn())
	return nil
}

// knownMethods stands before Fiber's router, which answers methods that it does not know
// by itself and in plain text.
func (a *api) knownMethods(app *fiber.App, next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		if slices.Contains(fiber.DefaultMethods, string(ctx.Method())) {
			next(ctx)
			return
		}
		c := app.AcquireCtx(ctx)
		defer app.ReleaseCtx(c)
		_ = a.connectionFailed(c, fiber.ErrNotImplemented) // has answered
	}
}

// host refuses a request for another server, by its Host header or by its whole URL, which
// beats the header.
func (a *api) host(c *fiber.Ctx) error {
	local := c.Context().LocalAddr()
	if !a.Hosts.Serves(local, string(c.Request().Header.Host())) || !a.Hosts.Serves(local, string(c.Request().URI().Host())) {
		return fiber.ErrMisdirectedRequest
	}
	return c.Next()
}

// headers says to browsers that nothing of this is a page, a script or theirs to keep.
func (a *api) headers(c *fiber.Ctx) error {
	setHeaders(c)
	return c.Next()
}

func setHeaders(c *fiber.Ctx) {
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	c.Set(fiber.HeaderContentSecurityPolicy, "default-src 'none'; frame-ancestors 'none'")
	c.Set(fiber.HeaderReferrerPolicy, "no-referrer")
	c.Set("Cross-Origin-Resource-Policy", "same-origin")
	c.Set(fiber.HeaderCacheControl, "no-store")
}

// guard refuses what no route wants to see: a target that is not a URL of UTF-8 text, a
// compressed body, which Fiber would inflate without a bound, and a body that is not JSON.
func guard(c *fiber.Ctx) error {
	if !saneTarget(c.OriginalURL()) {
		return newProblem(http.StatusBadRequest, string(tiergate.Invalid), "the path or the query is not valid")
	}
	if err := strictQuery(c.OriginalURL()); err != nil {
		return err
	}
	if len(c.Request().Header.PeekAll(fiber.HeaderContentEncoding)) > 0 {
		return newProblem(http.StatusUnsupportedMediaType, codeOfStatus(http.StatusUnsupportedMediaType),
			"send the body as it is, without Content-Encoding")
	}
	if len(c.Request().Body()) > 0 && !saneType(c.Method(), c.Get(fiber.HeaderContentType)) {
		want := "application/json"
		if c.Method() == http.MethodPatch {
			want = "application/merge-patch+json or application/json"
		}
		return newProblem(http.StatusUnsupportedMediaType, codeOfStatus(http.StatusUnsupportedMediaType),
			"send the body with Content-Type: "+want)
	}
	return c.Next()
}

// saneTarget also keeps huma from a target that net/url cannot parse: it would panic.
func saneTarget(target string) bool {
	u, err := url.ParseRequestURI(target)
	if err != nil || !plainText(u.Path) {
		return false
	}
	query, err := url.ParseQuery(u.RawQuery)
	for name, values := range query {
		if !plainText(name) || !plainText(strings.Join(values, "")) {
			return false
		}
	}
	return err == nil
}

// strictQuery refuses a parameter that is there twice, of which one would be ignored, and
// a dryRun without a value, which whoever wrote it took for true.
func strictQuery(target string) error {
	_, raw, _ := strings.Cut(target, "?")
	query, _ := url.ParseQuery(raw)
	for name, values := range query {
		if len(values) > 1 {
			return tiergate.FieldErrorf("query."+name, "the query parameter %s is there twice", name)
		}
		if name == "dryRun" && values[0] == "" {
			return tiergate.FieldErrorf("query.dryRun", "dryRun is true or false")
		}
	}
	return nil
}

// plainText reports whether s is UTF-8 without control characters.
func plainText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func saneType(method, contentType string) bool {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return false
	}
	return media == "application/json" || method == http.MethodPatch && media == "application/merge-patch+json"
}
