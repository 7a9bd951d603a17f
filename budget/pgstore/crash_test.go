package pgstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
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

const workerEnv = "GRIDLOOP_PGSTORE_WORKER"

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
	return workKilled(words[1:])
}

// workKilled is at work until it is told or killed. words are address, file, and "charge" or "release".
func workKilled(words []string) int {
	store := At(words[0], Timeout(patience))
	store.releases = words[2] == "release"
	err := budgettest.WorkUntilEOF(store, words[1], os.Stdin)
	if cerr := store.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return 0
}

// worker is a process that does what, not started yet. It does not outlive this one.
func worker(t testing.TB, what string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), workerEnv+"="+what)
	cmd.SysProcAttr = tied(&syscall.SysProcAttr{}, syscall.SIGKILL)
	return cmd
}

func startWorker(t testing.TB, what string) *exec.Cmd {
	t.Helper()
	cmd := worker(t, what)
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

// killedAtWork kills processes that spend from the server, and ends that now and then.
func killedAtWork(t *testing.T, srv *server, k budgettest.Kills) budgettest.Bill {
	t.Helper()
	dsn, mode := srv.dsn()+"&search_path="+srv.emptySchema(t), "charge"
	store := At(dsn, Timeout(patience))
	defer store.Close()
	if k.Released {
		mode, store.releases = "release", true
	}
	k.Start = func(bill string) *exec.Cmd { return worker(t, "killed "+dsn+" "+bill+" "+mode) }
	crash := false
	k.Outage = func() {
		if crash = !crash; crash {
			srv.crash()
		} else {
			srv.immediate()
		}
		srv.start()
	}
	return budgettest.KilledAtWork(t, store, k)
}

func kills(short int) int {
	switch {
	case os.Getenv("GRIDLOOP_LONG") != "":
		return 1000
	case racing:
		return short / 2
	}
	return short
}

func TestBillStaysWithinCapThroughKills(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	t.Parallel()
	killedAtWork(t, startServer(t), budgettest.Kills{Kills: kills(16)})
}

func TestBillStaysWithinCapThroughEndsOfTheServer(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	t.Parallel()
	n := kills(8)
	killedAtWork(t, ownServer(t), budgettest.Kills{Kills: n, Outages: max(n/10, 4)})
}

// The test of the test: the same on a store that gives expired leases back must overspend.
func TestReleasingExpiredLeasesOverspends(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	t.Parallel()
	if b := killedAtWork(t, startServer(t), budgettest.Kills{Kills: 12, Released: true}); b.True <= b.Limit {
		t.Fatalf("billed %d of %d although killed calls were given back: the suite would not notice", b.True, b.Limit)
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
