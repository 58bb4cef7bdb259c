package ops

import (
	"cmp"
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics counts what the doors answer. Its labels have few values, whatever callers send.
// Safe for concurrent use.
type Metrics struct {
	requests *prometheus.CounterVec
	admin    *prometheus.CounterVec
	panics   prometheus.Counter
}

// NewMetrics registers the metrics of the Go runtime, the process, the doors and state
// with reg. Registering twice with one registry is an error.
func NewMetrics(reg prometheus.Registerer, state State) (*Metrics, error) {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tiergate_server_requests_total",
			Help: "Requests answered, by door and outcome.",
		}, []string{"door", "outcome"}),
		admin: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tiergate_admin_requests_total",
			Help: "Requests to the admin API, by operation and status.",
		}, []string{"operation", "status"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tiergate_server_panics_total",
			Help: "Requests that made the program panic and were answered with 500.",
		}),
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.requests, m.admin, m.panics,
		stateCollector{state},
	} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}

// Panicked counts one request that ended in a panic.
func (m *Metrics) Panicked() { m.panics.Inc() }

// Admin counts one answer of the admin API. The operations are those of its own table; ""
// is counted as "other".
func (m *Metrics) Admin(operation string, status int) {
	m.admin.WithLabelValues(cmp.Or(operation, "other"), strconv.Itoa(status)).Inc()
}

// Door returns what counts the answers of one door by their status.
func (m *Metrics) Door(name string) func(status int) {
	if name == "" {
		name = "other"
	}
	byStatus := make(map[int]prometheus.Counter, len(outcomes))
	for status, outcome := range outcomes {
		byStatus[status] = m.requests.WithLabelValues(name, outcome)
	}
	other := m.requests.WithLabelValues(name, "other")
	ok := byStatus[200]
	return func(status int) {
		if status == 200 {
			ok.Inc()
			return
		}
		if c := byStatus[status]; c != nil {
			c.Inc()
			return
		}
		other.Inc()
	}
}

var outcomes = map[int]string{
	200: "ok",
	204: "no_content",
	304: "not_modified",
	400: "bad_request",
	401: "unauthorized",
	403: "forbidden",
	404: "not_found",
	405: "method_not_allowed",
	408: "timeout",
	409: "conflict",
	410: "gone",
	412: "precondition_failed",
	413: "body_too_large",
	415: "unsupported_encoding",
	421: "wrong_host",
	422: "key_reused",
	429: "limited",
	431: "header_too_large",
	500: "internal_error",
	503: "unavailable",
}
