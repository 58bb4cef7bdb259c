package snapshot

import "github.com/tiergate/tiergate"

// applyRow puts or deletes a row of go-memdb.
func (t *tx) applyRow(c tiergate.Change) error {
	switch c.Kind {
	case tiergate.KindFlag:
		return t.applyFlag(c)
	case tiergate.KindFlagSet:
		return change(t, c, func(_, _ *tiergate.FlagSet) { t.delta.Sets = append(t.delta.Sets, c.Key) })
	case tiergate.KindTier:
		return change(t, c, func(_, _ *tiergate.Tier) { t.delta.Tiers = true })
	case tiergate.KindLimit:
		return change(t, c, func(old, put *tiergate.Limit) {
			t.delta.Limits = true
			for _, l := range []*tiergate.Limit{old, put} {
				if l != nil {
					t.delta.Features = append(t.delta.Features, l.Feature)
				}
			}
		})
	case tiergate.KindPolicy:
		return change(t, c, func(_, _ *tiergate.PolicyBundle) { t.delta.Policy = true })
	case tiergate.KindTeam:
		return t.applyTeam(c)
	case tiergate.KindKey:
		return t.applyKey(c)
	case tiergate.KindOverride:
		return change(t, c, noted[tiergate.Override](t))
	case tiergate.KindGrant:
		return change(t, c, noted[tiergate.Grant](t))
	}
	return tiergate.Errorf(tiergate.Invalid, "there is no such kind of thing")
}

// change puts or deletes a row; touched is told the row that goes and the one that comes,
// nil for none. Deleting what is not there is no error: the state is as asked for.
func change[T any](t *tx, c tiergate.Change, touched func(old, put *T)) error {
	put, err := thing[T](c)
	if err != nil {
		return err
	}
	row, err := t.rows.First(string(c.Kind), "id", c.Key)
	if err != nil {
		return err
	}
	old, _ := row.(*T)
	if old == nil && put == nil {
		return nil
	}
	touched(old, put)
	if put == nil {
		return t.rows.Delete(string(c.Kind), old)
	}
	return t.rows.Insert(string(c.Kind), put)
}

// applyTeam puts or deletes a team. Teams are found through their slots, not in go-memdb:
// there may be a hundred thousand.
func (t *tx) applyTeam(c tiergate.Change) error {
	put, err := thing[tiergate.Team](c)
	if err != nil {
		return err
	}
	t.delta.concern("", c.Key)
	if put != nil {
		t.setSlot(c.Key, &Team{Team: put})
	} else if _, ok := t.known.Get(c.Key); ok {
		t.setSlot(c.Key, nil)
	}
	return nil
}

func (t *tx) applyKey(c tiergate.Change) error {
	if err := change(t, c, func(_, _ *tiergate.Key) { t.delta.Keys = true }); err != nil {
		return err
	}
	if c.Put != nil {
		t.keys.Set(c.Key, c.Put.(*tiergate.Key))
	} else {
		t.keys.Delete(c.Key)
	}
	return nil
}
