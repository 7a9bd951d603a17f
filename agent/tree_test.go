package agent_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// openNow lists what a ledger holds, the answers at a limit apart.
func openNow(t *testing.T, l *budget.Ledger) (answers, rest []budget.Reservation) {
	all, err := l.OpenReservations(context.Background(), "")
	if err != nil {
		t.Error(err)
	}
	for _, r := range all {
		if strings.Contains(r.ID, "/answer/") {
			answers = append(answers, r)
		} else {
			rest = append(rest, r)
		}
	}
	return answers, rest
}

func runsOf(r budget.Reservation) (runs []string) {
	for _, s := range r.Scopes {
		if s.Kind == "run" {
			runs = append(runs, s.Name)
		}
	}
	return runs
}

// A run reserves on the caps of every run above it, for its steps and for its answer at a limit.
func TestARunReservesOnAllRunsAboveIt(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	l := ledgerOf(t, budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: budget.USD(1), Per: budget.Day(nil)})
	deepest := 0
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		answers, steps := openNow(t, l)
		if len(steps) != 1 {
			t.Errorf("%d reservations for one request", len(steps))
			return say("done")
		}
		runs := runsOf(steps[0])
		deepest = max(deepest, len(runs))
		if runs[0] != "top" || !strings.HasPrefix(steps[0].ID, runs[len(runs)-1]+"/") || len(answers) != len(runs) {
			t.Errorf("%s is reserved for the runs %q, beside %d answers", steps[0].ID, runs, len(answers))
		}
		for i := 1; i < len(runs); i++ {
			if !strings.HasPrefix(runs[i], runs[i-1]+".") {
				t.Errorf("%q do not stand above each other", runs)
			}
		}
		if !slices.Contains(steps[0].Scopes, budget.Scope{Kind: "tenant", Name: "acme"}) {
			t.Errorf("%s is for %v", steps[0].ID, steps[0].Scopes)
		}
		for _, name := range []string{"mid", "leaf"} {
			if slices.Contains(turn.Tools, name) && turn.N == 0 {
				return calls(gridtest.Call(name, `{"task":"go on"}`))
			}
		}
		return say("done")
	})
	client := clientOf(t, m)
	leaf := open(t, m, agent.Config{Name: "leaf", Market: client, Ledger: l})
	mid := open(t, m, agent.Config{Name: "mid", Market: client, Ledger: l, Agents: []*agent.Agent{leaf}})
	top := open(t, m, agent.Config{Market: client, Ledger: l, Agents: []*agent.Agent{mid}})
	res, err := agent.Run[string](t.Context(), top, "go", agent.RunID("top"), agent.Tenant("acme"))
	stands(t, res, err)
	if err != nil || deepest != 3 || chats(m, 1) != 5 {
		t.Errorf("the deepest request named %d runs, there were %d requests: %v", deepest, chats(m, 1), err)
	}
}

// The answer at a limit is reserved on every cap before the first request, grows with the history, and is given back when
// the run waits for somebody, and when it ends.
func TestTheAnswerAtALimitIsKeptBackOnEveryCapAsLongAsTheRunWorks(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	caps := []budget.Cap{
		{For: budget.Each("tenant"), Meter: budget.MeterTokens, Limit: 2_000_000, Per: budget.Day(nil)},
		{For: budget.One("tier", "prime"), Meter: budget.MeterMoney, Limit: budget.USD(1), Per: budget.Day(nil)},
		{For: budget.Each("run"), Meter: budget.MeterRequests, Limit: 40, Per: budget.Lifetime()},
	}
	l := ledgerOf(t, caps...)
	var kept []int64
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		answers, steps := openNow(t, l)
		if len(answers) != 1 || len(steps) != 1 {
			t.Errorf("%d answers and %d steps are reserved", len(answers), len(steps))
			return say("done")
		}
		kept = append(kept, answers[0].Reserved.Tokens)
		want := answers[0].Reserved.Add(steps[0].Reserved)
		for _, s := range snapshot(t, l, steps[0].Scopes) {
			if s.Held != want.Get(s.Meter) || answers[0].Reserved.Get(s.Meter) == 0 {
				t.Errorf("%s holds %d, want %d", s.Cap, s.Held, want.Get(s.Meter))
			}
		}
		switch turn.N {
		case 0:
			return calls(gridtest.Call("read", "{}"))
		case 1:
			return calls(gridtest.Call("pay", "{}"))
		}
		return say("done")
	})
	a := open(t, m, agent.Config{Ledger: l, Tools: []tools.Tool{
		tools.New("read", "Read.", func(context.Context, empty) (string, error) { return strings.Repeat("words ", 10_000), nil }),
		tools.New("pay", "Pay.", func(context.Context, empty) (string, error) { return "paid", nil }, tools.NeedsApproval()),
	}})
	res, err := agent.Run[string](t.Context(), a, "go", agent.Tenant("acme"))
	stands(t, res, err)
	p := paused(t, err)
	if answers, rest := openNow(t, l); len(answers)+len(rest) != 0 {
		t.Errorf("a paused run holds %v and %v", answers, rest)
	}
	res, err = agent.Resume[string](t.Context(), a, p.Token, agent.Approve(p.Calls[0]))
	stands(t, res, err)
	if err != nil || len(kept) != 3 || kept[1] < kept[0]+60_000 || kept[2] < kept[0]+10_000 || kept[2] > kept[1] {
		t.Errorf("kept back were %d: %v", kept, err)
	}
	if answers, rest := openNow(t, l); len(answers)+len(rest) != 0 {
		t.Errorf("a run that has ended holds %v and %v", answers, rest)
	}
}

func snapshot(t *testing.T, l *budget.Ledger, scopes []budget.Scope) []budget.CapState {
	states, err := l.Snapshot(context.Background(), scopes...)
	if err != nil || len(states) < 3 {
		t.Errorf("%v: %v", states, err)
	}
	return states
}

// A run below that spends all it can get leaves the run above its answer, whatever the cap.
func TestARunBelowCannotSpendTheAnswerOfTheRunAbove(t *testing.T) {
	below := 0
	for size := budget.USD(0.012); size < budget.USD(0.2); size += size / 4 {
		synctest.Test(t, func(t *testing.T) {
			m := newMarket(t, gridtest.Config{})
			m.Model(func(turn gridtest.Turn) gridtest.Reply {
				switch {
				case slices.Contains(turn.Tools, "digger"):
					return greedy(turn, calls(gridtest.Call("digger", `{"task":"dig"}`)))
				case len(turn.Tools) > 0:
					return greedy(turn, calls(lookCall()))
				}
				return greedy(turn, say("what I have"))
			})
			client := clientOf(t, m, func(c *grid.Config) { c.Catalogue = tight(t) })
			free := agent.Limits{Steps: 100, ToolCalls: agent.None, RunNanoUSD: agent.None, RunTokens: agent.None}
			l := ledgerOf(t)
			digger := open(t, m, agent.Config{Name: "digger", Tools: []tools.Tool{look()}, Market: client, Limits: free, Ledger: l})
			above := open(t, m, agent.Config{Name: "boss", Agents: []*agent.Agent{digger}, Market: client, Ledger: l, Limits: free})
			res, err := agent.Run[string](t.Context(), above, "go", agent.RunID("top"), agent.Cap(size))
			stands(t, res, err)
			if err != nil || res.Stop != agent.StopBudget || !res.Final || res.Text != "what I have" {
				t.Errorf("cap %d: %q, stopped by %s: %s: %v", size, res.Text, res.Stop, res.Reason, err)
			}
			if bill := m.Bill(""); bill > size {
				t.Errorf("cap %d: the bill is %d", size, bill)
			}
			for _, s := range res.Steps {
				if s.Run != "top" && !s.Final {
					below++
				}
			}
		})
	}
	if below < 20 {
		t.Errorf("only %d steps were taken below: nothing is proved", below)
	}
}

// Agents that only read are called at once. When the cap of the run above is spent all of them end, with what they have and
// with that cap as the reason, and so does the result above say.
func TestACapThatIsSpentAboveStopsAllRunsBelow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		var now, most atomic.Int32
		var mu sync.Mutex
		told := ""
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			defer now.Add(-1)
			switch {
			case slices.Contains(turn.Tools, "digger") && turn.N == 0:
				return greedy(turn, calls(gridtest.Call("digger", `{"task":"a"}`), gridtest.Call("digger", `{"task":"b"}`), gridtest.Call("digger", `{"task":"c"}`)))
			case slices.Contains(turn.Tools, "digger"):
				mu.Lock()
				defer mu.Unlock()
				told = string(turn.Raw)
				return say("all in all")
			case len(turn.Tools) > 0:
				return greedy(turn, calls(lookCall()))
			}
			return greedy(turn, say("what I have"))
		})
		client := clientOf(t, m, func(c *grid.Config) { c.Catalogue = tight(t) })
		l := ledgerOf(t)
		digger := open(t, m, agent.Config{Name: "digger", Tools: []tools.Tool{look()}, Market: client, Ledger: l})
		above := open(t, m, agent.Config{Name: "boss", Agents: []*agent.Agent{digger}, Market: client, Ledger: l})
		res, err := agent.Run[string](t.Context(), above, "go", agent.RunID("top"), agent.Tenant("canary"), agent.Cap(budget.USD(0.2)))
		stands(t, res, err)
		last := map[string]bool{} // by run: its last step was the answer at a limit
		for _, s := range res.Steps {
			last[s.Run] = s.Final
		}
		ended := 0
		for run, final := range last {
			if run != "top" && final {
				ended++
			}
		}
		if err != nil || most.Load() != 3 || len(last) != 4 || ended != 3 {
			t.Errorf("%d at once, %d runs, of which %d below ended with an answer at a limit: %v", most.Load(), len(last), ended, err)
		}
		if want := `the agent digger was stopped: `; res.Stop == agent.StopCompleted && !strings.Contains(res.Reason, want) ||
			!strings.Contains(res.Reason, `"run top money lifetime" for run top`) {
			t.Errorf("stopped by %s: %s", res.Stop, res.Reason)
		}
		if n := strings.Count(fmt.Sprint(results(res.History())), "stopped before it was done: the budget is used up"); n != 3 || strings.Contains(told, "canary") {
			t.Errorf("%d of 3 results say so; the model was told %s", n, told)
		}
		if bill := m.Bill(""); bill > budget.USD(0.2) || bill < budget.USD(0.1) {
			t.Errorf("the bill is %d", bill)
		}
		if answers, rest := openNow(t, l); len(answers)+len(rest) != 0 {
			t.Errorf("%v and %v are still held", answers, rest)
		}
	})
}

// An agent one of whose tools, or of whose agents, writes is called alone.
func TestAgentsThatWriteAreCalledOneAfterTheOther(t *testing.T) {
	write := tools.New("write", "Write.", func(context.Context, empty) (string, error) { return "written", nil })
	for _, tc := range []struct {
		name   string
		reads  bool // the agent's own tool
		nested bool // an agent that writes is called by it
		most   int32
	}{{"reads", true, false, 2}, {"writes", false, false, 1}, {"calls one that writes", true, true, 1}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{})
				var now, most atomic.Int32
				m.Model(func(turn gridtest.Turn) gridtest.Reply {
					most.Store(max(most.Load(), now.Add(1)))
					time.Sleep(time.Second)
					defer now.Add(-1)
					if slices.Contains(turn.Tools, "kid") && turn.N == 0 {
						return calls(gridtest.Call("kid", `{"task":"a"}`), gridtest.Call("kid", `{"task":"b"}`))
					}
					return say("done")
				})
				client := clientOf(t, m)
				cfg := agent.Config{Name: "kid", Market: client, Tools: []tools.Tool{write}}
				if tc.reads {
					cfg.Tools = []tools.Tool{look()}
				}
				if tc.nested {
					cfg.Agents = []*agent.Agent{open(t, m, agent.Config{Name: "clerk", Market: client, Tools: []tools.Tool{write}})}
				}
				res, err := agent.Run[string](t.Context(), open(t, m, agent.Config{Market: client, Agents: []*agent.Agent{open(t, m, cfg)}}), "go")
				stands(t, res, err)
				if err != nil || most.Load() != tc.most {
					t.Errorf("%d at once, want %d: %v", most.Load(), tc.most, err)
				}
			})
		})
	}
}

// Limits of an agent hold for each run of it, also where it is called.
func TestTheLimitsOfACalledAgentHold(t *testing.T) {
	for _, tc := range []struct {
		name   string
		limits agent.Limits
	}{
		{"money", agent.Limits{RunNanoUSD: budget.USD(0.02)}},
		{"tokens", agent.Limits{RunTokens: 9000}},
		{"steps", agent.Limits{Steps: 2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMarket(t, gridtest.Config{})
			m.Model(func(turn gridtest.Turn) gridtest.Reply {
				switch {
				case slices.Contains(turn.Tools, "digger") && turn.N == 0:
					return calls(gridtest.Call("digger", `{"task":"dig"}`))
				case slices.Contains(turn.Tools, "look"):
					return greedy(turn, calls(lookCall()))
				}
				return greedy(turn, say("what I have"))
			})
			client := clientOf(t, m, func(c *grid.Config) { c.Catalogue = tight(t) })
			digger := open(t, m, agent.Config{Name: "digger", Tools: []tools.Tool{look()}, Market: client, Limits: tc.limits})
			res, err := agent.Run[string](t.Context(), open(t, m, agent.Config{Market: client, Agents: []*agent.Agent{digger}}), "go", agent.RunID("top"))
			stands(t, res, err)
			money, tokens, steps, final := int64(0), int64(0), 0, false
			for _, s := range res.Steps {
				if s.Run != "top" {
					money, tokens, steps, final = money+s.CostNanoUSD, tokens+s.InputTokens+s.OutputTokens, steps+1, s.Final
				}
			}
			if err != nil || res.Stop != agent.StopCompleted || !final || steps < 2 || steps > 10 {
				t.Fatalf("%d steps below, the last final %t, stopped by %s: %v", steps, final, res.Stop, err)
			}
			if l := tc.limits; l.RunNanoUSD > 0 && money > l.RunNanoUSD || l.RunTokens > 0 && tokens > l.RunTokens {
				t.Errorf("%d nano-USD and %d tokens were used below", money, tokens)
			}
			if said := strings.Contains(res.Reason, "the agent digger was stopped: "); said != (tc.name != "steps") {
				t.Errorf("the reason is %q", res.Reason)
			}
		})
	}
}

// A money limit of a called agent that was asked for in so many words is one.
func TestAMoneyLimitOfACalledAgentWantsAPrice(t *testing.T) {
	free := gridtest.Nine()
	for i := range free {
		free[i].PriceNanoUSD = 0
	}
	m := newMarket(t, gridtest.Config{Instruments: free})
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		if slices.Contains(turn.Tools, "digger") && turn.N == 0 {
			return calls(gridtest.Call("digger", `{"task":"dig"}`))
		}
		return say("done")
	})
	client := clientOf(t, m)
	digger := open(t, m, agent.Config{Name: "digger", Market: client, Limits: agent.Limits{RunNanoUSD: budget.USD(1)}})
	res, err := agent.Run[string](t.Context(), open(t, m, agent.Config{Market: client, Agents: []*agent.Agent{digger}}), "go")
	stands(t, res, err)
	if got := results(res.History()); err != nil || chats(m, 1) != 2 || len(got) != 1 || got[0] != "the agent failed: price_unknown" {
		t.Errorf("%d requests, the result is %q: %v", chats(m, 1), got, err)
	}
}

// Caps that a called agent has for itself would not count: they are refused, or known above.
func TestCapsOfACalledAgentCountOrAreRefused(t *testing.T) {
	day := func(limit int64) budget.Cap {
		return budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: limit, Per: budget.Day(nil)}
	}
	volatile := func() budget.Store { return budget.NewMemory(budget.Volatile()) }
	m := newMarket(t, gridtest.Config{})
	client := clientOf(t, m)
	shared := ledgerOf(t, day(100))
	for _, tc := range []struct {
		name    string
		called  agent.Config
		caller  agent.Config
		refused bool
	}{
		{name: "none"},
		{name: "limits of a run", called: agent.Config{Limits: agent.Limits{RunNanoUSD: 5_000_000}}},
		{name: "a cap", called: agent.Config{Store: volatile(), Caps: []budget.Cap{day(100)}}, refused: true},
		{name: "the same above", called: agent.Config{Store: volatile(), Caps: []budget.Cap{day(100)}}, caller: agent.Config{Store: volatile(), Caps: []budget.Cap{day(100)}}},
		{name: "a lower one above", called: agent.Config{Store: volatile(), Caps: []budget.Cap{day(100)}}, caller: agent.Config{Store: volatile(), Caps: []budget.Cap{day(99)}}},
		{name: "a higher one above", called: agent.Config{Store: volatile(), Caps: []budget.Cap{day(100)}}, caller: agent.Config{Store: volatile(), Caps: []budget.Cap{day(101)}}, refused: true},
		{name: "one ledger", called: agent.Config{Ledger: shared}, caller: agent.Config{Ledger: shared}},
		{name: "a ledger of its own", called: agent.Config{Ledger: shared}, refused: true},
		{name: "counts without a limit", called: agent.Config{Store: volatile(), Caps: []budget.Cap{day(budget.None)}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.called.Name, tc.called.Market = "digger", client
			tc.caller.Name, tc.caller.Market = "boss", client
			tc.caller.Agents = []*agent.Agent{open(t, m, tc.called)}
			a, err := agent.New(tc.caller)
			if a != nil {
				shut(t, a)
			}
			if refused := err != nil; refused != tc.refused || refused && !strings.Contains(err.Error(), `Agents[0]: the cap "each tenant money day UTC" of "digger"`) {
				t.Errorf("%v", err)
			}
		})
	}
}

// Limits of one run stand in place of the agent's, in both directions.
func TestLimitsOfOneRunReplaceTheAgents(t *testing.T) {
	for _, tc := range []struct {
		name   string
		limits agent.Limits
		opt    agent.Option
		stop   agent.Stop
		steps  int // with the last answer
	}{
		{"fewer steps", agent.Limits{}, agent.Steps(2), agent.StopSteps, 3},
		{"more steps", agent.Limits{Steps: 2}, agent.Steps(6), agent.StopSteps, 7},
		{"any number of steps", agent.Limits{Steps: 2}, agent.Steps(agent.None), agent.StopToolCalls, 62},
		{"fewer calls", agent.Limits{}, agent.ToolCalls(5), agent.StopToolCalls, 4},
		{"any number of calls", agent.Limits{Steps: 30, ToolCalls: 5}, agent.ToolCalls(agent.None), agent.StopSteps, 31},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMarket(t, gridtest.Config{})
			m.Model(runaway)
			res, err := agent.Run[string](t.Context(), open(t, m, agent.Config{Tools: []tools.Tool{look()}, Limits: tc.limits}), "go",
				tc.opt, agent.Cap(budget.USD(100)), agent.CapTokens(1_000_000_000))
			stands(t, res, err)
			if err != nil || res.Stop != tc.stop || len(res.Steps) != tc.steps {
				t.Errorf("%d steps, stopped by %s: %v", len(res.Steps), res.Stop, err)
			}
		})
	}
}
