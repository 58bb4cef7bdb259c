package tiergate

import "iter"

// An Audience is for whom changes are looked for: one subject, or all who ask about a set.
type Audience struct {
	Set string // the flag set; "" is DefaultSet
	// UserID and TeamID name the subject, as in a Request, TeamID of a credential first; both
	// "" is somebody whom nobody knows.
	UserID, TeamID string
	// Everyone makes what changes for any user or team count.
	Everyone bool
}

// A Difference says what an audience may be answered otherwise than before. It never misses
// anything, and may name what turns out to be the same: so it does with a flag that came and went
// meanwhile, since somebody may have been answered about it.
type Difference struct {
	To Resume // the state in force
	// All means that every flag of the set may be answered otherwise; Flags is empty then.
	All bool
	// Flags are those whose definitions changed, in the order of their names.
	Flags []FlagChange
	// Subject means that something about the audience is different: tier, teams, exceptions.
	Subject bool
	// Keys means that some API key is different: who holds one looks at it again.
	Keys bool
}

// Any reports whether answers may be different.
func (d Difference) Any() bool { return d.All || d.Subject || len(d.Flags) > 0 }

// A FlagChange is what became of one flag.
type FlagChange struct {
	Name string
	Kind FlagChangeKind
}

// FlagChangeKind is flagd's word for a change.
type FlagChangeKind string

// The kinds of changes.
const (
	FlagWritten FlagChangeKind = "write" // it is new
	FlagUpdated FlagChangeKind = "update"
	FlagDeleted FlagChangeKind = "delete"
)

// A Watcher is an Evaluator that tells of changes. Whoever follows it keeps the place of the
// last Difference and asks again when more is closed: a slow follower is told once of all that
// it missed, and keeps nobody waiting. Safe for concurrent use.
type Watcher interface {
	Evaluator
	// Since says what is different for a between from and the generation in force, and
	// returns a channel that is closed when another one comes. A place of which nothing is
	// known any more, and the zero value, differ in everything. Before the first generation
	// the difference is empty, To included.
	Since(from Resume, a Audience) (Difference, <-chan struct{})
}

// A Lister is a Watcher that also says which flags there are. Safe for concurrent use.
type Lister interface {
	Watcher
	// Names yields the names of a set's flags in force, in their order, and decides nothing; ""
	// is DefaultSet. A set that does not exist has none, nor is there any before the first
	// generation.
	Names(set string) iter.Seq[string]
}
