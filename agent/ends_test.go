package agent_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// A run that is refused because its id is taken must not touch the caps of the
// run that has it, and a handle that nobody uses sets none.
func TestRefusedRunLeavesTheCapOfTheRunUnderWay(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	turns(m, calls(gridtest.Call("meanwhile", "{}")), say("done"))
	var a *agent.Agent
	limit := func() int64 {
		states, err := a.Ledger().Snapshot(t.Context(), budget.Scope{Kind: "run", Name: "x"})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range states {
			if s.Meter == budget.MeterMoney {
				return s.Limit
			}
		}
		return 0
	}
	a = open(t, m, agent.Config{Tools: []tools.Tool{tools.New("meanwhile", "Try the same id.", func(ctx context.Context, _ empty) (string, error) {
		second := agent.Start[string](ctx, a, "go", agent.RunID("x"), agent.Cap(budget.USD(100)))
		if got := limit(); got != budget.USD(0.02) {
			t.Errorf("a handle that was not used made the cap %d", got)
		}
		if _, err := second.Result(); err == nil {
			t.Error("two runs have one id")
		}
		if got := limit(); got != budget.USD(0.02) {
			t.Errorf("a refused run made the cap %d", got)
		}
		return "tried", nil
	})}})
	if _, err := agent.Run[string](t.Context(), a, "go", agent.RunID("x"), agent.Cap(budget.USD(0.02))); err != nil {
		t.Fatal(err)
	}
}

// A cancel while the answer at a limit is fetched is a cancel, whatever limit it was.
func TestCancelDuringTheAnswerAtALimitIsACancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			if len(turn.Tools) > 0 {
				return calls(gridtest.Call("look", "{}"))
			}
			return gridtest.Reply{Text: "late", Delay: time.Hour}
		})
		look := tools.New("look", "Look.", func(context.Context, empty) (string, error) { return "seen", nil }, tools.ReadOnly())
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		res, err := agent.Run[string](ctx, open(t, m, agent.Config{Tools: []tools.Tool{look}, Limits: agent.Limits{Steps: 1}}), "go")
		stands(t, res, err)
		if res.Stop != agent.StopCanceled || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("stopped by %s: %v", res.Stop, err)
		}
	})
}

func TestShutdownOfAnIdleAgentDoesNotMindAnEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 {
		a, err := agent.New(agent.Config{Name: "idle", Market: clientOf(t, newMarket(t, gridtest.Config{}))})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
	}
}
