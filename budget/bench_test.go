package budget_test

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
)

var benchCaps = []budget.Cap{
	{For: budget.Account(), Meter: budget.MeterMoney, Limit: 1 << 60, Per: budget.Month(nil)},
	{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 1 << 60, Per: budget.Day(nil)},
	{For: budget.Each("run"), Meter: budget.MeterMoney, Limit: 1 << 60, Per: budget.Lifetime()},
	{For: budget.One("instrument", "text-prime"), Meter: budget.MeterMoney, Limit: 1 << 60, Per: budget.Fixed(time.Hour, time.Time{})},
}

var benchScopes = []budget.Scope{{Kind: "tenant", Name: "acme"}, {Kind: "run", Name: "run7"}, {Kind: "instrument", Name: "text-prime"}}

// BenchmarkReserveSettle is one call through a ledger whose chain has four caps.
func BenchmarkReserveSettle(b *testing.B) {
	l := openLedger(b, budget.Config{Caps: benchCaps})
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		id := strconv.Itoa(i)
		if _, err := l.Reserve(b.Context(), budget.Request{ID: id, Scopes: benchScopes, Amounts: budget.Amounts{NanoUSD: 900}}); err != nil {
			b.Fatal(err)
		}
		if _, err := l.Settle(b.Context(), id, budget.Amounts{NanoUSD: 300}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStoreReserveSettle is the same below the ledger, where the answer's memory is the caller's.
func BenchmarkStoreReserveSettle(b *testing.B) {
	m := budget.NewMemory(budget.Volatile())
	version, err := m.Define(b.Context(), "a", "bench", benchCaps)
	if err != nil {
		b.Fatal(err)
	}
	scopes := []budget.Scope{{Kind: "account"}, benchScopes[2], benchScopes[1], benchScopes[0]}
	now := time.Now()
	op := budget.ReserveOp{Scopes: scopes, Amounts: budget.Amounts{NanoUSD: 900}, Lease: time.Minute, Version: version, Links: []budget.Link{
		{Cap: benchCaps[0].ID(), Scopes: scopes[:1], Window: benchCaps[0].Per.At(now)},
		{Cap: benchCaps[1].ID(), Scopes: scopes[3:], Window: benchCaps[1].Per.At(now)},
		{Cap: benchCaps[2].ID(), Scopes: scopes[2:3], Window: benchCaps[2].Per.At(now)},
		{Cap: benchCaps[3].ID(), Scopes: scopes[1:2], Window: benchCaps[3].Per.At(now)},
	}}
	var ans budget.Answer
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		op.ID = strconv.Itoa(i) // the one allocation
		if err := m.Reserve(b.Context(), "a", &op, &ans); err != nil || ans.Stale != "" || len(ans.Violations) > 0 {
			b.Fatal(err, ans)
		}
		if err := m.Settle(b.Context(), "a", op.ID, budget.Amounts{NanoUSD: 300}, &ans); err != nil {
			b.Fatal(err)
		}
	}
}

// naive is the ledger that most services write: look whether there is room, call, add what it cost.
type naive struct {
	mu    sync.Mutex
	spent int64
}

func (n *naive) room(limit int64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.spent < limit
}

func (n *naive) add(cost int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.spent += cost
}

const (
	crowdLimit   = 100_000
	crowdCallers = 64
	crowdCost    = 900
)

// crowd lets many callers spend one cap at once and returns the bill.
func crowd(call func(caller, n int) bool) int64 {
	var bill atomic.Int64
	var wg sync.WaitGroup
	for caller := range crowdCallers {
		wg.Go(func() {
			for n := 0; call(caller, n); n++ {
				bill.Add(crowdCost)
			}
		})
	}
	wg.Wait()
	return bill.Load()
}

func dispatch() { time.Sleep(200 * time.Microsecond) }

// BenchmarkCrowdOnOneCap compares what 64 callers at once spend of one cap: overspend-% is above the limit.
func BenchmarkCrowdOnOneCap(b *testing.B) {
	report := func(b *testing.B, bill int64) {
		b.ReportMetric(100*float64(max(bill-crowdLimit, 0))/crowdLimit, "overspend-%")
		b.ReportMetric(100*float64(bill)/crowdLimit, "bill-%")
	}
	b.Run("check-then-add", func(b *testing.B) {
		var bill int64
		for b.Loop() {
			var n naive
			bill = crowd(func(int, int) bool {
				if !n.room(crowdLimit) {
					return false
				}
				dispatch()
				n.add(crowdCost)
				return true
			})
		}
		report(b, bill)
	})
	b.Run("reserve-settle", func(b *testing.B) {
		var bill int64
		for b.Loop() {
			l := openLedger(b, budget.Config{Caps: []budget.Cap{{For: budget.Account(), Meter: budget.MeterMoney, Limit: crowdLimit, Per: budget.Lifetime()}}})
			bill = crowd(func(caller, n int) bool {
				id := strconv.Itoa(caller) + "/" + strconv.Itoa(n)
				if _, err := l.Reserve(b.Context(), budget.Request{ID: id, Amounts: budget.Amounts{NanoUSD: crowdCost}}); err != nil {
					return false
				}
				dispatch()
				_, err := l.Settle(b.Context(), id, budget.Amounts{NanoUSD: crowdCost})
				return err == nil
			})
		}
		if bill > crowdLimit {
			b.Fatalf("billed %d of %d", bill, crowdLimit)
		}
		report(b, bill)
	})
}
