package postgres

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/tiergate/tiergate"
)

// one reads the thing of the one image that a query returns; pgx.ErrNoRows when there is none.
func one[T any](ctx context.Context, q querier, kind tiergate.Kind, sql string, args ...any) (T, error) {
	things, err := many[T](ctx, q, kind, sql, args...)
	if err != nil {
		return *new(T), err
	}
	if len(things) == 0 {
		return *new(T), pgx.ErrNoRows
	}
	return things[0], nil
}

// many reads the things of all images that a query returns.
func many[T any](ctx context.Context, q querier, kind tiergate.Kind, sql string, args ...any) ([]T, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var d decoder
	var image pgtype.DriverBytes
	out := []T{}
	for rows.Next() {
		if err := rows.Scan(&image); err != nil {
			return nil, err
		}
		thing, err := d.decode(kind, image)
		if err != nil {
			return nil, err
		}
		out = append(out, *thing.(*T))
	}
	return out, rows.Err()
}

// get is one outside of a transaction, with NotFound for what there is not.
func get[T any](ctx context.Context, db *DB, kind tiergate.Kind, what string, key any, sql string) (T, error) {
	thing, err := one[T](ctx, db.pool, kind, sql, key)
	if errors.Is(err, pgx.ErrNoRows) {
		return thing, tiergate.Errorf(tiergate.NotFound, "%s %q not found", what, key)
	}
	return thing, wrap(err, "read a %s", what)
}

// orEmpty makes an object of what may be nil, for columns that hold objects.
func orEmpty[M ~map[K]V, K comparable, V any](m M) M {
	if m == nil {
		return M{}
	}
	return m
}

func orNone(list []string) []string {
	if list == nil {
		return []string{}
	}
	return slices.Clone(list)
}
