package agent_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// beyond makes a reply that costs far more than its bound.
func beyond(turn gridtest.Turn, r gridtest.Reply) gridtest.Reply {
	r.PromptTokens, r.CompletionTokens = 100_000, turn.MaxTokens
	return r
}

// A halt ends by itself after an hour; a freeze that somebody meant for longer stays.
func TestAHaltDoesNotShortenAFreeze(t *testing.T) {
	for _, tc := range []struct {
		name  string
		lasts time.Duration // 0: until it is unfrozen
		left  int           // freezes after two hours
	}{
		{"without an end", 0, 1},
		{"of a day", 24 * time.Hour, 1},
		{"of a minute", time.Minute, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{})
				l := ledgerOf(t)
				in := budget.Scope{Kind: "instrument", Name: "agent-prime"}
				m.Model(func(turn gridtest.Turn) gridtest.Reply {
					var until time.Time
					if tc.lasts > 0 {
						until = time.Now().Add(tc.lasts)
					}
					if err := l.Freeze(t.Context(), in, "the bill looks odd", until, "ann"); err != nil {
						t.Error(err)
					}
					return beyond(turn, say("done"))
				})
				a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Ledger: l})
				live := agent.Start[string](t.Context(), a, "go")
				var over []agent.BudgetOverrun
				for e := range live.Events() {
					if o, ok := e.(agent.BudgetOverrun); ok {
						over = append(over, o)
					}
				}
				if len(over) != 1 || len(over[0].Halted) != 1 || over[0].Instrument != in.Name {
					t.Fatalf("%+v", over)
				}
				time.Sleep(50 * time.Minute)
				if fs, err := l.Freezes(t.Context()); err != nil || len(fs) != 1 {
					t.Errorf("the halt has ended too soon: %+v, %v", fs, err)
				}
				time.Sleep(70 * time.Minute)
				fs, err := l.Freezes(t.Context())
				if err != nil || len(fs) != tc.left || tc.left > 0 && fs[0].By != "ann" {
					t.Errorf("%+v, %v", fs, err)
				}
			})
		})
	}
}

// A called agent spends from its caller's ledger, so that is where it is stopped.
func TestAnOverrunOfACalledAgentHaltsWhereItSpends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		l := ledgerOf(t)
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			switch {
			case len(turn.Tools) == 0:
				return beyond(turn, say("looked"))
			case turn.N == 0:
				return calls(gridtest.Call("kid", `{"task":"look"}`))
			}
			return say("done")
		})
		kid := open(t, m, agent.Config{Name: "kid"})
		a := open(t, m, agent.Config{Ledger: l, Agents: []*agent.Agent{kid}})
		res, err := agent.Run[string](t.Context(), a, "go")
		stands(t, res, err)
		fs, err := l.Freezes(t.Context())
		if err != nil || len(fs) != 1 || fs[0].Scope.Kind != "instrument" || fs[0].By != "agent kid" {
			t.Errorf("%+v, %v", fs, err)
		}
	})
}

// A run that is stopped right before its answer gives back what it kept for it.
func TestAnAnswerThatIsFrozenHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := budget.Scope{Kind: "tenant", Name: "acme"}
		m := newMarket(t, gridtest.Config{})
		l := ledgerOf(t)
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			if len(turn.Tools) == 0 {
				return say("final")
			}
			if turn.N > 0 {
				if err := l.Freeze(t.Context(), tenant, "the bill looks odd", time.Time{}, "ann"); err != nil {
					t.Error(err)
				}
			}
			return calls(lookCall())
		})
		a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Ledger: l, Limits: agent.Limits{Steps: 2}})
		res, err := agent.Run[string](t.Context(), a, "go", agent.Tenant("acme"))
		stands(t, res, err)
		p := paused(t, err)
		holdsNothing := func() {
			t.Helper()
			if held, err := l.OpenReservations(t.Context(), res.Run+"/"); err != nil || len(held) > 0 {
				t.Errorf("held are %+v, %v", held, err)
			}
		}
		holdsNothing()
		if err := l.Unfreeze(t.Context(), tenant, "ann"); err != nil {
			t.Fatal(err)
		}
		res, err = agent.Resume[string](t.Context(), a, p.Token)
		stands(t, res, err)
		if err != nil || res.Text != "final" || res.Stop != agent.StopSteps {
			t.Errorf("%q, stopped by %s: %v", res.Text, res.Stop, err)
		}
		holdsNothing()
	})
}
