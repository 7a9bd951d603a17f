package sqlitestore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/budgettest"
	"github.com/gridloop/gridloop/budget/sqlitestore"
	"go.uber.org/goleak"
)

// The test binary is its own worker: a service that spends, to be killed.
func TestMain(m *testing.M) {
	switch os.Getenv("SQLITESTORE_WORKER") {
	case "killed":
		os.Exit(killed())
	case "crash":
		os.Exit(crash())
	case "stop":
		os.Exit(stop())
	case "rush":
		os.Exit(rush())
	}
	goleak.VerifyTestMain(m)
}

func workCap(limit int64) budget.Cap {
	return budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: limit, Per: budget.Lifetime()}
}

// killed is at work until it is told or killed.
func killed() int {
	s := sqlitestore.At(os.Getenv("SQLITESTORE_PATH"), sqlitestore.Existing())
	if os.Getenv("SQLITESTORE_RELEASE") != "" {
		sqlitestore.ReleaseOnExpiry(s)
	}
	err := budgettest.WorkUntilEOF(s, os.Getenv("SQLITESTORE_BILLS"), os.Stdin)
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	return 0
}

// worker is a process that does what, not started yet.
func worker(what, path, bills string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SQLITESTORE_WORKER="+what, "SQLITESTORE_PATH="+path, "SQLITESTORE_BILLS="+bills)
	return cmd
}

func killedAtWork(t *testing.T, k budgettest.Kills) budgettest.Bill {
	t.Helper()
	path := filepath.Join(t.TempDir(), "spend.db")
	s := open(t, path)
	defer s.Close()
	if k.Released {
		sqlitestore.ReleaseOnExpiry(s)
	}
	k.Start = func(bills string) *exec.Cmd {
		cmd := worker("killed", path, bills)
		if k.Released {
			cmd.Env = append(cmd.Env, "SQLITESTORE_RELEASE=1")
		}
		return cmd
	}
	return budgettest.KilledAtWork(t, s, k)
}

func kills() int {
	if os.Getenv("GRIDLOOP_LONG") != "" {
		return 1000
	}
	return 20
}

func TestBillStaysWithinCapWhenProcessesAreKilled(t *testing.T) {
	killedAtWork(t, budgettest.Kills{Kills: kills()})
}

// The test of the test: the same kills on a store that gives expired leases back must overspend.
func TestReleasingExpiredLeasesOverspends(t *testing.T) {
	if b := killedAtWork(t, budgettest.Kills{Kills: 20, Released: true}); b.True <= b.Limit {
		t.Fatalf("billed %d of %d although killed calls were given back: the suite would not notice", b.True, b.Limit)
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
	if _, err := fmt.Fprintln(bills, budget.USD(0.03)); err != nil {
		return 3
	}
	return 1
}

func TestCrashLoopStaysWithinDailyCap(t *testing.T) {
	path, bills := filepath.Join(t.TempDir(), "spend.db"), filepath.Join(t.TempDir(), "bills")
	must(t, os.WriteFile(bills, nil, 0o600))
	anchor := "SQLITESTORE_ANCHOR=" + time.Now().Add(-time.Hour).Format(time.RFC3339)
	calls, refusals := 0, 0
	for range 50 {
		cmd := worker("crash", path, bills)
		cmd.Env, cmd.Stderr = append(cmd.Env, anchor), os.Stderr
		_ = cmd.Run()
		switch cmd.ProcessState.ExitCode() {
		case 1:
			calls++
		case 2:
			refusals++
		default:
			t.Fatal(cmd.ProcessState)
		}
	}
	billed, err := os.ReadFile(bills)
	must(t, err)
	if calls != 33 || refusals != 17 || strings.Count(string(billed), "\n") != calls {
		t.Fatalf("%d calls, %d refused, billed\n%s", calls, refusals, billed)
	}
}
