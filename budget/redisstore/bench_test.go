package redisstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/redis/go-redis/v9"
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
		for _, callers := range []int{1, 32, 256} {
			b.Run(fmt.Sprintf("fsync=%s/callers=%d", fsync, callers), func(b *testing.B) {
				srv := startServer(b, args...)
				before := srv.cost(b)
				b.ResetTimer()
				waits, err := pairs(b.Context(), srv.addr, "", callers, int64(b.N))
				b.StopTimer()
				if err != nil {
					b.Fatal(err)
				}
				srv.report(b, before)
				b.ReportMetric(float64(waits[len(waits)/2].Microseconds()), "p50-µs")
				b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds()), "p99-µs")
			})
		}
	}
}

// BenchmarkFourProcesses is four processes with eight callers each.
func BenchmarkFourProcesses(b *testing.B) {
	const processes = 4
	srv := startServer(b)
	before := srv.cost(b)
	var cmds [processes]*exec.Cmd
	b.ResetTimer()
	for i := range cmds {
		cmds[i] = startWorker(b, fmt.Sprintf("pairs %s %d %d", srv.addr, i, (b.N+processes-1)/processes))
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	}
	b.StopTimer()
	srv.report(b, before)
}

// workPairs is one of those processes. words are the server, what it is called, and how many pairs.
func workPairs(words []string) int {
	n, err := strconv.ParseInt(words[2], 10, 64)
	if err != nil {
		return 2
	}
	if _, err := pairs(context.Background(), words[0], words[1], 8, n); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	return 0
}

// pairs reserves and settles n times, and answers how long the reserves took, shortest first.
func pairs(ctx context.Context, addr, name string, callers int, n int64) ([]time.Duration, error) {
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	store := New(client)
	defer store.Close()
	l, err := budget.Open(ctx, budget.Config{Store: store, Caps: benchCaps})
	if err != nil {
		return nil, err
	}
	var next atomic.Int64
	waits, errs := make([][]time.Duration, callers), make([]error, callers)
	var wg sync.WaitGroup
	for c := range callers {
		scopes := []budget.Scope{{Kind: "tenant", Name: "acme"}, {Kind: "run", Name: "run" + name + "/" + strconv.Itoa(c)}, {Kind: "instrument", Name: "text-prime"}}
		wg.Go(func() {
			for i := next.Add(1); i <= n && errs[c] == nil; i = next.Add(1) {
				id, from := name+"/"+strconv.FormatInt(i, 10), time.Now()
				if _, errs[c] = l.Reserve(ctx, budget.Request{ID: id, Scopes: scopes, Amounts: budget.Amounts{NanoUSD: 900}}); errs[c] != nil {
					return
				}
				waits[c] = append(waits[c], time.Since(from))
				_, errs[c] = l.Settle(ctx, id, budget.Amounts{NanoUSD: 300})
			}
		})
	}
	wg.Wait()
	all := slices.Concat(waits...)
	slices.Sort(all)
	return all, errors.Join(errs...)
}

// report says what a pair cost since before.
func (s *server) report(b *testing.B, before cost) {
	after, n := s.cost(b), float64(b.N)
	b.ReportMetric(n/b.Elapsed().Seconds(), "pairs/s")
	b.ReportMetric((after.cpu-before.cpu)/n, "server-µs/pair")
	b.ReportMetric(2*n/(after.calls-before.calls), "ops/call")
}

// cost is what a server has done so far: microseconds of CPU, and calls of scripts.
type cost struct{ cpu, calls float64 }

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
		var calls float64
		if _, err := fmt.Sscanf(text["Commandstats"][name], "calls=%f,", &calls); err == nil {
			c.calls += calls
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
