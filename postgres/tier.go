package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/tiergate/tiergate"
)

var _ tiergate.TierService = (*DB)(nil)

// Tiers lists all tiers, the lowest first.
func (db *DB) Tiers(ctx context.Context) ([]tiergate.Tier, error) {
	tiers, err := many[tiergate.Tier](ctx, db.pool, tiergate.KindTier, `select image(t) from tiers t order by rank, key`)
	return tiers, wrap(err, "list tiers")
}

// Tier returns the tier of a key.
func (db *DB) Tier(ctx context.Context, key string) (tiergate.Tier, error) {
	return get[tiergate.Tier](ctx, db, tiergate.KindTier, "tier", key, `select image(t) from tiers t where key = $1`)
}

// CreateTier stores a new tier.
func (db *DB) CreateTier(ctx context.Context, t tiergate.Tier, w tiergate.Write) (tiergate.Written[tiergate.Tier], error) {
	if err := t.Validate(); err != nil {
		return tiergate.Written[tiergate.Tier]{}, err
	}
	return write(ctx, db, w, func(ctx context.Context, tx pgx.Tx) (tiergate.Tier, error) {
		var n int
		if err := tx.QueryRow(ctx, `select count(*) from tiers`).Scan(&n); err != nil {
			return t, err
		}
		if n >= tiergate.MaxTiers {
			return t, tiergate.Errorf(tiergate.Conflict, "there are %d tiers already, which is the most", n)
		}
		return one[tiergate.Tier](ctx, tx, tiergate.KindTier, `
			insert into tiers (key, name, rank) values ($1, $2, $3) returning image(tiers)`, t.Key, t.Name, t.Rank)
	})
}

// UpdateTier replaces a tier's name and rank.
func (db *DB) UpdateTier(ctx context.Context, t tiergate.Tier, w tiergate.Write) (tiergate.Written[tiergate.Tier], error) {
	if err := t.Validate(); err != nil {
		return tiergate.Written[tiergate.Tier]{}, err
	}
	return write(ctx, db, w, func(ctx context.Context, tx pgx.Tx) (tiergate.Tier, error) {
		out, err := one[tiergate.Tier](ctx, tx, tiergate.KindTier, `
			update tiers set name = $2, rank = $3 where key = $1 and ($4 = 0 or version = $4) returning image(tiers)`,
			t.Key, t.Name, t.Rank, w.IfVersion)
		if errors.Is(err, pgx.ErrNoRows) {
			return t, missed(ctx, tx, "tier", tierVersion, t.Key)
		}
		return out, err
	})
}

const tierVersion = `select version from tiers where key = $1`

// DeleteTier takes a tier out that nothing names.
func (db *DB) DeleteTier(ctx context.Context, key string, w tiergate.Write) (tiergate.Written[tiergate.Tier], error) {
	return write(ctx, db, w, func(ctx context.Context, tx pgx.Tx) (tiergate.Tier, error) {
		var user string // foreign keys see users and teams; rules and amounts only we
		err := tx.QueryRow(ctx, `
			select coalesce(
			  (select 'flag ' || name from feature_flags where rules -> 'tiers' ? $1 order by name limit 1),
			  (select 'limit ' || l.key from limits l where amounts ? $1 or bursts ? $1 order by l.key limit 1), '')`, key).Scan(&user)
		if err != nil {
			return tiergate.Tier{}, err
		}
		if user != "" {
			return tiergate.Tier{}, tiergate.Errorf(tiergate.Conflict, "tier %q is in use by %s", key, user)
		}
		t, err := one[tiergate.Tier](ctx, tx, tiergate.KindTier, `
			delete from tiers where key = $1 and ($2 = 0 or version = $2) returning image(tiers)`, key, w.IfVersion)
		if errors.Is(err, pgx.ErrNoRows) {
			return t, missed(ctx, tx, "tier", tierVersion, key)
		}
		return t, err
	})
}
