package pgstore

import (
	"context"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/internal/group"
	"github.com/gridloop/gridloop/budget/internal/rules"
)

// Reserve implements [budget.Store].
func (s *Store) Reserve(ctx context.Context, account string, op *budget.ReserveOp, ans *budget.Answer) error {
	t := &task{rank: group.Reserving, id: op.ID, op: op, run: func(b *books) error { return b.reserve(op, ans) }}
	if !op.DryRun {
		t.sweep = rules.SweepEach
	}
	return s.do(ctx, account, t)
}

// reserve answers errors and stale before it changes anything, so that a sweep's news is never lost.
func (b *books) reserve(op *budget.ReserveOp, ans *budget.Answer) error {
	ans.Reset()
	ans.Now = b.at()
	a := b.account
	switch r, err := b.row(op.ID); {
	case err != nil:
		return err
	case r != nil:
		err := r.Again(op, b.now, ans)
		b.touchTurned(r)
		return err
	}
	if ans.Stale = a.staleness(op, ans.Now); ans.Stale != "" {
		return nil
	}
	for _, scope := range op.Scopes {
		if err := b.refuseClosed(scope); err != nil {
			return err
		}
	}
	swap, err := b.named("swap", op.Swap, (*rules.Row).CheckSwap)
	if err != nil {
		return err
	}
	from, err := b.named("from", op.From, (*rules.Row).CheckFrom)
	if err != nil {
		return err
	}
	known, counts := make([]*count, len(op.Links)), make([]*rules.Count, len(op.Links))
	for i := range op.Links {
		if known[i], err = b.countFor(&op.Links[i], op.DryRun); err != nil {
			return err
		}
		counts[i] = &known[i].Count
	}
	if !op.DryRun {
		b.sweep(rules.SweepEach, ans)
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
		if of, err = b.of(swap); err != nil {
			return b.fail(err)
		}
		swapped = &swap.Row
	}
	if from != nil {
		allowance = &from.Row
	}
	rules.Check(op, freezes, counts, swapped, allowance, ans)
	for _, c := range known {
		if c.Turned() && c.ID != 0 {
			b.touchCount(c)
		}
	}
	if len(ans.Violations) > 0 || op.DryRun {
		return nil
	}
	if swap != nil && swap.State == budget.StateOpen {
		b.touch(swap)
		b.touchOpen(of)
		b.ended++
	}
	r := &row{fresh: true, Row: *rules.Admit(op, counts, swapped, allowance, b.now, ans)}
	if !r.Taken.IsZero() {
		b.touch(from)
	}
	for _, c := range known {
		c.reservations++
		b.touchCount(c)
	}
	b.rows[r.ID] = r
	b.reserved = append(b.reserved, r)
	return nil
}

// countFor answers the count of a link, made if it is new; for a question only, it is in no books.
func (b *books) countFor(l *budget.Link, dry bool) (*count, error) {
	c, err := b.countOf(l)
	switch {
	case err != nil || c != nil:
		return c, err
	case dry:
		return &count{Count: rules.Count{Cap: b.account.capOf(l.Cap), Scopes: l.Scopes, Span: l.Window}}, nil
	}
	return b.create(l)
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

// sweep ends reservations whose lease is over.
func (b *books) sweep(most int, ans *budget.Answer) {
	for most > 0 && len(b.due) > 0 {
		r := b.due[0]
		b.due = b.due[1:]
		if r.err != nil || r.State != budget.StateOpen || b.now < r.Expires {
			continue
		}
		of, err := b.of(r)
		if err != nil && r.Idle { // a call is charged, and nothing of that returns
			continue
		}
		most--
		if b.store.releases && !r.Idle {
			r.Idle = true
			r.Expire(ans)
			r.Idle = false
		} else {
			r.Expire(ans)
		}
		b.touch(r)
		b.touchOpen(of)
		b.ended++
	}
}

// Sweep implements [budget.Store].
func (s *Store) Sweep(ctx context.Context, account string, most int, ans *budget.Answer) error {
	return s.do(ctx, account, &task{rank: group.Settling, sweep: most, run: func(b *books) error {
		ans.Reset()
		ans.Now = b.at()
		b.sweep(most, ans)
		return nil
	}})
}
