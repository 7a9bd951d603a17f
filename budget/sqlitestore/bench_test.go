package sqlitestore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
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
			begin, worked := time.Now(), processorTime()
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
			elapsed, worked := time.Since(begin), processorTime()-worked
			slices.Sort(took)
			b.ReportMetric(float64(b.N)/elapsed.Seconds(), "pairs/s")
			b.ReportMetric(float64(worked.Microseconds())/float64(b.N), "cpu-us/pair")
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

// processorTime is what this process has used: on a machine that does other things too, it says more than the clock.
func processorTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// naive is the ledger that most services write: look whether there is room, call, add what it cost.
type naive struct {
	mu  sync.Mutex
	raw sqlitestore.Raw
}

func (n *naive) room(limit int64) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	spent, err := n.raw.Number("SELECT nano FROM spent")
	return spent < limit, err
}

func (n *naive) add(cost int64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.raw.Exec(fmt.Sprintf("UPDATE spent SET nano = nano + %d", cost))
}

// BenchmarkCrowdOnOneCap compares what 64 callers at once spend of one cap: overspend-% is above the limit.
func BenchmarkCrowdOnOneCap(b *testing.B) {
	const limit, cost, crowd = 500_000, 900, 64
	run := func(b *testing.B, call func(id string) (bool, error)) {
		var bill, calls atomic.Int64
		begin := time.Now()
		var wg sync.WaitGroup
		for caller := range crowd {
			wg.Go(func() {
				for n := 0; ; n++ {
					switch sent, err := call(fmt.Sprintf("%d/%d", caller, n)); {
					case err != nil:
						b.Error(err)
						return
					case !sent:
						return
					}
					bill.Add(cost)
					calls.Add(1)
				}
			})
		}
		wg.Wait()
		b.ReportMetric(100*float64(max(bill.Load()-limit, 0))/limit, "overspend-%")
		b.ReportMetric(float64(calls.Load())/time.Since(begin).Seconds(), "calls/s")
	}
	dispatch := func() { time.Sleep(200 * time.Microsecond) }
	b.Run("check-then-add", func(b *testing.B) {
		for b.Loop() {
			r, err := sqlitestore.Dial(filepath.Join(b.TempDir(), "naive.db"))
			if err != nil {
				b.Fatal(err)
			}
			for _, statement := range []string{"PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "CREATE TABLE spent (nano INTEGER)", "INSERT INTO spent VALUES (0)"} {
				if err := r.Exec(statement); err != nil {
					b.Fatal(err)
				}
			}
			n := &naive{raw: r}
			run(b, func(string) (bool, error) {
				if ok, err := n.room(limit); !ok {
					return false, err
				}
				dispatch()
				return true, n.add(cost)
			})
			if err := r.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("reserve-settle", func(b *testing.B) {
		for b.Loop() {
			s := sqlitestore.At(filepath.Join(b.TempDir(), "spend.db"))
			l, err := budget.Open(b.Context(), budget.Config{Store: s, Caps: []budget.Cap{workCap(limit)}})
			if err != nil {
				b.Fatal(err)
			}
			run(b, func(id string) (bool, error) {
				if _, err := l.Reserve(b.Context(), budget.Request{ID: id, Amounts: budget.Amounts{NanoUSD: cost}}); errors.Is(err, budget.ErrDenied) {
					return false, nil
				} else if err != nil {
					return false, err
				}
				dispatch()
				_, err := l.Settle(b.Context(), id, budget.Amounts{NanoUSD: cost})
				return true, err
			})
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// rush makes pairs until it is told to stop, and says how many.
func rush() int {
	ctx := context.Background()
	s := sqlitestore.At(os.Getenv("SQLITESTORE_PATH"))
	l, err := budget.Open(ctx, budget.Config{Store: s, Caps: benchCaps()})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	var pairs atomic.Int64
	var slowest atomic.Int64
	var over atomic.Bool
	var wg sync.WaitGroup
	scopes := []budget.Scope{{Kind: "tenant", Name: "acme"}, {Kind: "run", Name: fmt.Sprint(os.Getpid())}, {Kind: "instrument", Name: "text-prime"}}
	fmt.Println("begun")
	for caller := range 64 {
		wg.Go(func() {
			for n := 0; !over.Load(); n++ {
				id, start := fmt.Sprintf("%d/%d/%d", os.Getpid(), caller, n), time.Now()
				if _, err := l.Reserve(ctx, budget.Request{ID: id, Scopes: scopes, Amounts: budget.Amounts{NanoUSD: 900}}); err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
				if _, err := l.Settle(ctx, id, budget.Amounts{NanoUSD: 300}); err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
				pairs.Add(1)
				if took := int64(time.Since(start)); took > slowest.Load() {
					slowest.Store(took)
				}
			}
		})
	}
	<-stop
	over.Store(true)
	wg.Wait()
	fmt.Println(pairs.Load(), slowest.Load())
	if s.Close() != nil {
		return 3
	}
	return 0
}

// BenchmarkFourProcesses is pairs per second of four processes with 64 callers each on one file.
func BenchmarkFourProcesses(b *testing.B) {
	path := filepath.Join(b.TempDir(), "spend.db")
	for b.Loop() {
		var outs []*bufio.Reader
		var cmds []*exec.Cmd
		for range 4 {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "SQLITESTORE_WORKER=rush", "SQLITESTORE_PATH="+path)
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				b.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			cmds, outs = append(cmds, cmd), append(outs, bufio.NewReader(out))
		}
		for _, out := range outs {
			if _, err := out.ReadString('\n'); err != nil {
				b.Fatal(err)
			}
		}
		const length = 3 * time.Second
		time.Sleep(length)
		for _, cmd := range cmds {
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
		var sum, least, slowest int64
		for i, out := range outs {
			var pairs, slow int64
			if _, err := fmt.Fscan(out, &pairs, &slow); err != nil {
				b.Fatal(err)
			}
			if err := cmds[i].Wait(); err != nil {
				b.Fatal(err)
			}
			sum, slowest = sum+pairs, max(slowest, slow)
			if i == 0 || pairs < least {
				least = pairs
			}
		}
		b.ReportMetric(float64(sum)/length.Seconds(), "pairs/s")
		b.ReportMetric(100*float64(least)/float64(sum), "least-share-%")
		b.ReportMetric(float64(slowest)/1e6, "slowest-ms")
	}
}
