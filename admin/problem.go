package admin

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tiergate/tiergate"
)

// MaxFaults bounds how many single faults one problem lists.
const maxFaults = 20

// A Problem is an error as callers see it: RFC 9457 with a code for machines. It never
// carries a cause or what the caller sent.
type Problem struct {
	Type      string  `json:"type" doc:"Where this kind of problem is explained" example:"/docs#problem-stale"`
	Title     string  `json:"title" doc:"The HTTP status in words"`
	Status    int     `json:"status" doc:"The HTTP status"`
	Code      string  `json:"code" doc:"The kind of problem, for machines" example:"stale"`
	Detail    string  `json:"detail,omitempty" doc:"What is wrong, for people"`
	Errors    []Fault `json:"errors,omitempty" doc:"The single faults of the request, at most 20"`
	Problems  []Spot  `json:"problems,omitempty" doc:"What is wrong with a policy, and where"`
	RequestID string  `json:"requestId,omitempty" doc:"Names this request in the log and the audit trail"`
}

// A Fault is one thing wrong with a request.
type Fault struct {
	Field   string `json:"field" doc:"The field as a JSON path; parameters begin with query., header. or path." example:"rules.percentage"`
	Message string `json:"message"`
}

// A Spot is one thing wrong with a policy. Rows and columns count from 1; 0 is unknown.
type Spot struct {
	File    string `json:"file"`
	Row     int    `json:"row"`
	Col     int    `json:"col"`
	Message string `json:"message"`
}

func (p *Problem) Error() string { return p.Detail }

// GetStatus lets huma answer with the status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType lets huma answer with the media type of problems.
func (p *Problem) ContentType(string) string { return problemType }

const problemType = "application/problem+json"

// statuses maps the codes of domain errors to HTTP: the only place that does.
var statuses = map[tiergate.Code]int{
	tiergate.Invalid:      http.StatusUnprocessableEntity,
	tiergate.Unauthorized: http.StatusUnauthorized,
	tiergate.Forbidden:    http.StatusForbidden,
	tiergate.NotFound:     http.StatusNotFound,
	tiergate.Conflict:     http.StatusConflict,
	tiergate.Stale:        http.StatusPreconditionFailed,
	tiergate.Unavailable:  http.StatusServiceUnavailable,
	tiergate.Internal:     http.StatusInternalServerError,
}

// transportCodes names what goes wrong before there is a domain error.
var transportCodes = map[int]string{
	http.StatusBadRequest:                  string(tiergate.Invalid),
	http.StatusMethodNotAllowed:            "method_not_allowed",
	http.StatusNotImplemented:              "method_not_allowed",
	http.StatusRequestTimeout:              "timeout",
	http.StatusRequestEntityTooLarge:       "too_large",
	http.StatusUnsupportedMediaType:        "unsupported_media_type",
	http.StatusMisdirectedRequest:          "unknown_host",
	http.StatusRequestHeaderFieldsTooLarge: "too_large",
}

func codeOfStatus(status int) string {
	if code, ok := transportCodes[status]; ok {
		return code
	}
	for code, s := range statuses {
		if s == status {
			return string(code)
		}
	}
	if status < 500 {
		return string(tiergate.Invalid)
	}
	return string(tiergate.Internal)
}

func newProblem(status int, code, detail string) *Problem {
	return &Problem{
		Type: "/docs#problem-" + code, Title: http.StatusText(status), Status: status, Code: code, Detail: detail,
	}
}

// problemOf makes the problem of any error. Only a tiergate.Error or a Problem shows its
// message; everything else is an internal error, which says no more than that.
func problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return newProblem(http.StatusServiceUnavailable, string(tiergate.Unavailable), "this took too long; try again")
	}
	e, ok := errors.AsType[*tiergate.Error](err)
	if !ok || e.Code == tiergate.Internal || statuses[e.Code] == 0 {
		return newProblem(http.StatusInternalServerError, string(tiergate.Internal), "internal error")
	}
	p := newProblem(statuses[e.Code], string(e.Code), e.Message)
	if e.Field != "" {
		p.Errors = []Fault{{Field: e.Field, Message: e.Message}}
	}
	return p
}

// logFailure writes the whole chain of an error that is ours and not the caller's, once.
func logFailure(ctx context.Context, log *slog.Logger, p *Problem, err error) {
	if p.Status >= http.StatusInternalServerError {
		log.ErrorContext(ctx, "admin request failed", "requestId", requestIDOf(ctx), "status", p.Status, "error", err.Error())
	}
}

// huma keeps its error type and its strictness in package variables. This package is
// huma's only home in the program, so they are set here, once, before anything runs.
func init() {
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return problemOfHuma("", status, msg, errs)
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		return problemOfHuma(requestIDOf(ctx.Context()), status, msg, errs)
	}
	huma.ValidateStrictCasing = true
	huma.DefaultArrayNullable = false
}

// problemOfHuma makes the problem of what huma found wrong with a request.
func problemOfHuma(requestID string, status int, msg string, errs []error) *Problem {
	if status >= http.StatusInternalServerError {
		p := newProblem(status, string(tiergate.Internal), "internal error")
		p.RequestID = requestID
		return p
	}
	p := newProblem(status, codeOfStatus(status), msg)
	p.RequestID = requestID
	p.Errors = faultsOf(errs)
	if len(p.Errors) > 0 {
		p.Detail = p.Errors[0].Message
		if f := p.Errors[0].Field; f != "" {
			p.Detail = f + ": " + p.Detail
		}
	}
	return p
}

// faultsOf sorts what huma found, drops the values that it echoes, and bounds the list.
func faultsOf(errs []error) []Fault {
	seen := map[Fault]bool{}
	for _, err := range errs {
		f := Fault{Message: "not valid"}
		if d, ok := err.(huma.ErrorDetailer); ok {
			detail := d.ErrorDetail()
			f = faultOf(showDots.Replace(strings.TrimPrefix(strings.TrimPrefix(detail.Location, "body"), ".")), detail.Message)
		} else if err != nil {
			f.Message = err.Error()
		}
		seen[f] = true
	}
	faults := slices.SortedFunc(maps.Keys(seen), func(a, b Fault) int {
		return strings.Compare(a.Field+"\n"+a.Message, b.Field+"\n"+b.Message)
	})
	return faults[:min(len(faults), maxFaults)]
}

// faultOf says in the words of this API what huma says in JSON Schema's.
func faultOf(field, message string) Fault {
	if name, ok := strings.CutPrefix(message, "expected required property "); ok {
		name, _, _ = strings.Cut(name, " ")
		return Fault{Field: strings.TrimPrefix(field+"."+name, "."), Message: "is required"}
	}
	if message != "unexpected property" {
		return Fault{Field: field, Message: message}
	}
	switch field {
	case "id", "version", "createdAt", "updatedAt", "hash", "admission", "createdBy":
		return Fault{Field: field, Message: "is set by the server and cannot be sent"}
	}
	return Fault{Field: field, Message: "there is no such field"}
}
