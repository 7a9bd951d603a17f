package agent_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// seen says in one line what the only live run does, and for how long.
func seen(t *testing.T, a *agent.Agent) string {
	t.Helper()
	synctest.Wait()
	runs := a.Live()
	var lines []string
	for _, r := range runs {
		var doing []string
		for _, d := range r.Doing {
			doing = append(doing, strings.TrimSpace(fmt.Sprintf("%s %s", d.What, d.Name))+" "+time.Since(d.Since).String())
		}
		slices.Sort(doing)
		lines = append(lines, fmt.Sprintf("%s step %d %s", r.Agent, r.Step, strings.Join(doing, ", ")))
	}
	return strings.Join(lines, "; ")
}

// slowStore is a store that takes its time for each Reserve.
type slowStore struct {
	budget.Store
	takes time.Duration
}

func (s slowStore) Reserve(ctx context.Context, account string, op *budget.ReserveOp, ans *budget.Answer) error {
	time.Sleep(s.takes)
	return s.Store.Reserve(ctx, account, op, ans)
}

func TestLiveSaysWhatEachRunWaitsFor(t *testing.T) {
	slow := func(name string, opts ...tools.Option) tools.Tool {
		return tools.New(name, "Take a minute.", func(ctx context.Context, _ empty) (string, error) {
			select {
			case <-time.After(time.Minute):
			case <-ctx.Done():
			}
			return "seen", ctx.Err()
		}, opts...)
	}
	for _, tc := range []struct {
		name    string
		market  gridtest.Config
		client  func(*grid.Config)
		config  agent.Config
		replies []gridtest.Reply
		fault   *gridtest.Fault
		after   time.Duration
		want    string
	}{
		{name: "a model", replies: []gridtest.Reply{{Text: "done", Delay: time.Minute}}, after: 20 * time.Second,
			want: "desk step 0 model text-prime 20s"},
		{name: "a tool", config: agent.Config{Tools: []tools.Tool{slow("dig", tools.Timeout(time.Hour))}},
			replies: []gridtest.Reply{calls(gridtest.Call("dig", "{}"))}, after: 30 * time.Second, want: "desk step 0 tool dig 30s"},
		{name: "two tools at once", config: agent.Config{Tools: []tools.Tool{slow("dig", tools.ReadOnly(), tools.Timeout(time.Hour)), slow("delve", tools.ReadOnly(), tools.Timeout(time.Hour))}},
			replies: []gridtest.Reply{calls(gridtest.Call("dig", "{}"), gridtest.Call("delve", "{}"))}, after: 30 * time.Second,
			want: "desk step 0 tool delve 30s, tool dig 30s"},
		{name: "a top-up", market: gridtest.Config{Balance: map[string]int64{"text-prime": 0}, TopUp: gridtest.TopUp{Manual: true}}, after: 30 * time.Second,
			want: "desk step 0 topup text-prime 30s"},
		{name: "the next try", fault: &gridtest.Fault{Kind: gridtest.Status, Status: http.StatusTooManyRequests, RetryAfter: 20 * time.Second}, after: 15 * time.Second,
			want: "desk step 0 retry text-prime 15s"},
		{name: "a rate", client: func(c *grid.Config) { c.Rates = map[string]grid.Rate{"": {Requests: 1. / 60}} },
			config: agent.Config{Tools: []tools.Tool{look()}}, replies: []gridtest.Reply{calls(lookCall())}, after: 30 * time.Second,
			want: "desk step 1 rate agent-prime 30s"},
		{name: "the store", config: agent.Config{Store: slowStore{budget.NewMemory(), 10 * time.Second}}, after: 15 * time.Second,
			want: "desk step 0 store text-prime 5s"},
		{name: "an approval", config: agent.Config{Tools: []tools.Tool{slow("dig", tools.NeedsApproval())}},
			replies: []gridtest.Reply{calls(gridtest.Call("dig", "{}"))}, after: 40 * time.Second, want: "desk step 0 approval dig 40s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, tc.market)
				turns(m, tc.replies...)
				if tc.fault != nil {
					m.Fault(*tc.fault)
				}
				change := []func(*grid.Config){}
				if tc.client != nil {
					change = append(change, tc.client)
				}
				tc.config.Market = clientOf(t, m, change...)
				a := open(t, m, tc.config)
				if got := seen(t, a); got != "" {
					t.Fatalf("before any run: %s", got)
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					_, _ = agent.Run[string](ctx, a, "go")
				}()
				time.Sleep(tc.after)
				if got := seen(t, a); got != tc.want {
					t.Errorf("live: %s, want %s", got, tc.want)
				}
				cancel()
				<-ended
				if runs := a.Live(); len(runs) > 0 && runs[0].Paused == "" {
					t.Errorf("after the end: %+v", runs)
				}
			})
		})
	}
}

func TestLiveSaysWhoARunIsAndWhatItSpent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			if turn.N == 0 {
				return calls(lookCall())
			}
			return gridtest.Reply{Text: "done", Delay: time.Minute}
		})
		a := open(t, m, agent.Config{Tools: []tools.Tool{look()}})
		began := time.Now()
		results := make(chan *agent.Result[string], 2)
		for i, tenant := range []string{"acme", "beta"} {
			go func() {
				time.Sleep(time.Duration(i) * time.Second)
				res, err := agent.Run[string](t.Context(), a, "go", agent.Tenant(tenant), agent.User("u"), agent.RunID("r-"+tenant))
				if err != nil {
					t.Error(err)
				}
				results <- res
			}()
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		runs := a.Live()
		if len(runs) != 2 {
			t.Fatalf("%d runs", len(runs))
		}
		spent := map[string]int64{}
		for i, r := range runs {
			tenant := []string{"acme", "beta"}[i]
			if r.ID != "r-"+tenant || r.Labels.Tenant != tenant || r.Labels.User != "u" || r.Step != 1 || r.Parent != "" || r.Paused != "" || !r.Began.Equal(began.Add(time.Duration(i)*time.Second)) {
				t.Errorf("%+v", r)
			}
			spent[r.ID] = r.SpentNanoUSD
		}
		for range 2 {
			res := <-results
			if got := spent[res.Run]; got != res.Steps[0].CostNanoUSD || got == 0 {
				t.Errorf("%s had spent %d after its first step, which cost %d", res.Run, got, res.Steps[0].CostNanoUSD)
			}
		}
		if runs := a.Live(); len(runs) != 0 {
			t.Errorf("ended runs are live: %+v", runs)
		}
	})
}

func TestLiveShowsTheWholeTree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			if turn.N == 0 && len(turn.Tools) > 0 {
				return calls(gridtest.Call("clerk", `{"task":"count"}`))
			}
			return gridtest.Reply{Text: "done", Delay: time.Minute}
		})
		client := clientOf(t, m)
		clerk := open(t, m, agent.Config{Name: "clerk", Market: client})
		boss := open(t, m, agent.Config{Name: "boss", Agents: []*agent.Agent{clerk}, Market: client})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = agent.Run[string](t.Context(), boss, "go", agent.RunID("r"))
		}()
		time.Sleep(30 * time.Second)
		if got := seen(t, boss); got != "boss step 0 agent clerk 30s; clerk step 0 model text-prime 30s" {
			t.Error(got)
		}
		runs := boss.Live()
		if runs[1].Parent != "r" || len(clerk.Live()) != 0 {
			t.Errorf("%+v, and of its own %+v", runs[1], clerk.Live())
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if runs := boss.Live(); len(runs) != 1 || runs[0].SpentNanoUSD <= 0 {
			t.Errorf("%+v", runs)
		} else if below := runs[0].SpentNanoUSD; below <= 0 {
			t.Error("what the clerk spent is not counted above")
		}
		<-ended
	})
}

func TestCancelEndsALiveRunWithItsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, calls(lookCall()), gridtest.Reply{Text: "done", Delay: time.Hour})
		ledger := ledgerOf(t)
		a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Ledger: ledger})
		enough := errors.New("ann has seen enough")
		go func() {
			time.Sleep(time.Minute)
			for _, r := range a.Live() {
				r.Cancel(enough)
				r.Cancel(nil)
			}
		}()
		began := time.Now()
		res, err := agent.Run[string](t.Context(), a, "go")
		stands(t, res, err)
		if !errors.Is(err, enough) || res.Stop != agent.StopCanceled || time.Since(began) > 2*time.Minute {
			t.Errorf("%v after %v: %s", err, time.Since(began), res.Stop)
		}
		if held := state(t, ledger, account().ID()).Held; held != 0 {
			t.Errorf("%d stays held", held)
		}
	})
}

func TestCancelForgetsAPausedRun(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	turns(m, calls(lookCall()), say("done"))
	ask := tools.New("look", "Look.", func(context.Context, empty) (string, error) { return "seen", nil }, tools.NeedsApproval())
	a := open(t, m, agent.Config{Tools: []tools.Tool{ask}})
	_, err := agent.Run[string](t.Context(), a, "go", agent.RunID("r"))
	p := paused(t, err)
	runs := a.Live()
	if len(runs) != 1 || runs[0].Paused != agent.PauseApproval || runs[0].Doing[0].Name != "look" {
		t.Fatalf("%+v", runs)
	}
	runs[0].Cancel(nil)
	runs[0].Cancel(nil)
	if live := a.Live(); len(live) != 0 {
		t.Errorf("still there: %+v", live)
	}
	if _, err := agent.Resume[string](t.Context(), a, p.Token, agent.Approve(p.Calls[0])); !errors.Is(err, agent.ErrToken) {
		t.Errorf("a forgotten run was resumed: %v", err)
	}
	// A resumed run is not forgotten by an old look.
	_, err = agent.Run[string](t.Context(), a, "go")
	p = paused(t, err)
	old := a.Live()[0]
	if _, err := agent.Resume[string](t.Context(), a, p.Token, agent.Approve(p.Calls[0])); err != nil {
		t.Error(err)
	}
	old.Cancel(nil)
}
