package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/internal/group"
	"github.com/gridloop/gridloop/budget/internal/rules"
	"github.com/jackc/pgx/v5"
)

// Forget implements [budget.Store].
func (s *Store) Forget(ctx context.Context, account string, run budget.Scope) error {
	return s.do(ctx, account, &task{rank: group.Reserving, alone: true, run: func(b *books) error {
		switch err := b.refuseClosedNow(run); {
		case errors.Is(err, budget.ErrClosed): // already
			return nil
		case err != nil:
			return err
		}
		return b.forgetRun(run)
	}})
}

func (b *books) forgetRun(run budget.Scope) error {
	if err := b.flush(); err != nil {
		return err
	}
	a, open := b.account, int64(0)
	err := b.ask(func(rows pgx.Rows) error { return rows.Scan(&open) },
		`SELECT count(*) FROM @reservation WHERE account = $1 AND NOT ended AND position(E'\n' || $2::text || E'\n' IN E'\n' || scopes || E'\n') > 0`, a.id, run.String())
	if err != nil {
		return b.fail(err)
	}
	if open > 0 {
		return fmt.Errorf("budget: forget %s: %d of its reservations: %w", run, open, budget.ErrStillOpen)
	}
	// Reservations may still refer to a count: then it is only taken out of the books.
	name := []byte(run.Name)
	b.write("DELETE FROM @count WHERE account = $1 AND run = $2 AND NOT dropped AND reservations = 0", a.id, name)
	b.write("UPDATE @count SET dropped = true WHERE account = $1 AND run = $2 AND NOT dropped", a.id, name)
	for key, c := range b.counts {
		if c.run == run.Name {
			c.dropped = true
			delete(b.counts, key)
		}
	}
	for key := range a.ids {
		for _, scope := range key.scopes {
			if scope == run {
				delete(a.ids, key)
			}
		}
	}
	if own := a.anchors[run]; own != nil {
		for key := range own.caps {
			b.removeCap(a.caps[key])
		}
	}
	if _, ok := a.freezes[run]; ok {
		b.unfreeze(run)
		a.edits++
	}
	b.edited = true
	until := b.now + int64(rules.Dedup)
	b.closed[run.Name] = until
	b.write("INSERT INTO @closed (account, run, until) VALUES ($1, $2, $3) ON CONFLICT (account, run) DO UPDATE SET until = excluded.until", a.id, name, until)
	b.write("DELETE FROM @closed WHERE account = $1 AND run IN (SELECT run FROM @closed WHERE account = $1 AND until <= $2 ORDER BY until LIMIT 8)", a.id, b.now)
	return nil
}

// removeCap ends a forgotten run's own cap. Its row stays while counts refer to it.
func (b *books) removeCap(c *rules.Cap) {
	b.account.version++
	b.edited = true
	r := c.CapRecord
	r.Removed, r.Version = true, b.account.version
	b.write("UPDATE @cap SET removed = true, version = $3 WHERE account = $1 AND digest = $2", b.account.id, digest(r.Key), r.Version)
	b.account.put(r)
}
