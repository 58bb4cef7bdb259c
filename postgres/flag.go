package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/tiergate/tiergate"
)

var _ tiergate.FlagService = (*DB)(nil)

// Flags lists flags in the order of their sets and names.
func (db *DB) Flags(ctx context.Context, filter tiergate.FlagFilter, page tiergate.Page) (tiergate.List[tiergate.Flag], error) {
	size, after, err := readPage(page, "flags", 2)
	if err != nil {
		return tiergate.List[tiergate.Flag]{}, err
	}
	flags, err := many[tiergate.Flag](ctx, db.pool, tiergate.KindFlag, `
		select image(f) from feature_flags f
		where ("set", name) > ($1, $2) and ($3 = '' or "set" = $3) and ($4 = '' or name = $4)
		order by "set", name limit $5`, after[0], after[1], filter.Set, filter.Name, size+1)
	if err != nil {
		return tiergate.List[tiergate.Flag]{}, wrap(err, "list flags")
	}
	return makeList(flags, size, "flags", func(f *tiergate.Flag) cursor { return cursor{f.Set, f.Name} }), nil
}

// Flag returns the flag of an id.
func (db *DB) Flag(ctx context.Context, id string) (tiergate.Flag, error) {
	return get[tiergate.Flag](ctx, db, tiergate.KindFlag, "flag", id, `select image(f) from feature_flags f where id = $1`)
}

// CreateFlag stores a new flag, and its set when it is the first of it.
func (db *DB) CreateFlag(ctx context.Context, f tiergate.Flag, w tiergate.Write) (tiergate.Written[tiergate.Flag], error) {
	if err := f.Validate(); err != nil {
		return tiergate.Written[tiergate.Flag]{}, err
	}
	return write(ctx, db, w, func(ctx context.Context, tx pgx.Tx) (tiergate.Flag, error) {
		if err := prepareFlag(ctx, tx, &f); err != nil {
			return f, err
		}
		return one[tiergate.Flag](ctx, tx, tiergate.KindFlag, insertFlag+` returning image(feature_flags)`, flagArgs(&f)...)
	})
}

// insertFlag stores a new flag; flagArgs are its parameters.
const insertFlag = `
	insert into feature_flags (id, "set", name, title, description, type, enabled, variants, default_variant, off_variant, rules, metadata)
	values (coalesce(nullif($1, ''), new_id()), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`

// flagArgs are a flag's columns as all statements here take them, $1 to $12.
func flagArgs(f *tiergate.Flag) []any {
	rules := f.Rules
	rules.Tiers = orNone(rules.Tiers)
	return []any{
		f.ID, f.Set, f.Name, f.Title, f.Description, string(f.Type), f.Enabled,
		orEmpty(f.Variants), f.DefaultVariant, f.OffVariant, rules, orEmpty(f.Metadata),
	}
}

// prepareFlag makes sure that what a flag refers to is there: its tiers, and its set, which
// is made with its first flag.
func prepareFlag(ctx context.Context, tx pgx.Tx, f *tiergate.Flag) error {
	mentions, err := mentionsOfFlag(f)
	if err != nil {
		return err
	}
	if err := checkMentions(ctx, tx, mentions); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `insert into flag_sets (name) values ($1) on conflict do nothing`, f.Set)
	return err
}

// UpdateFlag replaces everything of a flag but its id.
func (db *DB) UpdateFlag(ctx context.Context, f tiergate.Flag, w tiergate.Write) (tiergate.Written[tiergate.Flag], error) {
	if err := f.Validate(); err != nil {
		return tiergate.Written[tiergate.Flag]{}, err
	}
	return write(ctx, db, w, func(ctx context.Context, tx pgx.Tx) (tiergate.Flag, error) {
		if err := prepareFlag(ctx, tx, &f); err != nil {
			return f, err
		}
		out, err := one[tiergate.Flag](ctx, tx, tiergate.KindFlag, `
			update feature_flags set "set" = $2, name = $3, title = $4, description = $5, type = $6, enabled = $7, variants = $8,
			  default_variant = $9, off_variant = $10, rules = $11, metadata = $12
			where id = $1 and ($13::bigint = 0 or version = $13)
			returning image(feature_flags)`, append(flagArgs(&f), w.IfVersion)...)
		if errors.Is(err, pgx.ErrNoRows) {
			return f, missed(ctx, tx, "flag", flagVersion, f.ID)
		}
		return out, err
	})
}

const flagVersion = `select version from feature_flags where id = $1`

// DeleteFlag takes a flag out and returns it as it was.
func (db *DB) DeleteFlag(ctx context.Context, id string, w tiergate.Write) (tiergate.Written[tiergate.Flag], error) {
	return write(ctx, db, w, func(ctx context.Context, tx pgx.Tx) (tiergate.Flag, error) {
		f, err := one[tiergate.Flag](ctx, tx, tiergate.KindFlag, `
			delete from feature_flags where id = $1 and ($2::bigint = 0 or version = $2) returning image(feature_flags)`, id, w.IfVersion)
		if errors.Is(err, pgx.ErrNoRows) {
			return f, missed(ctx, tx, "flag", flagVersion, id)
		}
		return f, err
	})
}

// ImportFlags puts sets and flags in one revision, and returns how many flags were given.
// What a set has already stays, but for shared rules and metadata that are given anew.
func (db *DB) ImportFlags(ctx context.Context, sets []tiergate.FlagSet, flags []tiergate.Flag, w tiergate.Write) (tiergate.Written[int], error) {
	var mentions []mention
	for i := range flags {
		if err := flags[i].Validate(); err != nil {
			return tiergate.Written[int]{}, err
		}
		named, err := mentionsOfFlag(&flags[i])
		if err != nil {
			return tiergate.Written[int]{}, err
		}
		mentions = append(mentions, named...)
	}
	return write(ctx, db, w, func(ctx context.Context, tx pgx.Tx) (int, error) {
		if err := checkMentions(ctx, tx, mentions); err != nil {
			return 0, err
		}
		var b pgx.Batch
		for _, s := range sets {
			queueSet(&b, &s)
		}
		for i := range flags {
			b.Queue(`insert into flag_sets (name) values ($1) on conflict do nothing`, flags[i].Set)
			queueFlag(&b, &flags[i])
		}
		return len(flags), tx.SendBatch(ctx, &b).Close()
	})
}

// queueSet adds to a set that is there: its other flags need the rules that they share.
func queueSet(b *pgx.Batch, s *tiergate.FlagSet) {
	b.Queue(`insert into flag_sets (name, fractional, evaluators, metadata) values ($1, coalesce(nullif($2, ''), 'v2'), $3, $4)
		on conflict (name) do update set fractional = coalesce(nullif($2, ''), flag_sets.fractional),
		  evaluators = flag_sets.evaluators || excluded.evaluators, metadata = flag_sets.metadata || excluded.metadata`,
		s.Name, s.Fractional, orEmpty(s.Evaluators), orEmpty(s.Metadata))
}

// queueFlag puts a flag over the one of the same set and name, which keeps its id.
func queueFlag(b *pgx.Batch, f *tiergate.Flag) {
	b.Queue(insertFlag+`
		on conflict ("set", name) do update set title = excluded.title, description = excluded.description, type = excluded.type,
		  enabled = excluded.enabled, variants = excluded.variants, default_variant = excluded.default_variant,
		  off_variant = excluded.off_variant, rules = excluded.rules, metadata = excluded.metadata`, flagArgs(f)...)
}
