package decision

import (
	"errors"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
	"github.com/tiergate/tiergate/server"
)

const (
	problemType = "application/problem+json"
	jsonType    = "application/json"

	// The types of problems about limits are those of the draft that defines RateLimit.
	quotaExceeded   = "https://iana.org/assignments/http-problem-types#quota-exceeded"
	reducedCapacity = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
	// All others are ours, and end with their code.
	ownTypes = "urn:tiergate:problem:"

	maxFieldBytes = 64 // of a name that a caller made up, when it is told back
)

// A problem is an answer that is no decision, known by its status; see problems.
type problem struct {
	status   int
	detail   string
	field    string // the member or parameter at fault, "" for none
	violated string // the limit that has not as much left, "" for none
	passing  bool   // asking again in a second may help
}

func (p *problem) Error() string { return p.detail }

// problems are what a problem of each status is called. The type ends with its code.
var problems = map[int]struct{ code, title string }{
	fasthttp.StatusBadRequest:                  {"invalid", "The request can never work"},
	fasthttp.StatusUnauthorized:                {"unauthorized", "A valid API key is needed"},
	fasthttp.StatusForbidden:                   {"forbidden", "The caller may not do this"},
	fasthttp.StatusNotFound:                    {"not_found", "There is no such thing"},
	fasthttp.StatusMethodNotAllowed:            {"method_not_allowed", "The resource does not have this method"},
	fasthttp.StatusRequestTimeout:              {"timeout", "The request took too long to arrive"},
	fasthttp.StatusConflict:                    {"conflict", "The state does not allow this"},
	fasthttp.StatusGone:                        {"gone", "Its time is over"},
	fasthttp.StatusPreconditionFailed:          {"stale", "The demanded revision is of another history"},
	fasthttp.StatusRequestEntityTooLarge:       {"too_large", "The body is too large"},
	fasthttp.StatusUnsupportedMediaType:        {"encoded", "The body is encoded"},
	fasthttp.StatusMisdirectedRequest:          {"wrong_host", "The host is not served here"},
	fasthttp.StatusUnprocessableEntity:         {"key_reused", "The key stands for another request"},
	fasthttp.StatusTooManyRequests:             {"exhausted", "Request cannot be satisfied as assigned quota has been exceeded"},
	fasthttp.StatusRequestHeaderFieldsTooLarge: {"header_too_large", "The header is too large"},
	fasthttp.StatusInternalServerError:         {"internal", "Something is broken here"},
	fasthttp.StatusServiceUnavailable:          {"unavailable", "It cannot be answered now"},
	fasthttp.StatusHTTPVersionNotSupported:     {"http_version", "This version of HTTP is not spoken here"},
}

// statusOf maps the code of an error to a status: the one place where that is said.
func statusOf(code tiergate.Code) int {
	switch code {
	case tiergate.Invalid:
		return fasthttp.StatusBadRequest
	case tiergate.Unauthorized:
		return fasthttp.StatusUnauthorized
	case tiergate.Forbidden:
		return fasthttp.StatusForbidden
	case tiergate.NotFound:
		return fasthttp.StatusNotFound
	case tiergate.Conflict:
		return fasthttp.StatusConflict
	case tiergate.Stale:
		return fasthttp.StatusPreconditionFailed
	case tiergate.KeyReused:
		return fasthttp.StatusUnprocessableEntity
	case tiergate.Gone:
		return fasthttp.StatusGone
	case tiergate.Exhausted:
		return fasthttp.StatusTooManyRequests
	case tiergate.Unavailable:
		return fasthttp.StatusServiceUnavailable
	}
	return fasthttp.StatusInternalServerError
}

// problemOf makes a problem of any error; what callers must not see is logged instead.
func (d *door) problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	p := &problem{status: statusOf(tiergate.CodeOf(err)), detail: "internal error"}
	if p.status == fasthttp.StatusInternalServerError {
		d.cfg.Log.Error("a decision failed", "error", err)
		return p
	}
	if e, ok := errors.AsType[*tiergate.Error](err); ok {
		p.detail, p.field = e.Message, e.Field
	}
	if short, ok := errors.AsType[*tiergate.ShortError](err); ok {
		p.violated = short.Bucket.Limit
	}
	return p
}

// fail answers with an error. e is nil when there is no such resource.
func (d *door) fail(ctx *fasthttp.RequestCtx, e *endpoint, err error) {
	p := d.problemOf(err)
	if e != nil && e.any {
		d.failProxy(ctx, e, p)
		return
	}
	k := unasked
	if e != nil {
		k = e.kind
	}
	p.passing = p.passes(k)
	d.write(ctx, p)
}

// passes says whether asking the same again in a second may help.
func (p *problem) passes(k kind) bool {
	return p.status == fasthttp.StatusServiceUnavailable || p.status == fasthttp.StatusConflict && (k == consume || k == track)
}

// codeOf returns the code of a status.
func codeOf(status int) string {
	if known := problems[status].code; known != "" {
		return known
	}
	return problems[fasthttp.StatusInternalServerError].code
}

// refuse answers for a request that never reaches handle, or made it panic.
func (d *door) refuse(ctx *fasthttp.RequestCtx, status int, detail string) {
	if strings.HasPrefix(string(ctx.URI().PathOriginal()), authPrefix) {
		if e, _, _ := d.find(ctx); e != nil {
			d.failProxy(ctx, e, &problem{status: status, detail: detail})
			return
		}
	}
	d.write(ctx, &problem{status: status, detail: detail})
}

func (d *door) write(ctx *fasthttp.RequestCtx, p *problem) {
	h := &ctx.Response.Header
	if p.passing && len(h.Peek(fasthttp.HeaderRetryAfter)) == 0 {
		h.Set(fasthttp.HeaderRetryAfter, "1")
	}
	d.revisionInForce(ctx)
	ctx.Response.SwapBody(p.appendTo(ctx.Response.SwapBody(nil)[:0]))
	ctx.SetStatusCode(p.status)
	ctx.SetContentType(problemType)
}

// revisionInForce tells which revision is in force, for an answer that no revision decided.
func (d *door) revisionInForce(ctx *fasthttp.RequestCtx) {
	if gen := d.cfg.Evaluator.Generation(); gen != nil {
		resume := gen.Resume()
		server.SetRevision(ctx, server.AppendRevision(nil, &resume))
	}
}

// appendTo appends the problem document (RFC 9457).
func (p *problem) appendTo(b []byte) []byte {
	known := problems[p.status]
	if known.code == "" {
		known = problems[fasthttp.StatusInternalServerError]
	}
	b = append(b, `{"type":"`...)
	if p.status == fasthttp.StatusTooManyRequests {
		b = append(b, quotaExceeded...)
	} else {
		b = append(append(b, ownTypes...), known.code...)
	}
	b = jsonvalue.AppendString(append(b, `","title":`...), known.title)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(p.status), 10)
	b = append(append(b, `,"code":"`...), known.code...)
	b = jsonvalue.AppendString(append(b, `","detail":`...), p.detail)
	if p.field != "" {
		b = jsonvalue.AppendString(append(b, `,"field":`...), p.field[:min(len(p.field), maxFieldBytes)])
	}
	if p.violated != "" {
		b = append(jsonvalue.AppendString(append(b, `,"violated-policies":[`...), p.violated), ']')
	}
	return append(b, '}')
}
