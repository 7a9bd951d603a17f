package agent_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

func TestRunPausesWhenATopUpDoesNotComeAndGoesOnAfterwards(t *testing.T) {
	for _, tc := range []struct {
		name string
		wait time.Duration
		took time.Duration
	}{{"90 s by default", 0, 90 * time.Second}, {"5 s", 5 * time.Second, 5 * time.Second}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{Balance: map[string]int64{"agent-prime": 0}, TopUp: gridtest.TopUp{Manual: true}})
				turns(m, calls(lookCall()), say("done"))
				a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Limits: agent.Limits{Wait: tc.wait}})
				began := time.Now()
				live := agent.Start[string](t.Context(), a, "go")
				done := 0
				for e := range live.Events() {
					if e, ok := e.(agent.TopUpDone); ok {
						done++
						if e.OK {
							t.Errorf("nothing was bought, yet the wait ends well: %+v", e)
						}
					}
				}
				res, err := live.Result()
				stands(t, res, err)
				p := paused(t, err)
				if p.Reason != agent.PauseTopUp || !strings.Contains(p.Detail, "agent-prime") || !errors.Is(err, grid.ErrDry) || len(p.Calls) != 0 || done != 1 {
					t.Errorf("%+v, %d waits ended", p, done)
				}
				if took := time.Since(began); took < tc.took || took > tc.took+time.Second || res.Waited < tc.took || res.Elapsed > time.Second {
					t.Errorf("took %v, waited %v, worked %v, want a wait of %v", took, res.Waited, res.Elapsed, tc.took)
				}
				if attempts(res.Steps) != chats(m, 1) || res.Cost.NanoUSD != 0 {
					t.Errorf("%d attempts for %d requests, cost %v", attempts(res.Steps), chats(m, 1), res.Cost)
				}
				again, err := agent.Resume[string](t.Context(), a, p.Token)
				stands(t, again, err)
				p = paused(t, err)
				if took := time.Since(began); took < 2*tc.took || took > 2*tc.took+time.Second {
					t.Errorf("a resumed run has its wait budget again: the second pause came after %v", took)
				}
				time.Sleep(time.Hour)
				m.SetBalance("agent-prime", 1_000_000)
				res, err = agent.Resume[string](t.Context(), a, p.Token)
				stands(t, res, err)
				if err != nil || res.Text != "done" || res.Elapsed > time.Second {
					t.Errorf("%q after %v of work: %v", res.Text, res.Elapsed, err)
				}
				if attempts(res.Steps) != chats(m, 1) || m.Bill("") > res.Cost.NanoUSD || m.Bill("") == 0 {
					t.Errorf("%d attempts for %d requests, cost %v, bill %d", attempts(res.Steps), chats(m, 1), res.Cost, m.Bill(""))
				}
			})
		})
	}
}

// A decision is no delivery of money: the wait after it is one wait.
func TestApprovalDoesNotDoubleTheWaitForATopUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{TopUp: gridtest.TopUp{Manual: true}})
		turns(m, calls(lookCall()), say("done"))
		ask := tools.New("look", "Look.", func(context.Context, empty) (string, error) { return "seen", nil }, tools.NeedsApproval())
		a := open(t, m, agent.Config{Tools: []tools.Tool{ask}})
		_, err := agent.Run[string](t.Context(), a, "go")
		p := paused(t, err)
		m.SetBalance("agent-prime", 0)
		began := time.Now()
		res, err := agent.Resume[string](t.Context(), a, p.Token, agent.Approve(p.Calls[0]))
		stands(t, res, err)
		p = paused(t, err)
		if took := time.Since(began); p.Reason != agent.PauseTopUp || took > 91*time.Second {
			t.Errorf("paused for %s after %v", p.Reason, took)
		}
	})
}

func TestFrozenRunPausesAndGoesOnWhenItThaws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, calls(lookCall()), say("done"))
		ledger := ledgerOf(t)
		tenant := budget.Scope{Kind: "tenant", Name: "acme"}
		freeze := tools.New("look", "Look.", func(ctx context.Context, _ empty) (string, error) {
			return "seen", ledger.Freeze(ctx, tenant, "the bill looks odd", time.Time{}, "ann")
		})
		a := open(t, m, agent.Config{Tools: []tools.Tool{freeze}, Ledger: ledger})
		res, err := agent.Run[string](t.Context(), a, "go", agent.Tenant("acme"))
		stands(t, res, err)
		p := paused(t, err)
		if p.Reason != agent.PauseFrozen || !errors.Is(err, budget.ErrFrozen) || chats(m, 1) != 1 {
			t.Fatalf("%+v after %d requests", p, chats(m, 1))
		}
		if held := state(t, ledger, account().ID()).Held; held != 0 {
			t.Errorf("a paused run holds %d", held)
		}
		_, err = agent.Resume[string](t.Context(), a, p.Token)
		if p = paused(t, err); p.Reason != agent.PauseFrozen {
			t.Fatalf("still frozen, but: %v", err)
		}
		if err := ledger.Unfreeze(t.Context(), tenant, "ann"); err != nil {
			t.Fatal(err)
		}
		res, err = agent.Resume[string](t.Context(), a, p.Token)
		stands(t, res, err)
		if err != nil || res.Text != "done" || chats(m, 1) != 2 {
			t.Errorf("%q after %d requests: %v", res.Text, chats(m, 1), err)
		}
	})
}

// A cap that others hold is waited for; it is not spent.
func TestRunWaitsForWhatOthersHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		m.Model(func(turn gridtest.Turn) gridtest.Reply { return gridtest.Reply{Text: "done", Delay: 2 * time.Second} })
		cap := budget.Cap{For: budget.Account(), Meter: budget.MeterTokens, Limit: 8000, Per: budget.Lifetime()}
		a := open(t, m, agent.Config{Ledger: ledgerOf(t, cap)})
		done := make(chan error, 1)
		go func() {
			_, err := agent.Run[string](t.Context(), a, "first")
			done <- err
		}()
		time.Sleep(time.Second)
		live := agent.Start[string](t.Context(), a, "second")
		held := 0
		for e := range live.Events() {
			if d, ok := e.(agent.BudgetDenied); ok && d.Kind == "held" {
				held++
			}
		}
		res, err := live.Result()
		stands(t, res, err)
		if err != nil || res.Text != "done" {
			t.Errorf("%q: %v", res.Text, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		t.Log("denied as held", held, "times")
	})
}
