package policy

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// A projection is the part of the input that an entry point can possibly read: two inputs
// that agree on it get the same answer. It errs on the side of too much.
type projection struct {
	// bare: the input is read as a whole, or something is called that is no function of
	// the input. Nothing about the answer may be remembered.
	bare bool
	// paths are what is read below input; none is a prefix of another.
	paths [][]string
}

// project works out the projection of an entry point from the compiled rules. It follows
// every rule that could be reached: through the compiler's graph, and through each ref
// into data, cut at its first element that is not constant, because the graph narrows such
// refs by what it knows and we need not trust that.
func project(c *ast.Compiler, entry ast.Ref) projection {
	p := &projector{compiler: c, seen: map[*ast.Rule]bool{}}
	p.follow(entry)
	for len(p.todo) > 0 {
		rule := p.todo[len(p.todo)-1]
		p.todo = p.todo[:len(p.todo)-1]
		p.rule(rule)
	}
	p.out.paths = prune(p.out.paths)
	return p.out
}

type projector struct {
	compiler *ast.Compiler
	seen     map[*ast.Rule]bool
	todo     []*ast.Rule
	out      projection
}

func (p *projector) add(rules ...*ast.Rule) {
	for _, rule := range rules {
		for ; rule != nil; rule = rule.Else {
			if !p.seen[rule] {
				p.seen[rule] = true
				p.todo = append(p.todo, rule)
			}
		}
	}
}

// follow adds every rule that a ref into data may evaluate: those below its prefix of
// constant strings, and those on the way to it.
func (p *projector) follow(ref ast.Ref) {
	prefix := ref.StringPrefix()
	p.add(p.compiler.GetRulesDynamicWithOpts(prefix, ast.RulesOptions{IncludeHiddenModules: true})...)
	p.add(p.compiler.GetRulesForVirtualDocument(prefix)...)
	p.add(p.compiler.GetRulesWithPrefix(prefix)...)
}

// rule collects the refs of one rule: its head with the ref that names it, its body, and
// whatever is inside: comprehensions, every, functions, with. Its else has its own turn.
func (p *projector) rule(rule *ast.Rule) {
	for next := range p.compiler.Graph.Dependencies(rule) {
		if r, ok := next.(*ast.Rule); ok {
			p.add(r)
		}
	}
	visitor := ast.NewGenericVisitor(p.visit)
	visitor.Walk(rule.Head)
	visitor.Walk(rule.Head.Reference)
	visitor.Walk(rule.Body)
}

func (p *projector) visit(x any) bool {
	switch x := x.(type) {
	case *ast.With:
		p.with(x)
		return true
	case ast.Ref:
		p.ref(x)
		p.rest(x)
		return true
	case ast.Var:
		p.out.bare = p.out.bare || x.Equal(ast.InputRootDocument.Value)
		if x.Equal(ast.DefaultRootDocument.Value) {
			p.follow(ast.DefaultRootRef)
		}
	}
	return false
}

// rest visits the elements of a ref behind its head, which may hold refs themselves.
func (p *projector) rest(ref ast.Ref) {
	visitor := ast.NewGenericVisitor(p.visit)
	for i, term := range ref {
		if _, named := term.Value.(ast.Var); i > 0 || !named {
			visitor.Walk(term)
		}
	}
}

func (p *projector) ref(ref ast.Ref) {
	switch {
	case len(ref) == 0:
	case ref[0].Equal(ast.DefaultRootDocument):
		p.follow(ref)
	case ref[0].Equal(ast.InputRootDocument):
		path := pathOf(ref)
		p.out.bare = p.out.bare || len(path) == 0
		p.out.paths = append(p.out.paths, path)
	default:
		if b, ok := ast.BuiltinMap[ref.String()]; ok && b.IsNondeterministic() {
			p.out.bare = true
		}
	}
}

// with collects the value that replaces something. Of a target below input it takes the
// whole first member: what comes of replacing input.a.b depends on what input.a was. A
// target of input itself reads nothing of it.
func (p *projector) with(w *ast.With) {
	visitor := ast.NewGenericVisitor(p.visit)
	visitor.Walk(w.Value)
	target, ok := w.Target.Value.(ast.Ref)
	if !ok || len(target) == 0 || !target[0].Equal(ast.InputRootDocument) {
		visitor.Walk(w.Target)
		return
	}
	p.rest(target)
	if path := pathOf(target); len(path) > 0 {
		p.out.paths = append(p.out.paths, path[:1])
	}
}

// pathOf returns the members that a ref below input names, up to the first element that
// is not a constant string.
func pathOf(ref ast.Ref) []string {
	path := []string{}
	for _, term := range ref[1:] {
		s, ok := term.Value.(ast.String)
		if !ok {
			break
		}
		path = append(path, string(s))
	}
	return path
}

// prune sorts paths and leaves out those that lie below another.
func prune(paths [][]string) [][]string {
	slices.SortFunc(paths, slices.Compare[[]string])
	out := [][]string{}
	for _, p := range paths {
		if n := len(out); n > 0 && len(p) >= len(out[n-1]) && slices.Equal(p[:len(out[n-1])], out[n-1]) {
			continue
		}
		out = append(out, p)
	}
	return out
}

// union returns the projection of whoever reads what p or q reads.
func (p projection) union(q projection) projection {
	return projection{bare: p.bare || q.bare, paths: prune(slices.Concat(p.paths, q.paths))}
}

// reads says whether the path, something below it, or something above it is read.
func (p projection) reads(path ...string) bool {
	if p.bare {
		return true
	}
	return slices.ContainsFunc(p.paths, func(have []string) bool {
		n := min(len(have), len(path))
		return slices.Equal(have[:n], path[:n])
	})
}

// String returns the projection for people: paths joined by dots.
func (p projection) String() string {
	if p.bare {
		return "input"
	}
	lines := make([]string, len(p.paths))
	for i, path := range p.paths {
		lines[i] = "input." + strings.Join(path, ".")
	}
	return strings.Join(lines, " ")
}
