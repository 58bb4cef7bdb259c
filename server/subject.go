package server

import "github.com/tiergate/tiergate"

// Subject reads from an evaluation context who asks: the user that targetingKey names and the
// team that teamId does, "" for none. Errors are Invalid.
func Subject(attributes tiergate.Value) (userID, teamID string, err error) {
	if attributes.Len() > tiergate.MaxAttributes {
		return "", "", tiergate.Errorf(tiergate.Invalid, "context has more than %d members", tiergate.MaxAttributes)
	}
	if userID, err = readID(attributes, "targetingKey"); err == nil {
		teamID, err = readID(attributes, "teamId")
	}
	return userID, teamID, err
}

func readID(attributes tiergate.Value, name string) (string, error) {
	id := attributes.Field(name)
	switch id.Kind() {
	case tiergate.StringValue:
		return id.Text(), nil
	case tiergate.Undefined, tiergate.Null:
		return "", nil
	}
	return "", tiergate.Errorf(tiergate.Invalid, "%s is not a string", name)
}
