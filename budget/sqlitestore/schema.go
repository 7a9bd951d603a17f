package sqlitestore

import "fmt"

// The migrations lead from one schema to the next; the first makes a new file. Names begin with budget_, so that the file
// may hold other things too. Times are Unix nanoseconds, money is nano-USD, amounts read "money=900 tokens=12".
var migrations = [][]string{{
	`CREATE TABLE budget_meta (
		id INTEGER PRIMARY KEY CHECK (id = 1),
		schema INTEGER NOT NULL,
		clock INTEGER NOT NULL) STRICT`,
	`CREATE TABLE budget_account (
		id INTEGER PRIMARY KEY,
		name TEXT NOT NULL UNIQUE,
		version INTEGER NOT NULL, -- of its caps
		floor INTEGER NOT NULL,   -- removed caps are listed after this version
		edits INTEGER NOT NULL,   -- of freezes and forgotten runs
		ended INTEGER NOT NULL    -- reservations kept that have ended
		) STRICT`,
	`CREATE TABLE budget_cap (
		account INTEGER NOT NULL,
		key TEXT NOT NULL,
		target TEXT NOT NULL,
		meter TEXT NOT NULL,
		per TEXT NOT NULL,
		most INTEGER NOT NULL,
		soft TEXT,
		version INTEGER NOT NULL,
		author TEXT NOT NULL,
		at INTEGER NOT NULL,
		removed INTEGER NOT NULL, -- kept while counts refer to it
		PRIMARY KEY (account, key)) STRICT, WITHOUT ROWID`,
	`CREATE INDEX budget_cap_version ON budget_cap (account, version)`,
	`CREATE TABLE budget_count (
		id INTEGER PRIMARY KEY,
		account INTEGER NOT NULL,
		cap TEXT NOT NULL,
		scopes TEXT NOT NULL,
		starts INTEGER NOT NULL,
		ends INTEGER NOT NULL, -- 0 never
		run TEXT,
		settled INTEGER NOT NULL,
		held INTEGER NOT NULL,
		unconfirmed INTEGER NOT NULL,
		overrun INTEGER NOT NULL,
		fired_low INTEGER NOT NULL,
		fired_high INTEGER NOT NULL,
		reservations INTEGER NOT NULL, -- that refer to it
		dropped INTEGER NOT NULL       -- its run was forgotten
		) STRICT`,
	`CREATE UNIQUE INDEX budget_count_key ON budget_count (account, cap, scopes, starts) WHERE dropped = 0`,
	`CREATE INDEX budget_count_run ON budget_count (account, run) WHERE run IS NOT NULL AND dropped = 0`,
	`CREATE INDEX budget_count_dropped ON budget_count (account, cap) WHERE dropped = 1`,
	`CREATE INDEX budget_count_over ON budget_count (account, ends) WHERE reservations = 0 AND ends > 0`,
	`CREATE TABLE budget_reservation (
		seq INTEGER PRIMARY KEY, -- in the order of admission
		account INTEGER NOT NULL,
		id TEXT NOT NULL,
		scopes TEXT NOT NULL,
		state TEXT NOT NULL,
		ended INTEGER NOT NULL,
		due INTEGER NOT NULL, -- open: when its lease is over; ended: when it is forgotten
		admitted INTEGER NOT NULL,
		expires INTEGER NOT NULL,
		idle INTEGER NOT NULL,
		late INTEGER NOT NULL,
		swap TEXT NOT NULL,
		bound TEXT NOT NULL,
		actual TEXT NOT NULL,
		usage TEXT,
		links TEXT NOT NULL, -- counts, each with its part in their overrun
		corrections TEXT NOT NULL) STRICT`,
	`CREATE UNIQUE INDEX budget_reservation_id ON budget_reservation (account, id)`,
	`CREATE INDEX budget_reservation_due ON budget_reservation (account, ended, due)`,
	`CREATE TABLE budget_freeze (
		account INTEGER NOT NULL,
		scope TEXT NOT NULL,
		reason TEXT NOT NULL,
		until INTEGER, -- NULL until it is unfrozen
		author TEXT NOT NULL,
		at INTEGER NOT NULL,
		PRIMARY KEY (account, scope)) STRICT, WITHOUT ROWID`,
	`CREATE TABLE budget_closed (
		account INTEGER NOT NULL,
		run TEXT NOT NULL,
		until INTEGER NOT NULL,
		PRIMARY KEY (account, run)) STRICT, WITHOUT ROWID`,
	`CREATE INDEX budget_closed_until ON budget_closed (account, until)`,
	`CREATE TABLE budget_change (
		seq INTEGER PRIMARY KEY,
		account INTEGER NOT NULL,
		version INTEGER NOT NULL,
		at INTEGER NOT NULL,
		author TEXT NOT NULL,
		what TEXT NOT NULL,
		cap TEXT NOT NULL,
		before INTEGER NOT NULL,
		after INTEGER NOT NULL,
		scope TEXT NOT NULL,
		reason TEXT NOT NULL,
		until INTEGER) STRICT`,
	`CREATE INDEX budget_change_account ON budget_change (account, seq)`,
	`INSERT INTO budget_meta (id, schema, clock) VALUES (1, 0, 0)`,
}, {
	// What a rolling count is made of, each "start:settled" or "start:settled:unconfirmed:overrun"; starts in milliseconds.
	`ALTER TABLE budget_count ADD COLUMN buckets TEXT`,
}, {
	// Of a reservation that was taken from another: which, and what of it returns when it ends. The other's actual is, while it
	// is open, what was drawn from it.
	`ALTER TABLE budget_reservation ADD COLUMN allowance TEXT`,
	`ALTER TABLE budget_reservation ADD COLUMN taken TEXT`,
}}

// migrate brings the file to the newest schema, in one transaction.
func migrate(c *conn, steps [][]string) (err error) {
	if err := c.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = c.exec("ROLLBACK")
		}
	}()
	have := int64(0)
	made, _, err := c.number("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'budget_meta'")
	if err != nil {
		return err
	}
	if made > 0 {
		if have, _, err = c.number("SELECT schema FROM budget_meta WHERE id = 1"); err != nil {
			return err
		}
		if have < 1 || have > int64(len(steps)) {
			return &SchemaError{Have: int(have), Want: len(steps)}
		}
	}
	for i, step := range steps[have:] {
		for _, statement := range step {
			if err := c.exec(statement); err != nil {
				return fmt.Errorf("sqlitestore: migration to schema %d: %w", int(have)+i+1, err)
			}
		}
	}
	if err := c.exec("UPDATE budget_meta SET schema = ?", int64(len(steps))); err != nil {
		return err
	}
	return c.exec("COMMIT")
}
