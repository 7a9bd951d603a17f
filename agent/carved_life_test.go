package agent_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/router"
	"github.com/gridloop/gridloop/tools"
)

// What others hold is waited for, for as long as a call of a tool would.
func TestAShareWaitsForWhatOthersHold(t *testing.T) {
	for _, tc := range []struct {
		name  string
		frees time.Duration
		text  string
		waits time.Duration
	}{{"in time", 5 * time.Second, "done", 5 * time.Second}, {"too late", 15 * time.Second, "without it", 10 * time.Second}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{})
				l := ledgerOf(t, tenantDay(budget.USD(1)))
				m.Model(func(turn gridtest.Turn) gridtest.Reply {
					switch {
					case len(turn.Tools) == 0:
						return say("dug")
					case turn.N == 0:
						return calls(gridtest.Call("digger", `{"task":"dig"}`))
					case strings.Contains(string(turn.Raw), "dug"):
						return say("done")
					}
					return say("without it")
				})
				if _, err := l.Reserve(t.Context(), budget.Request{ID: "other", Scopes: []budget.Scope{acme}, Amounts: budget.Amounts{NanoUSD: budget.USD(0.7)}}); err != nil {
					t.Fatal(err)
				}
				time.AfterFunc(tc.frees, func() { _ = l.Void(context.Background(), "other", budget.ProofNeverDispatched) })
				client := clientOf(t, m)
				digger := open(t, m, agent.Config{Name: "digger", Market: client, Ledger: l, Limits: kept(budget.USD(0.5))})
				boss := open(t, m, agent.Config{Name: "boss", Market: client, Ledger: l, Agents: []*agent.Agent{digger}})
				live := agent.Start[string](t.Context(), boss, "go", agent.Tenant("acme"))
				waits := 0
				for e := range live.Events() {
					if _, ok := e.(agent.HeldWait); ok {
						waits++
					}
				}
				res, err := live.Result()
				stands(t, res, err)
				if err != nil || res.Text != tc.text || waits != 1 || res.Waited < tc.waits || res.Elapsed > time.Second {
					t.Errorf("%q after %d waits of %v and %v of work: %v", res.Text, waits, res.Waited, res.Elapsed, err)
				}
				time.Sleep(10 * time.Second)
				nothingHeld(t, l)
			})
		})
	}
}

// A run that waits for a person keeps no share from others. It takes again what it has not spent, and goes on without while
// others have it.
func TestAParkedRunsShareIsForOthersMeanwhile(t *testing.T) {
	for _, tc := range []struct {
		name  string
		taken int64 // by others meanwhile
		held  bool
	}{{"nobody came", 0, true}, {"others took it", 950_000_000, false}} {
		t.Run(tc.name, func(t *testing.T) {
			const share = 200_000_000
			m := newMarket(t, gridtest.Config{})
			l := ledgerOf(t, tenantDay(budget.USD(1)))
			var before int64
			m.Model(func(turn gridtest.Turn) gridtest.Reply {
				switch {
				case slices.Contains(turn.Tools, "digger"):
					if turn.N == 0 {
						return calls(gridtest.Call("digger", `{"task":"dig"}`))
					}
					return say("all done")
				case turn.N == 0:
					return calls(gridtest.Call("pay", "{}"))
				case turn.N == 1:
					sh := shares(t, l)
					if (len(sh) == 1) != tc.held {
						t.Errorf("%d shares are held after the pause", len(sh))
					} else if tc.held && sh[0].Reserved.NanoUSD != share-before {
						t.Errorf("%v is held for a run that has spent %d of %d", sh[0].Reserved, before, share)
					}
					_ = l.Void(context.Background(), "other", budget.ProofNeverDispatched)
					return calls(gridtest.Call("dig", "{}"))
				}
				if n := len(shares(t, l)); n != 1 {
					t.Errorf("%d shares are held when there is room again", n)
				}
				return say("done")
			})
			client := clientOf(t, m)
			digger := open(t, m, agent.Config{Name: "digger", Market: client, Ledger: l, Limits: kept(share), Tools: []tools.Tool{reads("dig"),
				tools.New("pay", "Pay.", func(context.Context, empty) (string, error) { return "paid", nil }, tools.NeedsApproval())}})
			boss := open(t, m, agent.Config{Name: "boss", Market: client, Ledger: l, Agents: []*agent.Agent{digger}})
			res, err := agent.Run[string](t.Context(), boss, "go", agent.Tenant("acme"), agent.RunID("top"))
			stands(t, res, err)
			p := paused(t, err)
			nothingHeld(t, l)
			before = state(t, l, "run top.0.1 money lifetime", budget.Scope{Kind: "run", Name: "top.0.1"}).Settled
			if tc.taken > 0 {
				if _, err := l.Reserve(t.Context(), budget.Request{ID: "other", Scopes: []budget.Scope{acme}, Amounts: budget.Amounts{NanoUSD: tc.taken}}); err != nil {
					t.Fatal(err)
				}
			}
			live := agent.Reopen[string](t.Context(), boss, p.Token, agent.Approve(p.Calls[0]))
			warned := 0
			for e := range live.Events() {
				if w, ok := e.(agent.Warning); ok && strings.Contains(w.Text, "no room for what is left of the share of top.0.1") {
					warned++
				}
			}
			res, err = live.Result()
			stands(t, res, err)
			if err != nil || res.Text != "all done" || before == 0 {
				t.Errorf("%q: %v", res.Text, err)
			}
			without := 0
			for _, s := range res.Steps {
				if s.Uncarved {
					without++
				}
			}
			if want := map[bool]int{true: 0, false: 1}[tc.held]; warned != want || without != want {
				t.Errorf("%d warnings, %d steps without the share", warned, without)
			}
			nothingHeld(t, l)
		})
	}
}

// However a run ends, its share is given back.
func TestAShareIsGivenBackHoweverTheRunEnds(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(cancel func()) gridtest.Reply
		cfg  agent.Config
		stop agent.Stop
	}{
		{name: "cancelled from above", end: func(cancel func()) gridtest.Reply { cancel(); return say("too late") }, stop: agent.StopCanceled},
		{name: "panicked", cfg: agent.Config{Router: router.Func(func(s router.Step, market router.Snapshot) router.Decision {
			if s.Index == 1 && !s.Final {
				panic("the router")
			}
			return router.Default().Decide(s, market)
		})}, end: func(func()) gridtest.Reply { return calls(gridtest.Call("dig", "{}")) }, stop: agent.StopCompleted},
		{name: "failed", end: func(func()) gridtest.Reply {
			return gridtest.Reply{Raw: &gridtest.RawReply{Status: 400, Body: []byte(`{"error":{"message":"no"}}`)}}
		}, stop: agent.StopCompleted},
		{name: "at a limit", cfg: agent.Config{Limits: agent.Limits{Steps: 2}}, end: func(func()) gridtest.Reply { return calls(gridtest.Call("dig", "{}")) }, stop: agent.StopCompleted},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				m := newMarket(t, gridtest.Config{})
				l := ledgerOf(t, tenantDay(budget.USD(1)))
				held := 0
				m.Model(func(turn gridtest.Turn) gridtest.Reply {
					switch {
					case slices.Contains(turn.Tools, "digger"):
						if turn.N == 0 {
							return calls(gridtest.Call("digger", `{"task":"dig"}`))
						}
						return say("done")
					case len(turn.Tools) == 0:
						return say("what I have")
					}
					held += len(shares(t, l))
					return tc.end(cancel)
				})
				client := clientOf(t, m)
				cfg := tc.cfg
				cfg.Name, cfg.Market, cfg.Ledger, cfg.Tools = "digger", client, l, []tools.Tool{reads("dig")}
				cfg.Limits.RunNanoUSD, cfg.Limits.Carved = budget.USD(0.3), true
				digger := open(t, m, cfg)
				boss := open(t, m, agent.Config{Name: "boss", Market: client, Ledger: l, Agents: []*agent.Agent{digger}})
				res, err := agent.Run[string](ctx, boss, "go", agent.Tenant("acme"))
				stands(t, res, err)
				if res.Stop != tc.stop || held == 0 {
					t.Errorf("stopped by %s, %d shares were seen: %v", res.Stop, held, err)
				}
				nothingHeld(t, l)
			})
		})
	}
}

// A run that nobody called has its share of the caps of its tenant, or does not begin.
func TestARunBeginsWithItsShareOrNotAtAll(t *testing.T) {
	for _, tc := range []struct {
		name   string
		policy agent.HeldPolicy
		spent  int64
		held   time.Duration // as long others hold too much
		stop   agent.Stop
	}{
		{name: "there is room", stop: agent.StopCompleted},
		{name: "spent", spent: 700_000_000, stop: agent.StopBudget},
		{name: "held for a moment", held: 5 * time.Second, stop: agent.StopCompleted},
		{name: "held for long", held: time.Minute, stop: agent.StopBudget},
		{name: "held for long, in line", policy: agent.HeldLine, held: time.Minute, stop: agent.StopCompleted},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{})
				l := ledgerOf(t, tenantDay(budget.USD(1)))
				m.Model(func(turn gridtest.Turn) gridtest.Reply {
					sh := shares(t, l)
					if len(sh) != 1 || sh[0].Reserved.NanoUSD != budget.USD(0.4) || len(runsOf(sh[0])) != 0 {
						t.Errorf("the shares are %v", sh)
					}
					if turn.N < 2 {
						return calls(gridtest.Call("dig", "{}"))
					}
					return say("done")
				})
				r := budget.Request{ID: "other", Scopes: []budget.Scope{acme}, Amounts: budget.Amounts{NanoUSD: budget.USD(0.7)}}
				if _, err := l.Reserve(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				if tc.held > 0 {
					time.AfterFunc(tc.held, func() { _ = l.Void(context.Background(), "other", budget.ProofNeverDispatched) })
				} else if _, err := l.Settle(t.Context(), "other", budget.Amounts{NanoUSD: tc.spent}); err != nil {
					t.Fatal(err)
				}
				cfg := agent.Config{Ledger: l, Limits: kept(budget.USD(0.9)), Tools: []tools.Tool{reads("dig")}, Spending: agent.Spending{Held: tc.policy}}
				cfg.Limits.Wait = 10 * time.Minute
				live := agent.Start[string](t.Context(), open(t, m, cfg), "go", agent.Tenant("acme"), agent.Cap(budget.USD(0.4)))
				denied := 0
				for e := range live.Events() {
					if _, ok := e.(agent.BudgetDenied); ok {
						denied++
					}
				}
				res, err := live.Result()
				stands(t, res, err)
				if res.Stop != tc.stop || (denied > 0) != (tc.spent > 0 || tc.held > 0) {
					t.Errorf("stopped by %s after %d denials: %v", res.Stop, denied, err)
				}
				if tc.stop == agent.StopBudget {
					want := budget.ErrHeld
					if tc.spent > 0 {
						want = budget.ErrSpent
					}
					if !errors.Is(err, agent.ErrNoAnswer) || !errors.Is(err, want) || chats(m, 1) != 0 {
						t.Errorf("%d requests: %v", chats(m, 1), err)
					}
					_ = l.Void(context.Background(), "other", budget.ProofNeverDispatched)
				} else if err != nil || res.Text != "done" {
					t.Errorf("%q: %v", res.Text, err)
				}
				nothingHeld(t, l)
			})
		})
	}
}

// A run that goes on without its own share takes from that of the run above.
func TestARunWithoutItsShareTakesFromTheOneAbove(t *testing.T) {
	ofLeaf := budget.Cap{For: budget.One("agent", "leaf"), Meter: budget.MeterMoney, Limit: 100_000_000, Per: budget.Day(nil)}
	m := newMarket(t, gridtest.Config{})
	l := ledgerOf(t, tenantDay(budget.USD(1)), ofLeaf)
	resumed := 0
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		switch {
		case slices.Contains(turn.Tools, "mid") && turn.N == 0:
			return calls(gridtest.Call("mid", `{"task":"go on"}`))
		case slices.Contains(turn.Tools, "leaf") && turn.N == 0:
			return calls(gridtest.Call("leaf", `{"task":"pay"}`))
		case slices.Contains(turn.Tools, "pay") && turn.N == 0:
			return calls(gridtest.Call("pay", "{}"))
		case slices.Contains(turn.Tools, "pay"):
			resumed++
			answers, rest := openNow(t, l)
			want, sh := int64(0), shares(t, l)
			for _, r := range append(answers, rest...) {
				if strings.HasPrefix(r.ID, "top.0.1.0.1/") {
					want += r.Reserved.NanoUSD
				}
			}
			if len(sh) != 1 || !strings.HasPrefix(sh[0].ID, "top.0.1/") || sh[0].Actual.NanoUSD != want || want == 0 {
				t.Errorf("the shares are %v, %d are reserved below", sh, want)
			}
		}
		return say("done")
	})
	client := clientOf(t, m)
	pay := tools.New("pay", "Pay.", func(context.Context, empty) (string, error) { return "paid", nil }, tools.NeedsApproval())
	leaf := open(t, m, agent.Config{Name: "leaf", Market: client, Ledger: l, Limits: kept(60_000_000), Tools: []tools.Tool{pay}})
	mid := open(t, m, agent.Config{Name: "mid", Market: client, Ledger: l, Limits: kept(200_000_000), Agents: []*agent.Agent{leaf}})
	boss := open(t, m, agent.Config{Name: "boss", Market: client, Ledger: l, Agents: []*agent.Agent{mid}})
	res, err := agent.Run[string](t.Context(), boss, "go", agent.Tenant("acme"), agent.RunID("top"))
	stands(t, res, err)
	p := paused(t, err)
	other := budget.Request{ID: "other", Scopes: []budget.Scope{{Kind: "agent", Name: "leaf"}, {Kind: "tenant", Name: "beta"}}, Amounts: budget.Amounts{NanoUSD: 50_000_000}}
	if _, err := l.Reserve(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	res, err = agent.Resume[string](t.Context(), boss, p.Token, agent.Approve(p.Calls[0]))
	stands(t, res, err)
	if err != nil || res.Text != "done" || resumed != 1 {
		t.Errorf("%q after %d steps at the bottom: %v", res.Text, resumed, err)
	}
	if err := l.Void(t.Context(), "other", budget.ProofNeverDispatched); err != nil {
		t.Error(err)
	}
	nothingHeld(t, l)
}

// A run that used more than its share, since a supplier broke its word, has none to take again: it ends at its cap.
func TestAShareThatIsUsedUpIsNotTakenAgain(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	l := ledgerOf(t, tenantDay(budget.USD(1)))
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		switch {
		case slices.Contains(turn.Tools, "digger") && turn.N == 0:
			return calls(gridtest.Call("digger", `{"task":"dig"}`))
		case slices.Contains(turn.Tools, "pay"):
			r := calls(gridtest.Call("pay", "{}"))
			r.CompletionTokens = 1_000_000
			return r
		}
		return say("without it")
	})
	client := clientOf(t, m)
	pay := tools.New("pay", "Pay.", func(context.Context, empty) (string, error) { return "paid", nil }, tools.NeedsApproval())
	ignore := agent.Spending{Overrun: agent.OverrunContinue}
	digger := open(t, m, agent.Config{Name: "digger", Market: client, Ledger: l, Limits: kept(20_000_000), Tools: []tools.Tool{pay}, Spending: ignore})
	boss := open(t, m, agent.Config{Name: "boss", Market: client, Ledger: l, Agents: []*agent.Agent{digger}, Spending: ignore, Limits: agent.Limits{RunNanoUSD: agent.None}})
	res, err := agent.Run[string](t.Context(), boss, "go", agent.Tenant("acme"))
	stands(t, res, err)
	p := paused(t, err)
	live := agent.Reopen[string](t.Context(), boss, p.Token, agent.Approve(p.Calls[0]))
	for e := range live.Events() {
		if w, ok := e.(agent.Warning); ok {
			t.Errorf("%+v", w)
		}
	}
	res, err = live.Result()
	stands(t, res, err)
	if told := toolMessages(res); err != nil || res.Text != "without it" || len(told) != 1 || told[0] != "the agent stopped without an answer: the budget is used up" {
		t.Errorf("%q, the model was told %q: %v", res.Text, told, err)
	}
	nothingHeld(t, l)
}

// A run that stands in line for a cap without its share has its share all the while, also of caps that others have filled.
func TestARunInLineKeepsItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, say("done"))
		prime := budget.Cap{For: budget.One("tier", "prime"), Meter: budget.MeterMoney, Limit: budget.USD(0.5), Per: budget.Day(nil)}
		l := ledgerOf(t, tenantDay(budget.USD(1)), prime)
		for id, r := range map[string]budget.Request{
			"tenant": {Scopes: []budget.Scope{acme}, Amounts: budget.Amounts{NanoUSD: budget.USD(0.4)}, Lease: time.Hour},
			"tier":   {Scopes: []budget.Scope{{Kind: "tenant", Name: "beta"}, {Kind: "tier", Name: "prime"}}, Amounts: budget.Amounts{NanoUSD: budget.USD(0.5)}},
		} {
			r.ID = id
			if _, err := l.Reserve(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		time.AfterFunc(20*time.Second, func() { _ = l.Void(context.Background(), "tier", budget.ProofNeverDispatched) })
		limits := kept(budget.USD(0.6))
		limits.Wait = time.Minute
		a := open(t, m, agent.Config{Ledger: l, Limits: limits, Spending: agent.Spending{Held: agent.HeldLine}})
		res, err := agent.Run[string](t.Context(), a, "go", agent.Tenant("acme"))
		stands(t, res, err)
		if err != nil || res.Stop != agent.StopCompleted || res.Waited < 20*time.Second || res.Waited > 30*time.Second {
			t.Errorf("%q, stopped by %s after waiting for %v: %v", res.Text, res.Stop, res.Waited, err)
		}
		if s := state(t, l, tenantDay(0).ID(), acme); s.Held != budget.USD(0.4) {
			t.Errorf("%+v", s)
		}
	})
}
