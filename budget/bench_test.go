package budget_test

import (
	"context"
	"math"
	"runtime"
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

// ids are made before the clock runs: whoever calls has them, or makes them, as it likes.
var ids = sync.OnceValue(func() []string {
	out := make([]string, 1<<17)
	for i := range out {
		out[i] = "r0123456789abcdef/" + strconv.Itoa(1+i%40) + "/0/6f1c2a-" + strconv.Itoa(i) + "/1"
	}
	return out
})

// pair is one call: what it may cost is reserved, what it did cost is settled.
type pair func(b *testing.B, id string)

// stretch is how many calls in a row are looked at on their own: the best stretch is what a call costs while nobody else
// wants the processor.
const stretch = 512

// pairs measures calls by n callers at once. Each has a tenant and a run of its own, and they share the account and the
// instrument; or, if apart, nothing but the store.
func pairs(b *testing.B, callers int, open func(b *testing.B, caller int) pair) {
	all := ids()
	each := len(all) / callers
	b.ReportAllocs()
	var next atomic.Int64
	before := cpuTime()
	b.SetParallelism(1)
	if callers == 1 {
		call := open(b, 0)
		i, best, began := 0, time.Duration(math.MaxInt64), time.Now()
		for b.Loop() {
			call(b, all[i])
			if i++; i%stretch == 0 {
				now := time.Now()
				best, began = min(best, now.Sub(began)), now
				i %= each
			}
		}
		if best < math.MaxInt64 {
			b.ReportMetric(float64(best)/stretch, "best-ns/op")
		}
	} else {
		b.RunParallel(func(pb *testing.PB) {
			caller := int(next.Add(1)) - 1
			call := open(b, caller)
			mine := all[caller*each : (caller+1)*each]
			for i := 0; pb.Next(); {
				call(b, mine[i])
				if i++; i == each {
					i = 0
				}
			}
		})
	}
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mpairs/s")
}

// scopesOf are what a caller's requests name.
func scopesOf(caller int) []budget.Scope {
	return []budget.Scope{{Kind: "tenant", Name: "tenant-" + strconv.Itoa(caller)}, {Kind: "run", Name: "r0123456789abcde" + strconv.Itoa(caller)}, {Kind: "instrument", Name: "text-prime"}}
}

// BenchmarkReserveSettle is one call through a ledger whose chain has four caps, in the memory of the call before.
func BenchmarkReserveSettle(b *testing.B) {
	callers := runtime.GOMAXPROCS(0)
	ledger := func(b *testing.B, m *budget.Memory, account string) *budget.Ledger {
		return openLedger(b, budget.Config{Store: m, Account: account, Caps: benchCaps})
	}
	into := func(l *budget.Ledger, caller int) pair {
		r := budget.Request{Scopes: scopesOf(caller), Amounts: budget.Amounts{NanoUSD: 900}}
		var g budget.Grant
		var s budget.Settlement
		ctx := context.Background()
		return func(b *testing.B, id string) {
			r.ID = id
			if err := l.ReserveInto(ctx, &r, &g); err != nil {
				b.Fatal(err)
			}
			if err := l.SettleInto(ctx, id, budget.Amounts{NanoUSD: 300}, &s); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("Ledger, one caller", func(b *testing.B) {
		l := ledger(b, benchStore(), "a")
		pairs(b, 1, func(_ *testing.B, caller int) pair { return into(l, caller) })
	})
	b.Run("Ledger, one caller, answers of their own", func(b *testing.B) {
		l := ledger(b, benchStore(), "a")
		scopes := scopesOf(0)
		ctx := context.Background()
		pairs(b, 1, func(*testing.B, int) pair {
			return func(b *testing.B, id string) {
				if _, err := l.Reserve(ctx, budget.Request{ID: id, Scopes: scopes, Amounts: budget.Amounts{NanoUSD: 900}}); err != nil {
					b.Fatal(err)
				}
				if _, err := l.Settle(ctx, id, budget.Amounts{NanoUSD: 300}); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	b.Run("Ledger, a caller a core, one account", func(b *testing.B) {
		l := ledger(b, benchStore(), "a")
		pairs(b, callers, func(_ *testing.B, caller int) pair { return into(l, caller) })
	})
	b.Run("Ledger, a caller a core, an account each", func(b *testing.B) {
		m := benchStore()
		pairs(b, callers, func(b *testing.B, caller int) pair { return into(ledger(b, m, strconv.Itoa(caller)), caller) })
	})
	store := func(b *testing.B, m *budget.Memory, account string, caller int) pair {
		version, err := m.Define(b.Context(), account, "bench", benchCaps)
		if err != nil {
			b.Fatal(err)
		}
		s := scopesOf(caller)
		scopes := []budget.Scope{{Kind: "account"}, s[2], s[1], s[0]}
		now := time.Now()
		op := budget.ReserveOp{Scopes: scopes, Amounts: budget.Amounts{NanoUSD: 900}, Lease: time.Minute, Version: version, Links: []budget.Link{
			{Cap: benchCaps[0].ID(), Scopes: scopes[:1], Window: benchCaps[0].Per.At(now)},
			{Cap: benchCaps[1].ID(), Scopes: scopes[3:], Window: benchCaps[1].Per.At(now)},
			{Cap: benchCaps[2].ID(), Scopes: scopes[2:3], Window: benchCaps[2].Per.At(now)},
			{Cap: benchCaps[3].ID(), Scopes: scopes[1:2], Window: benchCaps[3].Per.At(now)},
		}}
		budget.Resolved(&op)
		var ans budget.Answer
		ctx := context.Background()
		return func(b *testing.B, id string) {
			op.ID = id
			if err := m.Reserve(ctx, account, &op, &ans); err != nil || ans.Stale != "" || len(ans.Violations) > 0 {
				b.Fatal(err, ans)
			}
			if err := m.Settle(ctx, account, id, budget.Amounts{NanoUSD: 300}, &ans); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("Store, one caller", func(b *testing.B) {
		m := benchStore()
		pairs(b, 1, func(b *testing.B, caller int) pair { return store(b, m, "a", caller) })
	})
	b.Run("Store, a caller a core, one account", func(b *testing.B) {
		m := benchStore()
		pairs(b, callers, func(b *testing.B, caller int) pair { return store(b, m, "a", caller) })
	})
	b.Run("Store, a caller a core, an account each", func(b *testing.B) {
		m := benchStore()
		pairs(b, callers, func(b *testing.B, caller int) pair { return store(b, m, strconv.Itoa(caller), caller) })
	})
	b.Run("map and clock, one caller", func(b *testing.B) { pairs(b, 1, bare) })
	b.Run("map and clock, a caller a core, a map each", func(b *testing.B) { pairs(b, callers, bare) })
	b.Run("check-then-add, one caller", func(b *testing.B) {
		var n naive
		pairs(b, 1, func(*testing.B, int) pair {
			return func(b *testing.B, id string) {
				if !n.room(1 << 60) {
					b.Fatal("full")
				}
				n.add(300)
			}
		})
	})
}

// benchStore remembers so few that their ids do not come again while they are.
func benchStore() *budget.Memory { return budget.NewMemory(budget.Volatile()) }

// bare is what a call cannot do without on any store in this process, and nothing else: two locks, two looks at the clock,
// an id that is put down and found again, and one that is forgotten.
func bare(b *testing.B, _ int) pair {
	var mu sync.Mutex
	began, last, spent := time.Now(), time.Duration(0), int64(0)
	const kept = 32_768
	held, order, n := make(map[string]int64, kept+1), make([]string, kept), 0
	return func(b *testing.B, id string) {
		mu.Lock()
		last = max(last, time.Since(began))
		if _, twice := held[id]; twice {
			b.Fatal(id)
		}
		delete(held, order[n%kept])
		order[n%kept] = id
		held[id] = 900
		n++
		mu.Unlock()
		mu.Lock()
		last = max(last, time.Since(began))
		spent += held[id] - 600
		mu.Unlock()
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
