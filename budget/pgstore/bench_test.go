package pgstore

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
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// benchCaps are a chain of four: every call touches all of them, and the first is everybody's.
func benchCaps() []budget.Cap {
	return []budget.Cap{
		{For: budget.Account(), Meter: budget.MeterMoney, Limit: 1 << 60, Per: budget.Month(nil)},
		{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 1 << 60, Per: budget.Day(nil)},
		{For: budget.Each("run"), Meter: budget.MeterMoney, Limit: 1 << 60, Per: budget.Lifetime()},
		{For: budget.One("instrument", "text-prime"), Meter: budget.MeterMoney, Limit: 1 << 60, Per: budget.Fixed(time.Hour, time.Time{})},
	}
}

// BenchmarkReserveSettle is durable pairs of reserve and settle through a ledger with four caps.
func BenchmarkReserveSettle(b *testing.B) {
	for _, callers := range []int{1, 16, 128, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s := fresh(b)
			defer s.Close()
			l, err := budget.Open(b.Context(), budget.Config{Store: s, Caps: benchCaps()})
			if err != nil {
				b.Fatal(err)
			}
			var serial atomic.Int64
			var mu sync.Mutex
			var took []time.Duration
			srv := startServer(b)
			b.ResetTimer()
			begin, ours, theirs := time.Now(), processorTime(), srv.processorTime()
			var wg sync.WaitGroup
			for caller := range callers {
				wg.Go(func() {
					own := make([]time.Duration, 0, 1024)
					for {
						n := serial.Add(1)
						if n > int64(b.N) {
							break
						}
						start := time.Now()
						if err := pair(b.Context(), l, caller, fmt.Sprintf("run%d/%d/0/first/1", caller, n)); err != nil {
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
			b.ReportMetric(float64((processorTime()-ours).Microseconds())/float64(b.N), "client-us/pair")
			b.ReportMetric(float64((srv.processorTime()-theirs).Microseconds())/float64(b.N), "server-us/pair")
			slices.Sort(took)
			b.ReportMetric(float64(b.N)/elapsed.Seconds(), "pairs/s")
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

// processorTime is what the server's processes that live have used, in steps of 10 ms.
func (s *server) processorTime() (sum time.Duration) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) < 13 || fields[1] != strconv.Itoa(s.cmd.Process.Pid) {
			continue
		}
		for _, ticks := range fields[11:13] {
			n, _ := strconv.Atoi(ticks)
			sum += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return sum
}

func pair(ctx context.Context, l *budget.Ledger, caller int, id string) error {
	scopes := []budget.Scope{{Kind: "tenant", Name: "acme"}, {Kind: "run", Name: fmt.Sprint("run", caller%16)}, {Kind: "instrument", Name: "text-prime"}}
	if _, err := l.Reserve(ctx, budget.Request{ID: id, Scopes: scopes, Amounts: budget.Amounts{NanoUSD: 900, Tokens: 5000}}); err != nil {
		return err
	}
	_, err := l.Settle(ctx, id, budget.Amounts{NanoUSD: 300, Tokens: 1700})
	return err
}

// rush makes pairs until it is told to stop, and says how many.
func rush(words []string) int {
	ctx := context.Background()
	s := At(words[0])
	l, err := budget.Open(ctx, budget.Config{Store: s, Caps: benchCaps()})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	var pairs atomic.Int64
	var over atomic.Bool
	var wg sync.WaitGroup
	fmt.Println("begun")
	for caller := range 256 {
		wg.Go(func() {
			for n := 0; !over.Load(); n++ {
				if err := pair(ctx, l, caller, fmt.Sprintf("%d/%d/%d", os.Getpid(), caller, n)); err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
				pairs.Add(1)
			}
		})
	}
	<-stop
	over.Store(true)
	wg.Wait()
	fmt.Println(pairs.Load())
	if s.Close() != nil {
		return 3
	}
	return 0
}

// BenchmarkTwoReplicas is pairs per second of two processes with 256 callers each on one hot cap.
func BenchmarkTwoReplicas(b *testing.B) {
	srv := startServer(b)
	for b.Loop() {
		dsn := srv.dsn() + "&search_path=" + srv.emptySchema(b)
		var outs []*bufio.Reader
		var cmds []*exec.Cmd
		for range 2 {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), workerEnv+"=rush "+dsn)
			cmd.SysProcAttr = tied(&syscall.SysProcAttr{}, syscall.SIGKILL)
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
		begin := time.Now()
		time.Sleep(4 * time.Second)
		for _, cmd := range cmds {
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
		elapsed := time.Since(begin)
		var sum, least int64
		for i, out := range outs {
			var pairs int64
			if _, err := fmt.Fscan(out, &pairs); err != nil {
				b.Fatal(err)
			}
			if err := cmds[i].Wait(); err != nil {
				b.Fatal(err)
			}
			sum += pairs
			if i == 0 || pairs < least {
				least = pairs
			}
		}
		b.ReportMetric(float64(sum)/elapsed.Seconds(), "pairs/s")
		b.ReportMetric(100*float64(least)/float64(sum), "least-share-%")
	}
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
			srv := startServer(b)
			p, table := srv.pool(b), srv.emptySchema(b)+".spent"
			for _, statement := range []string{"CREATE TABLE " + table + " (nano bigint)", "INSERT INTO " + table + " VALUES (0)"} {
				if _, err := p.Exec(b.Context(), statement); err != nil {
					b.Fatal(err)
				}
			}
			run(b, func(string) (bool, error) {
				var spent int64
				if err := p.QueryRow(b.Context(), "SELECT nano FROM "+table).Scan(&spent); err != nil || spent >= limit {
					return false, err
				}
				dispatch()
				_, err := p.Exec(b.Context(), "UPDATE "+table+" SET nano = nano + $1", int64(cost))
				return true, err
			})
		}
	})
	b.Run("reserve-settle", func(b *testing.B) {
		for b.Loop() {
			s := fresh(b)
			l, err := budget.Open(b.Context(), budget.Config{Store: s, Caps: []budget.Cap{crashCap(limit)}})
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
