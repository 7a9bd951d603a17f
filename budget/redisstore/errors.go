package redisstore

import (
	"errors"
	"fmt"
	"strings"
)

// What errors.Is may ask for, besides the errors of package budget. A [budget.Ledger] reports all of them as
// [budget.ErrUnavailable], with these inside: nothing new is dispatched.
var (
	// ErrLearning is a Reserve soon after the books were found to have forgotten something.
	ErrLearning = errors.New("redisstore: the server forgot what it had counted: processes are telling it what they know: ask again later")
	// ErrMissing is an account without books although [Existing] wants them.
	ErrMissing = errors.New("redisstore: the account has no books on this server: restore them, or leave Existing out once")
	// ErrClosed is a store that was closed.
	ErrClosed = errors.New("redisstore: the store is closed: open another")
	// ErrReply is an answer that this package does not understand.
	ErrReply = errors.New("redisstore: the server's answer makes no sense: check that it is Redis or Valkey, and which programs write to these keys")
)

// SchemaError is an account written by another version of this package.
type SchemaError struct {
	Have int // of the books
	Want int // the one this package knows
}

func (e *SchemaError) Error() string {
	return fmt.Sprintf("redisstore: the books have schema %d and this program knows %d: run the other program, or use another prefix", e.Have, e.Want)
}

// EvictionError is a server that drops keys when its memory is full, and with them money.
type EvictionError struct{ Policy string }

func (e *EvictionError) Error() string {
	return fmt.Sprintf("redisstore: the server evicts keys (maxmemory-policy %s): set it to noeviction", e.Policy)
}

func named(err error) error {
	if err == nil || strings.HasPrefix(err.Error(), "redisstore: ") {
		return err
	}
	return fmt.Errorf("redisstore: %w", err)
}

func nonsense(what string) error { return fmt.Errorf("%w (%s)", ErrReply, what) }
