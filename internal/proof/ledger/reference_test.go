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
	from              string         // the allowance's id
	out               budget.Amounts // of the allowance, because of this one
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
			held += e.bound.Get(c.Meter) - m.lent(e).Get(c.Meter)
		case !e.open() && spent:
			settled += e.actual.Get(c.Meter)
			if e.state.Unconfirmed() {
				unconfirmed += e.actual.Get(c.Meter)
			}
		}
	}
	return settled, held, unconfirmed
}

// both makes amounts of what f answers for the meters of the caps.
func both(f func(budget.Meter) int64) budget.Amounts {
	return budget.Amounts{NanoUSD: f(budget.MeterMoney), Tokens: f(budget.MeterTokens)}
}

// lent is what is out of an allowance.
func (m *reference) lent(a *entry) (sum budget.Amounts) {
	for _, e := range m.rows {
		if e.from != "" && m.rows[e.from] == a {
			sum = sum.Add(e.out)
		}
	}
	return sum
}

func (e *entry) stands(now time.Time) bool { return e != nil && e.open() && now.Before(e.expires) }

// lends is what a request of the tenant can have of an allowance.
func (m *reference) lends(a *entry, tenant string, asked budget.Amounts, now time.Time) budget.Amounts {
	if !a.stands(now) {
		return budget.Amounts{}
	}
	lent := m.lent(a)
	return both(func(meter budget.Meter) int64 {
		for _, c := range m.caps {
			if all, _ := counts(c, a, tenant, now); c.Meter == meter && !all {
				return 0
			}
		}
		return min(asked.Get(meter), a.bound.Get(meter)-lent.Get(meter))
	})
}

// end is how an open reservation ends: what it has not used of an allowance that stands is not out any more.
func (m *reference) end(e *entry, state budget.State, actual budget.Amounts, now time.Time) {
	if a := m.rows[e.from]; e.open() && a.stands(now) {
		used := actual
		if e.idle {
			used = m.lent(e)
		}
		e.out = both(func(meter budget.Meter) int64 {
			return e.out.Get(meter) - min(e.out.Get(meter), max(e.bound.Get(meter)-used.Get(meter), 0))
		})
	}
	e.state, e.actual = state, actual
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

func (m *reference) expire(ids []string, now time.Time) {
	for _, id := range ids {
		if e := m.rows[id]; e.idle {
			m.end(e, budget.StateReleased, budget.Amounts{}, now)
		} else {
			m.end(e, budget.StateExpired, e.bound, now)
		}
	}
}

// admits is nil, or the gravest reason to refuse, when the swapped reservation has ended and the draw is free.
func (m *reference) admits(tenant string, asked budget.Amounts, from *entry, draw budget.Amounts, now time.Time) error {
	grave := []error{nil, budget.ErrHeld, budget.ErrSpent, budget.ErrTooBig}
	worst := 0
	for _, c := range m.caps {
		settled, held, _ := m.stands(c, tenant, now)
		if from != nil {
			if all, _ := counts(c, from, tenant, now); all {
				held -= draw.Get(c.Meter)
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

// reserve is nil if the request is granted, or the gravest reason to refuse it.
func (m *reference) reserve(r budget.Request, tenant string, now time.Time) error {
	before := entry{}
	swap, from := m.rows[r.Swap], m.rows[r.From]
	if swap != nil && swap.open() {
		before = *swap
		m.end(swap, budget.StateReleased, budget.Amounts{}, now)
	}
	draw := m.lends(from, tenant, r.Amounts, now)
	if reason := m.admits(tenant, r.Amounts, from, draw, now); reason != nil {
		if before.open() {
			*swap = before
		}
		return reason
	}
	m.rows[r.ID] = &entry{tenant: tenant, bound: r.Amounts, state: budget.StateOpen, idle: r.Idle, heard: map[string]budget.Amounts{},
		admitted: now, expires: now.Add(r.Lease), from: r.From, out: draw}
	return nil
}

func (m *reference) settle(e *entry, actual budget.Amounts, now time.Time) error {
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
		m.end(e, budget.StateSettled, actual, now)
	}
	return nil
}

func (m *reference) charge(e *entry, now time.Time) error {
	switch {
	case e.idle:
		return budget.ErrNotIdle
	case e.state == budget.StateVoided:
		return budget.ErrFinished
	case e.open():
		m.end(e, budget.StateCharged, e.bound, now)
	}
	return nil
}

func (m *reference) void(e *entry, now time.Time) error {
	switch {
	case e.state == budget.StateSettled:
		return budget.ErrFinished
	case e.state != budget.StateReleased:
		m.end(e, budget.StateVoided, budget.Amounts{}, now)
	}
	return nil
}

func (m *reference) release(e *entry, now time.Time) error {
	if !e.idle {
		return budget.ErrNotIdle
	}
	if e.open() {
		m.end(e, budget.StateReleased, budget.Amounts{}, now)
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
