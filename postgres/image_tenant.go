package postgres

import "github.com/tiergate/tiergate"

func (d *decoder) team(image []byte) (*tiergate.Team, error) {
	t := new(tiergate.Team)
	return t, eachMember(image, func(name, value []byte) (err error) {
		switch string(name) {
		case "id":
			t.ID, err = plain(value)
		case "name":
			t.Name, err = plain(value)
		case "ownerId":
			t.OwnerID, err = plain(value)
		case "tier":
			t.Tier, err = d.shared(value)
		case "status":
			t.Status, err = d.shared(value)
		case "settings":
			t.Settings, err = d.settings(value)
		default:
			err = d.stamp(name, value, &t.Version, &t.CreatedAt, &t.UpdatedAt)
		}
		return err
	})
}

// settings reads a team's settings; what is left out has its default.
func (d *decoder) settings(value []byte) (tiergate.TeamSettings, error) {
	s := tiergate.TeamSettings{MaxMembers: 5, AllowedFeatures: []string{}}
	err := eachMember(value, func(name, value []byte) (err error) {
		switch string(name) {
		case "maxMembers":
			s.MaxMembers, err = number[int](value)
		case "allowedFeatures":
			s.AllowedFeatures, err = d.list(value)
		}
		return err
	})
	return s, err
}

func (d *decoder) key(image []byte) (*tiergate.Key, error) {
	k := new(tiergate.Key)
	return k, eachMember(image, func(name, value []byte) (err error) {
		switch string(name) {
		case "id":
			k.ID, err = plain(value)
		case "teamId":
			k.TeamID, err = plain(value)
		case "hash":
			k.Hash, err = plain(value)
		case "scopes":
			k.Scopes, err = d.list(value)
		case "sets":
			if k.Sets, err = d.list(value); len(k.Sets) == 0 {
				k.Sets = nil
			}
		case "state":
			k.State, err = text[tiergate.KeyState](d, value)
		case "expiresAt":
			k.ExpiresAt, err = moment(value)
		}
		return err
	})
}

func (d *decoder) limit(image []byte) (*tiergate.Limit, error) {
	l := new(tiergate.Limit)
	return l, eachMember(image, func(name, value []byte) (err error) {
		switch string(name) {
		case "id":
			l.ID, err = plain(value)
		case "key":
			l.Key, err = plain(value)
		case "feature":
			l.Feature, err = plain(value)
		case "kind":
			l.Kind, err = text[tiergate.LimitKind](d, value)
		case "scope":
			l.Scope, err = d.shared(value)
		case "class":
			l.Class, err = d.shared(value)
		case "period":
			l.Period, err = d.shared(value)
		case "zone":
			l.Zone, err = d.shared(value)
		case "anchor":
			l.Anchor, err = d.shared(value)
		case "amounts":
			l.Amounts, err = d.amounts(value)
		case "bursts":
			l.Bursts, err = d.bursts(value)
		case "cost":
			l.Cost, err = intOf(value)
		case "onUnavailable":
			l.OnUnavailable, err = d.shared(value)
		default:
			err = d.stamp(name, value, &l.Version, &l.CreatedAt, &l.UpdatedAt)
		}
		return err
	})
}

func (d *decoder) amounts(value []byte) (map[string]*int64, error) {
	out := map[string]*int64{}
	return out, eachMember(value, func(name, value []byte) error {
		tier, err := d.sharedName(name)
		if err != nil {
			return err
		}
		out[tier], err = optional(value)
		return err
	})
}

func (d *decoder) bursts(value []byte) (map[string]int64, error) {
	var out map[string]int64
	err := eachMember(value, func(name, value []byte) error {
		tier, err := d.sharedName(name)
		if err != nil {
			return err
		}
		if out == nil {
			out = map[string]int64{}
		}
		out[tier], err = intOf(value)
		return err
	})
	return out, err
}

func (d *decoder) override(image []byte) (*tiergate.Override, error) {
	o := new(tiergate.Override)
	return o, eachMember(image, func(name, value []byte) (err error) {
		switch string(name) {
		case "id":
			o.ID, err = plain(value)
		case "teamId":
			o.TeamID, err = plain(value)
		case "userId":
			o.UserID, err = plain(value)
		case "limitKey":
			o.LimitKey, err = d.shared(value)
		case "amount":
			o.Amount, err = optional(value)
		case "expiresAt":
			o.ExpiresAt, err = moment(value)
		}
		return err
	})
}

func (d *decoder) grant(image []byte) (*tiergate.Grant, error) {
	g := new(tiergate.Grant)
	return g, eachMember(image, func(name, value []byte) (err error) {
		switch string(name) {
		case "id":
			g.ID, err = plain(value)
		case "teamId":
			g.TeamID, err = plain(value)
		case "userId":
			g.UserID, err = plain(value)
		case "limitKey":
			g.LimitKey, err = d.shared(value)
		case "amount":
			g.Amount, err = intOf(value)
		case "priority":
			g.Priority, err = number[int](value)
		case "startsAt":
			g.StartsAt, err = moment(value)
		case "expiresAt":
			g.ExpiresAt, err = moment(value)
		}
		return err
	})
}
