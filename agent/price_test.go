package agent_test

import (
	"errors"
	"fmt"
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

// nine are the market's instruments; those named cost nothing that anybody knows.
func nine(priceless ...string) []gridtest.Instrument {
	all := gridtest.Nine()
	for i := range all {
		for _, id := range priceless {
			if all[i].ID == id || id == "*" {
				all[i].PriceNanoUSD = 0
			}
		}
	}
	return all
}

func TestAnInstrumentWhosePriceCannotBeBoundedIsRefusedOrAvoided(t *testing.T) {
	for _, tc := range []struct {
		name      string
		policy    agent.PricePolicy
		priceless []string
		dear      string // was seen above its max_price
		live      bool   // in the market's list, not in a receipt
		opts      []agent.Option
		want      error
		serves    string
	}{
		{name: "unknown, deny", priceless: []string{"agent-prime"}, want: agent.ErrPriceUnknown},
		{name: "unknown, reroute", policy: agent.PriceReroute, priceless: []string{"agent-prime"}, serves: "code-prime"},
		{name: "unknown everywhere, reroute", policy: agent.PriceReroute, priceless: []string{"*"}, want: agent.ErrPriceUnknown},
		{name: "above max_price by a receipt, deny", dear: "agent-prime", want: agent.ErrPriceOver},
		{name: "above max_price by the live price, deny", dear: "agent-prime", live: true, want: agent.ErrPriceOver},
		{name: "above max_price, reroute", policy: agent.PriceReroute, dear: "agent-prime", serves: "code-prime"},
		{name: "above max_price and pinned, reroute", policy: agent.PriceReroute, dear: "agent-prime", opts: []agent.Option{agent.Pin("agent-prime")}, want: agent.ErrPriceOver},
		{name: "another one is above max_price", dear: "agent-max", serves: "agent-prime"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{Instruments: nine(tc.priceless...)})
				c := clientOf(t, m)
				if tc.dear != "" {
					in, _ := c.Catalogue().Get(tc.dear)
					in.MaxPriceNanoUSD = 1_000_000
					if err := c.Catalogue().Put(in); err != nil {
						t.Fatal(err)
					}
					if tc.live {
						if err := c.Refresh(t.Context()); err != nil {
							t.Fatal(err)
						}
					} else {
						c.Catalogue().ObserveLot(tc.dear, 1_000_001, time.Now())
					}
				}
				turns(m, calls(lookCall()), say("done"))
				a := open(t, m, agent.Config{Market: c, Tools: []tools.Tool{look()}, Spending: agent.Spending{Price: tc.policy}})
				res, err := agent.Run[string](t.Context(), a, "go", append(tc.opts, agent.Cap(budget.USD(1)))...)
				stands(t, res, err)
				if !errors.Is(err, tc.want) || tc.want != nil && (chats(m, 1) != 0 || !strings.Contains(err.Error(), "max_price")) {
					t.Fatalf("%d requests: %v", chats(m, 1), err)
				}
				if tc.want == nil && (err != nil || len(res.Steps) != 2 || res.Steps[0].Instrument != tc.serves) {
					t.Errorf("%+v: %v", res.Steps, err)
				}
			})
		})
	}
}

// A dear lot is forgotten after a day, and an instrument may serve again.
func TestADearLotIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, say("done"))
		c := clientOf(t, m, func(c *grid.Config) { c.Catalogue = tight(t) })
		c.Catalogue().ObserveLot("text-prime", budget.USD(90), time.Now())
		a := open(t, m, agent.Config{Market: c})
		if _, err := agent.Run[string](t.Context(), a, "go"); !errors.Is(err, agent.ErrPriceOver) {
			t.Error(err)
		}
		time.Sleep(24 * time.Hour)
		if _, err := agent.Run[string](t.Context(), a, "go"); err != nil {
			t.Error(err)
		}
	})
}

// The price doubles while a hundred runs are in flight. Under a max_price that
// foresaw it the bill stays under the cap; without one what was in flight may pass
// it, and everything of that is recorded and stops the instrument.
func TestThePriceDoublesWithAHundredRunsInFlight(t *testing.T) {
	const runs = 100
	limit := budget.USD(0.30)
	for _, tc := range []struct {
		name string
		max  int64 // times the price
	}{{"foreseen", 2}, {"not foreseen", 1}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				balance := map[string]int64{}
				for _, in := range gridtest.Nine() {
					balance[in.ID] = 3000
				}
				m := newMarket(t, gridtest.Config{Balance: balance, TopUp: gridtest.TopUp{Quantity: 20_000, Delay: time.Second}})
				var mu sync.Mutex
				turns := 0
				m.Model(func(turn gridtest.Turn) gridtest.Reply {
					mu.Lock()
					defer mu.Unlock()
					if turns++; turns == 40 {
						for _, in := range gridtest.Nine() {
							m.SetPrice(in.ID, 2*in.PriceNanoUSD)
						}
					}
					r := runaway(turn)
					r.Delay = time.Second
					return r
				})
				catalogue := tight(t)
				for _, in := range catalogue.List() {
					in.MaxPriceNanoUSD *= tc.max
					if err := catalogue.Put(in); err != nil {
						t.Fatal(err)
					}
				}
				cap := budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: limit, Per: budget.Day(nil)}
				l := ledgerOf(t, cap)
				a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Ledger: l, Limits: agent.Limits{Steps: 10, Wait: 10 * time.Minute},
					Market: clientOf(t, m, func(c *grid.Config) { c.Catalogue = catalogue })})
				results := make([]*agent.Result[string], runs)
				var wg sync.WaitGroup
				for i := range runs {
					wg.Go(func() {
						res, err := agent.Run[string](t.Context(), a, fmt.Sprint("question ", i))
						stands(t, res, err)
						results[i] = res
						_ = agent.Reconcile(t.Context(), a, res)
					})
				}
				wg.Wait()
				s := state(t, l, cap.ID())
				bill := m.Bill("")
				if turns < 45 || bill == 0 {
					t.Fatalf("only %d answers for %d: the price hardly mattered", turns, bill)
				}
				if bill > s.Settled || s.Settled > limit+s.Overrun {
					t.Errorf("the bill is %d, counted are %d with an overrun of %d, the cap is %d", bill, s.Settled, s.Overrun, limit)
				}
				frozen, err := l.Freezes(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				foreseen := tc.max > 1
				if foreseen && (bill > limit || s.Overrun != 0 || len(frozen) != 0) {
					t.Errorf("the bill is %d, the cap %d, the overrun %d, halted %v", bill, limit, s.Overrun, frozen)
				}
				if !foreseen && (s.Overrun == 0 || len(frozen) == 0) {
					t.Errorf("nothing was noticed: overrun %d, halted %v", s.Overrun, frozen)
				}
				t.Logf("%d answers, bill %s of %s, overrun %s", turns, budget.FormatUSD(bill), budget.FormatUSD(limit), budget.FormatUSD(s.Overrun))
			})
		})
	}
}
