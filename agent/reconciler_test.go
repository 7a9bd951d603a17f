package agent_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// complaints collects what a reconciler could not correct.
type complaints struct {
	mu   sync.Mutex
	errs []error
}

func (c *complaints) add(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errs = append(c.errs, err)
}

func (c *complaints) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprint(errors.Join(c.errs...))
}

func (c *complaints) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.errs)
}

// corrected makes an agent whose ledger the test can look into.
func corrected(t *testing.T, m *gridtest.Market, cfg agent.Config) (*agent.Agent, *budget.Ledger) {
	t.Helper()
	ledger := ledgerOf(t)
	cfg.Ledger = ledger
	cfg.Reconcile.On = true
	return open(t, m, cfg), ledger
}

func TestTheLedgerIsCorrectedInTheBackgroundUnderEveryProfile(t *testing.T) {
	for _, p := range gridtest.Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{Profile: p, ReceiptDelay: 20 * time.Second})
				m.Model(func(turn gridtest.Turn) gridtest.Reply {
					if turn.N == 0 {
						return calls(lookCall())
					}
					return say("done")
				})
				var lost complaints
				a, ledger := corrected(t, m, agent.Config{Tools: []tools.Tool{look()}, Reconcile: agent.Reconciliation{OnError: lost.add}})
				var results []*agent.Result[string]
				for i := range 3 {
					if i == 1 {
						m.Fault(gridtest.Fault{Kind: gridtest.DropConnection})
					}
					res, err := agent.Run[string](t.Context(), a, "go", agent.Stream(agent.StreamOn))
					stands(t, res, err)
					results = append(results, res)
				}
				before := state(t, ledger, account().ID()).Settled
				if before <= m.Bill("") {
					t.Fatalf("the ledger counts %d before receipts, the bill is %d: nothing can be corrected", before, m.Bill(""))
				}
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				after := state(t, ledger, account().ID()).Settled
				if p.Reading("request_id") == "none" {
					if after != before || lost.len() == 0 || !strings.Contains(lost.String(), "no request id") {
						t.Errorf("without ids: %d became %d, told %s", before, after, &lost)
					}
					return
				}
				// A dropped connection carries no id unless the first hop has it.
				dropped := int64(0)
				for _, res := range results {
					for _, s := range res.Steps {
						for _, at := range s.Attempts {
							if at.Billed == "maybe" && at.RequestID == "" {
								dropped += at.CostNanoUSD
							}
						}
					}
				}
				if dropped == 0 && after != m.Bill("") || dropped > 0 && (after >= before || after < m.Bill("")) {
					t.Errorf("the ledger counted %d, then %d; the bill is %d, %d without a receipt", before, after, m.Bill(""), dropped)
				}
				if (lost.len() > 0) != (dropped > 0) {
					t.Errorf("told %s", &lost)
				}
				// The results say what they said; correcting them moves the ledger no more.
				for _, res := range results {
					if res.Cost.Receipt != 0 {
						t.Errorf("a result was changed: %+v", res.Cost)
					}
					_ = agent.Reconcile(t.Context(), a, res)
					if dropped == 0 && res.Cost.Open != 0 {
						t.Errorf("%+v", res.Cost)
					}
				}
				if again := state(t, ledger, account().ID()).Settled; again != after {
					t.Errorf("correcting the results moved the ledger from %d to %d", after, again)
				}
			})
		})
	}
}

func TestShutdownWaitsForReceiptsButNotForEver(t *testing.T) {
	for _, row := range []struct {
		name      string
		delay     time.Duration
		patience  time.Duration
		want      time.Duration // at most
		corrected bool
	}{
		{"receipts in time", 300 * time.Millisecond, 0, 3 * time.Second, true},
		{"receipts a little late", 8 * time.Second, 0, 9 * time.Second, true},
		{"receipts that never come", time.Hour, 0, 12 * time.Second, false},
		{"little patience", time.Hour, 2 * time.Second, 3 * time.Second, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{ReceiptDelay: row.delay})
				var lost complaints
				a, ledger := corrected(t, m, agent.Config{Reconcile: agent.Reconciliation{OnError: lost.add, Patience: row.patience}})
				res, err := agent.Run[string](t.Context(), a, "go")
				stands(t, res, err)
				began := time.Now()
				if err := a.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > row.want {
					t.Errorf("it took %v", took)
				}
				if is := state(t, ledger, account().ID()).Settled == m.Bill(""); is != row.corrected || (lost.len() == 0) != row.corrected {
					t.Errorf("corrected %v, told %s", is, &lost)
				}
				shut(t, a) // once more does nothing
			})
		})
	}
}

func TestShutdownOfAReconcilerEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{ReceiptDelay: time.Hour})
		a, _ := corrected(t, m, agent.Config{})
		_, _ = agent.Run[string](t.Context(), a, "go")
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		if err := a.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestAFullQueueIsToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{ReceiptDelay: 3 * time.Second})
		var lost complaints
		a, _ := corrected(t, m, agent.Config{Reconcile: agent.Reconciliation{OnError: lost.add, Queue: 4}})
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() { _, _ = agent.Run[string](t.Context(), a, "go") })
		}
		all.Wait()
		if lost.len() != 6 || !strings.Contains(lost.String(), "Reconcile.Queue") {
			t.Errorf("told %s", &lost)
		}
		time.Sleep(time.Minute)
		_, _ = agent.Run[string](t.Context(), a, "go")
		if lost.len() != 6 {
			t.Errorf("a queue that was emptied is full: %s", &lost)
		}
	})
}

// A market that does not answer is asked ever less often, and by one request at a time.
func TestAMarketThatIsDownIsNotStormed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		var mu sync.Mutex
		asked, under, most := 0, 0, 0
		down := roundTrip(func(r *http.Request) (*http.Response, error) {
			if !strings.HasPrefix(r.URL.Path, "/v1/usage/") {
				return m.Transport().RoundTrip(r)
			}
			mu.Lock()
			asked++
			under++
			most = max(most, under)
			mu.Unlock()
			defer func() { mu.Lock(); under--; mu.Unlock() }()
			time.Sleep(100 * time.Millisecond)
			return nil, errors.New("no route")
		})
		client := clientOf(t, m, func(c *grid.Config) { c.HTTPClient, c.Retry.Max = &http.Client{Transport: down}, -1 })
		var lost complaints
		a, _ := corrected(t, m, agent.Config{Market: client, Reconcile: agent.Reconciliation{OnError: lost.add}})
		for range 20 {
			_, _ = agent.Run[string](t.Context(), a, "go")
		}
		time.Sleep(15 * time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if most != 1 || asked > 20*20 || lost.len() != 20 {
			t.Errorf("%d requests, %d at once; told of %d", asked, most, lost.len())
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestMistakesOfReconcileAreNamed(t *testing.T) {
	_, err := agent.New(agent.Config{Name: "x", Reconcile: agent.Reconciliation{Queue: -1, Patience: -1}})
	for _, part := range []string{"Reconcile.Queue", "Reconcile.Patience", "not On"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s is missing in %v", part, err)
		}
	}
}
