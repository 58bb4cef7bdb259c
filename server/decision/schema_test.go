package decision_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// description is the door's own OpenAPI, which checks answers and remembers which members of
// its schemas it has seen.
type description struct {
	root map[string]any
	seen map[string]bool
}

func describeAPI(t *testing.T, text string) *description {
	t.Helper()
	var root any
	if err := yaml.Unmarshal([]byte(text), &root); err != nil {
		t.Fatal(err)
	}
	plain, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	d := &description{seen: map[string]bool{}}
	if err := json.Unmarshal(plain, &d.root); err != nil {
		t.Fatal(err)
	}
	return d
}

// at follows a reference such as "#/components/schemas/Decision".
func (d *description) at(ref string) map[string]any {
	var here any = d.root
	for step := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		m, _ := here.(map[string]any)
		here = m[step]
	}
	found, _ := here.(map[string]any)
	return found
}

// check says what of a JSON value is not as the schema at ref has it. It knows as much of JSON
// Schema as the description uses.
func (d *description) check(ref string, value any) error {
	schema := d.at(ref)
	if schema == nil {
		return fmt.Errorf("there is no schema %s", ref)
	}
	return d.checkSchema(ref, schema, value)
}

func (d *description) checkSchema(where string, schema map[string]any, value any) error {
	if ref, ok := schema["$ref"].(string); ok {
		return d.check(ref, value)
	}
	if options, ok := schema["oneOf"].([]any); ok {
		return d.checkOne(where, options, value)
	}
	if enum, ok := schema["enum"].([]any); ok && !slices.ContainsFunc(enum, func(e any) bool { return reflect.DeepEqual(e, value) }) {
		return fmt.Errorf("%s: %v is none of %v", where, value, enum)
	}
	if fixed, ok := schema["const"]; ok && !reflect.DeepEqual(fixed, value) {
		return fmt.Errorf("%s: %v is not %v", where, value, fixed)
	}
	if pattern, ok := schema["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(fmt.Sprint(value)) {
		return fmt.Errorf("%s: %v does not match %s", where, value, pattern)
	}
	if !hasType(schema["type"], value) {
		return fmt.Errorf("%s: %v is no %v", where, value, schema["type"])
	}
	switch value := value.(type) {
	case []any:
		items, _ := schema["items"].(map[string]any)
		for _, item := range value {
			if err := d.checkSchema(where+"[]", items, item); err != nil {
				return err
			}
		}
	case map[string]any:
		return d.checkMembers(where, schema, value)
	}
	return nil
}

func (d *description) checkOne(where string, options []any, value any) error {
	var all []string
	for _, option := range options {
		err := d.checkSchema(where, option.(map[string]any), value)
		if err == nil {
			return nil
		}
		all = append(all, err.Error())
	}
	return fmt.Errorf("%s: none fits: %s", where, strings.Join(all, "; "))
}

func (d *description) checkMembers(where string, schema, value map[string]any) error {
	properties, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, ok := value[name.(string)]; !ok {
			return fmt.Errorf("%s lacks %v", where, name)
		}
	}
	for name, member := range value {
		inner, ok := properties[name].(map[string]any)
		if !ok {
			if schema["additionalProperties"] == false {
				return fmt.Errorf("%s has %s, which is not described", where, name)
			}
			continue
		}
		if err := d.checkSchema(where+"."+name, inner, member); err != nil {
			return err
		}
		d.seen[where+"."+name] = true
	}
	return nil
}

func hasType(want, value any) bool {
	names, ok := want.([]any)
	if !ok {
		names = []any{want}
	}
	return slices.ContainsFunc(names, func(name any) bool {
		number, isNumber := value.(float64)
		switch name {
		case nil:
			return true
		case "null":
			return value == nil
		case "integer":
			return isNumber && number == float64(int64(number))
		case "number":
			return isNumber
		}
		kinds := map[any]reflect.Kind{"string": reflect.String, "boolean": reflect.Bool, "object": reflect.Map, "array": reflect.Slice}
		return value != nil && reflect.TypeOf(value).Kind() == kinds[name]
	})
}

// unseen are the members of a schema, and of those that it refers to, that no answer had.
func (d *description) unseen(ref string) []string {
	var out []string
	d.walk(ref, d.at(ref), map[string]bool{}, func(member string) {
		if !d.seen[member] {
			out = append(out, member)
		}
	})
	slices.Sort(out)
	return slices.Compact(out)
}

func (d *description) walk(where string, schema map[string]any, been map[string]bool, visit func(string)) {
	if ref, ok := schema["$ref"].(string); ok {
		if !been[ref] {
			been[ref] = true
			d.walk(ref, d.at(ref), been, visit)
		}
		return
	}
	for _, options := range []string{"oneOf"} {
		list, _ := schema[options].([]any)
		for _, o := range list {
			d.walk(where, o.(map[string]any), been, visit)
		}
	}
	if items, ok := schema["items"].(map[string]any); ok {
		d.walk(where+"[]", items, been, visit)
	}
	properties, _ := schema["properties"].(map[string]any)
	for name, p := range properties {
		visit(where + "." + name)
		d.walk(where+"."+name, p.(map[string]any), been, visit)
	}
}
