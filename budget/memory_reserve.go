package budget

import (
	"context"
	"fmt"
	"slices"
	"time"
)

const (
	// dedup is how long a reservation that has ended is kept beyond its lease and its windows.
	dedup = 24 * time.Hour
	// idleShare is the part of what is kept that may be idle reservations: nothing of theirs can come late.
	idleShare = 16
	// sweepEach bounds the work that one Reserve does for others.
	sweepEach = 8
	maxSpare  = 1024
)

// Reserve implements [Store]. What makes the answer an error or stale comes first, so that a sweep's news is never lost.
func (m *Memory) Reserve(_ context.Context, account string, op *ReserveOp, ans *Answer) error {
	b := m.open(account)
	defer b.mu.Unlock()
	ans.Reset()
	now := b.now()
	ans.Now = at(now)
	if r := b.rows[op.ID]; r != nil {
		return b.again(r, op, now, ans)
	}
	key := b.keyOfTab(op.Scopes)
	t := b.tab(op, key)
	if ans.Stale = b.stale(op, t, now, ans.Now); ans.Stale != "" {
		return nil
	}
	if t == nil {
		for _, s := range op.Scopes {
			if s.Kind == ScopeRun && b.isClosed(s, now) {
				return closedRun(s)
			}
		}
	}
	if op.Swap != "" {
		switch r := b.rows[op.Swap]; {
		case r == nil:
			return fmt.Errorf("budget: swap of %q: %w", clip(op.Swap), ErrUnknownReservation)
		case !r.idle:
			return &StateError{Op: "swap", ID: op.Swap, State: r.state, Cause: ErrNotIdle}
		}
	}
	if !op.DryRun {
		b.sweep(now, sweepEach, ans)
		b.compact(now)
	}
	b.check(op, t, ans)
	if len(ans.Violations) > 0 || op.DryRun {
		return nil
	}
	if t == nil || t.rows == 0 { // the sweep may have taken its last reservation
		t = b.newTab(op, key)
	}
	b.admit(op, t, now, ans)
	return nil
}

// again answers an id that was reserved before.
func (b *books) again(r *row, op *ReserveOp, now int64, ans *Answer) error {
	if r.idle != op.Idle || r.swap != op.Swap || !r.bound.Equal(op.Amounts) || !slices.Equal(r.tab.scopes, op.Scopes) {
		return &StateError{Op: "reserve", ID: r.id, State: r.state, Cause: ErrMismatch}
	}
	if r.state != StateOpen {
		return &StateError{Op: "reserve", ID: r.id, State: r.state, Cause: ErrFinished}
	}
	if now >= r.expires {
		return &StateError{Op: "reserve", ID: r.id, State: StateExpired, Cause: ErrFinished}
	}
	ans.Duplicate = true
	r.answer(ans)
	return nil
}

// stale says what the ledger has to learn before its request can be booked.
func (b *books) stale(op *ReserveOp, t *tab, now int64, clock time.Time) Stale {
	if op.Version < b.version { // of what changed since, not everything concerns everybody
		need := b.shared
		for _, s := range op.Scopes {
			if a := b.ones[s]; a != nil {
				need = max(need, a.version)
			}
		}
		if op.Version < need {
			return StaleCaps
		}
	}
	if t != nil {
		if !t.present(now) {
			return StaleWindow
		}
		return ""
	}
	for i := range op.Links {
		if b.caps[op.Links[i].Cap] == nil {
			return StaleCaps
		}
		if !op.Links[i].Window.Contains(clock) {
			return StaleWindow
		}
	}
	return ""
}

// check reports every freeze and every count that refuses.
func (b *books) check(op *ReserveOp, t *tab, ans *Answer) {
	swap := b.rows[op.Swap]
	if swap != nil && swap.state == StateOpen {
		swap.free(true)
		defer swap.free(false)
	}
	if len(b.freezes) > 0 {
		b.frozen(op, ans)
	}
	for i := range op.Links {
		c := b.seen(op, t, i)
		if asked := op.Amounts.Get(c.book.record.Meter); asked > 0 && c.bounded() && asked > c.room() {
			ans.Violations = append(ans.Violations, c.violation(asked))
		}
	}
	if len(ans.Violations) > 0 || op.DryRun {
		for i := range op.Links {
			ans.Left = append(ans.Left, b.seen(op, t, i).state())
		}
	}
}

// seen is the count of a link, which is not put into the books if nothing was counted yet.
func (b *books) seen(op *ReserveOp, t *tab, i int) *count {
	if t != nil {
		return t.counts[i]
	}
	l := &op.Links[i]
	if c := b.counts[keyOf(l)]; c != nil {
		return c
	}
	return &count{book: b.caps[l.Cap], scopes: slices.Clone(l.Scopes), scope: foremost(l.Scopes), span: l.Window}
}

// frozen reports every freeze.
func (b *books) frozen(op *ReserveOp, ans *Answer) {
	for _, s := range op.Scopes {
		f, frozen := b.freezes[s]
		switch {
		case !frozen:
		case f.over(ans.Now):
			delete(b.freezes, s)
		default:
			ans.Violations = append(ans.Violations, Violation{Scope: s, Kind: KindFrozen, ResetAt: f.Until, Reason: f.Reason})
		}
	}
}

func (c *count) violation(asked int64) Violation {
	v := Violation{Cap: c.book.record.Key, Scope: c.scope, Meter: c.book.record.Meter, Window: c.book.window, ResetAt: c.span.End,
		Kind: KindSpent, Limit: c.book.limit, Settled: c.settled, Held: c.held - c.freed, Requested: asked}
	switch {
	case asked > c.book.limit:
		v.Kind = KindTooBig
	case plus(c.settled, asked) <= c.book.limit:
		v.Kind = KindHeld
	}
	return v
}

// free marks what a swapped reservation holds as free, or takes the mark off.
func (r *row) free(on bool) {
	for _, c := range r.tab.counts {
		c.freed = 0
		if on {
			c.freed = r.bound.Get(c.book.record.Meter)
		}
	}
}

// admit books a request that was checked.
func (b *books) admit(op *ReserveOp, t *tab, now int64, ans *Answer) {
	if swap := b.rows[op.Swap]; swap != nil && swap.state == StateOpen {
		b.move(swap, StateReleased, Amounts{}, ans)
	}
	r := b.newRow()
	r.id, r.tab, r.bound, r.idle, r.swap, r.state = op.ID, t, op.Amounts.clone(), op.Idle, op.Swap, StateOpen
	r.admitted, r.expires = now, now+int64(op.Lease)
	for _, c := range t.counts {
		c.held = plus(c.held, r.bound.Get(c.book.record.Meter))
	}
	for _, run := range t.runs {
		run.open++
	}
	t.rows++
	b.rows[r.id] = r
	b.leases.push(r)
	r.answer(ans)
}

func (b *books) newRow() *row {
	if n := len(b.spare); n > 0 {
		r := b.spare[n-1]
		b.spare = b.spare[:n-1]
		return r
	}
	return &row{}
}

// sweep ends reservations whose lease is over: charged, never released, because nobody knows whether they were sent.
func (b *books) sweep(now int64, most int, ans *Answer) {
	for ; most > 0 && len(b.leases.items) > 0 && b.leases.items[0].expires <= now; most-- {
		r := b.leases.items[0]
		ans.Expired = append(ans.Expired, r.id)
		if r.idle || b.releases {
			b.move(r, StateReleased, Amounts{}, ans)
		} else {
			b.move(r, StateExpired, r.bound, ans)
		}
	}
}

// compact forgets what nobody will ask for any more, a little at a time.
func (b *books) compact(now int64) {
	b.thin(&b.idled, now, b.keep/idleShare)
	b.thin(&b.ended, now, b.keep)
	for n := 0; n < sweepEach && len(b.turns.items) > 0 && b.turns.items[0].end <= now; n++ {
		c := b.turns.items[0]
		b.turns.remove(0)
		c.over = true
		if c.tabs == 0 {
			b.dropCount(c)
		}
	}
}

// thin forgets reservations that have ended, the oldest first: those whose time is over, and those that are too many.
func (b *books) thin(q *queue[*row], now int64, most int) {
	for n := 0; n < sweepEach && q.len() > 0; n++ {
		r := q.first()
		if r.keepUntil > now && q.len() <= most {
			return
		}
		q.pop()
		delete(b.rows, r.id)
		b.leave(r.tab)
		*r = row{}
		if len(b.spare) < maxSpare {
			b.spare = append(b.spare, r)
		}
	}
}

// Sweep implements [Store].
func (m *Memory) Sweep(_ context.Context, account string, most int, ans *Answer) error {
	b := m.open(account)
	defer b.mu.Unlock()
	ans.Reset()
	now := b.now()
	ans.Now = at(now)
	b.sweep(now, most, ans)
	b.compact(now)
	return nil
}
