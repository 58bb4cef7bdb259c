package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tiergate/tiergate"
)

// seedOrder is the order in which things of different kinds can refer to each other.
var seedOrder = []tiergate.Kind{
	tiergate.KindTier, tiergate.KindFlagSet, tiergate.KindFlag, tiergate.KindLimit, tiergate.KindUser, tiergate.KindTeam,
	tiergate.KindMember, tiergate.KindKey, tiergate.KindOverride, tiergate.KindGrant, tiergate.KindPolicy,
}

// SeedDemo puts things into a database that has none, as one revision, and reports
// whether it did: in a database that somebody has used nothing changes. The changes are
// puts, in any order; things have ids.
func (db *DB) SeedDemo(ctx context.Context, changes []tiergate.Change) (bool, error) {
	w := tiergate.Write{Caller: tiergate.Caller{ID: "tiergate dev"}, Reason: "demo data"}
	out, err := write(ctx, db, w, func(ctx context.Context, tx pgx.Tx) (bool, error) {
		var used bool
		err := tx.QueryRow(ctx, `select exists (select from tiers) or exists (select from users) or exists (select from feature_flags)
			or exists (select from limits) or exists (select from policy_bundles)`).Scan(&used)
		if err != nil || used {
			return false, err
		}
		return true, putAll(ctx, tx, changes)
	})
	return out.Thing, wrap(err, "seed the demo data")
}

// putAll inserts things kind by kind, a bounded number at a time.
func putAll(ctx context.Context, tx pgx.Tx, changes []tiergate.Change) error {
	ordered := slices.Clone(changes)
	slices.SortStableFunc(ordered, func(a, b tiergate.Change) int {
		return slices.Index(seedOrder, a.Kind) - slices.Index(seedOrder, b.Kind)
	})
	for chunk := range slices.Chunk(ordered, 1000) {
		var b pgx.Batch
		for _, c := range chunk {
			if err := queuePut(&b, c.Put); err != nil {
				return err
			}
		}
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return err
		}
	}
	return nil
}

func queuePut(b *pgx.Batch, thing any) error {
	switch t := thing.(type) {
	case *tiergate.Tier:
		b.Queue(`insert into tiers (key, name, rank) values ($1, $2, $3)`, t.Key, t.Name, t.Rank)
	case *tiergate.FlagSet:
		queueSet(b, t)
	case *tiergate.Flag:
		queueFlag(b, t)
	case *tiergate.Limit:
		b.Queue(insertLimit, limitArgs(t)...)
	case *tiergate.User:
		b.Queue(`insert into users (id, tier, attributes) values ($1, $2, $3)`, t.ID, t.Tier, objectOr(t.Attributes))
	case *tiergate.Team:
		settings := t.Settings
		settings.AllowedFeatures = orNone(settings.AllowedFeatures)
		b.Queue(`insert into teams (id, name, owner_id, tier, status, settings) values ($1, $2, $3, $4, coalesce(nullif($5, ''), 'active'), $6)`,
			t.ID, t.Name, t.OwnerID, t.Tier, t.Status, settings)
	case *tiergate.Member:
		b.Queue(`insert into team_members (team_id, user_id, role) values ($1, $2, $3)`, t.TeamID, t.UserID, string(t.Role))
	case *tiergate.Key:
		b.Queue(`insert into team_api_keys (id, team_id, hash, scopes, sets, state, expires_at) values ($1, $2, $3, $4, $5, $6, $7)`,
			t.ID, t.TeamID, t.Hash, orNone(t.Scopes), orNone(t.Sets), string(t.State), orNull(t.ExpiresAt))
	case *tiergate.Override:
		b.Queue(`insert into overrides (id, team_id, user_id, limit_key, amount, expires_at) values ($1, nullif($2, ''), nullif($3, ''), $4, $5, $6)`,
			t.ID, t.TeamID, t.UserID, t.LimitKey, t.Amount, orNull(t.ExpiresAt))
	case *tiergate.Grant:
		b.Queue(`insert into grants (id, team_id, user_id, limit_key, amount, priority, starts_at, expires_at)
			values ($1, nullif($2, ''), nullif($3, ''), $4, $5, $6, $7, $8)`,
			t.ID, t.TeamID, t.UserID, t.LimitKey, t.Amount, t.Priority, orNull(t.StartsAt), orNull(t.ExpiresAt))
	case *tiergate.PolicyBundle:
		b.Queue(`insert into policy_bundles (id, modules, hash, admission, comment, created_by) values ($1, $2, $3, $4, $5, $6)`,
			t.ID, orEmpty(t.Modules), t.Hash, t.Admission, t.Comment, t.CreatedBy)
	default:
		return fmt.Errorf("seed: %T is not a thing that can be put", thing)
	}
	return nil
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func objectOr(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 || string(raw) == "null" {
		return json.RawMessage(`{}`)
	}
	return raw
}
