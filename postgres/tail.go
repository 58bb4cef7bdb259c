package postgres

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/tiergate/tiergate"
)

// tailRevisions is how many revisions are read at a time.
const tailRevisions = 1000

// newsSQL reads the head and what follows a revision, in one round trip: a row per
// change, one row without a change when there is none.
const newsSQL = `
	select h.epoch::text, h.rev, h.hash, h.schema,
	       t.rev, t.prev_hash, t.hash, t.at, t.ord, t.kind, t.key, t.image
	from feed_head h left join lateral (
	  select r.rev, r.prev_hash, r.hash, r.at, c.ord, c.kind, c.key, c.image
	  from revisions r join change_log c on c.rev = r.rev
	  where r.rev > $1 and r.rev <= $2
	  order by r.rev, c.ord) t on true`

// catchUp hands over every revision after the one we are at, until there is none.
func (s *session) catchUp(ctx context.Context) error {
	for {
		asked := time.Now()
		done, err := s.handNews(ctx)
		if err != nil {
			return err
		}
		if done {
			s.to.Confirm(asked)
			return nil
		}
	}
}

// handNews hands over the next revisions; done means that there are no more.
func (s *session) handNews(ctx context.Context) (done bool, err error) {
	rctx, watch := newWatchdog(ctx, s.cfg.Patience)
	defer watch.stop()
	news, err := s.openNews(rctx, watch)
	if err != nil {
		return false, wrap(because(rctx, err), "read the head")
	}
	head, reason := news.head, whyNot(news.head, s.at)
	for reason == "" && news.more {
		if reason = news.whyNotNext(s.at); reason != "" {
			break
		}
		if s.at, err = s.handRevision(ctx, news); err != nil {
			return false, wrap(because(rctx, err), "read revision %d", s.at.Rev+1)
		}
	}
	news.rows.Close()
	if err := news.rows.Err(); err != nil {
		return false, wrap(because(rctx, err), "read changes")
	}
	if reason == "" && news.steps == 1 && s.at.Rev < head.Rev {
		reason = "a revision is missing"
	}
	if reason != "" {
		return false, s.resync(ctx, s.at, head, reason)
	}
	return s.at.Rev >= head.Rev, nil
}

// handRevision hands over the revision that the news stand at and moves past it.
func (s *session) handRevision(ctx context.Context, news *news) (tiergate.Resume, error) {
	r := tiergate.Revision{
		Resume: tiergate.Resume{Epoch: news.head.Epoch, Rev: news.rev, Hash: hex.EncodeToString(news.hash), Schema: news.head.Schema},
		At:     news.at.UTC(),
	}
	pull := func(yield func(tiergate.Change, error) bool) {
		for news.more && news.rev == r.Resume.Rev {
			c, err := news.change(&s.dec)
			if err != nil {
				news.broken = err
				yield(tiergate.Change{}, err)
				return
			}
			if !yield(c, nil) || !news.step() {
				break
			}
		}
		if err := news.rows.Err(); err != nil {
			news.broken = err
			yield(tiergate.Change{}, err)
		}
	}
	r.Changes = pull
	news.watch.pause()
	_ = s.to.Apply(ctx, r) // a refusal is the follower's to report
	news.watch.feed()
	for news.broken == nil && news.more && news.rev == r.Resume.Rev { // what the follower left unread
		news.step()
	}
	if news.broken != nil {
		return s.at, news.broken
	}
	return r.Resume, news.rows.Err()
}

// news are rows of newsSQL, read one ahead.
type news struct {
	rows  pgx.Rows
	watch *watchdog
	steps int
	head  tiergate.Resume

	more     bool // there is a change at hand
	rev, ord int64
	prevHash []byte
	hash     []byte
	at       time.Time
	kind     string
	key      string
	image    pgtype.DriverBytes
	broken   error
}

func (s *session) openNews(ctx context.Context, watch *watchdog) (*news, error) {
	rows, err := s.conn.Query(ctx, newsSQL, s.at.Rev, s.at.Rev+tailRevisions)
	if err != nil {
		return nil, err
	}
	n := &news{rows: rows, watch: watch}
	if n.step(); n.broken != nil {
		return nil, n.broken
	}
	if n.head.Epoch == "" {
		rows.Close()
		return nil, fmt.Errorf("the feed has no head: %w", rows.Err())
	}
	return n, readable(n.head.Schema)
}

// step goes to the next change, if there is more.
func (n *news) step() bool {
	n.more = false
	if n.steps++; n.steps%watchedRows == 0 {
		n.watch.feed()
	}
	if !n.rows.Next() {
		n.broken = n.rows.Err()
		return false
	}
	var headHash []byte
	var rev, ord pgtype.Int8
	var at pgtype.Timestamptz
	var kind, key pgtype.Text
	err := n.rows.Scan(&n.head.Epoch, &n.head.Rev, &headHash, &n.head.Schema,
		&rev, &n.prevHash, &n.hash, &at, &ord, &kind, &key, &n.image)
	if err != nil {
		n.broken = err
		return false
	}
	if rev.Valid && rev.Int64 == n.rev && ord.Int64 <= n.ord {
		n.broken = fmt.Errorf("change %d of revision %d comes after change %d", ord.Int64, rev.Int64, n.ord)
		return false
	}
	n.head.Hash = hex.EncodeToString(headHash)
	n.more, n.rev, n.ord, n.at, n.kind, n.key = rev.Valid, rev.Int64, ord.Int64, at.Time, kind.String, key.String
	return n.more
}

// whyNotNext says why the revision at hand does not follow the one at, "" when it does.
func (n *news) whyNotNext(at tiergate.Resume) string {
	switch {
	case n.rev != at.Rev+1:
		return "a revision is missing"
	case hex.EncodeToString(n.prevHash) != at.Hash:
		return "the history differs"
	}
	return ""
}

func (n *news) change(d *decoder) (tiergate.Change, error) {
	c := tiergate.Change{Kind: tiergate.Kind(n.kind), Key: n.key}
	if n.image == nil {
		return c, nil
	}
	thing, err := d.decode(c.Kind, n.image)
	c.Put = thing
	return c, err
}
