package budget

import (
	"context"
	"slices"
	"strings"
	"time"
)

func (b *books) reservation(r *row) Reservation {
	return Reservation{ID: b.id(r), Scopes: slices.Clone(b.tabs.all[r.tab].scopes), State: rowStates[r.state], Idle: r.is(rowIdle),
		Reserved: b.bound(r), Actual: b.actual(r), Admitted: at(r.admitted), Expires: at(r.expires)}
}

// Snapshot implements [Store].
func (m *Memory) Snapshot(_ context.Context, account string, links []Link) ([]CapState, error) {
	b := m.open(account)
	defer b.mu.Unlock()
	now := b.now(m)
	out := make([]CapState, 0, len(links))
	for i := range links {
		l := &links[i]
		book := b.caps[l.Cap]
		if book == nil {
			continue
		}
		c := b.counts[keyOf(l)]
		if c == nil {
			c = newCount(l, book)
		}
		c.roll(now)
		var s CapState
		c.show(&s)
		out = append(out, s)
	}
	return out, nil
}

// Open implements [Store].
func (m *Memory) Open(_ context.Context, account, prefix string) ([]Reservation, error) {
	b := m.open(account)
	defer b.mu.Unlock()
	var out []Reservation
	for r := range b.kept() {
		if r.state == rowOpen && strings.HasPrefix(b.id(r), prefix) {
			out = append(out, b.reservation(r))
		}
	}
	slices.SortFunc(out, func(x, y Reservation) int { return strings.Compare(x.ID, y.ID) })
	return out, nil
}

// Top implements [Store]. It looks at every reservation that is kept.
func (m *Memory) Top(_ context.Context, account string, q TopQuery) ([]TopRow, error) {
	b := m.open(account)
	defer b.mu.Unlock()
	now := b.now(m)
	span := q.Span(time.Unix(0, now))
	from, to := span.Start.UnixNano(), span.End.UnixNano()
	type sum struct {
		TopRow
		first int64
	}
	sums := map[string]*sum{}
	for r := range b.kept() {
		if r.admitted < from || r.admitted >= to {
			continue
		}
		for _, s := range b.tabs.all[r.tab].scopes {
			if s.Kind != q.By {
				continue
			}
			t := sums[s.Name]
			if t == nil {
				t = &sum{TopRow: TopRow{Scope: s}, first: r.admitted}
				sums[s.Name] = t
			}
			t.first = min(t.first, r.admitted)
			t.Reservations++
			if r.state == rowOpen {
				t.Held = plus(t.Held, b.bound(r).Get(q.Meter)-b.actual(r).Get(q.Meter))
				continue
			}
			actual := b.actual(r).Get(q.Meter)
			t.Settled = plus(t.Settled, actual)
			if r.state.unconfirmed() {
				t.Unconfirmed = plus(t.Unconfirmed, actual)
			}
		}
	}
	out := make([]TopRow, 0, len(sums))
	for _, t := range sums {
		minutes := max(time.Duration(min(now, to)-t.first).Minutes(), 1)
		t.PerMinute = int64(float64(plus(t.Settled, t.Held)) / minutes)
		out = append(out, t.TopRow)
	}
	slices.SortFunc(out, func(x, y TopRow) int {
		a, b := plus(x.Settled, x.Held), plus(y.Settled, y.Held)
		switch {
		case a > b:
			return -1
		case a < b:
			return 1
		}
		return strings.Compare(x.Scope.Name, y.Scope.Name)
	})
	return out[:min(len(out), q.Limit)], nil
}
