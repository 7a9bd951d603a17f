package budgettest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// Kills is what [KilledAtWork] does to processes.
type Kills struct {
	// Kills is how many processes are killed, by SIGKILL and at work.
	Kills int
	// Start makes, without starting it, a process that calls [WorkUntilEOF] with the store and the file.
	Start func(bill string) *exec.Cmd
	// Outages is how often Outage is called, which ends and starts what the store is kept in, while all are at work.
	Outages int
	Outage  func()
	// Released says that the store gives leases that run out back, so that it must overspend: nothing is wanted of it.
	Released bool
}

const (
	killedMost    = 100   // the largest bound
	killedStep    = 5_000 // by which the limit is raised
	killedWorkers = 4
	killedCallers = 8 // per process
	killedLease   = 300 * time.Millisecond
	killedAccount = "killed"
)

func killedCap(limit int64) budget.Cap { return moneyCap(budget.Account(), limit) }

// KilledAtWork lets four processes spend one cap, kills one after the other and starts others in their place, and stops
// some for longer than their leases. Whenever the cap is spent it is raised, so that nearly all of the time is spent at its
// edge. The true bill, which every process writes down where its calls are answered, is never more than the limit, and in
// the end the cap is used up. The answer has the bill, its calls and what was counted.
func KilledAtWork(t *testing.T, store budget.Store, k Kills) Bill {
	t.Helper()
	w := &killing{T: t, Kills: k, bills: filepath.Join(t.TempDir(), "bills"), limit: killedStep, rnd: rand.New(rand.NewPCG(uint64(k.Kills), 5))}
	if err := os.WriteFile(w.bills, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := budget.Open(t.Context(), budget.Config{Store: store, Account: killedAccount, Caps: []budget.Cap{killedCap(w.limit)}})
	if err != nil {
		t.Fatal(err)
	}
	w.ledger = l
	t.Cleanup(w.killAll) // where the test ended early
	for i := range w.workers {
		w.workers[i] = w.start()
	}
	w.killSome()
	w.spendTheRest()
	w.endAll()
	time.Sleep(killedLease + 50*time.Millisecond)
	expired := 0
	for {
		swept, err := l.Sweep(t.Context(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(swept.Expired) == 0 {
			break
		}
		expired += len(swept.Expired)
	}
	state := w.look()
	b := Bill{Limit: w.limit, True: w.bill(), Counted: state.Settled, Calls: w.calls}
	t.Logf("%d kills, %d stops, %d outages, %d raises, %d calls: billed %d, counted %d (%d unconfirmed) of %d, which is %.2f %%; %d leases were left over",
		k.Kills, w.stops, w.outages, w.raises, b.Calls, b.True, b.Counted, state.Unconfirmed, b.Limit, 100*float64(b.Counted)/float64(b.Limit), expired)
	if state.Held != 0 {
		t.Errorf("still held: %+v", state)
	}
	if !k.Released && (b.True > b.Limit || b.True > b.Counted || state.Overrun != 0 || b.Counted < b.Limit-killedMost) {
		t.Errorf("billed %d of %d, counted %+v", b.True, b.Limit, state)
	}
	return b
}

// killing is one run of [KilledAtWork].
type killing struct {
	*testing.T
	Kills
	ledger  *budget.Ledger
	rnd     *rand.Rand
	limit   int64
	workers [killedWorkers]*killedWorker

	bills  string
	offset int64
	billed int64
	calls  int

	stops, raises, outages int
}

type killedWorker struct {
	*exec.Cmd
	stdin io.Closer
}

func (w *killing) start() *killedWorker {
	w.Helper()
	cmd := w.Start(w.bills)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // it ends with this process
	if err != nil {
		w.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	return &killedWorker{cmd, stdin}
}

// bill is what was billed so far.
func (w *killing) bill() int64 {
	w.Helper()
	f, err := os.Open(w.bills)
	if err != nil {
		w.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(w.offset, io.SeekStart); err != nil {
		w.Fatal(err)
	}
	for lines := bufio.NewReader(f); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return w.billed
		}
		nano, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil {
			w.Fatal(err)
		}
		w.offset += int64(len(line))
		w.billed += nano
		w.calls++
	}
}

// look raises the cap if it is spent. The bill is read before the count, so it may not be more.
func (w *killing) look() budget.CapState {
	w.Helper()
	bill := w.bill()
	var states []budget.CapState
	w.insist(func() (err error) { states, err = w.ledger.Snapshot(w.Context()); return err })
	if len(states) != 1 {
		w.Fatal(states)
	}
	s := states[0]
	if !w.Released && (bill > w.limit || bill > s.Settled+s.Held || s.Settled+s.Held > w.limit) {
		w.Errorf("billed %d, counted %+v", bill, s)
	}
	return s
}

// insist asks again while the store cannot be reached.
func (w *killing) insist(ask func() error) {
	w.Helper()
	var err error
	for range 1000 {
		if err = ask(); !errors.Is(err, budget.ErrUnavailable) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		w.Fatal(err)
	}
}

func (w *killing) killSome() {
	w.Helper()
	for turn, killed := 1, 0; killed < w.Kills.Kills; turn++ {
		w.awaitCalls(1 + w.rnd.IntN(60))
		time.Sleep(time.Duration(w.rnd.IntN(20)) * time.Millisecond)
		i := w.rnd.IntN(killedWorkers)
		if turn%8 == 0 { // a zombie comes back after its leases ran out
			w.stops++
			_ = w.workers[i].Process.Signal(syscall.SIGSTOP)
			time.Sleep(2 * killedLease)
			_ = w.workers[i].Process.Signal(syscall.SIGCONT)
			continue
		}
		if w.outages < w.Outages && killed >= w.outages*w.Kills.Kills/w.Outages {
			w.outages++
			w.Outage()
		}
		killed++
		_ = w.workers[i].Process.Kill()
		_ = w.workers[i].Wait()
		if state := w.workers[i].ProcessState; state.Exited() {
			w.Fatalf("a process ended by itself: %v", state)
		}
		w.workers[i] = w.start()
	}
}

// awaitCalls waits for calls, so that on a slow machine, too, those who are killed were at work.
func (w *killing) awaitCalls(n int) {
	w.Helper()
	w.bill()
	until := w.calls + n
	for waits := 0; w.calls < until; waits++ {
		if state := w.look(); state.Left < killedMost {
			w.raises++
			w.limit += killedStep
			w.insist(func() error { return w.ledger.Define(w.Context(), "test", killedCap(w.limit)) })
		}
		if waits > 20_000 {
			w.Fatal("nothing is billed any more")
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (w *killing) spendTheRest() {
	w.Helper()
	for waits := 0; w.limit-w.look().Settled >= killedMost; waits++ {
		if waits > 20_000 {
			w.Fatal("the cap is never spent")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (w *killing) endAll() {
	w.Helper()
	for _, cmd := range w.workers {
		_ = cmd.stdin.Close()
	}
	for _, cmd := range w.workers {
		if err := cmd.Wait(); err != nil {
			w.Errorf("a process ended with %v", err)
		}
	}
}

func (w *killing) killAll() {
	for _, cmd := range w.workers {
		if cmd != nil && cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
}

// WorkUntilEOF is the process of [KilledAtWork]: it calls a provider through the store until its input ends, and writes down
// what is billed. Some calls are settled twice, some are charged and corrected by receipt, some refused by the provider, and
// of some the reservation's answer is lost.
func WorkUntilEOF(store budget.Store, bill string, input io.Reader) error {
	bills, err := os.OpenFile(bill, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer bills.Close()
	var told atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, input)
		told.Store(true)
	}()
	ctx := context.Background()
	var l *budget.Ledger
	for l == nil {
		l, err = budget.Open(ctx, budget.Config{Store: store, Account: killedAccount, Lease: killedLease})
		switch {
		case errors.Is(err, budget.ErrUnavailable) && told.Load():
			return nil
		case errors.Is(err, budget.ErrUnavailable):
			time.Sleep(10 * time.Millisecond)
		case err != nil:
			return err
		}
	}
	failed := make(chan error, killedCallers)
	var wg sync.WaitGroup
	for caller := range killedCallers {
		wg.Go(func() {
			for n := 0; !told.Load(); n++ {
				err := callOnce(ctx, l, bills, fmt.Sprintf("%d/%d/%d/%d", os.Getpid(), time.Now().UnixNano(), caller, n))
				if err != nil && !errors.Is(err, budget.ErrUnavailable) { // nothing was dispatched, or the bound is charged
					failed <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func callOnce(ctx context.Context, l *budget.Ledger, bills io.Writer, id string) error {
	bound := 1 + rand.Int64N(killedMost)
	r := budget.Request{ID: id, Amounts: money(bound)}
	_, err := l.Reserve(ctx, r)
	switch {
	case errors.Is(err, budget.ErrDenied):
		time.Sleep(5 * time.Millisecond)
		return nil
	case err != nil:
		time.Sleep(time.Millisecond)
		return err
	}
	fate := rand.IntN(100)
	if fate < 10 { // the answer was lost
		g, err := l.Reserve(ctx, r)
		switch {
		case errors.Is(err, budget.ErrFinished): // the lease is over already, so the call is not sent
			return nil
		case err != nil:
			return err
		case !g.Duplicate:
			return fmt.Errorf("reserved again: %+v", g)
		}
	}
	if fate >= 95 {
		return l.Void(ctx, id, budget.ProofStatus429)
	}
	actual := 1 + rand.Int64N(bound)
	if _, err := fmt.Fprintln(bills, actual); err != nil { // the kernel keeps it, whatever happens to the process
		return err
	}
	time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond)
	if fate >= 85 {
		if _, err := l.Charge(ctx, id); err != nil {
			return err
		}
		_, err := l.TrueUp(ctx, id, money(actual), "receipt")
		return err
	}
	for range 1 + fate%2 {
		if _, err := l.Settle(ctx, id, money(actual)); err != nil {
			return err
		}
	}
	return nil
}
