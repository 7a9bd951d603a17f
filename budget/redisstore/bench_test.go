package redisstore

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
)

var benchCaps = []budget.Cap{
	{For: budget.Account(), Meter: budget.MeterMoney, Limit: MaxLimit, Per: budget.Month(nil)},
	{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: MaxLimit, Per: budget.Day(nil)},
	{For: budget.Each("run"), Meter: budget.MeterMoney, Limit: MaxLimit, Per: budget.Lifetime()},
	{For: budget.One("instrument", "text-prime"), Meter: budget.MeterMoney, Limit: MaxLimit, Per: budget.Fixed(time.Hour, time.Time{})},
}

// BenchmarkReserveSettle is calls of so many callers at once through a ledger whose chain has four caps.
func BenchmarkReserveSettle(b *testing.B) {
	for _, fsync := range []string{"no", "everysec", "always"} {
		args := []string{"--appendonly", "yes", "--appendfsync", fsync}
		if fsync == "no" {
			args = nil
		}
		for _, callers := range []int{1, 32, 128} {
			b.Run(fmt.Sprintf("fsync=%s/callers=%d", fsync, callers), func(b *testing.B) {
				srv := startServer(b, args...)
				store := New(srv.closing(b))
				l, err := budget.Open(b.Context(), budget.Config{Store: store, Caps: benchCaps})
				if err != nil {
					b.Fatal(err)
				}
				var next atomic.Int64
				waits := make([][]time.Duration, callers)
				var wg sync.WaitGroup
				before := srv.cost(b)
				b.ResetTimer()
				for c := range callers {
					scopes := []budget.Scope{{Kind: "tenant", Name: "acme"}, {Kind: "run", Name: "run" + strconv.Itoa(c)}, {Kind: "instrument", Name: "text-prime"}}
					wg.Go(func() {
						for {
							i := next.Add(1)
							if i > int64(b.N) {
								return
							}
							id, from := strconv.FormatInt(i, 10), time.Now()
							if _, err := l.Reserve(b.Context(), budget.Request{ID: id, Scopes: scopes, Amounts: budget.Amounts{NanoUSD: 900}}); err != nil {
								b.Error(err)
								return
							}
							waits[c] = append(waits[c], time.Since(from))
							if _, err := l.Settle(b.Context(), id, budget.Amounts{NanoUSD: 300}); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				after := srv.cost(b)
				b.ReportMetric((after.cpu-before.cpu)/float64(b.N), "server-µs/pair")
				b.ReportMetric((after.script-before.script)/float64(b.N), "script-µs/pair")
				b.ReportMetric(2*float64(b.N)/(after.calls-before.calls), "ops/call")
				all := slices.Concat(waits...)
				slices.Sort(all)
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pairs/s")
				b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
				b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
				if err := store.Close(); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// cost is what a server has done so far: microseconds of CPU, microseconds in scripts, and calls of them.
type cost struct{ cpu, script, calls float64 }

func (s *server) cost(t testing.TB) (c cost) {
	t.Helper()
	client := s.client()
	defer client.Close()
	text, err := client.InfoMap(t.Context(), "cpu", "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"used_cpu_user", "used_cpu_sys"} {
		v, err := strconv.ParseFloat(text["CPU"][field], 64)
		if err != nil {
			t.Fatal(err)
		}
		c.cpu += 1e6 * v
	}
	for _, name := range []string{"cmdstat_eval", "cmdstat_evalsha"} {
		var calls, usec float64
		if _, err := fmt.Sscanf(text["Commandstats"][name], "calls=%f,usec=%f,", &calls, &usec); err == nil {
			c.calls, c.script = c.calls+calls, c.script+usec
		}
	}
	return c
}

// BenchmarkNaiveCheckThenAdd is the ledger that most services write: look whether there is room, call, add what it cost.
// It reports by how much the cap was passed; the store's own number is in the same run.
func BenchmarkNaiveCheckThenAdd(b *testing.B) {
	const callers, cost, limit = 32, 10, 20_000
	srv := startServer(b)
	c := srv.closing(b)
	store := New(c)
	naive := func(key string) {
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for {
					if spent, _ := c.Get(b.Context(), key).Int64(); spent+cost > limit {
						return
					}
					time.Sleep(time.Millisecond) // the call
					if err := c.IncrBy(b.Context(), key, cost).Err(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	held := func(account string) int64 {
		l, err := budget.Open(b.Context(), budget.Config{Store: store, Account: account,
			Caps: []budget.Cap{{For: budget.Account(), Meter: budget.MeterMoney, Limit: limit, Per: budget.Lifetime()}}})
		if err != nil {
			b.Fatal(err)
		}
		var billed atomic.Int64
		var wg sync.WaitGroup
		for worker := range callers {
			wg.Go(func() {
				for i := 0; ; i++ {
					id := fmt.Sprintf("%d/%d", worker, i)
					switch _, err := l.Reserve(b.Context(), budget.Request{ID: id, Amounts: budget.Amounts{NanoUSD: cost}}); {
					case errors.Is(err, budget.ErrSpent):
						return
					case errors.Is(err, budget.ErrHeld):
						time.Sleep(time.Millisecond)
						continue
					case err != nil:
						b.Error(err)
						return
					}
					time.Sleep(time.Millisecond)
					billed.Add(cost)
					if _, err := l.Settle(b.Context(), id, budget.Amounts{NanoUSD: cost}); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		return billed.Load()
	}
	worst, ours := int64(0), int64(0)
	n := 0
	for b.Loop() {
		n++
		key := "naive" + strconv.Itoa(n)
		naive(key)
		spent, err := c.Get(b.Context(), key).Int64()
		if err != nil {
			b.Fatal(err)
		}
		worst, ours = max(worst, spent-limit), max(ours, held("a"+strconv.Itoa(n))-limit)
	}
	b.ReportMetric(float64(worst), "naive-overspend")
	b.ReportMetric(float64(ours), "store-overspend")
}
