package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"text/tabwriter"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/postgres"
)

// limitsCmd shows operators who holds what of the limits, and settles what is lost.
type limitsCmd struct {
	List      limitsListCmd      `cmd:"" help:"List what sidecars hold of the limits."`
	Reconcile limitsReconcileCmd `cmd:"" help:"Settle what a sidecar held that is gone for good."`
}

type limitsListCmd struct {
	Database string `help:"The database, postgres://…" placeholder:"URL" required:""`
	Holder   string `help:"Only this holder's." placeholder:"ID"`
	Limit    string `help:"Only of this limit." placeholder:"KEY"`
	Subject  string `help:"Only of this team or user." placeholder:"ID"`
	State    string `help:"Only leases that are active, sealed or forfeit." enum:",active,sealed,forfeit" default:""`
	JSON     bool   `help:"One JSON object a line, with everything that is known."`
}

// Run prints one line for each lease.
func (c *limitsListCmd) Run(ctx context.Context, log *slog.Logger, out console) error {
	db, err := postgres.Open(ctx, postgres.Config{URL: c.Database, Log: log})
	if err != nil {
		return err
	}
	defer db.Close()
	table := tabwriter.NewWriter(out.out, 0, 0, 2, ' ', 0)
	if !c.JSON {
		fmt.Fprintln(table, "LIMIT\tOF\tPERIOD\tAMOUNT\tUSED\tFREE\tHOLDER\tSTATE\tLEASED\tHEARD")
	}
	filter := tiergate.LeaseFilter{Holder: c.Holder, Limit: c.Limit, Subject: c.Subject, State: leaseStates[c.State]}
	for page := (tiergate.Page{Size: 500}); ; {
		list, err := db.Leases(ctx, filter, page)
		if err != nil {
			return fmt.Errorf("list leases: %w", err)
		}
		for _, l := range list.Items {
			if err := c.print(table, out, l); err != nil {
				return err
			}
		}
		if page.Token = list.Next; page.Token == "" {
			return table.Flush()
		}
	}
}

var leaseStates = map[string]tiergate.LeaseState{
	"active": tiergate.LeaseActive, "sealed": tiergate.LeaseSealed, "forfeit": tiergate.LeaseForfeit,
}

func (c *limitsListCmd) print(table *tabwriter.Writer, out console, l tiergate.HeldLease) error {
	if c.JSON {
		return json.NewEncoder(out.out).Encode(l)
	}
	b := l.Counted
	period := b.Period
	if period == "" {
		period = "-"
	}
	_, err := fmt.Fprintf(table, "%s\t%s %s\t%s\t%d\t%d\t%d\t%s\t%s\t%d\t%s\n", b.Limit, b.Scope, b.Subject, period, b.Amount, b.Used,
		b.Amount-b.Used-b.Leased-b.Reserved-b.Forfeited, l.Holder, l.State, l.Aside, l.HeardAt.UTC().Format(time.RFC3339))
	return err
}

type limitsReconcileCmd struct {
	Database string `help:"The database, postgres://…" placeholder:"URL" required:""`
	Holder   string `help:"The holder that is gone for good; see tiergate limits list." placeholder:"ID" required:""`
	How      string `help:"What happens with what it held beyond the usage that has arrived: release makes it free, charge counts it as used." enum:"release,charge" required:""`
	Reason   string `help:"Why, for the record." required:""`
	By       string `help:"Who, for the record." default:"cli"`
}

// Run settles all leases of one holder.
func (c *limitsReconcileCmd) Run(ctx context.Context, log *slog.Logger, out console) error {
	db, err := postgres.Open(ctx, postgres.Config{URL: c.Database, Log: log})
	if err != nil {
		return err
	}
	defer db.Close()
	done, err := db.Reconcile(ctx, tiergate.Reconciliation{
		Holder: c.Holder, How: tiergate.Reconcile(c.How), Reason: c.Reason,
		By: tiergate.Caller{ID: c.By, Role: tiergate.PlatformAdmin},
	})
	if err != nil {
		return fmt.Errorf("reconcile %s: %w", c.Holder, err)
	}
	verb := "are free again"
	if c.How == string(tiergate.ReconcileCharge) {
		verb = "count as used"
	}
	fmt.Fprintf(out.out, "%s of %s %s\n", count(int(done.Units), "unit", "units"), count(int(done.Leases), "lease", "leases"), verb)
	return nil
}
