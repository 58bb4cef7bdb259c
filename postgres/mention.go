package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tiergate/tiergate"
)

// A mention is a tier that something names, and the field in which it does. Rules and
// amounts are JSON, where no foreign key looks.
type mention struct{ field, tier string }

// mentionsOfFlag also refuses a tier that the rules name twice.
func mentionsOfFlag(f *tiergate.Flag) ([]mention, error) {
	out, seen := make([]mention, len(f.Rules.Tiers)), map[string]bool{}
	for i, tier := range f.Rules.Tiers {
		out[i] = mention{fmt.Sprintf("rules.tiers[%d]", i), tier}
		if seen[tier] {
			return nil, tiergate.FieldErrorf(out[i].field, "tier %q is there twice", tier)
		}
		seen[tier] = true
	}
	return out, nil
}

func mentionsOfLimit(l *tiergate.Limit) []mention {
	var out []mention
	for _, tier := range slices.Sorted(maps.Keys(l.Amounts)) {
		out = append(out, mention{"amounts." + tier, tier})
	}
	for _, tier := range slices.Sorted(maps.Keys(l.Bursts)) {
		out = append(out, mention{"bursts." + tier, tier})
	}
	return out
}

// checkMentions refuses a tier that does not exist. It is asked behind the head's lock, so
// that what it finds is still so when the write commits.
func checkMentions(ctx context.Context, tx pgx.Tx, mentions []mention) error {
	if len(mentions) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, `select key from tiers order by rank, key`)
	if err != nil {
		return err
	}
	known, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, m := range mentions {
		if !slices.Contains(known, m.tier) {
			return tiergate.FieldErrorf(m.field, "there is no tier %q; %s", m.tier, listOf(known))
		}
	}
	return nil
}

func listOf(tiers []string) string {
	if len(tiers) == 0 {
		return "there are none yet"
	}
	return "the tiers are " + strings.Join(tiers, ", ")
}
