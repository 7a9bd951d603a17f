package agent_test

import (
	"context"
	"errors"
	"fmt"
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

// wait is a tool that works for a time, unless its context ends before.
func wait(d time.Duration) tools.Tool {
	return tools.New("look", "Look.", func(ctx context.Context, _ empty) (string, error) {
		select {
		case <-time.After(d):
			return "seen", nil
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	})
}

func TestEveryLimitEndsWithAnAnswerAndTheReason(t *testing.T) {
	working := func(turn gridtest.Turn) gridtest.Reply {
		if len(turn.Tools) == 0 {
			return say("what I have")
		}
		return gridtest.Reply{Text: fmt.Sprint("look ", turn.N), Calls: []gridtest.ToolCall{lookCall(), lookCall(), lookCall()}}
	}
	for _, tc := range []struct {
		name   string
		limits agent.Limits
		model  func(gridtest.Turn) gridtest.Reply
		tool   tools.Tool
		opts   []agent.Option
		small  bool // every instrument takes short prompts only
		stop   agent.Stop
		reason string
		steps  int // model steps with the last answer; 0: any
	}{
		{name: "steps", limits: agent.Limits{Steps: 3}, stop: agent.StopSteps, reason: "3 steps", steps: 4},
		{name: "steps by default", stop: agent.StopSteps, reason: "40 steps", steps: 41, limits: agent.Limits{ToolCalls: agent.None}},
		{name: "tool calls by default", stop: agent.StopToolCalls, reason: "tool calls", steps: 42, limits: agent.Limits{Steps: agent.None}},
		{name: "tool calls", limits: agent.Limits{ToolCalls: 7}, stop: agent.StopToolCalls, reason: "tool calls", steps: 4},
		{name: "wall, used up by a tool", limits: agent.Limits{Wall: 10 * time.Second}, tool: wait(time.Hour), stop: agent.StopWall, reason: "10s of work", steps: 2},
		{name: "wall, used up by many tools", limits: agent.Limits{Wall: 10 * time.Second}, tool: wait(3 * time.Second), stop: agent.StopWall, reason: "10s of work", steps: 3},
		{name: "wall, used up by a model", limits: agent.Limits{Wall: 10 * time.Second}, stop: agent.StopWall, reason: "10s of work",
			model: func(turn gridtest.Turn) gridtest.Reply {
				r := working(turn)
				if turn.N == 1 && len(turn.Tools) > 0 {
					r.Delay = time.Hour
				}
				return r
			}},
		{name: "money", opts: []agent.Option{agent.Cap(20_000_000)}, stop: agent.StopBudget, reason: "money"},
		{name: "tokens", opts: []agent.Option{agent.CapTokens(9_000)}, stop: agent.StopBudget, reason: "tokens"},
		{name: "a prompt that has grown too long", small: true, stop: agent.StopTooLong, reason: "no instrument takes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sold := gridtest.Nine()
				for i := range sold {
					if tc.small {
						sold[i].MaxInput = 900
					}
				}
				m := newMarket(t, gridtest.Config{Instruments: sold})
				m.Model(working)
				if tc.model != nil {
					m.Model(tc.model)
				}
				tool := tc.tool
				if tool.Name() == "" {
					tool = look()
				}
				a := open(t, m, agent.Config{Instructions: "Be brief.", Tools: []tools.Tool{tool}, Limits: tc.limits})
				res, err := agent.Run[string](t.Context(), a, "go", tc.opts...)
				stands(t, res, err)
				if err != nil {
					t.Fatal(err)
				}
				if res.Stop != tc.stop || !strings.Contains(res.Reason, tc.reason) {
					t.Errorf("stopped by %s: %s; want %s, %q", res.Stop, res.Reason, tc.stop, tc.reason)
				}
				if !res.Final || res.Text != "what I have" || res.Output != "what I have" {
					t.Errorf("ends with %q, final %t", res.Text, res.Final)
				}
				if tc.steps > 0 && res.Usage.ModelCalls != tc.steps {
					t.Errorf("%d model calls, want %d", res.Usage.ModelCalls, tc.steps)
				}
				if h := res.History(); h[0].Content != "Be brief." || h[1].Content != "go" || res.Final && h[len(h)-1].Content != res.Text {
					t.Errorf("the history is not whole: %+v", h)
				}
				if last := res.Steps[len(res.Steps)-1]; res.Final && !last.Final {
					t.Errorf("the record of the answer does not say that it is one: %+v", last)
				}
				if max := tc.limits.ToolCalls; max > 0 && res.Usage.ToolCalls > max {
					t.Errorf("%d tool calls under a limit of %d", res.Usage.ToolCalls, max)
				}
				if tc.limits.Wall > 0 && res.Elapsed < tc.limits.Wall {
					t.Errorf("worked for %v only", res.Elapsed)
				}
			})
		})
	}
}

// The answer at a limit may fail as any call; what was said before still stands.
func TestFailedFinalAnswerLeavesTheLastText(t *testing.T) {
	for _, tc := range []struct {
		name string
		text string // of the step before
	}{{"there was a text", "I looked."}, {"there was none", ""}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{})
				m.Model(func(turn gridtest.Turn) gridtest.Reply {
					if len(turn.Tools) == 0 {
						return gridtest.Reply{Raw: &gridtest.RawReply{Status: 400, Body: []byte(`{"error":{"message":"no"}}`)}}
					}
					return gridtest.Reply{Text: tc.text, Calls: []gridtest.ToolCall{lookCall()}}
				})
				a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Limits: agent.Limits{Steps: 2}})
				res, err := agent.Run[string](t.Context(), a, "go")
				stands(t, res, err)
				if res.Stop != agent.StopSteps || res.Final || res.Text != tc.text {
					t.Errorf("stopped by %s with %q, final %t", res.Stop, res.Text, res.Final)
				}
				if tc.text != "" && err != nil {
					t.Errorf("the last text is an answer: %v", err)
				}
				if tc.text == "" && !errors.Is(err, agent.ErrNoAnswer) {
					t.Errorf("nothing was ever said: %v", err)
				}
				if h := res.History(); h[len(h)-1].Role != "tool" {
					t.Errorf("the question that was never answered stands in the history: %+v", h[len(h)-1])
				}
			})
		})
	}
}

// A model that calls tools instead of answering has its calls answered too.
func TestCallsInTheFinalAnswerAreAnsweredAndNotRun(t *testing.T) {
	ran := 0
	tool := tools.New("look", "Look.", func(context.Context, empty) (string, error) { ran++; return "seen", nil })
	m := newMarket(t, gridtest.Config{})
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		return gridtest.Reply{Text: "more", Calls: []gridtest.ToolCall{lookCall()}}
	})
	a := open(t, m, agent.Config{Tools: []tools.Tool{tool}, Limits: agent.Limits{Steps: 2}})
	res, err := agent.Run[string](t.Context(), a, "go")
	stands(t, res, err)
	if err != nil || ran != 2 || res.Text != "more" || res.Stop != agent.StopSteps {
		t.Errorf("%d calls ran, the answer is %q, stopped by %s: %v", ran, res.Text, res.Stop, err)
	}
}

// Nobody works while tokens are bought.
func TestWaitingForATopUpIsNoWorkAndASlowToolIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{Balance: map[string]int64{"agent-prime": 0}, TopUp: gridtest.TopUp{Delay: 40 * time.Second}})
		turns(m, calls(lookCall()), say("done"))
		a := open(t, m, agent.Config{Tools: []tools.Tool{wait(7 * time.Second)}, Limits: agent.Limits{Wall: 10 * time.Second}})
		began := time.Now()
		live := agent.Start[string](t.Context(), a, "go")
		var seen []string
		for e := range live.Events() {
			switch e := e.(type) {
			case agent.TopUpWait:
				if e.Instrument != "agent-prime" || e.Next <= 0 {
					t.Errorf("%+v", e)
				}
				seen = append(seen, "wait")
			case agent.TopUpDone:
				if !e.OK || e.Waited < 39*time.Second {
					t.Errorf("%+v", e)
				}
				seen = append(seen, "done")
			}
		}
		res, err := live.Result()
		if err != nil || res.Stop != agent.StopCompleted {
			t.Fatalf("stopped by %s: %v", res.Stop, err)
		}
		if res.Waited < 40*time.Second || res.Waited > 45*time.Second || res.Elapsed < 7*time.Second || res.Elapsed > 8*time.Second {
			t.Errorf("waited %v and worked %v", res.Waited, res.Elapsed)
		}
		if took := time.Since(began); took != res.Waited+res.Elapsed {
			t.Errorf("took %v, which is not the %v waited and %v worked", took, res.Waited, res.Elapsed)
		}
		if n := len(seen); n < 2 || seen[n-1] != "done" || slices.Index(seen, "done") != n-1 {
			t.Errorf("the reader saw %v", seen)
		}
	})
}

// An abandoned tool has used up the wall time, and is named.
func TestToolThatIgnoresTheWallIsAbandonedAndTheRunAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		stubborn := tools.New("stubborn", "Hang.", func(context.Context, empty) (string, error) { <-release; return "late", nil })
		m := newMarket(t, gridtest.Config{})
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			if len(turn.Tools) == 0 {
				return say("nothing found")
			}
			return calls(gridtest.Call("stubborn", "{}"))
		})
		a := open(t, m, agent.Config{Tools: []tools.Tool{stubborn}, Limits: agent.Limits{Wall: 3 * time.Second}})
		live := agent.Start[string](t.Context(), a, "go")
		told := false
		for e := range live.Events() {
			if f, ok := e.(agent.ToolFinished); ok {
				told = f.Abandoned && f.Name == "stubborn"
			}
		}
		res, err := live.Result()
		stands(t, res, err)
		if err != nil || res.Stop != agent.StopWall || res.Text != "nothing found" {
			t.Errorf("stopped by %s with %q: %v", res.Stop, res.Text, err)
		}
		if !told || len(res.Abandoned) != 1 || !strings.HasPrefix(res.Abandoned[0], "stubborn") {
			t.Errorf("the reader was told %t, the result names %q", told, res.Abandoned)
		}
		close(release)
		synctest.Wait()
	})
}

// An answer of a structured run that is cut off by a limit does not fit, and says so.
func TestStructuredAnswerAtALimitIsDecodedOrRefused(t *testing.T) {
	type verdict struct {
		Fine bool `json:"fine"`
	}
	for _, tc := range []struct{ name, text string }{{"fits", `{"fine":true}`}, {"does not fit", "I do not know"}} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMarket(t, gridtest.Config{})
			m.Model(func(turn gridtest.Turn) gridtest.Reply {
				if len(turn.Tools) == 0 {
					return say(tc.text)
				}
				return calls(lookCall())
			})
			a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Limits: agent.Limits{Steps: 1}})
			res, err := agent.Run[verdict](t.Context(), a, "go")
			stands(t, res, err)
			if res.Text != tc.text || res.Stop != agent.StopSteps {
				t.Errorf("%q, stopped by %s", res.Text, res.Stop)
			}
			if fits := tc.name == "fits"; fits != (err == nil) || res.Output.Fine != fits || !fits && !errors.Is(err, agent.ErrInvalidOutput) {
				t.Errorf("%+v: %v", res.Output, err)
			}
		})
	}
}

// What a server said about when to ask again is heeded across the run's own waits.
func TestLongRetryAfterOfADryBalancePausesInsteadOfAskingOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		m.Fault(gridtest.Fault{Kind: gridtest.Status, Status: 402, RetryAfter: 10 * time.Minute, Times: -1})
		a := open(t, m, agent.Config{Market: clientOf(t, m, func(c *grid.Config) { c.Rand = nil })})
		res, err := agent.Run[string](t.Context(), a, "go")
		p := paused(t, err)
		stands(t, res, err)
		if n := chats(m, 1); p.Reason != agent.PauseTopUp || n != 1 {
			t.Errorf("paused for %s after %d requests to a server that said to come back in ten minutes", p.Reason, n)
		}
	})
}

func TestInputThatNothingTakesIsAnErrorWithoutARequest(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	a := open(t, m, agent.Config{})
	for _, opts := range [][]agent.Option{nil, {agent.Pin("agent-prime")}} {
		res, err := agent.Run[string](t.Context(), a, strings.Repeat("long ", 1_000_000), opts...)
		stands(t, res, err)
		if !errors.Is(err, agent.ErrNoAnswer) || !errors.Is(err, grid.ErrTooLong) || res.Stop != agent.StopTooLong || chats(m, 1) != 0 {
			t.Errorf("stopped by %s after %d requests: %v", res.Stop, chats(m, 1), err)
		}
	}
}

// The answer at a limit is given with all that was found, as far as the caps pay
// for it.
func TestFinalAnswerSeesWhatWasFound(t *testing.T) {
	find := tools.New("look", "Look.", func(context.Context, empty) (string, error) { return "found: " + strings.Repeat("gold ", 4000), nil })
	for _, tc := range []struct {
		name  string
		opts  []agent.Option
		whole bool
	}{{"there is money", nil, true}, {"there is none", []agent.Option{agent.CapTokens(10_000)}, false}} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMarket(t, gridtest.Config{})
			found := false
			m.Model(func(turn gridtest.Turn) gridtest.Reply {
				if len(turn.Tools) > 0 {
					return calls(lookCall())
				}
				for _, msg := range turn.Messages {
					found = found || strings.HasPrefix(msg.Content, "found")
				}
				return say("done")
			})
			res, err := agent.Run[string](t.Context(), open(t, m, agent.Config{Tools: []tools.Tool{find}, Limits: agent.Limits{Steps: 1}}), "go", tc.opts...)
			stands(t, res, err)
			if trimmed := res.Steps[len(res.Steps)-1].Trimmed; err != nil || res.Text != "done" || found != tc.whole || (trimmed == 0) != tc.whole {
				t.Errorf("the result was seen: %t, %d messages were left out, the answer is %q: %v", found, trimmed, res.Text, err)
			}
		})
	}
}
