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
// correction takes back a refund that others have spent meanwhile. A rolling count moves in the bucket of the admission; if
// that has left, only what is held is given up.
func (b *books) move(r *row, to rowState, actual *Amounts, now int64, ans *Answer) {
	t := b.tabs.all[r.tab]
	q := quantitiesOf(actual)
	var boundCustom, beforeCustom map[Meter]int64
	if o := b.rest(r); o != nil {
		boundCustom, beforeCustom = o.bound, o.actual
	}
	wasOpen := r.state == rowOpen
	for i, c := range t.counts {
		bound, before, after := c.of(&r.bound, boundCustom), c.of(&r.actual, beforeCustom), c.of(&q, actual.Custom)
		c.roll(now)
		change := after - before
		if wasOpen { // what was drawn from it others hold, or have used
			c.held = minus(c.held, bound-before)
			change, before = after-bound, 0
		}
		if c.left(r.admitted, now) {
			continue
		}
		var unsureBefore, unsureAfter int64
		if r.state.unconfirmed() {
			unsureBefore = before
		}
		if to.unconfirmed() {
			unsureAfter = after
		}
		c.settled = plus(minus(c.settled, before), after)
		c.unconfirmed = plus(minus(c.unconfirmed, unsureBefore), unsureAfter)
		overBefore := b.overrun(r, i)
		overAfter := overBefore
		if change > 0 {
			above := max(after-bound, 0) - max(before-bound, 0)
			unfit := max(plus(c.settled, c.held)-plus(c.limit, c.overrun), 0)
			more := min(change, max(above, unfit))
			overAfter, c.overrun = plus(overBefore, more), plus(c.overrun, more)
		} else {
			less := min(-change, overBefore)
			overAfter, c.overrun = overBefore-less, minus(c.overrun, less)
		}
		if overAfter != overBefore {
			b.setOverrun(r, i, len(t.counts), overAfter)
		}
		if c.rolling != nil {
			c.change(r.admitted, bucket{0, before, unsureBefore, overBefore}, bucket{0, after, unsureAfter, overAfter})
		}
		if after > before && c.settled >= c.mark {
			c.cross(ans)
		}
	}
	if o := b.rest(r); wasOpen && o != nil && o.from != "" {
		used := *actual
		if r.is(rowIdle) {
			used = b.actual(r)
		}
		b.giveBack(r, used, now)
	}
	r.state = to
	b.setActual(r, actual)
	if wasOpen {
		b.end(r, t)
	}
}

func (q *quantities) within(bound *quantities) bool {
	return q[0] <= bound[0] && q[1] <= bound[1] && q[2] <= bound[2] && q[3] <= bound[3]
}

// overrun is what the reservation itself has added to the overrun of its i-th count.
func (b *rows) overrun(r *row, i int) int64 {
	if o := b.rest(r); o != nil && o.over != nil {
		return o.over[i]
	}
	return 0
}

func (b *rows) setOverrun(r *row, i, of int, v int64) {
	o := b.odd(r)
	if o.over == nil {
		o.over = make([]int64, of)
	}
	o.over[i] = v
}

// answer says where the reservation and its counts stand.
func (b *books) answer(r *row, t *tab, now int64, ans *Answer) {
	ans.State, ans.Late, ans.Expires = rowStates[r.state], r.is(rowLate), at(r.expires)
	if r.is(rowOdd) {
		ans.Reserved, ans.Actual = b.bound(r), b.actual(r)
		ans.Over = ans.Actual.above(ans.Reserved)
	} else {
		r.bound.into(&ans.Reserved)
		r.actual.into(&ans.Actual)
		if !r.actual.within(&r.bound) {
			ans.Over = ans.Actual.above(ans.Reserved)
		}
	}
	for _, c := range t.counts {
		c.roll(now)
	}
	t.show(t.room(ans))
}

// look locks the books and finds a reservation, nil if it is not there.
func (m *Memory) look(account, id string) (*books, *row, int64) {
	now, hash := m.clock.now(), m.hash(id)
	b := m.open(account)
	return b, b.byID(id, hash), b.tick(now)
}

// begin is look; without a reservation it answers what is wrong.
func (m *Memory) begin(account, op, id string, ans *Answer) (*books, *row, int64, error) {
	b, r, now := m.look(account, id)
	return b, r, now, r.known(op, id, now, ans)
}

func (r *row) known(op, id string, now int64, ans *Answer) error {
	ans.Reset()
	ans.Now = at(now)
	if r == nil {
		return fmt.Errorf("budget: %s of %q: %w", op, clip(id), ErrUnknownReservation)
	}
	return nil
}

func (b *books) done(r *row, now int64, ans *Answer) error {
	b.answer(r, b.tabs.all[r.tab], now, ans)
	return nil
}

func (r *row) refuse(op, id string, cause error) error {
	return &StateError{Op: op, ID: id, State: rowStates[r.state], Cause: cause}
}

func (r *row) set(f rowFlags, on bool) {
	r.flags &^= f
	if on {
		r.flags |= f
	}
}

// Settle implements [Store].
func (m *Memory) Settle(_ context.Context, account, id string, actual Amounts, ans *Answer) error {
	b, r, now := m.look(account, id)
	if r != nil && b.quickSettle(r, &actual, now, ans) {
		b.mu.Unlock()
		return nil
	}
	defer b.mu.Unlock()
	err := r.known("settle", id, now, ans)
	switch {
	case err != nil:
		return err
	case r.is(rowIdle):
		return r.refuse("settle", id, ErrNotIdle)
	case r.is(rowSaid) && !b.usage(r).Equal(actual):
		return r.refuse("settle", id, ErrMismatch)
	case r.is(rowSaid):
		ans.Duplicate = true
	case r.state == rowVoided:
		return r.refuse("settle", id, ErrFinished)
	default:
		r.set(rowLate, r.state != rowOpen || now >= r.expires)
		r.set(rowSaid, true)
		if b.corrected(r) { // a receipt knows better than usage that comes after it
			b.rest(r).usage = actual.clone()
		} else {
			b.move(r, rowSettled, &actual, now, ans)
		}
	}
	return b.done(r, now, ans)
}

// Charge implements [Store].
func (m *Memory) Charge(_ context.Context, account, id string, ans *Answer) error {
	b, r, now, err := m.begin(account, "charge", id, ans)
	defer b.mu.Unlock()
	switch {
	case err != nil:
		return err
	case r.is(rowIdle):
		return r.refuse("charge", id, ErrNotIdle)
	case r.state == rowVoided:
		return r.refuse("charge", id, ErrFinished)
	case r.state != rowOpen:
		ans.Duplicate = true
	default:
		r.set(rowLate, now >= r.expires)
		bound := b.bound(r)
		b.move(r, rowCharged, &bound, now, ans)
	}
	return b.done(r, now, ans)
}

// Void implements [Store].
func (m *Memory) Void(_ context.Context, account, id string, proof Proof, ans *Answer) error {
	if err := proof.Validate(); err != nil {
		return err
	}
	b, r, now, err := m.begin(account, "void", id, ans)
	defer b.mu.Unlock()
	switch {
	case err != nil:
		return err
	case r.state == rowVoided || r.state == rowReleased:
		ans.Duplicate = true
	case r.state == rowSettled:
		return r.refuse("void", id, ErrFinished)
	default:
		r.set(rowLate, r.state != rowOpen || now >= r.expires)
		b.move(r, rowVoided, &Amounts{}, now, ans)
	}
	return b.done(r, now, ans)
}

// Release implements [Store].
func (m *Memory) Release(_ context.Context, account, id string, ans *Answer) error {
	b, r, now, err := m.begin(account, "release", id, ans)
	defer b.mu.Unlock()
	switch {
	case err != nil:
		return err
	case !r.is(rowIdle):
		return r.refuse("release", id, ErrNotIdle)
	case r.state != rowOpen:
		ans.Duplicate = true
	default:
		r.set(rowLate, now >= r.expires)
		b.move(r, rowReleased, &Amounts{}, now, ans)
	}
	return b.done(r, now, ans)
}

// Renew implements [Store].
func (m *Memory) Renew(_ context.Context, account, id string, lease time.Duration, ans *Answer) error {
	b, r, now, err := m.begin(account, "renew", id, ans)
	defer b.mu.Unlock()
	switch {
	case err != nil:
		return err
	case r.state != rowOpen || now >= r.expires:
		return r.refuse("renew", id, ErrFinished)
	}
	r.expires = now + int64(lease)
	b.letRun(r)
	return b.done(r, now, ans)
}

// TrueUp implements [Store].
func (m *Memory) TrueUp(_ context.Context, account, id string, actual Amounts, source string, ans *Answer) error {
	b, r, now, err := m.begin(account, "true-up", id, ans)
	defer b.mu.Unlock()
	switch {
	case err != nil:
		return err
	case r.state == rowOpen:
		return r.refuse("true-up", id, ErrStillOpen)
	}
	odd := b.odd(r)
	for _, c := range odd.corrections {
		if c.source == source {
			if !c.actual.Equal(actual) {
				return r.refuse("true-up", id, ErrMismatch)
			}
			ans.Duplicate = true
			return b.done(r, now, ans)
		}
	}
	if r.is(rowSaid) && len(odd.corrections) == 0 {
		odd.usage = b.actual(r)
	}
	odd.corrections = append(odd.corrections, correction{source, actual.clone()})
	b.move(r, rowSettled, &actual, now, ans)
	return b.done(r, now, ans)
}
