package rpc

import (
	"context"
	"errors"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tiergate/tiergate"
)

var codeOf = map[tiergate.Code]codes.Code{
	tiergate.Invalid:      codes.InvalidArgument,
	tiergate.Unauthorized: codes.Unauthenticated,
	tiergate.Forbidden:    codes.PermissionDenied,
	tiergate.NotFound:     codes.NotFound,
	tiergate.Conflict:     codes.Aborted,
	tiergate.Stale:        codes.FailedPrecondition,
	tiergate.KeyReused:    codes.AlreadyExists,
	tiergate.Gone:         codes.FailedPrecondition,
	tiergate.Exhausted:    codes.ResourceExhausted,
	tiergate.Unavailable:  codes.Unavailable,
	tiergate.Internal:     codes.Internal,
}

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
	if e, ok := errors.AsType[*tiergate.Error](err); ok && e.Code != tiergate.Internal {
		if code, known := codeOf[e.Code]; known {
			return status.Error(code, e.Message)
		}
	}
	return status.Error(codes.Internal, "internal error")
}

// httpStatus is the HTTP status that stands for a code where outcomes are counted. What
// flagd's protocol says with DATA_LOSS and UNKNOWN is what OFREP says with 400.
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
