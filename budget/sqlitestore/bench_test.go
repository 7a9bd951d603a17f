package sqlitestore_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/sqlitestore"
)

// benchCaps are a chain of four: every call touches all of them.
func benchCaps() []budget.Cap {
	return []budget.Cap{
		{For: budget.Account(), Meter: budget.MeterMoney, Limit: 1 << 60, Per: budget.Month(nil)},
		{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 1 << 60, Per: budget.Day(nil)},
		{For: budget.Each("run"), Meter: budget.MeterMoney, Limit: 1 << 60, Per: budget.Lifetime()},
		{For: budget.One("instrument", "text-prime"), Meter: budget.MeterMoney, Limit: 1 << 60, Per: budget.Fixed(time.Hour, time.Time{})},
	}
}

// BenchmarkReserveSettle is durable pairs of reserve and settle through ledgers with four caps.
func BenchmarkReserveSettle(b *testing.B) {
	for _, callers := range []int{1, 16, 128, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s := sqlitestore.At(filepath.Join(b.TempDir(), "spend.db"))
			defer s.Close()
			l, err := budget.Open(b.Context(), budget.Config{Store: s, Caps: benchCaps()})
			if err != nil {
				b.Fatal(err)
			}
			var serial atomic.Int64
			var mu sync.Mutex
			var took []time.Duration
			b.ResetTimer()
			begin := time.Now()
			var wg sync.WaitGroup
			for caller := range callers {
				wg.Go(func() {
					scopes := []budget.Scope{{Kind: "tenant", Name: "acme"}, {Kind: "run", Name: fmt.Sprint("run", caller%16)}, {Kind: "instrument", Name: "text-prime"}}
					own := make([]time.Duration, 0, 1024)
					for {
						n := serial.Add(1)
						if n > int64(b.N) {
							break
						}
						id := fmt.Sprintf("run%d/%d/0/first/1", caller, n)
						start := time.Now()
						if _, err := l.Reserve(b.Context(), budget.Request{ID: id, Scopes: scopes, Amounts: budget.Amounts{NanoUSD: 900, Tokens: 5000}}); err != nil {
							b.Error(err)
							return
						}
						if _, err := l.Settle(b.Context(), id, budget.Amounts{NanoUSD: 300, Tokens: 1700}); err != nil {
							b.Error(err)
							return
						}
						own = append(own, time.Since(start))
					}
					mu.Lock()
					defer mu.Unlock()
					took = append(took, own...)
				})
			}
			wg.Wait()
			elapsed := time.Since(begin)
			slices.Sort(took)
			b.ReportMetric(float64(b.N)/elapsed.Seconds(), "pairs/s")
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
