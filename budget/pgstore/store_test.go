package pgstore

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/budgettest"
	"go.uber.org/goleak"
)

// TestMain is also the worker that other tests kill: the test binary, started again.
func TestMain(m *testing.M) {
	if what := os.Getenv(workerEnv); what != "" {
		os.Exit(work(what))
	}
	code := m.Run()
	endShared()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func TestDatabaseIsAStore(t *testing.T) {
	startServer(t)
	clocks := map[budget.Store]*ahead{}
	budgettest.Exercise(t, func(t *testing.T) budget.Store {
		s, clock := emptied(t), &ahead{}
		s.clock, clocks[s] = clock.now, clock
		return s
	}, budgettest.Advance(func(s budget.Store, d time.Duration) { clocks[s].by.Add(int64(d)) }))
}

func TestDatabaseIsAStoreInVirtualTime(t *testing.T) {
	if os.Getenv("GRIDLOOP_LONG") == "" {
		t.Skip("the histories are long: GRIDLOOP_LONG=1")
	}
	startServer(t)
	budgettest.Exercise(t, func(t *testing.T) budget.Store {
		s := fresh(t)
		s.clock = time.Now
		return s
	}, budgettest.Virtual())
}
