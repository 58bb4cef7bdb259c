package tiergate

import "context"

// A Caller is who uses the admin API.
type Caller struct {
	ID   string       // such as "token:admin" or a user's id
	Role PlatformRole // "" for someone with no platform role
}

// PlatformRole is what a caller may do in the whole environment.
type PlatformRole string

// The platform roles.
const (
	PlatformAdmin  PlatformRole = "admin"
	PlatformEditor PlatformRole = "editor"
	PlatformViewer PlatformRole = "viewer"
)

// A Write says who changes something and how; its zero value is a plain change by
// nobody in particular.
type Write struct {
	Caller    Caller
	RequestID string
	Reason    string // why, for the audit trail
	DryRun    bool   // do everything, then undo it
	// IfVersion is the version that the caller has seen; 0 means any, NoVersion that there
	// was none. Another one in the database is Stale.
	IfVersion int64
	// IdempotencyKey makes a repeated create answer as the first did; "" means none. The
	// same key with another Fingerprint is Invalid.
	IdempotencyKey string
	Fingerprint    string
}

// NoVersion as IfVersion says that the caller has seen that nothing is there yet.
const NoVersion int64 = -1

// A Written is what a write did.
type Written[T any] struct {
	Thing    T
	Resume   Resume // the revision that holds the change; the zero value when nothing changed or for a dry run
	Replayed bool   // an earlier write with the same idempotency key did it
}

// A Page asks for at most Size things after the place Token stands for.
type Page struct {
	Size  int    // 1 to 500; 0 is 50
	Token string // "" is the beginning; opaque, made by the service
}

// A List is one page of things and the token of the next, "" at the end.
type List[T any] struct {
	Items []T
	Next  string
}

// FlagFilter narrows a list of flags; zero fields match all.
type FlagFilter struct {
	Set  string
	Name string
}

// FlagService keeps flags. Its methods return NotFound, Conflict (the name is taken),
// Invalid, Stale, and Unavailable when the database is away. Safe for concurrent use.
type FlagService interface {
	Flags(ctx context.Context, filter FlagFilter, page Page) (List[Flag], error)
	Flag(ctx context.Context, id string) (Flag, error)
	// CreateFlag stores a new flag and mints its id when it has none.
	CreateFlag(ctx context.Context, f Flag, w Write) (Written[Flag], error)
	UpdateFlag(ctx context.Context, f Flag, w Write) (Written[Flag], error)
	DeleteFlag(ctx context.Context, id string, w Write) (Written[Flag], error)
	// ImportFlags puts all flags of the sets that are given in one revision: a flag of the
	// same set and name is replaced, a set that is there gains the given shared rules and
	// metadata, and nothing is deleted.
	ImportFlags(ctx context.Context, sets []FlagSet, flags []Flag, w Write) (Written[int], error)
}

// TierService keeps tiers; errors as FlagService. A tier in use cannot be deleted: Conflict.
type TierService interface {
	Tiers(ctx context.Context) ([]Tier, error)
	Tier(ctx context.Context, key string) (Tier, error)
	CreateTier(ctx context.Context, t Tier, w Write) (Written[Tier], error)
	UpdateTier(ctx context.Context, t Tier, w Write) (Written[Tier], error)
	DeleteTier(ctx context.Context, key string, w Write) (Written[Tier], error)
}

// LimitService keeps limits; errors as FlagService.
type LimitService interface {
	Limits(ctx context.Context, feature string, page Page) (List[Limit], error)
	Limit(ctx context.Context, id string) (Limit, error)
	CreateLimit(ctx context.Context, l Limit, w Write) (Written[Limit], error)
	UpdateLimit(ctx context.Context, l Limit, w Write) (Written[Limit], error)
	DeleteLimit(ctx context.Context, id string, w Write) (Written[Limit], error)
}

// PolicyService keeps the published policies; errors as FlagService.
type PolicyService interface {
	// CurrentPolicy returns the bundle in force, NotFound while only the built-in one is.
	CurrentPolicy(ctx context.Context) (PolicyBundle, error)
	Policies(ctx context.Context, page Page) (List[PolicyBundle], error)
	Policy(ctx context.Context, version int64) (PolicyBundle, error)
	// PublishPolicy appends a bundle that was admitted: Hash and Admission are set.
	// IfVersion is compared with the version in force, NoVersion while there is none.
	PublishPolicy(ctx context.Context, b PolicyBundle, w Write) (Written[PolicyBundle], error)
	// ReplayPolicy returns what PublishPolicy stored under w's idempotency key, not Replayed
	// when the key is new. It is asked before a policy is admitted, which costs seconds and
	// may end differently from the first time.
	ReplayPolicy(ctx context.Context, w Write) (Written[PolicyBundle], error)
}

// TeamService reads teams; errors as FlagService.
type TeamService interface {
	Teams(ctx context.Context, page Page) (List[Team], error)
	Team(ctx context.Context, id string) (Team, error)
	Members(ctx context.Context, teamID string) ([]Member, error)
}

// UserService reads users; errors as FlagService.
type UserService interface {
	Users(ctx context.Context, page Page) (List[User], error)
	User(ctx context.Context, id string) (User, error)
}
