package server

import (
	"slices"
	"strings"

	"github.com/tiergate/tiergate"
)

// Selected reads flagd's selector, "flagSetId=NAME", and returns the flag set that it names: the
// default one when NAME is empty, and "" when there is no selector. It is a part of selector.
// Others are Invalid: flags are selected by their set only, and NAME is one that a set can have.
func Selected(selector string) (set string, err error) {
	if selector == "" {
		return "", nil
	}
	name, set, found := strings.Cut(selector, "=")
	if !found || name != "flagSetId" || strings.Contains(set, "=") {
		return "", tiergate.Errorf(tiergate.Invalid, "Flagd-Selector is not flagSetId=NAME: flags are selected by their set only")
	}
	if set == "" {
		return tiergate.DefaultSet, nil
	}
	if err := tiergate.ValidName("set", set); err != nil {
		return "", tiergate.Errorf(tiergate.Invalid, "Flagd-Selector: %v", err)
	}
	return set, nil
}

// SetFor returns the flag set that a caller asks about: the one that they name; when they name
// none, "", the only one of their key, or else the default one. The rule is the same at all
// doors. It is Forbidden when the key may not ask for that set.
func SetFor(named string, key *tiergate.Key) (string, error) {
	bound := key != nil && len(key.Sets) > 0
	set := named
	if set == "" {
		set = tiergate.DefaultSet
		if bound && len(key.Sets) == 1 {
			set = key.Sets[0]
		}
	}
	if bound && !slices.Contains(key.Sets, set) {
		return "", tiergate.Errorf(tiergate.Forbidden, "the API key may not ask for this flag set")
	}
	return set, nil
}
