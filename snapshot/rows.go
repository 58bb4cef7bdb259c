package snapshot

import "github.com/tiergate/tiergate"

// applyRow puts or deletes a row of go-memdb.
func (t *tx) applyRow(c tiergate.Change) error {
	switch c.Kind {
	case tiergate.KindFlag:
		return change(t, c, func(f *tiergate.Flag) {
			t.delta.Flags = append(t.delta.Flags, FlagName{f.Set, f.Name})
		})
	case tiergate.KindFlagSet:
		return change(t, c, func(s *tiergate.FlagSet) { t.delta.Sets = append(t.delta.Sets, s.Name) })
	case tiergate.KindTier:
		return change(t, c, func(*tiergate.Tier) { t.delta.Tiers = true })
	case tiergate.KindLimit:
		return change(t, c, func(l *tiergate.Limit) {
			t.delta.Limits = true
			t.delta.Features = append(t.delta.Features, l.Feature)
		})
	case tiergate.KindPolicy:
		return change(t, c, func(*tiergate.PolicyBundle) { t.delta.Policy = true })
	case tiergate.KindTeam:
		return t.applyTeam(c)
	case tiergate.KindKey:
		return t.applyKey(c)
	case tiergate.KindOverride:
		return change(t, c, func(*tiergate.Override) {})
	case tiergate.KindGrant:
		return change(t, c, func(*tiergate.Grant) {})
	}
	return tiergate.Errorf(tiergate.Invalid, "there is no such kind of thing")
}

// change puts or deletes a row; touched is told each row that goes and each that comes.
// Deleting what is not there is no error: the state is as asked for.
func change[T any](t *tx, c tiergate.Change, touched func(*T)) error {
	put, err := thing[T](c)
	if err != nil {
		return err
	}
	old, err := t.rows.First(string(c.Kind), "id", c.Key)
	if err != nil {
		return err
	}
	if old != nil && !t.delta.Whole {
		touched(old.(*T))
	}
	switch {
	case put == nil && old == nil:
		return nil
	case put == nil:
		return t.rows.Delete(string(c.Kind), old)
	}
	if !t.delta.Whole {
		touched(put)
	}
	return t.rows.Insert(string(c.Kind), put)
}

func (t *tx) applyTeam(c tiergate.Change) error {
	if err := change(t, c, func(*tiergate.Team) {}); err != nil {
		return err
	}
	if c.Put != nil {
		t.setSlot(c.Key, &Team{Team: c.Put.(*tiergate.Team)})
	} else if _, ok := t.known.Get(c.Key); ok {
		t.setSlot(c.Key, nil)
	}
	return nil
}

func (t *tx) applyKey(c tiergate.Change) error {
	if err := change(t, c, func(*tiergate.Key) {}); err != nil {
		return err
	}
	if c.Put != nil {
		t.keys.Set(c.Key, c.Put.(*tiergate.Key))
	} else {
		t.keys.Delete(c.Key)
	}
	return nil
}
