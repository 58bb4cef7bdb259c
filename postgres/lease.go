package postgres

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/migrations"
)

var _ tiergate.LeaseService = (*DB)(nil)

// Leases implements tiergate.LeaseService.
func (db *DB) Leases(ctx context.Context, f tiergate.LeaseFilter, page tiergate.Page) (tiergate.List[tiergate.HeldLease], error) {
	size, after, err := readPage(page, "leases", 5)
	if err != nil {
		return tiergate.List[tiergate.HeldLease]{}, err
	}
	rows, err := db.pool.Query(ctx, `
		select l.holder, l.state, l.granted, l.reported, greatest(0, l.granted - l.reported),
		  coalesce(h.expires_at - make_interval(secs => $11), 'epoch'), coalesce(h.lost or h.expires_at < ledger_now() - make_interval(secs => $12), true), coalesce(h.retired, false),
		  b.limit_key, b.scope, b.subject, b.period, b.amount, b.used, b.leased, b.reserved, b.forfeited
		from leases l join buckets b on b.id = l.bucket left join holders h on h.id = l.holder
		where (l.holder, b.limit_key, b.scope, b.subject, b.period) > ($1, $2, $3, $4, $5)
		  and ($6 = '' or l.holder = $6) and ($7 = '' or b.limit_key = $7) and ($8 = '' or b.subject = $8) and ($9 = '' or l.state = $9)
		order by l.holder, b.limit_key, b.scope, b.subject, b.period limit $10`,
		after[0], after[1], after[2], after[3], after[4], f.Holder, f.Limit, f.Subject, string(f.State), size+1,
		migrations.LeaseTTL.Seconds(), migrations.LeaseGrace.Seconds())
	if err != nil {
		return tiergate.List[tiergate.HeldLease]{}, wrap(err, "list leases")
	}
	leases, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l tiergate.HeldLease, err error) {
		c := &l.Counted
		err = row.Scan(&l.Holder, &l.State, &l.Granted, &l.Reported, &l.Aside, &l.HeardAt, &l.Lost, &l.Retired,
			&c.Limit, &c.Scope, &c.Subject, &c.Period, &c.Amount, &c.Used, &c.Leased, &c.Reserved, &c.Forfeited)
		l.HeardAt = l.HeardAt.UTC()
		return l, err
	})
	if err != nil {
		return tiergate.List[tiergate.HeldLease]{}, wrap(err, "list leases")
	}
	return makeList(leases, size, "leases", func(l *tiergate.HeldLease) cursor {
		return cursor{l.Holder, l.Counted.Limit, l.Counted.Scope, l.Counted.Subject, l.Counted.Period}
	}), nil
}

// Reconcile implements tiergate.LeaseService. Each holder is one transaction; of several,
// those that are alive are left alone.
func (db *DB) Reconcile(ctx context.Context, r tiergate.Reconciliation) (tiergate.Reconciled, error) {
	switch {
	case r.How != tiergate.ReconcileRelease && r.How != tiergate.ReconcileCharge:
		return tiergate.Reconciled{}, tiergate.FieldErrorf("how", "how %q is neither release nor charge", r.How)
	case r.Holder == "" && r.Bucket == nil:
		return tiergate.Reconciled{}, tiergate.FieldErrorf("holder", "name a holder, or a bucket whose lost holders are meant")
	case strings.TrimSpace(r.Reason) == "":
		return tiergate.Reconciled{}, tiergate.FieldErrorf("reason", "say why: it is kept with the change")
	}
	holders := []string{r.Holder}
	if r.Holder == "" {
		var err error
		if holders, err = db.lostHolders(ctx, *r.Bucket); err != nil {
			return tiergate.Reconciled{}, err
		}
	}
	var out tiergate.Reconciled
	for _, holder := range holders {
		var code string
		var done tiergate.Reconciled
		err := db.pool.QueryRow(ctx, `select o_code, o_units, o_leases from ledger_reconcile($1, $2, $3, $4, $5)`,
			holder, r.Bucket, string(r.How), r.By.ID, r.Reason).Scan(&code, &done.Units, &done.Leases)
		switch {
		case err != nil:
			return out, wrap(err, "reconcile the leases of %s", holder)
		case code == "NOT_FOUND" && r.Holder != "":
			return out, tiergate.Errorf(tiergate.NotFound, "holder %q not found", holder)
		case code == "ALIVE" && r.Holder != "":
			return out, tiergate.Errorf(tiergate.Conflict, "holder %q spoke a moment ago: only one that is lost can be reconciled", holder)
		}
		out.Units += done.Units
		out.Leases += done.Leases
	}
	return out, nil
}

func (db *DB) lostHolders(ctx context.Context, b tiergate.Bucket) ([]string, error) {
	rows, err := db.pool.Query(ctx, `
		select l.holder from leases l join buckets b on b.id = l.bucket join holders h on h.id = l.holder
		where (b.limit_key, b.scope, b.subject, b.period) = ($1, $2, $3, $4) and l.granted > l.reported
		  and (h.retired or h.expires_at < ledger_now() - make_interval(secs => $5))
		order by l.holder`, b.Limit, b.Scope, b.Subject, b.Period, migrations.LeaseGrace.Seconds())
	if err != nil {
		return nil, wrap(err, "look for lost holders")
	}
	holders, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return holders, wrap(err, "look for lost holders")
}
