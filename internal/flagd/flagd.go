package flagd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tiergate/tiergate"
)

// MaxBytes bounds a flag file.
const MaxBytes = 64 << 20

// A File is what a flag file holds.
type File struct {
	// Sets are the flag sets that the file names: the document's, and those that flags
	// name themselves. Each has the document's shared rules and metadata.
	Sets []tiergate.FlagSet
	// Flags are the good flags, in the order of the file. Their ids are "<set>/<name>".
	Flags []tiergate.Flag
	// Problems are what is wrong, one entry for each flag that was left out.
	Problems []Problem
}

// A Problem says why a flag was left out, or what of the document itself was.
type Problem struct {
	Set     string
	Flag    string // "" for the document's own members
	Message string
}

func (p Problem) String() string {
	if p.Flag == "" {
		return p.Message
	}
	return fmt.Sprintf("flag %q: %s", p.Flag, p.Message)
}

// Parse reads a flag file: JSON when it begins with a brace, else YAML. Of a name's
// definitions the last counts. An error means that the document cannot be read at all and
// says where. The result keeps parts of data, which must not change afterwards. A flag's
// targeting is not compiled here.
func Parse(data []byte) (File, error) {
	if len(data) > MaxBytes {
		return File{}, fmt.Errorf("a flag file has at most %d bytes, not %d", MaxBytes, len(data))
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if text := bytes.TrimLeft(data, " \t\r\n"); len(text) > 0 && text[0] != '{' {
		converted, err := fromYAML(data)
		if err != nil {
			return File{}, err
		}
		data = converted
	}
	d := document{scanner: scanner{data: data}, set: tiergate.DefaultSet}
	d.object(d.member)
	if d.peek(); d.err == nil && d.at < len(data) { // a zero byte is no end
		d.unexpected("the end of the document")
	}
	switch {
	case d.err != nil:
		return File{}, d.err
	case !d.hasFlags:
		return File{}, errors.New(`a flag file has a member "flags", an object or an array`)
	}
	return d.file(), nil
}

// A document is a file while it is read.
type document struct {
	scanner
	set        string
	metadata   map[string]any
	evaluators map[string]json.RawMessage
	hasFlags   bool
	flags      []definition
	problems   []Problem
}

func (d *document) problem(format string, args ...any) {
	d.problems = append(d.problems, Problem{Message: fmt.Sprintf(format, args...)})
}

// member reads one member of the document.
func (d *document) member(key []byte) {
	switch string(key) {
	case "flags":
		d.readFlags()
	case "$evaluators":
		d.readEvaluators()
	case "metadata":
		d.readMetadata()
	default:
		d.skip()
	}
}

func (d *document) readFlags() {
	switch d.peek() {
	case '{':
		d.hasFlags, d.flags = true, nil
		d.object(func(key []byte) {
			d.flags = append(d.flags, d.definition(decoded(key)))
		})
	case '[':
		d.hasFlags, d.flags = true, nil
		d.array(func() { d.flags = append(d.flags, d.definition("")) })
	default:
		d.skip()
	}
}

func (d *document) readEvaluators() {
	if d.peek() != '{' {
		d.skip()
		d.problem("$evaluators is not an object")
		return
	}
	d.evaluators = map[string]json.RawMessage{}
	d.object(func(key []byte) { d.evaluators[decoded(key)] = d.value() })
}

func (d *document) readMetadata() {
	metadata, err := metadataOf(d.value())
	if err != nil {
		d.problem("%v", err)
		return
	}
	d.metadata = metadata
	if id, ok := metadata["flagSetId"]; ok {
		if name, ok := id.(string); ok && name != "" {
			d.set = name
		} else {
			d.problem("metadata.flagSetId is not a name")
		}
	}
}

// file puts together what was read; only now are the set and its metadata known.
func (d *document) file() File {
	f := File{Problems: d.problems, Flags: make([]tiergate.Flag, 0, len(d.flags))}
	last := make(map[[2]string]int, len(d.flags))
	for i := range d.flags {
		def := &d.flags[i]
		if def.set == "" {
			def.set = d.set
		}
		last[[2]string{def.set, def.name}] = i
	}
	sets := []string{d.set}
	for i := range d.flags {
		def := &d.flags[i]
		if last[[2]string{def.set, def.name}] != i {
			continue
		}
		flag, err := def.flag()
		if err != nil {
			f.Problems = append(f.Problems, Problem{Set: def.set, Flag: def.name, Message: err.Error()})
			continue
		}
		f.Flags = append(f.Flags, flag)
		if !slices.Contains(sets, def.set) {
			sets = append(sets, def.set)
		}
	}
	for _, name := range sets {
		f.Sets = append(f.Sets, tiergate.FlagSet{Name: name, Evaluators: d.evaluators, Metadata: d.metadata})
	}
	return f
}

// metadataOf reads metadata: strings, booleans and numbers by name.
func metadataOf(raw json.RawMessage) (map[string]any, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var m map[string]any
	if raw[0] != '{' || json.Unmarshal(raw, &m) != nil {
		return nil, errors.New("metadata is not an object")
	}
	for k, v := range m {
		switch v.(type) {
		case string, bool, float64:
		default:
			return nil, fmt.Errorf("metadata %q is not a string, boolean or number", k)
		}
	}
	return m, nil
}

// compact drops the white space of a file's layout from a value.
func compact(raw json.RawMessage) json.RawMessage {
	if !bytes.ContainsAny(raw, " \n\t\r") {
		return raw
	}
	var out bytes.Buffer
	if json.Compact(&out, raw) != nil {
		return raw
	}
	return out.Bytes()
}

func isEmptyObject(raw json.RawMessage) bool {
	return len(raw) > 1 && raw[0] == '{' && strings.TrimSpace(string(raw[1:len(raw)-1])) == ""
}
