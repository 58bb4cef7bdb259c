package postgres

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// plain returns a text of its own; null is "".
func plain(value []byte) (string, error) {
	if isNull(value) {
		return "", nil
	}
	s, err := textOf(value)
	return string(s), err
}

// shared returns a text of which there is one copy when it is short; null is "".
func (d *decoder) shared(value []byte) (string, error) {
	if isNull(value) {
		return "", nil
	}
	s, err := textOf(value)
	if err != nil {
		return "", err
	}
	return d.intern(s), nil
}

// sharedName is shared for a member's name, which comes without its quotes.
func (d *decoder) sharedName(name []byte) (string, error) {
	if slices.Contains(name, '\\') {
		return d.shared(append(append([]byte{'"'}, name...), '"'))
	}
	return d.intern(name), nil
}

func (d *decoder) intern(s []byte) string {
	if known, ok := d.texts[string(s)]; ok {
		return known
	}
	own := string(s)
	if len(own) > maxSharedLength || len(d.texts) >= maxShared {
		return own
	}
	if d.texts == nil {
		d.texts = map[string]string{}
	}
	d.texts[own] = own
	return own
}

func text[T ~string](d *decoder, value []byte) (T, error) {
	s, err := d.shared(value)
	return T(s), err
}

// raw returns a copy of a JSON value, one copy for all when it is short. null and {} are nil.
func (d *decoder) raw(value []byte) json.RawMessage {
	if isNull(value) || string(value) == "{}" {
		return nil
	}
	return d.rawKept(value)
}

// rawKept is raw for values of which null and {} are as good as any.
func (d *decoder) rawKept(value []byte) json.RawMessage {
	if known, ok := d.values[string(value)]; ok {
		return known
	}
	own := json.RawMessage(append(make([]byte, 0, len(value)), value...))
	if len(own) > maxSharedLength || len(d.values) >= maxShared {
		return own
	}
	if d.values == nil {
		d.values = map[string]json.RawMessage{}
	}
	d.values[string(own)] = own
	return own
}

// raws reads an object whose values stay as they are; an empty one is nil. Equal ones,
// such as the variants of most boolean flags, are one map.
func (d *decoder) raws(value []byte) (map[string]json.RawMessage, error) {
	if known, ok := d.objects[string(value)]; ok {
		return known, nil
	}
	out, err := d.newRaws(value)
	if err == nil && len(value) <= maxSharedLength && len(d.objects) < maxShared {
		if d.objects == nil {
			d.objects = map[string]map[string]json.RawMessage{}
		}
		d.objects[string(value)] = out
	}
	return out, err
}

func (d *decoder) newRaws(value []byte) (map[string]json.RawMessage, error) {
	var out map[string]json.RawMessage
	err := eachMember(value, func(name, value []byte) error {
		if out == nil {
			out = make(map[string]json.RawMessage, 2)
		}
		key, err := d.sharedName(name)
		out[key] = d.rawKept(value)
		return err
	})
	return out, err
}

// list reads an array of texts; an empty one is not nil. Equal ones are one slice.
func (d *decoder) list(value []byte) ([]string, error) {
	if known, ok := d.lists[string(value)]; ok {
		return known, nil
	}
	out, err := d.newList(value)
	if err == nil && len(value) <= maxSharedLength && len(d.lists) < maxShared {
		if d.lists == nil {
			d.lists = map[string][]string{}
		}
		d.lists[string(value)] = slices.Clip(out)
	}
	return slices.Clip(out), err
}

func (d *decoder) newList(value []byte) ([]string, error) {
	out := []string{}
	if isNull(value) {
		return out, nil
	}
	err := eachItem(value, func(item []byte) error {
		s, err := d.shared(item)
		out = append(out, s)
		return err
	})
	return out, err
}

func number[T int | int32](value []byte) (T, error) {
	n, err := intOf(value)
	if err == nil && int64(T(n)) != n {
		err = fmt.Errorf("%d is too large: %w", n, errJSON)
	}
	return T(n), err
}

// optional reads a whole number; null is nil.
func optional(value []byte) (*int64, error) {
	if isNull(value) {
		return nil, nil
	}
	n, err := intOf(value)
	return &n, err
}

// moment reads a timestamp; null is the zero time.
func moment(value []byte) (time.Time, error) {
	if isNull(value) {
		return time.Time{}, nil
	}
	s, err := textOf(value)
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339Nano, string(s))
	return t.UTC(), err
}

// metadata reads an object of plain values; an empty one is nil.
func (d *decoder) metadata(value []byte) (map[string]any, error) {
	var m map[string]any
	err := eachMember(value, func(name, value []byte) error {
		key, err := d.sharedName(name)
		if err != nil {
			return err
		}
		if m == nil {
			m = make(map[string]any, 1)
		}
		m[key], err = d.scalar(value)
		return err
	})
	return m, err
}

// scalar reads a text, boolean, number or null as encoding/json does.
func (d *decoder) scalar(value []byte) (any, error) {
	switch value[0] {
	case '"':
		return d.shared(value)
	case 't', 'f':
		return string(value) == "true", nil
	case 'n', '{', '[':
		var v any
		err := json.Unmarshal(value, &v)
		return v, err
	}
	return strconv.ParseFloat(string(value), 64)
}
