package sqlitestore

import (
	"errors"
	"fmt"
	"strings"
)

// What errors.Is may ask for, besides the errors of package budget. A [budget.Ledger] reports all of them as
// [budget.ErrUnavailable], with these inside: nothing new is dispatched.
var (
	// ErrMissing is a file that is not there although [Existing] wants it.
	ErrMissing = errors.New("sqlitestore: the file does not exist: mount or restore it, or leave Existing out once")
	// ErrReplaced is a file that was moved, deleted or replaced while it was open. What was counted is in the old one.
	ErrReplaced = errors.New("sqlitestore: the file was replaced while it was open: put it back or restart the process")
	// ErrDamaged is a row that does not say what it should.
	ErrDamaged = errors.New("sqlitestore: the file is damaged: restore a backup")
	// ErrClosed is a store that was closed.
	ErrClosed = errors.New("sqlitestore: the store is closed: open another")
	// ErrBusy is a file that other processes kept locked for the whole busy timeout.
	ErrBusy = errors.New("sqlitestore: another process holds the file's lock: ask again")
)

// SchemaError is a file written by another version of this package.
type SchemaError struct {
	Have int // of the file
	Want int // the newest this package knows
}

func (e *SchemaError) Error() string {
	return fmt.Sprintf("sqlitestore: the file has schema %d and this program knows %d: run a newer program, or restore a backup", e.Have, e.Want)
}

// named says where a foreign error comes from.
func named(err error) error {
	if err == nil || strings.HasPrefix(err.Error(), "sqlitestore: ") {
		return err
	}
	return fmt.Errorf("sqlitestore: %w", err)
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w (%s)", ErrDamaged, fmt.Sprintf(format, args...))
}
