package sqlitestore

import (
	"context"
	"fmt"
	"slices"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/internal/codec"
	"github.com/gridloop/gridloop/budget/internal/group"
	"github.com/gridloop/gridloop/budget/internal/rules"
)

const (
	// keptChanges is how many changes each account remembers.
	keptChanges = 10_000
	capColumns  = "key, target, per, most, soft, version, author, at, removed, meter"
)

// capOf is a cap in force.
func (a *account) capOf(key string) *rules.Cap {
	if c := a.caps[key]; c != nil && !c.Removed {
		return c
	}
	return nil
}

func (a *account) clearCaps() {
	a.caps, a.anchors, a.shared = map[string]*rules.Cap{}, map[budget.Scope]*anchor{}, 0
}

// learn reads caps and freezes that changed since the account was last looked at.
func (b *books) learn(a, next *account) error {
	if next.version != a.version {
		since := a.version
		if since < next.floor || since > next.version {
			a.clearCaps()
			since = 0
		}
		err := b.conn.query(func(c columns) error {
			r, err := decodeCap(c, b.windows)
			if err == nil {
				a.put(r)
			}
			return err
		}, "SELECT "+capColumns+" FROM budget_cap WHERE account = ? AND version > ?", next.id, since)
		if err != nil {
			return err
		}
	}
	if next.edits != a.edits {
		a.freezes = map[budget.Scope]budget.Freeze{}
		return readFreezes(b.conn, next.id, func(f budget.Freeze) { a.freezes[f.Scope] = f })
	}
	return nil
}

// put takes a cap over. Counts keep pointing to the same one.
func (a *account) put(r budget.CapRecord) {
	c := a.caps[r.Key]
	if c == nil {
		c = &rules.Cap{}
		a.caps[r.Key] = c
	}
	*c = *rules.NewCap(r)
	scope, anchored := r.For.Anchor()
	own := a.anchors[scope]
	switch {
	case !anchored:
		a.shared = max(a.shared, r.Version)
	case r.Removed:
		if own != nil {
			delete(own.caps, r.Key)
			if len(own.caps) == 0 {
				delete(a.anchors, scope)
			}
		}
	default:
		if own == nil {
			own = &anchor{caps: map[string]bool{}}
			a.anchors[scope] = own
		}
		own.caps[r.Key] = true
		own.version = max(own.version, r.Version)
	}
}

// decodeCap reads a cap. Zones are slow to load, so windows are kept.
func decodeCap(c columns, windows map[string]budget.Window) (r budget.CapRecord, err error) {
	r = budget.CapRecord{Key: c.text(0), Version: c.int(5), By: c.text(6), At: rules.At(c.int(7)), Removed: c.int(8) != 0}
	r.Limit, r.Meter = c.int(3), budget.Meter(c.text(9))
	if r.For, err = budget.ParseTarget(c.text(1)); err != nil {
		return r, damaged("%v", err)
	}
	per := c.text(2)
	window, ok := windows[per]
	if !ok {
		if window, err = budget.ParseWindow(per); err != nil {
			return r, fmt.Errorf("sqlitestore: cap %q of the file: %w", r.Key, err) // a machine without zone files
		}
		windows[per] = window
	}
	r.Per = window
	r.Soft, err = decodeSoft(c, 4)
	return r, err
}

// Define implements [budget.Store].
func (s *Store) Define(ctx context.Context, account, by string, caps []budget.Cap) (version int64, err error) {
	err = s.do(ctx, group.Reserving, func(b *books) error {
		a, err := b.open(account)
		if err != nil {
			return err
		}
		version = a.version
		for _, c := range caps {
			if anchor, ok := c.For.Anchor(); ok {
				if err := b.refuseClosed(a, anchor); err != nil {
					return err
				}
			}
		}
		for _, c := range caps {
			if err := b.define(a, by, c); err != nil {
				return b.fail(err)
			}
		}
		version = a.version
		return nil
	})
	return version, err
}

func (b *books) define(a *account, by string, c budget.Cap) error {
	key := c.ID()
	old := a.capOf(key)
	if old != nil && old.Same(c) {
		return nil
	}
	a.version++
	a.dirty = true
	change := budget.Change{Version: a.version, At: b.at(), By: by, What: "define", Cap: key, New: c.Limit}
	anchor, anchored := c.For.Anchor()
	private := anchored && anchor.Kind == budget.ScopeRun
	if old != nil {
		change.Old, private = old.Limit, false
	}
	if err := b.write(`INSERT INTO budget_cap (account, key, target, meter, per, most, soft, version, author, at, removed)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)
		ON CONFLICT DO UPDATE SET most = excluded.most, soft = excluded.soft, version = excluded.version, author = excluded.author, at = excluded.at, removed = 0`,
		a.id, key, c.For.String(), string(c.Meter), c.Per.String(), c.Limit, encodeSoft(c.Soft), a.version, by, b.now); err != nil {
		return err
	}
	c.Soft = slices.Clone(c.Soft) // the caller's
	a.put(budget.CapRecord{Cap: c, Version: a.version, By: by, At: b.at(), Key: key})
	if private { // every run may bring its own caps; only what somebody changed is worth keeping
		return nil
	}
	return b.note(a, change)
}

// note keeps a change and forgets the oldest.
func (b *books) note(a *account, c budget.Change) error {
	scope := ""
	if c.Scope.Kind != "" {
		scope = c.Scope.String()
	}
	if err := b.write(`INSERT INTO budget_change (account, version, at, author, what, cap, before, after, scope, reason, until)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		a.id, c.Version, codec.Nano(c.At), c.By, c.What, c.Cap, c.Old, c.New, scope, c.Reason, untilOf(c.Until)); err != nil {
		return err
	}
	return b.write("DELETE FROM budget_change WHERE account = ?1 AND seq <= (SELECT seq FROM budget_change WHERE account = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
		a.id, int64(keptChanges))
}

// deleteCap forgets a removed cap that no count refers to. Ledgers that have not heard of its removal ask for everything.
func (b *books) deleteCap(a *account, c *rules.Cap) error {
	if !c.Removed {
		return nil
	}
	if err := b.flush(a); err != nil {
		return err
	}
	left, _, err := b.conn.number("SELECT count(*) FROM (SELECT 1 FROM budget_count WHERE account = ? AND cap = ? AND dropped = 1 LIMIT 1)", a.id, c.Key)
	if err != nil || left > 0 {
		return b.fail(err)
	}
	if err := b.write("DELETE FROM budget_cap WHERE account = ? AND key = ? AND removed = 1", a.id, c.Key); err != nil {
		return err
	}
	delete(a.caps, c.Key)
	a.floor, a.dirty = max(a.floor, c.Version), true
	return nil
}

// Freeze implements [budget.Store].
func (s *Store) Freeze(ctx context.Context, account string, f budget.Freeze) error {
	return s.do(ctx, group.Settling, func(b *books) error {
		a, err := b.open(account)
		if err != nil {
			return err
		}
		f.At = b.at()
		if err := b.write(`INSERT INTO budget_freeze (account, scope, reason, until, author, at) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET reason = excluded.reason, until = excluded.until, author = excluded.author, at = excluded.at`,
			a.id, f.Scope.String(), f.Reason, untilOf(f.Until), f.By, b.now); err != nil {
			return err
		}
		a.freezes[f.Scope] = f
		return b.edited(a, budget.Change{Version: a.version, At: f.At, By: f.By, What: "freeze", Scope: f.Scope, Reason: f.Reason, Until: f.Until})
	})
}

// Unfreeze implements [budget.Store].
func (s *Store) Unfreeze(ctx context.Context, account string, scope budget.Scope, by string) error {
	return s.do(ctx, group.Reserving, func(b *books) error {
		a, err := b.open(account)
		if err != nil {
			return err
		}
		if f, ok := a.freezes[scope]; !ok || rules.FreezeOver(f, b.at()) {
			return nil
		}
		if err := b.write("DELETE FROM budget_freeze WHERE account = ? AND scope = ?", a.id, scope.String()); err != nil {
			return err
		}
		delete(a.freezes, scope)
		return b.edited(a, budget.Change{Version: a.version, At: b.at(), By: by, What: "unfreeze", Scope: scope})
	})
}

// edited makes other processes read the freezes again, and keeps the change.
func (b *books) edited(a *account, c budget.Change) error {
	a.edits++
	a.dirty = true
	return b.note(a, c)
}

// refuseClosed is an error for a run that was forgotten.
func (b *books) refuseClosed(a *account, scope budget.Scope) error {
	if scope.Kind != budget.ScopeRun {
		return nil
	}
	until, known := a.closed[scope.Name]
	if !known {
		var err error
		if until, _, err = b.conn.number("SELECT until FROM budget_closed WHERE account = ? AND run = ?", a.id, scope.Name); err != nil {
			return err
		}
		a.closed[scope.Name] = until
	}
	if b.now < until {
		return fmt.Errorf("%w: %s was forgotten: begin another run", budget.ErrClosed, scope)
	}
	return nil
}

// Forget implements [budget.Store].
func (s *Store) Forget(ctx context.Context, account string, run budget.Scope) error {
	return s.do(ctx, group.Reserving, func(b *books) error {
		a, err := b.open(account)
		if err != nil {
			return err
		}
		if b.refuseClosed(a, run) != nil { // forgotten already, or not to be read, which the next statement says
			return b.forgotten(a, run)
		}
		if err := b.flush(a); err != nil {
			return err
		}
		return b.forgetRun(a, run)
	})
}

// forgotten repeats the question whose answer was an error.
func (b *books) forgotten(a *account, run budget.Scope) error {
	if b.now < a.closed[run.Name] {
		return nil
	}
	return b.refuseClosed(a, run)
}

func (b *books) forgetRun(a *account, run budget.Scope) error {
	open, _, err := b.conn.number(`SELECT count(*) FROM budget_reservation
		WHERE account = ? AND ended = 0 AND instr(char(10) || scopes || char(10), char(10) || ? || char(10)) > 0`, a.id, run.String())
	if err != nil {
		return err
	}
	if open > 0 {
		return fmt.Errorf("budget: forget %s: %d of its reservations: %w", run, open, budget.ErrStillOpen)
	}
	var ids []int64
	err = b.conn.query(func(c columns) error {
		ids = append(ids, c.int(0))
		return nil
	}, "SELECT id FROM budget_count WHERE account = ? AND run = ? AND dropped = 0", a.id, run.Name)
	if err != nil {
		return err
	}
	for _, id := range ids {
		c, err := b.countByID(a, id)
		if err != nil {
			return b.fail(err)
		}
		if err := b.dropCount(a, c); err != nil {
			return err
		}
	}
	if own := a.anchors[run]; own != nil {
		for key := range own.caps {
			if err := b.removeCap(a, a.caps[key]); err != nil {
				return err
			}
		}
	}
	if _, ok := a.freezes[run]; ok {
		delete(a.freezes, run)
		if err := b.write("DELETE FROM budget_freeze WHERE account = ? AND scope = ?", a.id, run.String()); err != nil {
			return err
		}
	}
	until := b.now + int64(rules.Dedup)
	a.closed[run.Name] = until
	a.edits++
	a.dirty = true
	if err := b.write("INSERT INTO budget_closed (account, run, until) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET until = excluded.until", a.id, run.Name, until); err != nil {
		return err
	}
	return b.write("DELETE FROM budget_closed WHERE (account, run) IN (SELECT account, run FROM budget_closed WHERE account = ? AND until <= ? ORDER BY until LIMIT 8)", a.id, b.now)
}

// dropCount takes a forgotten run's count out of the books; reservations may still refer to it.
func (b *books) dropCount(a *account, c *count) error {
	if c.reservations == 0 {
		return b.deleteCount(a, c)
	}
	key, err := keyOf(&budget.Link{Cap: c.Cap.Key, Scopes: c.Scopes, Window: c.Span})
	if err != nil {
		return b.fail(err)
	}
	delete(a.counts, key)
	c.dropped = true
	a.touchCount(c)
	return nil
}

// removeCap ends a forgotten run's own cap. Its row stays while counts refer to it.
func (b *books) removeCap(a *account, c *rules.Cap) error {
	a.version++
	a.dirty = true
	r := c.CapRecord
	r.Removed, r.Version = true, a.version
	if err := b.write("UPDATE budget_cap SET removed = 1, version = ? WHERE account = ? AND key = ?", r.Version, a.id, r.Key); err != nil {
		return err
	}
	a.put(r)
	return b.deleteCap(a, c)
}
