package tiergate

import (
	"encoding/json"
	"time"
)

// Role is what a member may do in a team.
type Role string

// The roles of team members.
const (
	RoleOwner  Role = "OWNER"
	RoleAdmin  Role = "ADMIN"
	RoleMember Role = "MEMBER"
)

// A Team is a tenant.
type Team struct {
	ID       string       `json:"id"`
	Name     string       `json:"name"`
	OwnerID  string       `json:"ownerId"`
	Tier     string       `json:"tier"`
	Status   string       `json:"status"` // TeamActive or TeamSuspended
	Settings TeamSettings `json:"settings"`

	Version   int64     `json:"version,omitempty"`
	CreatedAt time.Time `json:"createdAt,omitzero"`
	UpdatedAt time.Time `json:"updatedAt,omitzero"`
}

// What may stand in a team's Status. A team that is not active gives nobody anything.
const (
	TeamActive    = "active"
	TeamSuspended = "suspended"
)

// TeamSettings are a team's exceptions; only platform staff change them.
type TeamSettings struct {
	MaxMembers      int      `json:"maxMembers"`      // default 5
	AllowedFeatures []string `json:"allowedFeatures"` // flags open to the team whatever its tier
}

// A Member is a user in a team.
type Member struct {
	TeamID string `json:"teamId"`
	UserID string `json:"userId"`
	Role   Role   `json:"role"`
}

// A User is a person or a machine that asks. E-mail and profile stay in Postgres.
type User struct {
	ID         string          `json:"id"`
	Tier       string          `json:"tier"`
	Attributes json.RawMessage `json:"attributes,omitempty"` // a JSON object, or nil
}

// KeyState is where an API key is in its life.
type KeyState string

// The states of a key; revoked is final.
const (
	KeyActive  KeyState = "active"
	KeyRevoked KeyState = "revoked"
)

// A Key is an API key of a team as sidecars know it: never the secret.
type Key struct {
	ID        string    `json:"id"`
	TeamID    string    `json:"teamId"`
	Hash      string    `json:"hash"`           // SHA-256 of the secret, hex
	Scopes    []string  `json:"scopes"`         // what it may be used for, see Allows; empty means nothing
	Sets      []string  `json:"sets,omitempty"` // the flag sets it may ask for; empty means all
	State     KeyState  `json:"state"`
	ExpiresAt time.Time `json:"expiresAt,omitzero"` // zero: never
}
