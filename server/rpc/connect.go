package rpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tiergate/tiergate/server"
)

// serveConnect adds the methods of a guarded service that HTTP/1.x can carry: those with one
// request.
func (s *Server) serveConnect(desc *grpc.ServiceDesc, sv Service) {
	observe := s.observer(sv.Door)
	for _, m := range desc.Methods {
		path := "/" + desc.ServiceName + "/" + m.MethodName
		s.paths[path] = method{observe, connectUnary(path, m.Handler, sv)}
	}
	for _, d := range desc.Streams {
		if !d.ClientStreams {
			path := "/" + desc.ServiceName + "/" + d.StreamName
			s.paths[path] = method{observe, connectStreaming(path, d.Handler, sv)}
		}
	}
}

// connectUnary is a method that answers once.
func connectUnary(path string, run grpc.MethodHandler, sv Service) *connect.Handler {
	return connect.NewUnaryHandler(path, func(ctx context.Context, req *connect.Request[message]) (*connect.Response[message], error) {
		exchangeOf(ctx).reached = true
		req.Msg.strict = sv.Strict
		said := &said{path: path}
		answer, err := run(sv.Impl, said.incoming(ctx, req.Header()), req.Msg.decode, nil)
		if err != nil {
			return nil, said.failed(err)
		}
		resp := connect.NewResponse(&message{value: answer})
		said.copyTo(resp.Header(), resp.Trailer())
		return resp, nil
	}, connectOptions()...)
}

// connectStreaming is a method that answers until somebody ends it, which may be long after its
// last answer: its end has a time of its own to be written in.
func connectStreaming(path string, run grpc.StreamHandler, sv Service) *connect.Handler {
	return connect.NewServerStreamHandler(path, func(ctx context.Context, req *connect.Request[message], to *connect.ServerStream[message]) error {
		over := exchangeOf(ctx)
		over.reached = true
		over.asked()
		req.Msg.strict = sv.Strict
		said := &said{path: path}
		err := run(sv.Impl, &connectStream{said: said, ctx: said.incoming(ctx, req.Header()), request: req.Msg, to: to, over: over})
		over.sending(server.Timeouts.Write)
		if err != nil {
			return said.failed(err)
		}
		said.copyTo(http.Header{}, to.ResponseTrailer())
		return nil
	}, connectOptions()...)
}

// connectOptions bound what is read. Nothing is inflated, and JSON is as flagd has it: members
// without value are written, and unless the service is strict those that we do not know are
// left out of account.
func connectOptions() []connect.HandlerOption {
	return []connect.HandlerOption{
		connect.WithReadMaxBytes(MaxMessageBytes),
		connect.WithCompression("gzip", nil, nil),
		connect.WithCodec(codec{"proto", false}),
		connect.WithCodec(codec{"json", true}),
		connect.WithCodec(codec{"json; charset=utf-8", true}),
	}
}

// A message is what Connect carries for us: a request whose bytes the method decodes into a
// message of its own, or an answer.
type message struct {
	raw    []byte
	json   bool
	strict bool // members that nobody knows are an error
	value  any  // of an answer, a proto.Message or a *Broadcast
}

func (m *message) decode(into any) error {
	err := m.decodeTo(into.(proto.Message))
	if err != nil {
		return status.Error(codes.InvalidArgument, unreadable+err.Error())
	}
	return nil
}

func (m *message) decodeTo(into proto.Message) error {
	switch {
	case !m.json:
		return proto.Unmarshal(m.raw, into)
	case len(m.raw) == 0:
		return errors.New("it is empty, and not a JSON object")
	}
	return protojson.UnmarshalOptions{DiscardUnknown: !m.strict}.Unmarshal(m.raw, into)
}

// A codec encodes answers, and leaves requests to whoever knows what they are.
type codec struct {
	name string
	json bool
}

func (c codec) Name() string { return c.name }

// Unmarshal keeps the bytes of a request.
func (c codec) Unmarshal(data []byte, into any) error {
	m := into.(*message)
	m.raw, m.json = bytes.Clone(data), c.json
	return nil
}

// Marshal encodes an answer, or what Connect itself has to say with an error.
func (c codec) Marshal(what any) ([]byte, error) { return c.MarshalAppend(nil, what) }

// MarshalAppend is Marshal into memory of Connect's.
func (c codec) MarshalAppend(to []byte, what any) ([]byte, error) {
	if m, ok := what.(*message); ok {
		what = m.value
	}
	b, shared := what.(*Broadcast)
	switch {
	case shared && c.json:
		return appendOf(to, b.json)
	case shared:
		return appendOf(to, b.binary)
	case c.json:
		return appendJSON(to, what.(proto.Message))
	}
	return appendBinary(to, what.(proto.Message))
}

func appendOf(to []byte, encoded func() ([]byte, error)) ([]byte, error) {
	data, err := encoded()
	return append(to, data...), err
}

func appendBinary(to []byte, m proto.Message) ([]byte, error) {
	return proto.MarshalOptions{}.MarshalAppend(to, m)
}

func appendJSON(to []byte, m proto.Message) ([]byte, error) {
	return protojson.MarshalOptions{EmitUnpopulated: true}.MarshalAppend(to, m)
}

// said is what a method says beside its answer. Safe for concurrent use.
type said struct {
	path            string
	mu              sync.Mutex
	header, trailer metadata.MD
}

// incoming makes the context of a call of one of a request: its headers are the metadata.
func (s *said) incoming(ctx context.Context, header http.Header) context.Context {
	md := make(metadata.MD, len(header))
	for name, values := range header {
		md[strings.ToLower(name)] = values
	}
	return grpc.NewContextWithServerTransportStream(metadata.NewIncomingContext(ctx, md), s)
}

// Method returns the path of the method.
func (s *said) Method() string { return s.path }

// SetHeader adds to the headers of the answer.
func (s *said) SetHeader(md metadata.MD) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.header = metadata.Join(s.header, md)
	return nil
}

// SendHeader is SetHeader: the headers go with the answer.
func (s *said) SendHeader(md metadata.MD) error { return s.SetHeader(md) }

// SetTrailer adds to what follows the answer.
func (s *said) SetTrailer(md metadata.MD) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trailer = metadata.Join(s.trailer, md)
	return nil
}

func (s *said) copyTo(header, trailer http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for to, md := range map[*http.Header]metadata.MD{&header: s.header, &trailer: s.trailer} {
		for name, values := range md {
			(*to)[http.CanonicalHeaderKey(name)] = values
		}
	}
}

// failed makes Connect's error of a status; the codes are the same.
func (s *said) failed(err error) error {
	st := status.Convert(err)
	e := connect.NewError(connect.Code(st.Code()), errors.New(st.Message()))
	for _, detail := range st.Proto().GetDetails() {
		if d, err := connect.NewErrorDetail(detail); err == nil {
			e.AddDetail(d)
		}
	}
	s.copyTo(e.Meta(), e.Meta())
	return e
}

// connectStream is a ServerStream of one request over Connect.
type connectStream struct {
	*said
	ctx     context.Context
	request *message // nil once it was read
	to      *connect.ServerStream[message]
	begun   bool
	over    *exchange
}

func (s *connectStream) Context() context.Context { return s.ctx }

// SetTrailer adds to what follows the last answer.
func (s *connectStream) SetTrailer(md metadata.MD) { _ = s.said.SetTrailer(md) }

// RecvMsg reads the one request, and then the end.
func (s *connectStream) RecvMsg(into any) error {
	if s.request == nil {
		return io.EOF
	}
	defer func() { s.request = nil }()
	return s.request.decode(into)
}

// SendMsg sends one answer. Whoever does not take it in time is given up.
func (s *connectStream) SendMsg(answer any) error {
	if !s.begun {
		s.begun = true
		s.copyTo(s.to.ResponseHeader(), http.Header{})
	}
	s.over.sending(server.Timeouts.Write)
	if err := s.to.Send(&message{value: answer}); err != nil {
		return status.Error(codes.Unavailable, "the client does not read its stream")
	}
	return nil
}
