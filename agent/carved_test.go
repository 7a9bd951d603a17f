package agent_test

import (
	"context"
	"errors"
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
	"github.com/gridloop/gridloop/router"
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

// What others hold is waited for, for as long as a call of a tool would.
func TestAShareWaitsForWhatOthersHold(t *testing.T) {
	for _, tc := range []struct {
		name  string
		frees time.Duration
		text  string
	}{{"in time", 5 * time.Second, "done"}, {"too late", 15 * time.Second, "without it"}} {
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
				if err != nil || res.Text != tc.text || waits != 1 {
					t.Errorf("%q after %d waits: %v", res.Text, waits, err)
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
		{name: "failed", end: func(func()) gridtest.Reply { return gridtest.Reply{Raw: &gridtest.RawReply{Status: 400, Body: []byte(`{"error":{"message":"no"}}`)}} }, stop: agent.StopCompleted},
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

// deaf is a store that does not hear renewals at times.
type deaf struct {
	budget.Store
	on atomic.Bool
	n  atomic.Int64
}

func (d *deaf) Renew(ctx context.Context, account, id string, lease time.Duration, ans *budget.Answer) error {
	if d.on.Load() {
		return errAway
	}
	d.n.Add(1)
	return d.Store.Renew(ctx, account, id, lease, ans)
}

// A share is kept for as long as the run works, and is taken again if it was lost.
func TestAShareOutlastsItsLease(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("lost %t", lost), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{})
				store := &deaf{Store: budget.NewMemory(budget.Volatile())}
				l, err := budget.Open(t.Context(), budget.Config{Store: store, Caps: []budget.Cap{tenantDay(budget.USD(1)), account()}})
				if err != nil {
					t.Fatal(err)
				}
				ids := map[string]bool{}
				m.Model(func(turn gridtest.Turn) gridtest.Reply {
					if slices.Contains(turn.Tools, "digger") {
						if turn.N == 0 {
							return calls(gridtest.Call("digger", `{"task":"dig"}`))
						}
						return say("done")
					}
					sh := shares(t, l)
					if len(sh) != 1 {
						t.Errorf("%d shares at step %d", len(sh), turn.N)
					} else {
						ids[sh[0].ID] = true
					}
					if turn.N < 3 {
						return calls(gridtest.Call("dig", "{}"))
					}
					return say("dug")
				})
				dig := tools.New("dig", "Dig.", func(context.Context, empty) (string, error) {
					store.on.Store(lost)
					time.Sleep(20 * time.Minute)
					_, err := l.Sweep(context.Background(), 100)
					if n := len(shares(t, l)); (n == 0) != lost {
						t.Errorf("%d shares after 20 minutes", n)
					}
					store.on.Store(false)
					time.Sleep(time.Minute)
					return "dug", err
				}, tools.Timeout(time.Hour))
				client := clientOf(t, m)
				limits := kept(budget.USD(0.5))
				digger := open(t, m, agent.Config{Name: "digger", Market: client, Ledger: l, Limits: limits, Tools: []tools.Tool{dig}})
				boss := open(t, m, agent.Config{Name: "boss", Market: client, Ledger: l, Agents: []*agent.Agent{digger}, Limits: agent.Limits{Wall: agent.None}})
				res, err := agent.Run[string](t.Context(), boss, "go", agent.Tenant("acme"))
				stands(t, res, err)
				if want := map[bool]int{false: 1, true: 4}[lost]; err != nil || res.Text != "done" || len(ids) != want {
					t.Errorf("%q with %d shares: %v", res.Text, len(ids), err)
				}
				nothingHeld(t, l)
				n := store.n.Load()
				time.Sleep(time.Hour)
				if store.n.Load() != n {
					t.Error("something is renewed after the end")
				}
			})
		})
	}
}

// A share follows the run into the next day, where its day's cap begins anew.
func TestAShareIsTakenAgainWhenAWindowTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const share = 300_000_000
		m := newMarket(t, gridtest.Config{})
		l := ledgerOf(t, tenantDay(budget.USD(1)), budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: budget.USD(1), Per: budget.Lifetime()})
		spent := int64(0)
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			if slices.Contains(turn.Tools, "digger") {
				if turn.N == 0 {
					return calls(gridtest.Call("digger", `{"task":"dig"}`))
				}
				return say("done")
			}
			sh := shares(t, l)
			if len(sh) != 1 {
				t.Errorf("%d shares at step %d", len(sh), turn.N)
				return say("dug")
			}
			for _, id := range []string{tenantDay(0).ID(), "each tenant money lifetime"} {
				// What is reserved beside the share is the answer above, and that below, which was reserved yesterday.
				s := state(t, l, id, acme)
				if turn.N > 0 && s.Settled == 0 && s.Held != share-spent || s.Held > share+budget.USD(0.1) {
					t.Errorf("step %d: %+v", turn.N, s)
				}
			}
			if turn.N == 0 {
				return calls(gridtest.Call("dig", "{}"))
			}
			if sh[0].Reserved.NanoUSD != share-spent || spent == 0 {
				t.Errorf("%v is kept of %d, of which %d are spent", sh[0].Reserved, share, spent)
			}
			return say("dug")
		})
		dig := tools.New("dig", "Dig.", func(context.Context, empty) (string, error) {
			spent = state(t, l, "run top.0.1 money lifetime", budget.Scope{Kind: "run", Name: "top.0.1"}).Settled
			time.Sleep(25 * time.Hour)
			return "dug", nil
		}, tools.Timeout(48*time.Hour))
		client := clientOf(t, m)
		limits := kept(share)
		digger := open(t, m, agent.Config{Name: "digger", Market: client, Ledger: l, Limits: limits, Tools: []tools.Tool{dig}})
		boss := open(t, m, agent.Config{Name: "boss", Market: client, Ledger: l, Agents: []*agent.Agent{digger}, Limits: agent.Limits{Wall: agent.None}})
		res, err := agent.Run[string](t.Context(), boss, "go", agent.Tenant("acme"), agent.RunID("top"))
		stands(t, res, err)
		if err != nil || res.Text != "done" {
			t.Errorf("%q: %v", res.Text, err)
		}
		nothingHeld(t, l)
	})
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
