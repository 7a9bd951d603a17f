package budget_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// Very many calls by 64 callers at once, whose caps are hit in the last tenth. Some calls are settled twice, some after
// their lease ran out, some never. The bill is added up where the calls are made and not by the store. The long form, with
// ten million, runs with GRIDLOOP_LONG=1.
func TestTheBillOfVeryManyCallsStaysWithinTheCaps(t *testing.T) {
	const callers, largest = 64, 1000
	calls := int64(30_000)
	if os.Getenv("GRIDLOOP_LONG") != "" {
		calls = 10_100_000
	}
	// A call uses a quarter of the largest reservation on average, so calls of them are a little more than the limit.
	limit := calls * largest / 4
	calls += calls / 10
	l := openLedger(t, budget.Config{Caps: []budget.Cap{
		{For: budget.Account(), Meter: budget.MeterMoney, Limit: limit, Per: budget.Lifetime()},
		{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: limit / 4, Per: budget.Lifetime()},
		{For: budget.Each("run"), Meter: budget.MeterMoney, Limit: limit / 20, Per: budget.Lifetime()},
		{For: budget.One("instrument", "x"), Meter: budget.MeterMoney, Limit: limit + 1, Per: budget.Lifetime()},
	}})
	scopesOf := func(caller int) []budget.Scope {
		return []budget.Scope{{Kind: "tenant", Name: strconv.Itoa(caller % 8)}, {Kind: "run", Name: strconv.Itoa(caller)}, {Kind: "instrument", Name: "x"}}
	}
	var bill, lost, made, duplicates, late, crashed, forgotten, held, begun atomic.Int64
	caller := func(caller int) error {
		rnd := rand.New(rand.NewPCG(uint64(caller), 3))
		ctx, scopes := context.Background(), scopesOf(caller)
		var g budget.Grant
		var s budget.Settlement
		for i := 0; begun.Add(1) <= calls; i++ {
			bound := 1 + rnd.Int64N(largest)
			actual, fate := rnd.Int64N(bound+1), rnd.IntN(1000)
			r := budget.Request{ID: strconv.Itoa(caller) + "/" + strconv.Itoa(i), Scopes: scopes, Amounts: budget.Amounts{NanoUSD: bound}}
			if fate < 11 {
				r.Lease = 1 // over at once
			}
			err := l.ReserveInto(ctx, &r, &g)
			switch {
			case errors.Is(err, budget.ErrHeld):
				if held.Add(1) > 10*calls {
					return errors.New("refused as held again and again")
				}
				begun.Add(-1)
				runtime.Gosched()
				continue
			case errors.Is(err, budget.ErrSpent):
				return nil
			case err != nil:
				return err
			}
			made.Add(1)
			bill.Add(actual)
			times := 1
			switch {
			case fate == 0: // died
				crashed.Add(1)
				lost.Add(bound - actual)
				continue
			case fate < 11:
				late.Add(1)
			case fate < 61:
				duplicates.Add(1)
				times = 2
			}
			for n := range times {
				err := l.SettleInto(ctx, r.ID, budget.Amounts{NanoUSD: actual}, &s)
				switch {
				case errors.Is(err, budget.ErrUnknownReservation) && n > 0:
				case errors.Is(err, budget.ErrUnknownReservation) && fate < 11:
					// It was charged, and so many others ended before its caller had its turn that it was forgotten.
					forgotten.Add(1)
					lost.Add(bound - actual)
				case err != nil:
					return err
				}
			}
		}
		return nil
	}
	// watch looks at every cap while they are spent.
	look := func() {
		for i := range callers {
			states, err := l.Snapshot(t.Context(), scopesOf(i)...)
			if err != nil {
				t.Error(err)
			}
			for _, s := range states {
				if s.Settled+s.Held > s.Limit || s.Overrun != 0 {
					t.Errorf("%s for %s: %d settled and %d held of %d, overrun %d", s.Cap, s.Scope, s.Settled, s.Held, s.Limit, s.Overrun)
				}
			}
		}
	}
	var spending, watching sync.WaitGroup
	done := make(chan struct{})
	looks := 0
	watching.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			look()
			looks++
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	begin := time.Now()
	for i := range callers {
		spending.Go(func() {
			if err := caller(i); err != nil {
				t.Error(err)
			}
		})
	}
	spending.Wait()
	took := time.Since(begin)
	close(done)
	watching.Wait()
	for {
		swept, err := l.Sweep(t.Context(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(swept.Expired) == 0 {
			break
		}
	}
	look()
	states, err := l.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := states[0]
	t.Logf("%d calls of %d callers in %v: limit %d, billed %d (%.4f %%), overspend %d; %d settled twice, %d late, %d never and %d too late (charged %d more than they cost), %d refused as held; looked at all caps %d times",
		made.Load(), callers, took.Round(time.Millisecond), limit, bill.Load(), 100*float64(bill.Load())/float64(limit), max(bill.Load()-limit, 0),
		duplicates.Load(), late.Load(), crashed.Load(), forgotten.Load(), lost.Load(), held.Load(), looks)
	if s.Cap != "account money lifetime" || bill.Load() > limit || s.Held != 0 || s.Settled != bill.Load()+lost.Load() {
		t.Fatalf("billed %d, lost to crashes %d, limit %d: the store says %+v", bill.Load(), lost.Load(), limit, s)
	}
	if bill.Load() < limit-largest-lost.Load() {
		t.Fatalf("only %d of %d was spent", bill.Load(), limit)
	}
	if begun.Load() > calls || crashed.Load() == 0 || late.Load() == 0 || duplicates.Load() == 0 {
		t.Fatalf("the caps were not hit, or too little happened: %d of %d calls begun", begun.Load(), calls)
	}
}
