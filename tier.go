package tiergate

import "time"

// A Tier is one of the ordered plans, such as free < pro < enterprise.
type Tier struct {
	Key  string `json:"key"`
	Name string `json:"name"`
	// Rank orders the tiers; a higher rank is more. Unique. Unknown users are on the lowest.
	Rank int `json:"rank"`

	Version   int64     `json:"version,omitempty"`
	CreatedAt time.Time `json:"createdAt,omitzero"`
	UpdatedAt time.Time `json:"updatedAt,omitzero"`
}

// MaxTiers bounds the number of tiers of one environment.
const MaxTiers = 64

// Validate says what is wrong; every error is Invalid and names the field.
func (t *Tier) Validate() error {
	if err := validName("key", t.Key); err != nil {
		return err
	}
	if t.Name == "" || len(t.Name) > MaxNameLength {
		return FieldErrorf("name", "name has 1 to %d bytes", MaxNameLength)
	}
	return nil
}
