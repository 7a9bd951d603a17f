package agent_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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

// tokens notes the redirect tokens that come by.
type tokens struct {
	http.RoundTripper
	mu   sync.Mutex
	seen []string
}

func (r *tokens) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := r.RoundTripper.RoundTrip(req)
	if err == nil && res.StatusCode == http.StatusTemporaryRedirect {
		if at, lerr := res.Location(); lerr == nil && at.Query().Get("token") != "" {
			r.mu.Lock()
			r.seen = append(r.seen, at.Query().Get("token"))
			r.mu.Unlock()
		}
	}
	return res, err
}

// Whatever fails, its error holds neither keys nor tokens nor content.
func TestErrorsHoldNoSecretsAndNoContent(t *testing.T) {
	const prompt, args, result, answer = "canary-prompt", "canary-arguments", "canary-result", "canary-answer"
	type in struct {
		Text string `json:"text"`
	}
	working := tools.New("work", "Work.", func(context.Context, in) (string, error) { return result, nil })
	for _, tc := range []struct {
		name   string
		fault  gridtest.Fault
		model  func(key string, turn gridtest.Turn) gridtest.Reply
		tool   tools.Tool
		opts   []agent.Option
		cancel time.Duration
		limits agent.Limits
	}{
		{name: "500", fault: gridtest.Fault{Kind: gridtest.Status, Status: 500}},
		{name: "500 of the supplier", fault: gridtest.Fault{Kind: gridtest.Status, Status: 500, Hop: 2}},
		{name: "401", fault: gridtest.Fault{Kind: gridtest.Status, Status: 401}},
		{name: "429", fault: gridtest.Fault{Kind: gridtest.Status, Status: 429}},
		{name: "402", fault: gridtest.Fault{Kind: gridtest.Status, Status: 402}},
		{name: "a dropped connection", fault: gridtest.Fault{Kind: gridtest.DropConnection, Hop: 1}},
		{name: "a connection dropped behind the redirect", fault: gridtest.Fault{Kind: gridtest.DropConnection}},
		{name: "a cut stream", fault: gridtest.Fault{Kind: gridtest.CutStream, AfterChunks: 2}},
		{name: "a page of HTML", fault: gridtest.Fault{Kind: gridtest.HTML}},
		{name: "no body", fault: gridtest.Fault{Kind: gridtest.EmptyBody}},
		{name: "no choices", fault: gridtest.Fault{Kind: gridtest.NoChoices}},
		{name: "no credits", fault: gridtest.Fault{Kind: gridtest.CreditsEmpty}},
		{name: "a supplier that repeats the key", model: func(key string, _ gridtest.Turn) gridtest.Reply {
			return gridtest.Reply{Raw: &gridtest.RawReply{Status: 400, Body: []byte(`{"error":{"message":"your key ` + key + ` is odd"}}`)}}
		}},
		{name: "cancelled while a stream is slow", fault: gridtest.Fault{Kind: gridtest.SlowStream, Delay: time.Minute}, cancel: time.Second},
		{name: "a budget", opts: []agent.Option{agent.Cap(100)}},
		{name: "steps, without an answer", limits: agent.Limits{Steps: 1}, model: func(_ string, turn gridtest.Turn) gridtest.Reply {
			if turn.N > 0 {
				return gridtest.Reply{Raw: &gridtest.RawReply{Status: 400, Body: []byte(`{}`)}}
			}
			return calls(gridtest.Call("work", `{"text":"`+args+`"}`))
		}},
		{name: "an answer that does not fit", model: func(string, gridtest.Turn) gridtest.Reply {
			return say(`{"refunded":"` + answer + `","` + answer + `":1}`)
		}},
		{name: "an answer that is no JSON", model: func(string, gridtest.Turn) gridtest.Reply { return say(answer) }},
		{name: "a call that waits", tool: tools.New("work", "Work.", func(context.Context, in) (string, error) { return result, nil }, tools.NeedsApproval())},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{TopUp: gridtest.TopUp{Manual: true}})
				key := m.Key()
				m.Model(func(turn gridtest.Turn) gridtest.Reply {
					if tc.model != nil {
						return tc.model(key, turn)
					}
					return gridtest.Reply{Text: answer, Calls: []gridtest.ToolCall{gridtest.Call("work", `{"text":"`+args+`"}`)}}
				})
				if tc.fault != (gridtest.Fault{}) {
					tc.fault.Times, tc.fault.On = -1, 2
					m.Fault(tc.fault)
				}
				seen := &tokens{RoundTripper: &wire{m.Transport()}}
				tool := tc.tool
				if tool.Name() == "" {
					tool = working
				}
				a := open(t, m, agent.Config{Instructions: prompt, Tools: []tools.Tool{tool}, Limits: tc.limits,
					Market: clientOf(t, m, func(c *grid.Config) { c.HTTPClient = &http.Client{Transport: seen} })})
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				if tc.cancel > 0 {
					time.AfterFunc(tc.cancel, stop)
				}
				live := agent.Start[verdict](ctx, a, prompt, append(tc.opts, agent.Tenant("acme"), agent.Stream(agent.StreamOn))...)
				var said []string
				for e := range live.Events() {
					switch e := e.(type) {
					case agent.Retrying, agent.BudgetDenied, agent.Warning, agent.TopUpWait, agent.TopUpDone, agent.StepDone, agent.Routed:
						said = append(said, fmt.Sprintf("%+v", e))
					}
				}
				res, err := live.Result()
				stands(t, res, err)
				if err == nil {
					t.Fatal("it did not fail")
				}
				said = append(said, res.Reason)
				for e := range unwrapped(err) {
					said = append(said, e.Error())
				}
				if p, ok := errors.AsType[*agent.Paused](err); ok {
					said = append(said, p.Detail)
				}
				text := strings.Join(said, "\n")
				for _, secret := range append([]string{key, prompt, args, result, answer, "token="}, seen.seen...) {
					if strings.Contains(text, secret) {
						t.Errorf("%q is in\n%s", secret, text)
					}
				}
				if tc.fault.Hop != 1 && len(seen.seen) == 0 && m.Bill("") > 0 {
					t.Error("no redirect token was seen: nothing is proved")
				}
			})
		})
	}
}

// unwrapped yields an error and all that it wraps.
func unwrapped(err error) func(func(error) bool) {
	return func(yield func(error) bool) {
		open := []error{err}
		for len(open) > 0 {
			e := open[0]
			open = open[1:]
			if e == nil {
				continue
			}
			if !yield(e) {
				return
			}
			switch e := e.(type) {
			case interface{ Unwrap() error }:
				open = append(open, e.Unwrap())
			case interface{ Unwrap() []error }:
				open = append(open, e.Unwrap()...)
			}
		}
	}
}

// A denial names caps, not what they are for.
func TestPromptNeverSeesTheLabels(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	sent := ""
	m.Model(func(turn gridtest.Turn) gridtest.Reply { sent += string(turn.Raw); return runaway(turn) })
	a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Store: budget.NewMemory(budget.Volatile()),
		Caps: []budget.Cap{{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: budget.USD(0.03), Per: budget.Day(nil)}}})
	res, err := agent.Run[string](t.Context(), a, "go", agent.Tenant("canary-tenant"), agent.User("canary-user"), agent.Tags(map[string]string{"team": "canary-tag"}))
	stands(t, res, err)
	if res.Stop != agent.StopBudget || !res.Final {
		t.Fatalf("stopped by %s: %v", res.Stop, err)
	}
	if strings.Contains(sent, "canary") {
		t.Errorf("a label was sent to the model: the question was %q", res.History()[len(res.History())-2].Content)
	}
}
