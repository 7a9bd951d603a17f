package redisstore

import (
	"context"
	"slices"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// Reserve implements [budget.Store].
func (s *Store) Reserve(ctx context.Context, account string, op *budget.ReserveOp, ans *budget.Answer) error {
	ans.Reset()
	if err := checkAmounts(op.Amounts); err != nil {
		return err
	}
	a := s.open(account)
	h := &hold{id: op.ID, swap: op.Swap, from: op.From, scopes: scopesText(op.Scopes), bound: amountsText(op.Amounts), idle: op.Idle,
		lease: op.Lease, counts: make([]*counted, len(op.Links))}
	key := make([]byte, 0, 256)
	for i := range op.Links {
		var err error
		if key, err = countKey(key[:0], &op.Links[i]); err != nil {
			return err
		}
		if h.counts[i], err = a.names.read(key); err != nil {
			return err
		}
	}
	for range 3 {
		p, need := a.reserving(h, op.Version, op.DryRun)
		if err := s.ask(ctx, a, reserving, "reserve", p, need, h, ans); err != nil {
			return err
		}
		if ans.Stale != staleNames {
			a.memory.end(ans.Expired...)
			if ans.State == budget.StateOpen { // only what was granted: who does not know dispatches nothing
				h.again = ans.Duplicate
				a.memory.hold(h)
				if op.Swap != "" {
					a.memory.end(op.Swap)
				}
			}
			return nil
		}
		a.names.forget(h.counts)
	}
	return nonsense("three times that ids are not known")
}

// reserving writes a reserve, by the ids of its counts if they are known.
func (a *account) reserving(h *hold, version int64, dry bool) (packed, need) {
	p := make(packed, 0, 64+len(h.id)+len(h.swap)+len(h.from)+len(h.scopes)+len(h.bound)+idSize*len(h.counts))
	p = append(p, 'R').short(len(h.counts)).bit(h.idle).bit(dry).double(version).double(micros(int64(h.lease)))
	p = p.flat(h.id).flat(h.swap).flat(h.from).flat(h.scopes).flat(h.bound)
	if p, ok := a.names.ids(p, h.counts); ok {
		return p, h.need()
	}
	return h.pack(version, dry), reservations
}

// need is plain if nothing but the counts and the reservation itself is concerned.
func (h *hold) need() need {
	if h.swap != "" || h.from != "" || slices.ContainsFunc(h.counts, func(c *counted) bool { return c.rolls > 0 }) {
		return reservations
	}
	return plain
}

// pack writes a reserve by the keys of its counts.
func (h *hold) pack(version int64, dry bool) packed {
	p := packed(nil).array(12).text("reserve").text(h.id).flag(h.idle).text(h.swap).flag(dry).int(version).int(micros(int64(h.lease)))
	p = p.text(h.scopes).text(h.bound).array(3 * len(h.counts))
	for _, c := range h.counts {
		p = p.text(c.key).int(micros(nano(c.span.Start))).int(micros(nano(c.span.End)))
	}
	return p.text(h.from).text(h.taken)
}

// ask sends one operation about a reservation and reads the answer. h is the reservation as this process has asked for it, nil
// if it has not.
func (s *Store) ask(ctx context.Context, a *account, rank rank, op string, p packed, need need, h *hold, ans *budget.Answer) error {
	ans.Reset()
	said, err := a.do(ctx, rank, p, need)
	if err != nil {
		return named(err)
	}
	unmet, err := a.answer(op, said, h, ans)
	if err != nil || len(unmet) == 0 {
		return err
	}
	ask := packed(nil).array(2).text("names").texts(unmet)
	u, err := s.plain(ctx, a.name, settling, ask)
	if err != nil {
		return err
	}
	for i, key := range u.texts() {
		if key == "" || i >= len(unmet) {
			continue // gone meanwhile
		}
		c, err := a.names.read([]byte(key))
		if err != nil {
			return err
		}
		a.names.is(c, unmet[i])
	}
	_, err = a.answer(op, said, h, ans)
	return err
}

// act is one operation on a reservation.
func (s *Store) act(ctx context.Context, account, op, id string, p packed, ans *budget.Answer) error {
	a := s.open(account)
	return a.ended(id, ans, s.ask(ctx, a, settling, op, p, reservations, nil, ans))
}

// ended forgets a reservation that is not open any more.
func (a *account) ended(id string, ans *budget.Answer, err error) error {
	if err == nil && ans.State != budget.StateOpen {
		a.memory.end(id)
	}
	return err
}

// Settle implements [budget.Store].
func (s *Store) Settle(ctx context.Context, account, id string, actual budget.Amounts, ans *budget.Answer) error {
	if err := checkAmounts(actual); err != nil {
		return err
	}
	a := s.open(account)
	h := a.memory.held(id)
	need := plain
	if h != nil {
		if need = h.need(); h.again {
			h = nil
		}
	}
	p := append(make(packed, 0, 64+len(id)), 'S').bit(h != nil).flat(id).flat(amountsText(actual))
	return a.ended(id, ans, s.ask(ctx, a, settling, "settle", p, need, h, ans))
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
	a := s.open(account)
	var all budget.Answer
	for most > 0 {
		n := min(most, maxSweep)
		if err := s.ask(ctx, a, settling, "sweep", packed(nil).array(2).text("sweep").int(int64(n)), reservations, nil, ans); err != nil {
			return err
		}
		a.memory.end(ans.Expired...)
		all.Crossed, all.Expired = append(all.Crossed, ans.Crossed...), append(all.Expired, ans.Expired...)
		if len(ans.Expired) < n {
			break
		}
		most -= n
	}
	ans.Crossed, ans.Expired = all.Crossed, all.Expired
	return nil
}
