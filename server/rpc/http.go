package rpc

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/server"
)

// What browsers may send and read: Connect's and gRPC-Web's headers and ours.
const (
	corsAllow = "Authorization, Connect-Protocol-Version, Connect-Timeout-Ms, Content-Type, Flagd-Selector, " +
		"Grpc-Timeout, Tiergate-Min-Revision, X-API-Key, X-Grpc-Web, X-User-Agent"
	corsExpose = "Grpc-Message, Grpc-Status, Grpc-Status-Details-Bin, Tiergate-Revision"
)

// envelopeBytes is what Connect and gRPC-Web put before a message.
const envelopeBytes = 5

// A method is what answers Connect's requests for one path.
type method struct {
	observe func(status int) // counts what never reaches the method itself
	http.Handler
}

// serveHTTP answers a request over HTTP/1.x. A path is a method's, byte for byte, or nothing's.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if s.ending.Err() != nil {
		w.Header().Set("Connection", "close")
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !s.cfg.Hosts.Serves(local, r.Host) {
		s.refuse(w, http.StatusMisdirectedRequest, listen.WrongHost)
		return
	}
	if s.cors(w, r) {
		return
	}
	m, ok := s.paths[r.URL.EscapedPath()]
	if !ok {
		s.refuse(w, http.StatusNotFound, "there is no such method")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, MaxMessageBytes+envelopeBytes)
	over := &exchange{ResponseWriter: w, connection: http.NewResponseController(w), status: http.StatusOK}
	m.ServeHTTP(over, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, over)))
	if !over.reached {
		m.observe(over.refusal())
	}
}

func (s *Server) refuse(w http.ResponseWriter, status int, detail string) {
	s.others(status)
	http.Error(w, detail, status)
}

// An exchange is a call over HTTP/1.x, and writes its answer.
type exchange struct {
	http.ResponseWriter
	connection *http.ResponseController
	status     int  // of the answer
	reached    bool // the method was called, and counts what came of it
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange { return ctx.Value(exchangeKey{}).(*exchange) }

// WriteHeader keeps the status.
func (e *exchange) WriteHeader(status int) {
	e.status = status
	e.ResponseWriter.WriteHeader(status)
}

// Flush sends what has been written.
func (e *exchange) Flush() { _ = e.connection.Flush() }

// asked says that a stream's request has been read: its client has nothing more to send, and
// may be silent for as long as it likes.
func (e *exchange) asked() { _ = e.connection.SetReadDeadline(time.Time{}) }

// sending bounds the write of what a stream sends next.
func (e *exchange) sending(within time.Duration) {
	_ = e.connection.SetWriteDeadline(time.Now().Add(within))
}

// refusal is what an answer is counted as that Connect gave by itself. It is the caller's fault,
// whatever Connect calls it.
func (e *exchange) refusal() int {
	status := e.status
	if code, err := strconv.ParseUint(e.Header().Get("Grpc-Status"), 10, 32); err == nil { // of gRPC-Web
		status = httpStatus(codes.Code(code))
	}
	switch status {
	case http.StatusTooManyRequests: // RESOURCE_EXHAUSTED: it is too large
		return http.StatusRequestEntityTooLarge
	case http.StatusNotImplemented: // UNIMPLEMENTED: it is encoded
		return http.StatusUnsupportedMediaType
	case http.StatusGatewayTimeout: // DEADLINE_EXCEEDED: it did not arrive in time
		return http.StatusRequestTimeout
	case http.StatusOK, http.StatusNotFound, http.StatusInternalServerError: // in or between frames; a stream says so at its end
		return http.StatusBadRequest
	}
	return status
}

// cors adds the headers that a page of another origin needs and, when the request is a
// preflight, answers it.
func (s *Server) cors(w http.ResponseWriter, r *http.Request) bool {
	if len(s.cfg.CORSOrigins) == 0 {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	allowed := server.AllowedOrigin(s.cfg.CORSOrigins, r.Header.Get("Origin"))
	if allowed == "" {
		return false
	}
	h.Set("Access-Control-Allow-Origin", allowed)
	h.Set("Access-Control-Expose-Headers", corsExpose)
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", http.MethodPost)
	h.Set("Access-Control-Allow-Headers", corsAllow)
	h.Set("Access-Control-Max-Age", server.CORSMaxAge)
	w.WriteHeader(http.StatusNoContent)
	return true
}
