package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/internal/codec"
	"github.com/gridloop/gridloop/budget/internal/rules"
)

// reader is a connection of its own, so that looking never waits for a commit and never holds one up. What was answered to
// anybody is committed, so it sees that.
type reader struct {
	conn    *conn
	windows map[string]budget.Window
}

// read runs f on one consistent state of the file.
func (s *Store) read(ctx context.Context, account string, f func(r *reader, account, now int64) error) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	select {
	case _, open := <-s.reading:
		if !open {
			return ErrClosed
		}
	case <-ctx.Done():
		return fmt.Errorf("sqlitestore: %w", context.Cause(ctx))
	}
	defer func() { s.reading <- struct{}{} }()
	if err := s.same(); err != nil {
		return err
	}
	err := s.readNow(account, f)
	if err != nil && s.reader != nil { // the next one opens anew
		_ = s.reader.conn.close()
		s.reader = nil
	}
	return named(err)
}

func (s *Store) readNow(name string, f func(r *reader, account, now int64) error) (err error) {
	if s.reader == nil {
		c, err := dial(s.path)
		if err != nil {
			return err
		}
		s.reader = &reader{conn: c, windows: map[string]budget.Window{}}
		if err := c.exec(fmt.Sprintf("PRAGMA busy_timeout = %d", s.busyTime.Milliseconds())); err != nil {
			return err
		}
		if err := c.exec("PRAGMA query_only = 1"); err != nil {
			return err
		}
	}
	c := s.reader.conn
	if err := c.exec("BEGIN"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.exec("COMMIT")) }()
	clock, err := readMeta(c)
	if err != nil {
		return err
	}
	id, found, err := c.number("SELECT id FROM budget_account WHERE name = ?", name)
	if err != nil {
		return err
	}
	if !found {
		id = -1 // has nothing
	}
	return f(s.reader, id, max(clock, s.clock().UnixNano()))
}

// Caps implements [budget.Store].
func (s *Store) Caps(ctx context.Context, account string, since int64) (set budget.CapSet, err error) {
	err = s.read(ctx, account, func(r *reader, account, _ int64) error {
		floor := int64(0)
		err := r.conn.query(func(c columns) error {
			set.Version, floor = c.int(0), c.int(1)
			return nil
		}, "SELECT version, floor FROM budget_account WHERE id = ?", account)
		if err != nil {
			return err
		}
		set.Full = since <= 0 || since < floor || since > set.Version
		if set.Full {
			since = 0
		}
		return r.conn.query(func(c columns) error {
			cap, err := decodeCap(c, r.windows)
			switch {
			case err != nil:
				return err
			case cap.Removed && set.Full:
			case cap.Removed:
				set.Caps = append(set.Caps, budget.CapRecord{Key: cap.Key, Version: cap.Version, Removed: true})
			default:
				set.Caps = append(set.Caps, cap)
			}
			return nil
		}, "SELECT "+capColumns+" FROM budget_cap WHERE account = ? AND version > ? ORDER BY key", account, since)
	})
	return set, err
}

// Changes implements [budget.Store].
func (s *Store) Changes(ctx context.Context, account string) (out []budget.Change, err error) {
	err = s.read(ctx, account, func(r *reader, account, _ int64) error {
		return r.conn.query(func(c columns) (err error) {
			change := budget.Change{Version: c.int(0), At: rules.At(c.int(1)), By: c.text(2), What: c.text(3), Cap: c.text(4), Old: c.int(5), New: c.int(6),
				Reason: c.text(8), Until: toUntil(c, 9)}
			if c.text(7) != "" {
				change.Scope, err = decodeScope(c.text(7))
			}
			out = append(out, change)
			return err
		}, "SELECT version, at, author, what, cap, before, after, scope, reason, until FROM budget_change WHERE account = ? ORDER BY seq", account)
	})
	return out, err
}

// Snapshot implements [budget.Store].
func (s *Store) Snapshot(ctx context.Context, account string, links []budget.Link) (out []budget.CapState, err error) {
	out = make([]budget.CapState, 0, len(links))
	err = s.read(ctx, account, func(r *reader, account, now int64) error {
		for i := range links {
			l := &links[i]
			if _, err := keyOf(l); err != nil {
				return err
			}
			var book *rules.Cap
			err := r.conn.query(func(c columns) error {
				record, err := decodeCap(c, r.windows)
				book = rules.NewCap(record)
				return err
			}, "SELECT "+capColumns+" FROM budget_cap WHERE account = ? AND key = ? AND removed = 0", account, l.Cap)
			if err != nil {
				return err
			}
			if book == nil {
				continue
			}
			count := rules.Count{Cap: book, Scopes: slices.Clone(l.Scopes), Span: l.Window}
			err = r.conn.query(func(c columns) (err error) {
				count.Settled, count.Held, count.Unconfirmed, count.Overrun = c.int(0), c.int(1), c.int(2), c.int(3)
				count.Buckets, err = decodeBuckets(c, 4)
				return err
			}, "SELECT settled, held, unconfirmed, overrun, buckets FROM budget_count WHERE account = ? AND cap = ? AND scopes = ? AND starts = ? AND dropped = 0",
				account, l.Cap, codec.EncodeScopes(l.Scopes), codec.Nano(l.Window.Start))
			if err != nil {
				return err
			}
			count.Roll(now)
			out = append(out, count.State())
		}
		return nil
	})
	return out, err
}

// Open implements [budget.Store].
func (s *Store) Open(ctx context.Context, account, prefix string) (out []budget.Reservation, err error) {
	err = s.read(ctx, account, func(r *reader, account, _ int64) error {
		return r.conn.query(func(c columns) (err error) {
			v := budget.Reservation{ID: c.text(0), State: budget.State(c.text(2)), Idle: c.int(3) != 0, Admitted: rules.At(c.int(6)), Expires: rules.At(c.int(7))}
			if !strings.HasPrefix(v.ID, prefix) {
				return nil
			}
			if v.Scopes, err = decodeScopes(c.text(1)); err != nil {
				return err
			}
			if v.Reserved, err = decodeAmounts(c.text(4)); err != nil {
				return err
			}
			if v.Actual, err = decodeAmounts(c.text(5)); err != nil {
				return err
			}
			out = append(out, v)
			return nil
		}, "SELECT id, scopes, state, idle, bound, actual, admitted, expires FROM budget_reservation WHERE account = ? AND ended = 0", account)
	})
	slices.SortFunc(out, func(x, y budget.Reservation) int { return strings.Compare(x.ID, y.ID) })
	return out, err
}

// errEnough ends a query that has seen what it came for.
var errEnough = errors.New("enough")

// Top implements [budget.Store]. It looks at the reservations admitted since the query's beginning.
func (s *Store) Top(ctx context.Context, account string, q budget.TopQuery) ([]budget.TopRow, error) {
	type sum struct {
		budget.TopRow
		first int64
	}
	sums := map[string]*sum{}
	from, to, now := int64(0), int64(0), int64(0)
	err := s.read(ctx, account, func(r *reader, account, at int64) error {
		now = at
		span := q.Span(rules.At(now))
		from, to = span.Start.UnixNano(), span.End.UnixNano()
		err := r.conn.query(func(c columns) error {
			if c.int(3) < from {
				return errEnough
			}
			if c.int(3) >= to || c.int(4) != account || !strings.Contains("\n"+c.text(0), "\n"+q.By+" ") && q.By != budget.ScopeAccount {
				return nil
			}
			scopes, err := decodeScopes(c.text(0))
			if err != nil {
				return err
			}
			state := budget.State(c.text(1))
			amounts, err := decodeAmounts(c.text(2))
			if err != nil {
				return err
			}
			used := amounts.Get(q.Meter)
			if c.text(5) != "" { // of an allowance others hold that, or have used it
				drawn, err := decodeAmounts(c.text(5))
				if err != nil {
					return err
				}
				used -= drawn.Get(q.Meter)
			}
			for _, scope := range scopes {
				if scope.Kind != q.By {
					continue
				}
				t := sums[scope.Name]
				if t == nil {
					t = &sum{TopRow: budget.TopRow{Scope: scope}}
					sums[scope.Name] = t
				}
				t.first = c.int(3) // they come newest first
				t.Reservations++
				if state == budget.StateOpen {
					t.Held = rules.Plus(t.Held, used)
					continue
				}
				t.Settled = rules.Plus(t.Settled, used)
				if state.Unconfirmed() {
					t.Unconfirmed = rules.Plus(t.Unconfirmed, used)
				}
			}
			return ctx.Err()
		}, "SELECT scopes, state, CASE ended WHEN 0 THEN bound ELSE actual END, admitted, account, CASE ended WHEN 0 THEN actual ELSE '' END FROM budget_reservation ORDER BY seq DESC")
		if errors.Is(err, errEnough) {
			err = nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	out := make([]budget.TopRow, 0, len(sums))
	for _, t := range sums {
		minutes := max(time.Duration(min(now, to)-t.first).Minutes(), 1)
		t.PerMinute = int64(float64(rules.Plus(t.Settled, t.Held)) / minutes)
		out = append(out, t.TopRow)
	}
	slices.SortFunc(out, func(x, y budget.TopRow) int {
		a, b := rules.Plus(x.Settled, x.Held), rules.Plus(y.Settled, y.Held)
		switch {
		case a > b:
			return -1
		case a < b:
			return 1
		}
		return strings.Compare(x.Scope.Name, y.Scope.Name)
	})
	return out[:min(len(out), max(q.Limit, 0))], nil
}

// Freezes implements [budget.Store].
func (s *Store) Freezes(ctx context.Context, account string) (out []budget.Freeze, err error) {
	err = s.read(ctx, account, func(r *reader, account, now int64) error {
		return readFreezes(r.conn, account, func(f budget.Freeze) {
			if !rules.FreezeOver(f, rules.At(now)) {
				out = append(out, f)
			}
		})
	})
	slices.SortFunc(out, func(x, y budget.Freeze) int {
		if c := strings.Compare(x.Scope.Kind, y.Scope.Kind); c != 0 {
			return c
		}
		return strings.Compare(x.Scope.Name, y.Scope.Name)
	})
	return out, err
}

func readFreezes(c *conn, account int64, each func(budget.Freeze)) error {
	return c.query(func(r columns) error {
		scope, err := decodeScope(r.text(0))
		if err != nil {
			return err
		}
		each(budget.Freeze{Scope: scope, Reason: r.text(1), Until: toUntil(r, 2), By: r.text(3), At: rules.At(r.int(4))})
		return nil
	}, "SELECT scope, reason, until, author, at FROM budget_freeze WHERE account = ?", account)
}

var _ budget.Store = (*Store)(nil)
