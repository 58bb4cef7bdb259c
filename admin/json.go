package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

// maxDepth bounds the nesting of a request body.
const maxDepth = 64

// strictJSON is the one format of the API. What encoding/json forgives and somebody else
// would stumble over later is refused: equal keys, bytes that are not UTF-8, half
// surrogate pairs, and NUL, which Postgres cannot store.
var strictJSON = huma.Format{
	Marshal: huma.DefaultJSONFormat.Marshal,
	Unmarshal: func(data []byte, v any) error {
		tree, toValidate := v.(*any) // huma reads each body twice: once to validate, once into the type
		if !toValidate {
			return readJSON(data, v)
		}
		if err := checkJSON(data); err != nil {
			return err
		}
		var err error
		*tree, err = treeOf(data)
		return err
	},
}

// huma's path of a fault loses its way behind a key with a dot or a bracket, such as
// "access.rego": it takes off the part behind the last dot only, and grows and grows. So
// huma gets to see such keys with stand-ins, which no body may hold, and faults get the
// keys back.
var (
	hideDots = strings.NewReplacer(".", standInDot, "[", standInBracket)
	showDots = strings.NewReplacer(standInDot, ".", standInBracket, "[")
)

const (
	standInDot     = "\ufdd0"
	standInBracket = "\ufdd1"
)

// treeOf reads a document as huma validates it.
func treeOf(data []byte) (any, error) {
	var tree any
	if err := readJSON(data, &tree); err != nil {
		return nil, err
	}
	return withoutDots(tree), nil
}

func withoutDots(tree any) any {
	switch t := tree.(type) {
	case []any:
		for i := range t {
			t[i] = withoutDots(t[i])
		}
	case map[string]any:
		plain := make(map[string]any, len(t))
		for key, value := range t {
			plain[hideDots.Replace(key)] = withoutDots(value)
		}
		return plain
	}
	return tree
}

// readJSON is json.Unmarshal with errors that speak of JSON and not of Go.
func readJSON(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if e.Field == "" {
			return fmt.Errorf("a JSON %s does not fit here", e.Value)
		}
		return fmt.Errorf("%s: a JSON %s does not fit here", e.Field, e.Value)
	}
	return err
}

// checkJSON refuses a document that two readers could read differently.
func checkJSON(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("the body is not UTF-8")
	}
	if err := checkNesting(data); err != nil {
		return err
	}
	return checkEscapes(data)
}

// checkNesting walks the tokens: one document, not too deep, no key twice.
func checkNesting(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var open []scope
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) && len(open) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("not JSON at byte %d: %w", dec.InputOffset(), plainEOF(err))
		}
		switch delim, _ := token.(json.Delim); delim {
		case '{', '[':
			if len(open) == maxDepth {
				return fmt.Errorf("nested deeper than %d", maxDepth)
			}
			open = append(open, scope{object: delim == '{', keys: map[string]bool{}})
		case '}', ']':
			open = open[:len(open)-1]
			closeValue(open)
		default:
			if err := closeToken(open, token); err != nil {
				return err
			}
		}
		if len(open) == 0 && dec.More() {
			return fmt.Errorf("there is more after the JSON value, at byte %d", dec.InputOffset())
		}
	}
}

// A scope is an object or array that is open while its tokens are walked.
type scope struct {
	object bool
	inside bool // a key was read and its value comes next
	keys   map[string]bool
}

func closeValue(open []scope) {
	if len(open) > 0 {
		open[len(open)-1].inside = false
	}
}

func closeToken(open []scope, token json.Token) error {
	if len(open) == 0 {
		return nil
	}
	s := &open[len(open)-1]
	if !s.object || s.inside {
		s.inside = false
		return nil
	}
	key, _ := token.(string)
	if strings.Contains(key, standInDot) || strings.Contains(key, standInBracket) {
		return fmt.Errorf("the key %.80q holds what is no character", key)
	}
	if s.keys[key] {
		return fmt.Errorf("the key %.80q is there twice", key)
	}
	s.keys[key], s.inside = true, true
	return nil
}

func plainEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// checkEscapes looks at the \u escapes of a valid document.
func checkEscapes(data []byte) error {
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		i++
		if data[i] != 'u' {
			continue
		}
		switch r := hex4(data[i+1:]); {
		case r == 0:
			return fmt.Errorf("a string holds NUL, at byte %d", i)
		case r >= 0xDC00 && r <= 0xDFFF:
			return fmt.Errorf("half a surrogate pair, at byte %d", i)
		case r >= 0xD800 && r <= 0xDBFF:
			rest := data[i+5:]
			if !bytes.HasPrefix(rest, []byte(`\u`)) || hex4(rest[2:]) < 0xDC00 || hex4(rest[2:]) > 0xDFFF {
				return fmt.Errorf("half a surrogate pair, at byte %d", i)
			}
			i += 6
		}
		i += 4
	}
	return nil
}

func hex4(b []byte) uint64 {
	n, _ := strconv.ParseUint(string(b[:4]), 16, 32)
	return n
}
