package rpc

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
)

// lookEvery is how often a watcher of the health is looked after.
const lookEvery = time.Second

// health is gRPC's health service: the program is ready, and so are all of its services, or
// none is.
type health struct {
	grpc_health_v1.UnimplementedHealthServer
	ready func() bool
	names []string // of the services; "" is the program
}

func healthOf(ready func() bool, services []Service) Service {
	h := &health{ready: ready, names: []string{""}}
	if ready == nil {
		h.ready = func() bool { return true }
	}
	for _, sv := range services {
		h.names = append(h.names, sv.Desc.ServiceName)
	}
	return Service{Desc: &grpc_health_v1.Health_ServiceDesc, Impl: h, Door: "health", own: true}
}

func (h *health) status() grpc_health_v1.HealthCheckResponse_ServingStatus {
	if h.ready() {
		return grpc_health_v1.HealthCheckResponse_SERVING
	}
	return grpc_health_v1.HealthCheckResponse_NOT_SERVING
}

// Check tells the health of one service, NOT_FOUND for one that is not here.
func (h *health) Check(_ context.Context, req *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	if !slices.Contains(h.names, req.Service) {
		return nil, status.Error(codes.NotFound, "there is no such service")
	}
	return &grpc_health_v1.HealthCheckResponse{Status: h.status()}, nil
}

// List tells the health of all services.
func (h *health) List(context.Context, *grpc_health_v1.HealthListRequest) (*grpc_health_v1.HealthListResponse, error) {
	all := map[string]*grpc_health_v1.HealthCheckResponse{}
	for _, name := range h.names {
		all[name] = &grpc_health_v1.HealthCheckResponse{Status: h.status()}
	}
	return &grpc_health_v1.HealthListResponse{Statuses: all}, nil
}

// Watch tells the health of one service now and whenever it changes.
func (h *health) Watch(req *grpc_health_v1.HealthCheckRequest, stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	known := slices.Contains(h.names, req.Service)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for told := grpc_health_v1.HealthCheckResponse_UNKNOWN; ; {
		now := grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN
		if known {
			now = h.status()
		}
		if now != told {
			told = now
			if err := stream.Send(&grpc_health_v1.HealthCheckResponse{Status: now}); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// reflect adds gRPC's reflection service, which tells the protocols, and they are public.
func (s *Server) reflect() { reflection.Register(reflected{s}) }

// reflected registers a service as all others are.
type reflected struct{ *Server }

func (r reflected) RegisterService(desc *grpc.ServiceDesc, impl any) {
	sv := Service{Desc: desc, Impl: impl, Door: "reflection", own: true}
	r.register(r.guard(sv), sv)
}

func (r reflected) GetServiceInfo() map[string]grpc.ServiceInfo { return r.grpc.GetServiceInfo() }
