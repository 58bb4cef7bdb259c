package postgres

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/tiergate/tiergate"
)

// imageSchema is the version of the row images that this program reads: what the
// migrations' image functions write.
const imageSchema = 1

// A decoder turns row images, which the image functions of the schema made, into things.
// Snapshots, the change log and the services' own reads all go through it. It keeps one
// copy of what comes again and again, such as tiers and variants: what it returns is not to
// be changed. It keeps no reference to what it is given. Not safe for concurrent use; the zero value is ready.
type decoder struct {
	texts   map[string]string
	values  map[string]json.RawMessage
	objects map[string]map[string]json.RawMessage
	lists   map[string][]string
}

// What is kept once, at most, and how long a text may be to be kept.
const (
	maxShared       = 4096
	maxSharedLength = 64
)

// decode returns the thing of an image, a pointer as tiergate.KeyOf knows it.
func (d *decoder) decode(kind tiergate.Kind, image []byte) (thing any, err error) {
	switch kind {
	case tiergate.KindUser:
		thing, err = d.user(image)
	case tiergate.KindMember:
		thing, err = d.member(image)
	case tiergate.KindFlag:
		thing, err = d.flag(image)
	case tiergate.KindFlagSet:
		thing, err = d.flagSet(image)
	case tiergate.KindTier:
		thing, err = d.tier(image)
	case tiergate.KindLimit:
		thing, err = d.limit(image)
	case tiergate.KindTeam:
		thing, err = d.team(image)
	case tiergate.KindKey:
		thing, err = d.key(image)
	case tiergate.KindOverride:
		thing, err = d.override(image)
	case tiergate.KindGrant:
		thing, err = d.grant(image)
	case tiergate.KindPolicy:
		thing, err = d.policy(image)
	default:
		return nil, fmt.Errorf("read an image: kind %q is not known", kind)
	}
	if err != nil {
		return nil, fmt.Errorf("read the image of a %s: %w", kind, err)
	}
	return thing, nil
}

func (d *decoder) user(image []byte) (*tiergate.User, error) {
	u := new(tiergate.User)
	return u, eachMember(image, func(name, value []byte) (err error) {
		switch string(name) {
		case "id":
			u.ID, err = plain(value)
		case "tier":
			u.Tier, err = d.shared(value)
		case "attributes":
			u.Attributes = d.raw(value)
		}
		return err
	})
}

func (d *decoder) member(image []byte) (*tiergate.Member, error) {
	m := new(tiergate.Member)
	return m, eachMember(image, func(name, value []byte) (err error) {
		switch string(name) {
		case "teamId":
			m.TeamID, err = plain(value)
		case "userId":
			m.UserID, err = plain(value)
		case "role":
			m.Role, err = text[tiergate.Role](d, value)
		}
		return err
	})
}

func (d *decoder) flag(image []byte) (*tiergate.Flag, error) {
	f := new(tiergate.Flag)
	return f, eachMember(image, func(name, value []byte) (err error) {
		switch string(name) {
		case "id":
			f.ID, err = plain(value)
		case "set":
			f.Set, err = d.shared(value)
		case "name":
			f.Name, err = plain(value)
		case "title":
			f.Title, err = d.shared(value)
		case "description":
			f.Description, err = d.shared(value)
		case "type":
			f.Type, err = text[tiergate.FlagType](d, value)
		case "enabled":
			f.Enabled = string(value) == "true"
		case "variants":
			f.Variants, err = d.raws(value)
		case "defaultVariant":
			f.DefaultVariant, err = d.shared(value)
		case "offVariant":
			f.OffVariant, err = d.shared(value)
		case "rules":
			f.Rules, err = d.rules(value)
		case "metadata":
			f.Metadata, err = d.metadata(value)
		default:
			err = d.stamp(name, value, &f.Version, &f.CreatedAt, &f.UpdatedAt)
		}
		return err
	})
}

// rules reads rules as tiergate.Rules.UnmarshalJSON does: a percentage left out is 100.
func (d *decoder) rules(value []byte) (tiergate.Rules, error) {
	r := tiergate.Rules{Tiers: []string{}, Percentage: 100}
	err := eachMember(value, func(name, value []byte) (err error) {
		switch string(name) {
		case "tiers":
			r.Tiers, err = d.list(value)
		case "percentage":
			r.Percentage, err = strconv.ParseFloat(string(value), 64)
		case "targeting":
			r.Targeting = d.raw(value)
		}
		return err
	})
	return r, err
}

func (d *decoder) flagSet(image []byte) (*tiergate.FlagSet, error) {
	s := new(tiergate.FlagSet)
	return s, eachMember(image, func(name, value []byte) (err error) {
		switch string(name) {
		case "name":
			s.Name, err = d.shared(value)
		case "fractional":
			s.Fractional, err = d.shared(value)
		case "evaluators":
			s.Evaluators, err = d.raws(value)
		case "metadata":
			s.Metadata, err = d.metadata(value)
		}
		return err
	})
}

func (d *decoder) tier(image []byte) (*tiergate.Tier, error) {
	t := new(tiergate.Tier)
	return t, eachMember(image, func(name, value []byte) (err error) {
		switch string(name) {
		case "key":
			t.Key, err = d.shared(value)
		case "name":
			t.Name, err = plain(value)
		case "rank":
			t.Rank, err = number[int](value)
		default:
			err = d.stamp(name, value, &t.Version, &t.CreatedAt, &t.UpdatedAt)
		}
		return err
	})
}

func (d *decoder) policy(image []byte) (*tiergate.PolicyBundle, error) {
	b := new(tiergate.PolicyBundle)
	return b, eachMember(image, func(name, value []byte) (err error) {
		switch string(name) {
		case "id":
			b.ID, err = plain(value)
		case "modules":
			err = json.Unmarshal(value, &b.Modules)
		case "hash":
			b.Hash, err = plain(value)
		case "admission":
			b.Admission, err = plain(value)
		case "comment":
			b.Comment, err = plain(value)
		case "createdBy":
			b.CreatedBy, err = plain(value)
		default:
			err = d.stamp(name, value, &b.Version, &b.CreatedAt, new(time.Time))
		}
		return err
	})
}

// stamp reads the members that most things have.
func (d *decoder) stamp(name, value []byte, version *int64, created, updated *time.Time) (err error) {
	switch string(name) {
	case "version":
		*version, err = intOf(value)
	case "createdAt":
		*created, err = moment(value)
	case "updatedAt":
		*updated, err = moment(value)
	}
	return err
}
