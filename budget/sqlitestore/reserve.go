package sqlitestore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/internal/group"
	"github.com/gridloop/gridloop/budget/internal/rules"
)

// Reserve implements [budget.Store].
func (s *Store) Reserve(ctx context.Context, account string, op *budget.ReserveOp, ans *budget.Answer) error {
	return s.do(ctx, group.Reserving, func(b *books) error { return b.reserve(account, op, ans) })
}

// reserve answers errors and stale before it changes anything, so that a sweep's news is never lost.
func (b *books) reserve(name string, op *budget.ReserveOp, ans *budget.Answer) error {
	ans.Reset()
	ans.Now = b.at()
	a, err := b.open(name)
	if err != nil {
		return err
	}
	switch r, err := b.row(a, op.ID); {
	case err != nil:
		return err
	case r != nil:
		err := r.Again(op, b.now, ans)
		for i := range r.Links {
			a.touchTurned(a.byID[r.Links[i].Count.ID])
		}
		return err
	}
	if ans.Stale = a.staleness(op, ans.Now); ans.Stale != "" {
		return nil
	}
	for _, scope := range op.Scopes {
		if err := b.refuseClosed(a, scope); err != nil {
			return err
		}
	}
	swap, err := b.named(a, "swap", op.Swap, (*rules.Row).CheckSwap)
	if err != nil {
		return err
	}
	from, err := b.named(a, "from", op.From, (*rules.Row).CheckFrom)
	if err != nil {
		return err
	}
	counts := make([]*rules.Count, len(op.Links))
	known := make([]*count, len(op.Links))
	for i := range op.Links {
		l := &op.Links[i]
		if known[i], err = b.countOf(a, l); err != nil {
			return err
		}
		if known[i] == nil {
			known[i] = a.newCount(l)
		}
	}
	if !op.DryRun {
		if err := b.sweep(a, rules.SweepEach, ans); err != nil {
			return err
		}
		if err := b.compact(a, rules.SweepEach); err != nil {
			return err
		}
	}
	for i := range known {
		if known[i].gone { // compact has found nothing left to count in it
			known[i] = a.newCount(&op.Links[i])
		}
		counts[i] = &known[i].Count
	}
	var freezes []budget.Freeze
	for _, scope := range op.Scopes {
		if f, ok := a.freezes[scope]; ok {
			freezes = append(freezes, f)
		}
	}
	var swapped, allowance *rules.Row
	var of *row // what the swapped one returns to
	if swap != nil {
		if of, err = b.of(a, swap); err != nil {
			return b.fail(err)
		}
		swapped = &swap.Row
	}
	if from != nil {
		allowance = &from.Row
	}
	rules.Check(op, freezes, counts, swapped, allowance, ans)
	for _, c := range known {
		a.touchTurned(c)
	}
	if len(ans.Violations) > 0 || op.DryRun {
		return nil
	}
	if swap != nil && swap.State == budget.StateOpen {
		a.touch(swap)
		a.touchOpen(of)
		a.ended++
		a.dirty = true
	}
	r := &row{seq: b.nextSeq + 1, dirty: true}
	b.nextSeq++
	for _, c := range known {
		if c.fresh && c.ID == 0 {
			b.nextID++
			c.ID = b.nextID
			for _, scope := range c.Scopes {
				if scope.Kind == budget.ScopeRun {
					c.run = scope.Name
				}
			}
			if err := a.keep(c); err != nil {
				return b.fail(err)
			}
		}
		c.reservations++
		a.touchCount(c)
	}
	r.Row = *rules.Admit(op, counts, swapped, allowance, b.now, ans)
	if !r.Taken.IsZero() {
		a.touch(from)
	}
	a.rows[r.ID] = r
	a.reserved = append(a.reserved, r)
	a.nextDue = min(a.nextDue, r.Expires)
	return nil
}

// newCount is in no map until a reservation is admitted to it.
func (a *account) newCount(l *budget.Link) *count {
	return &count{fresh: true, Count: rules.Count{Cap: a.caps[l.Cap], Scopes: append([]budget.Scope(nil), l.Scopes...), Span: l.Window}}
}

// staleness is what the ledger must look up again.
func (a *account) staleness(op *budget.ReserveOp, now time.Time) budget.Stale {
	need := a.shared
	for _, scope := range op.Scopes {
		if own := a.anchors[scope]; own != nil {
			need = max(need, own.version)
		}
	}
	if op.Version < need {
		return budget.StaleCaps
	}
	for i := range op.Links {
		if a.capOf(op.Links[i].Cap) == nil {
			return budget.StaleCaps
		}
		if !op.Links[i].Window.Contains(now) {
			return budget.StaleWindow
		}
	}
	return ""
}

func unknown(op, id string) error {
	if len(id) > 64 {
		id = strings.ToValidUTF8(id[:64], "") + "..."
	}
	return fmt.Errorf("budget: %s of %q: %w", op, id, budget.ErrUnknownReservation)
}

// sweep ends reservations whose lease is over.
func (b *books) sweep(a *account, most int, ans *budget.Answer) error {
	if b.now < a.nextDue {
		return nil
	}
	if err := b.flush(a); err != nil { // the file is asked who is due
		return err
	}
	var ids []string
	next := int64(never)
	err := b.conn.query(func(r columns) error {
		if due := r.int(1); due > b.now || len(ids) == most {
			next = min(next, due)
		} else {
			ids = append(ids, r.text(0))
		}
		return nil
	}, "SELECT id, due FROM budget_reservation WHERE account = ? AND ended = 0 ORDER BY due LIMIT ?", a.id, int64(most)+1)
	if err != nil {
		return err
	}
	for _, id := range ids {
		r, err := b.row(a, id)
		if err != nil {
			return b.fail(err)
		}
		of, err := b.of(a, r)
		if err != nil {
			return b.fail(err)
		}
		if b.store.releases && !r.Idle {
			r.Idle = true
			r.Expire(ans)
			r.Idle = false
		} else {
			r.Expire(ans)
		}
		a.touch(r)
		a.touchOpen(of)
		a.ended++
		a.dirty = true
	}
	a.nextDue = next
	return nil
}

// compact forgets what nobody will ask for any more, a little at a time.
func (b *books) compact(a *account, most int) error {
	if excess := a.ended - b.store.keep; excess > 0 || b.now >= a.nextForget {
		if err := b.forgetRows(a, most, excess); err != nil {
			return err
		}
	}
	if b.now < a.nextOver {
		return nil
	}
	if err := b.flush(a); err != nil {
		return err
	}
	var ids []int64
	next := int64(never)
	err := b.conn.query(func(r columns) error {
		if end := r.int(1); end > b.now || len(ids) == most {
			next = min(next, end)
		} else {
			ids = append(ids, r.int(0))
		}
		return nil
	}, "SELECT id, ends FROM budget_count WHERE account = ? AND reservations = 0 AND ends > 0 ORDER BY ends LIMIT ?", a.id, int64(most)+1)
	if err != nil {
		return err
	}
	for _, id := range ids {
		c, err := b.countByID(a, id)
		if err != nil {
			return b.fail(err)
		}
		if err := b.deleteCount(a, c); err != nil {
			return err
		}
	}
	a.nextOver = next
	return nil
}

// forgetRows drops ended reservations whose time has come, and the excess of those that are kept.
func (b *books) forgetRows(a *account, most int, excess int64) error {
	if err := b.flush(a); err != nil {
		return err
	}
	type old struct {
		seq       int64
		id, links string
	}
	var rows []old
	next := int64(never)
	err := b.conn.query(func(r columns) error {
		if len(rows) == most || r.int(3) > b.now && int64(len(rows)) >= excess {
			next = min(next, r.int(3))
		} else {
			rows = append(rows, old{r.int(0), r.text(1), r.text(2)})
		}
		return nil
	}, "SELECT seq, id, links, due FROM budget_reservation WHERE account = ? AND ended = 1 ORDER BY due LIMIT ?", a.id, int64(most)+1)
	if err != nil {
		return err
	}
	for _, o := range rows {
		if err := b.write("DELETE FROM budget_reservation WHERE seq = ?", o.seq); err != nil {
			return err
		}
		delete(a.rows, o.id)
		a.ended--
		a.dirty = true
		err := decodeLinks(o.links, func(id, _ int64) error {
			c, err := b.countByID(a, id)
			if err != nil {
				return err
			}
			c.reservations--
			a.touchCount(c)
			switch end := c.End(); {
			case c.reservations > 0:
			case c.dropped || end > 0 && end <= b.now || c.Empty(b.now):
				return b.deleteCount(a, c)
			case end > 0:
				a.nextOver = min(a.nextOver, end)
			}
			return nil
		})
		if err != nil {
			return b.fail(err)
		}
	}
	a.nextForget = next
	return nil
}

// deleteCount forgets a count that no reservation refers to, and its cap if that was removed and this was its last.
func (b *books) deleteCount(a *account, c *count) error {
	if err := b.flush(a); err != nil {
		return err
	}
	if err := b.write("DELETE FROM budget_count WHERE id = ?", c.ID); err != nil {
		return err
	}
	c.gone = true
	delete(a.byID, c.ID)
	if !c.dropped {
		key, err := keyOf(&budget.Link{Cap: c.Cap.Key, Scopes: c.Scopes, Window: c.Span})
		if err != nil {
			return b.fail(err)
		}
		delete(a.counts, key)
	}
	return b.deleteCap(a, c.Cap)
}

// Sweep implements [budget.Store].
func (s *Store) Sweep(ctx context.Context, account string, most int, ans *budget.Answer) error {
	return s.do(ctx, group.Settling, func(b *books) error {
		ans.Reset()
		ans.Now = b.at()
		a, err := b.open(account)
		if err != nil {
			return err
		}
		if err := b.sweep(a, most, ans); err != nil {
			return err
		}
		return b.compact(a, rules.SweepEach)
	})
}
