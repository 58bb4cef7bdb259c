package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/tiergate/tiergate"
)

var _ tiergate.LimitService = (*DB)(nil)

// Limits lists limits in the order of their keys; of one feature when it is named.
func (db *DB) Limits(ctx context.Context, feature string, page tiergate.Page) (tiergate.List[tiergate.Limit], error) {
	size, after, err := readPage(page, "limits", 1)
	if err != nil {
		return tiergate.List[tiergate.Limit]{}, err
	}
	limits, err := many[tiergate.Limit](ctx, db.pool, tiergate.KindLimit, `
		select image(l) from limits l where key > $1 and ($2 = '' or feature = $2) order by key limit $3`, after[0], feature, size+1)
	if err != nil {
		return tiergate.List[tiergate.Limit]{}, wrap(err, "list limits")
	}
	return makeList(limits, size, "limits", func(l *tiergate.Limit) cursor { return cursor{l.Key} }), nil
}

// Limit returns the limit of an id.
func (db *DB) Limit(ctx context.Context, id string) (tiergate.Limit, error) {
	return get[tiergate.Limit](ctx, db, tiergate.KindLimit, "limit", id, `select image(l) from limits l where id = $1`)
}

// CreateLimit stores a new limit and mints its id when it has none.
func (db *DB) CreateLimit(ctx context.Context, l tiergate.Limit, w tiergate.Write) (tiergate.Written[tiergate.Limit], error) {
	if err := l.Validate(); err != nil {
		return tiergate.Written[tiergate.Limit]{}, err
	}
	return write(ctx, db, w, func(ctx context.Context, tx pgx.Tx) (tiergate.Limit, error) {
		if err := checkMentions(ctx, tx, mentionsOfLimit(&l)); err != nil {
			return l, err
		}
		return one[tiergate.Limit](ctx, tx, tiergate.KindLimit, insertLimit+` returning image(limits)`, limitArgs(&l)...)
	})
}

// insertLimit stores a new limit; limitArgs are its parameters.
const insertLimit = `
	insert into limits (id, key, feature, kind, scope, class, period, zone, amounts, bursts, cost, on_unavailable, anchor)
	values (coalesce(nullif($1, ''), new_id()), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`

// limitArgs are a limit's columns, $1 to $13.
func limitArgs(l *tiergate.Limit) []any {
	return []any{
		l.ID, l.Key, l.Feature, string(l.Kind), l.Scope, l.Class, l.Period, l.Zone,
		orEmpty(l.Amounts), orEmpty(l.Bursts), l.Cost, l.OnUnavailable, l.Anchor,
	}
}

// UpdateLimit replaces everything of a limit but its id.
func (db *DB) UpdateLimit(ctx context.Context, l tiergate.Limit, w tiergate.Write) (tiergate.Written[tiergate.Limit], error) {
	if err := l.Validate(); err != nil {
		return tiergate.Written[tiergate.Limit]{}, err
	}
	return write(ctx, db, w, func(ctx context.Context, tx pgx.Tx) (tiergate.Limit, error) {
		if err := checkMentions(ctx, tx, mentionsOfLimit(&l)); err != nil {
			return l, err
		}
		out, err := one[tiergate.Limit](ctx, tx, tiergate.KindLimit, `
			update limits set key = $2, feature = $3, kind = $4, scope = $5, class = $6, period = $7, zone = $8,
			  amounts = $9, bursts = $10, cost = $11, on_unavailable = $12, anchor = $13
			where id = $1 and ($14::bigint = 0 or version = $14)
			returning image(limits)`, append(limitArgs(&l), w.IfVersion)...)
		if errors.Is(err, pgx.ErrNoRows) {
			return l, missed(ctx, tx, "limit", limitVersion, l.ID)
		}
		return out, err
	})
}

const limitVersion = `select version from limits where id = $1`

// DeleteLimit takes a limit out that has no overrides and no grants.
func (db *DB) DeleteLimit(ctx context.Context, id string, w tiergate.Write) (tiergate.Written[tiergate.Limit], error) {
	return write(ctx, db, w, func(ctx context.Context, tx pgx.Tx) (tiergate.Limit, error) {
		l, err := one[tiergate.Limit](ctx, tx, tiergate.KindLimit, `
			delete from limits where id = $1 and ($2::bigint = 0 or version = $2) returning image(limits)`, id, w.IfVersion)
		if errors.Is(err, pgx.ErrNoRows) {
			return l, missed(ctx, tx, "limit", limitVersion, id)
		}
		return l, err
	})
}
