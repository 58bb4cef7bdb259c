package decision

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	tiergatev1 "github.com/tiergate/tiergate/internal/wire/tiergate/v1"
	"github.com/tiergate/tiergate/server/rpc"
)

// errorDomain is of all our ErrorInfo; its reasons are the codes of problems in capitals.
const errorDomain = "tiergate"

// rpcCode is the code that all gRPC doors give an error, but for a conflict with the state of a
// reservation: asking again does not help there, and ABORTED would say that it does.
func rpcCode(err error, p *problem) codes.Code {
	code := status.Code(rpc.StatusOf(err))
	if code == codes.Aborted && !p.passing {
		return codes.FailedPrecondition
	}
	return code
}

// fail makes the status of an error, and tells which revision is in force.
func (s *service) fail(ctx context.Context, k kind, err error) error {
	if gen := s.door.cfg.Evaluator.Generation(); gen != nil {
		resume := gen.Resume()
		_ = grpc.SetHeader(ctx, s.telling(&resume).metadata)
	}
	if ended := ctx.Err(); ended != nil { // whatever came of it, the caller has gone
		return status.FromContextError(ended).Err()
	}
	p := s.problemOf(k, err)
	st := status.New(rpcCode(err, p), p.detail)
	detailed, bad := st.WithDetails(p.details()...)
	if bad == nil {
		st = detailed
	}
	return rpc.Counted(st, p.status)
}

func (s *service) problemOf(k kind, err error) *problem {
	p := s.door.problemOf(err)
	p.passing = p.passes(k)
	p.field = fieldPath(p.field)
	return p
}

// problem tells of an item of a batch what fail tells of a call.
func (s *service) problem(ctx context.Context, k kind, err error) *tiergatev1.Problem {
	if ended := ctx.Err(); ended != nil && errors.Is(err, ended) {
		return &tiergatev1.Problem{Code: int32(status.FromContextError(ended).Code()), Detail: "the call ended before it was done"}
	}
	p := s.problemOf(k, err)
	return &tiergatev1.Problem{Code: int32(rpcCode(err, p)), Detail: p.detail, Field: p.field}
}

// details are what machines read of a problem.
func (p *problem) details() []protoadapt.MessageV1 {
	all := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: strings.ToUpper(codeOf(p.status)), Domain: errorDomain}}
	if p.field != "" {
		all = append(all, &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: p.field, Description: p.detail}}})
	}
	if p.violated != "" {
		all = append(all, &errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{{Subject: p.violated, Description: p.detail}}})
	}
	if p.passing {
		all = append(all, &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	}
	return all
}

// fieldPath is where a member of the JSON body stands in the messages.
func fieldPath(field string) string {
	switch field {
	case "feature", "subject", "subject.user", "subject.team", "attributes", "set":
		return "question." + field
	case "idempotencyKey":
		return "idempotency_key"
	case "ttlMs":
		return "ttl_ms"
	}
	return field
}
