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

// work is a process of its own. what is a kind and its words.
func work(what string) int {
	words := strings.Fields(what)
	switch words[0] {
	case "stop":
		return workStop(words[1:])
	case "pairs":
		return workPairs(words[1:])
	case "frozen":
		return workFrozen(words[1:])
	case "agent":
		return workAgent(words[1:])
	case "slices":
		return workSlices(words[1:])
	}
	return workKilled(words[1:])
}

// workKilled is at work until it is told or killed. words are address, file, and "charge" or "release".
func workKilled(words []string) int {
	c := redis.NewClient(&redis.Options{Addr: words[0]})
	defer c.Close()
	store := New(c)
	store.releases = words[2] == "release"
	if err := budgettest.WorkUntilEOF(store, words[1], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return 0
}

// workSlices spends from slices until the cap is spent or it is killed: reserve, have the provider bill (a line in a file
// that nobody takes back), settle. words are address and file.
func workSlices(words []string) int {
	c := redis.NewClient(&redis.Options{Addr: words[0]})
	defer c.Close()
	bill, err := os.OpenFile(words[1], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 2
	}
	store, err := budget.Slice(New(c), budget.Slices{Lease: crashLease, Check: crashLease / 6})
	if err != nil {
		return 2
	}
	ctx := context.Background()
	l, err := budget.Open(ctx, budget.Config{Store: store, Caps: []budget.Cap{crashCap}, Lease: crashLease})
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

// killedAtWork kills processes that spend from the server, and ends that now and then.
func killedAtWork(t *testing.T, k budgettest.Kills, args ...string) budgettest.Bill {
	t.Helper()
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	srv := startServer(t, args...)
	store, mode := New(srv.closing(t)), "charge"
	defer store.Close()
	if k.Released {
		mode, store.releases = "release", true
	}
	k.Start = func(bill string) *exec.Cmd { return worker(t, "killed "+srv.addr+" "+bill+" "+mode) }
	k.Outage = func() {
		srv.kill()
		srv.start()
	}
	return budgettest.KilledAtWork(t, store, k)
}

// slicesRun kills processes that spend from slices until the cap is spent, stops some past their lease, and answers what was
// billed.
func slicesRun(t *testing.T, kills int) (bill, settled int64, calls int) {
	srv := startServer(t)
	path := filepath.Join(t.TempDir(), "bill")
	what := "slices " + srv.addr + " " + path
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
	bill, settled, calls := slicesRun(t, n)
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
	killedAtWork(t, budgettest.Kills{Kills: kills(20)})
}

func TestTheBillStaysWithinTheCapThroughServerRestarts(t *testing.T) {
	n := kills(8)
	killedAtWork(t, budgettest.Kills{Kills: n, Outages: max(n/4, 3)}, "--appendonly", "yes", "--appendfsync", "always")
}

func TestKillsAreFoundOutWhenLeasesAreReleased(t *testing.T) {
	b := killedAtWork(t, budgettest.Kills{Kills: 20, Released: true})
	if b.True <= b.Limit {
		t.Fatalf("billed %d of %d although crashed calls were given back", b.True, b.Limit)
	}
}
