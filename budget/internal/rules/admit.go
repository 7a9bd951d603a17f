package rules

import (
	"slices"

	"github.com/gridloop/gridloop/budget"
)

// Again answers a Reserve whose id was reserved before.
func (r *Row) Again(op *budget.ReserveOp, now int64, ans *budget.Answer) error {
	switch {
	case r.Idle != op.Idle || r.Swap != op.Swap || r.From != op.From || !r.Bound.Equal(op.Amounts) || !slices.Equal(r.Scopes, op.Scopes):
		return r.refuse("reserve", budget.ErrMismatch)
	case r.State != budget.StateOpen:
		return r.refuse("reserve", budget.ErrFinished)
	case now >= r.Expires:
		return &budget.StateError{Op: "reserve", ID: r.ID, State: budget.StateExpired, Cause: budget.ErrFinished}
	}
	ans.Duplicate = true
	r.Answer(ans)
	return nil
}

// CheckSwap refuses a swap of what may have been dispatched.
func (r *Row) CheckSwap() error {
	if r.Idle {
		return nil
	}
	return r.refuse("swap", budget.ErrNotIdle)
}

// CheckFrom refuses to draw from what may have been dispatched.
func (r *Row) CheckFrom() error {
	if r.Idle {
		return nil
	}
	return r.refuse("from", budget.ErrNotIdle)
}

// Check reports every freeze and every count that refuses. freezes are those that name a scope of op; counts are those of
// op.Links, in their order, a count never touched at zero; swap is the reservation of op.Swap and from the one of op.From,
// nil if there is none. ans.Now is set. Nothing is changed.
func Check(op *budget.ReserveOp, freezes []budget.Freeze, counts []*Count, swap, from *Row, ans *budget.Answer) {
	if swap != nil || from != nil {
		defer free(op, counts, swap, from, ans.Now.UnixNano())()
	}
	for _, f := range freezes {
		if !FreezeOver(f, ans.Now) {
			ans.Violations = append(ans.Violations, budget.Violation{Scope: f.Scope, Kind: budget.KindFrozen, ResetAt: f.Until, Reason: f.Reason})
		}
	}
	now := ans.Now.UnixNano()
	for _, c := range counts {
		c.Roll(now)
		if asked := op.Amounts.Get(c.Cap.Meter); asked > 0 && c.bounded() && asked > c.room() {
			ans.Violations = append(ans.Violations, c.violation(asked))
		}
	}
	if len(ans.Violations) > 0 || op.DryRun {
		for _, c := range counts {
			ans.Left = append(ans.Left, c.State())
		}
	}
}

// Admit books a request that was checked: it releases the swapped reservation, if that is still open, draws from the
// allowance, if that still lends, and returns the new one.
func Admit(op *budget.ReserveOp, counts []*Count, swap, from *Row, now int64, ans *budget.Answer) *Row {
	if swap != nil && swap.State == budget.StateOpen {
		swap.move(budget.StateReleased, budget.Amounts{}, ans)
	}
	taken := from.draw(op, counts, now)
	r := &Row{ID: op.ID, Scopes: slices.Clone(op.Scopes), Bound: copied(op.Amounts), Idle: op.Idle, Swap: op.Swap, From: op.From, Taken: taken, Of: from,
		State: budget.StateOpen, Admitted: now, Expires: now + int64(op.Lease), Links: make([]Link, 0, len(counts))}
	for _, c := range counts {
		c.Held = Plus(c.Held, r.Bound.Get(c.Cap.Meter))
		r.Links = append(r.Links, Link{Count: c})
	}
	r.Answer(ans)
	return r
}
