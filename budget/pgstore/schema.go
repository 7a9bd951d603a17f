package pgstore

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// The migrations lead from one schema to the next; the first makes the tables. @name is a table, @@name an index. Times are
// Unix nanoseconds, money is nano-USD, amounts read "money=900 tokens=12". Names that clients choose and that may be longer
// than an index holds are found by their digest, SHA-256.
var migrations = [][]string{{
	`CREATE TABLE @meta (
		id int PRIMARY KEY CHECK (id = 1),
		schema int NOT NULL)`,
	`CREATE TABLE @account (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		name text NOT NULL UNIQUE,
		epoch bigint NOT NULL,   -- random: another one is another account
		version bigint NOT NULL, -- of its caps
		floor bigint NOT NULL,   -- removed caps are listed after this version
		edits bigint NOT NULL,   -- of freezes
		clock bigint NOT NULL    -- a recent time: none before it is believed
		) WITH (fillfactor = 50)`,
	`CREATE TABLE @cap (
		account bigint NOT NULL,
		digest bytea NOT NULL,
		key text NOT NULL,
		target text NOT NULL,
		meter text NOT NULL,
		per text NOT NULL,
		most bigint NOT NULL,
		soft text,
		version bigint NOT NULL,
		author text NOT NULL,
		at bigint NOT NULL,
		removed boolean NOT NULL, -- kept while counts refer to it
		PRIMARY KEY (account, digest))`,
	`CREATE INDEX @@cap_version ON @cap (account, version)`,
	`CREATE TABLE @count (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		account bigint NOT NULL,
		digest bytea NOT NULL, -- of cap, scopes and start
		cap text NOT NULL,
		scopes text NOT NULL,
		starts bigint NOT NULL,
		ends bigint NOT NULL, -- 0 never
		run bytea,
		settled bigint NOT NULL,
		held bigint NOT NULL,
		unconfirmed bigint NOT NULL,
		overrun bigint NOT NULL,
		fired_low bigint NOT NULL,
		fired_high bigint NOT NULL,
		buckets text NOT NULL,        -- of a rolling window
		reservations bigint NOT NULL, -- that refer to it
		dropped boolean NOT NULL,     -- its run was forgotten
		touched bigint NOT NULL       -- the time of the last change: none before it is believed
		) WITH (fillfactor = 50)`,
	`CREATE UNIQUE INDEX @@count_key ON @count (account, digest) WHERE NOT dropped`,
	`CREATE INDEX @@count_run ON @count (account, run) WHERE run IS NOT NULL AND NOT dropped`,
	`CREATE INDEX @@count_dropped ON @count (account) WHERE dropped`,
	`CREATE INDEX @@count_over ON @count (account, ends) WHERE ends > 0`,
	`CREATE TABLE @reservation (
		account bigint NOT NULL,
		id bytea NOT NULL,
		scopes text NOT NULL,
		state text NOT NULL,
		ended boolean NOT NULL,
		due bigint NOT NULL, -- open: when its lease is over; ended: when it is forgotten
		admitted bigint NOT NULL,
		expires bigint NOT NULL,
		idle boolean NOT NULL,
		late boolean NOT NULL,
		swap bytea NOT NULL,
		bound text NOT NULL,
		actual text NOT NULL,
		usage text,
		links text NOT NULL, -- counts, each with its part in their overrun
		corrections text NOT NULL,
		PRIMARY KEY (account, id))`,
	`CREATE INDEX @@reservation_lease ON @reservation (account, due) WHERE NOT ended`,
	`CREATE INDEX @@reservation_forget ON @reservation (account, due) WHERE ended`,
	`CREATE INDEX @@reservation_admitted ON @reservation USING brin (admitted) WITH (autosummarize = on)`,
	`CREATE TABLE @freeze (
		account bigint NOT NULL,
		digest bytea NOT NULL,
		scope text NOT NULL,
		reason text NOT NULL,
		until bigint, -- NULL until it is unfrozen
		author text NOT NULL,
		at bigint NOT NULL,
		PRIMARY KEY (account, digest))`,
	`CREATE TABLE @closed (
		account bigint NOT NULL,
		run bytea NOT NULL,
		until bigint NOT NULL,
		PRIMARY KEY (account, run))`,
	`CREATE INDEX @@closed_until ON @closed (account, until)`,
	`CREATE TABLE @change (
		seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		account bigint NOT NULL,
		version bigint NOT NULL,
		at bigint NOT NULL,
		author text NOT NULL,
		what text NOT NULL,
		cap text NOT NULL,
		before bigint NOT NULL,
		after bigint NOT NULL,
		scope text NOT NULL,
		reason text NOT NULL,
		until bigint)`,
	`CREATE INDEX @@change_account ON @change (account, seq)`,
	`INSERT INTO @meta (id, schema) VALUES (1, 0)`,
}, {
	// Of a reservation that was taken from another: which, and what of it returns when it ends. The other's actual is, while it
	// is open, what was drawn from it.
	`ALTER TABLE @reservation ADD COLUMN allowance bytea, ADD COLUMN taken text`,
}}

// naming puts names of tables and indexes into statements. They are plain words, which need no quotes.
func naming(schema, prefix string) *strings.Replacer {
	if schema != "" {
		schema += "."
	}
	return strings.NewReplacer("@@", prefix, "@", schema+prefix)
}

// plainName is what tables may be called: it stands in statements as it is.
func plainName(s string) bool {
	for i, c := range s {
		if c != '_' && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return len(s) <= 32
}

// lockKey is the key of an advisory lock.
func (s *Store) lockKey(what ...string) int64 {
	h := fnv.New64a()
	for _, w := range append([]string{"gridloop", s.schema, s.prefix}, what...) {
		h.Write([]byte(w))
		h.Write([]byte{0})
	}
	return int64(h.Sum64())
}

// asker is a connection, a transaction or a pool.
type asker interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// have is the schema of the database, 0 if the tables are not there.
func (s *Store) have(ctx context.Context, q asker) (have int, err error) {
	made := false
	// By a query of the catalogue: to_regclass remembers that there was nothing, while it waited for who makes it.
	err = q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relname = $1 AND CASE $2 WHEN '' THEN pg_table_is_visible(c.oid) ELSE n.nspname = $2 END)`, s.prefix+"meta", s.schema).Scan(&made)
	if err != nil || !made {
		return 0, err
	}
	if err = q.QueryRow(ctx, s.sql("SELECT schema FROM @meta WHERE id = 1")).Scan(&have); errors.Is(err, pgx.ErrNoRows) {
		err = damaged("%s is empty", s.sql("@meta"))
	}
	return have, err
}

// migrate brings the tables to the newest schema, in one transaction, one process at a time.
func (s *Store) migrate(ctx context.Context, steps [][]string) error {
	have, err := s.have(ctx, s.pool)
	switch {
	case err != nil || have == len(steps):
		return err
	case have > len(steps):
		return &SchemaError{Have: have, Want: len(steps)}
	case have == 0 && s.existing:
		return ErrMissing
	}
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", s.lockKey("schema")); err != nil {
			return err
		}
		have, err := s.have(ctx, tx)
		switch {
		case err != nil || have == len(steps): // another process was faster
			return err
		case have > len(steps):
			return &SchemaError{Have: have, Want: len(steps)}
		case have > 0: // who works by the old schema ends first; who comes later sees the new one
			if _, err := tx.Exec(ctx, s.sql("LOCK TABLE @meta IN ACCESS EXCLUSIVE MODE")); err != nil {
				return err
			}
		case s.schema != "":
			if _, err := tx.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+s.schema); err != nil {
				return err
			}
		}
		for i, step := range steps[have:] {
			if _, err := tx.Exec(ctx, s.sql(strings.Join(step, ";\n")), pgx.QueryExecModeSimpleProtocol); err != nil {
				return fmt.Errorf("pgstore: migration to schema %d: %w", have+i+1, err)
			}
		}
		_, err = tx.Exec(ctx, s.sql("UPDATE @meta SET schema = $1"), len(steps))
		return err
	})
}
