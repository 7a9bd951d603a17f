package redisstore

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// Snapshot implements [budget.Store].
func (s *Store) Snapshot(ctx context.Context, account string, links []budget.Link) ([]budget.CapState, error) {
	a := s.open(account)
	op := packed(nil).array(2).text("snapshot").array(len(links))
	for i := range links {
		key, err := countKey(nil, &links[i])
		if err != nil {
			return nil, err
		}
		op = op.text(string(key))
	}
	u, err := s.do(ctx, account, reserving, op)
	if err != nil {
		return nil, err
	}
	u.array()
	word, now := u.text(), u.int()
	if word != "ok" {
		return nil, nonsense("an answer")
	}
	out := make([]budget.CapState, 0, len(links))
	for n := u.array(); n >= 7; n -= 7 {
		c, err := a.names.read([]byte(u.text()))
		if err != nil {
			return nil, err
		}
		state := c.state(u.int(), u.int(), u.int(), u.int(), u.int(), u.int())
		out = append(out, state)
		a.remember(c, &state, now)
	}
	return out, done(u)
}

// reservation reads one from a list.
func (u *unpacked) reservation() (budget.Reservation, error) {
	var r budget.Reservation
	u.array()
	r.ID = u.text()
	var err error
	if r.Scopes, err = parseScopes(u.text()); err != nil {
		return r, err
	}
	r.State, r.Idle = budget.State(u.text()), u.int() != 0
	if r.Reserved, err = parseAmounts(u.text()); err != nil {
		return r, err
	}
	if r.Actual, err = parseAmounts(u.text()); err != nil {
		return r, err
	}
	r.Admitted, r.Expires = fromMicros(u.int()), fromMicros(u.int())
	return r, done(u)
}

// Open implements [budget.Store]. It is one step, a few milliseconds for every thousand open reservations.
func (s *Store) Open(ctx context.Context, account, prefix string) ([]budget.Reservation, error) {
	u, err := s.plain(ctx, account, reserving, packed(nil).array(2).text("open").text(prefix))
	if err != nil {
		return nil, err
	}
	var out []budget.Reservation
	for range u.array() {
		r, err := u.reservation()
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(x, y budget.Reservation) int { return strings.Compare(x.ID, y.ID) })
	return out, done(u)
}

// Top implements [budget.Store]. It looks at every reservation that is kept, some hundred in a step, so that it stops
// nobody else; what is reserved meanwhile may or may not be in it.
func (s *Store) Top(ctx context.Context, account string, q budget.TopQuery) ([]budget.TopRow, error) {
	rows := map[string]budget.Reservation{}
	var now time.Time
	back := q.For
	if past := q.Span(time.Now()).Start; !q.Since.IsZero() || !q.Until.IsZero() {
		back = max(time.Since(past), 0) + time.Hour // the server's clock may be another; sumUp is exact
	}
	for cursor := "0"; ; {
		op := packed(nil).array(4).text("scan").text(cursor).int(int64(back / time.Microsecond)).text(q.By)
		u, err := s.do(ctx, account, reserving, op)
		if err != nil {
			return nil, err
		}
		u.array()
		word := u.text()
		now = fromMicros(u.int())
		for range u.array() {
			r, err := u.reservation()
			if err != nil {
				return nil, err
			}
			rows[r.ID] = r // a scan may answer one twice
		}
		cursor = u.text()
		if word != "ok" || u.bad {
			return nil, nonsense("an answer")
		}
		if cursor == "0" {
			break
		}
	}
	return sumUp(rows, q, now), nil
}

func sumUp(rows map[string]budget.Reservation, q budget.TopQuery, now time.Time) []budget.TopRow {
	type sum struct {
		budget.TopRow
		first time.Time
	}
	all := map[budget.Scope]*sum{}
	span, end := q.Span(now), now
	if !q.Until.IsZero() && q.Until.Before(end) {
		end = q.Until
	}
	for _, r := range rows {
		if !span.Contains(r.Admitted) {
			continue
		}
		for _, scope := range r.Scopes {
			t := all[scope]
			if t == nil {
				t = &sum{TopRow: budget.TopRow{Scope: scope}, first: r.Admitted}
				all[scope] = t
			}
			if r.Admitted.Before(t.first) {
				t.first = r.Admitted
			}
			t.Reservations++
			if r.State == budget.StateOpen {
				t.Held = plus(t.Held, r.Reserved.Get(q.Meter)-r.Actual.Get(q.Meter)) // the rest was drawn
				continue
			}
			t.Settled = plus(t.Settled, r.Actual.Get(q.Meter))
			if r.State.Unconfirmed() {
				t.Unconfirmed = plus(t.Unconfirmed, r.Actual.Get(q.Meter))
			}
		}
	}
	out := make([]budget.TopRow, 0, len(all))
	for _, t := range all {
		minutes := max(end.Sub(t.first).Minutes(), 1)
		t.PerMinute = int64(float64(plus(t.Settled, t.Held)) / minutes)
		out = append(out, t.TopRow)
	}
	slices.SortFunc(out, func(x, y budget.TopRow) int {
		a, b := plus(x.Settled, x.Held), plus(y.Settled, y.Held)
		switch {
		case a > b:
			return -1
		case a < b:
			return 1
		}
		return strings.Compare(x.Scope.Name, y.Scope.Name)
	})
	return out[:min(len(out), q.Limit)]
}

func plus(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
