package pgstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/internal/group"
)

// act runs one operation on a reservation.
func (s *Store) act(ctx context.Context, name, op, id string, ans *budget.Answer, f func(r *row, now int64) error) error {
	return s.do(ctx, name, &task{rank: group.Settling, id: id, run: func(b *books) error {
		ans.Reset()
		ans.Now = b.at()
		r, err := b.row(id)
		if err != nil {
			return err
		}
		if r == nil {
			return unknown(op, id)
		}
		of, err := b.of(r)
		if err != nil {
			return err
		}
		wasOpen := r.State == budget.StateOpen
		if err := f(r, b.now); err != nil {
			return err
		}
		b.touchTurned(r)
		if ans.Duplicate {
			return nil
		}
		b.touch(r)
		if wasOpen && r.State != budget.StateOpen {
			b.ended++
			b.touchOpen(of)
		}
		return nil
	}})
}

func unknown(op, id string) error {
	if len(id) > 64 {
		id = strings.ToValidUTF8(id[:64], "") + "..."
	}
	return fmt.Errorf("budget: %s of %q: %w", op, id, budget.ErrUnknownReservation)
}

// Settle implements [budget.Store].
func (s *Store) Settle(ctx context.Context, account, id string, actual budget.Amounts, ans *budget.Answer) error {
	return s.act(ctx, account, "settle", id, ans, func(r *row, now int64) error { return r.Settle(actual, now, ans) })
}

// Charge implements [budget.Store].
func (s *Store) Charge(ctx context.Context, account, id string, ans *budget.Answer) error {
	return s.act(ctx, account, "charge", id, ans, func(r *row, now int64) error { return r.Charge(now, ans) })
}

// Void implements [budget.Store].
func (s *Store) Void(ctx context.Context, account, id string, proof budget.Proof, ans *budget.Answer) error {
	if err := proof.Validate(); err != nil {
		return err
	}
	return s.act(ctx, account, "void", id, ans, func(r *row, now int64) error { return r.Void(now, ans) })
}

// Release implements [budget.Store].
func (s *Store) Release(ctx context.Context, account, id string, ans *budget.Answer) error {
	return s.act(ctx, account, "release", id, ans, func(r *row, now int64) error { return r.Release(now, ans) })
}

// Renew implements [budget.Store].
func (s *Store) Renew(ctx context.Context, account, id string, lease time.Duration, ans *budget.Answer) error {
	return s.act(ctx, account, "renew", id, ans, func(r *row, now int64) error { return r.Renew(lease, now, ans) })
}

// TrueUp implements [budget.Store].
func (s *Store) TrueUp(ctx context.Context, account, id string, actual budget.Amounts, source string, ans *budget.Answer) error {
	return s.act(ctx, account, "true-up", id, ans, func(r *row, _ int64) error { return r.TrueUp(actual, source, ans) })
}
