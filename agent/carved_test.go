package agent_test

import (
	"context"
	"fmt"
	"slices"
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

// kept are limits of an agent for whose runs a share is kept.
func kept(nanoUSD int64) agent.Limits {
	return agent.Limits{Steps: 1000, ToolCalls: agent.None, Wall: agent.None, RunNanoUSD: nanoUSD, RunTokens: agent.None, Carved: true}
}

func tenantDay(limit int64) budget.Cap {
	return budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: limit, Per: budget.Day(nil)}
}

var acme = budget.Scope{Kind: "tenant", Name: "acme"}

// spentIn is what the steps of one run cost.
func spentIn[T any](res *agent.Result[T], run string) (cost int64) {
	for _, s := range res.Steps {
		if s.Run == run {
			cost += s.CostNanoUSD
		}
	}
	return cost
}

// shares are the reservations that are kept for runs.
func shares(t *testing.T, l *budget.Ledger) (out []budget.Reservation) {
	_, rest := openNow(t, l)
	for _, r := range rest {
		if strings.Contains(r.ID, "/carved/") {
			out = append(out, r)
		}
	}
	return out
}

// nothingHeld fails if the ledger holds anything.
func nothingHeld(t *testing.T, l *budget.Ledger) {
	t.Helper()
	if answers, rest := openNow(t, l); len(answers)+len(rest) != 0 {
		t.Errorf("%v and %v are still held", answers, rest)
	}
	if s := state(t, l, account().ID()); s.Held != 0 {
		t.Errorf("the account holds %d", s.Held)
	}
}

// reads is a tool that only reads, under a name of its own.
func reads(name string) tools.Tool {
	return tools.New(name, "Look.", func(context.Context, empty) (string, error) { return "seen", nil }, tools.ReadOnly())
}

// A slow agent is called beside a greedy one, while another run of the tenant takes all it can get. Its share is there for it to
// the last cent; without one it finds nothing left. Everything stays under the caps either way.
func TestAShareIsThereWhateverOthersSpend(t *testing.T) {
	const share, mine, all = 150_000_000, 400_000_000, 600_000_000
	for _, carved := range []bool{true, false} {
		t.Run(fmt.Sprintf("carved %t", carved), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{})
				m.Model(func(turn gridtest.Turn) gridtest.Reply {
					r := greedy(turn, say("what I have"))
					switch {
					case slices.Contains(turn.Tools, "digger"):
						if turn.N == 0 {
							r = greedy(turn, calls(gridtest.Call("digger", `{"task":"dig"}`), gridtest.Call("hog", `{"task":"eat"}`)))
						}
					case slices.Contains(turn.Tools, "dig"):
						r = greedy(turn, calls(gridtest.Call("dig", "{}")))
						r.Delay = time.Minute
					case slices.Contains(turn.Tools, "grab"):
						r = greedy(turn, calls(gridtest.Call("grab", "{}")))
						r.Delay = time.Second
					}
					return r
				})
				client := clientOf(t, m, func(c *grid.Config) { c.Catalogue = tight(t) })
				l := ledgerOf(t, tenantDay(all))
				limits := kept(share)
				limits.Carved = carved
				greed := kept(0)
				greed.Carved, greed.RunNanoUSD = false, agent.None
				digger := open(t, m, agent.Config{Name: "digger", Market: client, Ledger: l, Limits: limits, Tools: []tools.Tool{reads("dig")}})
				hog := open(t, m, agent.Config{Name: "hog", Market: client, Ledger: l, Limits: greed, Tools: []tools.Tool{reads("grab")}})
				boss := open(t, m, agent.Config{Name: "boss", Market: client, Ledger: l, Limits: greed, Agents: []*agent.Agent{digger, hog}})
				var wg sync.WaitGroup
				wg.Go(func() {
					time.Sleep(10 * time.Second) // the share was taken
					res, err := agent.Run[string](t.Context(), hog, "go", agent.Tenant("acme"), agent.RunID("other"))
					stands(t, res, err)
					if err != nil || res.Stop != agent.StopBudget {
						t.Errorf("the other run stopped by %s: %v", res.Stop, err)
					}
				})
				res, err := agent.Run[string](t.Context(), boss, "go", agent.Tenant("acme"), agent.RunID("top"), agent.Cap(mine))
				wg.Wait()
				stands(t, res, err)
				if err != nil || res.Text != "what I have" {
					t.Errorf("%q: %v", res.Text, err)
				}
				dug, eaten := spentIn(res, "top.0.1"), spentIn(res, "top.0.2")
				if got := dug >= share*9/10; got != carved || dug > share {
					t.Errorf("the slow run spent %d of %d", dug, share)
				}
				if dug == 0 || eaten == 0 {
					t.Errorf("%d and %d were spent below: nothing is proved", dug, eaten)
				}
				for _, s := range res.Steps {
					if s.Uncarved {
						t.Errorf("step %d of %s is said to be without its share", s.Step, s.Run)
					}
					if carved && s.Run == "top.0.1" && s.Step < 10 && s.LeftNanoUSD < share/2 {
						t.Errorf("step %d is told that %d are left", s.Step, s.LeftNanoUSD)
					}
				}
				if s := state(t, l, tenantDay(all).ID(), acme); s.Settled < all*8/10 || s.Settled+s.Held > all || m.Bill("") > s.Settled {
					t.Errorf("the bill is %d: %+v", m.Bill(""), s)
				}
				nothingHeld(t, l)
			})
		})
	}
}

// What is held for a share is what is left of it, from before the first request until the run ends; then the rest is everybody's.
func TestWhatIsLeftOfAShareReturnsWhenTheRunEnds(t *testing.T) {
	const share = 200_000_000
	m := newMarket(t, gridtest.Config{})
	l := ledgerOf(t, tenantDay(budget.USD(1)))
	seen := 0
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		s, sh := state(t, l, tenantDay(0).ID(), acme), shares(t, l)
		answers, steps := openNow(t, l)
		at := slices.Contains(turn.Tools, "dig")
		if !at {
			if len(sh) != 0 || len(answers) != 1 || len(steps) != 1 {
				t.Errorf("the run above holds %v and %v", answers, steps)
			}
			if turn.N == 0 {
				return calls(gridtest.Call("digger", `{"task":"dig"}`))
			}
			return say("done")
		}
		if seen++; len(sh) != 1 || len(answers) != 2 || len(steps) != 2 {
			t.Errorf("%d shares, %d answers, %d steps", len(sh), len(answers), len(steps))
			return say("done")
		}
		top, err := l.Top(context.Background(), budget.TopQuery{By: "run"})
		if err != nil {
			t.Error(err)
		}
		used := int64(0)
		for _, row := range top {
			if row.Scope.Name == "top.0.1" {
				used = row.Settled
			}
		}
		drawn := used
		for _, r := range append(answers, steps...) {
			if strings.HasPrefix(r.ID, "top.0.1/") && !strings.Contains(r.ID, "/carved/") {
				drawn += r.Reserved.NanoUSD
			}
		}
		above := answers[slices.IndexFunc(answers, func(r budget.Reservation) bool { return strings.HasPrefix(r.ID, "top/") })]
		if sh[0].Reserved.NanoUSD != share || sh[0].Actual.NanoUSD != drawn || s.Held != above.Reserved.NanoUSD+share-used {
			t.Errorf("of the share %v, %v are drawn, want %d; the tenant holds %d, want %d", sh[0].Reserved, sh[0].Actual, drawn,
				s.Held, above.Reserved.NanoUSD+share-used)
		}
		if runs := runsOf(sh[0]); len(runs) != 1 || runs[0] != "top" || !sh[0].Idle {
			t.Errorf("the share is held for the runs %q", runs)
		}
		if turn.N < 3 {
			return calls(gridtest.Call("dig", "{}"))
		}
		return say("done")
	})
	client := clientOf(t, m)
	digger := open(t, m, agent.Config{Name: "digger", Market: client, Ledger: l, Limits: kept(share), Tools: []tools.Tool{reads("dig")}})
	boss := open(t, m, agent.Config{Name: "boss", Market: client, Ledger: l, Agents: []*agent.Agent{digger}})
	res, err := agent.Run[string](t.Context(), boss, "go", agent.Tenant("acme"), agent.RunID("top"))
	stands(t, res, err)
	if err != nil || seen != 4 || res.Text != "done" {
		t.Errorf("%q after %d steps below: %v", res.Text, seen, err)
	}
	nothingHeld(t, l)
	s := state(t, l, tenantDay(0).ID(), acme)
	if s.Settled != res.Cost.NanoUSD || s.Left != budget.USD(1)-s.Settled {
		t.Errorf("the run cost %v: %+v", res.Cost, s)
	}
}

// A share can be taken from one: the tree holds no more than the outer share, whatever goes on below. A run without a share of its
// own takes from that of the run above.
func TestASharesRunsTakeFromIt(t *testing.T) {
	for _, inner := range []bool{true, false} {
		t.Run(fmt.Sprintf("inner share %t", inner), func(t *testing.T) {
			const share = 200_000_000
			m := newMarket(t, gridtest.Config{})
			l := ledgerOf(t, tenantDay(budget.USD(1)))
			below := 0
			m.Model(func(turn gridtest.Turn) gridtest.Reply {
				switch {
				case slices.Contains(turn.Tools, "mid"):
					if turn.N == 0 {
						return calls(gridtest.Call("mid", `{"task":"go on"}`))
					}
					return say("done")
				case slices.Contains(turn.Tools, "leaf") && turn.N == 0:
					return calls(gridtest.Call("leaf", `{"task":"dig"}`))
				}
				s := state(t, l, tenantDay(0).ID(), acme)
				answers, _ := openNow(t, l)
				above := answers[slices.IndexFunc(answers, func(r budget.Reservation) bool { return strings.HasPrefix(r.ID, "top/") })]
				spent, err := l.Top(context.Background(), budget.TopQuery{By: "run"})
				if err != nil {
					t.Error(err)
				}
				used := int64(0)
				for _, row := range spent {
					if row.Scope.Name == "top.0.1" {
						used = row.Settled // with those below
					}
				}
				if s.Held != above.Reserved.NanoUSD+share-used {
					t.Errorf("the tenant holds %d, want %d for the answer above and %d of the share", s.Held, above.Reserved.NanoUSD, share-used)
				}
				if slices.Contains(turn.Tools, "dig") {
					below++
					if n := len(shares(t, l)); inner != (n == 2) || n == 0 {
						t.Errorf("%d shares", n)
					}
					if turn.N < 2 {
						return calls(gridtest.Call("dig", "{}"))
					}
				}
				return say("done")
			})
			client := clientOf(t, m)
			limits := kept(share / 2)
			limits.Carved = inner
			leaf := open(t, m, agent.Config{Name: "leaf", Market: client, Ledger: l, Limits: limits, Tools: []tools.Tool{reads("dig")}})
			mid := open(t, m, agent.Config{Name: "mid", Market: client, Ledger: l, Limits: kept(share), Agents: []*agent.Agent{leaf}})
			boss := open(t, m, agent.Config{Name: "boss", Market: client, Ledger: l, Agents: []*agent.Agent{mid}})
			res, err := agent.Run[string](t.Context(), boss, "go", agent.Tenant("acme"), agent.RunID("top"))
			stands(t, res, err)
			if err != nil || res.Text != "done" || below != 3 {
				t.Errorf("%q after %d steps at the bottom: %v", res.Text, below, err)
			}
			nothingHeld(t, l)
		})
	}
}

// Where the caps have no room for a share the agent is not called: the model hears why, and the run goes on. The call does not
// count, and nothing of the refusal names the tenant.
func TestAnAgentWithoutRoomForItsShareIsNotCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, calls(gridtest.Call("digger", `{"task":"dig"}`)), say("without it"))
		toolCalls := budget.Cap{For: budget.Account(), Meter: budget.MeterToolCalls, Limit: 5, Per: budget.Day(nil)}
		l := ledgerOf(t, tenantDay(budget.USD(1)), toolCalls)
		if _, err := l.Reserve(t.Context(), budget.Request{ID: "other", Scopes: []budget.Scope{acme}, Amounts: budget.Amounts{NanoUSD: 100}}); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Settle(t.Context(), "other", budget.Amounts{NanoUSD: budget.USD(0.7)}); err != nil {
			t.Fatal(err)
		}
		client := clientOf(t, m)
		digger := open(t, m, agent.Config{Name: "digger", Market: client, Ledger: l, Limits: kept(budget.USD(0.5))})
		boss := open(t, m, agent.Config{Name: "boss", Market: client, Ledger: l, Agents: []*agent.Agent{digger}})
		began := time.Now()
		live := agent.Start[string](t.Context(), boss, "go", agent.Tenant("acme"))
		denied := 0
		for e := range live.Events() {
			if d, ok := e.(agent.BudgetDenied); ok {
				if denied++; d.Tool != "digger" || d.Kind != "spent" {
					t.Errorf("%+v", d)
				}
			}
		}
		res, err := live.Result()
		stands(t, res, err)
		told := toolMessages(res)
		if err != nil || res.Text != "without it" || denied != 1 || len(told) != 1 || time.Since(began) > time.Second {
			t.Fatalf("%q after %d denials, %v: %v", res.Text, denied, time.Since(began), err)
		}
		for _, want := range []string{"not run", "$1.00", "this tenant", "only $0.29", " left for the $0.50 of one call, until 2"} {
			if !strings.Contains(told[0], want) {
				t.Errorf("the model is told %q, without %q", told[0], want)
			}
		}
		if strings.Contains(told[0], "acme") {
			t.Errorf("the model is told whom it works for: %q", told[0])
		}
		if s := state(t, l, toolCalls.ID()); s.Settled != 0 || s.Held != 0 {
			t.Errorf("a call that was not made counts: %+v", s)
		}
		nothingHeld(t, l)
	})
}

// However many agents with shares are called at once, and whatever the market does, the bill stays under every cap, and what the
// ledger holds never passes one.
func TestBillStaysUnderEveryCapWithShares(t *testing.T) {
	const share, mine, all = 40_000_000, 130_000_000, 300_000_000
	tenant := tenantDay(all)
	for _, market := range markets() {
		t.Run(fmt.Sprintf("%s, seed %d", market.Profile.Name, market.Seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, market)
				if market.Seed > 0 {
					m.Fault(faultsOf(market.Seed)...)
				}
				l := ledgerOf(t, tenant, budget.Cap{For: budget.One("agent", "digger"), Meter: budget.MeterMoney, Limit: 200_000_000, Per: budget.Day(nil)})
				var mu sync.Mutex
				most := 0
				m.Model(func(turn gridtest.Turn) gridtest.Reply {
					mu.Lock()
					defer mu.Unlock()
					checkInvariant(t, l, "acme")
					most = max(most, len(shares(t, l)))
					r := greedy(turn, say("what I have"))
					switch {
					case slices.Contains(turn.Tools, "digger"):
						r = greedy(turn, calls(gridtest.Call("digger", `{"task":"a"}`), gridtest.Call("hog", `{"task":"b"}`), gridtest.Call("digger", `{"task":"c"}`)))
					case len(turn.Tools) > 0:
						r = greedy(turn, calls(lookCall()))
					}
					r.Delay = time.Duration(10+turn.N) * time.Millisecond
					return r
				})
				client := clientOf(t, m, func(c *grid.Config) { c.Catalogue = tight(t) })
				free := agent.Limits{Steps: 30, ToolCalls: agent.None}
				digger := open(t, m, agent.Config{Name: "digger", Market: client, Ledger: l, Limits: kept(share), Tools: []tools.Tool{look()}})
				hog := open(t, m, agent.Config{Name: "hog", Market: client, Ledger: l, Limits: free, Tools: []tools.Tool{look()}})
				boss := open(t, m, agent.Config{Name: "boss", Market: client, Ledger: l, Limits: free, Agents: []*agent.Agent{digger, hog}})
				results := make([]*agent.Result[string], 4)
				var wg sync.WaitGroup
				for i := range results {
					wg.Go(func() {
						res, err := agent.Run[string](t.Context(), boss, fmt.Sprint("go ", i), agent.Tenant("acme"), agent.Cap(mine))
						stands(t, res, err)
						results[i] = res
					})
				}
				wg.Wait()
				cost := int64(0)
				for _, res := range results {
					byRun := map[string]int64{}
					for _, s := range res.Steps {
						byRun[s.Run] += s.CostNanoUSD
					}
					cost += res.Cost.NanoUSD
					for run, paid := range byRun {
						if paid > mine || strings.Contains(run, ".") && paid > mine {
							t.Errorf("%s cost %d", run, paid)
						}
					}
					if res.Cost.NanoUSD > mine {
						t.Errorf("a run cost %d, its cap is %d", res.Cost.NanoUSD, int64(mine))
					}
				}
				s := state(t, l, account().ID())
				if bill := m.Bill(""); bill > all || bill > s.Settled || s.Settled != cost || s.Held != 0 || s.Overrun != 0 {
					t.Errorf("the bill is %d, the results say %d, the ledger %+v", bill, cost, s)
				}
				if most < 2 {
					t.Errorf("at most %d shares were held at once: nothing is proved", most)
				}
				nothingHeld(t, l)
				reconciled(t, m, boss, l, results)
			})
		})
	}
}

// What a run has left is what its share and the caps without one have left, not what the share leaves for others.
func TestWhatIsLeftForARunCountsItsShare(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	turns(m, say("done"))
	l := ledgerOf(t, tenantDay(budget.USD(0.5)), budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: budget.USD(0.5), Per: budget.Day(nil)},
		budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterTokens, Limit: 50_000, Per: budget.Day(nil)})
	a := open(t, m, agent.Config{Ledger: l, Limits: kept(budget.USD(0.5))})
	res, err := agent.Run[string](t.Context(), a, "go", agent.Tenant("acme"))
	stands(t, res, err)
	if s := res.Steps[0]; err != nil || s.LeftNanoUSD < budget.USD(0.49) || s.LeftNanoUSD >= budget.USD(0.5) || s.LeftPercent < 50 || s.LeftPercent > 97 {
		t.Errorf("%d nano-USD, %d %% are left: %v", s.LeftNanoUSD, s.LeftPercent, err)
	}
}

// Room that the run above keeps back for its own answer is not waited for: the model is told so at once.
func TestAShareDoesNotWaitForTheAnswerOfItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, calls(gridtest.Call("digger", `{"task":"dig"}`)), say("without it"))
		l := ledgerOf(t)
		client := clientOf(t, m)
		digger := open(t, m, agent.Config{Name: "digger", Market: client, Ledger: l, Limits: kept(budget.USD(0.5))})
		boss := open(t, m, agent.Config{Name: "boss", Market: client, Ledger: l, Agents: []*agent.Agent{digger}})
		began := time.Now()
		res, err := agent.Run[string](t.Context(), boss, "go", agent.Cap(budget.USD(0.501)))
		stands(t, res, err)
		told := toolMessages(res)
		if err != nil || res.Text != "without it" || time.Since(began) > time.Second || len(told) != 1 ||
			!strings.Contains(told[0], "no room for the $0.50 of one call beside what is kept back for your own answer") {
			t.Errorf("%q after %v: %q: %v", res.Text, time.Since(began), told, err)
		}
		nothingHeld(t, l)
	})
}

// A cap on an agent holds its share, too, if all that the agent spends counts there: what other agents spend that it calls does not.
func TestAShareIsHeldOnTheCapOfItsAgent(t *testing.T) {
	for _, leaf := range []bool{true, false} {
		t.Run(fmt.Sprintf("calls nobody %t", leaf), func(t *testing.T) {
			const share = 200_000_000
			ofAgent := budget.Cap{For: budget.One("agent", "digger"), Meter: budget.MeterMoney, Limit: budget.USD(1), Per: budget.Day(nil)}
			m := newMarket(t, gridtest.Config{})
			l := ledgerOf(t, ofAgent)
			m.Model(func(turn gridtest.Turn) gridtest.Reply {
				switch {
				case slices.Contains(turn.Tools, "digger") && turn.N == 0:
					return calls(gridtest.Call("digger", `{"task":"dig"}`))
				case slices.Contains(turn.Tools, "dig") && turn.N == 0:
					if s := state(t, l, ofAgent.ID(), budget.Scope{Kind: "agent", Name: "digger"}); (s.Held == share) != leaf || s.Held == 0 {
						t.Errorf("%+v", s)
					}
				}
				return say("done")
			})
			client := clientOf(t, m)
			cfg := agent.Config{Name: "digger", Market: client, Ledger: l, Limits: kept(share), Tools: []tools.Tool{reads("dig")}}
			if !leaf {
				cfg.Agents = []*agent.Agent{open(t, m, agent.Config{Name: "clerk", Market: client, Ledger: l})}
			}
			boss := open(t, m, agent.Config{Name: "boss", Market: client, Ledger: l, Agents: []*agent.Agent{open(t, m, cfg)}})
			res, err := agent.Run[string](t.Context(), boss, "go")
			stands(t, res, err)
			if err != nil || res.Text != "done" {
				t.Errorf("%q: %v", res.Text, err)
			}
			nothingHeld(t, l)
		})
	}
}

// What a run is given in place of its agent's limits is what is kept for it.
func TestTheLimitsOfOneRunAreItsShare(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	l := ledgerOf(t, tenantDay(budget.USD(1)))
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		if sh := shares(t, l); len(sh) != 1 || sh[0].Reserved.NanoUSD != budget.USD(0.3) || sh[0].Reserved.Tokens != 40_000 {
			t.Errorf("the shares are %v", sh)
		}
		return say("done")
	})
	a := open(t, m, agent.Config{Ledger: l, Limits: kept(budget.USD(0.9))})
	res, err := agent.Run[string](t.Context(), a, "go", agent.Tenant("acme"), agent.Cap(budget.USD(0.3)), agent.CapTokens(40_000))
	stands(t, res, err)
	if err != nil {
		t.Error(err)
	}
	nothingHeld(t, l)
}
