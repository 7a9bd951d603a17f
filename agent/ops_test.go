package agent_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// A sub-agent may not work for longer than the run that called it.
func TestSubAgentWorksWithinTheWallTimeAbove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			switch {
			case len(turn.Tools) == 0:
				return say("what I have")
			case turn.Tools[0] == "digger":
				return calls(gridtest.Call("digger", `{"task":"dig"}`))
			}
			return calls(lookCall())
		})
		client := clientOf(t, m)
		below := open(t, m, agent.Config{Name: "digger", Tools: []tools.Tool{wait(time.Minute)}, Market: client})
		above := open(t, m, agent.Config{Name: "boss", Agents: []*agent.Agent{below}, Market: client, Limits: agent.Limits{Wall: 90 * time.Second}})
		began := time.Now()
		res, err := agent.Run[string](t.Context(), above, "go")
		stands(t, res, err)
		if took := time.Since(began); err != nil || res.Stop != agent.StopWall || res.Text != "what I have" || took > 2*time.Minute {
			t.Errorf("stopped by %s after %v with %q: %v", res.Stop, took, res.Text, err)
		}
	})
}

// Waiting below is not work above, either.
func TestSubAgentThatWaitsForATopUpPausesTheTree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{Balance: map[string]int64{"code-prime": 0}, TopUp: gridtest.TopUp{Manual: true}})
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			if len(turn.Tools) > 0 && turn.N == 0 {
				return calls(gridtest.Call("coder", `{"task":"code"}`))
			}
			return say("done")
		})
		client := clientOf(t, m)
		below := open(t, m, agent.Config{Name: "coder", Kind: "code", Market: client})
		above := open(t, m, agent.Config{Name: "boss", Agents: []*agent.Agent{below}, Market: client})
		res, err := agent.Run[string](t.Context(), above, "go")
		stands(t, res, err)
		p := paused(t, err)
		if p.Reason != agent.PauseTopUp || len(p.Calls) != 0 {
			t.Fatalf("%+v", p)
		}
		m.SetBalance("code-prime", 1_000_000)
		res, err = agent.Resume[string](t.Context(), above, p.Token)
		stands(t, res, err)
		if err != nil || res.Text != "done" || res.Elapsed > 2*time.Second {
			t.Errorf("%q after %v of work: %v", res.Text, res.Elapsed, err)
		}
		if attempts(res.Steps) != chats(m, 1) {
			t.Errorf("%d attempts are recorded, %d requests were made", attempts(res.Steps), chats(m, 1))
		}
	})
}

// A sub-agent that fails is a result for the model above.
func TestSubAgentThatFailsIsAResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		m.Fault(gridtest.Fault{Instrument: "code-prime", Kind: gridtest.Status, Status: 500, Times: -1})
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			if turn.N == 0 {
				return calls(gridtest.Call("coder", `{"task":"code"}`), gridtest.Call("coder", `{"job":1}`))
			}
			return say("sorry")
		})
		client := clientOf(t, m)
		below := open(t, m, agent.Config{Name: "coder", Kind: "code", Market: client})
		res, err := agent.Run[string](t.Context(), open(t, m, agent.Config{Name: "boss", Agents: []*agent.Agent{below}, Market: client}), "go")
		stands(t, res, err)
		got := results(res.History())
		if err != nil || res.Text != "sorry" || len(got) != 2 {
			t.Errorf("%q, the results are %q: %v", res.Text, got, err)
		}
		if attempts(res.Steps) != chats(m, 1) {
			t.Errorf("%d attempts are recorded, %d requests were made", attempts(res.Steps), chats(m, 1))
		}
	})
}

// Sleeping for what others hold, and for a top-up, takes its time and no money.
func TestSleepTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		ledger := ledgerOf(t, budget.Cap{For: budget.Account(), Meter: budget.MeterTokens, Limit: 10_000, Per: budget.Lifetime()})
		// Somebody else holds nearly all of it for a second.
		_, err := ledger.Reserve(context.Background(), budget.Request{ID: "other", Amounts: budget.Amounts{Tokens: 9_900}})
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, func() {
			if err := ledger.Void(context.Background(), "other", budget.ProofNeverDispatched); err != nil {
				t.Error(err)
			}
		})
		began := time.Now()
		live := agent.Start[string](t.Context(), open(t, m, agent.Config{Ledger: ledger}), "go")
		held := 0
		for e := range live.Events() {
			if d, ok := e.(agent.BudgetDenied); ok && d.Kind == "held" {
				held++
			}
		}
		res, err := live.Result()
		stands(t, res, err)
		if took := time.Since(began); err != nil || held == 0 || took < time.Second || took > 4*time.Second || res.Elapsed != took {
			t.Errorf("denied %d times, took %v, worked %v: %v", held, took, res.Elapsed, err)
		}
	})
}
