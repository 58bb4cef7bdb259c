package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/migrations"
)

// A Ledger keeps in Postgres who may spend what, what was used, and what is reserved. Each
// call is one statement and one transaction. It connects when it is needed and again after
// a loss: while the database is away every call is Unavailable. So is a call whose answer was
// lost twice, and it may have taken effect: sending the same again is safe. Safe for concurrent
// use.
type Ledger struct {
	pool *pgxpool.Pool
}

var (
	_ tiergate.Ledger            = (*Ledger)(nil)
	_ tiergate.ReservationLedger = (*Ledger)(nil)
	_ tiergate.GaugeLedger       = (*Ledger)(nil)
)

const (
	ledgerConns = 4
	// ledgerPatience is how long a call waits for its answer: a little longer than the
	// database lets a statement run.
	ledgerPatience = 6 * time.Second
)

// NewLedger returns the ledger of a database. It does not connect yet: the error is Invalid,
// for a URL that cannot be used. Config.MaxConns of 0 is 4. Close it after use.
func NewLedger(cfg Config) (*Ledger, error) {
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, badURL()
	}
	pc.MaxConns = ledgerConns
	if cfg.MaxConns != 0 {
		pc.MaxConns = cfg.MaxConns
	}
	pc.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false } // it would be a second round trip
	pc.ConnConfig.ConnectTimeout = 3 * time.Second
	pc.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite // of several hosts, the one that leads
	maps.Copy(pc.ConnConfig.RuntimeParams, serviceParams)
	pc.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		version, err := schemaVersion(ctx, c)
		if err != nil {
			return err
		}
		return judgeSchema(version, where(c.Config()))
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), pc) // it connects later, and for longer than any caller waits
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", where(pc.ConnConfig), err)
	}
	return &Ledger{pool: pool}, nil
}

// Close ends all connections.
func (l *Ledger) Close() { l.pool.Close() }

// call runs one statement that returns one row. When the connection turns out to be broken, such
// as one that was idle while the server was started anew, the same is sent again, at once and
// once, on a new one: what a broken connection leaves open, sending it again settles.
func (l *Ledger) call(ctx context.Context, doing, sql string, args, into []any) error {
	ctx, cancel := context.WithTimeout(ctx, ledgerPatience)
	defer cancel()
	broken, err := l.try(ctx, doing, sql, args, into)
	if broken && ctx.Err() == nil {
		_, err = l.try(ctx, doing, sql, args, into)
	}
	return err
}

// try is call without a second time; broken says that the connection ended.
func (l *Ledger) try(ctx context.Context, doing, sql string, args, into []any) (broken bool, err error) {
	conn, err := l.pool.Acquire(ctx)
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return false, wrap(err, "%s", doing)
		}
		return false, unreachable(l.pool.Config().ConnConfig, err)
	}
	defer conn.Release()
	err = conn.QueryRow(ctx, sql, args...).Scan(into...)
	if broken = err != nil && conn.Conn().IsClosed(); broken {
		l.pool.Reset() // the others have most likely gone the same way
	}
	return broken, wrap(err, "%s", doing)
}

// A ledgerAsk is a bucket and what is asked of it, as the functions of the schema read it.
type ledgerAsk struct {
	tiergate.Bucket
	Kind    tiergate.LimitKind `json:"kind,omitempty"`
	Start   *time.Time         `json:"start,omitempty"`
	End     *time.Time         `json:"end,omitempty"`
	Amount  int64              `json:"amount"`
	Rev     int64              `json:"rev"`
	Units   int64              `json:"units"`
	Fence   int64              `json:"fence"`
	Granted int64              `json:"granted"`
	Spent   int64              `json:"spent"`
	Need    int64              `json:"need"`
	Least   int64              `json:"least"`
	Want    int64              `json:"want"`
	Seal    bool               `json:"seal"`
}

func ledgerAsks(asks []tiergate.LeaseAsk) []ledgerAsk {
	out := make([]ledgerAsk, len(asks))
	for i, a := range asks {
		out[i] = ledgerAsk{
			Bucket: a.Bucket, Start: orNull(a.Period.Start), End: orNull(a.Period.End), Amount: a.Amount, Rev: a.Rev,
			Fence: a.Fence, Granted: a.Granted, Spent: a.Spent, Need: a.Need, Least: a.Least, Want: a.Want, Seal: a.Seal,
		}
	}
	return out
}

// Exchange implements tiergate.Ledger.
func (l *Ledger) Exchange(ctx context.Context, x tiergate.Exchange) (tiergate.Exchanged, error) {
	if err := x.Validate(); err != nil {
		return tiergate.Exchanged{}, err
	}
	rates := make([]tiergate.Bucket, len(x.Rates))
	for i, r := range x.Rates {
		rates[i] = r.Bucket
	}
	var code string
	var now *time.Time
	var learning *bool
	var holders *int64
	var answers ledgerAnswers
	out := tiergate.Exchanged{TTL: migrations.LeaseTTL}
	err := l.call(ctx, "exchange leases", `
		select o_code, o_at, o_learning, o_holders, o_shares, o_recall, o_states, o_granted, o_available, o_outstanding, o_out_of_period
		from ledger_exchange($1, $2, $3, $4, $5)`,
		[]any{x.Holder, x.Previous, x.Token, ledgerAsks(x.Asks), rates},
		[]any{
			&code, &now, &learning, &holders, &out.Shares, &out.Recall,
			&answers.states, &answers.granted, &answers.available, &answers.outstanding, &answers.outOfPeriod,
		})
	if err != nil {
		return tiergate.Exchanged{}, err
	}
	if code != "" {
		return tiergate.Exchanged{}, tiergate.ErrFenced
	}
	if len(answers.states) != len(x.Asks) || len(out.Shares) != len(x.Rates) {
		// a bucket that nobody had touched for more than a year went away just now
		return tiergate.Exchanged{}, tiergate.Errorf(tiergate.Unavailable, "the ledger was being tidied; try again").
			Because(fmt.Errorf("%d asks and %d rates got %d answers and %d shares", len(x.Asks), len(x.Rates), len(answers.states), len(out.Shares)))
	}
	out.Now, out.Holders, out.Answers = now.UTC(), int(*holders), answers.list(*learning)
	return out, nil
}

// ledgerAnswers are the answers to asks, by column.
type ledgerAnswers struct {
	states                          []tiergate.LeaseState
	granted, available, outstanding []int64
	outOfPeriod                     []bool
}

func (a *ledgerAnswers) list(learning bool) []tiergate.LeaseAnswer {
	out := make([]tiergate.LeaseAnswer, len(a.states))
	for i := range out {
		out[i] = tiergate.LeaseAnswer{
			State: a.states[i], Granted: a.granted[i], Available: a.available[i], Outstanding: a.outstanding[i],
			OutOfPeriod: a.outOfPeriod[i], Learning: learning,
		}
	}
	return out
}

// Retire implements tiergate.Ledger.
func (l *Ledger) Retire(ctx context.Context, r tiergate.Retirement) error {
	var code string
	err := l.call(ctx, "retire a holder", `select ledger_retire($1, $2, $3, $4, $5)`,
		[]any{r.Holder, r.Previous, r.Token, r.Log, r.At}, []any{&code})
	switch {
	case err != nil:
		return err
	case code == "FENCED":
		return tiergate.ErrFenced
	case code == "BEHIND":
		return tiergate.Errorf(tiergate.Conflict, "the usage of the holder has not been counted yet")
	}
	return nil
}

// Peek implements tiergate.GaugeLedger.
func (l *Ledger) Peek(ctx context.Context, asks []tiergate.LeaseAsk) ([]tiergate.LeaseAnswer, error) {
	var available, outstanding []int64
	err := l.call(ctx, "look into buckets", `select o_available, o_outstanding from ledger_peek($1)`,
		[]any{ledgerAsks(asks)}, []any{&available, &outstanding})
	if err != nil {
		return nil, err
	}
	out := make([]tiergate.LeaseAnswer, len(asks))
	for i := range out {
		out[i] = tiergate.LeaseAnswer{Available: available[i], Outstanding: outstanding[i]}
	}
	return out, nil
}
