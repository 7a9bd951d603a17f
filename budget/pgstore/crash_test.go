package pgstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/budgettest"
)

const (
	workerEnv  = "GRIDLOOP_PGSTORE_WORKER"
	crashMost  = 600
	crashLease = 300 * time.Millisecond
)

func crashCap(limit int64) budget.Cap {
	return budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: limit, Per: budget.Lifetime()}
}

// work is a process of its own. what is a kind and its words: where the server is, and more.
func work(what string) int {
	words := strings.Fields(what)
	switch words[0] {
	case "stop":
		return workStop(words[1:])
	case "agent":
		return workAgent(words[1:])
	case "rush":
		return rush(words[1:])
	case "crash":
		return workCrash(words[1:])
	}
	return workSpend(words[1:])
}

// workSpend spends until the cap is spent or it is killed: reserve, have the provider bill (a line in a file that nobody
// takes back), settle. words are address, file, "charge" or "release", and the limit.
func workSpend(words []string) int {
	store := At(words[0], Timeout(20*time.Second))
	defer store.Close()
	store.releases = words[2] == "release"
	limit, err := strconv.ParseInt(words[3], 10, 64)
	if err != nil {
		return 2
	}
	bill, err := os.OpenFile(words[1], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 2
	}
	ctx := context.Background()
	l, err := budget.Open(ctx, budget.Config{Store: store, Caps: []budget.Cap{crashCap(limit)}, Lease: crashLease})
	for err != nil && errors.Is(err, budget.ErrUnavailable) { // the server is down
		time.Sleep(10 * time.Millisecond)
		l, err = budget.Open(ctx, budget.Config{Store: store, Caps: []budget.Cap{crashCap(limit)}, Lease: crashLease})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ended := make(chan int)
	const callers = 6
	for caller := range callers {
		go func() { ended <- spend(ctx, l, bill, caller) }()
	}
	code := 0
	for range callers {
		code = max(code, <-ended)
	}
	return code
}

func spend(ctx context.Context, l *budget.Ledger, bill *os.File, caller int) int {
	for i := 0; ; i++ {
		id := fmt.Sprintf("%d/%d/%d", os.Getpid(), caller, i)
		bound := 1 + rand.Int64N(crashMost)
		_, err := l.Reserve(ctx, budget.Request{ID: id, Amounts: budget.Amounts{NanoUSD: bound}})
		switch {
		case errors.Is(err, budget.ErrSpent):
			if bound > crashMost/100 {
				continue // something smaller may fit still
			}
			return 0
		case errors.Is(err, budget.ErrHeld), errors.Is(err, budget.ErrUnavailable):
			time.Sleep(5 * time.Millisecond)
			continue
		case err != nil:
			fmt.Fprintln(os.Stderr, err)
			return 3
		}
		actual := 1 + rand.Int64N(bound)
		if _, err := fmt.Fprintln(bill, actual); err != nil {
			return 4
		}
		time.Sleep(time.Duration(rand.Int64N(int64(2 * time.Millisecond))))
		for range 1 + rand.IntN(2) { // duplicates, too
			for range 2000 {
				if _, err = l.Settle(ctx, id, budget.Amounts{NanoUSD: actual}); !errors.Is(err, budget.ErrUnavailable) {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 5
			}
		}
	}
}

func startWorker(t testing.TB, what string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), workerEnv+"="+what)
	cmd.SysProcAttr = tied(&syscall.SysProcAttr{}, syscall.SIGKILL)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // where the test ended early
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}

func billed(t *testing.T, path string) (sum int64, calls int) {
	t.Helper()
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, 0
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); calls++ {
		n, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum, calls
}

// crashed is what came of a run in which processes and servers were killed.
type crashed struct {
	limit, bill, settled int64
	calls                int
}

// crashRun kills processes until the cap is spent, stops some past their lease, ends the server now and then, and answers
// what was billed.
func crashRun(t *testing.T, srv *server, kills, restarts int, limit int64, release bool) crashed {
	path := filepath.Join(t.TempDir(), "bill")
	mode := "charge"
	if release {
		mode = "release"
	}
	dsn := srv.dsn() + "&search_path=" + srv.emptySchema(t)
	what := fmt.Sprintf("spend %s %s %s %d", dsn, path, mode, limit)
	const workers = 3
	var cmds [workers]*exec.Cmd
	for i := range cmds {
		cmds[i] = startWorker(t, what)
	}
	for k := range kills {
		_, before := billed(t, path) // some calls are waited for, so that those who are killed were at work
		for waits := 0; waits < 500; waits++ {
			if _, now := billed(t, path); now > before+5+rand.IntN(20) {
				break
			}
			time.Sleep(2 * time.Millisecond)
		}
		i := rand.IntN(workers)
		if k%5 == 4 { // a zombie comes back after its leases ran out
			_ = cmds[i].Process.Signal(syscall.SIGSTOP)
			time.Sleep(crashLease + 50*time.Millisecond)
			_ = cmds[i].Process.Signal(syscall.SIGCONT)
			time.Sleep(20 * time.Millisecond)
		}
		if restarts > 0 && k%(kills/restarts) == 0 {
			if k/(kills/restarts)%2 == 0 {
				srv.crash()
			} else {
				srv.immediate()
			}
			srv.start()
		}
		_ = cmds[i].Process.Kill()
		_ = cmds[i].Wait()
		cmds[i] = startWorker(t, what)
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Errorf("a worker ended with %v", err)
		}
	}
	store := At(dsn, Existing())
	defer store.Close()
	l, err := budget.Open(t.Context(), budget.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(crashLease + 50*time.Millisecond)
	if _, err := l.Sweep(t.Context(), 10_000); err != nil {
		t.Fatal(err)
	}
	states, err := l.Snapshot(t.Context())
	if err != nil || len(states) != 1 || states[0].Held != 0 {
		t.Fatal(states, err)
	}
	c := crashed{limit: limit, settled: states[0].Settled}
	c.bill, c.calls = billed(t, path)
	t.Logf("%d kills, %d ends of the server, %d calls: billed %d, counted %d of %d", kills, restarts, c.calls, c.bill, c.settled, c.limit)
	return c
}

func (c crashed) holds(t *testing.T) {
	t.Helper()
	if c.bill > c.limit || c.settled > c.limit || c.bill > c.settled {
		t.Errorf("billed %d, counted %d, limit %d", c.bill, c.settled, c.limit)
	}
	if c.settled < c.limit*995/1000 {
		t.Errorf("counted %d of %d: less than 99.5 %%", c.settled, c.limit)
	}
}

// kills is how many, and how large a cap they need to be at work.
func kills(short int) (int, int64) {
	switch {
	case os.Getenv("GRIDLOOP_LONG") != "":
		return 1000, 12_000_000
	case racing:
		short /= 2
	}
	return short, int64(short) * 15_000
}

func TestBillStaysWithinCapThroughKills(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	t.Parallel()
	n, limit := kills(16)
	crashRun(t, startServer(t), n, 0, limit, false).holds(t)
}

func TestBillStaysWithinCapThroughEndsOfTheServer(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	t.Parallel()
	n, limit := kills(8)
	crashRun(t, ownServer(t), n, max(n/10, min(n, 4)), limit, false).holds(t)
}

// The test of the test: the same on a store that gives expired leases back must overspend.
func TestReleasingExpiredLeasesOverspends(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	t.Parallel()
	if c := crashRun(t, startServer(t), 8, 0, 100_000, true); c.bill <= c.limit {
		t.Fatalf("billed %d of %d although killed calls were given back: the suite would not notice", c.bill, c.limit)
	}
}

func TestReleasingExpiredLeasesFailsTheSuite(t *testing.T) {
	s := fresh(t)
	defer s.Close()
	s.releases = true
	if b := budgettest.Crashes(t, s); b.True <= b.Limit {
		t.Fatalf("the bill stayed within the limit: %+v", b)
	}
}

// workCrash makes one call and dies before it can settle it. words are address, file, the day's beginning and the call's
// price in cents.
func workCrash(words []string) int {
	ctx := context.Background()
	bill, err := os.OpenFile(words[1], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 3
	}
	day, err := time.Parse(time.RFC3339, words[2])
	if err != nil {
		return 3
	}
	cents, err := strconv.ParseInt(words[3], 10, 64)
	if err != nil {
		return 3
	}
	price := cents * budget.USD(0.01)
	l, err := budget.Open(ctx, budget.Config{Store: At(words[0], Timeout(patience)), Lease: time.Millisecond, Caps: []budget.Cap{
		{For: budget.Account(), Meter: budget.MeterMoney, Limit: budget.USD(1), Per: budget.Fixed(24*time.Hour, day)}}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	_, err = l.Reserve(ctx, budget.Request{ID: fmt.Sprint(os.Getpid(), time.Now()), Amounts: budget.Amounts{NanoUSD: price}})
	switch {
	case errors.Is(err, budget.ErrSpent):
		return 2
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	if _, err := fmt.Fprintln(bill, price); err != nil {
		return 3
	}
	return 1
}

func TestCrashLoopStaysWithinDailyCap(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	starts, cents := 50, 3
	if racing { // when it starts slowly
		starts, cents = 15, 9
	}
	srv, path := startServer(t), filepath.Join(t.TempDir(), "bill")
	what := fmt.Sprintf("crash %s&search_path=%s %s %s %d", srv.dsn(), srv.emptySchema(t), path, time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), cents)
	refused := 0
	for range starts {
		cmd := startWorker(t, what)
		_ = cmd.Wait()
		switch cmd.ProcessState.ExitCode() {
		case 1:
		case 2:
			refused++
		default:
			t.Fatal(cmd.ProcessState)
		}
	}
	if bill, calls := billed(t, path); bill > budget.USD(1) || calls != 100/cents || refused != starts-calls {
		t.Fatalf("billed %s by %d calls, %d refused", budget.FormatUSD(bill), calls, refused)
	}
}
