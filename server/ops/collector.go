package ops

import (
	"math"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// maxNamed is how many quarantined flags have a series each: a bad deployment may break
// all of 100,000 flags at once.
const maxNamed = 100

// stateCollector reads state when it is scraped.
type stateCollector struct{ state State }

var (
	buildDesc     = describe("tiergate_build_info", "1, with the version of the program.", "version")
	revisionDesc  = describe("tiergate_sync_revision", "The revision in force; 0 before the first.")
	ageDesc       = describe("tiergate_sync_data_age_seconds", "How old the state in force may be; +Inf before the first.")
	connectedDesc = describe("tiergate_sync_connected", "1 when the source answers.")
	refusedDesc   = describe("tiergate_sync_refused_revisions_total", "Revisions that were refused.")

	quarantinedDesc = describe("tiergate_evaluator_quarantined_flags", "How many flags have a broken definition.")
	namedDesc       = describe("tiergate_evaluator_quarantined_flag", "1 for each flag whose definition is broken, for the first 100 of them.", "set", "flag")
	unnamedDesc     = describe("tiergate_evaluator_quarantined_flags_others", "How many more flags than those named have a broken definition.")

	missesDesc      = describe("tiergate_policy_cache_misses_total", "Decisions of the policy in force that its cache did not have.")
	cacheBytesDesc  = describe("tiergate_policy_cache_bytes", "What the answers in the policy's cache take.")
	cacheItemsDesc  = describe("tiergate_policy_cache_entries", "Answers in the policy's cache.")
	evaluationsDesc = describe("tiergate_policy_evaluations_total", "Evaluations of the policy in force.")
	overrunsDesc    = describe("tiergate_policy_overruns_total", "Evaluations that were ended at their deadline.")
	failuresDesc    = describe("tiergate_policy_failures_total", "Evaluations that gave no answer, by entry point.", "entry_point")
	restingDesc     = describe("tiergate_policy_resting_callers", "Callers who overran the policy's deadline too often and get remembered answers only.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

func (stateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		buildDesc, revisionDesc, ageDesc, connectedDesc, refusedDesc, quarantinedDesc, namedDesc, unnamedDesc,
		missesDesc, cacheBytesDesc, cacheItemsDesc, evaluationsDesc, overrunsDesc, failuresDesc, restingDesc,
	} {
		ch <- d
	}
	for _, d := range usageDescs {
		ch <- d
	}
}

func (c stateCollector) Collect(ch chan<- prometheus.Metric) {
	s, to := c.state, sink(ch)
	to.gauge(buildDesc, 1, s.Version)
	revision := int64(0)
	if gen := s.generation(); gen != nil {
		revision = gen.Resume().Rev
	}
	to.gauge(revisionDesc, float64(revision))
	fresh, age := s.freshness(), math.Inf(1)
	if !fresh.AsOf.IsZero() {
		age = fresh.Age(s.now()).Seconds()
	}
	to.gauge(ageDesc, age)
	to.gauge(connectedDesc, bit(fresh.Connected))
	if s.Refused != nil {
		to.counter(refusedDesc, s.Refused())
	}
	if s.Quarantined != nil {
		to.quarantined(s.Quarantined())
	}
	if s.Policy != nil {
		to.policy(s.Policy())
	}
	if s.Usage != nil {
		to.usage(s.Usage())
	}
	if l := s.ledger(); l != nil {
		to.ledger(l, s.now())
	}
}

// A sink takes what one scrape finds.
type sink chan<- prometheus.Metric

func (to sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (to sink) counter(d *prometheus.Desc, v uint64, labels ...string) {
	to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

// quarantined names the first flags and counts the others. A name is text that somebody
// wrote into a file: what no label may hold is replaced, and then two may be the same.
func (to sink) quarantined(all []Quarantined) {
	named := map[[2]string]bool{}
	for _, q := range all {
		id := [2]string{strings.ToValidUTF8(q.Set, "\uFFFD"), strings.ToValidUTF8(q.Flag, "\uFFFD")}
		if len(named) == maxNamed || named[id] {
			continue
		}
		named[id] = true
		to.gauge(namedDesc, 1, id[0], id[1])
	}
	to.gauge(quarantinedDesc, float64(len(all)))
	to.gauge(unnamedDesc, float64(len(all)-len(named)))
}

func (to sink) policy(p Policy) {
	to.counter(missesDesc, p.Misses)
	to.gauge(cacheBytesDesc, float64(p.CacheBytes))
	to.gauge(cacheItemsDesc, float64(p.CacheItems))
	to.counter(evaluationsDesc, p.Evaluations)
	to.counter(overrunsDesc, p.Overruns)
	for point, n := range p.Failures {
		to.counter(failuresDesc, n, point)
	}
	to.gauge(restingDesc, float64(p.Resting))
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
