package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/tiergate/tiergate"
)

// A ChainError says where the history is not what was written.
type ChainError struct {
	Rev    int64  // the first revision at fault
	Reason string // such as "its changes do not give its hash"
}

func (e *ChainError) Error() string { return fmt.Sprintf("revision %d: %s", e.Rev, e.Reason) }

// VerifyChain reads the whole history and computes its hashes anew, independently of the
// database's functions. It returns the head when every revision and every change is as it
// was written, else a *ChainError. A forger who can write everything, the head included,
// can make a consistent other history: compare heads kept elsewhere.
func (db *DB) VerifyChain(ctx context.Context) (tiergate.Resume, error) {
	var head tiergate.Resume
	opts := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, db.pool, opts, func(tx pgx.Tx) (err error) {
		if _, err = tx.Exec(ctx, `set local statement_timeout = '15min'`); err != nil {
			return err
		}
		if head, err = readHead(ctx, tx); err != nil {
			return err
		}
		return verifyChain(ctx, tx, head)
	})
	if err != nil {
		return tiergate.Resume{}, fmt.Errorf("verify the history: %w", err)
	}
	return head, nil
}

// chainSQL reads every revision with its changes; a full join, so that changes without a
// revision and revisions without changes are found as well.
const chainSQL = `
	select coalesce(r.rev, c.rev), r.rev is not null, uuid_send(r.epoch), r.schema, r.prev_hash, r.hash, r.changes,
	       r.actor, r.request_id, r.reason, r.at, c.ord, c.kind, c.key, c.op, c.schema, c.image::text
	from revisions r full join change_log c on c.rev = r.rev
	order by 1, c.ord`

// A link is one row of chainSQL.
type link struct {
	rev                      int64
	known                    bool
	epoch, prev, hash        []byte
	schema                   pgtype.Int4
	changes                  pgtype.Int8
	actor, requestID, reason pgtype.Text
	at                       pgtype.Timestamptz
	ord                      pgtype.Int8
	kind, key, op            pgtype.Text
	changeSchema             pgtype.Int4
	image                    pgtype.Text
}

func (l *link) scan(rows pgx.Rows) error {
	return rows.Scan(&l.rev, &l.known, &l.epoch, &l.schema, &l.prev, &l.hash, &l.changes,
		&l.actor, &l.requestID, &l.reason, &l.at, &l.ord, &l.kind, &l.key, &l.op, &l.changeSchema, &l.image)
}

func verifyChain(ctx context.Context, tx pgx.Tx, head tiergate.Resume) error {
	rows, err := tx.Query(ctx, chainSQL)
	if err != nil {
		return err
	}
	defer rows.Close()
	v := verifier{prev: make([]byte, sha256.Size)}
	for rows.Next() {
		var l link
		if err := l.scan(rows); err != nil {
			return err
		}
		if err := v.add(&l); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if err := v.end(); err != nil {
		return err
	}
	if v.rev != head.Rev || hex.EncodeToString(v.prev) != head.Hash {
		return &ChainError{Rev: head.Rev, Reason: "the head is not the end of the history"}
	}
	return nil
}

// A verifier computes the chain from rows in order.
type verifier struct {
	rev     int64  // the last whole revision
	prev    []byte // its hash
	open    *link  // the revision being read
	n       int64
	digests hash.Hash
}

func (v *verifier) add(l *link) error {
	if v.open == nil || v.open.rev != l.rev {
		if err := v.end(); err != nil {
			return err
		}
		if err := v.begin(l); err != nil {
			return err
		}
	}
	if !l.ord.Valid {
		return &ChainError{Rev: l.rev, Reason: "it has no changes"}
	}
	v.n++
	v.digests.Write(changeDigest(l))
	return nil
}

func (v *verifier) begin(l *link) error {
	switch {
	case !l.known:
		return &ChainError{Rev: l.rev, Reason: "changes without a revision"}
	case l.rev != v.rev+1:
		return &ChainError{Rev: v.rev + 1, Reason: "it is missing"}
	case !bytes.Equal(l.prev, v.prev):
		return &ChainError{Rev: l.rev, Reason: "it does not follow the one before"}
	}
	v.open, v.n, v.digests = l, 0, sha256.New()
	v.digests.Write(revisionBytes(l))
	return nil
}

func (v *verifier) end() error {
	l := v.open
	if l == nil {
		return nil
	}
	if v.n != l.changes.Int64 {
		return &ChainError{Rev: l.rev, Reason: fmt.Sprintf("it has %d changes and had %d", v.n, l.changes.Int64)}
	}
	if !bytes.Equal(v.digests.Sum(nil), l.hash) {
		return &ChainError{Rev: l.rev, Reason: "its content does not give its hash"}
	}
	v.rev, v.prev, v.open = l.rev, l.hash, nil
	return nil
}

// revisionBytes are what the schema's revision_hash puts before the digests.
func revisionBytes(l *link) []byte {
	b := append([]byte(nil), l.prev...)
	b = binary.BigEndian.AppendUint64(b, uint64(l.rev))
	b = append(b, l.epoch...)
	b = binary.BigEndian.AppendUint32(b, uint32(l.schema.Int32))
	for _, text := range []string{l.actor.String, l.requestID.String, l.reason.String} {
		b = appendText(b, text)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(l.at.Time.UnixMicro()))
	return binary.BigEndian.AppendUint64(b, uint64(l.changes.Int64))
}

// changeDigest is the schema's change_digest.
func changeDigest(l *link) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(l.ord.Int64))
	for _, text := range []string{l.kind.String, l.key.String, l.op.String} {
		b = appendText(b, text)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(l.changeSchema.Int32))
	sum := sha256.Sum256(appendText(b, l.image.String))
	return sum[:]
}

func appendText(b []byte, text string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	return append(b, text...)
}
