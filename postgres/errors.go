package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tiergate/tiergate"
)

// wrap makes a domain error of what Postgres or the way to it said, and says what we
// were doing. A nil err is nil; a domain error stays as it is.
func wrap(err error, doing string, args ...any) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*tiergate.Error](err); ok {
		return err
	}
	cause := fmt.Errorf(doing+": %w", append(args, err)...)
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return withoutState(err, cause)
	}
	e := ofState(pg)
	return e.Because(cause)
}

func withoutState(err, cause error) error {
	if errors.Is(err, context.Canceled) {
		return cause // nobody is waiting for the answer
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return tiergate.Errorf(tiergate.NotFound, "there is no such thing").Because(cause)
	}
	if pgconn.SafeToRetry(err) || errors.Is(err, context.DeadlineExceeded) || isNetwork(err) {
		return tiergate.Errorf(tiergate.Unavailable, "the database is away").Because(cause)
	}
	return tiergate.Errorf(tiergate.Internal, "something went wrong").Because(cause)
}

// ofState is the one place where SQLSTATEs become codes.
func ofState(pg *pgconn.PgError) *tiergate.Error {
	switch pg.Code {
	case "23505": // unique_violation
		return taken(pg)
	case "23503": // foreign_key_violation
		return dangling(pg)
	case "23514", "23502": // check_violation, not_null_violation
		return tiergate.FieldErrorf(fieldOf(pg), "the database refuses %s", refused(pg))
	case "40001", "40P01", "55P03", "57014": // serialization, deadlock, lock or statement timeout
		return tiergate.Errorf(tiergate.Unavailable, "the database is busy with other changes; try again")
	case "25006": // read_only_sql_transaction
		return tiergate.Errorf(tiergate.Unavailable, "the database takes no changes: it follows another one")
	case "42501": // insufficient_privilege
		return tiergate.Errorf(tiergate.Internal, "the database role lacks a right; run tiergate migrate")
	}
	switch pg.Code[:2] {
	case "22": // data exceptions, such as a text with a zero byte
		return tiergate.Errorf(tiergate.Invalid, "the database cannot hold a value: %s", pg.Message)
	case "08", "53", "57", "58": // connection, resources, operator intervention, system
		return tiergate.Errorf(tiergate.Unavailable, "the database is away")
	}
	return tiergate.Errorf(tiergate.Internal, "something went wrong")
}

func taken(pg *pgconn.PgError) *tiergate.Error {
	words := map[string]string{
		"feature_flags_name_key":     "a flag of this name exists in the set",
		"limits_key_key":             "a limit with this key exists",
		"tiers_rank_key":             "another tier has this rank",
		"policy_bundles_version_key": "a policy of this version exists",
	}
	if w, ok := words[pg.ConstraintName]; ok {
		return tiergate.Errorf(tiergate.Conflict, "%s", w)
	}
	return tiergate.Errorf(tiergate.Conflict, "it exists already")
}

// dangling tells a reference to nothing (the caller's mistake) from the removal of
// something that others refer to.
func dangling(pg *pgconn.PgError) *tiergate.Error {
	if strings.HasPrefix(pg.Message, "update or delete") {
		return tiergate.Errorf(tiergate.Conflict, "it is in use by %s", strings.ReplaceAll(pg.TableName, "_", " "))
	}
	return tiergate.FieldErrorf(fieldOf(pg), "%s names something that does not exist", fieldOf(pg))
}

func refused(pg *pgconn.PgError) string {
	if f := fieldOf(pg); f != "" {
		return "this " + f
	}
	return "this value"
}

// fieldOf returns the JSON name of the column at fault: constraints are called
// <table>_<column>_<kind>.
func fieldOf(pg *pgconn.PgError) string {
	column := pg.ColumnName
	if column == "" {
		column = strings.TrimPrefix(pg.ConstraintName, pg.TableName+"_")
		column = column[:max(0, strings.LastIndexByte(column, '_'))]
	}
	head, rest, found := strings.Cut(column, "_")
	for found {
		var word string
		word, rest, found = strings.Cut(rest, "_")
		if word != "" {
			head += strings.ToUpper(word[:1]) + word[1:]
		}
	}
	return head
}

func isNetwork(err error) bool {
	var timeout interface{ Timeout() bool }
	var connect *pgconn.ConnectError
	return errors.As(err, &timeout) || errors.As(err, &connect) || errors.Is(err, pgconn.ErrConnClosed) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
