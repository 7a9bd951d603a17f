package budgettest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/gridloop/gridloop/budget"
)

func randomHistoriesMatch(w *world) {
	histories, length := 3, 150
	if w.virtual {
		histories, length = 25, 400
	}
	for seed := range histories {
		h := &history{world: w, rnd: rand.New(rand.NewPCG(uint64(seed), 7)), caps: newModelCaps(w.virtual),
			m: model{limits: map[string]int64{}, peaks: map[string]int64{}, windows: map[string]budget.Window{}, res: map[string]*modelRes{}, now: w.now}}
		account := fmt.Sprintf("history %d", seed)
		for range 2 {
			l, err := budget.Open(w.ctx, budget.Config{Store: w.store, Account: account, Caps: h.caps.list()})
			w.ok(err)
			h.ledgers = append(h.ledgers, l)
		}
		for _, c := range h.caps.list() {
			h.m.limits[c.ID()], h.m.peaks[c.ID()], h.m.windows[c.ID()] = c.Limit, c.Limit, c.Per
		}
		if w.advance != nil {
			h.settleDown()
		}
		for step := range length {
			did := h.step(step)
			h.compare(fmt.Sprintf("history %d, step %d: %s", seed, step, did))
		}
	}
}

type history struct {
	*world
	rnd     *rand.Rand
	caps    modelCaps
	m       model
	ledgers []*budget.Ledger
}

func (h *history) one(words ...string) string { return words[h.rnd.IntN(len(words))] }

func (h *history) amounts() budget.Amounts {
	return budget.Amounts{NanoUSD: h.rnd.Int64N(200), Tokens: h.rnd.Int64N(60) + 1}
}

func (h *history) step(n int) string {
	l := h.ledgers[h.rnd.IntN(len(h.ledgers))]
	what := h.rnd.IntN(100)
	switch {
	case what < 40 || len(h.m.ids) == 0:
		return h.reserve(l, fmt.Sprintf("r%d", n))
	case what < 45:
		return h.limit(l)
	case what < 55 && (h.virtual || h.advance != nil):
		return h.passTime(l)
	}
	id := h.m.ids[max(0, len(h.m.ids)-1-h.rnd.IntN(12))]
	r := h.m.res[id]
	due := !h.now().Before(r.expires)
	amounts := h.amounts()
	if h.rnd.IntN(3) == 0 && r.said {
		amounts = r.usage
	}
	ended := r.state != budget.StateOpen
	switch what % 6 {
	case 0, 1:
		_, err := l.Settle(h.ctx, id, amounts)
		switch {
		case r.idle:
			h.expect(err, budget.ErrNotIdle)
		case r.said && !r.usage.Equal(amounts):
			h.expect(err, budget.ErrMismatch)
		case r.said:
			h.expect(err, nil)
		case r.state == budget.StateVoided:
			h.expect(err, budget.ErrFinished)
		default:
			h.expect(err, nil)
			r.said, r.usage = true, amounts
			if len(r.heard) == 0 {
				h.m.move(h.caps, r, budget.StateSettled, amounts)
			}
		}
		return fmt.Sprintf("settle %s at %v", id, amounts)
	case 2:
		_, err := l.Charge(h.ctx, id)
		switch {
		case r.idle:
			h.expect(err, budget.ErrNotIdle)
		case r.state == budget.StateVoided:
			h.expect(err, budget.ErrFinished)
		default:
			h.expect(err, nil)
			if !ended {
				h.m.move(h.caps, r, budget.StateCharged, r.bound)
			}
		}
		return "charge " + id
	case 3:
		err := l.Void(h.ctx, id, budget.ProofDial)
		if r.state == budget.StateSettled {
			h.expect(err, budget.ErrFinished)
			return "void " + id
		}
		h.expect(err, nil)
		if r.state != budget.StateVoided && r.state != budget.StateReleased {
			h.m.move(h.caps, r, budget.StateVoided, budget.Amounts{})
		}
		return "void " + id
	case 4:
		source := h.one("receipt", "audit")
		known, heard := r.heard[source]
		_, err := l.TrueUp(h.ctx, id, amounts, source)
		switch {
		case !ended:
			h.expect(err, budget.ErrStillOpen)
		case heard && !known.Equal(amounts):
			h.expect(err, budget.ErrMismatch)
		case heard:
			h.expect(err, nil)
		default:
			h.expect(err, nil)
			r.heard[source] = amounts
			h.m.move(h.caps, r, budget.StateSettled, amounts)
		}
		return fmt.Sprintf("true-up %s at %v by %s", id, amounts, source)
	}
	if h.rnd.IntN(2) == 0 {
		lease := long
		if h.advance != nil {
			lease += bucket / 2
		}
		err := l.Renew(h.ctx, id, lease)
		if ended || due {
			h.expect(err, budget.ErrFinished)
		} else {
			h.expect(err, nil)
			r.expires = h.now().Add(lease)
		}
		return "renew " + id
	}
	err := l.Release(h.ctx, id)
	if !r.idle {
		h.expect(err, budget.ErrNotIdle)
		return "release " + id
	}
	h.expect(err, nil)
	if !ended {
		h.m.move(h.caps, r, budget.StateReleased, budget.Amounts{})
	}
	return "release " + id
}

func (h *history) reserve(l *budget.Ledger, id string) string {
	tenant, run, instrument := h.one("t0", "t1"), h.one("a", "b", "c"), h.one("std", "max")
	req := budget.Request{ID: id, Scopes: scopes("tenant="+tenant, "run="+run, "instrument="+instrument), Amounts: h.amounts(), Lease: long, Idle: h.rnd.IntN(4) == 0}
	switch {
	case h.advance != nil:
		req.Lease = time.Duration(h.rnd.IntN(6))*bucket + bucket/2 // ends far from where time passes to
	case h.virtual && h.rnd.IntN(2) == 0:
		req.Lease = time.Minute
	}
	var swap *modelRes
	if h.rnd.IntN(3) == 0 && len(h.m.ids) > 0 {
		req.Swap = h.m.ids[max(0, len(h.m.ids)-1-h.rnd.IntN(6))]
		swap = h.m.res[req.Swap]
	}
	var from *modelRes
	if h.rnd.IntN(2) == 0 && len(h.m.ids) > 0 {
		req.From = h.allowance()
		from = h.m.res[req.From]
		if h.rnd.IntN(3) > 0 { // as the allowance's, or it lends nothing
			tenant, run, instrument = from.scopes[0], from.scopes[1], from.scopes[2]
			req.Scopes = scopes("tenant="+tenant, "run="+run, "instrument="+instrument)
		}
	}
	did := fmt.Sprintf("reserve %s %v for %s %s %s, swap %q, from %q", id, req.Amounts, tenant, run, instrument, req.Swap, req.From)
	_, err := l.Reserve(h.ctx, req)
	if swap != nil && !swap.idle || from != nil && !from.idle {
		h.expect(err, budget.ErrNotIdle)
		return did
	}
	counts := h.caps.counts(tenant, run, instrument, h.now())
	// All of it is done, and undone if it is denied.
	undo := h.m.mark(swap, from)
	if swap != nil && swap.state == budget.StateOpen {
		h.m.move(h.caps, swap, budget.StateReleased, budget.Amounts{})
	}
	taken := h.m.draw(h.caps, from, req.Amounts, counts)
	worst := error(nil)
	rank := map[error]int{nil: 0, budget.ErrHeld: 1, budget.ErrSpent: 2, budget.ErrTooBig: 3}
	for _, c := range counts {
		meter := h.caps.meter(c.cap)
		s, asked, limit := h.m.sum(c, meter), req.Amounts.Get(meter), h.m.limits[c.cap]
		var kind error
		switch {
		case asked == 0 || s.settled+s.held+asked <= limit:
		case asked > limit:
			kind = budget.ErrTooBig
		case s.settled+asked <= limit:
			kind = budget.ErrHeld
		default:
			kind = budget.ErrSpent
			h.resets(did, err, c, h.m.fits(c, meter, asked, s.held))
		}
		if rank[kind] > rank[worst] {
			worst = kind
		}
	}
	h.expect(err, worst)
	if worst != nil {
		undo()
		return did + ": denied"
	}
	again, err := l.Reserve(h.ctx, req)
	h.expect(err, nil)
	open, err := l.OpenReservations(h.ctx, id)
	h.expect(err, nil)
	i := slices.IndexFunc(open, func(r budget.Reservation) bool { return r.ID == id })
	if i < 0 {
		h.Fatalf("%s: it is not among the open ones", did)
	}
	h.m.res[id] = &modelRes{bound: req.Amounts, state: budget.StateOpen, idle: req.Idle, heard: map[string]budget.Amounts{},
		from: from, taken: taken, scopes: [3]string{tenant, run, instrument}, admitted: open[i].Admitted, expires: again.Expires, counts: counts, over: map[modelCount]int64{}}
	h.m.ids = append(h.m.ids, id)
	if !again.Duplicate {
		h.Fatalf("%s again is no duplicate", did)
	}
	return did
}

// allowance is mostly a reservation that can be drawn from.
func (h *history) allowance() string {
	if h.rnd.IntN(10) > 0 {
		for i := len(h.m.ids) - 1; i >= 0; i-- {
			if r := h.m.res[h.m.ids[i]]; r.idle && (r.state == budget.StateOpen || h.rnd.IntN(4) == 0) && h.rnd.IntN(3) > 0 {
				return h.m.ids[i]
			}
		}
	}
	return h.m.ids[max(0, len(h.m.ids)-1-h.rnd.IntN(6))]
}

func (h *history) limit(l *budget.Ledger) string {
	caps := h.caps.list()
	c := caps[h.rnd.IntN(len(caps))]
	c.Limit = c.Limit/2 + h.rnd.Int64N(2*c.Limit)
	h.expect(l.Define(h.ctx, "test", c), nil)
	h.m.limits[c.ID()] = c.Limit
	h.m.peaks[c.ID()] = max(h.m.peaks[c.ID()], c.Limit)
	return fmt.Sprintf("%s now %d", c.ID(), c.Limit)
}

// resets wants a rolling count that is spent to say when the request fits.
func (h *history) resets(did string, err error, c modelCount, want time.Time) {
	h.Helper()
	var d *budget.DeniedError
	if length, _ := h.m.windows[c.cap].Rolls(); length == 0 || !errors.As(err, &d) {
		return
	}
	for _, v := range d.Violations {
		if v.Cap == c.cap && !v.ResetAt.Equal(want) {
			h.Fatalf("%s: denied until %v, want %v: %v", did, v.ResetAt, want, v)
		}
	}
}

// settleDown goes to where a clock that moves by itself is far from the ends of buckets and leases.
func (h *history) settleDown() {
	now := h.now()
	h.skip(now.Truncate(bucket).Add(bucket + bucket/10).Sub(now))
}

// passTime lets leases run out and windows turn; sometimes somebody settles late, before the sweep.
func (h *history) passTime(l *budget.Ledger) string {
	if h.virtual {
		h.pass(time.Duration(1+h.rnd.IntN(4)) * time.Minute)
		if h.rnd.IntN(3) == 0 {
			h.pass(time.Duration(h.rnd.IntN(60_000)) * time.Millisecond)
		}
	} else {
		h.skip(time.Duration(h.rnd.IntN(12)) * bucket)
		h.settleDown()
	}
	now := h.now()
	for _, id := range h.m.ids {
		r := h.m.res[id]
		if r.state != budget.StateOpen || now.Before(r.expires) || r.idle || h.rnd.IntN(4) > 0 {
			continue
		}
		amounts := h.amounts()
		s, err := l.Settle(h.ctx, id, amounts)
		h.expect(err, nil)
		if !s.Late {
			h.Fatalf("settle of %s came late and does not say so", id)
		}
		r.said, r.usage = true, amounts
		h.m.move(h.caps, r, budget.StateSettled, amounts)
	}
	swept := h.sweep(l)
	for _, id := range swept.Expired {
		r := h.m.res[id]
		if r.state != budget.StateOpen || now.Before(r.expires) {
			h.Fatalf("swept %s, which is %s until %v", id, r.state, r.expires)
		}
		if r.idle {
			h.m.move(h.caps, r, budget.StateReleased, budget.Amounts{})
		} else {
			h.m.move(h.caps, r, budget.StateExpired, r.bound)
		}
	}
	for _, id := range h.m.ids {
		if r := h.m.res[id]; r.state == budget.StateOpen && !now.Before(r.expires) {
			h.Fatalf("%s is due and was not swept", id)
		}
	}
	return fmt.Sprintf("time passed, %d leases ran out", len(swept.Expired))
}

func (h *history) expect(err, want error) {
	h.Helper()
	if want == nil && err != nil || want != nil && !errors.Is(err, want) {
		h.Fatalf("got %v, want %v", err, want)
	}
}

// compare asks for every count, and for law 1.
func (h *history) compare(did string) {
	open, err := h.ledgers[0].OpenReservations(h.ctx, "")
	h.expect(err, nil)
	for _, r := range open {
		if want := h.m.res[r.ID]; !r.Actual.Equal(want.drawn) || want.state != budget.StateOpen {
			h.Fatalf("%s: %s is %s, and %v are drawn from it, want %s and %v", did, r.ID, r.State, r.Actual, want.state, want.drawn)
		}
	}
	for _, tenant := range []string{"t0", "t1"} {
		for _, run := range []string{"a", "b", "c"} {
			states, err := h.ledgers[0].Snapshot(h.ctx, scopes("tenant="+tenant, "run="+run, "instrument=max")...)
			h.expect(err, nil)
			counts := h.caps.counts(tenant, run, "max", h.now())
			if len(states) != len(counts) {
				h.Fatalf("%s: %d counts, want %d", did, len(states), len(counts))
			}
			for _, c := range counts {
				s := states[slices.IndexFunc(states, func(s budget.CapState) bool { return s.Cap == c.cap })]
				want := h.m.sum(c, h.caps.meter(c.cap))
				if got := (sums{s.Settled, s.Held, s.Unconfirmed, s.Overrun}); got != want || s.Limit != h.m.limits[c.cap] {
					h.Fatalf("%s: %q for %q stands at %+v of %d, want %+v of %d", did, c.cap, c.scope, got, s.Limit, want, h.m.limits[c.cap])
				}
				reset := s.Reset
				if length, _ := h.m.windows[c.cap].Rolls(); length > 0 {
					reset = time.Time{}
					if all := h.m.leaving(c, h.caps.meter(c.cap)); len(all) > 0 {
						reset = all[0]
					}
				}
				if !s.Reset.Equal(reset) {
					h.Fatalf("%s: %q for %q resets at %v, want %v", did, c.cap, c.scope, s.Reset, reset)
				}
				if s.Settled+s.Held > h.m.peaks[c.cap]+s.Overrun {
					h.Fatalf("%s: %q for %q: settled %d and held %d pass %d with overrun %d", did, c.cap, c.scope, s.Settled, s.Held, h.m.peaks[c.cap], s.Overrun)
				}
			}
		}
	}
}
