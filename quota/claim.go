package quota

import (
	"encoding/json"
	"time"

	"github.com/tiergate/tiergate"
)

// A Claim is one limit that a use has to fit into, for the subject whose limit it is.
type Claim struct {
	Key     string // the limit's
	Kind    tiergate.LimitKind
	Scope   string // "team" or "user"
	Subject string // the team's or user's id

	// Amount is what the limit allows the subject in all, exceptions and extra units
	// included, at this moment and as of the configuration's revision Rev.
	Amount int64
	Rev    int64

	Units int64 // what the use takes of it

	Period   string    // the limit's: "month", or "second" of a rate; "" for none
	Calendar *Calendar // of a quota
	Burst    int64     // of a rate
	Leased   bool      // of a rate: one for all holders, instead of one each

	// Fallback is what happens while nobody can be asked and what is held is used up.
	Fallback tiergate.Fallback
}

// A Take is a use as the Engine sees it. It and what it points to are only read, and not
// kept after the call.
type Take struct {
	Claims   []Claim
	TeamID   string // the usage is theirs; "" for none
	UserID   string
	Feature  string
	Units    int64     // of the usage record
	At       time.Time // of something tracked; zero is now
	Metadata json.RawMessage
	Key      *tiergate.UsageKey // makes a repeated call answer as the first did; nil for none
}

// An Outcome is what became of a Take.
type Outcome struct {
	Reason     tiergate.UseReason // UseAllowed, or why not
	Denied     int                // the index of the claim that denied; −1 for none
	RetryAfter time.Duration      // when asking again may help; 0 is not known
	Message    string             // for people, where more is known than the reason says; else ""
	ID         [16]byte           // of the usage record, a UUID of version 7; zero for none
	Replayed   bool
}
