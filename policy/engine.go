package policy

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"

	"github.com/tiergate/tiergate"
)

// Settings bound an Engine. The zero value of each field means its default.
type Settings struct {
	CacheBytes  int           // what the cache may hold; default 32 MiB
	Deadline    time.Duration // of one evaluation, by the wall clock; default 5 ms
	Concurrency int           // evaluations at once; default 2 for each processor

	patience int // deadlines that a starved evaluation has; see stopwatch
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
	settings    Settings
	compiler    *ast.Compiler
	overlay     int  // how many modules are the admin's
	ownAccess   bool // the access decision is the built-in one
	definitions definitions
	store       storage.Store
	txn         storage.Transaction // one for all reads: the store is never written again

	tier, access, limits, admin *entryPoint

	// What an access decision depends on besides the resolved tier, which is a function of
	// the same.
	accessReads projection
	// … as parts of its key: first those of the subject, then those of the feature.
	subjectLeaves, featureLeaves []leaf
	limitsLeaves                 []leaf
	// What is built for each evaluation.
	accessShape, limitsShape shape

	answers  *cache
	keys     sync.Pool // of *keyBuilder
	places   chan struct{}
	breakers [entryPoints]breaker

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
	Period        string
	Zone          string // IANA zone of calendar periods; "" is UTC
	Burst         int64  // of a rate
	Scope         string
	Class         string
	Cost          int64
	OnUnavailable string
}

const (
	keyOfAccess byte = 'a'
	keyOfLimits byte = 'l'
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
	subject int // bytes of the key that are the subject's; 0 when nothing is remembered
}

// Ask begins to ask about the subject of in, which must not change until Done.
func (e *Engine) Ask(in *Input) Asker {
	a := Asker{engine: e, in: in, keys: e.keys.Get().(*keyBuilder)}
	if key, ok := a.keys.build(keyOfAccess, e.subjectLeaves, in, ""); ok && !e.accessReads.bare {
		a.subject = len(key)
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
	if a.subject == 0 {
		e.misses.Add(1)
		return e.decide(a.in)
	}
	key, ok := a.keys.extend(a.subject, e.featureLeaves, a.in, "")
	if !ok {
		e.misses.Add(1)
		return e.decide(a.in)
	}
	hash := e.answers.hash(key)
	if found := e.answers.get(hash, key); found != nil {
		return found.access, nil
	}
	e.misses.Add(1)
	answer, err := e.decide(a.in)
	if err != nil {
		return Access{}, err
	}
	e.answers.put(hash, key, &entry{access: answer, bytes: len(answer.Reason) + len(answer.Variant) + len(answer.Tier)})
	return answer, nil
}

// decide answers without the cache: the tier, then access with that tier, then for a
// denial the lowest tier that would be allowed.
func (e *Engine) decide(in *Input) (Access, error) {
	d := e.accessShape.draft(in)
	term, err := e.evaluate(e.tier, d.unresolved())
	if err != nil {
		return Access{}, err
	}
	tier, ok := term.Value.(ast.String)
	if !ok {
		return Access{}, fmt.Errorf("%s is %.80s and no string", e.tier.name, term)
	}
	answer, err := e.decideAs(d, e.definitions.intern(string(tier)))
	if err != nil || answer.Allow || !e.access.reads.reads("subject", "tier") && !e.access.reads.reads("attributes", "tier") {
		return answer, err
	}
	for _, other := range e.definitions.tiers {
		if other == answer.Tier {
			continue
		}
		upgraded, err := e.decideAs(d, other)
		if err != nil {
			return Access{}, err
		}
		if upgraded.Allow {
			answer.Upgrade = other
			break
		}
	}
	return answer, nil
}

// decideAs answers what access would be on a tier.
func (e *Engine) decideAs(d *draft, tier string) (Access, error) {
	term, err := e.evaluate(e.access, d.resolved(tier))
	if err != nil {
		return Access{}, err
	}
	answer, err := readAccess(term)
	answer.Tier = tier
	return answer, err
}

// readAccess reads {"allow": bool, "reason": string, "variant": string?}.
func readAccess(term *ast.Term) (Access, error) {
	var a Access
	object, ok := term.Value.(ast.Object)
	if !ok {
		return a, fmt.Errorf("%s is %.80s and no object", accessPoint, term)
	}
	var allow, reason bool
	err := object.Iter(func(k, v *ast.Term) error {
		name, _ := k.Value.(ast.String)
		text, isText := v.Value.(ast.String)
		flag, isFlag := v.Value.(ast.Boolean)
		switch {
		case name == "allow" && isFlag:
			a.Allow, allow = bool(flag), true
		case name == "reason" && isText:
			a.Reason, reason = strings.Clone(string(text)), true
		case name == "variant" && isText:
			a.Variant = strings.Clone(string(text))
		default:
			return fmt.Errorf("%s has %.80s: %.80s, but it is {allow: boolean, reason: string, variant?: string}", accessPoint, k, v)
		}
		return nil
	})
	if err == nil && !(allow && reason) {
		err = fmt.Errorf("%s is %.80s, but it needs allow and reason", accessPoint, term)
	}
	if err == nil && len(a.Reason)+len(a.Variant) > tiergate.MaxNameLength*2 {
		err = fmt.Errorf("%s has a reason and variant of more than %d bytes", accessPoint, tiergate.MaxNameLength*2)
	}
	return a, err
}

// CallerMatters says whether the caller, an attribute or time can change what Access says
// about a feature, its Tier apart. When not, the answer is everybody's.
func (e *Engine) CallerMatters(f *Feature) bool {
	if e.ownAccess && len(f.tiers) == 0 {
		return false
	}
	return e.accessReads.bare || len(e.subjectLeaves) > 0
}

// ClockStep says how often time alone may change what Access answers.
func (e *Engine) ClockStep() tiergate.ClockStep {
	switch {
	case e.accessReads.bare || slices.ContainsFunc(e.subjectLeaves, func(l leaf) bool { return l.kind == clockHour }):
		return tiergate.StepHour
	case e.accessReads.reads("clock"):
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

// AllowAdmin says whether the caller may do it. Anything but true is a refusal. It is
// never cached.
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
	term, err := e.evaluate(e.admin, ast.NewTerm(document))
	if err != nil {
		return false, err
	}
	return ast.Boolean(true).Equal(term.Value), nil
}

// Stats are figures about one Engine's life.
type Stats struct {
	Misses      int64 // questions that the cache could not answer
	Evaluations int64 // of one entry point
	Overruns    int64
	CacheBytes  int // held now
	CacheItems  int
	Resting     bool   // too many overruns in a row: only cached answers are given
	AccessReads string // what an access decision depends on, such as "input.feature.tiers"
}

func (e *Engine) resting() bool {
	for i := range e.breakers {
		if e.breakers[i].resting() {
			return true
		}
	}
	return false
}

// Stats returns the figures now. It walks the cache: not for every request.
func (e *Engine) Stats() Stats {
	bytes, items := e.answers.held()
	return Stats{
		Misses: e.misses.Load(), Evaluations: e.evaluations.Load(), Overruns: e.overruns.Load(),
		CacheBytes: bytes, CacheItems: items, Resting: e.resting(), AccessReads: e.accessReads.String(),
	}
}
