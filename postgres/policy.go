package postgres

import (
	"context"
	"errors"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/tiergate/tiergate"
)

var _ tiergate.PolicyService = (*DB)(nil)

const currentPolicySQL = `select image(p) from policy_bundles p order by version desc limit 1`

// CurrentPolicy returns the bundle in force.
func (db *DB) CurrentPolicy(ctx context.Context) (tiergate.PolicyBundle, error) {
	b, err := one[tiergate.PolicyBundle](ctx, db.pool, tiergate.KindPolicy, currentPolicySQL)
	if errors.Is(err, pgx.ErrNoRows) {
		return b, tiergate.Errorf(tiergate.NotFound, "no policy was published: the built-in one is in force")
	}
	return b, wrap(err, "read the policy in force")
}

// Policies lists all bundles, the newest first.
func (db *DB) Policies(ctx context.Context, page tiergate.Page) (tiergate.List[tiergate.PolicyBundle], error) {
	var none tiergate.List[tiergate.PolicyBundle]
	size, after, err := readPage(page, "policies", 1)
	if err != nil {
		return none, err
	}
	before := int64(1<<63 - 1)
	if after[0] != "" {
		if before, err = strconv.ParseInt(after[0], 10, 64); err != nil {
			return none, tiergate.FieldErrorf("pageToken", "the page token is not one of this list")
		}
	}
	bundles, err := many[tiergate.PolicyBundle](ctx, db.pool, tiergate.KindPolicy,
		`select image(p) from policy_bundles p where version < $1 order by version desc limit $2`, before, size+1)
	if err != nil {
		return none, wrap(err, "list policies")
	}
	return makeList(bundles, size, "policies", func(b *tiergate.PolicyBundle) cursor {
		return cursor{strconv.FormatInt(b.Version, 10)}
	}), nil
}

// Policy returns the bundle of a version.
func (db *DB) Policy(ctx context.Context, version int64) (tiergate.PolicyBundle, error) {
	b, err := one[tiergate.PolicyBundle](ctx, db.pool, tiergate.KindPolicy, `select image(p) from policy_bundles p where version = $1`, version)
	if errors.Is(err, pgx.ErrNoRows) {
		return b, tiergate.Errorf(tiergate.NotFound, "policy version %d not found", version)
	}
	return b, wrap(err, "read a policy")
}

// PublishPolicy appends an admitted bundle, which is in force from then on.
func (db *DB) PublishPolicy(ctx context.Context, b tiergate.PolicyBundle, w tiergate.Write) (tiergate.Written[tiergate.PolicyBundle], error) {
	if b.Admission == "" || b.Hash != tiergate.ModulesHash(b.Modules) {
		return tiergate.Written[tiergate.PolicyBundle]{}, tiergate.Errorf(tiergate.Invalid, "the policy was not admitted as it is")
	}
	if b.CreatedBy == "" {
		b.CreatedBy = w.Caller.ID
	}
	return write(ctx, db, w, func(ctx context.Context, tx pgx.Tx) (tiergate.PolicyBundle, error) {
		var current int64
		if err := tx.QueryRow(ctx, `select coalesce(max(version), 0) from policy_bundles`).Scan(&current); err != nil {
			return b, err
		}
		if w.IfVersion != 0 && max(w.IfVersion, 0) != current { // NoVersion is current 0
			return b, tiergate.Errorf(tiergate.Stale, "the policy in force is not the one that you have seen: by now it has version %d", current)
		}
		return one[tiergate.PolicyBundle](ctx, tx, tiergate.KindPolicy, `
			insert into policy_bundles (id, modules, hash, admission, comment, created_by)
			values (coalesce(nullif($1, ''), new_id()), $2, $3, $4, $5, $6)
			returning image(policy_bundles)`, b.ID, orEmpty(b.Modules), b.Hash, b.Admission, b.Comment, b.CreatedBy)
	})
}

// ReplayPolicy returns what PublishPolicy stored under an idempotency key.
func (db *DB) ReplayPolicy(ctx context.Context, w tiergate.Write) (out tiergate.Written[tiergate.PolicyBundle], err error) {
	if w.IdempotencyKey == "" || w.DryRun {
		return out, nil
	}
	err = recall(ctx, db.pool, w, &out)
	if errors.Is(err, pgx.ErrNoRows) {
		return out, nil
	}
	return out, wrap(err, "look for an idempotency key")
}
