package evaluator

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/pmap"
	"github.com/tiergate/tiergate/policy"
	"github.com/tiergate/tiergate/snapshot"
)

// staged is the newest state compiled, whether it may come into force or not.
type staged struct {
	view    *snapshot.View
	sets    pmap.Map[*flagSet]
	broken  pmap.Map[Quarantined] // by set and name
	policy  *policy.Engine        // of the newest policy that compiled
	limited limited               // by the definitions that the policy was compiled with
	modules string                // the hash of its modules, "" for the built-in alone
	refusal error                 // why the newest policy may not come into force
}

// refused says why the state may not come into force, nil when it may: a change that could
// not be applied, or else the policy.
func (s *staged) refused() error {
	bad := s.view.Bad()
	switch len(bad) {
	case 0:
		return s.refusal
	case 1:
		return bad[0].Err
	}
	return fmt.Errorf("%w (and %d more)", bad[0].Err, len(bad)-1)
}

func (s *staged) generation(o Options, c *calendars) *Generation {
	clock, limitsClock := s.policy.ClockStep(), s.policy.LimitsStep()
	return &Generation{
		view: s.view, policy: s.policy, sets: s.sets, clock: clock,
		limited: s.limited, limitsClock: limitsClock, timeless: max(clock, limitsClock) == tiergate.StepNever, calendars: c,
		trustContextTier: o.TrustContextTier, broken: s.broken,
	}
}

// next compiles what a revision changed: the policy first, then flags.
func (s *staged) next(view *snapshot.View, delta snapshot.Delta, o Options) *staged {
	n := &staged{view: view, sets: s.sets, broken: s.broken, policy: s.policy, limited: s.limited, modules: s.modules, refusal: s.refusal}
	if delta.Whole || delta.Policy || delta.Tiers || delta.Limits {
		n.refusal = n.compilePolicy(o)
	}
	if delta.Whole {
		n.compileAll()
	} else {
		n.compileChanged(delta)
	}
	n.report(s, o)
	return n
}

// compilePolicy compiles the bundle in force and the definitions, or only the latter when
// the modules are those that are compiled already.
func (s *staged) compilePolicy(o Options) error {
	var modules map[string]string
	hash := ""
	if b := s.view.Policy(); b != nil {
		modules, hash = b.Modules, b.Hash
		switch {
		case tiergate.ModulesHash(modules) != hash:
			return tiergate.Errorf(tiergate.Invalid, "policy %d: its modules are not those that were admitted", b.Version)
		case !o.Admitted(b):
			return tiergate.Errorf(tiergate.Invalid, "policy %d was not admitted by the rules of this program (%q)", b.Version, b.Admission)
		}
	}
	defs := definitionsOf(s.view)
	engine, err := (*policy.Engine)(nil), error(nil)
	if s.policy != nil && s.modules == hash {
		engine, err = s.policy.WithDefinitions(defs)
	} else {
		engine, err = o.Policy.Compile(modules, defs)
	}
	if err != nil {
		return err
	}
	s.policy, s.modules, s.limited = engine, hash, limitedBy(defs.Limits)
	return nil
}

// A compiled flag on its way into a set.
type job struct {
	def     *tiergate.Flag
	set     *flagSet
	metered bool
	flag    *flag
}

// compileJobs compiles on all processors when there is much to do.
func compileJobs(jobs []job) {
	const chunk = 512
	var all sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for part := range slices.Chunk(jobs, chunk) {
		slots <- struct{}{}
		all.Go(func() {
			for i := range part {
				part[i].flag = compile(part[i].def, part[i].set, part[i].metered)
			}
			<-slots
		})
	}
	all.Wait()
}

// compileAll compiles every flag of the view.
func (s *staged) compileAll() {
	metered := map[string]bool{}
	for l := range s.view.AllLimits() {
		metered[l.Feature] = true
	}
	sets := map[string]*flagSet{}
	for def := range s.view.Sets() {
		sets[def.Name] = newSet(def.Name, def)
	}
	var jobs []job
	for def := range s.view.AllFlags() {
		if sets[def.Set] == nil {
			sets[def.Set] = newSet(def.Set, nil)
		}
		jobs = append(jobs, job{def: def, set: sets[def.Set], metered: metered[def.Name]})
	}
	compileJobs(jobs)
	broken := pmap.Map[Quarantined]{}.Edit()
	for _, run := range runsOf(jobs) {
		run[0].set.fill(run, broken)
	}
	all := pmap.Map[*flagSet]{}.Edit()
	for name, set := range sets {
		all.Set(name, set)
	}
	s.sets, s.broken = all.Map(), broken.Map()
}

// runsOf cuts jobs, which are in the order of their sets, by set.
func runsOf(jobs []job) [][]job {
	var runs [][]job
	for from := 0; from < len(jobs); {
		to := from + 1
		for to < len(jobs) && jobs[to].set == jobs[from].set {
			to++
		}
		runs = append(runs, jobs[from:to])
		from = to
	}
	return runs
}

func newSet(name string, def *tiergate.FlagSet) *flagSet {
	s := &flagSet{name: name, def: def}
	if def != nil {
		s.metadata = encodeMetadata(nil, def.Metadata)
	}
	return s
}

// fill puts all flags of a set into it, in the order of their names.
func (s *flagSet) fill(jobs []job, broken *pmap.MapEdit[Quarantined]) {
	flags := pmap.Map[*flag]{}.Edit()
	order := make([]pmap.Entry[*flag], len(jobs))
	for i, j := range jobs {
		f := j.flag
		flags.Set(f.name, f)
		order[i] = pmap.Entry[*flag]{Key: f.name, Value: f}
		s.count(f, 1)
		if f.broken != "" {
			broken.Set(brokenKey(s.name, f.name), Quarantined{s.name, f.name, errors.New(f.broken)})
		}
	}
	s.flags, s.order = flags.Map(), pmap.SortedOf(order)
}

// count adds n flags such as f to what is known of the set.
func (s *flagSet) count(f *flag, n int) {
	if f.timed {
		s.timed += n
	}
	if f.metered {
		s.metered += n
	}
}

func brokenKey(set, name string) string { return set + "\x00" + name }

// compileChanged compiles the flags that a revision touched: those it names, those of a
// set whose definition changed, and those whose metering may have.
func (s *staged) compileChanged(delta snapshot.Delta) {
	names := map[snapshot.FlagName]bool{}
	for _, n := range delta.Flags {
		names[n] = true
	}
	for _, feature := range delta.Features {
		for set := range s.sets.All() {
			names[snapshot.FlagName{Set: set, Name: feature}] = true
		}
	}
	if len(names)+len(delta.Sets) == 0 {
		return
	}
	sets, broken := s.sets.Edit(), s.broken.Edit()
	for _, name := range delta.Sets {
		s.recompileSet(name, sets, broken)
	}
	bySet := map[string][]string{}
	for n := range names {
		if !slices.Contains(delta.Sets, n.Set) {
			bySet[n.Set] = append(bySet[n.Set], n.Name)
		}
	}
	for set, flags := range bySet {
		s.recompileFlags(set, flags, sets, broken)
	}
	s.sets, s.broken = sets.Map(), broken.Map()
}

// recompileSet compiles every flag of a set anew; a set without flags or definition goes.
func (s *staged) recompileSet(name string, sets *pmap.MapEdit[*flagSet], broken *pmap.MapEdit[Quarantined]) {
	if old, ok := sets.Get(name); ok {
		for flagName, f := range old.order.All() {
			if f.broken != "" {
				broken.Delete(brokenKey(name, flagName))
			}
		}
	}
	set := newSet(name, s.view.Set(name))
	var jobs []job
	for def := range s.view.Flags(name) {
		jobs = append(jobs, job{def: def, set: set, metered: s.metered(def.Name)})
	}
	if set.def == nil && len(jobs) == 0 {
		sets.Delete(name)
		return
	}
	compileJobs(jobs)
	set.fill(jobs, broken)
	sets.Set(name, set)
}

func (s *staged) metered(feature string) bool {
	for range s.view.Limits(feature) {
		return true
	}
	return false
}

// recompileFlags compiles some flags of a set, and takes out those that are gone.
func (s *staged) recompileFlags(set string, names []string, sets *pmap.MapEdit[*flagSet], broken *pmap.MapEdit[Quarantined]) {
	old, ok := sets.Get(set)
	if !ok {
		old = newSet(set, s.view.Set(set))
	}
	next := *old
	flags, order := next.flags.Edit(), next.order.Edit()
	jobs := make([]job, 0, len(names))
	for _, name := range names {
		if before, ok := flags.Get(name); ok {
			flags.Delete(name)
			broken.Delete(brokenKey(set, name))
			next.count(before, -1)
		}
		if def := s.view.Flag(set, name); def != nil {
			jobs = append(jobs, job{def: def, set: old, metered: s.metered(name)})
		} else {
			order.Delete(name)
		}
	}
	compileJobs(jobs)
	for _, j := range jobs {
		f := j.flag
		flags.Set(f.name, f)
		order.Set(f.name, f)
		next.count(f, 1)
		if f.broken != "" {
			broken.Set(brokenKey(set, f.name), Quarantined{set, f.name, errors.New(f.broken)})
		}
	}
	next.flags, next.order = flags.Map(), order.Sorted()
	if next.flags.Len() == 0 && next.def == nil {
		sets.Delete(set)
		return
	}
	sets.Set(set, &next)
}

// report logs the flags that came into quarantine, a few by name.
func (s *staged) report(before *staged, o Options) {
	const most = 10
	logged := 0
	for key, q := range s.broken.All() {
		if old, ok := before.broken.Get(key); ok && old.Err.Error() == q.Err.Error() {
			continue
		}
		if logged++; logged > most {
			o.Log.Warn("more flags quarantined", "quarantined", s.broken.Len())
			return
		}
		o.Log.Warn("flag quarantined", "set", q.Set, "flag", q.Flag, "err", q.Err)
	}
}

// Quarantined lists the quarantined flags by set and name.
func (g *Generation) Quarantined() []Quarantined {
	return slices.SortedFunc(maps.Values(maps.Collect(g.broken.All())), func(a, b Quarantined) int {
		return cmp.Or(cmp.Compare(a.Set, b.Set), cmp.Compare(a.Flag, b.Flag))
	})
}
