package redisstore

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
	"github.com/redis/go-redis/v9"
)

func crashes(t *testing.T, store budget.Store) budgettest.Bill { return budgettest.Crashes(t, store) }

const workerEnv = "GRIDLOOP_REDISSTORE_WORKER"

const (
	crashMost  = 4_000
	crashLease = 300 * time.Millisecond
)

// crashLimit is enough for most kills to hit a process at work.
var crashLimit = 200_000 * int64(kills(20))

var crashCap = budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: crashLimit, Per: budget.Lifetime()}

// work is a process that spends until the cap is spent or it is killed: reserve, have the provider bill (a line in a file
// that nobody takes back), settle. what is "address file mode": charge, release or slices.
func work(what string) int {
	words := strings.Fields(what)
	if words[0] == "stop" {
		return workStop(words[1:])
	}
	if words[0] == "pairs" {
		return workPairs(words[1:])
	}
	if words[0] == "frozen" {
		return workFrozen(words[1:])
	}
	if words[0] == "agent" {
		return workAgent(words[1:])
	}
	c := redis.NewClient(&redis.Options{Addr: words[0]})
	defer c.Close()
	own := New(c)
	own.releases = words[2] == "release"
	store := budget.Store(own)
	bill, err := os.OpenFile(words[1], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 2
	}
	if words[2] == "slices" {
		if store, err = budget.Slice(own, budget.Slices{Lease: crashLease, Check: crashLease / 6}); err != nil {
			return 2
		}
	}
	ctx := context.Background()
	l, err := budget.Open(ctx, budget.Config{Store: store, Caps: []budget.Cap{crashCap}, Lease: crashLease})
	for err != nil && errors.Is(err, budget.ErrUnavailable) { // the server is down
		time.Sleep(10 * time.Millisecond)
		l, err = budget.Open(ctx, budget.Config{Store: store, Caps: []budget.Cap{crashCap}, Lease: crashLease})
	}
	if err != nil {
		return 2
	}
	ended := make(chan int)
	for caller := range 4 {
		go func() { ended <- spend(ctx, l, bill, caller) }()
	}
	code := 0
	for range 4 {
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
			return 3
		}
		actual := 1 + rand.Int64N(bound)
		if _, err := fmt.Fprintln(bill, actual); err != nil {
			return 4
		}
		time.Sleep(time.Duration(rand.Int64N(int64(2 * time.Millisecond))))
		for range 1 + rand.IntN(2) { // duplicates, too
			for try := 0; try < 50; try++ {
				if _, err = l.Settle(ctx, id, budget.Amounts{NanoUSD: actual}); !errors.Is(err, budget.ErrUnavailable) {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if err != nil {
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
	return cmd
}

func billed(t *testing.T, path string) (sum int64, calls int) {
	t.Helper()
	f, err := os.Open(path)
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

// crashRun kills processes until the cap is spent, stops some past their lease, and answers what was billed.
func crashRun(t *testing.T, kills, restarts int, release bool, args ...string) (bill, settled int64, calls int) {
	mode := "charge"
	if release {
		mode = "release"
	}
	return crashRunIn(t, mode, kills, restarts, args...)
}

func crashRunIn(t *testing.T, mode string, kills, restarts int, args ...string) (bill, settled int64, calls int) {
	srv := startServer(t, args...)
	path := filepath.Join(t.TempDir(), "bill")
	what := srv.addr + " " + path + " " + mode
	const workers = 4
	var cmds [workers]*exec.Cmd
	atWork := 0
	for i := range cmds {
		cmds[i] = startWorker(t, what)
	}
	for k := range kills {
		time.Sleep(time.Duration(20+rand.IntN(60)) * time.Millisecond)
		i := rand.IntN(workers)
		if k%5 == 4 { // a zombie comes back after its leases ran out
			_ = cmds[i].Process.Signal(syscall.SIGSTOP)
			time.Sleep(crashLease + 50*time.Millisecond)
			_ = cmds[i].Process.Signal(syscall.SIGCONT)
			time.Sleep(20 * time.Millisecond)
		}
		if restarts > 0 && k%(kills/restarts) == 0 {
			srv.kill()
			srv.start()
		}
		_ = cmds[i].Process.Kill()
		if cmds[i].Wait() != nil {
			atWork++
		}
		cmds[i] = startWorker(t, what)
	}
	t.Logf("%d of %d kills hit a process at work", atWork, kills)
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Errorf("a worker ended with %v", err)
		}
	}
	store := New(srv.closing(t))
	defer store.Close()
	l, err := budget.Open(t.Context(), budget.Config{Store: store, Caps: []budget.Cap{crashCap}})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(crashLease + 50*time.Millisecond)
	if _, err := l.Sweep(t.Context(), 10_000); err != nil {
		t.Fatal(err)
	}
	states, err := l.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bill, calls = billed(t, path)
	return bill, states[0].Settled, calls
}

// Four replicas that spend from slices, killed and stopped past the slices' leases.
func TestTheBillStaysWithinTheCapThroughKillsOfReplicasWithSlices(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	n := kills(20)
	bill, settled, calls := crashRunIn(t, "slices", n, 0)
	t.Logf("%d kills, %d calls: billed %d, counted %d of %d", n, calls, bill, settled, crashLimit)
	if bill > crashLimit || settled > crashLimit || bill > settled {
		t.Fatalf("billed %d, counted %d, limit %d", bill, settled, crashLimit)
	}
	if calls < 100 {
		t.Errorf("only %d calls: the test shows nothing", calls)
	}
}

func kills(short int) int {
	if os.Getenv("GRIDLOOP_LONG") != "" {
		return 1000
	}
	return short
}

func TestTheBillStaysWithinTheCapThroughKills(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	n := kills(20)
	bill, settled, calls := crashRun(t, n, 0, false)
	t.Logf("%d kills, %d calls: billed %d, counted %d of %d", n, calls, bill, settled, crashLimit)
	if bill > crashLimit || settled > crashLimit || bill > settled {
		t.Fatalf("billed %d, counted %d, limit %d", bill, settled, crashLimit)
	}
	if settled < crashLimit*995/1000 {
		t.Errorf("counted %d of %d: less than 99.5 %%", settled, crashLimit)
	}
}

func TestTheBillStaysWithinTheCapThroughServerRestarts(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	n := kills(8)
	bill, settled, calls := crashRun(t, n, max(n/4, 3), false, "--appendonly", "yes", "--appendfsync", "always")
	t.Logf("%d kills, %d calls: billed %d, counted %d of %d", n, calls, bill, settled, crashLimit)
	if bill > crashLimit || settled > crashLimit || bill > settled {
		t.Fatalf("billed %d, counted %d, limit %d", bill, settled, crashLimit)
	}
}

func TestKillsAreFoundOutWhenLeasesAreReleased(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	if bill, _, _ := crashRun(t, 20, 0, true); bill <= crashLimit {
		t.Fatalf("billed %d of %d although crashed calls were given back", bill, crashLimit)
	}
}
