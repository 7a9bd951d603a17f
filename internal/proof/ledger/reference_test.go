package ledger

import (
	"slices"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// reference is a ledger as its documentation describes it, and nothing else: it keeps every reservation, and every question
// is a sum over all of them.
type reference struct {
	caps []budget.Cap
	rows map[string]*entry
}

type entry struct {
	tenant            string
	bound, actual     budget.Amounts
	state             budget.State
	idle, said        bool
	usage             budget.Amounts
	heard             map[string]budget.Amounts
	admitted, expires time.Time
}

func (e *entry) open() bool { return e.state == budget.StateOpen }

// counts reports whether a cap counts the reservation at now, and whether it counts what that has spent.
func counts(c budget.Cap, e *entry, tenant string, now time.Time) (all, spent bool) {
	if c.For.String() != budget.ScopeAccount && e.tenant != tenant {
		return false, false
	}
	if length, bucket := c.Per.Rolls(); length > 0 {
		whole := e.admitted.UnixNano()/int64(bucket) + 1
		return true, now.UnixNano() < whole*int64(bucket)+int64(length)
	}
	same := c.Per.At(e.admitted) == c.Per.At(now)
	return same, same
}

func (m *reference) stands(c budget.Cap, tenant string, now time.Time) (settled, held, unconfirmed int64) {
	for _, e := range m.rows {
		all, spent := counts(c, e, tenant, now)
		switch {
		case all && e.open():
			held += e.bound.Get(c.Meter)
		case !e.open() && spent:
			settled += e.actual.Get(c.Meter)
			if e.state.Unconfirmed() {
				unconfirmed += e.actual.Get(c.Meter)
			}
		}
	}
	return settled, held, unconfirmed
}

// due are the open reservations whose lease is over.
func (m *reference) due(now time.Time) (ids []string) {
	for id, e := range m.rows {
		if e.open() && !now.Before(e.expires) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (m *reference) expire(ids []string) {
	for _, id := range ids {
		if e := m.rows[id]; e.idle {
			e.state = budget.StateReleased
		} else {
			e.state, e.actual = budget.StateExpired, e.bound
		}
	}
}

// admits is nil, or the gravest reason to refuse.
func (m *reference) admits(tenant string, asked budget.Amounts, swap *entry, now time.Time) error {
	grave := []error{nil, budget.ErrHeld, budget.ErrSpent, budget.ErrTooBig}
	worst := 0
	for _, c := range m.caps {
		settled, held, _ := m.stands(c, tenant, now)
		if swap != nil && swap.open() {
			if all, _ := counts(c, swap, tenant, now); all {
				held -= swap.bound.Get(c.Meter)
			}
		}
		n, why := asked.Get(c.Meter), 0
		switch {
		case n == 0 || settled+held+n <= c.Limit:
		case n > c.Limit:
			why = 3
		case settled+n <= c.Limit:
			why = 1
		default:
			why = 2
		}
		worst = max(worst, why)
	}
	return grave[worst]
}

func (m *reference) reserve(id, tenant string, asked budget.Amounts, idle bool, swap *entry, now time.Time, lease time.Duration) {
	if swap != nil && swap.open() {
		swap.state = budget.StateReleased
	}
	m.rows[id] = &entry{tenant: tenant, bound: asked, state: budget.StateOpen, idle: idle, heard: map[string]budget.Amounts{}, admitted: now, expires: now.Add(lease)}
}

func (e *entry) settle(actual budget.Amounts) error {
	switch {
	case e.idle:
		return budget.ErrNotIdle
	case e.said && !e.usage.Equal(actual):
		return budget.ErrMismatch
	case e.said:
		return nil
	case e.state == budget.StateVoided:
		return budget.ErrFinished
	}
	e.said, e.usage = true, actual
	if len(e.heard) == 0 { // a receipt knows better
		e.state, e.actual = budget.StateSettled, actual
	}
	return nil
}

func (e *entry) charge() error {
	switch {
	case e.idle:
		return budget.ErrNotIdle
	case e.state == budget.StateVoided:
		return budget.ErrFinished
	case e.open():
		e.state, e.actual = budget.StateCharged, e.bound
	}
	return nil
}

func (e *entry) void() error {
	switch {
	case e.state == budget.StateSettled:
		return budget.ErrFinished
	case e.state != budget.StateReleased:
		e.state, e.actual = budget.StateVoided, budget.Amounts{}
	}
	return nil
}

func (e *entry) release() error {
	if !e.idle {
		return budget.ErrNotIdle
	}
	if e.open() {
		e.state = budget.StateReleased
	}
	return nil
}

func (e *entry) renew(lease time.Duration, now time.Time) error {
	if !e.open() || !now.Before(e.expires) {
		return budget.ErrFinished
	}
	e.expires = now.Add(lease)
	return nil
}

func (e *entry) trueUp(actual budget.Amounts, source string) error {
	known, heard := e.heard[source]
	switch {
	case e.open():
		return budget.ErrStillOpen
	case heard && !known.Equal(actual):
		return budget.ErrMismatch
	case !heard:
		e.heard[source] = actual
		e.state, e.actual = budget.StateSettled, actual
	}
	return nil
}

func (m *reference) ids() []string {
	ids := make([]string, 0, len(m.rows))
	for id := range m.rows {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
