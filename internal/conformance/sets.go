package conformance

import (
	_ "embed"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tiergate/tiergate"
)

//go:embed sets.json
var setsJSON []byte

// A SetCase is one question in a world with several flag sets, and which set answers.
type SetCase struct {
	Story string    `json:"story"` // what happens, as a sentence
	Bound *[]string `json:"bound"` // the sets that the caller's API key is bound to; nil: there is no key
	Named string    `json:"named"` // the set that the caller names; "" for none
	// Selector is a whole selector, in place of Named, for the doors that have selectors.
	Selector string    `json:"selector"`
	Flag     string    `json:"flag"`
	Want     SetAnswer `json:"want"`
}

// A SetAnswer is what a door says.
type SetAnswer struct {
	Refused   tiergate.Code `json:"refused"` // why the question is not answered; "": it is
	Variant   string        `json:"variant"`
	ErrorCode string        `json:"errorCode"`
	All       []string      `json:"all"` // the names of all flags of the set, of doors that tell them
}

// SetCases returns the table.
func SetCases() []SetCase {
	var cases []SetCase
	if err := json.Unmarshal(setsJSON, &cases); err != nil {
		panic("tiergate: bug: sets.json: " + err.Error())
	}
	return cases
}

// Sets returns the data that the cases are about: "theme" in three sets, with another variant in
// each, and flags that only one of them has.
func Sets() []tiergate.Change {
	flag := func(set, name, variant string) tiergate.Change {
		value, _ := json.Marshal(variant)
		return tiergate.PutOf(&tiergate.Flag{
			ID: "flag-" + set + "-" + name, Set: set, Name: name, Type: tiergate.String, Enabled: true,
			Variants: map[string]json.RawMessage{variant: value}, DefaultVariant: variant, OffVariant: variant,
			Rules: tiergate.Rules{Tiers: []string{}, Percentage: 100},
		})
	}
	return []tiergate.Change{
		tiergate.PutOf(&tiergate.Tier{Key: "free", Name: "Free"}),
		tiergate.PutOf(&tiergate.FlagSet{Name: tiergate.DefaultSet}),
		tiergate.PutOf(&tiergate.FlagSet{Name: "mobile"}),
		tiergate.PutOf(&tiergate.FlagSet{Name: "empty"}),
		flag(tiergate.DefaultSet, "theme", "plain"), flag("mobile", "theme", "dark"), flag("web", "theme", "light"),
		flag(tiergate.DefaultSet, "banner", "on"), flag("mobile", "swipe", "on"),
	}
}

// A SetDoor says what a door has besides answers about one flag.
type SetDoor struct {
	Selectors bool // it reads flagd's selector
	Bulk      bool // it tells all flags of a set
}

// Key returns the API key of a case, nil for none. It has the scopes that all doors need.
func (c SetCase) Key() *tiergate.Key {
	if c.Bound == nil {
		return nil
	}
	return &tiergate.Key{ID: "k", TeamID: "acme", Scopes: []string{tiergate.ScopeEvaluate, tiergate.ScopeConsume}, Sets: *c.Bound}
}

// Select returns the selector of a case, "" for none.
func (c SetCase) Select() string {
	if c.Named != "" {
		return "flagSetId=" + c.Named
	}
	return c.Selector
}

// RunSets asks a door every case that it can be asked.
func RunSets(t *testing.T, d SetDoor, door func(t *testing.T, c SetCase) SetAnswer) {
	t.Helper()
	for _, c := range SetCases() {
		if c.Selector != "" && !d.Selectors {
			continue
		}
		t.Run(strings.ReplaceAll(strings.TrimSuffix(c.Story, "."), " ", "_"), func(t *testing.T) {
			want := c.Want
			if !d.Bulk {
				want.All = nil
			}
			if diff := cmp.Diff(want, door(t, c), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s\n%s with %q by a key of %v mismatch (-want +got):\n%s", c.Story, c.Flag, c.Select(), c.Bound, diff)
			}
		})
	}
}
