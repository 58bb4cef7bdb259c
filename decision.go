package tiergate

import (
	"encoding/json"
	"iter"
	"time"
)

// A Request asks for one decision. Attributes are everything else that the caller said
// about the subject; tier and team in them are overwritten by the resolved ones.
type Request struct {
	Set        string // the flag set; "" is DefaultSet
	Flag       string // the flag's name
	UserID     string // the context's targetingKey; "" when no user is named
	TeamID     string // the context's teamId; "" when no team is named
	Attributes Value  // the evaluation context, an object; Undefined when there is none
	Key        *Key   // the credential, whose team beats TeamID; nil without authentication
	Now        time.Time
}

// MaxAttributes is how many members Attributes may have. Rules look each attribute up by comparing
// names, so that more of them would make every rule slow.
const MaxAttributes = 4096

// Reason says why a flag has its value: flagd's words, so that every door agrees.
type Reason string

// The reasons. ReasonStatic promises that no caller, attribute or time can change the
// answer before the next revision: clients cache it for everybody.
const (
	ReasonStatic         Reason = "STATIC"
	ReasonDisabled       Reason = "DISABLED"
	ReasonDefault        Reason = "DEFAULT"
	ReasonTargetingMatch Reason = "TARGETING_MATCH"
	ReasonError          Reason = "ERROR"
)

// ErrorCode is OpenFeature's error code.
type ErrorCode string

// The error codes.
const (
	FlagNotFound        ErrorCode = "FLAG_NOT_FOUND"
	ParseError          ErrorCode = "PARSE_ERROR"
	TypeMismatch        ErrorCode = "TYPE_MISMATCH"
	TargetingKeyMissing ErrorCode = "TARGETING_KEY_MISSING"
	InvalidContext      ErrorCode = "INVALID_CONTEXT"
	ProviderNotReady    ErrorCode = "PROVIDER_NOT_READY"
	General             ErrorCode = "GENERAL"
)

// A Decision is the whole answer about one flag. It is a value; what its slices and
// strings point to is immutable and lives as long as the Generation that decided.
type Decision struct {
	Flag    string
	Type    FlagType        // "" when the flag was not found
	Value   json.RawMessage // nil: the caller's code default applies
	Variant string          // "" when there is none

	Reason       Reason
	ErrorCode    ErrorCode // "" unless Reason is ERROR
	ErrorDetails string
	Tier         string // the subject's effective tier; "" when it was not resolved
	DenyReason   string // of a denial, the policy's reason, such as "tier"
	Upgrade      string // of a denial, the lowest tier that would have been allowed; "" when none

	Denied bool // access was denied and the off variant served
	// Transient says that the error is no function of the question and the state: asking
	// again may be answered. Nothing may be derived from such an answer, such as an entity tag.
	Transient bool
	// Metered says that the flag's feature has limits: what is left of them a Gate knows. It is
	// never STATIC.
	Metered bool
	Limit   *FlagLimit // of a metered flag, in the answers of Generation.All; nil for none

	// Metadata is the flag's own metadata over its set's, as the members of a JSON object
	// without the braces; empty when there are none.
	Metadata json.RawMessage
}

// A FlagLimit is what a limit allows the subject of a decision in all: the first quota that
// applies, else the first limit of another kind. One whose amount changes by time alone is not
// told, because the answer holds until the next revision.
type FlagLimit struct {
	Key    string
	Amount int64
	Period string // such as "month"; "" for a limit that has no periods
}

// An Evaluator hands out the generation in force. Safe for concurrent use.
type Evaluator interface {
	// Generation returns the state in force, nil before the first was applied. A caller
	// uses one generation for the whole of one request.
	Generation() Generation
}

// A Generation is one immutable state of the configuration that decides. Safe for
// concurrent use; none of its methods but All's callers allocate for a flag without
// value-building operators.
type Generation interface {
	// Decide answers about req.Flag in req.Set.
	Decide(req *Request) Decision
	// All answers about each flag of req.Set in the order of their names; req.Flag is ignored.
	All(req *Request) iter.Seq[Decision]
	// HasSet says whether there is such a flag set.
	HasSet(set string) bool
	// SetMetadata returns the set's metadata as the members of a JSON object without braces.
	SetMetadata(set string) json.RawMessage
	// Steps says on which clock the answers of a set depend.
	Steps(set string) ClockStep
	// Resume is the place in the history that this state is at.
	Resume() Resume
}

// ClockStep is how often time alone may change answers.
type ClockStep uint8

// The steps of the clock, from never to always.
const (
	StepNever  ClockStep = iota
	StepDay              // the policy reads the date
	StepHour             // the policy reads the hour
	StepAlways           // targeting reads $flagd.timestamp: nothing may be derived from the revision
)
