package targeting

// opID tells the evaluator what a node does.
type opID uint8

const (
	opConst opID = iota // a value
	opFail              // an error
	opList              // an array of what the kids yield
	opVar               // the value at a path, or the default
	opVarOf             // the value at a computed path
	opMissing
	opMissingSome
	opIf
	opAnd
	opOr
	opNot
	opTrue // !!
	opEqual
	opNotEqual
	opSame
	opNotSame
	opLess
	opLessEqual
	opMore
	opMoreEqual
	opAdd
	opSubtract
	opMultiply
	opDivide
	opModulo
	opMax
	opMin
	opCat
	opSubstr
	opIn
	opMerge
	opLog
	opMap
	opFilter
	opAll
	opSome
	opNone
	opReduce
	opStartsWith
	opEndsWith
	opSemVer
	opFractional
)

// readsKind says when an operation is constant, that is, computed when the rule is read.
type readsKind uint8

const (
	readsArguments  readsKind = iota // constant when its arguments are
	readsAlways                      // never: flagd-core's own operators are not folded
	readsItem                        // var: only within what visits a constant array
	readsNames                       // missing: only without names
	readsCollection                  // when the collection is constant, and the visitor with it
)

// An operator is a JsonLogic operator as a rule writes it.
type operator struct {
	name  string
	id    opID
	reads readsKind
	// unary operators take their one argument without a list around it; within constant
	// parts the two are then the same.
	unary bool
	build func(*builder, *operator, *syntax) (node, error)
}

// operators are JsonLogic's and flagd's. It is filled by init because build functions
// reach back to it through nested operations.
var operators map[string]*operator

func init() {
	operators = map[string]*operator{
		"var":          {id: opVar, reads: readsItem, unary: true, build: (*builder).variable},
		"missing":      {id: opMissing, reads: readsNames, build: (*builder).missing},
		"missing_some": {id: opMissingSome, reads: readsAlways, build: (*builder).missingSome},

		"if":  {id: opIf, build: (*builder).conditional},
		"?:":  {id: opIf, build: (*builder).conditional},
		"and": {id: opAnd, build: (*builder).junction},
		"or":  {id: opOr, build: (*builder).junction},
		"!":   {id: opNot, unary: true, build: (*builder).negation},
		"!!":  {id: opTrue, unary: true, build: (*builder).negation},

		"==":  {id: opEqual, build: (*builder).comparison},
		"!=":  {id: opNotEqual, build: (*builder).comparison},
		"===": {id: opSame, build: (*builder).comparison},
		"!==": {id: opNotSame, build: (*builder).comparison},
		"<":   {id: opLess, build: (*builder).comparison},
		"<=":  {id: opLessEqual, build: (*builder).comparison},
		">":   {id: opMore, build: (*builder).comparison},
		">=":  {id: opMoreEqual, build: (*builder).comparison},

		"+":   {id: opAdd, unary: true, build: (*builder).arithmetic},
		"-":   {id: opSubtract, unary: true, build: (*builder).arithmetic},
		"*":   {id: opMultiply, build: (*builder).arithmetic},
		"/":   {id: opDivide, build: (*builder).arithmetic},
		"%":   {id: opModulo, build: (*builder).arithmetic},
		"max": {id: opMax, build: (*builder).call},
		"min": {id: opMin, build: (*builder).call},

		"cat":    {id: opCat, unary: true, build: (*builder).call},
		"substr": {id: opSubstr, build: (*builder).call},
		"in":     {id: opIn, build: (*builder).call},
		"merge":  {id: opMerge, build: (*builder).call},
		"log":    {id: opLog, build: (*builder).call},

		"map":    {id: opMap, reads: readsCollection, build: (*builder).visitor},
		"filter": {id: opFilter, reads: readsCollection, build: (*builder).visitor},
		"all":    {id: opAll, reads: readsCollection, build: (*builder).visitor},
		"some":   {id: opSome, reads: readsCollection, build: (*builder).visitor},
		"none":   {id: opNone, reads: readsCollection, build: (*builder).visitor},
		"reduce": {id: opReduce, reads: readsCollection, build: (*builder).visitor},

		"starts_with": {id: opStartsWith, reads: readsAlways, build: (*builder).call},
		"ends_with":   {id: opEndsWith, reads: readsAlways, build: (*builder).call},
		"sem_ver":     {id: opSemVer, reads: readsAlways, build: (*builder).call},
		"fractional":  {id: opFractional, reads: readsAlways, build: (*builder).fractional},
	}
	for name, op := range operators {
		op.name = name
	}
}
