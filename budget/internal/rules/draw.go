package rules

import (
	"slices"

	"github.com/gridloop/gridloop/budget"
)

// lends reports whether the allowance stands. That its lease is over need not have been noticed by a sweep.
func (r *Row) lends(now int64) bool {
	return r != nil && r.Idle && r.State == budget.StateOpen && now < r.Expires
}

// drawable is what op can have of the allowance when back has returned to it. Of a meter that is nothing unless all of
// the allowance's counts are also op's.
func (r *Row) drawable(op *budget.ReserveOp, counts []*Count, back budget.Amounts) budget.Amounts {
	d := least(op.Amounts, above(r.Bound, above(r.Actual, back)))
	for i := range r.Links {
		if m := r.Links[i].Count.Cap.Meter; d.Get(m) > 0 && !slices.Contains(counts, r.Links[i].Count) {
			d = d.With(m, 0)
		}
	}
	return d
}

// draw takes what op can have out of what the allowance holds.
func (r *Row) draw(op *budget.ReserveOp, counts []*Count, now int64) budget.Amounts {
	if !r.lends(now) {
		return budget.Amounts{}
	}
	d := r.drawable(op, counts, budget.Amounts{})
	r.Actual = r.Actual.Add(d)
	for i := range r.Links {
		c := r.Links[i].Count
		c.Held = minus(c.Held, d.Get(c.Cap.Meter))
	}
	return d
}

// returns is what goes back to the allowance when the reservation, still open, ends with used. One that was admitted later
// is another of the same name, made when the first was forgotten.
func (r *Row) returns(used budget.Amounts, now int64) budget.Amounts {
	if r.Taken.IsZero() || !r.Of.lends(now) || r.Of.Admitted > r.Admitted {
		return budget.Amounts{}
	}
	return least(least(r.Taken, above(r.Bound, used)), r.Of.Actual)
}

// giveBack ends what was drawn. What the allowance takes here the caps have just got.
func (r *Row) giveBack(used budget.Amounts, now int64) {
	if back := r.returns(used, now); !back.IsZero() {
		r.Of.Actual = above(r.Of.Actual, back)
		for i := range r.Of.Links {
			c := r.Of.Links[i].Count
			c.Held = Plus(c.Held, back.Get(c.Cap.Meter))
		}
	}
	r.Taken = budget.Amounts{}
}

// free marks on the counts what is free for op beside what is: what the swapped reservation holds, less what of it returns
// to an allowance, and what op can draw. The func that it answers takes the marks off.
func free(op *budget.ReserveOp, counts []*Count, swap, from *Row, now int64) func() {
	var marked []*Count
	mark := func(r *Row, a budget.Amounts, sign int64) {
		for i := range r.Links {
			c := r.Links[i].Count
			c.freed += sign * a.Get(c.Cap.Meter)
			marked = append(marked, c)
		}
	}
	var back budget.Amounts
	if swap != nil && swap.State == budget.StateOpen {
		mark(swap, above(swap.Bound, swap.Actual), 1)
		if n := swap.returns(swap.Actual, now); !n.IsZero() {
			mark(swap.Of, n, -1)
			if swap.Of == from {
				back = n
			}
		}
	}
	if from != swap && from.lends(now) {
		mark(from, from.drawable(op, counts, back), 1)
	}
	return func() {
		for _, c := range marked {
			c.freed = 0
		}
	}
}
