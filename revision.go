package tiergate

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"
)

// A Resume token is a place in the history of one source: which history (Epoch), how
// far (Rev), and the proof that both sides mean the same (Hash). The zero value is the
// beginning: a source answers it with the whole state.
type Resume struct {
	Epoch  string // the identity of the history, a UUID; a restore or a new database has another
	Rev    int64  // the revision, from 1; 0 is an empty history
	Hash   string // the chain hash at Rev, hex; "" for sources without a chain
	Schema int    // the version of the row images; a reader of another version starts anew
}

// Revision returns the revision as people and clients see it, "<epoch8>-<rev>": opaque,
// equal only for equal states of one history.
func (r Resume) Revision() string {
	return r.Epoch[:min(8, len(r.Epoch))] + "-" + strconv.FormatInt(r.Rev, 10)
}

// String returns the token as one line, the form that ParseResume reads.
func (r Resume) String() string {
	return fmt.Sprintf("%s:%d:%s:%d", r.Epoch, r.Rev, r.Hash, r.Schema)
}

// ParseResume reads what String wrote; anything else is Invalid.
func ParseResume(s string) (Resume, error) {
	bad := func() (Resume, error) { return Resume{}, Errorf(Invalid, "resume token %.80q is malformed", s) }
	parts := strings.Split(s, ":")
	if len(s) > 512 || len(parts) != 4 {
		return bad()
	}
	rev, err1 := strconv.ParseInt(parts[1], 10, 64)
	schema, err2 := strconv.Atoi(parts[3])
	if err1 != nil || err2 != nil || rev < 0 || schema < 0 {
		return bad()
	}
	r := Resume{Epoch: parts[0], Rev: rev, Hash: parts[2], Schema: schema}
	if r.String() != s {
		return bad()
	}
	return r, nil
}

// Kind names a kind of replicated thing.
type Kind string

// The replicated kinds.
const (
	KindFlagSet  Kind = "flag_set"
	KindFlag     Kind = "flag"
	KindTier     Kind = "tier"
	KindLimit    Kind = "limit"
	KindTeam     Kind = "team"
	KindUser     Kind = "user"
	KindMember   Kind = "member"
	KindKey      Kind = "key"
	KindOverride Kind = "override"
	KindGrant    Kind = "grant"
	KindPolicy   Kind = "policy"
)

// A Change puts or deletes one thing.
type Change struct {
	Kind Kind
	Key  string // the thing's own key: see KeyOf
	// Put is the whole new thing, one of the pointers that KeyOf knows; nil means delete.
	// It is immutable once it is in a Change.
	Put any
}

// PutOf makes the change that puts a thing.
func PutOf(thing any) Change {
	kind, key := KeyOf(thing)
	return Change{Kind: kind, Key: key, Put: thing}
}

// MemberKey is the key of a membership: the two ids are joined by a line feed, which no
// id contains.
func MemberKey(teamID, userID string) string { return teamID + "\n" + userID }

// KeyOf returns the kind and key of a replicated thing: the id, or for a flag set its
// name, for a tier its key, for a member MemberKey. It panics on anything else: a bug.
func KeyOf(thing any) (Kind, string) {
	switch t := thing.(type) {
	case *FlagSet:
		return KindFlagSet, t.Name
	case *Flag:
		return KindFlag, t.ID
	case *Tier:
		return KindTier, t.Key
	case *Limit:
		return KindLimit, t.ID
	case *Team:
		return KindTeam, t.ID
	case *User:
		return KindUser, t.ID
	case *Member:
		return KindMember, MemberKey(t.TeamID, t.UserID)
	case *Key:
		return KindKey, t.ID
	case *Override:
		return KindOverride, t.ID
	case *Grant:
		return KindGrant, t.ID
	case *PolicyBundle:
		return KindPolicy, t.ID
	}
	panic(fmt.Sprintf("tiergate: bug: %T is not a replicated thing", thing))
}

// A Revision is one committed change of the configuration, or a whole state.
type Revision struct {
	Resume Resume // the place in the history once this is applied
	// Whole means that Changes are all there is, and everything else is gone. Otherwise
	// they come on top of the state before.
	Whole bool
	// Changes are the changes in the order in which they were made. A whole state may be
	// a million of them, so they are read once, as they come; an error ends them and the
	// revision is not applied.
	Changes iter.Seq2[Change, error]
	At      time.Time // when it was committed, by the source's clock
}

// ChangesOf yields the changes of a slice.
func ChangesOf(changes ...Change) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for _, c := range changes {
			if !yield(c, nil) {
				return
			}
		}
	}
}

// A Source is where configuration comes from.
type Source interface {
	// Follow hands what the source holds to f: a whole state unless from is a place in
	// its history, then each later revision, contiguous and in order. It returns when ctx
	// ends, or with the reason when the source is lost; the caller starts it again.
	Follow(ctx context.Context, from Resume, f Follower) error
}

// A Follower is told what a source holds. Its methods are called one at a time.
type Follower interface {
	// Apply takes the next revision. An error is a refusal: it is the follower's to
	// report, and the source goes on with the next revision on top of this one.
	Apply(ctx context.Context, r Revision) error
	// Confirm says that all revisions of the source up to the moment asOf, read on the
	// local monotonic clock before the source was asked, have been handed over.
	Confirm(asOf time.Time)
}

// An Applier puts revisions in force.
type Applier interface {
	// Apply puts a revision in force as a whole, or refuses it and keeps the last good
	// state in force. After a refusal the next revision is applied on top of the refused
	// one, so that one bad change is mended by the next. Called by one goroutine.
	Apply(ctx context.Context, r Revision) error
	// State returns the state in force as a whole revision that can be read at leisure,
	// and false before the first.
	State() (Revision, bool)
}

// A Freshness says how old what we know is.
type Freshness struct {
	AsOf      time.Time // everything committed before is in force; zero before the first state
	Connected bool      // the source answers now
	// Source names where the state in force came from: "postgres", "file", "last-known-good".
	Source string
	// Refused is the newest revision that was refused and why; "" when the newest is in force.
	Refused string
}

// Age returns how old the state in force may be, and a very long time before the first.
func (f Freshness) Age(now time.Time) time.Duration {
	if f.AsOf.IsZero() {
		return 1<<63 - 1
	}
	return now.Sub(f.AsOf)
}
