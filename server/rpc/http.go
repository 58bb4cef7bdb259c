package rpc

import (
	"context"
	"net"
	"net/http"
	"slices"
	"time"
)

// What browsers may send and read: Connect's and gRPC-Web's headers and ours.
const (
	corsAllow = "Authorization, Connect-Protocol-Version, Connect-Timeout-Ms, Content-Type, Flagd-Selector, " +
		"Grpc-Timeout, Tiergate-Min-Revision, X-API-Key, X-Grpc-Web, X-User-Agent"
	corsExpose = "Grpc-Message, Grpc-Status, Grpc-Status-Details-Bin, Tiergate-Revision"
	corsMaxAge = "600" // seconds
)

// envelopeBytes is what Connect and gRPC-Web put before a message.
const envelopeBytes = 5

// serveHTTP answers a request over HTTP/1.x. A path is a method's, byte for byte, or nothing's.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if s.ending.Err() != nil {
		w.Header().Set("Connection", "close")
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !s.cfg.Hosts.Serves(local, r.Host) {
		s.refuse(w, http.StatusMisdirectedRequest, "this server does not answer for the host that the request names")
		return
	}
	if s.cors.answer(w, r) {
		return
	}
	method, ok := s.paths[r.URL.EscapedPath()]
	if !ok {
		s.refuse(w, http.StatusNotFound, "there is no such method")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, MaxMessageBytes+envelopeBytes)
	method.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), controlKey{}, control{http.NewResponseController(w)})))
}

func (s *Server) refuse(w http.ResponseWriter, status int, detail string) {
	s.others(status)
	http.Error(w, detail, status)
}

// A control moves the deadlines of the connection that a call came on.
type control struct{ *http.ResponseController }

type controlKey struct{}

func controlOf(ctx context.Context) control {
	c, _ := ctx.Value(controlKey{}).(control)
	return c
}

// asked says that a stream's request has been read: its client has nothing more to send, and
// may be silent for as long as it likes.
func (c control) asked() {
	if c.ResponseController != nil {
		_ = c.SetReadDeadline(time.Time{})
	}
}

// sending bounds the write of a stream's next message.
func (c control) sending(within time.Duration) {
	if c.ResponseController != nil {
		_ = c.SetWriteDeadline(time.Now().Add(within))
	}
}

// cors lets pages of some origins ask from a browser. The zero value lets none.
type cors struct{ origins []string }

// answer adds the headers that a page needs and, when the request is a preflight, answers it.
func (c cors) answer(w http.ResponseWriter, r *http.Request) bool {
	if len(c.origins) == 0 {
		return false
	}
	h, origin := w.Header(), r.Header.Get("Origin")
	h.Add("Vary", "Origin")
	switch {
	case origin == "":
		return false
	case slices.Contains(c.origins, "*"):
		h.Set("Access-Control-Allow-Origin", "*")
	case slices.Contains(c.origins, origin):
		h.Set("Access-Control-Allow-Origin", origin)
	default:
		return false
	}
	h.Set("Access-Control-Expose-Headers", corsExpose)
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", http.MethodPost)
	h.Set("Access-Control-Allow-Headers", corsAllow)
	h.Set("Access-Control-Max-Age", corsMaxAge)
	w.WriteHeader(http.StatusNoContent)
	return true
}
