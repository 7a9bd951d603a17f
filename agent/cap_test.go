package agent_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

// The oracle of these tests is the market's own bill; the supplier is as dear as
// one can be that keeps to max_tokens and the template.

// runaway calls tools for ever, dearly.
func runaway(t gridtest.Turn) gridtest.Reply {
	if len(t.Tools) == 0 {
		return greedy(t, say("This is what I have."))
	}
	return greedy(t, gridtest.Reply{Text: "Looking again.", Calls: []gridtest.ToolCall{lookCall(), lookCall()}})
}

func faultsOf(seed uint64) []gridtest.Fault {
	rnd := rand.New(rand.NewPCG(seed, 3))
	kinds := []gridtest.Fault{
		{Kind: gridtest.Status, Status: 402},
		{Kind: gridtest.Status, Status: 429, RetryAfter: time.Second},
		{Kind: gridtest.Status, Status: 500},
		{Kind: gridtest.Status, Status: 500, Hop: 2, Billed: true},
		{Kind: gridtest.Status, Status: 502, Hop: 2},
		{Kind: gridtest.CutStream, AfterChunks: 2},
		{Kind: gridtest.DropConnection},
		{Kind: gridtest.EmptyBody},
		{Kind: gridtest.NoChoices},
	}
	var out []gridtest.Fault
	for _, i := range rnd.Perm(len(kinds))[:1+rnd.IntN(4)] {
		f := kinds[i]
		f.Rate = 0.05 + 0.2*rnd.Float64()
		out = append(out, f)
	}
	return out
}

func account() budget.Cap {
	return budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: budget.None, Per: budget.Lifetime()}
}

func ledgerOf(t *testing.T, caps ...budget.Cap) *budget.Ledger {
	t.Helper()
	l, err := budget.Open(context.Background(), budget.Config{Store: budget.NewMemory(budget.Volatile()), Caps: append(caps, account())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Shutdown(context.Background()) })
	return l
}

// state finds where a cap stands for what is spent under scopes.
func state(t *testing.T, l *budget.Ledger, id string, scopes ...budget.Scope) budget.CapState {
	t.Helper()
	states, err := l.Snapshot(context.Background(), scopes...)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		if s.Cap == id {
			return s
		}
	}
	t.Fatalf("no cap is called %q, there are %v", id, states)
	return budget.CapState{}
}

func TestBillStaysUnderEveryCap(t *testing.T) {
	tenant := budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: budget.USD(0.05), Per: budget.Day(nil)}
	instrument := budget.Cap{For: budget.One("instrument", "agent-prime"), Meter: budget.MeterMoney, Limit: budget.USD(0.04), Per: budget.Day(nil)}
	all := budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: budget.USD(0.06), Per: budget.Day(nil)}
	for _, tc := range []struct {
		name  string
		caps  []budget.Cap
		limit int64 // of everything
		runs  int
		opts  []agent.Option
	}{
		{name: "one run", limit: budget.USD(0.03), runs: 1, opts: []agent.Option{agent.Cap(budget.USD(0.03))}},
		{name: "eight tenants, a cap for each", caps: []budget.Cap{tenant}, limit: 8 * budget.USD(0.05), runs: 24},
		{name: "an instrument", caps: []budget.Cap{instrument}, runs: 8},
		{name: "64 runs on one cap", caps: []budget.Cap{all}, limit: budget.USD(0.06), runs: 64},
	} {
		for _, market := range markets() {
			seed := market.Seed
			t.Run(fmt.Sprintf("%s, %s, seed %d", tc.name, market.Profile.Name, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := newMarket(t, market)
					if seed > 0 {
						m.Fault(faultsOf(seed)...)
					}
					ledger := ledgerOf(t, tc.caps...)
					var mu sync.Mutex
					m.Model(func(turn gridtest.Turn) gridtest.Reply {
						mu.Lock()
						defer mu.Unlock()
						for i := range 8 {
							checkInvariant(t, ledger, fmt.Sprint("t", i))
						}
						r := runaway(turn)
						r.Delay = 10 * time.Millisecond
						return r
					})
					a := open(t, m, agent.Config{
						Tools: []tools.Tool{look()}, Ledger: ledger, Limits: agent.Limits{Steps: 20},
						Market: clientOf(t, m, func(c *grid.Config) { c.Catalogue = tight(t) }),
					})
					runs := tc.runs
					if market.Profile.Findings != nil {
						runs = min(runs, 8) // the crowd has its turn as assumed
					}
					results := make([]*agent.Result[string], runs)
					var wg sync.WaitGroup
					for i := range results {
						wg.Go(func() {
							live := agent.Start[string](t.Context(), a, fmt.Sprint("question ", i), append([]agent.Option{agent.Tenant(fmt.Sprint("t", i%8))}, tc.opts...)...)
							if i%2 == 1 {
								for range live.Events() {
								}
							}
							res, err := live.Result()
							stands(t, res, err)
							results[i] = res
						})
					}
					wg.Wait()
					bill := m.Bill("")
					if tc.limit > 0 && bill > tc.limit {
						t.Errorf("the bill is %d, the cap %d", bill, tc.limit)
					}
					perTenant := map[string]int64{}
					asked, cost := 0, int64(0)
					for i, res := range results {
						asked += attempts(res.Steps)
						cost += res.Cost.NanoUSD
						for _, s := range res.Steps {
							for _, at := range s.Attempts {
								paid, _ := m.BillByRequest(at.RequestID)
								perTenant[fmt.Sprint("t", i%8)] += paid
							}
						}
					}
					onPrime := int64(0)
					for _, r := range m.Requests() {
						if r.Instrument == "agent-prime" {
							onPrime += r.CostNanoUSD
						}
					}
					if tc.name == "an instrument" && onPrime > instrument.Limit {
						t.Errorf("%d was spent on agent-prime, its cap is %d", onPrime, instrument.Limit)
					}
					for name, paid := range perTenant {
						if len(tc.caps) > 0 && tc.caps[0].ID() == tenant.ID() && paid > tenant.Limit {
							t.Errorf("tenant %s was billed %d, its cap is %d", name, paid, tenant.Limit)
						}
					}
					if hop1, hop2 := chats(m, 1), chats(m, 2); asked != hop1 || hop2 > hop1 {
						t.Errorf("%d attempts are recorded, the market saw %d requests and redirected %d", asked, hop1, hop2)
					}
					ac := state(t, ledger, account().ID())
					if ac.Settled != cost || ac.Held != 0 || ac.Overrun != 0 {
						t.Errorf("the attempts cost %d, the ledger says %+v", cost, ac)
					}
					if bill > ac.Settled {
						t.Errorf("the bill is %d, the ledger only counts %d", bill, ac.Settled)
					}
					if bill == 0 {
						t.Error("nothing was spent, so nothing is proved")
					}
					reconciled(t, m, a, ledger, results)
				})
			})
		}
	}
}

// markets are those of the four seeds that behave as assumed, and one of each other
// reading.
func markets() (all []gridtest.Config) {
	for i, p := range gridtest.Profiles() {
		for seed := range uint64(4) {
			if i == 0 || seed == 1+uint64(i)%3 {
				all = append(all, gridtest.Config{Seed: seed, Profile: p})
			}
		}
	}
	return all
}

func checkInvariant(t *testing.T, l *budget.Ledger, tenant string) {
	states, err := l.Snapshot(context.Background(), budget.Scope{Kind: "tenant", Name: tenant}, budget.Scope{Kind: "instrument", Name: "agent-prime"})
	if err != nil {
		t.Error(err)
	}
	for _, s := range states {
		if s.Limit != budget.None && s.Settled+s.Held > s.Limit+s.Overrun {
			t.Errorf("%s: %d settled and %d held pass the limit %d", s.Cap, s.Settled, s.Held, s.Limit)
		}
	}
}

// reconciled checks that receipts bring results and ledger to the bill.
func reconciled(t *testing.T, m *gridtest.Market, a *agent.Agent, l *budget.Ledger, results []*agent.Result[string]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	cost, lost := int64(0), int64(0)
	for _, res := range results {
		err := agent.Reconcile(ctx, a, res)
		unknown := 0
		for _, s := range res.Steps {
			for _, at := range s.Attempts {
				if at.Billed != "no" && at.RequestID == "" {
					unknown++
					lost += at.CostNanoUSD
				}
			}
		}
		if (err != nil) != (unknown > 0) {
			t.Errorf("%d attempts have no request id; Reconcile says %v", unknown, err)
		}
		if res.Cost.Open != unknown {
			t.Errorf("%d receipts are open, want %d", res.Cost.Open, unknown)
		}
		cost += res.Cost.NanoUSD
	}
	settled := state(t, l, account().ID()).Settled
	if settled != cost {
		t.Errorf("after the receipts the ledger says %d, the results %d", settled, cost)
	}
	bill := m.Bill("")
	if lost == 0 && bill != cost {
		t.Errorf("after the receipts the results cost %d, the bill is %d", cost, bill)
	}
	if bill > cost || bill < cost-lost {
		t.Errorf("the bill %d is not between %d and %d", bill, cost-lost, cost)
	}
}

// The allowance pays for an answer at whatever cap a first step was possible.
func TestEveryCapSizeEndsWithAnAnswer(t *testing.T) {
	answered, refused := 0, 0
	for size := int64(200_000); size < 60_000_000; size += size / 9 {
		synctest.Test(t, func(t *testing.T) {
			m := newMarket(t, gridtest.Config{})
			m.Model(runaway)
			a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Market: clientOf(t, m, func(c *grid.Config) { c.Catalogue = tight(t) })})
			res, err := agent.Run[string](t.Context(), a, "go", agent.Cap(size))
			stands(t, res, err)
			if bill := m.Bill(""); bill > size {
				t.Errorf("cap %d: the bill is %d", size, bill)
			}
			if res.Stop != agent.StopBudget && res.Stop != agent.StopSteps {
				t.Errorf("cap %d: stopped by %s", size, res.Stop)
			}
			switch {
			case err == nil:
				answered++
				if !res.Final || res.Text != "This is what I have." || res.Output != res.Text {
					t.Errorf("cap %d: ends with %q, final %t, after %d steps: %s", size, res.Text, res.Final, len(res.Steps), res.Reason)
				}
			case errors.Is(err, agent.ErrNoAnswer) && len(res.Steps) == 0:
				refused++
			default:
				t.Errorf("cap %d: %v after %d steps", size, err, len(res.Steps))
			}
		})
	}
	if answered < 10 || refused < 3 {
		t.Errorf("%d caps allowed an answer and %d did not: the sizes prove too little", answered, refused)
	}
}

// A cap that money cannot reach is counted in tokens.
func TestTokenCapHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		m.Model(runaway)
		a := open(t, m, agent.Config{Tools: []tools.Tool{look()}})
		res, err := agent.Run[string](t.Context(), a, "go", agent.CapTokens(20_000))
		stands(t, res, err)
		if err != nil || res.Stop != agent.StopBudget || !res.Final {
			t.Errorf("stopped by %s, final %t: %v", res.Stop, res.Final, err)
		}
		used := int64(0)
		for _, r := range m.Requests() {
			used += r.PromptTokens + r.CompletionTokens
		}
		if used > 20_000 || used < 10_000 {
			t.Errorf("%d tokens were used under a cap of 20000", used)
		}
		if res.Usage.InputTokens+res.Usage.OutputTokens != used {
			t.Errorf("the result counts %+v, the market %d tokens", res.Usage, used)
		}
	})
}

// Options stand in place of the limits, in both directions.
func TestCapOptionsReplaceTheLimits(t *testing.T) {
	for _, tc := range []struct {
		name         string
		limits       agent.Limits
		opt          agent.Option
		least, most  int // model steps
		shared, stop bool
	}{
		{name: "the limit", limits: agent.Limits{RunNanoUSD: budget.USD(0.01)}, least: 1, most: 4, stop: true},
		{name: "down", limits: agent.Limits{RunNanoUSD: budget.USD(1)}, opt: agent.Cap(budget.USD(0.01)), least: 1, most: 4, stop: true},
		{name: "up", limits: agent.Limits{RunNanoUSD: budget.USD(0.01)}, opt: agent.Cap(budget.USD(1)), least: 12, most: 13},
		{name: "the limit, in a shared ledger", limits: agent.Limits{RunNanoUSD: budget.USD(0.01)}, shared: true, least: 1, most: 4, stop: true},
		{name: "up, in a shared ledger", limits: agent.Limits{RunNanoUSD: budget.USD(0.01)}, opt: agent.Cap(budget.USD(1)), shared: true, least: 12, most: 13},
		{name: "tokens down", opt: agent.CapTokens(9000), least: 1, most: 4, stop: true},
		{name: "tokens up", limits: agent.Limits{RunTokens: 9000}, opt: agent.CapTokens(2_000_000), least: 12, most: 13},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMarket(t, gridtest.Config{})
			m.Model(runaway)
			tc.limits.Steps = 12
			cfg := agent.Config{Tools: []tools.Tool{look()}, Limits: tc.limits, Market: clientOf(t, m, func(c *grid.Config) { c.Catalogue = tight(t) })}
			if tc.shared {
				cfg.Ledger = ledgerOf(t)
			}
			var opts []agent.Option
			if tc.opt != nil {
				opts = append(opts, tc.opt)
			}
			res, err := agent.Run[string](t.Context(), open(t, m, cfg), "go", opts...)
			stands(t, res, err)
			if n := len(res.Steps); n < tc.least || n > tc.most || (res.Stop == agent.StopBudget) != tc.stop {
				t.Errorf("%d steps, stopped by %s (%s), want %d to %d", n, res.Stop, res.Reason, tc.least, tc.most)
			}
		})
	}
}

// A cap for each tenant is never passed by leaving the tenant out.
func TestRunWithoutTheLabelOfACapIsRefused(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	a := open(t, m, agent.Config{Store: budget.NewMemory(budget.Volatile()),
		Caps: []budget.Cap{{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: budget.USD(1), Per: budget.Day(nil)}}})
	res, err := agent.Run[string](t.Context(), a, "go")
	stands(t, res, err)
	if !errors.Is(err, budget.ErrNoLabel) || !strings.Contains(err.Error(), "tenant") {
		t.Errorf("the error does not name the label: %v", err)
	}
	if n := chats(m, 1); n != 0 {
		t.Errorf("%d requests were made", n)
	}
	if _, err := agent.Run[string](t.Context(), a, "go", agent.Tenant("acme")); err != nil {
		t.Errorf("with a tenant: %v", err)
	}
}

// A supplier that breaks its word is counted in full, and reported.
func TestOverrunIsRecordedAndAnnounced(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		return gridtest.Reply{Text: "long", CompletionTokens: 50_000}
	})
	l := ledgerOf(t)
	a := open(t, m, agent.Config{Ledger: l})
	live := agent.Start[string](t.Context(), a, "go")
	warned := false
	for e := range live.Events() {
		if w, ok := e.(agent.Warning); ok && strings.Contains(w.Text, "more than its bound") {
			warned = true
		}
	}
	res, err := live.Result()
	if err != nil || !warned {
		t.Errorf("warned %t: %v", warned, err)
	}
	if s := state(t, l, account().ID()); s.Overrun == 0 || s.Settled != res.Cost.NanoUSD || s.Settled < m.Bill("") {
		t.Errorf("the ledger says %+v, the result %v, the bill is %d", s, res.Cost, m.Bill(""))
	}
}

// An answer whose usage leaves the prompt out costs its bound until the receipt comes:
// it was not free.
func TestAUsageWithoutThePromptIsNoProofOfTheCost(t *testing.T) {
	for _, usage := range []string{
		`{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}`,
		`{"prompt_tokens":null,"completion_tokens":null,"total_tokens":0}`,
		`{"completion_tokens":1}`,
		`{"prompt_tokens":0,"completion_tokens":1,"total_tokens":1}`,
	} {
		m := newMarket(t, gridtest.Config{})
		m.Model(func(gridtest.Turn) gridtest.Reply {
			return gridtest.Reply{Raw: &gridtest.RawReply{Body: []byte(`{"id":"x","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":` + usage + `}`)}}
		})
		l := ledgerOf(t)
		res, err := agent.Run[string](t.Context(), open(t, m, agent.Config{Ledger: l}), "go")
		if err != nil || res.Text != "hello" {
			t.Fatalf("%s: %q, %v", usage, res.Text, err)
		}
		at := res.Steps[0].Attempts[0]
		s := state(t, l, account().ID())
		if at.CostSource != agent.CostBound || at.CostNanoUSD == 0 || at.Tokens != at.ReservedTokens || s.Settled != res.Cost.NanoUSD || s.Overrun != 0 {
			t.Errorf("%s: attempt %+v, the ledger says %+v, the result %v", usage, at, s, res.Cost)
		}
	}
}

func TestMoneyCapWithoutAPriceIsRefusedBeforeAnythingIsSpent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := gridtest.Nine()
		for i := range free {
			free[i].PriceNanoUSD = 0
		}
		m := newMarket(t, gridtest.Config{Instruments: free})
		a := open(t, m, agent.Config{})
		res, err := agent.Run[string](t.Context(), a, "go", agent.Cap(budget.USD(1)))
		stands(t, res, err)
		if !errors.Is(err, agent.ErrPriceUnknown) || !strings.Contains(err.Error(), "max_price") || chats(m, 1) != 0 {
			t.Errorf("%d requests: %v", chats(m, 1), err)
		}
		live := agent.Start[string](t.Context(), a, "go")
		warned := false
		for e := range live.Events() {
			w, ok := e.(agent.Warning)
			warned = warned || ok && strings.Contains(w.Text, "max_price")
		}
		if res, err := live.Result(); err != nil || !warned || res.Text == "" {
			t.Errorf("under the default cap: warned %t, %v", warned, err)
		}
	})
}

// A step is lowered to what the cap has left, with its request, before it is refused.
func TestStepIsLoweredToWhatTheCapHasLeft(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	asked := int64(0)
	m.Model(func(turn gridtest.Turn) gridtest.Reply { asked = turn.MaxTokens; return greedy(turn, say("done")) })
	a := open(t, m, agent.Config{Market: clientOf(t, m, func(c *grid.Config) { c.Catalogue = tight(t) })})
	res, err := agent.Run[string](t.Context(), a, "go", agent.CapTokens(5000))
	stands(t, res, err)
	if err != nil || len(res.Steps) != 1 || res.Steps[0].Final || !res.Steps[0].Shrunk || asked >= 4096 || asked < 1000 {
		t.Errorf("%d tokens were asked for, %d steps, stopped by %s: %v", asked, len(res.Steps), res.Stop, err)
	}
	if used := res.Usage.InputTokens + res.Usage.OutputTokens; used > 5000 || m.Bill("") > res.Cost.NanoUSD {
		t.Errorf("%d tokens were used; the bill is %d, counted is %v", used, m.Bill(""), res.Cost)
	}
}
