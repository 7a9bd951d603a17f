package budget_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// used is how much of a cap was in use.
type used struct{ settled, held float64 }

// firstSpent lets callers at once spend a cap with reservations of up to limit/ratio, of which they use a tenth to all, and
// tells what of the limit was settled and held when the first of them was refused as spent.
func firstSpent(t *testing.T, ratio int64, seed uint64) used {
	const largest, callers = 1000, 16
	limit := ratio * largest
	l := openLedger(t, budget.Config{Caps: []budget.Cap{{For: budget.Account(), Meter: budget.MeterMoney, Limit: limit, Per: budget.Lifetime()}}})
	var mu sync.Mutex
	var first *budget.Violation
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(caller)))
			for i := 0; i < 100_000; i++ {
				id, bound := fmt.Sprint(caller, "/", i), 1+rnd.Int64N(largest)
				_, err := l.Reserve(t.Context(), budget.Request{ID: id, Amounts: budget.Amounts{NanoUSD: bound}})
				var denied *budget.DeniedError
				switch {
				case errors.Is(err, budget.ErrHeld):
					time.Sleep(time.Millisecond)
					continue
				case errors.As(err, &denied):
					mu.Lock()
					defer mu.Unlock()
					if first == nil {
						first = &denied.Violations[0]
					}
					return
				case err != nil:
					t.Error(err)
					return
				}
				time.Sleep(time.Duration(1+rnd.IntN(5000)) * time.Microsecond) // the call
				if _, err := l.Settle(t.Context(), id, budget.Amounts{NanoUSD: bound/10 + rnd.Int64N(bound-bound/10+1)}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if first == nil { // all were refused as held, again and again
		t.Fatal("a cap that is used up does not say that it is spent")
	}
	if first.Kind != budget.KindSpent {
		t.Fatalf("the first refusal that is not held: %+v", first)
	}
	return used{float64(first.Settled) / float64(limit), float64(first.Held) / float64(limit)}
}

// A cap refuses because it is spent only when nearly all of it is: what is left is less than the request.
func TestACapIsUsedUpBeforeItSaysSpent(t *testing.T) {
	const seeds = 10
	var table strings.Builder
	table.WriteString("| limit / largest reservation | settled + held at the first `spent`, lowest | mean | settled alone, lowest |\n|---|---|---|---|\n")
	for _, ratio := range []int64{5, 10, 50, 200, 1000} {
		lowest, settled, sum := 1.0, 1.0, 0.0
		for seed := range uint64(seeds) {
			synctest.Test(t, func(t *testing.T) {
				u := firstSpent(t, ratio, seed)
				all := u.settled + u.held
				lowest, settled, sum = min(lowest, all), min(settled, u.settled), sum+all
			})
		}
		if bound := 1 - 1/float64(ratio); lowest < bound || lowest > 1 || ratio >= 1000 && lowest < 0.995 {
			t.Errorf("limit / largest reservation %d: refused as spent with %.2f %% in use", ratio, 100*lowest)
		}
		fmt.Fprintf(&table, "| %d | %.2f %% | %.2f %% | %.2f %% |\n", ratio, 100*lowest, 100*sum/seeds, 100*settled)
	}
	t.Logf("%d histories each, 16 callers:\n%s", seeds, table.String())
}
