package flagdtest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// operators are what flags are made up of; $ref stands for the use of a shared rule.
var operators = strings.Fields(`var missing missing_some if ?: and or ! !! == != === !== < <= > >=
	+ - * / % max min cat substr in merge map filter all some none reduce
	starts_with ends_with sem_ver fractional $ref`)

// nested is the shared rule that uses others; flagd-core wants it to come before them.
const nested = "nested"

// evaluators are the shared rules of every file.
const evaluators = `{
	"nested": {"if": [{"$ref": "staff"}, {"$ref": "name"}, {"$ref": "adult"}]},
	"staff": {"ends_with": [{"var": "email"}, "@faas.com"]},
	"adult": {">=": [{"var": "age"}, 18]},
	"name": {"var": ["user.name", "nobody"]},
	"inner": {"var": "plan"},
	"outer": {"if": [true, {"$ref": "inner"}]},
	"dollars": {"if": [true, "$$"]}
}`

// A generator makes up rules and contexts; equal seeds make equal ones.
type generator struct {
	*rand.Rand
	used   map[string]bool // operators of the rule at hand
	inside int             // arrays that are being visited
}

func pick[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

// an array or object of a rule or context.
type (
	array  = []any
	object = map[string]any
	number = json.Number
)

// rule makes up a rule with op at its root.
func (g *generator) rule(op string, depth int) any {
	g.used[op] = true
	switch op {
	case "var":
		return g.variable(depth)
	case "$ref":
		name := pick(g, "staff", "adult", "name", nested)
		if name == nested {
			g.used[nested] = true
		}
		return object{"$ref": name}
	case "missing":
		return object{op: g.names()}
	case "missing_some":
		return object{op: array{pick(g, number("0"), number("1"), number("2"), number("9")), g.names()}}
	case "map", "filter", "all", "some", "none":
		return object{op: array{g.list(depth - 1), g.visitor(depth - 1)}}
	case "reduce":
		return g.reduce(depth)
	case "fractional":
		return g.fractional(depth)
	case "sem_ver":
		return object{op: array{g.version(), pick(g, "=", "!=", "<", "<=", ">", ">=", "^", "~", "=="), g.version()}}
	case "!", "!!":
		return object{op: pick[any](g, array{g.any(depth - 1)}, g.any(depth-1), array{})}
	}
	return object{op: g.arguments(op, depth)}
}

// arguments makes up as many as the operator usually has, sometimes one more or less.
func (g *generator) arguments(op string, depth int) any {
	n, make := 2, g.any
	switch op {
	case "if", "?:":
		n = pick(g, 1, 2, 3, 3, 3, 4, 5)
	case "and", "or", "merge", "cat":
		n = pick(g, 1, 2, 3)
	case "+", "-", "*", "/", "%", "max", "min":
		make = g.numeric
		n = pick(g, 1, 2, 2, 2, 3)
	case "<", "<=", ">", ">=":
		make = pick(g, g.numeric, g.numeric, g.any)
		n = pick(g, 2, 2, 3)
	case "==", "!=", "===", "!==":
		n = pick(g, 2, 2, 2, 3)
	case "substr":
		return array{g.text(depth - 1), g.any(0), g.numeric(0)}[:pick(g, 1, 2, 3)]
	case "starts_with", "ends_with":
		return array{g.text(depth - 1), g.text(0)}
	case "in":
		return array{g.any(depth - 1), pick(g, g.list, g.text, g.any)(depth - 1)}
	}
	if g.IntN(25) == 0 {
		return g.list(depth - 1) // computed, or one value without a list
	}
	args := array{}
	for range n {
		args = append(args, make(depth-1))
	}
	return args
}

// any makes up a value of whatever kind.
func (g *generator) any(depth int) any {
	if depth <= 0 || g.IntN(3) == 0 {
		if g.IntN(2) == 0 {
			return g.variable(0)
		}
		return g.scalar()
	}
	return g.rule(g.operator(), depth)
}

// operator draws one that may stand here: flagd's own do not work in flagd-core while an
// array is visited.
func (g *generator) operator() string {
	for {
		op := pick(g, operators...)
		if g.inside == 0 || !slices.Contains([]string{"starts_with", "ends_with", "sem_ver", "fractional", "$ref"}, op) {
			return op
		}
	}
}

func (g *generator) scalar() any {
	return pick[any](
		g, nil, true, false, number("0"), number("1"), number("-1"), number("1.0"), number("1.5"), number("18"), number("33"),
		number("1e3"), number("1e21"), number("1e-7"), number("0.1"), number("9007199254740993"), number("9007199254740992"),
		"", " ", "0", "1", "01", "1.0", " 18 ", "1e3", "0x1F", "-5", "NaN", "Infinity", "true", "null", "pro", "free", "jane@faas.com",
		"héllo", "日本語", "b😀c", "\uffee", "[object Object]", "a,b", array{}, array{number("1"), "1", nil}, object{},
	)
}

func (g *generator) numeric(depth int) any {
	switch g.IntN(6) {
	case 0:
		return g.any(depth)
	case 1:
		return pick[any](g, "5", "-1.5", " 7 ", "0x10", "", true, nil)
	case 2:
		return object{"var": pick(g, "age", "score", "user.logins", "huge", "$flagd.timestamp", "list.length")}
	case 3:
		if depth > 0 {
			return g.rule(pick(g, "+", "-", "*", "/", "%", "max", "min"), depth)
		}
	}
	return pick(g, number("0"), number("1"), number("2"), number("-3"), number("2.5"), number("1e16"), number("100"), number("0.3"))
}

func (g *generator) text(depth int) any {
	switch g.IntN(4) {
	case 0:
		return g.any(depth)
	case 1:
		return object{"var": pick(g, "email", "user.name", "plan", "$flagd.flagKey", "targetingKey", "title")}
	case 2:
		if depth > 0 {
			return g.rule(pick(g, "cat", "substr"), depth)
		}
	}
	return pick(g, "jane", "jane@", "@faas.com", "", "é", "日本", "pro", "a", "flag")
}

func (g *generator) list(depth int) any {
	switch g.IntN(6) {
	case 0:
		return g.any(depth)
	case 1:
		if depth > 0 {
			return g.rule(pick(g, "map", "filter", "merge"), depth)
		}
		fallthrough
	case 2, 3:
		return object{"var": pick(g, "roles", "list", "items", "empty", "mixed", "none")}
	}
	items := array{}
	for range g.IntN(4) {
		items = append(items, g.any(0))
	}
	return items
}

// visitor makes up what runs on each element.
func (g *generator) visitor(depth int) any {
	g.inside++
	defer func() { g.inside-- }()
	item := object{"var": pick(g, "", "", "qty", "name", "length", "0")}
	switch g.IntN(3) {
	case 0:
		return g.any(depth)
	case 1:
		op := pick(g, "==", "===", ">", "<", "+", "*", "cat", "in")
		g.used[op] = true
		return object{op: array{item, pick[any](g, number("1"), number("2"), "dev", "1", nil)}}
	}
	return item
}

func (g *generator) reduce(depth int) any {
	collection := g.list(depth - 1)
	g.inside++
	op := pick(g, "+", "*", "cat", "max", "merge")
	g.used[op] = true
	var visit any = object{op: array{object{"var": "accumulator"}, object{"var": pick(g, "current", "current", "current.qty")}}}
	if g.IntN(3) == 0 {
		visit = g.any(depth - 1)
	}
	g.inside--
	args := array{collection, visit, pick[any](g, number("0"), number("1"), "", nil, array{}, g.any(0))}
	return object{"reduce": args[:pick(g, 2, 3, 3, 3)]}
}

func (g *generator) fractional(depth int) any {
	args := array{}
	switch g.IntN(3) {
	case 0:
		args = append(args, object{"cat": array{object{"var": "$flagd.flagKey"}, object{"var": pick(g, "email", "user.name", "plan")}}})
	case 1:
		args = append(args, pick[any](g, object{"var": "email"}, object{"var": "nothing"}, "salt", "", g.any(depth-1)))
	}
	for range g.IntN(5) {
		variant := pick[any](g, "on", "off", "a", "b", "c", number("1"), true, nil, object{"var": "plan"})
		weight := pick[any](g, number("1"), number("25"), number("50"), number("0"), number("-5"), number("1.5"), "3",
			number("2147483647"), object{"-": array{object{"var": "$flagd.timestamp"}, number("1700000000")}})
		entry := array{variant, weight}
		args = append(args, entry[:pick(g, 1, 2, 2, 2, 2, 2)])
	}
	if g.IntN(20) == 0 {
		args = append(args, pick[any](g, "x", array{}, array{"a", number("1"), number("2")}, nil))
	}
	return object{"fractional": args}
}

func (g *generator) version() any {
	return pick[any](
		g, "1.2.3", "v1.2.3", "V2.0.0", "1.2", "1", number("1"), number("1.2"), "1.2.3-alpha.1", "1.2.3-alpha.beta", "1.2.3+build.5",
		"2.0.0-rc.1", "1.02.3", "1.2.3.4", "x", "", " 1.2.3 ", nil, "1.2.3-01", "99999999999999999999.0.0", object{"var": "version"},
	)
}

func (g *generator) names() any {
	names := array{}
	for range g.IntN(4) {
		names = append(names, pick[any](g, "age", "email", "user.name", "user.zip", "none", "nothing", "nothing.x", "list.0", "list.9", number("1"), ""))
	}
	return names
}

// variable makes up a var with odd paths and defaults.
func (g *generator) variable(depth int) any {
	g.used["var"] = true
	path := pick[any](
		g, "age", "score", "email", "plan", "roles", "list", "items", "empty", "mixed", "nothing", "none", "user", "user.name", "user.zip",
		"user.address.city", "user.none.city", "items.0.qty", "items.1.name", "list.1", "list.9", "list.length", "email.length", "email.0", "title.1",
		"huge", "flag", "zero", "blank", "targetingKey", "$flagd.flagKey", "$flagd.timestamp", "$flagd.none", "version", "", number("1"), nil, `dotted\.name`, "..", "user.",
	)
	switch g.IntN(5) {
	case 0:
		return object{"var": array{path, pick[any](g, "fallback", number("7"), nil, object{"var": "plan"}, array{})}}
	case 1:
		return object{"var": array{path}}
	case 2:
		if depth > 0 {
			return object{"var": g.text(depth - 1)}
		}
	}
	return object{"var": path}
}

// context makes up an evaluation context; each member may be odd, null or missing.
func (g *generator) context() json.RawMessage {
	c := object{}
	odd := func(name string, usual ...any) {
		switch g.IntN(8) {
		case 0:
		case 1:
			c[name] = g.scalar()
		default:
			c[name] = pick(g, usual...)
		}
	}
	odd("age", number("33"), number("17"), "33", number("18.0"))
	odd("score", number("1.5"), number("-2"), number("1e3"), "12")
	odd("email", "jane@faas.com", "joe@example.com")
	odd("plan", "pro", "free", "on", "a")
	odd("roles", array{"dev", "ops"}, array{}, array{"pro"})
	odd("list", array{number("1"), number("2"), number("3")}, array{number("1"), "2"}, array{number("0")})
	odd("items", array{object{"qty": number("2"), "name": "dev"}, object{"qty": number("5")}}, array{object{}})
	odd("mixed", array{number("1"), "1", nil, true, array{number("1")}, object{"qty": number("1")}})
	odd("user", object{"name": "jane", "logins": number("7"), "address": object{"city": "Bern"}}, object{"name": nil}, "jane")
	odd("huge", number("9007199254740993"), number("9007199254740992"), "9007199254740993")
	odd("title", "héllo", "日本語", "abc", "\uffeex")
	odd("version", "1.2.3", "v2", "2.0.0-rc.1", number("1"))
	odd("flag", true, false)
	c["empty"], c["nothing"], c["zero"], c["blank"] = array{}, nil, number("0"), ""
	c["dotted.name"] = "dotted"
	if g.IntN(6) > 0 {
		c["targetingKey"] = fmt.Sprintf("user-%d", g.IntN(1000))
	}
	text, _ := json.Marshal(c) // made of what JSON has
	return text
}
