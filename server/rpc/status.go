package rpc

import (
	"context"
	"errors"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tiergate/tiergate"
)

// ofCode is what an error of each code is: to callers a status of gRPC, and where outcomes are
// counted the status that the doors over HTTP answer with. All others are INTERNAL.
var ofCode = map[tiergate.Code]struct {
	code codes.Code
	http int
}{
	tiergate.Invalid:      {codes.InvalidArgument, http.StatusBadRequest},
	tiergate.Unauthorized: {codes.Unauthenticated, http.StatusUnauthorized},
	tiergate.Forbidden:    {codes.PermissionDenied, http.StatusForbidden},
	tiergate.NotFound:     {codes.NotFound, http.StatusNotFound},
	tiergate.Conflict:     {codes.Aborted, http.StatusConflict},
	tiergate.Stale:        {codes.FailedPrecondition, http.StatusPreconditionFailed},
	tiergate.KeyReused:    {codes.AlreadyExists, http.StatusUnprocessableEntity},
	tiergate.Gone:         {codes.FailedPrecondition, http.StatusGone},
	tiergate.Exhausted:    {codes.ResourceExhausted, http.StatusTooManyRequests},
	tiergate.Unavailable:  {codes.Unavailable, http.StatusServiceUnavailable},
}

// A failure is a status, and what only we know of it.
type failure struct {
	*status.Status
	http int   // the status of HTTP that it is counted as
	why  error // to be logged, since callers are not told; nil when there is nothing of the kind
}

func (f *failure) Error() string { return f.Err().Error() }

// GRPCStatus returns what callers are told.
func (f *failure) GRPCStatus() *status.Status { return f.Status }

// Counted returns the error of a status that is counted as one of HTTP, with which other doors
// answer the same. What callers are not told of it has been logged.
func Counted(st *status.Status, as int) error { return &failure{Status: st, http: as} }

// StatusOf returns err as a status: what is one already, as it is; a tiergate.Error by its
// code, with its message; an end of the context; and all else as INTERNAL without details.
func StatusOf(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	if e, ok := errors.AsType[*tiergate.Error](err); ok {
		if of, known := ofCode[e.Code]; known {
			return Counted(status.New(of.code, e.Message), of.http)
		}
	}
	return &failure{status.New(codes.Internal, "internal error"), http.StatusInternalServerError, err}
}

// outcomeOf returns what a status is counted as, and what is to be logged of it, nil for nothing.
func outcomeOf(told error) (as int, why error) {
	if f, ok := errors.AsType[*failure](told); ok {
		return f.http, f.why
	}
	code := status.Code(told)
	if code == codes.Internal {
		why = told
	}
	return httpStatus(code), why
}

// httpStatus is what a code is counted as, where no more is known than the code. What flagd's
// protocol says with DATA_LOSS and UNKNOWN is what OFREP says with 400.
func httpStatus(code codes.Code) int {
	switch code {
	case codes.OK:
		return http.StatusOK
	case codes.InvalidArgument, codes.OutOfRange, codes.DataLoss, codes.Unknown:
		return http.StatusBadRequest
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.NotFound, codes.Unimplemented:
		return http.StatusNotFound
	case codes.DeadlineExceeded:
		return http.StatusRequestTimeout
	case codes.FailedPrecondition:
		return http.StatusPreconditionFailed
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	case codes.Internal:
		return http.StatusInternalServerError
	}
	return 0 // a caller who went away, and what has no status of its own
}
