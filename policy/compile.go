package policy

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/tiergate/tiergate/rego"
)

// The entry points.
const (
	tierPoint   = "data.tiergate.subject.tier"
	accessPoint = "data.tiergate.access.decision"
	limitsPoint = "data.tiergate.limits.limits"
	adminPoint  = "data.tiergate.admin.allow"

	entryPoints = 4
)

// Bounds of an admin's modules.
const (
	maxModuleBytes = 64 << 10 // of all modules together
	maxModules     = 64
	maxRules       = 200 // of all modules together, else branches counted
	maxParserDepth = 100
)

const testSuffix = "_test.rego"

// Compile makes an engine of the built-in modules overlaid by an admin's: a module takes
// the place of the built-in modules of its package, the others stay. Modules are Rego
// texts by path; nil means the built-in policy alone; those that end in _test.rego are
// left out. A policy that cannot be used is an *Error.
func Compile(modules map[string]string, defs Definitions) (*Engine, error) {
	return Settings{}.Compile(modules, defs)
}

// Compile is the package's Compile with settings.
func (s Settings) Compile(modules map[string]string, defs Definitions) (*Engine, error) {
	own, err := parse(withoutTests(modules))
	if err != nil {
		return nil, err
	}
	all := overlay(builtin(), own)
	compiler := newCompiler()
	if compiler.Compile(all); compiler.Failed() {
		return nil, refusal("", compiler.Errors)
	}
	e := &Engine{settings: s.withDefaults(), compiler: compiler, failures: &failureLog{}}
	e.ownAccess, e.ownLimits = !replaces(own, "data.tiergate.access"), !replaces(own, "data.tiergate.limits")
	e.ownTier = !replaces(own, "data.tiergate.subject") && !replaces(own, "data.tiergate.team")
	points := [entryPoints]**entryPoint{&e.tier, &e.access, &e.limits, &e.admin}
	for i, name := range [entryPoints]string{tierPoint, accessPoint, limitsPoint, adminPoint} {
		if *points[i], err = prepare(compiler, name); err != nil {
			return nil, refusal("", err)
		}
	}
	if err := e.checkCalls(own); err != nil {
		return nil, err
	}
	e.project()
	return e.define(defs)
}

// replaces says whether a module is of a package, or of one below it.
func replaces(own map[string]*ast.Module, pkg string) bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(own)), func(m *ast.Module) bool {
		return m.Package.Path.HasPrefix(ast.MustParseRef(pkg))
	})
}

// project works out what the answers depend on and what is built to find them.
func (e *Engine) project() {
	isResolved := func(l leaf) bool { return l.kind == subjectTier || l.kind == attributesTier }
	e.accessReads = e.tier.reads.union(e.access.reads)
	e.featureOnly = !e.access.reads.bare && !slices.ContainsFunc(leavesOf(e.access.reads), func(l leaf) bool { return l.kind > featureMetadata })
	e.tierLeaves = slices.DeleteFunc(leavesOf(e.tier.reads), isResolved)
	leaves := slices.DeleteFunc(leavesOf(e.accessReads), isResolved)
	e.featureLeaves = slices.DeleteFunc(slices.Clone(leaves), func(l leaf) bool { return l.kind > featureMetadata })
	e.teamLeaves = slices.DeleteFunc(slices.Clone(leaves), func(l leaf) bool { return !l.kind.ofTeam() })
	e.subjectLeaves = slices.DeleteFunc(leaves, func(l leaf) bool { return l.kind <= featureMetadata || l.kind.ofTeam() })
	e.limitsLeaves = leavesOf(e.limits.reads)
	e.decisionShape = shapeOf(e.accessReads, leavesOf(e.accessReads))
	e.decisionShape.kept = newKeptObjects()
	e.limitsShape = shapeOf(e.limits.reads, e.limitsLeaves)
}

// WithDefinitions returns an engine with the same modules over other definitions, and a
// cache of its own: answers depend on both. It compiles nothing.
func (e *Engine) WithDefinitions(defs Definitions) (*Engine, error) {
	n := &Engine{
		settings: e.settings, compiler: e.compiler, ownAccess: e.ownAccess, ownLimits: e.ownLimits, ownTier: e.ownTier,
		tier: e.tier, access: e.access, limits: e.limits, admin: e.admin, failures: e.failures,
	}
	n.project()
	return n.define(defs)
}

// engines counts all that were ever made.
var engines atomic.Uint64

func (e *Engine) define(defs Definitions) (*Engine, error) {
	var err error
	if e.definitions, err = defs.read(); err != nil {
		return nil, err
	}
	if e.store, e.txn, err = e.definitions.open(); err != nil {
		return nil, err
	}
	e.id = engines.Add(1)
	e.answers = newCache(e.settings.CacheBytes)
	e.keys.New = func() any { return &keyBuilder{buf: make([]byte, 0, 512)} }
	e.places = make(chan struct{}, e.settings.Concurrency)
	e.costly = make(chan struct{}, max(1, e.settings.Concurrency/4))
	return e, nil
}

func newCompiler() *ast.Compiler {
	return ast.NewCompiler().
		WithCapabilities(capabilities()).
		WithDefaultRegoVersion(ast.RegoV1).
		WithStrict(true)
}

func withoutTests(modules map[string]string) map[string]string {
	out := maps.Clone(modules)
	maps.DeleteFunc(out, func(path, _ string) bool { return strings.HasSuffix(path, testSuffix) })
	return out
}

// builtin returns the modules that are part of the program. The map is the caller's; the
// modules are shared, and a compiler works on copies of them.
func builtin() map[string]*ast.Module { return maps.Clone(parsedBuiltin()) }

var parsedBuiltin = sync.OnceValue(func() map[string]*ast.Module {
	out := map[string]*ast.Module{}
	for path, text := range rego.Modules() {
		m, err := parseModule(path, text)
		if err != nil {
			panic("tiergate: bug: the built-in policy does not parse: " + err.Error())
		}
		out["builtin/"+path] = m
	}
	return out
})

// overlay puts own beside those of base whose package it does not have.
func overlay(base, own map[string]*ast.Module) map[string]*ast.Module {
	for _, m := range own {
		maps.DeleteFunc(base, func(_ string, b *ast.Module) bool {
			return b.Package.Path.Equal(m.Package.Path)
		})
	}
	maps.Copy(base, own)
	return base
}

// parse reads an admin's modules and holds them against the bounds.
func parse(modules map[string]string) (map[string]*ast.Module, error) {
	size, rules := 0, 0
	for _, text := range modules {
		size += len(text)
	}
	switch {
	case size > maxModuleBytes:
		return nil, refuse("", "the modules are %d bytes, more than %d", size, maxModuleBytes)
	case len(modules) > maxModules:
		return nil, refuse("", "there are %d modules, more than %d", len(modules), maxModules)
	}
	out := map[string]*ast.Module{}
	for _, path := range slices.Sorted(maps.Keys(modules)) {
		m, err := parseModule(path, modules[path])
		if err != nil {
			return nil, err
		}
		if err := checkPackage(m); err != nil {
			return nil, err
		}
		ast.WalkRules(m, func(*ast.Rule) bool { rules++; return false })
		out[path] = m
	}
	if rules > maxRules {
		return nil, refuse("", "the modules have %d rules, more than %d", rules, maxRules)
	}
	return out, nil
}

// parseModule parses one module twice: with a bound on nesting that OPA's convenient
// function does not offer, then for good.
func parseModule(path, text string) (m *ast.Module, err error) {
	defer func() {
		if bug := recover(); bug != nil {
			m, err = nil, refuse(path, "the parser broke: %v", bug)
		}
	}()
	options := ast.ParserOptions{Capabilities: capabilities(), ProcessAnnotation: true, RegoVersion: ast.RegoV1}
	_, _, errs := ast.NewParser().WithMaxRecursionDepth(maxParserDepth).WithFilename(path).
		WithReader(strings.NewReader(text)).WithCapabilities(options.Capabilities).WithRegoVersion(ast.RegoV1).Parse()
	if len(errs) > 0 {
		return nil, refusal(path, errs)
	}
	if m, err = ast.ParseModuleWithOpts(path, text, options); err != nil {
		return nil, refusal(path, err)
	}
	if m == nil {
		return nil, refuse(path, "the module is empty")
	}
	return m, nil
}

// checkPackage keeps an admin's module below data.tiergate, one level down at least, and
// off the definitions, so that no rule can take the place of data.
func checkPackage(m *ast.Module) error {
	path := m.Package.Path
	switch {
	case len(path) < 3 || !path.HasPrefix(ast.MustParseRef("data.tiergate")):
		return refuseAt(m.Package.Location, "the package is %s, but policies live below tiergate, such as tiergate.access", path[1:])
	case path[2].Equal(ast.StringTerm("definitions")):
		return refuseAt(m.Package.Location, "the package tiergate.definitions is the data of tiers and limits")
	}
	return nil
}
