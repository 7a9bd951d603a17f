package budget

import (
	"context"
	"fmt"
	"time"
)

// move brings a reservation into a state in which it counts actual, and every count of its chain with it.
//
// The invariant of a count is settled + held <= limit + overrun. Only admission, which checks the limit, may use up
// headroom. Everything else that raises settled + held is overrun: what exceeds the bound, and what no longer fits when a
// correction takes back a refund that others have spent meanwhile.
func (b *books) move(r *row, to State, actual Amounts, ans *Answer) {
	wasOpen := r.state == StateOpen
	for i, c := range r.tab.counts {
		meter := c.book.record.Meter
		bound, before, after := r.bound.Get(meter), r.actual.Get(meter), actual.Get(meter)
		change := after - before
		if wasOpen {
			c.held = minus(c.held, bound)
			change = after - bound
		}
		if r.state.Unconfirmed() {
			c.unconfirmed = minus(c.unconfirmed, before)
		}
		c.settled = plus(minus(c.settled, before), after)
		if to.Unconfirmed() {
			c.unconfirmed = plus(c.unconfirmed, after)
		}
		if change > 0 {
			above := max(after-bound, 0) - max(before-bound, 0)
			unfit := max(plus(c.settled, c.held)-plus(c.book.limit, c.overrun), 0)
			more := min(change, max(above, unfit))
			if more > 0 {
				over := r.overruns()
				over[i], c.overrun = plus(over[i], more), plus(c.overrun, more)
			}
		} else if r.rest != nil && r.rest.over != nil {
			over := r.rest.over
			less := min(-change, over[i])
			over[i], c.overrun = over[i]-less, minus(c.overrun, less)
		}
		if after > before {
			c.cross(ans)
		}
	}
	r.state, r.actual = to, actual
	if wasOpen {
		b.end(r)
	}
}

// overruns are what the reservation itself has added to the overrun of each count.
func (r *row) overruns() []int64 {
	odd := r.odd()
	if odd.over == nil {
		odd.over = make([]int64, len(r.tab.counts))
	}
	return odd.over
}

// end takes a reservation from the open ones to the ended ones.
func (b *books) end(r *row) {
	b.leases.remove(r.pos)
	for _, run := range r.tab.runs {
		run.open--
	}
	r.keepUntil = max(r.expires, r.tab.last) + int64(dedup)
	if r.idle {
		b.idled.push(r)
	} else {
		b.ended.push(r)
	}
}

// cross announces thresholds that settled spending has reached, once each.
func (c *count) cross(ans *Answer) {
	for _, m := range c.book.marks {
		if c.settled < m.at {
			return
		}
		word, bit := m.percent/64, uint64(1)<<(m.percent%64)
		if c.fired[word]&bit == 0 {
			c.fired[word] |= bit
			ans.Crossed = append(ans.Crossed, Crossing{Cap: c.book.record.Key, Scope: c.scope, Meter: c.book.record.Meter,
				Percent: m.percent, Settled: c.settled, Limit: c.book.limit, Reset: c.span.End})
		}
	}
}

// answer says where the reservation and its counts stand.
func (r *row) answer(ans *Answer) {
	ans.State, ans.Late, ans.Expires = r.state, r.late, at(r.expires)
	ans.Reserved, ans.Actual = r.bound.clone(), r.actual.clone()
	ans.Over = r.actual.above(r.bound)
	for _, c := range r.tab.counts {
		ans.Left = append(ans.Left, c.state())
	}
}

// act runs one operation on a reservation; the operation answers an error, or what has changed is in the row.
func (m *Memory) act(account, op, id string, ans *Answer, f func(b *books, r *row, now int64) error) error {
	b := m.open(account)
	defer b.mu.Unlock()
	ans.Reset()
	now := b.now()
	ans.Now = at(now)
	r := b.rows[id]
	if r == nil {
		return fmt.Errorf("budget: %s of %q: %w", op, clip(id), ErrUnknownReservation)
	}
	if err := f(b, r, now); err != nil {
		if own, ok := err.(*StateError); ok {
			own.Op, own.ID, own.State = op, id, r.state
		}
		return err
	}
	r.answer(ans)
	return nil
}

// Settle implements [Store].
func (m *Memory) Settle(_ context.Context, account, id string, actual Amounts, ans *Answer) error {
	return m.act(account, "settle", id, ans, func(b *books, r *row, now int64) error {
		switch {
		case r.idle:
			return &StateError{Cause: ErrNotIdle}
		case r.said && !r.usage().Equal(actual):
			return &StateError{Cause: ErrMismatch}
		case r.said:
			ans.Duplicate = true
			return nil
		case r.state == StateVoided:
			return &StateError{Cause: ErrFinished}
		}
		late := r.state != StateOpen || now >= r.expires
		r.said, r.late, actual = true, late, actual.clone()
		if r.corrected() { // a receipt knows better than usage that comes after it
			r.rest.usage = actual
		} else {
			b.move(r, StateSettled, actual, ans)
		}
		return nil
	})
}

// Charge implements [Store].
func (m *Memory) Charge(_ context.Context, account, id string, ans *Answer) error {
	return m.act(account, "charge", id, ans, func(b *books, r *row, now int64) error {
		switch {
		case r.idle:
			return &StateError{Cause: ErrNotIdle}
		case r.state == StateVoided:
			return &StateError{Cause: ErrFinished}
		case r.state != StateOpen:
			ans.Duplicate = true
			return nil
		}
		r.late = now >= r.expires
		b.move(r, StateCharged, r.bound, ans)
		return nil
	})
}

// Void implements [Store].
func (m *Memory) Void(_ context.Context, account, id string, proof Proof, ans *Answer) error {
	if err := proof.Validate(); err != nil {
		return err
	}
	return m.act(account, "void", id, ans, func(b *books, r *row, now int64) error {
		switch {
		case r.state == StateVoided || r.state == StateReleased:
			ans.Duplicate = true
			return nil
		case r.state == StateSettled:
			return &StateError{Cause: ErrFinished}
		}
		r.late = r.state != StateOpen || now >= r.expires
		b.move(r, StateVoided, Amounts{}, ans)
		return nil
	})
}

// Release implements [Store].
func (m *Memory) Release(_ context.Context, account, id string, ans *Answer) error {
	return m.act(account, "release", id, ans, func(b *books, r *row, now int64) error {
		switch {
		case !r.idle:
			return &StateError{Cause: ErrNotIdle}
		case r.state != StateOpen:
			ans.Duplicate = true
			return nil
		}
		r.late = now >= r.expires
		b.move(r, StateReleased, Amounts{}, ans)
		return nil
	})
}

// Renew implements [Store].
func (m *Memory) Renew(_ context.Context, account, id string, lease time.Duration, ans *Answer) error {
	return m.act(account, "renew", id, ans, func(b *books, r *row, now int64) error {
		if r.state != StateOpen || now >= r.expires {
			return &StateError{Cause: ErrFinished}
		}
		r.expires = now + int64(lease)
		b.leases.fix(r.pos)
		return nil
	})
}

// TrueUp implements [Store].
func (m *Memory) TrueUp(_ context.Context, account, id string, actual Amounts, source string, ans *Answer) error {
	return m.act(account, "true-up", id, ans, func(b *books, r *row, now int64) error {
		if r.state == StateOpen {
			return &StateError{Cause: ErrStillOpen}
		}
		odd := r.odd()
		for _, c := range odd.corrections {
			if c.source == source {
				if !c.actual.Equal(actual) {
					return &StateError{Cause: ErrMismatch}
				}
				ans.Duplicate = true
				return nil
			}
		}
		if r.said && len(odd.corrections) == 0 {
			odd.usage = r.actual
		}
		actual = actual.clone()
		odd.corrections = append(odd.corrections, correction{source, actual})
		b.move(r, StateSettled, actual, ans)
		return nil
	})
}

func (r *row) corrected() bool { return r.rest != nil && len(r.rest.corrections) > 0 }

// usage is what was reported, of a reservation for which usage was.
func (r *row) usage() Amounts {
	if r.corrected() {
		return r.rest.usage
	}
	return r.actual
}
