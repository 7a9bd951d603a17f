//go:build !race

package budget_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/gridloop/gridloop/budget"
)

func TestACallThroughALedgerAllocatesNothing(t *testing.T) {
	l := openLedger(t, budget.Config{Caps: benchCaps, Store: budget.NewMemory(budget.Volatile(), budget.Keep(100))})
	r := budget.Request{Scopes: scopesOf(0), Amounts: budget.Amounts{NanoUSD: 900}}
	var g budget.Grant
	var s budget.Settlement
	all, i, ctx := ids(), 0, context.Background()
	call := func() {
		i++
		r.ID = all[i]
		if err := l.ReserveInto(ctx, &r, &g); err != nil {
			t.Fatal(err)
		}
		if err := l.SettleInto(ctx, r.ID, budget.Amounts{NanoUSD: 300}, &s); err != nil {
			t.Fatal(err)
		}
	}
	for range 1000 { // until the store has all the memory it wants
		call()
	}
	if n := testing.AllocsPerRun(1000, call); n >= 1 {
		t.Fatalf("%v allocations", n)
	}
}

func TestAskingWhatIsCountedAllocatesNothing(t *testing.T) {
	l := openLedger(t, budget.Config{Caps: benchCaps, Store: budget.NewMemory(budget.Volatile())})
	if n := testing.AllocsPerRun(100, func() { l.Counts(budget.MeterToolCalls) }); n > 0 {
		t.Fatalf("%v allocations", n)
	}
}

// What a service pays for the reservations that the store remembers: bytes each, and next to nothing to mark for the
// garbage collector.
func TestReservationsAreSmall(t *testing.T) {
	const kept = 1 << 14
	m := budget.NewMemory(budget.Volatile(), budget.Keep(kept))
	l := openLedger(t, budget.Config{Store: m, Caps: benchCaps})
	all, ctx, scopes := ids(), context.Background(), scopesOf(0)
	fill := func(from, to int, settle bool) {
		for _, id := range all[from:to] {
			if _, err := l.Reserve(ctx, budget.Request{ID: id, Scopes: scopes, Amounts: budget.Amounts{NanoUSD: 900}}); err != nil {
				t.Fatal(err)
			}
			if settle {
				if _, err := l.Settle(ctx, id, budget.Amounts{NanoUSD: 300}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	heap := func() int64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	fill(0, 10, true)
	begin := heap()
	fill(10, kept, true)
	ended := (heap() - begin) / kept
	begin = heap()
	fill(kept, 2*kept, false)
	open := (heap() - begin) / kept
	runtime.KeepAlive(m)
	t.Logf("bytes per ended reservation %d, per open one %d", ended, open)
	if ended > 220 || open > 260 {
		t.Fatalf("%d bytes per ended reservation, %d per open one", ended, open)
	}
}
