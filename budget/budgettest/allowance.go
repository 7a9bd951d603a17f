package budgettest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gridloop/gridloop/budget"
)

// keep sets money aside, to be drawn from.
func (w *world) keep(l *budget.Ledger, nano int64, from string, words ...string) string {
	w.Helper()
	id := w.id()
	w.reserve(l, budget.Request{ID: id, Scopes: scopes(words...), Amounts: money(nano), Idle: true, From: from})
	return id
}

// draw reserves money from an allowance.
func (w *world) draw(l *budget.Ledger, nano int64, from string, words ...string) string {
	w.Helper()
	id := w.id()
	w.reserve(l, budget.Request{ID: id, Scopes: scopes(words...), Amounts: money(nano), From: from})
	return id
}

// drawless wants a draw to be denied for the reason, and says how much the same caller could have.
func (w *world) drawless(l *budget.Ledger, r budget.Request, reason error, available int64) *budget.DeniedError {
	w.Helper()
	r.ID = w.id()
	_, err := l.Reserve(w.ctx, r)
	var d *budget.DeniedError
	if !errors.As(err, &d) || !errors.Is(err, reason) {
		w.Fatalf("reserve of %v from %q: got %v, want a denial as %v", r.Amounts, r.From, err, reason)
	}
	if n, _ := d.Available(budget.MeterMoney); n != available {
		w.Fatalf("of %v from %q %d are available, want %d: %v", r.Amounts, r.From, n, available, d.Left)
	}
	return d
}

// lent wants an allowance to stand open with that much drawn from it.
func (w *world) lent(l *budget.Ledger, id string, bound, drawn budget.Amounts) {
	w.Helper()
	open, err := l.OpenReservations(w.ctx, id)
	w.ok(err)
	i := slices.IndexFunc(open, func(r budget.Reservation) bool { return r.ID == id })
	if i < 0 {
		w.Fatalf("%s is not open", id)
	}
	if r := open[i]; !r.Idle || !r.Reserved.Equal(bound) || !r.Actual.Equal(drawn) {
		w.Fatalf("%s is idle %t and has %v drawn of %v, want %v of %v", id, r.Idle, r.Actual, r.Reserved, drawn, bound)
	}
}

func allowanceIsRoom(w *world) {
	cap := moneyCap(budget.Account(), 100)
	l, other := w.ledger(cap), w.ledger(cap)
	allowance := w.keep(l, 60, "")
	w.reserve(other, budget.Request{ID: w.id(), Amounts: money(40), Idle: true})
	w.denied(other, 1, budget.ErrHeld)
	w.lent(l, allowance, money(60), money(0))
	w.draw(l, 25, allowance)
	w.lent(other, allowance, money(60), money(25))
	w.stands(other, cap, sums{held: 100})
	w.denied(other, 1, budget.ErrHeld) // what the allowance still holds is nobody else's
	w.draw(other, 35, allowance)       // whichever ledger asks
	w.lent(l, allowance, money(60), money(60))
	w.stands(l, cap, sums{held: 100})
	w.drawless(l, budget.Request{Amounts: money(1), From: allowance}, budget.ErrHeld, 0)
}

func allowanceGoesAsFarAsItGoes(w *world) {
	tenant, account := moneyCap(budget.Each("tenant"), 100), moneyCap(budget.Account(), 90)
	l := w.ledger(tenant, account)
	allowance := w.keep(l, 20, "", "tenant=a")
	part := w.draw(l, 70, allowance, "tenant=a") // 20 of them from the allowance
	w.stands(l, account, sums{held: 70})
	w.lent(l, allowance, money(20), money(20))
	w.drawless(l, budget.Request{Scopes: scopes("tenant=a"), Amounts: money(21), From: allowance}, budget.ErrHeld, 20)
	w.settle(l, part, 62) // what the allowance has lent is the first to return, and no more than that
	w.stands(l, account, sums{settled: 62, held: 8})
	w.lent(l, allowance, money(20), money(12))
	part = w.draw(l, 28, allowance, "tenant=a")
	w.stands(l, tenant, sums{settled: 62, held: 28}, "tenant=a")
	w.settle(l, part, 1)
	w.stands(l, tenant, sums{settled: 63, held: 8}, "tenant=a") // 20 more are free
	w.lent(l, allowance, money(20), money(12))
	w.ok(l.Release(w.ctx, allowance))
	w.stands(l, account, sums{settled: 63})
}

// In whatever way a reservation ends, what it does not use returns, and nobody can have it meanwhile.
func drawsReturn(w *world) {
	cap := moneyCap(budget.Account(), 100)
	l := w.ledger(cap)
	allowance := w.keep(l, 50, "")
	w.keep(l, 50, "")
	settled := w.draw(l, 50, allowance)
	s := w.settle(l, settled, 20)
	if s.Left[0].Held != 80 || s.Left[0].Settled != 20 || s.Left[0].Left != 0 {
		w.Fatalf("the settlement says %+v", s.Left)
	}
	w.lent(l, allowance, money(50), money(20))
	w.denied(l, 1, budget.ErrHeld)
	void := w.draw(l, 30, allowance)
	w.ok(l.Void(w.ctx, void, budget.ProofDial))
	w.lent(l, allowance, money(50), money(20))
	w.stands(l, cap, sums{settled: 20, held: 80})
	idle := w.keep(l, 30, allowance)
	w.ok(l.Release(w.ctx, idle))
	w.ok(l.Release(w.ctx, idle)) // once
	w.ok(l.Void(w.ctx, void, budget.ProofDial))
	w.settle(l, settled, 20)
	w.lent(l, allowance, money(50), money(20))
	charged := w.draw(l, 10, allowance)
	_, err := l.Charge(w.ctx, charged)
	w.ok(err)
	w.lent(l, allowance, money(50), money(30))
	w.stands(l, cap, sums{settled: 30, held: 70, unconfirmed: 10})
	over := w.draw(l, 10, allowance)
	w.settle(l, over, 15) // more than it had asked for: nothing returns
	w.lent(l, allowance, money(50), money(40))
	w.stands(l, cap, sums{settled: 45, held: 60, unconfirmed: 10, overrun: 5})
}

func expiredDrawsAreCharged(w *world) {
	cap := moneyCap(budget.Account(), 100)
	l := w.ledger(cap)
	allowance := w.keep(l, 60, "")
	w.keep(l, 40, "")
	call, idle := w.draw(l, 20, allowance), w.keep(l, 30, allowance)
	w.lent(l, allowance, money(60), money(50))
	w.ok(l.Renew(w.ctx, call, short))
	w.ok(l.Renew(w.ctx, idle, short))
	w.pass(short)
	w.denied(l, 1, budget.ErrHeld) // which sweeps: the idle one returns, the call is charged
	w.lent(l, allowance, money(60), money(20))
	w.stands(l, cap, sums{settled: 20, held: 80, unconfirmed: 20})
	w.settle(l, call, 5) // what is known later moves the caps
	w.lent(l, allowance, money(60), money(20))
	w.stands(l, cap, sums{settled: 5, held: 80})
	late := w.id()
	w.reserve(l, budget.Request{ID: late, Amounts: money(20), Lease: short, From: allowance})
	w.pass(short)
	if s := w.settle(l, late, 5); !s.Late { // but before anybody swept: it was open
		w.Fatalf("late settlement %+v", s)
	}
	w.lent(l, allowance, money(60), money(25))
	w.stands(l, cap, sums{settled: 10, held: 75})
}

func correctionsMoveTheCapsAlone(w *world) {
	cap := moneyCap(budget.Account(), 100)
	l := w.ledger(cap)
	allowance := w.keep(l, 60, "")
	charged, settled, void := w.draw(l, 10, allowance), w.draw(l, 20, allowance), w.draw(l, 5, allowance)
	_, err := l.Charge(w.ctx, charged)
	w.ok(err)
	w.settle(l, settled, 8)
	_, err = l.Charge(w.ctx, void)
	w.ok(err)
	w.lent(l, allowance, money(60), money(23))
	w.stands(l, cap, sums{settled: 23, held: 37, unconfirmed: 15})
	w.settle(l, charged, 4)
	w.ok(l.Void(w.ctx, void, budget.ProofDial))
	w.lent(l, allowance, money(60), money(23))
	w.stands(l, cap, sums{settled: 12, held: 37})
	_, err = l.TrueUp(w.ctx, settled, money(3), "receipt")
	w.ok(err)
	w.stands(l, cap, sums{settled: 7, held: 37})
	_, err = l.TrueUp(w.ctx, settled, money(18), "audit")
	w.ok(err)
	w.lent(l, allowance, money(60), money(23))
	w.stands(l, cap, sums{settled: 22, held: 37})
	// A correction that takes back what others have spent meanwhile is overrun, what the allowance holds included.
	w.keep(l, 41, "")
	_, err = l.TrueUp(w.ctx, settled, money(20), "bill")
	w.ok(err)
	w.stands(l, cap, sums{settled: 24, held: 78, overrun: 2})
}

func releasedAllowanceFreesTheRest(w *world) {
	cap := moneyCap(budget.Account(), 100)
	l := w.ledger(cap)
	allowance := w.keep(l, 60, "")
	call, idle := w.draw(l, 20, allowance), w.keep(l, 10, allowance)
	w.ok(l.Release(w.ctx, allowance))
	w.stands(l, cap, sums{held: 30})
	w.keep(l, 70, "")
	w.settle(l, call, 5)
	w.stands(l, cap, sums{settled: 5, held: 80}) // there is nothing any more that the rest could return to
	w.ok(l.Release(w.ctx, idle))
	w.stands(l, cap, sums{settled: 5, held: 70})
	w.draw(l, 25, allowance) // from the caps
	w.drawless(l, budget.Request{Amounts: money(1), From: allowance}, budget.ErrHeld, 0)
	// Voiding an idle reservation is releasing it.
	allowance = w.id()
	cap.Limit = 200
	w.ok(l.Define(w.ctx, "test", cap))
	w.reserve(l, budget.Request{ID: allowance, Amounts: money(50), Idle: true})
	call = w.draw(l, 20, allowance)
	w.ok(l.Void(w.ctx, allowance, budget.ProofNeverDispatched))
	w.stands(l, cap, sums{settled: 5, held: 115})
	w.settle(l, call, 0)
	w.stands(l, cap, sums{settled: 5, held: 95})
}

func allowanceWhoseLeaseIsOver(w *world) {
	cap := moneyCap(budget.Account(), 100)
	l := w.ledger(cap)
	allowance := w.keep(l, 60, "")
	open, taken := w.draw(l, 20, allowance), w.draw(l, 30, allowance)
	for range 10 { // due before it, and more than one reserve sweeps
		w.reserve(l, budget.Request{ID: w.id(), Amounts: money(1), Lease: short, Idle: true})
	}
	w.ok(l.Renew(w.ctx, allowance, short))
	w.pass(short)
	s := w.settle(l, taken, 10) // nobody has swept it yet, but it is over: the caps have the rest
	if s.Left[0].Settled != 10 || s.Left[0].Held > 40 {
		w.Fatalf("the settlement says %+v", s.Left[0])
	}
	w.draw(l, 40, allowance) // from the caps
	list, err := l.OpenReservations(w.ctx, allowance)
	w.ok(err)
	for _, r := range list {
		if r.ID == allowance && r.Actual.NanoUSD != 50 {
			w.Fatalf("the lease is over and %v are drawn, want 50", r.Actual)
		}
	}
	w.sweep(l)
	w.stands(l, cap, sums{settled: 10, held: 60})
	w.settle(l, open, 0)
	w.stands(l, cap, sums{settled: 10, held: 40})
	// One that is renewed stands on, also when it has lent all that it has.
	allowance = w.keep(l, 30, "")
	call := w.draw(l, 30, allowance)
	w.ok(l.Renew(w.ctx, allowance, long))
	w.lent(l, allowance, money(30), money(30))
	w.settle(l, call, 10)
	w.lent(l, allowance, money(30), money(10))
	w.stands(l, cap, sums{settled: 20, held: 60})
}

// An allowance and what was kept back out of it may run out in one sweep: what is left is the same in whatever order.
func allowancesRunOutTogether(w *world) {
	cap := moneyCap(budget.Account(), 100)
	for i, order := range [][]string{
		{"outer", "inner", "answer", "call"}, {"call", "answer", "inner", "outer"}, {"answer", "inner", "call"}, {"inner", "call", "answer"},
	} {
		l, err := budget.Open(w.ctx, budget.Config{Store: w.store, Account: fmt.Sprint("order ", i), Caps: []budget.Cap{cap}, Lease: long})
		w.ok(err)
		reserve := func(id string, nano int64, idle bool, from string) {
			w.Helper()
			w.reserve(l, budget.Request{ID: id, Amounts: money(nano), Idle: idle, From: from})
		}
		reserve("outer", 60, true, "")
		reserve("inner", 40, true, "outer")
		reserve("answer", 10, true, "inner")
		reserve("call", 20, false, "inner")
		for _, id := range order {
			w.ok(l.Renew(w.ctx, id, short))
		}
		w.pass(short)
		w.sweep(l)
		if len(order) == 3 { // 30 were out of the inner one, of which the answer's 10 came too late to return
			w.lent(l, "outer", money(60), money(30))
			w.stands(l, cap, sums{settled: 20, held: 30, unconfirmed: 20})
			w.ok(l.Release(w.ctx, "outer"))
		}
		w.stands(l, cap, sums{settled: 20, unconfirmed: 20})
	}
}

func allowanceWithinAnAllowance(w *world) {
	cap := moneyCap(budget.Account(), 100)
	l := w.ledger(cap)
	outer := w.keep(l, 80, "")
	w.keep(l, 20, "")
	inner := w.keep(l, 50, outer)
	w.lent(l, outer, money(80), money(50))
	w.stands(l, cap, sums{held: 100})
	w.drawless(l, budget.Request{Amounts: money(51), From: inner}, budget.ErrHeld, 50)
	w.drawless(l, budget.Request{Amounts: money(31), From: outer}, budget.ErrHeld, 30)
	used, open := w.draw(l, 30, inner), w.draw(l, 15, inner)
	w.settle(l, used, 10)
	w.lent(l, inner, money(50), money(25))
	w.lent(l, outer, money(80), money(50))
	w.stands(l, cap, sums{settled: 10, held: 90})
	w.ok(l.Release(w.ctx, inner)) // but for the 10 that were used and the 15 that still may be
	w.lent(l, outer, money(80), money(25))
	w.stands(l, cap, sums{settled: 10, held: 90})
	w.settle(l, open, 5) // what it was taken from is gone: the caps have the rest
	w.lent(l, outer, money(80), money(25))
	w.stands(l, cap, sums{settled: 15, held: 75})
	// The inner one may be larger than what it is taken from.
	inner = w.keep(l, 65, outer)
	w.lent(l, outer, money(80), money(80))
	w.stands(l, cap, sums{settled: 15, held: 85})
	used = w.draw(l, 65, inner)
	w.settle(l, used, 5)
	w.ok(l.Release(w.ctx, inner)) // 55 are what it had taken, so 55 return
	w.lent(l, outer, money(80), money(25))
	w.stands(l, cap, sums{settled: 20, held: 75})
}

func drawnMetersAreApart(w *world) {
	mails := budget.Custom("mails")
	whole := budget.Amounts{NanoUSD: 10, Tokens: 20, Requests: 30, ToolCalls: 40}.With(mails, 50)
	var caps []budget.Cap
	for _, m := range []budget.Meter{budget.MeterMoney, budget.MeterTokens, budget.MeterRequests, budget.MeterToolCalls, mails} {
		caps = append(caps, budget.Cap{For: budget.Account(), Meter: m, Limit: whole.Get(m), Per: budget.Lifetime()})
	}
	l := w.ledger(caps...)
	allowance, call := w.id(), w.id()
	w.reserve(l, budget.Request{ID: allowance, Amounts: whole, Idle: true})
	w.reserve(l, budget.Request{ID: call, Amounts: whole.With(mails, 20).With(budget.MeterTokens, 0), From: allowance})
	w.lent(l, allowance, whole, whole.With(mails, 20).With(budget.MeterTokens, 0))
	for _, c := range caps {
		w.stands(l, c, sums{held: c.Limit})
		_, err := l.Reserve(w.ctx, budget.Request{ID: w.id(), Amounts: budget.Amounts{}.With(c.Meter, 1)})
		w.wants(err, budget.ErrHeld)
	}
	_, err := l.Settle(w.ctx, call, budget.Amounts{NanoUSD: 10, Tokens: 7, Requests: 1}.With(mails, 5))
	w.ok(err)
	w.lent(l, allowance, whole, budget.Amounts{NanoUSD: 10, Requests: 1}.With(mails, 5))
	for i, want := range []sums{{settled: 10}, {settled: 7, held: 20, overrun: 7}, {settled: 1, held: 29}, {held: 40}, {settled: 5, held: 45}} {
		w.stands(l, caps[i], want)
	}
	w.ok(l.Release(w.ctx, allowance))
	for i, want := range []sums{{settled: 10}, {settled: 7, overrun: 7}, {settled: 1}, {}, {settled: 5}} {
		w.stands(l, caps[i], want)
	}
	// An allowance of meters that a request does not ask for lends it nothing.
	w.reserve(l, budget.Request{ID: "mails", Amounts: budget.Amounts{}.With(mails, 5), Idle: true})
	w.reserve(l, budget.Request{ID: "calls", Amounts: budget.Amounts{ToolCalls: 5}, From: "mails"})
	w.lent(l, "mails", budget.Amounts{}.With(mails, 5), budget.Amounts{})
}

// Many draw from one allowance while others take what they can: never more than it holds, and all of it is theirs.
func parallelDrawsHold(w *world) {
	const limit, kept, amount, drawers, greedy, each = 1000, 500, 7, 8, 4, 30
	cap := moneyCap(budget.Account(), limit)
	ledgers := []*budget.Ledger{w.ledger(cap), w.ledger(cap), w.ledger(cap)}
	l := ledgers[0]
	allowance := w.keep(l, kept, "")
	var denied atomic.Int64
	var wg sync.WaitGroup
	for worker := range drawers {
		wg.Go(func() {
			l := ledgers[worker%len(ledgers)]
			for i := range each {
				id := fmt.Sprintf("d%d/%d", worker, i)
				g, err := l.Reserve(w.ctx, budget.Request{ID: id, Amounts: money(amount), From: allowance})
				if err != nil {
					w.Errorf("draw: %v", err) // at most 56 of 500 are out at once, and 120 used
					return
				}
				if s := g.Left[0]; s.Settled+s.Held > limit {
					w.Errorf("%d are settled and %d held of %d", s.Settled, s.Held, limit)
				}
				if i%2 == 0 {
					_, err = l.Settle(w.ctx, id, money(1))
				} else {
					err = l.Void(w.ctx, id, budget.ProofDial)
				}
				if err != nil {
					w.Errorf("end: %v", err)
				}
			}
		})
	}
	for worker := range greedy {
		wg.Go(func() {
			l := ledgers[worker%len(ledgers)]
			for i := range each {
				_, err := l.Reserve(w.ctx, budget.Request{ID: fmt.Sprintf("g%d/%d", worker, i), Amounts: money(amount), Idle: true})
				switch {
				case errors.Is(err, budget.ErrHeld):
					denied.Add(1)
				case err != nil:
					w.Errorf("greedy: %v", err)
				}
			}
		})
	}
	wg.Wait()
	const used, taken = drawers * each / 2, (limit - kept) / amount * amount
	if want := int64(greedy*each - taken/amount); denied.Load() != want {
		w.Errorf("%d greedy requests were denied, want %d", denied.Load(), want)
	}
	w.lent(l, allowance, money(kept), money(used))
	w.stands(l, cap, sums{settled: used, held: kept - used + taken})
}
