package pgstore

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// What errors.Is may ask for, besides the errors of package budget. A [budget.Ledger] reports all of them as
// [budget.ErrUnavailable], with these inside: nothing new is dispatched.
var (
	// ErrMissing is a database without the tables although [Existing] wants them.
	ErrMissing = errors.New("pgstore: the tables do not exist: connect to the right database or restore it, or leave Existing out once")
	// ErrForgot is a server that no longer has what it had confirmed: a backup was restored, or a standby took over that
	// had not heard everything.
	ErrForgot = errors.New("pgstore: the server has forgotten what it had confirmed: lower the caps by what is missing, then restart this process")
	// ErrDamaged is a row that does not say what it should.
	ErrDamaged = errors.New("pgstore: the tables are damaged: restore a backup")
	// ErrClosed is a store that was closed.
	ErrClosed = errors.New("pgstore: the store is closed: open another")
	// ErrPooled is a pool between this program and the server that gives every transaction another connection, while the
	// program counts on statements that it prepared on an earlier one. Nothing was done.
	ErrPooled = errors.New("pgstore: prepared statements are lost between here and the server: put default_query_exec_mode=exec into the address, or let the pool keep sessions")
	// ErrBusy is a lock that others kept for the whole of [Timeout]. Nothing was done.
	ErrBusy = errors.New("pgstore: others hold the account's locks: ask again")
)

// SchemaError is a database written by another version of this package.
type SchemaError struct {
	Have int // of the database
	Want int // the newest this package knows
}

func (e *SchemaError) Error() string {
	return fmt.Sprintf("pgstore: the tables have schema %d and this program knows %d: run a newer program, or restore a backup", e.Have, e.Want)
}

// SettingError is a server whose settings can lose or refuse what it confirms.
type SettingError struct{ Name, Value, Fix string }

func (e *SettingError) Error() string {
	return fmt.Sprintf("pgstore: the server has %s = %s: %s", e.Name, e.Value, e.Fix)
}

// named says where a foreign error comes from.
func named(err error) error {
	switch {
	case err == nil || strings.HasPrefix(err.Error(), "pgstore: "):
		return err
	case code(err) == "55P03":
		return fmt.Errorf("%w (%w)", ErrBusy, err)
	case code(err) == "42P05" || code(err) == "26000": // a prepared statement is there already, or is not
		return fmt.Errorf("%w (%w)", ErrPooled, err)
	}
	return fmt.Errorf("pgstore: %w", err)
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w (%s)", ErrDamaged, fmt.Sprintf(format, args...))
}

// code is the SQLSTATE with which the server refused, empty if it was not the server who did, or not the statement: pools
// report connections that they have lost, class 08, in the server's place.
func code(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) && e.Severity == "ERROR" && !strings.HasPrefix(e.Code, "08") {
		return e.Code
	}
	return ""
}
