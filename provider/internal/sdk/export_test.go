package sdk

import "reflect"

// Empty reports whether c holds on to nothing that it has read, anywhere in its memory.
func (c *Context) Empty() bool {
	return c.UserID == "" && c.TeamID == "" && reflect.ValueOf(c.Attributes).IsZero() &&
		zero(c.items) && zero(c.keys) && zero(c.holders)
}

func zero[T any](all []T) bool {
	for _, one := range all[:cap(all)] {
		if !reflect.ValueOf(one).IsZero() {
			return false
		}
	}
	return true
}
