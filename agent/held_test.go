package agent_test

import (
	"context"
	"fmt"
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

// Twenty runs share a cap on requests that has room for one call at a time, beside
// the answers that are kept back. Those that stand in line all come to their end;
// those that only ask again do not.
func TestRunsThatStandInLineAllComeToTheirEnd(t *testing.T) {
	for _, tc := range []struct {
		policy agent.HeldPolicy
		all    bool
	}{{agent.HeldRetry, false}, {agent.HeldLine, true}} {
		t.Run("policy "+string(tc.policy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const runs = 20
				m := newMarket(t, gridtest.Config{})
				m.Model(func(turn gridtest.Turn) gridtest.Reply {
					if turn.N == 0 {
						return gridtest.Reply{Calls: []gridtest.ToolCall{lookCall()}, Delay: 2 * time.Second}
					}
					return gridtest.Reply{Text: "done", Delay: 2 * time.Second}
				})
				// As tokens: what two steps use is little beside what is held for them.
				cap := budget.Cap{For: budget.Account(), Meter: budget.MeterTokens, Limit: 15_000, Per: budget.Lifetime()}
				l := ledgerOf(t, cap)
				a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Ledger: l, Limits: agent.Limits{Wait: time.Hour, Wall: time.Minute, MaxTokens: 1024}, Spending: agent.Spending{Held: tc.policy}})
				var mu sync.Mutex
				done, waits, ends, waited := 0, 0, 0, time.Duration(0)
				var wg sync.WaitGroup
				for i := range runs {
					wg.Go(func() {
						live := agent.Start[string](t.Context(), a, "go", agent.Tenant(fmt.Sprint("t", i%3)))
						for e := range live.Events() {
							mu.Lock()
							switch e := e.(type) {
							case agent.HeldWait:
								waits++
							case agent.HeldDone:
								if ends++; !e.OK {
									t.Errorf("a wait was in vain: %+v", e)
								}
							}
							mu.Unlock()
						}
						res, err := live.Result()
						stands(t, res, err)
						mu.Lock()
						defer mu.Unlock()
						waited = max(waited, res.Waited)
						if err == nil && res.Stop == agent.StopCompleted {
							done++
						} else {
							t.Logf("run %d: %s: %s", i, res.Stop, res.Reason)
						}
						if res.Elapsed > time.Minute {
							t.Errorf("waiting counts as work: %v", res.Elapsed)
						}
					})
				}
				wg.Wait()
				if (done == runs) != tc.all {
					t.Errorf("%d of %d came to their end", done, runs)
				}
				if waits != ends || (waits > 0) != tc.all || (waited > 10*time.Second) != tc.all {
					t.Errorf("%d waits began, %d ended, the longest took %v", waits, ends, waited)
				}
				if s := state(t, l, account().ID()); s.Held != 0 {
					t.Errorf("something is still held: %+v", s)
				}
			})
		})
	}
}

// A run that waits holds nothing, and its wait is bounded by Limits.Wait.
func TestARunThatWaitsHoldsNothingAndDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, say("done"))
		cap := budget.Cap{For: budget.Account(), Meter: budget.MeterTokens, Limit: 8000, Per: budget.Lifetime()}
		l := ledgerOf(t, cap)
		if _, err := l.Reserve(t.Context(), budget.Request{ID: "other", Amounts: budget.Amounts{Tokens: 7000}, Lease: time.Hour}); err != nil {
			t.Fatal(err)
		}
		a := open(t, m, agent.Config{Ledger: l, Limits: agent.Limits{Wait: 30 * time.Second}, Spending: agent.Spending{Held: agent.HeldLine},
			Market: clientOf(t, m, func(c *grid.Config) { c.Catalogue = tight(t) })})
		began := time.Now()
		type end struct {
			res *agent.Result[string]
			err error
		}
		ended := make(chan end, 1)
		go func() {
			res, err := agent.Run[string](t.Context(), a, "go")
			ended <- end{res, err}
		}()
		time.Sleep(15 * time.Second)
		if s := state(t, l, cap.ID()); s.Held != 7000 {
			t.Errorf("the run that waits holds something: %+v", s)
		}
		e := <-ended
		stands(t, e.res, e.err)
		if took := time.Since(began); took < 30*time.Second || took > 31*time.Second || e.res.Stop != agent.StopBudget || e.res.Waited < 30*time.Second {
			t.Errorf("stopped by %s after %v, waited %v", e.res.Stop, took, e.res.Waited)
		}
	})
}

// What only the run itself keeps back is not waited for: there is nobody to wait for.
func TestARunAloneDoesNotStandInLine(t *testing.T) {
	for tokens := int64(3000); tokens <= 9000; tokens += 500 {
		synctest.Test(t, func(t *testing.T) {
			m := newMarket(t, gridtest.Config{})
			m.Model(func(turn gridtest.Turn) gridtest.Reply { return greedy(turn, runaway(turn)) })
			a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Limits: agent.Limits{Wait: time.Hour, MaxTokens: 1024}, Spending: agent.Spending{Held: agent.HeldLine}})
			live := agent.Start[string](t.Context(), a, "go", agent.CapTokens(tokens))
			for e := range live.Events() {
				if w, ok := e.(agent.HeldWait); ok {
					t.Errorf("with a cap of %d tokens it waits: %+v", tokens, w)
				}
			}
			res, err := live.Result()
			stands(t, res, err)
			if err != nil || res.Stop != agent.StopBudget || res.Waited > 0 {
				t.Errorf("with a cap of %d tokens it is stopped by %s after %v of waiting: %v", tokens, res.Stop, res.Waited, err)
			}
		})
	}
}

// The time of work is counted on after a wait.
func TestWorkAfterAWaitIsWorkAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			if len(turn.Tools) == 0 {
				return say("done")
			}
			return gridtest.Reply{Calls: []gridtest.ToolCall{lookCall()}, Delay: time.Hour}
		})
		l := ledgerOf(t, budget.Cap{For: budget.Account(), Meter: budget.MeterTokens, Limit: 10_000, Per: budget.Lifetime()})
		if _, err := l.Reserve(t.Context(), budget.Request{ID: "other", Amounts: budget.Amounts{Tokens: 9000}, Lease: time.Hour}); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(5*time.Minute, func() { _ = l.Void(context.Background(), "other", budget.ProofNeverDispatched) })
		a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Ledger: l, Limits: agent.Limits{Wait: 10 * time.Minute, Wall: time.Minute, MaxTokens: 1024}, Spending: agent.Spending{Held: agent.HeldLine}})
		began := time.Now()
		res, err := agent.Run[string](t.Context(), a, "go")
		stands(t, res, err)
		if took := time.Since(began); err != nil || res.Stop != agent.StopWall || took < 6*time.Minute || took > 8*time.Minute || res.Waited < 4*time.Minute {
			t.Errorf("stopped by %s after %v, of which it waited %v: %v", res.Stop, took, res.Waited, err)
		}
	})
}

// A step waits for the cap of its instrument, not only for those of its run.
func TestAStepWaitsForItsInstrument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, say("done"))
		instrument := []budget.Scope{{Kind: "instrument", Name: "text-prime"}}
		l := ledgerOf(t, budget.Cap{For: budget.Each("instrument"), Meter: budget.MeterTokens, Limit: 10_000, Per: budget.Lifetime()})
		if _, err := l.Reserve(t.Context(), budget.Request{ID: "other", Scopes: instrument, Amounts: budget.Amounts{Tokens: 7500}, Lease: time.Hour}); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(20*time.Second, func() { _ = l.Void(context.Background(), "other", budget.ProofNeverDispatched) })
		a := open(t, m, agent.Config{Ledger: l, Limits: agent.Limits{Wait: time.Minute, MaxTokens: 2048}, Spending: agent.Spending{Held: agent.HeldLine}})
		live := agent.Start[string](t.Context(), a, "go", agent.Pin("text-prime"))
		var waits []agent.HeldWait
		for e := range live.Events() {
			if w, ok := e.(agent.HeldWait); ok {
				waits = append(waits, w)
			}
		}
		res, err := live.Result()
		stands(t, res, err)
		if err != nil || res.Text != "done" || len(waits) != 1 || waits[0].Instrument != "text-prime" || res.Waited < 19*time.Second || res.Waited > 23*time.Second {
			t.Errorf("%q after %v of waiting (%+v): %v", res.Text, res.Waited, waits, err)
		}
	})
}
