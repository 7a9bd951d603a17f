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
)

// Reserve implements [Store]. What makes the answer an error or stale comes first, so that a sweep's news is never lost.
func (m *Memory) Reserve(_ context.Context, account string, op *ReserveOp, ans *Answer) error {
	now, hash := m.clock.now(), m.hash(op.ID)
	b := m.open(account)
	now = b.tick(now)
	if b.quickReserve(op, hash, now, ans) {
		b.mu.Unlock()
		return nil
	}
	defer b.mu.Unlock()
	ans.Reset()
	return b.reserve(op, hash, now, ans)
}

func (b *books) reserve(op *ReserveOp, hash uint32, now int64, ans *Answer) error {
	ans.Now = at(now)
	if r := b.byID(op.ID, hash); r != nil {
		return b.again(r, op, now, ans)
	}
	t := b.tab(op)
	if ans.Stale = b.stale(op, t, now, ans); ans.Stale != "" {
		return nil
	}
	if t == nil {
		for _, s := range op.Scopes {
			if s.Kind == ScopeRun && b.isClosed(s, now) {
				return closedRun(s)
			}
		}
	}
	var swap *row
	if op.Swap != "" {
		swap = b.byID(op.Swap, b.hash(op.Swap))
		switch {
		case swap == nil:
			return fmt.Errorf("budget: swap of %q: %w", clip(op.Swap), ErrUnknownReservation)
		case !swap.is(rowIdle):
			return &StateError{Op: "swap", ID: op.Swap, State: rowStates[swap.state], Cause: ErrNotIdle}
		}
	}
	if op.From != "" {
		switch from := b.byID(op.From, b.hash(op.From)); {
		case from == nil:
			return fmt.Errorf("budget: from of %q: %w", clip(op.From), ErrUnknownReservation)
		case !from.is(rowIdle):
			return &StateError{Op: "from", ID: op.From, State: rowStates[from.state], Cause: ErrNotIdle}
		}
	}
	if !op.DryRun {
		b.sweep(now, sweepEach, ans)
		b.compact(now)
		if swap != nil { // it may be forgotten now, which frees nothing
			swap = b.byID(op.Swap, b.hash(op.Swap))
		}
		if t != nil && !t.live() { // that may have taken its last reservation
			t = nil
		}
	}
	b.check(op, t, swap, now, ans)
	if len(ans.Violations) > 0 || op.DryRun {
		return nil
	}
	if t == nil {
		t = b.newTab(op)
	}
	b.admit(op, t, swap, hash, now, ans)
	return nil
}

// again answers an id that was reserved before.
func (b *books) again(r *row, op *ReserveOp, now int64, ans *Answer) error {
	t := b.tabs.all[r.tab]
	switch {
	case r.is(rowIdle) != op.Idle || b.swap(r) != op.Swap || b.from(r) != op.From || !b.bound(r).Equal(op.Amounts) || !slices.Equal(t.scopes, op.Scopes):
		return &StateError{Op: "reserve", ID: op.ID, State: rowStates[r.state], Cause: ErrMismatch}
	case r.state != rowOpen:
		return &StateError{Op: "reserve", ID: op.ID, State: rowStates[r.state], Cause: ErrFinished}
	case now >= r.expires:
		return &StateError{Op: "reserve", ID: op.ID, State: StateExpired, Cause: ErrFinished}
	}
	ans.Duplicate = true
	b.answer(r, t, now, ans)
	return nil
}

// stale says what the ledger has to learn before its request can be booked.
func (b *books) stale(op *ReserveOp, t *tab, now int64, ans *Answer) Stale {
	if op.Version < b.version && op.Version < b.needed(op.Scopes, t) {
		return StaleCaps
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
		if !op.Links[i].Window.Contains(ans.Now) {
			return StaleWindow
		}
	}
	return ""
}

// needed is the least version of the caps that a request for the scopes must know: not every change concerns everybody.
func (b *books) needed(scopes []Scope, t *tab) int64 {
	if t != nil && t.known == b.version {
		return t.need
	}
	need := b.shared
	for _, s := range scopes {
		if a := b.ones[s]; a != nil {
			need = max(need, a.version)
		}
	}
	if t != nil {
		t.known, t.need = b.version, need
	}
	return need
}

// check reports every freeze and every count that refuses.
func (b *books) check(op *ReserveOp, t *tab, swap *row, now int64, ans *Answer) {
	if swap != nil || op.From != "" {
		defer b.free(op, t, swap, b.allowance(op.From, now), now)()
	}
	if len(b.freezes) > 0 {
		b.frozen(op, ans)
	}
	for i := range op.Links {
		c := b.seen(op, t, i)
		c.roll(now)
		if asked := op.Amounts.Get(c.shape.Meter); asked > 0 && c.bounded() && asked > c.room() {
			ans.Violations = append(ans.Violations, c.violation(asked))
		}
	}
	if len(ans.Violations) > 0 || op.DryRun {
		for i := range op.Links {
			var s CapState
			b.seen(op, t, i).show(&s)
			ans.Left = append(ans.Left, s)
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
	return newCount(l, b.caps[l.Cap])
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

// admit books a request that was checked.
func (b *books) admit(op *ReserveOp, t *tab, swap *row, hash uint32, now int64, ans *Answer) {
	if swap != nil && swap.state == rowOpen {
		b.move(swap, rowReleased, &Amounts{}, now, ans)
	}
	r := b.add(op.ID, hash)
	r.tab, r.state, r.actual = t.no, rowOpen, quantities{}
	r.admitted, r.expires = now, now+int64(op.Lease)
	if op.Idle {
		r.flags |= rowIdle
	}
	if op.Swap != "" {
		b.odd(r).swap = op.Swap
	}
	if op.From != "" {
		o := b.odd(r)
		o.from = op.From
		if from := b.allowance(op.From, now); from != nil {
			o.taken = b.draw(op, t, from)
		}
	}
	b.setBound(r, &op.Amounts)
	for _, c := range t.counts {
		c.held = plus(c.held, c.of(&r.bound, op.Amounts.Custom))
	}
	t.rows++
	t.open++
	b.leases.open++
	b.letRun(r)
	b.answer(r, t, now, ans)
}

// sweep ends reservations whose lease is over: charged, never released, because nobody knows whether they were sent.
func (b *books) sweep(now int64, most int, ans *Answer) {
	for most > 0 && len(b.leases.items) > 0 && b.leases.items[0].at <= now {
		x := b.leases.pop()
		if !b.stands(x) {
			continue
		}
		r := b.row(x.row)
		ans.Expired = append(ans.Expired, b.id(r))
		if r.is(rowIdle) || b.releases {
			b.move(r, rowReleased, &Amounts{}, now, ans)
		} else {
			bound := b.bound(r)
			b.move(r, rowExpired, &bound, now, ans)
		}
		most--
	}
}

// Sweep implements [Store].
func (m *Memory) Sweep(_ context.Context, account string, most int, ans *Answer) error {
	ans.Reset()
	b := m.open(account)
	defer b.mu.Unlock()
	now := b.now(m)
	ans.Now = at(now)
	b.sweep(now, most, ans)
	b.compact(now)
	return nil
}
