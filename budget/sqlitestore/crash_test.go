package sqlitestore_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/sqlitestore"
	"go.uber.org/goleak"
)

// The test binary is its own worker: a service that spends, to be killed.
func TestMain(m *testing.M) {
	switch os.Getenv("SQLITESTORE_WORKER") {
	case "spend":
		os.Exit(spend())
	case "crash":
		os.Exit(crash())
	case "stop":
		os.Exit(stop())
	case "rush":
		os.Exit(rush())
	}
	goleak.VerifyTestMain(m)
}

const (
	workLease = 200 * time.Millisecond
	workMost  = 100 // the largest bound
	workers   = 4
	callers   = 8 // per worker
)

func workCap(limit int64) budget.Cap {
	return budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: limit, Per: budget.Lifetime()}
}

// bill writes down what a provider bills. The kernel keeps it, whatever happens to the process.
func bill(f *os.File, nano int64) error {
	_, err := fmt.Fprintf(f, "%d\n", nano)
	return err
}

// spend calls a provider for as long as it lives. Some calls are settled twice, some are charged and corrected by receipt,
// some are refused by the provider.
func spend() int {
	ctx := context.Background()
	s := sqlitestore.At(os.Getenv("SQLITESTORE_PATH"), sqlitestore.Existing())
	if os.Getenv("SQLITESTORE_RELEASE") != "" {
		sqlitestore.ReleaseOnExpiry(s)
	}
	var l *budget.Ledger
	err := budget.ErrUnavailable
	for errors.Is(err, budget.ErrUnavailable) { // a process that was stopped may hold the file's lock for long
		l, err = budget.Open(ctx, budget.Config{Store: s, Lease: workLease})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	bills, err := os.OpenFile(os.Getenv("SQLITESTORE_BILLS"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	var stopped atomic.Bool
	go func() { <-stop; stopped.Store(true) }()
	var wg sync.WaitGroup
	var failed atomic.Bool
	for caller := range callers {
		wg.Go(func() {
			for n := 0; !stopped.Load(); n++ {
				err := call(ctx, l, bills, fmt.Sprintf("%d/%d/%d", os.Getpid(), caller, n))
				if err != nil && !errors.Is(err, budget.ErrUnavailable) { // nothing was dispatched, or the bound is charged
					fmt.Fprintln(os.Stderr, err)
					failed.Store(true)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil || failed.Load() {
		return 3
	}
	return 0
}

func call(ctx context.Context, l *budget.Ledger, bills *os.File, id string) error {
	bound := 1 + rand.Int64N(workMost)
	r := budget.Request{ID: id, Amounts: budget.Amounts{NanoUSD: bound}}
	_, err := l.Reserve(ctx, r)
	fate := rand.IntN(100)
	if err == nil && fate < 10 { // the answer was lost
		if g, again := l.Reserve(ctx, r); again != nil && !errors.Is(again, budget.ErrFinished) || again == nil && !g.Duplicate {
			return fmt.Errorf("reserved again: %+v, %w", g, again)
		} else if again != nil {
			return nil // the lease is over already, so the call is not sent
		}
	}
	switch {
	case errors.Is(err, budget.ErrDenied):
		time.Sleep(5 * time.Millisecond)
		return nil
	case err != nil:
		return err
	}
	if fate >= 95 {
		return l.Void(ctx, id, budget.ProofStatus429)
	}
	actual := 1 + rand.Int64N(bound)
	if err := bill(bills, actual); err != nil {
		return err
	}
	time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond)
	if fate >= 85 {
		if _, err := l.Charge(ctx, id); err != nil {
			return err
		}
		_, err := l.TrueUp(ctx, id, budget.Amounts{NanoUSD: actual}, "receipt")
		return err
	}
	for range 1 + fate%2 {
		if _, err := l.Settle(ctx, id, budget.Amounts{NanoUSD: actual}); err != nil {
			return err
		}
	}
	return nil
}

// proof is one run of workers that are killed and stopped, beside the true bill.
type proof struct {
	t       *testing.T
	path    string
	bills   string
	release bool
	offset  int64
	billed  int64
	calls   int
	stderr  bytes.Buffer
	stderrs sync.Mutex
}

func newProof(t *testing.T) *proof {
	dir := t.TempDir()
	p := &proof{t: t, path: filepath.Join(dir, "spend.db"), bills: filepath.Join(dir, "bills")}
	if err := os.WriteFile(p.bills, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *proof) Write(b []byte) (int, error) {
	p.stderrs.Lock()
	defer p.stderrs.Unlock()
	return p.stderr.Write(b)
}

func (p *proof) start(kind string, env ...string) *exec.Cmd {
	p.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SQLITESTORE_WORKER="+kind, "SQLITESTORE_PATH="+p.path, "SQLITESTORE_BILLS="+p.bills)
	cmd.Env = append(cmd.Env, env...)
	if p.release {
		cmd.Env = append(cmd.Env, "SQLITESTORE_RELEASE=1")
	}
	cmd.Stderr = p
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	return cmd
}

// bill is what the provider has billed so far, counted where the calls are answered and not by the store.
func (p *proof) bill() int64 {
	p.t.Helper()
	f, err := os.Open(p.bills)
	if err != nil {
		p.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(p.offset, io.SeekStart); err != nil {
		p.t.Fatal(err)
	}
	for lines := bufio.NewReader(f); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return p.billed
		}
		nano, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil {
			p.t.Fatal(err)
		}
		p.offset += int64(len(line))
		p.billed += nano
		p.calls++
	}
}

// run kills workers until enough were, stopping some for longer than their leases. Whenever the cap is spent it is raised,
// so that nearly all of the time is spent at its edge.
func (p *proof) run(kills int) (limit int64) {
	ctx, rnd := p.t.Context(), rand.New(rand.NewPCG(uint64(kills), 5))
	const step = 5_000
	limit = step
	s := open(p.t, p.path)
	if p.release {
		sqlitestore.ReleaseOnExpiry(s)
	}
	defer s.Close()
	l, err := budget.Open(ctx, budget.Config{Store: s, Caps: []budget.Cap{workCap(limit)}})
	if err != nil {
		p.t.Fatal(err)
	}
	running := make([]*exec.Cmd, workers)
	for i := range running {
		running[i] = p.start("spend")
	}
	stops, raises := 0, 0
	left := func() budget.CapState {
		states, err := l.Snapshot(ctx)
		if err != nil || len(states) != 1 {
			p.t.Fatal(err, states)
		}
		if !p.release {
			if b := p.bill(); b > limit {
				p.t.Errorf("billed %d of %d", b, limit)
			}
			if states[0].Settled+states[0].Held > limit {
				p.t.Errorf("counted %+v", states[0])
			}
		}
		return states[0]
	}
	deadline := time.Now().Add(time.Duration(kills) * 10 * time.Second)
	for turn, killed := 1, 0; killed < kills; turn++ {
		// Some calls are waited for, so that on a slow machine, too, those who are killed were at work.
		for until := p.calls + 1 + rnd.IntN(60); p.calls < until; time.Sleep(time.Millisecond) {
			if state := left(); state.Left < workMost {
				raises++
				limit += step
				if err := l.Define(ctx, "test", workCap(limit)); err != nil {
					p.t.Fatal(err)
				}
			}
			if p.bill(); time.Now().After(deadline) {
				p.t.Fatalf("nothing is billed any more\n%s", p.stderr.String())
			}
		}
		time.Sleep(time.Duration(rnd.IntN(20)) * time.Millisecond)
		i := rnd.IntN(workers)
		if turn%8 == 0 {
			stops++
			_ = running[i].Process.Signal(syscall.SIGSTOP)
			time.Sleep(2 * workLease)
			_ = running[i].Process.Signal(syscall.SIGCONT)
			continue
		}
		killed++
		_ = running[i].Process.Kill()
		_ = running[i].Wait()
		if state := running[i].ProcessState; state.Exited() {
			p.t.Fatalf("a worker ended by itself: %v\n%s", state, p.stderr.String())
		}
		running[i] = p.start("spend")
	}
	for deadline := time.Now().Add(time.Minute); limit-left().Settled >= workMost; { // spend the rest
		if time.Now().After(deadline) {
			p.t.Fatal("the cap is never spent")
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, cmd := range running {
		_ = cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, cmd := range running {
		err := cmd.Wait()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGTERM {
			continue // it had not begun
		}
		if err != nil {
			p.t.Fatalf("worker: %v\n%s", err, p.stderr.String())
		}
	}
	time.Sleep(workLease)
	expired := 0
	for {
		swept, err := l.Sweep(ctx, 1000)
		if err != nil {
			p.t.Fatal(err)
		}
		if len(swept.Expired) == 0 {
			break
		}
		expired += len(swept.Expired)
	}
	state := left()
	p.t.Logf("%d kills, %d stops, %d raises, %d calls: billed %d, counted %d (%d unconfirmed) of %d, which is %.2f %%; %d leases were left over",
		kills, stops, raises, p.calls, p.bill(), state.Settled, state.Unconfirmed, limit, 100*float64(state.Settled)/float64(limit), expired)
	if state.Held != 0 {
		p.t.Errorf("still held: %+v", state)
	}
	if !p.release && (p.bill() > state.Settled || state.Overrun != 0) {
		p.t.Errorf("billed %d, counted %+v", p.bill(), state)
	}
	return limit
}

func kills() int {
	if os.Getenv("GRIDLOOP_LONG") != "" {
		return 1000
	}
	return 20
}

func TestBillStaysWithinCapWhenProcessesAreKilled(t *testing.T) {
	p := newProof(t)
	if limit := p.run(kills()); p.bill() > limit {
		t.Fatalf("billed %d of %d", p.bill(), limit)
	}
}

// The test of the test: the same kills on a store that gives expired leases back must overspend.
func TestReleasingExpiredLeasesOverspends(t *testing.T) {
	p := newProof(t)
	p.release = true
	if limit := p.run(20); p.bill() <= limit {
		t.Fatalf("billed %d of %d although killed calls were given back: the suite would not notice", p.bill(), limit)
	}
}

// crash makes one call of 3 cents and dies before it can settle it.
func crash() int {
	ctx := context.Background()
	bills, err := os.OpenFile(os.Getenv("SQLITESTORE_BILLS"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return 3
	}
	anchor, err := time.Parse(time.RFC3339, os.Getenv("SQLITESTORE_ANCHOR"))
	if err != nil {
		return 3
	}
	l, err := budget.Open(ctx, budget.Config{Store: sqlitestore.At(os.Getenv("SQLITESTORE_PATH")), Lease: time.Millisecond, Caps: []budget.Cap{
		{For: budget.Account(), Meter: budget.MeterMoney, Limit: budget.USD(1), Per: budget.Fixed(24*time.Hour, anchor)}}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	_, err = l.Reserve(ctx, budget.Request{ID: strconv.Itoa(os.Getpid()) + "/" + time.Now().String(), Amounts: budget.Amounts{NanoUSD: budget.USD(0.03)}})
	switch {
	case errors.Is(err, budget.ErrSpent):
		return 2
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	if bill(bills, budget.USD(0.03)) != nil {
		return 3
	}
	return 1
}

func TestCrashLoopStaysWithinDailyCap(t *testing.T) {
	p := newProof(t)
	anchor := "SQLITESTORE_ANCHOR=" + time.Now().Add(-time.Hour).Format(time.RFC3339)
	calls, refusals := 0, 0
	for range 50 {
		cmd := p.start("crash", anchor)
		_ = cmd.Wait()
		switch cmd.ProcessState.ExitCode() {
		case 1:
			calls++
		case 2:
			refusals++
		default:
			t.Fatalf("%v: %s", cmd.ProcessState, p.stderr.String())
		}
	}
	if p.bill() > budget.USD(1) || calls != 33 || refusals != 17 {
		t.Fatalf("billed %s by %d calls, %d refused", budget.FormatUSD(p.bill()), calls, refusals)
	}
}
