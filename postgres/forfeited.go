package postgres

import "context"

// Forfeited returns how many units of all limits are set aside for lost holders, and how many
// holders these are. Errors are Unavailable.
func (db *DB) Forfeited(ctx context.Context) (units, holders int64, err error) {
	err = db.pool.QueryRow(ctx, `
		select coalesce(sum(greatest(l.granted - l.reported, 0)), 0), count(distinct l.holder) filter (where l.granted > l.reported)
		from leases l where l.state = 'FORFEIT'`).Scan(&units, &holders)
	return units, holders, wrap(err, "add up what is forfeited")
}
