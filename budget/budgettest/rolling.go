package budgettest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// Advance lets the suite move the clock of the store that it is given, where waiting would take minutes. Without it, and
// without [Virtual], tests that need much time to pass are skipped.
func Advance(f func(store budget.Store, d time.Duration)) Option {
	return func(s *suite) { s.advance = f }
}

// skip lets much time pass on the store's clock.
func (w *world) skip(d time.Duration) {
	w.Helper()
	switch {
	case w.virtual:
		time.Sleep(d)
	case w.advance != nil:
		w.moved += d
		w.advance(w.store, d)
	default:
		w.Skip("takes minutes: hand Exercise a clock that can be moved")
	}
}

const (
	// lookBack is the window of these tests, and bucket a sixtieth of it.
	lookBack = 10 * time.Hour
	bucket   = 10 * time.Minute
)

func rollingCap(target budget.Target, limit int64) budget.Cap {
	return budget.Cap{For: target, Meter: budget.MeterMoney, Limit: limit, Per: budget.Rolling(lookBack)}
}

// slack is how much a clock that nobody can stop may have moved between two operations. It is less than a bucket.
func (w *world) slack() time.Duration {
	if w.virtual {
		return 0
	}
	return 2 * time.Minute
}

// until lets time pass until the instant, less d. Where the clock moves by itself it may be a little later.
func (w *world) until(at time.Time, d time.Duration) {
	w.Helper()
	w.skip(max(at.Add(-d).Sub(w.clock()), 0))
}

// now is the store's time, if nobody has stopped its clock.
func (w *world) now() time.Time { return time.Now().Add(w.moved) }

// clock is the store's time as it says.
func (w *world) clock() time.Time {
	w.Helper()
	var ans budget.Answer
	w.ok(w.store.Sweep(w.ctx, "another account", 1, &ans))
	return ans.Now
}

// fresh lets a bucket begin, so that what follows lies in one, with time to spare.
func (w *world) fresh() {
	w.Helper()
	now := w.clock()
	w.until(now.Truncate(bucket).Add(bucket+time.Millisecond), 0)
}

// spent reserves and settles.
func (w *world) spent(l *budget.Ledger, nano int64, words ...string) string {
	w.Helper()
	id := w.take(l, nano, words...)
	w.settle(l, id, nano)
	return id
}

func rollingLength(w *world) {
	cap := rollingCap(budget.Each("tenant"), 100)
	l := w.ledger(cap)
	if s := w.stands(l, cap, sums{}, "tenant=a"); !s.Start.IsZero() || !s.Reset.IsZero() || s.Window != "rolling 10h" {
		w.Fatalf("nothing was spent, and it stands at %+v", s)
	}
	for _, into := range []time.Duration{0, bucket / 2, bucket - w.slack() - time.Millisecond} {
		w.fresh()
		w.skip(into)
		before := w.clock()
		w.spent(l, 60, "tenant=a")
		s := w.stands(l, cap, sums{settled: 60}, "tenant=a")
		if counts := s.Reset.Sub(before); counts < lookBack || counts > lookBack+bucket+w.slack() {
			w.Fatalf("spent %v into a bucket, it counts for %v, want %v to %v", into, counts, lookBack, lookBack+bucket)
		}
		if d := w.denied(l, 41, budget.ErrSpent, "tenant=a"); !d.ResetAt().Equal(s.Reset) {
			w.Fatalf("denied until %v, want %v", d.ResetAt(), s.Reset)
		}
		w.until(s.Reset, w.slack()+time.Nanosecond)
		w.stands(l, cap, sums{settled: 60}, "tenant=a")
		w.denied(l, 41, budget.ErrSpent, "tenant=a")
		w.until(s.Reset, 0)
		if s := w.stands(l, cap, sums{}, "tenant=a"); !s.Reset.IsZero() {
			w.Fatalf("all has left, and it resets at %v", s.Reset)
		}
		w.spent(l, 100, "tenant=a")
		w.skip(lookBack + bucket)
	}
}

// Nothing is given back at a boundary: whatever the instant, what was spent in the time before it counts.
func rollingHasNoEdge(w *world) {
	cap := rollingCap(budget.Account(), 61) // sixty buckets, and the one that is being filled
	l := w.ledger(cap)
	w.fresh()
	for range 60 {
		w.spent(l, 1)
		w.skip(bucket)
	}
	for range 20 { // one leaves, one fits
		w.spent(l, 1)
		w.denied(l, 1, budget.ErrSpent)
		w.skip(bucket)
	}
	w.stands(l, cap, sums{settled: 60})
}

func rollingLateSettle(w *world) {
	cap, other := rollingCap(budget.Account(), 100), moneyCap(budget.Each("tenant"), 1000)
	l := w.ledger(cap, other)
	w.fresh()
	settled, late, charged, voided := w.take(l, 10, "tenant=a"), w.take(l, 20, "tenant=a"), w.take(l, 15, "tenant=a"), w.take(l, 5, "tenant=a")
	for _, id := range []string{late, charged, voided} {
		w.ok(l.Renew(w.ctx, id, 100*time.Hour))
	}
	w.settle(l, settled, 10)
	w.skip(lookBack / 2)
	second := w.spent(l, 7, "tenant=a")
	reset := w.stands(l, cap, sums{settled: 17, held: 40}).Reset
	w.until(reset, 0)
	// What is open counts, however old it is.
	w.stands(l, cap, sums{settled: 7, held: 40})
	w.denied(l, 54, budget.ErrHeld, "tenant=a")
	if s := w.settle(l, late, 95); len(s.Crossed) != 0 || !s.Overrun {
		w.Fatalf("settled into a bucket that has left: %+v", s)
	}
	w.stands(l, cap, sums{settled: 7, held: 20})
	_, err := l.Charge(w.ctx, charged)
	w.ok(err)
	w.stands(l, cap, sums{settled: 7, held: 5})
	w.ok(l.Void(w.ctx, voided, budget.ProofDial))
	w.stands(l, cap, sums{settled: 7})
	w.stands(l, other, sums{settled: 127, unconfirmed: 15, overrun: 75}, "tenant=a")
	// A receipt for what has left moves other caps only; one for what has not moves its own bucket.
	_, err = l.TrueUp(w.ctx, settled, money(90), "receipt")
	w.ok(err)
	_, err = l.TrueUp(w.ctx, charged, money(1), "receipt")
	w.ok(err)
	w.stands(l, cap, sums{settled: 7})
	w.stands(l, other, sums{settled: 193, overrun: 155}, "tenant=a")
	_, err = l.TrueUp(w.ctx, second, money(9), "receipt")
	w.ok(err)
	leaves := w.stands(l, cap, sums{settled: 9, overrun: 2}).Reset
	if leaves.Sub(reset) != lookBack/2 {
		w.Fatalf("the second leaves at %v, %v after the first", leaves, leaves.Sub(reset))
	}
	w.until(leaves, 0)
	w.stands(l, cap, sums{})
}

// A settlement belongs to the bucket of the admission, not to that of its own time.
func rollingAttribution(w *world) {
	cap := rollingCap(budget.Account(), 100)
	l := w.ledger(cap)
	w.fresh()
	id := w.take(l, 50)
	w.ok(l.Renew(w.ctx, id, 100*time.Hour))
	w.spent(l, 1)
	reset := w.stands(l, cap, sums{settled: 1, held: 50}).Reset
	w.skip(6 * time.Hour)
	_, err := l.Charge(w.ctx, id)
	w.ok(err)
	if s := w.stands(l, cap, sums{settled: 51, unconfirmed: 50}); !s.Reset.Equal(reset) {
		w.Fatalf("resets at %v, want %v", s.Reset, reset)
	}
	w.settle(l, id, 70)
	w.stands(l, cap, sums{settled: 71, overrun: 20})
	w.denied(l, 31, budget.ErrSpent)
	w.until(reset, 0)
	w.stands(l, cap, sums{})
	if s := w.settle(l, id, 70); !s.Duplicate || s.Left[0].Settled != 0 || !s.Left[0].Reset.IsZero() {
		w.Fatalf("asked again: %+v", s)
	}
}

func rollingResetIsForTheRequest(w *world) {
	cap := rollingCap(budget.Account(), 100)
	l := w.ledger(cap)
	w.fresh()
	var leaves []time.Time
	for _, nano := range []int64{10, 20, 30} {
		w.spent(l, nano)
		leaves = append(leaves, w.clock().Truncate(bucket).Add(bucket+lookBack))
		w.skip(time.Hour)
	}
	hold := w.id()
	w.reserve(l, budget.Request{ID: hold, Amounts: money(15), Lease: 100 * time.Hour})
	for _, ask := range []struct {
		nano   int64
		reason error
		at     time.Time
	}{
		{26, budget.ErrHeld, time.Time{}},
		{40, budget.ErrHeld, time.Time{}},
		{41, budget.ErrSpent, leaves[1]}, // with the first gone it would still lack 6
		{55, budget.ErrSpent, leaves[1]},
		{56, budget.ErrSpent, leaves[2]},
		{85, budget.ErrSpent, leaves[2]},
		{86, budget.ErrSpent, leaves[2]}, // from then on only what is held is in its way
		{101, budget.ErrTooBig, time.Time{}},
	} {
		d := w.denied(l, ask.nano, ask.reason)
		if v := d.Violations[0]; !v.ResetAt.Equal(ask.at) || !d.ResetAt().Equal(ask.at) || v.Window != "rolling 10h" {
			w.Errorf("%d is denied until %v, want %v: %v", ask.nano, v.ResetAt, ask.at, v)
		}
	}
	w.settle(l, hold, 0)
	if d := w.denied(l, 50, budget.ErrSpent); !d.ResetAt().Equal(leaves[0]) {
		w.Errorf("denied until %v, want %v", d.ResetAt(), leaves[0])
	}
	w.until(leaves[0], w.slack()+time.Nanosecond)
	w.denied(l, 50, budget.ErrSpent)
	w.until(leaves[0], 0)
	w.take(l, 50)
	// What a swap gives back is not in its way.
	idle := w.id()
	w.until(leaves[2], 0)
	w.reserve(l, budget.Request{ID: idle, Amounts: money(40), Idle: true, Lease: 100 * time.Hour})
	_, err := l.Reserve(w.ctx, budget.Request{ID: w.id(), Amounts: money(100), Swap: idle})
	w.wants(err, budget.ErrSpent) // the 50 were charged when their lease ran out
	var d *budget.DeniedError
	if errors.As(err, &d) && !d.ResetAt().Equal(leaves[0].Truncate(bucket).Add(bucket+lookBack)) {
		w.Errorf("denied until %v", d.ResetAt())
	}
}

func rollingTwice(w *world) {
	hour := budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 40, Per: budget.Rolling(time.Hour)}
	long, tokens := rollingCap(budget.Each("tenant"), 100), budget.Cap{For: budget.Account(), Meter: budget.MeterTokens, Limit: 90, Per: budget.Rolling(2 * time.Hour)}
	l := w.ledger(hour, long, tokens)
	w.fresh()
	for range 2 {
		id := w.id()
		w.reserve(l, budget.Request{ID: id, Scopes: scopes("tenant=a"), Amounts: budget.Amounts{NanoUSD: 40, Tokens: 20}})
		_, err := l.Settle(w.ctx, id, budget.Amounts{NanoUSD: 40, Tokens: 10})
		w.ok(err)
		d := w.denied(l, 30, budget.ErrSpent, "tenant=a")
		if n := len(d.Violations); n < 1 || n > 2 {
			w.Fatalf("violations %v", d.Violations)
		}
		w.take(l, 30, "tenant=b")
		w.skip(time.Hour + 2*time.Minute)
	}
	w.stands(l, hour, sums{}, "tenant=a")
	w.stands(l, long, sums{settled: 80}, "tenant=a")
	w.stands(l, hour, sums{held: 30}, "tenant=b") // its lease ran out, and nobody has swept
	w.sweep(l)
	w.stands(l, hour, sums{}, "tenant=b")
	w.stands(l, long, sums{settled: 60, unconfirmed: 60}, "tenant=b")
}

func rollingThresholds(w *world) {
	cap := rollingCap(budget.Account(), 100)
	l := w.ledger(cap)
	w.fresh()
	percents := func(crossed []budget.Crossing) string {
		out := ""
		for _, c := range crossed {
			if c.Reset.IsZero() || c.Cap != cap.ID() {
				w.Errorf("crossing %+v", c)
			}
			out += fmt.Sprint(c.Percent, " ")
		}
		return out
	}
	fires := func(nano int64, want string) string {
		w.Helper()
		id := w.take(l, nano)
		if got := percents(w.settle(l, id, nano).Crossed); got != want {
			w.Fatalf("settling %d announced %q, want %q", nano, got, want)
		}
		return id
	}
	fires(55, "50 ")
	w.skip(time.Hour)
	refunded := fires(30, "80 ")
	_, err := l.TrueUp(w.ctx, refunded, money(10), "receipt")
	w.ok(err)
	fires(20, "") // down by a receipt and up again is no news
	reset := w.stands(l, cap, sums{settled: 85}).Reset
	w.until(reset, 0)
	w.stands(l, cap, sums{settled: 30})
	fires(40, "50 ") // down because time has passed, and up again, is
	fires(10, "80 ")
	fires(9, "")
}

func rollingLimitsChange(w *world) {
	cap := rollingCap(budget.Account(), 100)
	a, b := w.ledger(cap), w.ledger()
	w.fresh()
	w.spent(a, 80)
	reset := w.stands(a, cap, sums{settled: 80}).Reset
	cap.Limit = 50
	w.ok(a.Define(w.ctx, "ann", cap))
	if d := w.denied(b, 1, budget.ErrSpent); !d.ResetAt().Equal(reset) {
		w.Fatalf("denied until %v, want %v", d.ResetAt(), reset)
	}
	w.until(reset, 0)
	w.take(b, 50)
	w.denied(b, 1, budget.ErrHeld)
}

// What is over the limit leaves with the bucket that overran, and never lets more in than the limit.
func rollingOverrun(w *world) {
	cap := rollingCap(budget.Account(), 100)
	l := w.ledger(cap)
	w.fresh()
	over := w.take(l, 60)
	w.settle(l, over, 150)
	first := w.stands(l, cap, sums{settled: 150, overrun: 90}).Reset
	w.until(first, 0)
	w.fresh()
	early := w.spent(l, 60)
	w.skip(time.Hour)
	late := w.take(l, 40)
	_, err := l.TrueUp(w.ctx, early, money(20), "receipt")
	w.ok(err)
	w.take(l, 40)
	_, err = l.TrueUp(w.ctx, early, money(55), "audit") // others have spent its refund
	w.ok(err)
	s := w.stands(l, cap, sums{settled: 55, held: 80, overrun: 35})
	w.ok(l.Renew(w.ctx, late, 100*time.Hour))
	w.until(s.Reset, 0)
	w.sweep(l)
	w.stands(l, cap, sums{settled: 40, held: 40, unconfirmed: 40})
	w.take(l, 20)
	w.denied(l, 1, budget.ErrHeld)
}

// When a bucket leaves, what stands is the sum of the others, whatever happened in them; and what has left is in nobody's way.
func rollingRest(w *world) {
	cap := rollingCap(budget.Account(), 100)
	l := w.ledger(cap)
	w.fresh()
	w.spent(l, 20)
	reset := w.stands(l, cap, sums{settled: 20}).Reset
	w.skip(time.Hour)
	over, charged, refunded := w.take(l, 30), w.take(l, 20), w.take(l, 30)
	w.settle(l, over, 35)
	_, err := l.TrueUp(w.ctx, over, money(25), "receipt")
	w.ok(err)
	_, err = l.Charge(w.ctx, charged)
	w.ok(err)
	w.settle(l, charged, 15)
	w.settle(l, refunded, 10)
	w.spent(l, 20)
	w.spent(l, 10)
	w.stands(l, cap, sums{settled: 100})
	w.until(reset, 0)
	// Nobody has asked since the first bucket left: there is room for what the receipt takes back.
	s, err := l.TrueUp(w.ctx, refunded, money(30), "receipt")
	w.ok(err)
	if len(s.Crossed) != 1 || s.Crossed[0].Percent != 95 {
		w.Fatalf("fell to 80 and rose to 100, and announced %+v", s.Crossed)
	}
	w.stands(l, cap, sums{settled: 100})
}

// An ended reservation is remembered for a day after its bucket has left, so that a late receipt still finds it.
func rollingRemembers(w *world) {
	cap := rollingCap(budget.Account(), 100)
	l := w.ledger(cap)
	w.fresh()
	id := w.spent(l, 60)
	reset := w.stands(l, cap, sums{settled: 60}).Reset
	w.until(reset, -24*time.Hour+w.slack()+time.Second)
	for range 3 {
		w.sweep(l)
	}
	if s := w.settle(l, id, 60); !s.Duplicate {
		w.Fatalf("settled again: %+v", s)
	}
	_, err := l.TrueUp(w.ctx, id, money(50), "receipt")
	w.ok(err)
	w.stands(l, cap, sums{})
	w.until(reset, -25*time.Hour)
	id = w.spent(l, 60) // who asks next may be the one to forget all that the count had
	w.stands(l, cap, sums{settled: 60})
	w.denied(l, 41, budget.ErrSpent)
	_, err = l.TrueUp(w.ctx, id, money(50), "receipt")
	w.ok(err)
	w.stands(l, cap, sums{settled: 50})
}

// Many callers on several ledgers never pass the cap, while buckets leave.
func rollingHoldsInParallel(w *world) {
	const limit = 500
	cap, each := rollingCap(budget.Account(), limit), rollingCap(budget.Each("tenant"), limit/2)
	ledgers := []*budget.Ledger{w.ledger(cap, each), w.ledger(), w.ledger()}
	w.fresh()
	for round := range 4 {
		var mu sync.Mutex
		granted := int64(0)
		var wg sync.WaitGroup
		for worker := range 6 {
			wg.Go(func() {
				l := ledgers[worker%len(ledgers)]
				for i := range 20 {
					id := fmt.Sprintf("%d/%d/%d", round, worker, i)
					_, err := l.Reserve(w.ctx, budget.Request{ID: id, Scopes: scopes(fmt.Sprintf("tenant=%d", i%2)), Amounts: money(10)})
					if errors.Is(err, budget.ErrDenied) {
						continue
					}
					if err != nil {
						w.Error(err)
						return
					}
					mu.Lock()
					granted += 10
					mu.Unlock()
					s, err := l.Settle(w.ctx, id, money(10))
					if err != nil {
						w.Error(err)
						return
					}
					for _, left := range s.Left {
						if left.Settled+left.Held > left.Limit {
							w.Errorf("%d settled and %d held of %d", left.Settled, left.Held, left.Limit)
						}
					}
				}
			})
		}
		wg.Wait()
		if granted != limit {
			w.Fatalf("round %d: %d granted, want %d", round, granted, limit)
		}
		w.stands(ledgers[0], cap, sums{settled: limit})
		w.skip(lookBack + bucket)
		w.stands(ledgers[0], cap, sums{})
	}
}
