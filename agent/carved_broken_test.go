package agent_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// fragile is a store that panics once, when a call is settled, or when a share was given.
type fragile struct {
	budget.Store
	at     string
	carved int // how often a share was asked for
}

func (f *fragile) Settle(ctx context.Context, account, id string, actual budget.Amounts, ans *budget.Answer) error {
	if actual.ToolCalls > 0 && f.at == "settle" {
		f.at = ""
		panic("the store")
	}
	return f.Store.Settle(ctx, account, id, actual, ans)
}

func (f *fragile) Reserve(ctx context.Context, account string, op *budget.ReserveOp, ans *budget.Answer) error {
	err := f.Store.Reserve(ctx, account, op, ans)
	if strings.Contains(op.ID, "/carved/") {
		f.carved++
		if f.at == "reserve" {
			f.at = ""
			panic("the store")
		}
	}
	return err
}

// A store that panics ends the run, and leaves no share that somebody renews for ever.
func TestAShareOfACallThatBrokeIsFreeAgain(t *testing.T) {
	for _, at := range []string{"settle", "reserve"} {
		t.Run(at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{})
				turns(m, calls(gridtest.Call("digger", `{"task":"dig"}`)), say("done"))
				store := &fragile{Store: budget.NewMemory(budget.Volatile()), at: at}
				l, err := budget.Open(t.Context(), budget.Config{Store: store, Caps: []budget.Cap{tenantDay(budget.USD(1)), account(),
					{For: budget.Each(budget.ScopeTool), Meter: budget.MeterToolCalls, Limit: budget.None, Per: budget.Lifetime()}}})
				if err != nil {
					t.Fatal(err)
				}
				client := clientOf(t, m)
				digger := open(t, m, agent.Config{Name: "digger", Market: client, Ledger: l, Limits: kept(budget.USD(0.5)), Tools: []tools.Tool{look()}})
				boss := open(t, m, agent.Config{Name: "boss", Market: client, Ledger: l, Agents: []*agent.Agent{digger}})
				res, err := agent.Run[string](t.Context(), boss, "go", agent.Tenant("acme"))
				stands(t, res, err)
				if store.at != "" || store.carved == 0 {
					t.Error("nothing has panicked")
				}
				time.Sleep(10 * time.Minute)
				if _, err := l.Sweep(t.Context(), 100); err != nil {
					t.Fatal(err)
				}
				nothingHeld(t, l)
			})
		})
	}
}

// A window that rolls has no turn after which a share would have to be taken anew.
func TestAShareUnderARollingCapIsTakenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		store := &fragile{Store: budget.NewMemory(budget.Volatile())}
		rolling := budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: budget.USD(1), Per: budget.Rolling(10 * time.Minute)}
		l, err := budget.Open(t.Context(), budget.Config{Store: store, Caps: []budget.Cap{rolling, account()}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 9 { // something leaves the window every minute
			id := fmt.Sprint(i)
			if _, err := l.Reserve(t.Context(), budget.Request{ID: id, Scopes: []budget.Scope{acme}, Amounts: budget.Amounts{NanoUSD: 1000}}); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Settle(t.Context(), id, budget.Amounts{NanoUSD: 1000}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			if turn.N < 20 {
				return calls(gridtest.Call("dig", "{}"))
			}
			return say("dug")
		})
		dig := tools.New("dig", "Dig.", func(context.Context, empty) (string, error) { time.Sleep(time.Minute); return "seen", nil })
		digger := open(t, m, agent.Config{Name: "digger", Ledger: l, Limits: kept(budget.USD(0.8)), Tools: []tools.Tool{dig}})
		res, err := agent.Run[string](t.Context(), digger, "go", agent.Tenant("acme"))
		stands(t, res, err)
		if err != nil || res.Text != "dug" || store.carved != 1 {
			t.Errorf("%q, and the share was asked for %d times: %v", res.Text, store.carved, err)
		}
		nothingHeld(t, l)
	})
}
