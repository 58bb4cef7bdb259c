package ops

import (
	"fmt"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"

	"github.com/tiergate/tiergate"
)

// A State is where the door looks for what it tells. Only Evaluator and Freshness are
// needed; a nil function means that there is nothing of the kind. All are called concurrently.
type State struct {
	Version   string
	Evaluator tiergate.Evaluator
	Freshness func() tiergate.Freshness
	// ReadyMaxAge is the age of the data past which /readyz turns 503; 0 means never.
	ReadyMaxAge time.Duration

	Quarantined func() []Quarantined // the flags that are not served as they are written
	Refused     func() uint64        // how many revisions were refused since the start
	Policy      func() Policy        // the policy in force
	Usage       func() *Usage        // how limits and usage are counted here
	Ledger      func() *Ledger       // how the whole ledger does; it may return nil where nobody looks
	Problems    func() []string      // whatever else an operator should know, a sentence each
	Listeners   []Listener           // where the program can be reached
	Now         func() time.Time     // nil means time.Now
}

// Quarantined is a flag whose definition is broken: it answers with an error, the others are served.
type Quarantined struct {
	Set   string `json:"set"`
	Flag  string `json:"flag"`
	Error string `json:"error"`
}

// A Policy is how the policy in force does. The counts begin anew with each policy. The
// zero value is a policy that was never asked.
type Policy struct {
	Misses      uint64            // decisions that the cache did not have
	Evaluations uint64            // of one entry point each
	Overruns    uint64            // evaluations that were ended at their deadline
	Failures    map[string]uint64 // evaluations that gave no answer, by entry point, which are few
	CacheBytes  int               // held now
	CacheItems  int
	Resting     int      // callers who get remembered answers only, for they asked what overran
	Errors      []string // the newest kinds of failure, a few, a sentence each
}

// A Listener is one address on which the program answers.
type Listener struct {
	Name string `json:"name"` // such as "http" or "ops"
	Addr string `json:"addr"`
	TLS  bool   `json:"tls"`
}

func (s State) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// generation returns the state in force, nil before the first.
func (s State) generation() tiergate.Generation {
	if s.Evaluator == nil {
		return nil
	}
	return s.Evaluator.Generation()
}

func (s State) freshness() tiergate.Freshness {
	if s.Freshness == nil {
		return tiergate.Freshness{}
	}
	return s.Freshness()
}

func (s State) ledger() *Ledger {
	if s.Ledger == nil {
		return nil
	}
	return s.Ledger()
}

// unready says why no traffic should come here, "" when it may.
func (s State) unready() string {
	age := s.freshness().Age(s.now())
	switch {
	case s.generation() == nil:
		return "no state has been loaded yet"
	case s.ReadyMaxAge > 0 && age > s.ReadyMaxAge:
		if s.freshness().AsOf.IsZero() {
			return "the source has never confirmed the state in force"
		}
		return fmt.Sprintf("the data is %s old, more than %s", age.Round(time.Millisecond), s.ReadyMaxAge)
	}
	return ""
}

// Ready reports whether traffic should come here: what /readyz answers.
func (s State) Ready() bool { return s.unready() == "" }

// Mount adds the door's routes: /healthz, /readyz, /metrics from gatherer, and /status.
func Mount(router fiber.Router, state State, gatherer prometheus.Gatherer) {
	metrics := fasthttpadaptor.NewFastHTTPHandler(promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{DisableCompression: true}))
	router.Get("/healthz", func(c *fiber.Ctx) error {
		return c.JSON(fiber.Map{"status": "alive"})
	})
	router.Get("/readyz", func(c *fiber.Ctx) error {
		if reason := state.unready(); reason != "" {
			return c.Status(fiber.StatusServiceUnavailable).JSON(fiber.Map{"ready": false, "reason": reason})
		}
		return c.JSON(fiber.Map{"ready": true})
	})
	router.Get("/metrics", func(c *fiber.Ctx) error {
		metrics(c.Context())
		return nil
	})
	router.Get("/status", func(c *fiber.Ctx) error {
		return c.JSON(state.status())
	})
}
