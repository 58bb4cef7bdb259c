package flagdtest

import (
	"encoding/json"
	"testing"
)

// MadeUp makes up a flag file over all operators and questions about its flags, for tests of
// what is made of such a file. Equal seeds make equal ones.
func MadeUp(t testing.TB, seed uint64) (file []byte, questions []Question) {
	s := makeUp(seed)
	s.askOracle(startOracle(t))
	return s.file(), s.questions
}

// Ask returns what flagd-core answers to questions about a flag file.
func Ask(t testing.TB, file []byte, questions []Question) []Answer {
	t.Helper()
	o := startOracle(t)
	o.load(file)
	return o.ask(questions)
}

// Intended returns the intended difference that a rule may show in a context, nil for none.
func Intended(rule, context json.RawMessage, ours Answer) *Difference {
	var v any
	if json.Unmarshal(rule, &v) != nil {
		return nil
	}
	return intended(v, context, ours)
}

// Same says whether two answers are equal, but for what Unknown tells.
func Same(a, b Answer) bool { return same(a, b) }
