package budgettest

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gridloop/gridloop/budget"
)

var noTime time.Time

// leased reserves money under a lease that a test lets run out.
func (w *world) leased(l *budget.Ledger, nano int64) string {
	w.Helper()
	id := w.id()
	w.reserve(l, budget.Request{ID: id, Amounts: money(nano), Lease: short})
	return id
}

func (w *world) sweep(l *budget.Ledger) budget.Swept {
	w.Helper()
	s, err := l.Sweep(w.ctx, 1000)
	w.ok(err)
	return s
}

func expiredIsCharged(w *world) {
	cap := moneyCap(budget.Account(), 100)
	dead, alive := w.ledger(cap), w.ledger(cap)
	id, zombie := w.leased(dead, 60), w.leased(dead, 20)
	if s := w.sweep(alive); len(s.Expired) != 0 {
		w.Fatalf("swept early: %+v", s)
	}
	w.pass(short)
	w.wants(dead.Renew(w.ctx, zombie, long), budget.ErrFinished)
	_, err := dead.Reserve(w.ctx, budget.Request{ID: id, Amounts: money(60), Lease: short})
	w.wants(err, budget.ErrFinished) // though nobody has swept it yet
	swept := w.sweep(alive)
	slices.Sort(swept.Expired)
	if want := []string{id, zombie}; !slices.Equal(swept.Expired, want) {
		w.Fatalf("swept %v, want %v", swept.Expired, want)
	}
	percents := []int{}
	for _, c := range swept.Crossed {
		percents = append(percents, c.Percent)
	}
	if slices.Sort(percents); !slices.Equal(percents, []int{50, 80}) {
		w.Fatalf("charging crossed %v, want 50 and 80", percents)
	}
	w.stands(alive, cap, sums{settled: 80, unconfirmed: 80})
	w.denied(alive, 30, budget.ErrSpent)
	_, err = dead.Reserve(w.ctx, budget.Request{ID: id, Amounts: money(60)})
	w.wants(err, budget.ErrFinished)
	w.wants(dead.Renew(w.ctx, zombie, long), budget.ErrFinished)
	if s := w.settle(dead, zombie, 5); !s.Late || s.State != budget.StateSettled {
		w.Fatalf("late settle %+v", s)
	}
	w.stands(alive, cap, sums{settled: 65, unconfirmed: 60})
	w.ok(dead.Void(w.ctx, id, budget.ProofStatus429))
	w.stands(alive, cap, sums{settled: 5})
	w.take(alive, 95)
	// A settle that comes late, but before anybody swept, is the same.
	cap.Limit = 200
	w.ok(alive.Define(w.ctx, "test", cap))
	late := w.leased(dead, 10)
	w.pass(short)
	if s := w.settle(dead, late, 3); !s.Late || s.Actual.NanoUSD != 3 {
		w.Fatalf("late settle before the sweep %+v", s)
	}
}

func reserveSweepsBounded(w *world) {
	const dead = 30
	cap := moneyCap(budget.Account(), budget.None)
	l := w.ledger(cap)
	swept := 0
	for range dead { // where that takes long, the first are over before the last is made
		g := w.reserve(l, budget.Request{ID: w.id(), Amounts: money(1), Lease: short})
		swept += len(g.Expired)
	}
	w.pass(short)
	for range dead {
		g := w.reserve(l, budget.Request{ID: w.id(), Amounts: money(1)})
		if len(g.Expired) > 8 {
			w.Fatalf("one reserve ended %d leases", len(g.Expired))
		}
		swept += len(g.Expired)
	}
	if swept != dead {
		w.Fatalf("%d leases ended on the way, want %d", swept, dead)
	}
	w.stands(l, cap, sums{settled: dead, held: dead, unconfirmed: dead})
}

func renewKeepsLease(w *world) {
	cap := moneyCap(budget.Account(), 100)
	l := w.ledger(cap)
	kept, dead := w.leased(l, 10), w.leased(l, 20)
	w.ok(l.Renew(w.ctx, kept, long))
	w.pass(short)
	if s := w.sweep(l); !slices.Equal(s.Expired, []string{dead}) {
		w.Fatalf("swept %v, want %v", s.Expired, dead)
	}
	w.stands(l, cap, sums{settled: 20, held: 10, unconfirmed: 20})
	w.ok(l.Renew(w.ctx, kept, short)) // a lease may be shortened, too
	w.pass(short)
	if s := w.sweep(l); !slices.Equal(s.Expired, []string{kept}) {
		w.Fatalf("swept %v, want %v", s.Expired, kept)
	}
}

func idleIsReleased(w *world) {
	cap := moneyCap(budget.Account(), 100)
	l := w.ledger(cap)
	dead, given := w.keep(l, 60, ""), w.keep(l, 40, "")
	w.denied(l, 1, budget.ErrHeld)
	_, err := l.Settle(w.ctx, dead, money(1))
	w.wants(err, budget.ErrNotIdle)
	_, err = l.Charge(w.ctx, dead)
	w.wants(err, budget.ErrNotIdle)
	w.ok(l.Release(w.ctx, given))
	w.ok(l.Release(w.ctx, given))
	w.stands(l, cap, sums{held: 60})
	busy := w.take(l, 40)
	w.wants(l.Release(w.ctx, busy), budget.ErrNotIdle)
	w.ok(l.Renew(w.ctx, dead, short))
	w.pass(short)
	g := w.reserve(l, budget.Request{ID: w.id(), Amounts: money(60)}) // fits because the dead one is released on the way
	if !slices.Equal(g.Expired, []string{dead}) {
		w.Fatalf("expired %v, want %v", g.Expired, dead)
	}
	w.ok(l.Release(w.ctx, dead))
	w.stands(l, cap, sums{held: 100})
}

func swapIsOneStep(w *world) {
	tenant, account := moneyCap(budget.Each("tenant"), 60), moneyCap(budget.Account(), 100)
	l := w.ledger(tenant, account)
	idle := w.id()
	w.reserve(l, budget.Request{ID: idle, Scopes: scopes("tenant=a"), Amounts: money(50), Idle: true})
	busy := w.take(l, 40, "tenant=b")
	ask := func(id string, nano int64, swap string, idle bool) error {
		_, err := l.Reserve(w.ctx, budget.Request{ID: id, Scopes: scopes("tenant=a"), Amounts: money(nano), Swap: swap, Idle: idle})
		return err
	}
	w.wants(ask(w.id(), 10, busy, false), budget.ErrNotIdle)
	err := ask(w.id(), 61, idle, false)
	w.wants(err, budget.ErrTooBig)
	if d, ok := err.(*budget.DeniedError); !ok {
		w.Fatal(err)
	} else if n, _ := d.Available(budget.MeterMoney); n != 60 {
		w.Fatalf("available with the swap: %d, want 60", n)
	}
	w.stands(l, tenant, sums{held: 50}, "tenant=a") // a refused swap frees nothing
	bigger := w.id()
	w.ok(ask(bigger, 55, idle, true)) // resized
	w.stands(l, tenant, sums{held: 55}, "tenant=a")
	call := w.id()
	w.ok(ask(call, 60, bigger, false))
	w.stands(l, account, sums{held: 100})
	w.ok(ask(call, 60, bigger, false)) // the answer was lost and is asked for again
	w.ok(l.Release(w.ctx, bigger))
	w.stands(l, tenant, sums{held: 60}, "tenant=a")
	w.settle(l, call, 1)
	w.ok(ask(w.id(), 1, bigger, false)) // what was freed before frees nothing more
	w.stands(l, account, sums{settled: 1, held: 41})

	// Whoever watches from outside never sees both, and never neither.
	idle = "idle/0"
	w.reserve(l, budget.Request{ID: idle, Scopes: scopes("tenant=c"), Amounts: money(10), Idle: true})
	var swapped atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		defer swapped.Store(true)
		for i := 1; i <= 50; i++ {
			id := fmt.Sprintf("idle/%d", i)
			if _, err := l.Reserve(w.ctx, budget.Request{ID: id, Scopes: scopes("tenant=c"), Amounts: money(10), Idle: true, Swap: idle}); err != nil {
				w.Error(err)
			}
			idle = id
			runtime.Gosched()
		}
	})
	for watcher := w.ledger(); !swapped.Load(); {
		w.stands(watcher, tenant, sums{held: 10}, "tenant=c")
		runtime.Gosched()
	}
	wg.Wait()
}

// turn waits until the cap's present window has ended and returns its span.
func (w *world) turn(s budget.CapState) {
	w.Helper()
	if s.Reset.IsZero() || !s.Start.Before(s.Reset) {
		w.Fatalf("window from %v to %v", s.Start, s.Reset)
	}
	w.pass(time.Until(s.Reset))
}

func windowsTurn(w *world) {
	const length = 2 * time.Second
	cap := budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 100, Per: budget.Fixed(length, noTime)}
	l := w.ledger(cap)
	w.turn(w.stands(l, cap, sums{}, "tenant=a")) // begin a window, so that it does not turn in the middle
	spent, open, dead := w.take(l, 50, "tenant=a"), w.take(l, 30, "tenant=a"), w.id()
	w.reserve(l, budget.Request{ID: dead, Scopes: scopes("tenant=a"), Amounts: money(20), Lease: short})
	w.settle(l, spent, 50)
	before := w.stands(l, cap, sums{settled: 50, held: 50}, "tenant=a")
	if d := w.denied(l, 60, budget.ErrSpent, "tenant=a"); !d.ResetAt().Equal(before.Reset) || before.Reset.Sub(before.Start) != length {
		w.Fatalf("resets at %v, window %v to %v", d.ResetAt(), before.Start, before.Reset)
	}
	w.turn(before)
	after := w.stands(l, cap, sums{}, "tenant=a")
	if !after.Start.Equal(before.Reset) {
		w.Fatalf("window from %v after one to %v", after.Start, before.Reset)
	}
	w.take(l, 100, "tenant=a")
	for _, s := range []budget.Settlement{w.settle(l, open, 10), w.settle(l, dead, 20)} {
		if !s.Left[0].Reset.Equal(before.Reset) {
			w.Fatalf("settled in the window to %v, admitted to the one to %v", s.Left[0].Reset, before.Reset)
		}
	}
	w.stands(l, cap, sums{held: 100}, "tenant=a")
	if s := w.settle(l, spent, 50); s.Left[0].Settled != 80 || s.Left[0].Held != 0 {
		w.Fatalf("the window before ended at %+v, want 80 settled", s.Left[0])
	}
}
