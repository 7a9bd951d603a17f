package rules

import (
	"maps"
	"slices"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// Row is one reservation.
type Row struct {
	ID          string
	Scopes      []budget.Scope
	Bound       budget.Amounts
	Actual      budget.Amounts // of an open one: what was drawn from it
	State       budget.State
	Idle        bool
	Late        bool
	Said        bool           // usage was reported
	Usage       budget.Amounts // what was
	Swap        string
	From        string         // the allowance that it was taken from
	Taken       budget.Amounts // of that, until it ends
	Of          *Row           // what Taken returns to: set by who loads the row, nil if it is not kept any more
	Admitted    int64
	Expires     int64
	KeepUntil   int64 // set when it ends
	Links       []Link
	Corrections []Correction
}

// Link is a row's share in a count.
type Link struct {
	Count *Count
	Over  int64 // what it added to the count's overrun
}

// Correction is what one source said was billed.
type Correction struct {
	Source string         `json:"source"`
	Actual budget.Amounts `json:"actual"`
}

// Reservation is the row as readers see it.
func (r *Row) Reservation() budget.Reservation {
	return budget.Reservation{ID: r.ID, Scopes: slices.Clone(r.Scopes), State: r.State, Idle: r.Idle, Reserved: copied(r.Bound), Actual: copied(r.Actual),
		Admitted: At(r.Admitted), Expires: At(r.Expires)}
}

// copied is a with a map of its own.
func copied(a budget.Amounts) budget.Amounts {
	a.Custom = maps.Clone(a.Custom)
	return a
}

// move brings a reservation into a state in which it counts actual, and every count of its chain with it.
//
// The invariant of a count is settled + held <= limit + overrun. Only admission, which checks the limit, may use up
// headroom. Everything else that raises settled + held is overrun: what exceeds the bound, and what no longer fits when a
// correction takes back a refund that others have spent meanwhile.
//
// A rolling count moves in the bucket of the admission. If that has left, only what is held is given up. ans.Now is set.
func (r *Row) move(to budget.State, actual budget.Amounts, ans *budget.Answer) {
	wasOpen := r.State == budget.StateOpen
	now := ans.Now.UnixNano()
	for i := range r.Links {
		link := &r.Links[i]
		c, meter := link.Count, link.Count.Cap.Meter
		bound, before, after := r.Bound.Get(meter), r.Actual.Get(meter), actual.Get(meter)
		c.Roll(now)
		change := after - before
		if wasOpen { // what was drawn from it others hold, or have used
			c.Held = minus(c.Held, bound-before)
			change, before = after-bound, 0
		}
		if c.Cap.Rolling() && c.ends(r.Admitted) <= now { // its bucket has left, and its spending with it
			continue
		}
		var unsureBefore, unsureAfter int64
		if r.State.Unconfirmed() {
			unsureBefore = before
		}
		if to.Unconfirmed() {
			unsureAfter = after
		}
		c.Settled = Plus(minus(c.Settled, before), after)
		c.Unconfirmed = Plus(minus(c.Unconfirmed, unsureBefore), unsureAfter)
		overBefore := link.Over
		if change > 0 {
			above := max(after-bound, 0) - max(before-bound, 0)
			unfit := max(Plus(c.Settled, c.Held)-Plus(c.Cap.Limit, c.Overrun), 0)
			more := min(change, max(above, unfit))
			link.Over, c.Overrun = Plus(link.Over, more), Plus(c.Overrun, more)
		} else {
			less := min(-change, link.Over)
			link.Over, c.Overrun = link.Over-less, minus(c.Overrun, less)
		}
		if c.Cap.Rolling() {
			c.in(r.Admitted, func(b *Bucket) {
				b.Settled = Plus(minus(b.Settled, before), after)
				b.Unconfirmed = Plus(minus(b.Unconfirmed, unsureBefore), unsureAfter)
				b.Overrun = Plus(minus(b.Overrun, overBefore), link.Over)
			})
		}
		if after > before {
			c.cross(ans)
		}
	}
	if wasOpen {
		used := actual
		if r.Idle {
			used = r.Actual
		}
		r.giveBack(used, now)
	}
	r.State, r.Actual = to, actual
	if wasOpen {
		r.KeepUntil = r.Expires
		for i := range r.Links {
			r.KeepUntil = max(r.KeepUntil, r.Links[i].Count.ends(r.Admitted))
		}
		r.KeepUntil += int64(Dedup)
	}
}

// Answer says where the reservation and its counts stand at ans.Now.
func (r *Row) Answer(ans *budget.Answer) {
	ans.State, ans.Late, ans.Expires = r.State, r.Late, At(r.Expires)
	ans.Reserved, ans.Actual = copied(r.Bound), copied(r.Actual)
	ans.Over = above(r.Actual, r.Bound)
	now := ans.Now.UnixNano()
	for i := range r.Links {
		r.Links[i].Count.Roll(now)
		ans.Left = append(ans.Left, r.Links[i].Count.State())
	}
}

// above is what a has more than b, per meter.
func above(a, b budget.Amounts) budget.Amounts {
	over := budget.Amounts{
		NanoUSD:   max(a.NanoUSD-b.NanoUSD, 0),
		Tokens:    max(a.Tokens-b.Tokens, 0),
		Requests:  max(a.Requests-b.Requests, 0),
		ToolCalls: max(a.ToolCalls-b.ToolCalls, 0),
	}
	for m, v := range a.Custom {
		if more := v - b.Custom[m]; more > 0 {
			over = over.With(m, more)
		}
	}
	return over
}

func (r *Row) refuse(op string, cause error) error {
	return &budget.StateError{Op: op, ID: r.ID, State: r.State, Cause: cause}
}

// Settle replaces the bound by what was used.
func (r *Row) Settle(actual budget.Amounts, now int64, ans *budget.Answer) error {
	switch {
	case r.Idle:
		return r.refuse("settle", budget.ErrNotIdle)
	case r.Said && !r.Usage.Equal(actual):
		return r.refuse("settle", budget.ErrMismatch)
	case r.Said:
		ans.Duplicate = true
	case r.State == budget.StateVoided:
		return r.refuse("settle", budget.ErrFinished)
	default:
		r.Late = r.State != budget.StateOpen || now >= r.Expires
		r.Said, r.Usage = true, copied(actual)
		if len(r.Corrections) == 0 { // a receipt knows better than usage that comes after it
			r.move(budget.StateSettled, r.Usage, ans)
		}
	}
	r.Answer(ans)
	return nil
}

// Charge settles at the bound, unconfirmed.
func (r *Row) Charge(now int64, ans *budget.Answer) error {
	switch {
	case r.Idle:
		return r.refuse("charge", budget.ErrNotIdle)
	case r.State == budget.StateVoided:
		return r.refuse("charge", budget.ErrFinished)
	case r.State != budget.StateOpen:
		ans.Duplicate = true
	default:
		r.Late = now >= r.Expires
		r.move(budget.StateCharged, r.Bound, ans)
	}
	r.Answer(ans)
	return nil
}

// Void gives everything back. The proof was validated.
func (r *Row) Void(now int64, ans *budget.Answer) error {
	switch r.State {
	case budget.StateVoided, budget.StateReleased:
		ans.Duplicate = true
	case budget.StateSettled:
		return r.refuse("void", budget.ErrFinished)
	default:
		r.Late = r.State != budget.StateOpen || now >= r.Expires
		r.move(budget.StateVoided, budget.Amounts{}, ans)
	}
	r.Answer(ans)
	return nil
}

// Release gives an idle reservation back.
func (r *Row) Release(now int64, ans *budget.Answer) error {
	switch {
	case !r.Idle:
		return r.refuse("release", budget.ErrNotIdle)
	case r.State != budget.StateOpen:
		ans.Duplicate = true
	default:
		r.Late = now >= r.Expires
		r.move(budget.StateReleased, budget.Amounts{}, ans)
	}
	r.Answer(ans)
	return nil
}

// Renew lets an open reservation's lease run for another lease from now.
func (r *Row) Renew(lease time.Duration, now int64, ans *budget.Answer) error {
	if r.State != budget.StateOpen || now >= r.Expires {
		return r.refuse("renew", budget.ErrFinished)
	}
	r.Expires = now + int64(lease)
	r.Answer(ans)
	return nil
}

// TrueUp corrects what an ended reservation counts, once per source.
func (r *Row) TrueUp(actual budget.Amounts, source string, ans *budget.Answer) error {
	if r.State == budget.StateOpen {
		return r.refuse("true-up", budget.ErrStillOpen)
	}
	i := slices.IndexFunc(r.Corrections, func(c Correction) bool { return c.Source == source })
	switch {
	case i >= 0 && !r.Corrections[i].Actual.Equal(actual):
		return r.refuse("true-up", budget.ErrMismatch)
	case i >= 0:
		ans.Duplicate = true
	default:
		actual = copied(actual)
		r.Corrections = append(r.Corrections, Correction{source, actual})
		r.move(budget.StateSettled, actual, ans)
	}
	r.Answer(ans)
	return nil
}

// Expire ends an open reservation whose lease is over: charged, because nobody knows whether it was sent; an idle one was
// not, and is released.
func (r *Row) Expire(ans *budget.Answer) {
	ans.Expired = append(ans.Expired, r.ID)
	if r.Idle {
		r.move(budget.StateReleased, budget.Amounts{}, ans)
	} else {
		r.move(budget.StateExpired, r.Bound, ans)
	}
}
