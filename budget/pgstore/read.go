package pgstore

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
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const selectFreezes = "SELECT scope, reason, until, author, at FROM @freeze WHERE account = $1"

// accountID is an account that may not be there yet; then it has nothing.
const accountID = "(SELECT id FROM @account WHERE name = $1)"

// look asks one statement on a connection of its own, beside the batches: what was answered to anybody is committed, so it
// sees that. $1 is the account. now is the server's time.
func (s *Store) look(ctx context.Context, account string, each func(rows pgx.Rows, now int64) error, query string, args ...any) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return ErrClosed
	}
	var out pgx.Batch
	out.Queue("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	out.Queue(s.sql("SELECT schema, coalesce((SELECT clock FROM @account WHERE name = $2), 0), "+nowIs+" FROM @meta WHERE id = 1"), s.said(), readable(account))
	out.Queue(s.sql(query), append([]any{readable(account)}, args...)...)
	out.Queue("COMMIT")
	var now, clock, server int64
	schema := 0
	b := books{ctx: ctx}
	err := s.pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		b.conn = c.Conn()
		err := b.send(&out, nil, func(rows pgx.Rows) error {
			err := rows.Scan(&schema, &clock, &server)
			if err == nil && schema != len(migrations) {
				err = &SchemaError{Have: schema, Want: len(migrations)}
			}
			now = max(clock, server)
			return err
		}, func(rows pgx.Rows) error { return each(rows, now) })
		if err != nil {
			b.rollback()
		}
		return err
	})
	if cause := context.Cause(ctx); cause != nil && err != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w (%w)", err, cause)
	}
	return named(err)
}

// Caps implements [budget.Store].
func (s *Store) Caps(ctx context.Context, account string, since int64) (set budget.CapSet, err error) {
	set.Full = since <= 0
	err = s.look(ctx, account, func(rows pgx.Rows, _ int64) error {
		r, err := s.scanCap(rows, &set.Version, &set.Full)
		switch {
		case err != nil:
			return err
		case r == nil: // an account without caps
		case r.Removed && set.Full:
		case r.Removed:
			set.Caps = append(set.Caps, budget.CapRecord{Key: r.Key, Version: r.Version, Removed: true})
		default:
			set.Caps = append(set.Caps, *r)
		}
		return nil
	}, `SELECT a.version, a.whole, c.key, c.target, c.per, c.most, c.soft, c.version, c.author, c.at, c.removed, c.meter
		FROM (SELECT id, version, $2::bigint <= 0 OR $2 < floor OR $2 > version AS whole FROM @account WHERE name = $1) a
		LEFT JOIN @cap c ON c.account = a.id AND (a.whole OR c.version > $2) ORDER BY c.key COLLATE "C"`, since)
	return set, err
}

// Changes implements [budget.Store].
func (s *Store) Changes(ctx context.Context, account string) (out []budget.Change, err error) {
	err = s.look(ctx, account, func(rows pgx.Rows, _ int64) (err error) {
		var c budget.Change
		var at int64
		var until *int64
		var scope string
		if err := rows.Scan(&c.Version, &at, &c.By, &c.What, &c.Cap, &c.Old, &c.New, &scope, &c.Reason, &until); err != nil {
			return err
		}
		c.At, c.Until = rules.At(at), toUntil(until)
		if scope != "" {
			if c.Scope, err = decodeScope(scope); err != nil {
				return err
			}
		}
		for _, text := range []*string{&c.By, &c.Cap, &c.Reason} {
			if *text, err = unreadable(*text); err != nil {
				return err
			}
		}
		out = append(out, c)
		return nil
	}, "SELECT version, at, author, what, cap, before, after, scope, reason, until FROM @change WHERE account = "+accountID+" ORDER BY seq")
	return out, err
}

// Snapshot implements [budget.Store].
func (s *Store) Snapshot(ctx context.Context, account string, links []budget.Link) ([]budget.CapState, error) {
	caps, counts := make([][]byte, len(links)), make([][]byte, len(links))
	for i := range links {
		key, err := keyOf(&links[i])
		if err != nil {
			return nil, err
		}
		caps[i], counts[i] = digest(links[i].Cap), key.digest(codec.EncodeScopes(links[i].Scopes))
	}
	out := make([]budget.CapState, 0, len(links))
	err := s.look(ctx, account, func(rows pgx.Rows, now int64) error {
		var i, touched int64
		var buckets string
		count := rules.Count{}
		r, err := s.scanCap(rows, &i, &count.Settled, &count.Held, &count.Unconfirmed, &count.Overrun, &buckets, &touched)
		if err != nil {
			return err
		}
		l := &links[i-1]
		count.Cap, count.Scopes, count.Span = rules.NewCap(*r), slices.Clone(l.Scopes), l.Window
		if count.Buckets, err = decodeBuckets(buckets); err != nil {
			return err
		}
		count.Roll(max(now, touched))
		out = append(out, count.State())
		return nil
	}, `SELECT k.i, coalesce(n.settled, 0), coalesce(n.held, 0), coalesce(n.unconfirmed, 0), coalesce(n.overrun, 0), coalesce(n.buckets, ''), coalesce(n.touched, 0),
			c.key, c.target, c.per, c.most, c.soft, c.version, c.author, c.at, c.removed, c.meter
		FROM unnest($2::bytea[], $3::bytea[]) WITH ORDINALITY AS k (cap, count, i)
		CROSS JOIN LATERAL (SELECT * FROM @cap WHERE account = `+accountID+` AND digest = k.cap AND NOT removed OFFSET 0) c
		LEFT JOIN LATERAL (SELECT * FROM @count WHERE account = c.account AND digest = k.count AND NOT dropped OFFSET 0) n ON true
		ORDER BY k.i`, caps, counts)
	return out, err
}

// Open implements [budget.Store].
func (s *Store) Open(ctx context.Context, account, prefix string) (out []budget.Reservation, err error) {
	err = s.look(ctx, account, func(rows pgx.Rows, _ int64) (err error) {
		var v budget.Reservation
		var id []byte
		var scopes, state, bound, actual string
		var admitted, expires int64
		if err := rows.Scan(&id, &scopes, &state, &v.Idle, &bound, &actual, &admitted, &expires); err != nil {
			return err
		}
		v.ID, v.State, v.Admitted, v.Expires = string(id), budget.State(state), rules.At(admitted), rules.At(expires)
		if v.Scopes, err = decodeScopes(scopes); err != nil {
			return err
		}
		if v.Reserved, err = decodeAmounts(bound); err != nil {
			return err
		}
		if v.Actual, err = decodeAmounts(actual); err != nil {
			return err
		}
		out = append(out, v)
		return nil
	}, "SELECT id, scopes, state, idle, bound, actual, admitted, expires FROM @reservation WHERE account = "+accountID+
		" AND NOT ended AND substring(id FOR length($2::bytea)) = $2 ORDER BY id", []byte(prefix))
	return out, err
}

// Top implements [budget.Store]. It looks at the reservations admitted in the query's time.
func (s *Store) Top(ctx context.Context, account string, q budget.TopQuery) ([]budget.TopRow, error) {
	type sum struct {
		budget.TopRow
		first int64
	}
	sums := map[string]*sum{}
	since, until := codec.Nano(q.Since), codec.Nano(q.Until)
	to := int64(0)
	err := s.look(ctx, account, func(rows pgx.Rows, now int64) error {
		to = q.Span(rules.At(now)).End.UnixNano()
		var text, state, used string
		var drawn *string
		var admitted int64
		if err := rows.Scan(&text, &state, &used, &admitted, &drawn); err != nil {
			return err
		}
		if admitted < q.Span(rules.At(now)).Start.UnixNano() || admitted >= to {
			return nil
		}
		scopes, err := decodeScopes(text)
		if err != nil {
			return err
		}
		amounts, err := decodeAmounts(used)
		if err != nil {
			return err
		}
		n := amounts.Get(q.Meter)
		if drawn != nil { // of an allowance others hold that, or have used it
			if amounts, err = decodeAmounts(*drawn); err != nil {
				return err
			}
			n -= amounts.Get(q.Meter)
		}
		for _, scope := range scopes {
			if scope.Kind != q.By {
				continue
			}
			t := sums[scope.Name]
			if t == nil {
				t = &sum{TopRow: budget.TopRow{Scope: scope}, first: admitted}
				sums[scope.Name] = t
			}
			t.first = min(t.first, admitted)
			t.Reservations++
			if budget.State(state) == budget.StateOpen {
				t.Held = rules.Plus(t.Held, n)
				continue
			}
			t.Settled = rules.Plus(t.Settled, n)
			if budget.State(state).Unconfirmed() {
				t.Unconfirmed = rules.Plus(t.Unconfirmed, n)
			}
		}
		return nil
	}, `SELECT scopes, state, CASE WHEN ended THEN actual ELSE bound END, admitted, CASE WHEN NOT ended AND actual <> '' THEN actual END FROM @reservation
		WHERE account = `+accountID+` AND ($2::text = 'account' OR position(E'\n' || $2 || ' ' IN E'\n' || scopes) > 0)
		AND admitted >= coalesce(nullif($3::bigint, 0), coalesce(nullif($4::bigint, 0), $6::bigint, (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint) - $5::bigint)
		AND ($4 = 0 OR admitted < $4)`, q.By, since, until, int64(q.For)+int64(time.Minute), s.said())
	if err != nil {
		return nil, err
	}
	out := make([]budget.TopRow, 0, len(sums))
	for _, t := range sums {
		minutes := max(time.Duration(to-t.first).Minutes(), 1)
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
	err = s.look(ctx, account, func(rows pgx.Rows, now int64) error {
		f, err := scanFreeze(rows)
		if err == nil && !rules.FreezeOver(f, rules.At(now)) {
			out = append(out, f)
		}
		return err
	}, "SELECT scope, reason, until, author, at FROM @freeze WHERE account = "+accountID)
	slices.SortFunc(out, func(x, y budget.Freeze) int {
		if c := strings.Compare(x.Scope.Kind, y.Scope.Kind); c != 0 {
			return c
		}
		return strings.Compare(x.Scope.Name, y.Scope.Name)
	})
	return out, err
}

func scanFreeze(rows pgx.Rows) (f budget.Freeze, err error) {
	var scope string
	var until *int64
	var at int64
	if err := rows.Scan(&scope, &f.Reason, &until, &f.By, &at); err != nil {
		return f, err
	}
	for _, text := range []*string{&f.Reason, &f.By} {
		if *text, err = unreadable(*text); err != nil {
			return f, err
		}
	}
	f.Until, f.At = toUntil(until), rules.At(at)
	f.Scope, err = decodeScope(scope)
	return f, err
}

var _ budget.Store = (*Store)(nil)
