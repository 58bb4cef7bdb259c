package rpc

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/keepalive"

	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/server"
)

// The limits of a Server.
const (
	MaxMessageBytes   = server.MaxBodyBytes                        // of a request
	DefaultMaxStreams = 10_000                                     // the default of Config.MaxStreams
	DefaultMaxConns   = DefaultMaxStreams + server.DefaultMaxConns // what it comes to for connections

	// maxCalls is how many calls one connection may have at once. gRPC runs no more handlers
	// for it than that, also of calls that were reset, and so survives rapid resets.
	maxCalls = 1000
	// What a client may have on the way to us, unread: on one stream and on its connection. They
	// are fixed, since finding out what a connection could carry costs a ping with each call.
	streamWindow, connWindow = 64 << 10, 256 << 10
	// readBuffer is what each connection keeps for reading: nearly all that an idle one costs.
	readBuffer = 4 << 10
	// helloTime is how long a connection may take to say what it speaks.
	helloTime = 5 * time.Second
	// maxLooks is how many streaming calls of health and reflection there may be at once.
	maxLooks = 1000
	// pingEvery is how often a client may ping us: there are some that do so to find out
	// that a proxy has dropped them.
	pingEvery = 5 * time.Second
)

// Config says how a Server answers. The zero value serves loopback hosts without CORS.
type Config struct {
	Hosts       listen.Hosts // the Host headers that are answered over HTTP/1.x
	CORSOrigins []string     // the origins that browsers may ask from, "*" for all; none means no CORS
	MaxStreams  int          // streaming calls at once, over all connections; 0 means DefaultMaxStreams
	MaxConns    int          // connections at once, closed beyond; 0 means server.DefaultMaxConns more than MaxStreams
	Ready       func() bool  // what gRPC's health service tells; nil means always; called concurrently
	Log         *slog.Logger // panics, and what INTERNAL hides; nil means none

	// Observe returns what is told the outcome of each call of a door, as the HTTP status that
	// stands for it, "" for calls of what is not there; nil means nobody. It is called once per
	// door, the result concurrently.
	Observe func(door string) func(status int)
	// Panicked is told of each call that ended in a panic; nil means nobody.
	Panicked func()
}

// A Service is one gRPC service and who may call it.
type Service struct {
	Desc *grpc.ServiceDesc
	Impl any    // what Desc's handlers call
	Door string // names it in metrics
	// Credential finds a caller's API key, which the methods get with KeyOf; nil means that
	// callers need none.
	Credential server.Resolver
	// Strict refuses JSON with members that the service does not know: a mistyped one would
	// silently change what is asked.
	Strict bool

	own bool // it is the Server's: it takes no room from others, since it needs no key
}

// Protocols are those of a TLS listener, in the order for listen.Options: a browser, which
// speaks both, is to speak HTTP/1.1 here, since over HTTP/2 there is no Connect, and gRPC clients
// offer HTTP/2 alone.
func Protocols() []string { return []string{"http/1.1", "h2"} }

// A Server serves services on one listener, once.
type Server struct {
	cfg    Config
	log    *slog.Logger
	grpc   *grpc.Server
	http   *http.Server
	paths  map[string]method // Connect's, by the path of a method
	others func(status int)  // counts calls of what is not there

	observers map[string]func(status int) // by door

	ending context.Context // ends when the server is to end: all streams end then
	end    context.CancelFunc

	streams     atomic.Int64 // streaming calls under way
	looks       atomic.Int64 // those of our own services
	arriving    arrivals     // requests over HTTP/2 that are being read
	arrivingOwn arrivals     // those of our own services

	speaking sync.WaitGroup // connections of HTTP/1.x, until their last request is done with

	mu    sync.Mutex
	conns map[*conn]struct{} // nil once all are closed
}

// New returns a Server of services and of gRPC's health and reflection services, which anyone
// may call. Two services of one name are a bug, and panic.
func New(cfg Config, services ...Service) *Server {
	s := &Server{cfg: cfg, log: cfg.Log, paths: map[string]method{}, observers: map[string]func(int){}, conns: map[*conn]struct{}{}}
	s.arriving.most, s.arrivingOwn.most = maxArriving, maxArrivingOwn
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.others = s.observer("")
	s.ending, s.end = context.WithCancel(context.Background())
	s.grpc = grpc.NewServer(
		grpc.MaxRecvMsgSize(MaxMessageBytes),
		grpc.MaxConcurrentStreams(maxCalls),
		grpc.MaxHeaderListSize(server.MaxHeaderBytes),
		grpc.ReadBufferSize(readBuffer),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.ConnectionTimeout(helloTime),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 5 * time.Minute, Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingEvery, PermitWithoutStream: true}),
		grpc.UnknownServiceHandler(s.unknown),
		grpc.InTapHandle(arrive),
		grpc.ForceServerCodecV2(nativeCodec{encoding.GetCodecV2(proto.Name)}),
		grpc.WaitForHandlers(true),
	)
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serveHTTP),
		ReadHeaderTimeout: server.Timeouts.Request,
		ReadTimeout:       server.Timeouts.Request, // streams lift it once they have been asked for
		WriteTimeout:      server.Timeouts.Write,   // streams move it with each message
		IdleTimeout:       server.Timeouts.Idle,
		MaxHeaderBytes:    server.MaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // it tells what clients do wrong
		ConnState:         s.changed,
	}
	for _, sv := range append(services, healthOf(cfg.Ready, services)) {
		desc := s.guard(sv)
		s.register(desc, sv)
		s.serveConnect(desc, sv)
	}
	s.reflect()
	return s
}

// register adds a guarded service to gRPC's server, which ends the program at a second one of
// its name.
func (s *Server) register(desc *grpc.ServiceDesc, sv Service) {
	if _, twice := s.grpc.GetServiceInfo()[desc.ServiceName]; twice {
		panic("tiergate: bug: there are two services of the name " + desc.ServiceName)
	}
	room := &s.arriving
	if sv.own {
		room = &s.arrivingOwn
	}
	s.grpc.RegisterService(room.native(desc), sv.Impl)
}

func (s *Server) observer(door string) func(int) {
	if s.cfg.Observe == nil {
		return func(int) {}
	}
	if s.observers[door] == nil {
		s.observers[door] = s.cfg.Observe(door)
	}
	return s.observers[door]
}

// Streams is how many streaming calls are under way, without those of health and reflection.
func (s *Server) Streams() int { return int(s.streams.Load()) }

func (s *Server) maxStreams() int { return cmp.Or(s.cfg.MaxStreams, DefaultMaxStreams) }

func (s *Server) maxConns() int { return cmp.Or(s.cfg.MaxConns, s.maxStreams()+server.DefaultMaxConns) }

// streamsOf returns how many streaming calls of a service's kind are under way, and may be.
func (s *Server) streamsOf(sv Service) (underWay *atomic.Int64, most int64) {
	if sv.own {
		return &s.looks, maxLooks
	}
	return &s.streams, int64(s.maxStreams())
}
