package rpc

import (
	"context"
	"net/http"
	"runtime/debug"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	errEnding   = status.Error(codes.Unavailable, "the server is shutting down")
	errCrowded  = status.Error(codes.ResourceExhausted, "there are too many streams")
	errNoMethod = status.Error(codes.Unimplemented, "there is no such method")
)

// guard returns a service's description with each method behind what all have in common. It is
// what both ways call, so that nothing is checked in one of them only.
func (s *Server) guard(sv Service) *grpc.ServiceDesc {
	desc, observe := *sv.Desc, s.observer(sv.Door)
	desc.Methods, desc.Streams = slices.Clone(desc.Methods), slices.Clone(desc.Streams)
	for i := range desc.Methods {
		desc.Methods[i].Handler = s.unary(sv, desc.Methods[i].Handler, observe)
	}
	for i := range desc.Streams {
		desc.Streams[i].Handler = s.streaming(sv, desc.Streams[i].Handler, observe)
	}
	return &desc
}

// unary is a method that answers once. Who calls is found out before anything is decoded.
func (s *Server) unary(sv Service, run grpc.MethodHandler, observe func(int)) grpc.MethodHandler {
	return func(impl any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (answer any, err error) {
		defer func() { answer, err = s.finish(recover(), sv.Door, observe, answer, err) }()
		if ctx, err = admit(ctx, sv.Credential); err != nil {
			return nil, err
		}
		return run(impl, ctx, decode, nil)
	}
}

// streaming is a method that answers until somebody ends it. Its context ends with the
// server, too, and then its status is UNAVAILABLE, whatever it returns: a client that is told
// OK takes it for the end of all there is, and does not come back.
func (s *Server) streaming(sv Service, run grpc.StreamHandler, observe func(int)) grpc.StreamHandler {
	underWay, most := s.streamsOf(sv)
	return func(impl any, ss grpc.ServerStream) (err error) {
		defer func() { _, err = s.finish(recover(), sv.Door, observe, nil, err) }()
		ctx, err := admit(ss.Context(), sv.Credential)
		if err != nil {
			return err
		}
		defer underWay.Add(-1)
		if underWay.Add(1) > most {
			return errCrowded
		}
		if s.ending.Err() != nil {
			return errEnding // before it says anything that will not last
		}
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		defer context.AfterFunc(s.ending, stop)()
		err = run(impl, &stream{ss, ctx})
		if s.ending.Err() != nil && ss.Context().Err() == nil {
			return errEnding
		}
		return err
	}
}

// stream is a ServerStream with another context.
type stream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *stream) Context() context.Context { return s.ctx }

// finish makes a status of what a method returned, or of its panic, counts it, and logs what its
// caller is not told and nobody has logged.
func (s *Server) finish(reason any, door string, observe func(int), answer any, err error) (any, error) {
	if reason != nil {
		s.log.Error("a call made the program panic", "door", door, "panic", reason, "stack", string(debug.Stack()))
		if s.cfg.Panicked != nil {
			s.cfg.Panicked()
		}
		answer, err = nil, Counted(status.New(codes.Internal, "internal error"), http.StatusInternalServerError)
	}
	if err == nil {
		observe(http.StatusOK)
		return answer, nil
	}
	told := StatusOf(err)
	as, why := outcomeOf(told)
	if why != nil {
		s.log.Error("a call failed", "door", door, "error", why)
	}
	observe(as)
	return nil, told
}

// unknown answers calls of what is not there.
func (s *Server) unknown(any, grpc.ServerStream) error {
	s.others(httpStatus(codes.Unimplemented))
	return errNoMethod
}
