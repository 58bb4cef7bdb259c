package flagd

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxNodes bounds what aliases may make of a YAML document.
const maxNodes = 4 << 20

// fromYAML turns a YAML document into JSON, members in their order. A document on which
// the parser panics is not YAML either: a flag file must not stop a sidecar.
func fromYAML(data []byte) (out []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, fmt.Errorf("not YAML: the parser stops at it: %.200v", p)
		}
	}()
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, yamlError(err)
	}
	if len(tree.Docs) != 1 || tree.Docs[0].Body == nil {
		return nil, errors.New("a flag file is one document")
	}
	if err := boundAliases(tree.Docs[0].Body); err != nil {
		return nil, err
	}
	var v any
	if err := yaml.NodeToValue(tree.Docs[0].Body, &v, yaml.UseOrderedMap()); err != nil {
		return nil, yamlError(err)
	}
	if _, ok := v.(yaml.MapSlice); !ok {
		return nil, errors.New("a flag file is an object")
	}
	return appendJSON(nil, v, 0)
}

// yamlError keeps the line that says what and where: "[3:5] …".
func yamlError(err error) error {
	where, _, _ := strings.Cut(err.Error(), "\n")
	row, column, ok := strings.Cut(strings.TrimPrefix(where, "["), ":")
	column, what, ok2 := strings.Cut(column, "] ")
	if ok && ok2 {
		return fmt.Errorf("not YAML at row %s, column %s: %s", row, column, what)
	}
	return fmt.Errorf("not YAML: %s", where)
}

// boundAliases refuses a document whose aliases stand for too much, before any is followed.
func boundAliases(root ast.Node) error {
	c := counter{anchors: map[string]int{}}
	if ast.Walk(&c, root); c.nodes > maxNodes {
		return fmt.Errorf("the aliases of the YAML document stand for more than %d values", maxNodes)
	}
	return nil
}

// A counter counts a tree's nodes with those that aliases stand for. An anchor comes
// before its aliases, so its own count is complete when it is asked for.
type counter struct {
	nodes   int
	anchors map[string]int
}

// Visit implements ast.Visitor.
func (c *counter) Visit(n ast.Node) ast.Visitor {
	if c.nodes > maxNodes {
		return nil
	}
	c.nodes++
	switch n := n.(type) {
	case *ast.AliasNode:
		c.nodes += c.anchors[n.Value.GetToken().Value]
		return nil
	case *ast.AnchorNode:
		inner := counter{anchors: c.anchors}
		ast.Walk(&inner, n.Value)
		c.anchors[n.Name.GetToken().Value] = inner.nodes
		c.nodes += inner.nodes
		return nil
	}
	return c
}

// appendJSON appends what YAML decoded.
func appendJSON(dst []byte, v any, depth int) ([]byte, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("the YAML document is nested deeper than %d", maxNesting)
	}
	switch v := v.(type) {
	case yaml.MapSlice:
		return appendObject(dst, v, depth)
	case []any:
		dst = append(dst, '[')
		for i, item := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = appendJSON(dst, item, depth+1); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%v has no JSON form", v)
		}
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append(dst, text...), nil
}

func appendObject(dst []byte, m yaml.MapSlice, depth int) ([]byte, error) {
	dst = append(dst, '{')
	for i, item := range m {
		if i > 0 {
			dst = append(dst, ',')
		}
		key, err := json.Marshal(fmt.Sprint(item.Key))
		if err != nil {
			return nil, err
		}
		dst = append(append(dst, key...), ':')
		if dst, err = appendJSON(dst, item.Value, depth+1); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}
