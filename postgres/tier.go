package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

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
			update tiers set name = $2, rank = $3 where key = $1 and ($4::bigint = 0 or version = $4) returning image(tiers)`,
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
		t, err := one[tiergate.Tier](ctx, tx, tiergate.KindTier, `
			select image(t) from tiers t where key = $1 and ($2::bigint = 0 or version = $2)`, key, w.IfVersion)
		if errors.Is(err, pgx.ErrNoRows) {
			return t, missed(ctx, tx, "tier", tierVersion, key)
		}
		if err != nil {
			return t, err
		}
		if err := checkUnused(ctx, tx, key); err != nil {
			return t, err
		}
		_, err = tx.Exec(ctx, `delete from tiers where key = $1`, key)
		return t, err
	})
}

// tierUses counts what names a tier, kind by kind, and names the first few.
const tierUses = `
	select 'flag', (select count(*) from feature_flags where rules -> 'tiers' ? $1),
	  array(select name from feature_flags where rules -> 'tiers' ? $1 order by name limit 5)
	union all select 'limit', (select count(*) from limits where amounts ? $1 or bursts ? $1),
	  array(select key from limits where amounts ? $1 or bursts ? $1 order by key limit 5)
	union all select 'team', (select count(*) from teams where tier = $1), array(select id from teams where tier = $1 order by id limit 5)
	union all select 'user', (select count(*) from users where tier = $1), '{}'`

// checkUnused refuses to let a tier go that something names.
func checkUnused(ctx context.Context, tx pgx.Tx, key string) error {
	rows, err := tx.Query(ctx, tierUses, key)
	if err != nil {
		return err
	}
	var uses []string
	var kind string
	var count int
	var names []string
	_, err = pgx.ForEachRow(rows, []any{&kind, &count, &names}, func() error {
		if count > 0 {
			uses = append(uses, useOf(kind, count, names))
		}
		return nil
	})
	if err == nil && len(uses) > 0 {
		err = tiergate.Errorf(tiergate.Conflict, "tier %q is in use by %s", key, strings.Join(uses, "; "))
	}
	return err
}

// useOf says "flags a, b and 3 more", or "12 users" of what is not named.
func useOf(kind string, count int, names []string) string {
	if count > 1 {
		kind += "s"
	}
	if len(names) == 0 {
		return fmt.Sprintf("%d %s", count, kind)
	}
	text := kind + " " + strings.Join(names, ", ")
	if more := count - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
