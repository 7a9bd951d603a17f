package redisstore

import (
	"context"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// Reserve implements [budget.Store].
func (s *Store) Reserve(ctx context.Context, account string, op *budget.ReserveOp, ans *budget.Answer) error {
	ans.Reset()
	if err := checkAmounts(op.Amounts); err != nil {
		return err
	}
	links := packed(make([]byte, 0, 64+160*len(op.Links))).array(3 * len(op.Links))
	for i := range op.Links {
		l := &op.Links[i]
		key, err := countKey(l)
		if err != nil {
			return err
		}
		links = links.text(key).int(micros(nano(l.Window.Start))).int(micros(nano(l.Window.End)))
	}
	p := packed(make([]byte, 0, 128+len(links)+len(op.ID)+32*len(op.Scopes)))
	p = p.array(10).text("reserve").text(op.ID).flag(op.Idle).text(op.Swap).flag(op.DryRun).int(op.Version).int(micros(int64(op.Lease)))
	p = p.texts(scopeTexts(op.Scopes)).text(amountsText(op.Amounts))
	p = append(p, links...)
	u, err := s.do(ctx, account, reserving, p)
	if err != nil {
		return err
	}
	m := s.open(account).memory
	if err := s.answer(m, "reserve", u, ans); err != nil {
		return err
	}
	m.end(ans.Expired...)
	if ans.State == budget.StateOpen { // only what was granted: who does not know dispatches nothing
		m.hold(op.ID, p, op.Lease)
		if op.Swap != "" {
			m.end(op.Swap)
		}
	}
	return nil
}

// act is one operation on a reservation.
func (s *Store) act(ctx context.Context, account, op, id string, p packed, ans *budget.Answer) error {
	ans.Reset()
	u, err := s.do(ctx, account, settling, p)
	if err != nil {
		return err
	}
	m := s.open(account).memory
	if err := s.answer(m, op, u, ans); err != nil {
		return err
	}
	if ans.State != budget.StateOpen {
		m.end(id)
	}
	return nil
}

// Settle implements [budget.Store].
func (s *Store) Settle(ctx context.Context, account, id string, actual budget.Amounts, ans *budget.Answer) error {
	if err := checkAmounts(actual); err != nil {
		return err
	}
	return s.act(ctx, account, "settle", id, packed(nil).array(3).text("settle").text(id).text(amountsText(actual)), ans)
}

// Charge implements [budget.Store].
func (s *Store) Charge(ctx context.Context, account, id string, ans *budget.Answer) error {
	return s.act(ctx, account, "charge", id, packed(nil).array(2).text("charge").text(id), ans)
}

// Void implements [budget.Store].
func (s *Store) Void(ctx context.Context, account, id string, proof budget.Proof, ans *budget.Answer) error {
	if err := proof.Validate(); err != nil {
		return err
	}
	return s.act(ctx, account, "void", id, packed(nil).array(2).text("void").text(id), ans)
}

// Release implements [budget.Store].
func (s *Store) Release(ctx context.Context, account, id string, ans *budget.Answer) error {
	return s.act(ctx, account, "release", id, packed(nil).array(2).text("release").text(id), ans)
}

// Renew implements [budget.Store].
func (s *Store) Renew(ctx context.Context, account, id string, lease time.Duration, ans *budget.Answer) error {
	err := s.act(ctx, account, "renew", id, packed(nil).array(3).text("renew").text(id).int(micros(int64(lease))), ans)
	if err == nil {
		s.open(account).memory.renew(id, lease)
	}
	return err
}

// TrueUp implements [budget.Store].
func (s *Store) TrueUp(ctx context.Context, account, id string, actual budget.Amounts, source string, ans *budget.Answer) error {
	if err := checkAmounts(actual); err != nil {
		return err
	}
	return s.act(ctx, account, "true-up", id, packed(nil).array(4).text("true-up").text(id).text(amountsText(actual)).text(source), ans)
}

// maxSweep bounds how long one sweep keeps the server from anything else.
const maxSweep = 1000

// Sweep implements [budget.Store]. One step ends at most a thousand; more are several steps.
func (s *Store) Sweep(ctx context.Context, account string, most int, ans *budget.Answer) error {
	ans.Reset()
	m := s.open(account).memory
	var all budget.Answer
	for most > 0 {
		n := min(most, maxSweep)
		u, err := s.do(ctx, account, settling, packed(nil).array(2).text("sweep").int(int64(n)))
		if err != nil {
			return err
		}
		if err := s.answer(m, "sweep", u, ans); err != nil {
			return err
		}
		m.end(ans.Expired...)
		all.Crossed, all.Expired = append(all.Crossed, ans.Crossed...), append(all.Expired, ans.Expired...)
		if len(ans.Expired) < n {
			break
		}
		most -= n
	}
	ans.Crossed, ans.Expired = all.Crossed, all.Expired
	return nil
}
