package targeting

import (
	"errors"
	"strconv"

	"github.com/tiergate/tiergate"
)

// MaxSteps bounds the operations of one evaluation: what a map in a map in a map may do.
const MaxSteps = 100_000

// The ways in which an evaluation ends without a value.
var (
	errSteps      = errors.New("the rule took more than " + strconv.Itoa(MaxSteps) + " steps")
	errText       = errors.New("the rule built a text of more than " + strconv.Itoa(MaxText) + " bytes")
	errNotNumber  = errors.New("an operand is not a number")
	errArguments  = errors.New("the arguments do not suit the operator")
	errNotList    = errors.New("an operand is not a list")
	errNotText    = errors.New("an operand is not a string")
	errDeepResult = errors.New("reduce accumulates lists and objects of scalars only")
)

// A machine runs one rule once.
type machine struct {
	scope Scope
	frame frame
	steps int
	err   error
	all   tiergate.Value // the whole context, once it was asked for
}

// A frame is what var reads: the whole context at first, and the elements of an array
// within an operator that visits one.
type frame struct {
	kind frameKind
	item tiergate.Value
	acc  tiergate.Value
	// prev is a variable of the JavaScript that flagd-core compiles a rule to. Comparisons
	// check their second operand against it, and operands may have changed it meanwhile.
	prev tiergate.Value
}

type frameKind uint8

const (
	frameContext frameKind = iota
	frameItem
	frameReduce
)

func (m *machine) fail(err error) (tiergate.Value, bool) {
	if m.err == nil {
		m.err = err
	}
	return tiergate.Value{}, false
}

// context is the value that var "" stands for.
func (m *machine) context() tiergate.Value {
	switch m.frame.kind {
	case frameItem:
		return m.frame.item
	case frameReduce:
		return tiergate.ObjectOf([]string{"accumulator", "current"}, []tiergate.Value{m.frame.acc, m.frame.item})
	}
	if !m.all.IsDefined() {
		m.all = m.scope.whole()
	}
	return m.all
}

// charge takes steps for work on that many bytes or elements at once.
func (m *machine) charge(size int) { m.steps -= size >> 6 }

// chargeText takes steps for turning a value into text, or for reading a text.
func (m *machine) chargeText(v tiergate.Value) {
	if isArray(v) {
		for i := range v.Len() {
			m.chargeText(v.Index(i))
		}
		m.charge(16 * v.Len())
		return
	}
	m.charge(len(v.Text()))
}
