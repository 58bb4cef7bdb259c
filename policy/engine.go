package policy

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"

	"github.com/tiergate/tiergate"
)

// Settings bound an Engine. The zero value of each field means its default.
type Settings struct {
	CacheBytes int           // what the cache may hold; default 32 MiB
	Deadline   time.Duration // of one evaluation, by the wall clock; default 5 ms
	// Concurrency is how many questions are evaluated at once; default 2 for each
	// processor. Beside them a quarter as many, but one at least, may be costly.
	Concurrency int

	patience int // deadlines that a starved evaluation has; see turn
}

func (s Settings) withDefaults() Settings {
	if s.CacheBytes <= 0 {
		s.CacheBytes = defaultSize
	}
	if s.Deadline <= 0 {
		s.Deadline = 5 * time.Millisecond
	}
	if s.Concurrency <= 0 {
		s.Concurrency = 2 * runtime.GOMAXPROCS(0)
	}
	if s.patience <= 0 {
		s.patience = defaultPatience
	}
	return s
}

// An Engine is one policy generation. It is safe for concurrent use, and but for its cache
// it never changes.
type Engine struct {
	id          uint64 // no other engine of this process has it
	settings    Settings
	compiler    *ast.Compiler
	ownAccess   bool // the access decision is the built-in one
	ownLimits   bool // so are the limits
	ownTier     bool // … and the tier, with what it goes by
	featureOnly bool // the access decision itself reads nothing but the feature
	anyTier     bool // the tier need not be a defined one: the definitions are a guess
	definitions definitions
	store       storage.Store
	txn         storage.Transaction // one for all reads: the store is never written again

	tier, access, limits, admin *entryPoint

	// What an access decision depends on besides the resolved tier, which is a function of
	// the same.
	accessReads projection
	// … as parts of its key: first those of the team and the rest of the subject, then those
	// of the feature.
	teamLeaves, subjectLeaves, featureLeaves []leaf
	limitsLeaves                             []leaf
	tierLeaves                               []leaf
	// What is built for the evaluations of tier and access, and of limits.
	decisionShape, limitsShape shape

	answers  *cache
	keys     sync.Pool     // of *keyBuilder
	places   chan struct{} // held by questions; see turn
	costly   chan struct{} // held by those that have become costly
	resting  resting
	failures *failureLog // shared with engines of the same modules

	evaluations, overruns, misses atomic.Int64
}

// An Access is the answer to who may use a feature.
type Access struct {
	Tier    string // the subject's effective tier; "" when no tier is defined
	Allow   bool
	Reason  string // the policy's word for it, such as "tier"
	Variant string // the variant that the policy wants served; "" leaves it to targeting
	Upgrade string // of a denial, the lowest-ranked tier that would be allowed; "" when none
}

// A Limit is a limit that applies to the subject's use of a feature.
type Limit struct {
	Key           string
	Kind          tiergate.LimitKind
	Amount        int64
	Unlimited     bool // there is no amount: only an exception of the subject makes one
	Period        string
	Zone          string // IANA zone of calendar periods; "" is UTC
	Anchor        string // as in tiergate.Limit
	Burst         int64  // of a rate
	Scope         string
	Class         string
	Cost          int64
	OnUnavailable string
}

const (
	keyOfAccess byte = 'a'
	keyOfLimits byte = 'l'
	keyOfTier   byte = 't'
)

// Access returns the subject's effective tier and whether it may use the feature. An error
// means that the policy has no answer: it overran, conflicted with itself, or gave
// something that is no decision. Nothing of an error is remembered. A repeated question
// takes no lock and allocates nothing.
func (e *Engine) Access(in *Input) (Access, error) {
	a := e.Ask(in)
	defer a.Done()
	return a.Access(in.Feature)
}

// An Asker asks about one feature after the other for one subject, whose part of the cache
// key it builds once. It is for one goroutine.
type Asker struct {
	engine  *Engine
	in      *Input
	keys    *keyBuilder
	subject []byte // the subject's part of the key; nil when nothing is remembered
	hash    uint64 // of subject
}

// Ask begins to ask about the subject of in, which must not change until Done.
func (e *Engine) Ask(in *Input) Asker {
	a := Asker{engine: e, in: in, keys: e.keys.Get().(*keyBuilder)}
	if key, ok := a.keys.subject(e, in); ok && !e.accessReads.bare {
		a.subject, a.hash = key, e.answers.hash(key)
	}
	return a
}

// Done ends the questions.
func (a *Asker) Done() { a.engine.keys.Put(a.keys) }

// Access is Engine.Access about feature, which becomes the input's.
func (a *Asker) Access(feature *Feature) (Access, error) {
	e := a.engine
	if a.in.Feature != feature { // else an Input that several goroutines ask with is only read
		a.in.Feature = feature
	}
	f := e.partOf(&feature.part, e.featureLeaves, a.in)
	if a.subject == nil || !f.ok || len(a.subject)+len(f.key) > maxKey {
		e.misses.Add(1)
		return e.decide(a.in)
	}
	hash := joined(a.hash, f.hash)
	if found := e.answers.get(hash, a.subject, f.key); found != nil {
		return found.access, nil
	}
	e.misses.Add(1)
	answer, err := e.decide(a.in)
	if err != nil {
		return Access{}, err
	}
	e.answers.put(hash, slices.Concat(a.subject, f.key), &entry{access: answer, bytes: len(answer.Reason) + len(answer.Variant) + len(answer.Tier)})
	return answer, nil
}

// CallerMatters says whether the caller, an attribute or time can change what Access says
// about a feature, its Tier apart. When not, the answer is everybody's.
func (e *Engine) CallerMatters(f *Feature) bool {
	if e.ownAccess && len(f.tiers) == 0 {
		return false
	}
	return e.accessReads.bare || len(e.teamLeaves)+len(e.subjectLeaves) > 0
}

// TierDecides says whether access is what the built-in policy makes of it, exceptions of teams
// apart: a subject may use a feature that has no tiers, or whose tiers hold the subject's own,
// which is the same one for all features.
func (e *Engine) TierDecides() bool { return e.ownAccess && !e.tier.reads.reads("feature") }

// SameForAll says whether Access is the same for everybody at all times, its Tier apart. It is
// closer than CallerMatters, which takes in all that the tier is worked out from.
func (e *Engine) SameForAll(f *Feature) bool {
	return !e.CallerMatters(f) || e.ownTier && e.featureOnly
}

// LimitsDefined says whether Limits can name only limits of the definitions, and so none for a
// feature that has none there: the built-in policy does not invent any.
func (e *Engine) LimitsDefined() bool { return e.ownLimits }

// ClockStep says how often time alone may change what Access answers.
func (e *Engine) ClockStep() tiergate.ClockStep { return stepOf(e.accessReads, e.subjectLeaves) }

// LimitsStep says how often time alone may change what Limits answers about a tier.
func (e *Engine) LimitsStep() tiergate.ClockStep { return stepOf(e.limits.reads, e.limitsLeaves) }

func stepOf(reads projection, leaves []leaf) tiergate.ClockStep {
	switch {
	case reads.bare || slices.ContainsFunc(leaves, func(l leaf) bool { return l.kind == clockHour }):
		return tiergate.StepHour
	case reads.reads("clock"):
		return tiergate.StepDay
	}
	return tiergate.StepNever
}

// An AdminInput asks who may do what in the admin API.
type AdminInput struct {
	Caller tiergate.Caller
	Action string // "<things>.<verb>", such as "flags.write"
	// Resource says what it is done to: strings, numbers, booleans, and maps and slices of
	// these; nil for nothing in particular.
	Resource map[string]any
}

// AllowAdmin says whether the caller may do it. No answer is a refusal, and one that is no
// boolean is an error. It is never cached.
func (e *Engine) AllowAdmin(_ context.Context, in AdminInput) (bool, error) { return e.allowAdmin(in) }

func (e *Engine) allowAdmin(in AdminInput) (bool, error) {
	document, err := ast.InterfaceToValue(map[string]any{
		"caller":   map[string]any{"id": in.Caller.ID, "role": string(in.Caller.Role)},
		"action":   in.Action,
		"resource": in.Resource,
	})
	if err != nil {
		return false, fmt.Errorf("read what is asked of the admin policy: %w", err)
	}
	t, err := e.begin(e.whoManages(&in.Caller))
	if err != nil {
		return false, err
	}
	defer t.end()
	term, err := e.evaluate(t, e.admin, ast.NewTerm(document))
	if errors.Is(err, errUndefined) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	allow, ok := term.Value.(ast.Boolean)
	if !ok {
		return false, e.failed(e.admin, wrong(term, "the answer is no boolean"))
	}
	return bool(allow), nil
}

// Stats are figures about one Engine's life.
type Stats struct {
	Misses      int64 // questions that the cache could not answer
	Evaluations int64 // of one entry point
	Overruns    int64
	CacheBytes  int // held now
	CacheItems  int
	Resting     int    // callers who overran again and again: only what is known is answered to them
	AccessReads string // what an access decision depends on, such as "input.feature.tiers"
	// Failures counts by entry point how often the policy gave no usable answer, overruns
	// apart, and LastFailures are the last few different ones, the newest first. They go
	// on when only the definitions of tiers and limits change.
	Failures     map[string]int64
	LastFailures []Failure
}

// Stats returns the figures now. It walks the cache: not for every request.
func (e *Engine) Stats() Stats {
	bytes, items := e.answers.held()
	s := Stats{
		Misses: e.misses.Load(), Evaluations: e.evaluations.Load(), Overruns: e.overruns.Load(),
		CacheBytes: bytes, CacheItems: items, Resting: e.resting.count(time.Now()), AccessReads: e.accessReads.String(),
	}
	s.Failures, s.LastFailures = e.failures.read()
	return s
}
