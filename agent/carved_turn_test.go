package agent_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

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

// An operator gives the tenant a cap of its own while a share is held on the one for all tenants: the share follows.
func TestAShareFollowsACapThatTakesThePlaceOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const share, mine = 150_000_000, 200_000_000
		m := newMarket(t, gridtest.Config{})
		l := ledgerOf(t, tenantDay(budget.USD(1)))
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			switch {
			case slices.Contains(turn.Tools, "digger") && turn.N == 0:
				return greedy(turn, calls(gridtest.Call("digger", `{"task":"dig"}`)))
			case slices.Contains(turn.Tools, "dig"):
				return greedy(turn, calls(gridtest.Call("dig", "{}")))
			}
			return greedy(turn, say("what I have"))
		})
		dug := 0
		dig := tools.New("dig", "Dig.", func(ctx context.Context, _ empty) (string, error) {
			if dug++; dug > 1 {
				return "dug", nil
			}
			own := tenantDay(budget.USD(2))
			own.For = budget.One("tenant", "acme")
			return "dug", l.Define(ctx, "ann", own)
		})
		client := clientOf(t, m, func(c *grid.Config) { c.Catalogue = tight(t) })
		digger := open(t, m, agent.Config{Name: "digger", Market: client, Ledger: l, Limits: kept(share), Tools: []tools.Tool{dig}})
		boss := open(t, m, agent.Config{Name: "boss", Market: client, Ledger: l, Agents: []*agent.Agent{digger}})
		res, err := agent.Run[string](t.Context(), boss, "go", agent.Tenant("acme"), agent.RunID("top"), agent.Cap(mine))
		stands(t, res, err)
		if spent := spentIn(res, "top.0.1"); err != nil || spent < share*9/10 || spent > share || res.Text != "what I have" {
			t.Errorf("%q after %d of %d were spent: %v", res.Text, spent, share, err)
		}
		nothingHeld(t, l)
	})
}

// Of shares within shares the outer one is taken first when a window has turned, so that no more is held than it.
func TestSharesWithinSharesFollowIntoTheNextDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const share = 300_000_000
		m := newMarket(t, gridtest.Config{})
		l := ledgerOf(t, tenantDay(budget.USD(1)))
		spent, today := int64(0), false
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			switch {
			case slices.Contains(turn.Tools, "mid") && turn.N == 0:
				return calls(gridtest.Call("mid", `{"task":"go on"}`))
			case slices.Contains(turn.Tools, "leaf") && turn.N == 0:
				return calls(gridtest.Call("leaf", `{"task":"dig"}`))
			case slices.Contains(turn.Tools, "dig") && turn.N == 0:
				return calls(gridtest.Call("dig", "{}"))
			case slices.Contains(turn.Tools, "dig"):
				today = true
				if s := state(t, l, tenantDay(0).ID(), acme); len(shares(t, l)) != 2 || s.Held != share-spent || s.Settled != 0 {
					t.Errorf("%d shares, %d of %d were spent: %+v", len(shares(t, l)), spent, share, s)
				}
			}
			return say("done")
		})
		dig := tools.New("dig", "Dig.", func(context.Context, empty) (string, error) {
			spent = state(t, l, "run top.0.1 money lifetime", budget.Scope{Kind: "run", Name: "top.0.1"}).Settled
			time.Sleep(25 * time.Hour)
			return "dug", nil
		}, tools.Timeout(48*time.Hour))
		client := clientOf(t, m)
		leaf := open(t, m, agent.Config{Name: "leaf", Market: client, Ledger: l, Limits: kept(share / 2), Tools: []tools.Tool{dig}})
		mid := open(t, m, agent.Config{Name: "mid", Market: client, Ledger: l, Limits: kept(share), Agents: []*agent.Agent{leaf}})
		boss := open(t, m, agent.Config{Name: "boss", Market: client, Ledger: l, Agents: []*agent.Agent{mid}, Limits: agent.Limits{Wall: agent.None}})
		res, err := agent.Run[string](t.Context(), boss, "go", agent.Tenant("acme"), agent.RunID("top"))
		stands(t, res, err)
		if err != nil || res.Text != "done" || !today || spent == 0 {
			t.Errorf("%q: %v", res.Text, err)
		}
		nothingHeld(t, l)
	})
}
