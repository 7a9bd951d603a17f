package agent_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// of collects the events of one type.
func of[E agent.Event](events []agent.Event) (out []E) {
	for _, e := range events {
		if e, ok := e.(E); ok {
			out = append(out, e)
		}
	}
	return out
}

func TestAWaitForARateIsAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, calls(lookCall()), calls(lookCall()))
		a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Market: clientOf(t, m, func(cfg *grid.Config) {
			cfg.Rates = map[string]grid.Rate{"": {Requests: 0.5}}
		})})
		live := agent.Start[string](t.Context(), a, "go")
		waits := of[agent.RateWait](slices.Collect(live.Events()))
		if len(waits) != 2 || waits[0].Step != 1 || waits[0].Instrument == "" || waits[0].Delay <= time.Second {
			t.Errorf("%+v", waits)
		}
		res, err := live.Result()
		if err != nil || res.Steps[0].RateWait != 0 || res.Steps[1].RateWait <= time.Second || res.Steps[1].Took < res.Steps[1].RateWait {
			t.Errorf("%+v, %v", res.Steps, err)
		}
	})
}

func TestWhatTheMarketsListChangesIsAnEventOfRunsUnderWay(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	turns(m, calls(lookCall()))
	client := clientOf(t, m)
	change := func(status string) {
		client.Catalogue().ObserveModel(grid.Model{ID: "code-prime", Status: status}, time.Now())
	}
	change("retired") // before the run: no news of its
	stir := tools.New("look", "Look.", func(context.Context, empty) (string, error) { change(grid.StatusLive); return "seen", nil }, tools.ReadOnly())
	a := open(t, m, agent.Config{Market: client, Tools: []tools.Tool{stir}})
	if err := client.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	change("retired")
	got := of[agent.MarketChanged](slices.Collect(agent.Start[string](t.Context(), a, "go").Events()))
	if len(got) != 1 || got[0].Step != 1 || got[0].Change.Instrument != "code-prime" || got[0].Change.Kind != grid.ChangeStatus || got[0].Change.NowStatus != grid.StatusLive {
		t.Errorf("%+v", got)
	}
}

func TestAlertsOfAWatchAreEventsOfRunsUnderWay(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	turns(m, calls(lookCall()), calls(lookCall()))
	var a *agent.Agent
	n := 0
	stir := tools.New("look", "Look.", func(context.Context, empty) (string, error) {
		for range 40 * n {
			a.Alert(grid.Alert{Kind: grid.AlertLow, Instrument: "agent-prime", Left: 7})
		}
		n++
		a.Alert(grid.Alert{Kind: grid.AlertEmpty, Left: int64(n)})
		return "seen", nil
	}, tools.ReadOnly())
	a = open(t, m, agent.Config{Tools: []tools.Tool{stir}})
	a.Alert(grid.Alert{Kind: grid.AlertLow}) // before the run
	got := of[agent.BalanceAlert](slices.Collect(agent.Start[string](t.Context(), a, "go").Events()))
	if len(got) != 1+41 || got[0].Step != 1 || got[0].Alert.Left != 1 || got[41].Step != 2 || got[41].Alert.Left != 2 || got[1].Alert.Instrument != "agent-prime" {
		t.Errorf("%d: %+v", len(got), got)
	}
}

func TestNewWordsOfADryBalanceAreAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m)
		client := clientOf(t, m)
		a := open(t, m, agent.Config{Market: client})
		for i, want := range []int{1, 0} {
			m.Fault(gridtest.Fault{Kind: gridtest.Status, Status: http.StatusPaymentRequired, Detail: "Your purse " + strings.Repeat("is very light and ", 30)})
			got := of[agent.UnknownRefusal](slices.Collect(agent.Start[string](t.Context(), a, "go").Events()))
			if len(got) != want {
				t.Fatalf("run %d: %+v", i, got)
			}
			if want == 1 && (got[0].Status != 402 || got[0].Class != string(grid.ClassTopUp) || !strings.HasPrefix(got[0].Detail, "Your purse is very light") || len(got[0].Detail) > 200) {
				t.Errorf("%+v", got[0])
			}
		}
	})
}

// A record says who served a step, how long it took, and after the receipt which lots
// paid for it.
func TestAStepKeepsItsReceipt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		m.Model(func(gridtest.Turn) gridtest.Reply {
			return gridtest.Reply{Text: "done", PromptTokens: 1000, CompletionTokens: 200, Delay: 80 * time.Millisecond}
		})
		a := open(t, m, agent.Config{})
		res, err := agent.Run[string](t.Context(), a, "go", agent.Stream(agent.StreamOn))
		if err != nil {
			t.Fatal(err)
		}
		if s := res.Steps[0]; s.Model == "" || s.FirstDelta <= 0 || s.Took < s.FirstDelta || s.Attempts[0].Receipt != nil {
			t.Errorf("%+v", s)
		}
		if err := agent.Reconcile(t.Context(), a, res); err != nil {
			t.Fatal(err)
		}
		at := res.Steps[0].Attempts[0]
		r := at.Receipt
		if r == nil || r.Model != res.Steps[0].Model || len(r.Lots) == 0 || r.Duration < 80*time.Millisecond || r.TTFT <= 0 {
			t.Fatalf("%+v", r)
		}
		tokens, cost := int64(0), int64(0)
		for _, lot := range r.Lots {
			tokens, cost = tokens+lot.Tokens, cost+lot.CostNanoUSD
		}
		if tokens != 1200 || cost != at.CostNanoUSD || cost != m.Bill("") || r.Lots[0].PriceNanoUSD <= 0 {
			t.Errorf("%+v: %d tokens for %d, the bill is %d", r, tokens, cost, m.Bill(""))
		}
	})
}
