package policy

import (
	"regexp"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Two allowed functions take an operand that says how much they write: a format whose
// widths may be a million each, and a separator that is written once for each element. That
// operand is a short constant, so that no caller's attribute can choose it.
const maxSeparator = 64

var wideFormat = regexp.MustCompile(`%[-+# 0]*(\*|\[|\d{4,})|\.(\*|\[|\d{4,})`)

// checkCalls refuses those calls in the compiled form of an admin's modules.
func (e *Engine) checkCalls(own map[string]*ast.Module) error {
	var refused *Error
	for path := range own {
		module := e.compiler.Modules[path]
		ast.NewGenericVisitor(func(x any) bool {
			switch x := x.(type) {
			case *ast.Expr:
				if terms, ok := x.Terms.([]*ast.Term); ok && refused == nil {
					refused = checkCall(terms, x.Location)
				}
			case ast.Call:
				if refused == nil {
					refused = checkCall(x, x[0].Location)
				}
			case *ast.With:
				if name := x.Value.Value.String(); name == ast.Sprintf.Name || name == ast.Concat.Name {
					refused = refuseAt(x.Location, "%s may not take another function's place", name)
				}
			}
			return refused != nil
		}).Walk(module)
	}
	if refused != nil {
		return refused
	}
	return nil
}

func checkCall(terms []*ast.Term, loc *ast.Location) *Error {
	switch name := terms[0].Value.String(); {
	case name != ast.Sprintf.Name && name != ast.Concat.Name || len(terms) < 2:
		return nil
	default:
		text, ok := terms[1].Value.(ast.String)
		switch {
		case !ok:
			return refuseAt(loc, "the first operand of %s is not a constant string", name)
		case name == ast.Concat.Name && len(text) > maxSeparator:
			return refuseAt(loc, "the separator of concat is longer than %d bytes", maxSeparator)
		case name == ast.Sprintf.Name && wideFormat.MatchString(string(text)):
			return refuseAt(loc, "the format of sprintf has a width or precision that is not a constant below 1000")
		}
		return nil
	}
}
