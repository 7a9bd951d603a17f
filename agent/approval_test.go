package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// cashier is a desk whose refunds wait for a person. paid collects the calls that
// were really made.
type cashier struct {
	paid  []tools.Call
	asked int // how often the tool was asked whether a person is needed
	looks atomic.Int32
}

func (c *cashier) tools() []tools.Tool {
	refund := func(ctx context.Context, in struct {
		Cents int `json:"cents"`
	}) (string, error) {
		c.paid = append(c.paid, tools.CallFrom(ctx))
		return "paid", nil
	}
	return []tools.Tool{
		tools.New("refund", "Pay money back.", refund, tools.NeedsApproval()),
		tools.New("gift", "Give money.", refund, tools.NeedsApprovalFunc(func(_ context.Context, args json.RawMessage) (bool, error) {
			c.asked++
			return !strings.Contains(string(args), "1}"), nil
		})),
		tools.New("see", "Look at something secret.", func(context.Context, empty) (string, error) { c.looks.Add(1); return "seen", nil }, tools.ReadOnly(), tools.NeedsApproval()),
		tools.New("look", "Look.", func(context.Context, empty) (string, error) { c.looks.Add(1); return "looked", nil }, tools.ReadOnly()),
	}
}

func TestApprovedCallRunsOnceUnderItsFirstKey(t *testing.T) {
	var c cashier
	m := newMarket(t, gridtest.Config{})
	turns(m, calls(lookCall(), gridtest.Call("refund", `{"cents":100}`)), say("done"))
	a := open(t, m, agent.Config{Tools: c.tools()})
	live := agent.Start[string](t.Context(), a, "go", agent.Tenant("acme"))
	asked := 0
	for e := range live.Events() {
		if e, ok := e.(agent.ToolAsked); ok {
			asked++
			if e.Call.Name != "refund" || string(e.Call.Args) != `{"cents":100}` {
				t.Errorf("asked about %+v", e.Call)
			}
		}
	}
	res, err := live.Result()
	stands(t, res, err)
	p := paused(t, err)
	if asked != 1 || res.Stop != agent.StopPaused || p.Reason != agent.PauseApproval || len(p.Calls) != 1 || p.Calls[0].Name != "refund" || len(c.paid) != 0 {
		t.Fatalf("asked %d times, stopped by %s with %+v, paid %v", asked, res.Stop, p, c.paid)
	}
	if got := results(res.History()); got[0] != "looked" || !strings.Contains(got[1], "waits") {
		t.Errorf("the history of the pause says %q", got)
	}
	reopened := agent.Reopen[string](t.Context(), a, p.Token, agent.Approve(p.Calls[0], agent.By("ann")))
	var kinds []string
	for e := range reopened.Events() {
		switch e := e.(type) {
		case agent.ToolStarted:
			kinds = append(kinds, "started "+e.Name)
		case agent.ToolFinished:
			kinds = append(kinds, "finished "+e.Status)
		case agent.Routed:
			kinds = append(kinds, "routed")
		}
	}
	if want := []string{"started refund", "finished ok", "routed"}; !slices.Equal(kinds, want) {
		t.Errorf("the reader saw %q, want %q", kinds, want)
	}
	res, err = reopened.Result()
	stands(t, res, err)
	if err != nil || res.Text != "done" || len(c.paid) != 1 || c.looks.Load() != 1 {
		t.Fatalf("%q, paid %d times, looked %d times: %v", res.Text, len(c.paid), c.looks.Load(), err)
	}
	if got := c.paid[0]; got.Key != p.Calls[0].Key || got.Approver != "ann" || got.Tenant != "acme" {
		t.Errorf("the tool was told %+v, the pause named the key %q", got, p.Calls[0].Key)
	}
	if len(res.Steps) != 2 || attempts(res.Steps) != chats(m, 1) || m.Bill("") > res.Cost.NanoUSD {
		t.Errorf("%d steps, cost %v; %d requests, bill %d", len(res.Steps), res.Cost, chats(m, 1), m.Bill(""))
	}
	if _, err := agent.Resume[string](t.Context(), a, p.Token, agent.Approve(p.Calls[0])); !errors.Is(err, agent.ErrToken) || len(c.paid) != 1 {
		t.Errorf("a token is good for one use: paid %d times, %v", len(c.paid), err)
	}
}

func TestDeniedCallIsToldToTheModelWithTheReason(t *testing.T) {
	var c cashier
	m := newMarket(t, gridtest.Config{})
	turns(m, calls(gridtest.Call("refund", `{"cents":100}`)), say("sorry"))
	a := open(t, m, agent.Config{Tools: c.tools()})
	_, err := agent.Run[string](t.Context(), a, "go")
	p := paused(t, err)
	res, err := agent.Resume[string](t.Context(), a, p.Token, agent.Deny(p.Calls[0], agent.By("bob"), agent.Because("too much")))
	stands(t, res, err)
	if got := results(res.History()); err != nil || len(c.paid) != 0 || !strings.Contains(got[0], "bob") || !strings.Contains(got[0], "too much") {
		t.Errorf("paid %d times, told %q: %v", len(c.paid), got, err)
	}
}

func TestPauseNamesEveryCallAndPartialDecisionsPauseAgain(t *testing.T) {
	var c cashier
	m := newMarket(t, gridtest.Config{})
	see := gridtest.Call("see", "{}")
	turns(m, calls(see, lookCall(), see, see), say("done"))
	a := open(t, m, agent.Config{Tools: c.tools()})
	res, err := agent.Run[string](t.Context(), a, "go")
	stands(t, res, err)
	p := paused(t, err)
	if len(p.Calls) != 3 || c.looks.Load() != 1 {
		t.Fatalf("%d calls wait, %d ran", len(p.Calls), c.looks.Load())
	}
	res, err = agent.Resume[string](t.Context(), a, p.Token, agent.Approve(p.Calls[2]), agent.Deny(p.Calls[0]))
	stands(t, res, err)
	again := paused(t, err)
	if len(again.Calls) != 1 || again.Calls[0].Key != p.Calls[1].Key || again.Token == p.Token || c.looks.Load() != 1 {
		t.Fatalf("%+v wait, %d ran", again.Calls, c.looks.Load())
	}
	res, err = agent.Resume[string](t.Context(), a, again.Token, agent.Approve(again.Calls[0]))
	stands(t, res, err)
	got := results(res.History())
	if err != nil || c.looks.Load() != 3 || !strings.Contains(got[0], "refused") || got[1] != "looked" || got[2] != "seen" || got[3] != "seen" {
		t.Errorf("%d ran, the results are %q: %v", c.looks.Load(), got, err)
	}
	if n := chats(m, 1); n != 2 {
		t.Errorf("%d requests: people cost nothing", n)
	}
}

func TestResumeRefusesWhatDoesNotBelong(t *testing.T) {
	var c cashier
	m := newMarket(t, gridtest.Config{})
	turns(m, calls(gridtest.Call("refund", `{"cents":100}`)), say("done"))
	a := open(t, m, agent.Config{Tools: c.tools()})
	_, err := agent.Run[string](t.Context(), a, "go")
	p := paused(t, err)
	foreign := p.Calls[0]
	foreign.Key = "other/0/1"
	for _, tc := range []struct {
		name   string
		resume func() error
		is     error
		says   string
	}{
		{name: "a token of nobody", is: agent.ErrToken, resume: func() error {
			_, err := agent.Resume[string](t.Context(), a, "paused_123", agent.Approve(p.Calls[0]))
			return err
		}},
		{name: "no token", is: agent.ErrToken, resume: func() error {
			_, err := agent.Resume[string](t.Context(), a, "", agent.Approve(p.Calls[0]))
			return err
		}},
		{name: "another output", is: agent.ErrFingerprint, resume: func() error {
			_, err := agent.Resume[int](t.Context(), a, p.Token, agent.Approve(p.Calls[0]))
			return err
		}},
		{name: "another agent", is: agent.ErrToken, resume: func() error {
			_, err := agent.Resume[string](t.Context(), open(t, m, agent.Config{Tools: c.tools()}), p.Token, agent.Approve(p.Calls[0]))
			return err
		}},
		{name: "a call that does not wait", says: "other/0/1", resume: func() error {
			_, err := agent.Resume[string](t.Context(), a, p.Token, agent.Approve(foreign))
			return err
		}},
		{name: "a call without a key", says: "Paused.Calls", resume: func() error {
			_, err := agent.Resume[string](t.Context(), a, p.Token, agent.Approve(agent.PendingCall{Name: "refund"}))
			return err
		}},
		{name: "a label", says: "labels", resume: func() error {
			_, err := agent.Resume[string](t.Context(), a, p.Token, agent.Tenant("other"))
			return err
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.resume()
			if err == nil || tc.is != nil && !errors.Is(err, tc.is) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v", err)
			}
		})
	}
	// None of these has used the token up.
	if res, err := agent.Resume[string](t.Context(), a, p.Token, agent.Approve(p.Calls[0])); err != nil || res.Text != "done" || len(c.paid) != 1 {
		t.Errorf("paid %d times: %v", len(c.paid), err)
	}
	if _, err := agent.Run[string](t.Context(), a, "go", agent.Approve(p.Calls[0])); err == nil {
		t.Error("a new run took a decision")
	}
}

func TestApprovalFuncDecidesOnceForEachCall(t *testing.T) {
	var c cashier
	m := newMarket(t, gridtest.Config{})
	turns(m, calls(gridtest.Call("gift", `{"cents":1}`), gridtest.Call("gift", `{"cents":500}`), gridtest.Call("gift", `{"cents":"x"}`)), say("done"))
	a := open(t, m, agent.Config{Tools: c.tools()})
	_, err := agent.Run[string](t.Context(), a, "go")
	p := paused(t, err)
	if c.asked != 2 || len(c.paid) != 1 || string(p.Calls[0].Args) != `{"cents":500}` {
		t.Fatalf("asked %d times, paid %d times, %+v waits", c.asked, len(c.paid), p.Calls)
	}
	res, err := agent.Resume[string](t.Context(), a, p.Token, agent.Approve(p.Calls[0]))
	stands(t, res, err)
	// A call whose arguments do not fit is not worth a person's time.
	if err != nil || c.asked != 2 || len(c.paid) != 2 {
		t.Errorf("asked %d times, paid %d times: %v", c.asked, len(c.paid), err)
	}
}

// A pause anywhere pauses the tree.
func TestApprovalInASubAgentPausesTheTree(t *testing.T) {
	var c cashier
	m := newMarket(t, gridtest.Config{})
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		last := turn.Last().Content
		switch {
		case last == "go":
			return calls(lookCall(), gridtest.Call("cashier", `{"task":"pay 100 back"}`))
		case last == "pay 100 back":
			return calls(gridtest.Call("refund", `{"cents":100}`))
		case last == "paid":
			return say("refunded 100")
		}
		return say("all is done: " + last)
	})
	client := clientOf(t, m)
	below := open(t, m, agent.Config{Name: "cashier", Description: "Pays.", Tools: c.tools(), Market: client})
	looks := 0
	above := open(t, m, agent.Config{Name: "boss", Agents: []*agent.Agent{below}, Market: client, Tools: []tools.Tool{
		tools.New("look", "Look.", func(context.Context, empty) (string, error) { looks++; return "looked", nil })}})
	res, err := agent.Run[string](t.Context(), above, "go", agent.Tenant("acme"), agent.RunID("top"))
	stands(t, res, err)
	p := paused(t, err)
	if p.Reason != agent.PauseApproval || len(p.Calls) != 1 || p.Calls[0].Name != "refund" || chats(m, 1) != 2 {
		t.Fatalf("%+v after %d requests", p, chats(m, 1))
	}
	res, err = agent.Resume[string](t.Context(), above, p.Token, agent.Approve(p.Calls[0], agent.By("ann")))
	stands(t, res, err)
	if err != nil || res.Text != "all is done: refunded 100" || len(c.paid) != 1 || looks != 1 {
		t.Fatalf("%q, paid %d times: %v", res.Text, len(c.paid), err)
	}
	if got := c.paid[0]; got.Key != p.Calls[0].Key || got.Approver != "ann" || got.Tenant != "acme" || got.Agent != "cashier" || got.Run == "top" {
		t.Errorf("the tool below was told %+v", got)
	}
	if len(res.Steps) != 4 || attempts(res.Steps) != 4 || res.Usage.ModelCalls != 4 || chats(m, 1) != 4 {
		t.Errorf("%d steps and %+v for %d requests", len(res.Steps), res.Usage, chats(m, 1))
	}
}

// What is spent below counts above.
func TestSubAgentSpendsFromTheCapsAbove(t *testing.T) {
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
	ledger := ledgerOf(t)
	below := open(t, m, agent.Config{Name: "digger", Tools: []tools.Tool{look()}, Market: client, Limits: agent.Limits{Steps: 3}})
	above := open(t, m, agent.Config{Name: "boss", Agents: []*agent.Agent{below}, Market: client, Ledger: ledger})
	cap := budget.USD(0.06)
	res, err := agent.Run[string](t.Context(), above, "go", agent.Cap(cap))
	stands(t, res, err)
	if err != nil || res.Stop != agent.StopBudget || !res.Final {
		t.Errorf("stopped by %s: %s: %v", res.Stop, res.Reason, err)
	}
	if bill := m.Bill(""); bill > cap || bill < cap/2 || res.Cost.NanoUSD != bill {
		t.Errorf("the bill is %d under a cap of %d, counted is %v", bill, cap, res.Cost)
	}
	own := 0
	for _, s := range res.Steps {
		if s.Run == res.Run {
			own++
		}
	}
	if own == 0 || own == len(res.Steps) || attempts(res.Steps) != chats(m, 1) || res.Usage.Attempts != chats(m, 1) || res.Usage.CostNanoUSD != m.Bill("") {
		t.Errorf("%d of %d steps are the run's own, totals are %+v, %d requests", own, len(res.Steps), res.Usage, chats(m, 1))
	}
	if s := state(t, ledger, account().ID()); s.Settled != res.Cost.NanoUSD || s.Held != 0 {
		t.Errorf("the ledger says %+v, the result %v", s, res.Cost)
	}
}
