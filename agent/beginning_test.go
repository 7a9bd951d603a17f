package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// longDesk is a desk whose instructions are most of each prompt: some 8,000 bytes.
func longDesk(t *testing.T, m *gridtest.Market, change ...func(*agent.Config)) *agent.Agent {
	t.Helper()
	cfg := agent.Config{Instructions: strings.Repeat("Be kind to those who ask for their parcels. ", 180), Tools: []tools.Tool{look()}, Limits: agent.Limits{MaxTokens: 512}}
	for _, c := range change {
		c(&cfg)
	}
	return open(t, m, cfg)
}

// bounds are what was reserved for the prompts of a run, in tokens.
func bounds(steps []agent.StepRecord) (all []int64) {
	for _, s := range steps {
		for _, x := range s.Attempts {
			all = append(all, x.ReservedTokens-512)
		}
	}
	return all
}

func ask(t *testing.T, a *agent.Agent, input string, opts ...agent.Option) *agent.Result[string] {
	t.Helper()
	res, err := agent.Run[string](t.Context(), a, input, opts...)
	stands(t, res, err)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// fourth counts a token for each four bytes.
func fourth(turn gridtest.Turn) gridtest.Reply {
	r := say("Here you are.")
	r.PromptTokens, r.CompletionTokens = int64(len(turn.Raw)/4), 5
	return r
}

// Instructions and tools are the same in each run: what was counted of one bounds them in
// the next.
func TestARunIsBoundByWhatOthersBeganWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		m.Model(fourth)
		a := longDesk(t, m)
		first := bounds(ask(t, a, "Where is my parcel?").Steps)[0]
		if first < 8000 {
			t.Fatalf("nothing was counted yet, and the bound is %d", first)
		}
		const question = "Where is the parcel of Ann, who lives next to the church?"
		if next := bounds(ask(t, a, question).Steps)[0]; next > first/2 || next < 2000*3/2+int64(len(question)) {
			t.Errorf("what began alike is bound by %d, where nothing was known by %d", next, first)
		}
		time.Sleep(8 * 24 * time.Hour)
		if late := bounds(ask(t, a, "Where is my parcel?").Steps)[0]; late != first {
			t.Errorf("after a week the bound is %d, at first it was %d", late, first)
		}
	})
}

// What is not the same in the other run is bound by its bytes.
func TestWhatDiffersFromTheBeginningOfOthersIsReserved(t *testing.T) {
	long := strings.Repeat("x", 9000)
	format := func(fill string) json.RawMessage {
		return json.RawMessage(`{"type":"json_object","note":"` + strings.Repeat(fill, 9000) + `"}`)
	}
	for _, tc := range []struct {
		name         string
		first, later string // inputs
		tune         func(run string, s *agent.StepTuning)
		least        int64
	}{
		{name: "the question", first: "hi", later: long, least: 9000},
		{name: "a format of the same size", first: "hi", later: "hi", least: 9000,
			tune: func(run string, s *agent.StepTuning) {
				s.Params.ResponseFormat = format("a")
				if run == "later" {
					s.Params.ResponseFormat = format("b")
				}
			}},
		{name: "an extra of the same size", first: "hi", later: "hi", least: 9000,
			tune: func(run string, s *agent.StepTuning) {
				s.Params.Extra = map[string]json.RawMessage{"documents": format("a")}
				if run == "later" {
					s.Params.Extra["documents"] = format("b")
				}
			}},
		{name: "a choice of tools of the same size", first: "hi", later: "hi", least: 9000,
			tune: func(run string, s *agent.StepTuning) {
				s.Params.ToolChoice = format("a")
				if run == "later" {
					s.Params.ToolChoice = format("b")
				}
			}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMarket(t, gridtest.Config{})
			m.Model(fourth)
			a := longDesk(t, m, func(c *agent.Config) {
				c.Tune = func(_ context.Context, step agent.StepInfo, s *agent.StepTuning) {
					if tc.tune != nil {
						tc.tune(step.Run, s)
					}
				}
			})
			counted := ask(t, a, tc.first, agent.RunID("first")).Usage.InputTokens
			got := bounds(ask(t, a, tc.later, agent.RunID("later")).Steps)[0]
			if least := counted*3/2 + tc.least; got < least {
				t.Errorf("the bound is %d, want %d at least", got, least)
			}
		})
	}
}

// A run that goes on from another goes on from its count, too; another agent does not.
func TestAContinuedConversationWasCounted(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	m.Model(fourth)
	a := longDesk(t, m)
	before := ask(t, a, strings.Repeat("It all began with a parcel. ", 400))
	counted := before.Usage.InputTokens
	const question = "And then?"
	if got := bounds(ask(t, a, question, agent.Continue(before.Conversation())).Steps)[0]; got > counted*3/2+500 {
		t.Errorf("%d tokens were counted, the next message is bound by %d", counted, got)
	}
	other := longDesk(t, m, func(c *agent.Config) { c.Name = "other" })
	if got := bounds(ask(t, other, question, agent.Continue(before.Conversation())).Steps)[0]; got < 4*counted {
		t.Errorf("another agent, with tools of its own, is bound by %d of what was counted", got)
	}
}

// What a called agent was counted for bounds its next call.
func TestCallsOfAnAgentBeginAlike(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		r := fourth(turn)
		if turn.Messages[0].Content == "Ask others." && turn.N < 2 {
			r.Calls = []gridtest.ToolCall{gridtest.Call("helper", fmt.Sprintf(`{"task":"part %d"}`, turn.N))}
		}
		return r
	})
	helper := longDesk(t, m, func(c *agent.Config) { c.Name = "helper"; c.Description = "helps" })
	a := open(t, m, agent.Config{Instructions: "Ask others.", Agents: []*agent.Agent{helper}})
	var called []int64
	for _, s := range ask(t, a, "go").Steps {
		if s.Run != "" && strings.Contains(s.Run, ".") {
			called = append(called, bounds([]agent.StepRecord{s})...)
		}
	}
	if len(called) != 2 || called[0] < 8000 || called[1] > called[0]/2 {
		t.Errorf("the calls were bound by %v", called)
	}
}

// A count that was too little breaks the bound of one run, not of each.
func TestABeginningThatWasCountedTooLowIsAnOverrunOnce(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	n := 0
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		r := fourth(turn)
		if n++; n == 1 {
			r.PromptTokens = int64(len(turn.Raw) / 8)
		}
		r.CompletionTokens = turn.MaxTokens
		return r
	})
	l := ledgerOf(t)
	a := longDesk(t, m, func(c *agent.Config) { c.Ledger, c.Spending.Overrun = l, agent.OverrunContinue })
	overruns := []int64{}
	for range 4 {
		ask(t, a, "hi")
		overruns = append(overruns, state(t, l, account().ID()).Overrun)
	}
	if overruns[1] == 0 || overruns[3] != overruns[1] {
		t.Errorf("overruns after each run are %d: the second breaks what the first promised, and none after it", overruns)
	}
}

// Suppliers that differ by no more than is assumed never break a bound, whichever run
// and whichever of them counted first.
func TestCapHoldsWhileRunsLearnFromEachOther(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	m.Model(suppliers(3, 1.49, gridtest.Reply{Text: "Looking.", Calls: []gridtest.ToolCall{lookCall()}}))
	l := ledgerOf(t)
	a := longDesk(t, m, func(c *agent.Config) {
		c.Ledger, c.Tools, c.Limits.Steps = l, []tools.Tool{page()}, 4
		c.Market = clientOf(t, m, func(c *grid.Config) { c.Catalogue = tight(t) })
	})
	var wait sync.WaitGroup
	for range 6 {
		wait.Go(func() {
			var before agent.Conversation
			for i := range 5 {
				res, err := agent.Run[string](t.Context(), a, fmt.Sprintf("Where is parcel %d?", i), agent.Continue(before))
				if err != nil {
					t.Error(err)
					return
				}
				before = res.Conversation()
			}
		})
	}
	wait.Wait()
	if s := state(t, l, account().ID()); s.Overrun != 0 || m.Bill("") > s.Settled || s.Held != 0 {
		t.Errorf("the bill is %d: %+v", m.Bill(""), s)
	}
}

func TestAnotherInstrumentWasNotCounted(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	m.Model(fourth)
	a := longDesk(t, m)
	first := bounds(ask(t, a, "hi", agent.Pin("agent-prime")).Steps)[0]
	if other := bounds(ask(t, a, "hi", agent.Pin("agent-standard")).Steps)[0]; other < first {
		t.Errorf("on another instrument the bound is %d, at first it was %d", other, first)
	}
}

// Requests without tools say nothing of those with them.
func TestRequestsWithoutToolsDoNotHideWhatWasCountedWithThem(t *testing.T) {
	type verdict struct {
		Late bool `json:"late"`
	}
	many := func(c *agent.Config) {
		c.Tools = []tools.Tool{tools.New("look", strings.Repeat("Look for it. ", 700), func(context.Context, empty) (string, error) { return "", nil })}
	}
	t.Run("a form that is mended", func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			r := fourth(turn)
			if r.Text = `{"late":true}`; turn.N == 0 {
				r.Text = "It is late."
			}
			return r
		})
		a := longDesk(t, m, many)
		var firsts []int64
		for range 2 {
			res, err := agent.Run[verdict](t.Context(), a, "hi", agent.Pin("agent-prime"))
			stands(t, res, err)
			if err != nil || len(res.Steps) != 2 {
				t.Fatalf("%d steps: %v", len(res.Steps), err)
			}
			firsts = append(firsts, bounds(res.Steps)[0])
		}
		if firsts[1] > firsts[0]/2 {
			t.Errorf("the runs' first bounds are %v", firsts)
		}
	})
	t.Run("the answer at a limit", func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			r := fourth(turn)
			if len(turn.Tools) > 0 {
				r.Calls = []gridtest.ToolCall{lookCall()}
			}
			return r
		})
		a := longDesk(t, m, many)
		before := ask(t, a, "hi", agent.Steps(1))
		if before.Stop != agent.StopSteps || !before.Final {
			t.Fatalf("stopped by %s", before.Stop)
		}
		next := bounds(ask(t, a, "hi", agent.Steps(1), agent.Continue(before.Conversation())).Steps)[0]
		if first := bounds(before.Steps)[0]; next > first/2 {
			t.Errorf("the run that goes on is bound by %d, the first was by %d", next, first)
		}
	})
}

// The supplier that counted least bounds those that count more, also some steps later.
func TestTheLeastCountOfARunBoundsItsLaterSteps(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		r := fourth(turn)
		if turn.N > 0 {
			r.PromptTokens = r.PromptTokens * 145 / 100
		}
		if turn.N < 3 {
			r.Calls = []gridtest.ToolCall{lookCall()}
		}
		return r
	})
	steps := ask(t, longDesk(t, m), "hi").Steps
	for i, b := range bounds(steps)[1:] {
		if most := steps[0].InputTokens*3/2 + 900; b > most {
			t.Errorf("step %d is bound by %d, the first count allows for %d", i+2, b, most)
		}
	}
}
