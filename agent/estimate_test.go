package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
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

// suppliers answers every call with another tokenizer: one token for four bytes,
// times up to worst, and always with all that was asked for.
func suppliers(seed uint64, worst float64, r gridtest.Reply) func(gridtest.Turn) gridtest.Reply {
	rnd := rand.New(rand.NewPCG(seed, 7))
	var mu sync.Mutex
	return func(t gridtest.Turn) gridtest.Reply {
		mu.Lock()
		defer mu.Unlock()
		r := r
		if len(t.Tools) == 0 {
			r = say("This is what I have.")
		}
		r.PromptTokens = int64(float64(len(t.Raw)) / 4 * (1 + (worst-1)*rnd.Float64()))
		r.CompletionTokens = t.MaxTokens
		return r
	}
}

func page() tools.Tool {
	text := strings.Repeat("The parcel left the house on Monday and has not been seen since. ", 12)
	return tools.New("look", "Look.", func(context.Context, empty) (string, error) { return text, nil }, tools.ReadOnly())
}

// The bill stays under the cap whichever supplier serves a call, as far as they
// differ by no more than is assumed; and a run gets further with its cap.
func TestTightEstimateKeepsTheCapAndUsesMoreOfIt(t *testing.T) {
	const limit = 40_000
	used := map[budget.EstimateMode]int64{}
	for _, mode := range []budget.EstimateMode{budget.EstimateStrict, budget.EstimateIncremental, budget.EstimateCalibrated} {
		for seed := range uint64(8) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{})
				m.Model(suppliers(seed, 1.5, gridtest.Reply{Text: "Looking again.", Calls: []gridtest.ToolCall{lookCall()}}))
				l := ledgerOf(t)
				a := open(t, m, agent.Config{Tools: []tools.Tool{page()}, Ledger: l, Spending: agent.Spending{Estimate: mode},
					Limits: agent.Limits{MaxTokens: 512}, Market: clientOf(t, m, func(c *grid.Config) { c.Catalogue = tight(t) })})
				res, err := agent.Run[string](t.Context(), a, "Where is my parcel?", agent.CapTokens(limit))
				stands(t, res, err)
				if err != nil || res.Stop != agent.StopBudget || !res.Final {
					t.Errorf("%s: stopped by %s, final %t: %v", mode, res.Stop, res.Final, err)
				}
				if s := state(t, l, account().ID()); s.Overrun != 0 || m.Bill("") > s.Settled {
					t.Errorf("%s: the bill is %d: %+v", mode, m.Bill(""), s)
				}
				tokens := res.Usage.InputTokens + res.Usage.OutputTokens
				if tokens > limit {
					t.Errorf("%s: %d tokens were used of %d", mode, tokens, limit)
				}
				used[mode] += tokens
			})
		}
	}
	share := func(m budget.EstimateMode) float64 { return float64(used[m]) / 8 / limit }
	t.Logf("of a cap of %d tokens a run uses %.0f %% under strict, %.0f %% under incremental, %.0f %% under calibrated estimates", limit,
		100*share(budget.EstimateStrict), 100*share(budget.EstimateIncremental), 100*share(budget.EstimateCalibrated))
	if share(budget.EstimateIncremental) < share(budget.EstimateStrict)+0.15 {
		t.Errorf("strict %.2f, incremental %.2f", share(budget.EstimateStrict), share(budget.EstimateIncremental))
	}
}

// Suppliers that differ by more than is assumed are seen: nothing is hidden.
func TestSuppliersThatDifferTooMuchAreAnOverrun(t *testing.T) {
	overruns := int64(0)
	for seed := range uint64(6) {
		synctest.Test(t, func(t *testing.T) {
			m := newMarket(t, gridtest.Config{})
			m.Model(suppliers(seed, 12, gridtest.Reply{Text: "Looking again.", Calls: []gridtest.ToolCall{lookCall()}}))
			l := ledgerOf(t)
			a := open(t, m, agent.Config{Tools: []tools.Tool{page()}, Ledger: l, Spending: agent.Spending{Overrun: agent.OverrunContinue}, Limits: agent.Limits{Steps: 12}})
			res, err := agent.Run[string](t.Context(), a, "go")
			stands(t, res, err)
			s := state(t, l, account().ID())
			overruns += s.Overrun
			if s.Settled < m.Bill("") {
				t.Errorf("the bill is %d, counted are %d", m.Bill(""), s.Settled)
			}
		})
	}
	if overruns == 0 {
		t.Error("no overrun was seen, so the oracle of these tests proves nothing")
	}
}

// What an overrun halts follows the policy; it is announced in any case.
func TestOverrunHaltsWhatThePolicySays(t *testing.T) {
	instrument := budget.Scope{Kind: "instrument", Name: "agent-prime"}
	tenant := budget.Scope{Kind: "tenant", Name: "acme"}
	cap := budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterTokens, Limit: 6000, Per: budget.Day(nil)}
	for _, tc := range []struct {
		name   string
		policy agent.OverrunPolicy
		reply  int64 // completion tokens, of 4,096
		caps   []budget.Cap
		halted []budget.Scope
	}{
		{name: "default, much", reply: 9000, halted: []budget.Scope{instrument}},
		{name: "default, little", reply: 4700},
		{name: "default, little but a cap is passed", reply: 6200, caps: []budget.Cap{cap}, halted: []budget.Scope{instrument}},
		{name: "continue", policy: agent.OverrunContinue, reply: 9000},
		{name: "any halts the instrument", policy: agent.OverrunHaltInstrument, reply: 4700, halted: []budget.Scope{instrument}},
		{name: "a cap is passed, so its tenant is halted", policy: agent.OverrunHaltScope, reply: 6200, caps: []budget.Cap{cap}, halted: []budget.Scope{tenant}},
		{name: "no cap is passed, so the run is halted", policy: agent.OverrunHaltScope, reply: 9000, halted: []budget.Scope{{Kind: "run", Name: "r1"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{})
				m.Model(func(turn gridtest.Turn) gridtest.Reply {
					if turn.N > 0 {
						return say("done")
					}
					return gridtest.Reply{Text: "x", Calls: []gridtest.ToolCall{lookCall()}, PromptTokens: int64(len(turn.Raw)), CompletionTokens: tc.reply}
				})
				l := ledgerOf(t, tc.caps...)
				a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Ledger: l, Limits: agent.Limits{Steps: 1}, Spending: agent.Spending{Overrun: tc.policy}})
				live := agent.Start[string](t.Context(), a, "go", agent.RunID("r1"), agent.Tenant("acme"))
				var seen []agent.BudgetOverrun
				for e := range live.Events() {
					if o, ok := e.(agent.BudgetOverrun); ok {
						seen = append(seen, o)
					}
				}
				res, err := live.Result()
				stands(t, res, err)
				if len(seen) == 0 || seen[0].Instrument != "agent-prime" || seen[0].OverTokens <= 0 || seen[0].OverNanoUSD <= 0 || len(seen[0].Halted) != len(tc.halted) {
					t.Fatalf("announced is %+v, want %v halted", seen, tc.halted)
				}
				frozen, err := l.Freezes(t.Context())
				if err != nil || len(frozen) != len(tc.halted) {
					t.Fatalf("frozen is %+v, want %v: %v", frozen, tc.halted, err)
				}
				for i, f := range frozen {
					if f.Scope != tc.halted[i] || !strings.Contains(f.Reason, "agent-prime") || f.Until.IsZero() || f.By != "agent desk" {
						t.Errorf("frozen is %+v", f)
					}
				}
			})
		})
	}
}

// A halted instrument pauses its runs; they go on when somebody looked.
func TestRunPausesOnAHaltedInstrumentAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			if turn.N == 0 {
				return gridtest.Reply{Calls: []gridtest.ToolCall{lookCall()}, CompletionTokens: 50_000}
			}
			return say("done")
		})
		l := ledgerOf(t)
		a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Ledger: l})
		_, err := agent.Run[string](t.Context(), a, "go")
		p := paused(t, err)
		if p.Reason != agent.PauseFrozen || chats(m, 1) != 1 {
			t.Fatalf("%+v after %d requests", p, chats(m, 1))
		}
		if err := l.Unfreeze(t.Context(), budget.Scope{Kind: "instrument", Name: "agent-prime"}, "ann"); err != nil {
			t.Fatal(err)
		}
		res, err := agent.Resume[string](t.Context(), a, p.Token)
		if err != nil || res.Text != "done" {
			t.Errorf("%q: %v", res.Text, err)
		}
	})
}

// TestRecordedEstimates reports how much is reserved for what recorded loops of
// real providers used: a bound that does not hold is a failure.
func TestRecordedEstimates(t *testing.T) {
	dir := recordings(t)
	var loops []recordedLoop
	readJSON(t, filepath.Join(dir, "loops.json"), &loops)
	for _, mode := range []budget.EstimateMode{budget.EstimateStrict, budget.EstimateIncremental, budget.EstimateCalibrated} {
		calls := recordedSizes(t, dir, loops, mode)
		for _, class := range []struct {
			name string
			in   func(sized) bool
		}{
			{"all", func(sized) bool { return true }},
			{"first of a loop", func(s sized) bool { return !s.later }},
			{"go on from a counted prompt", func(s sized) bool { return s.later }},
			{"prompt <= 500", func(s sized) bool { return s.tokens <= 500 }},
			{"prompt <= 2,000", func(s sized) bool { return s.tokens > 500 && s.tokens <= 2000 }},
			{"prompt > 2,000", func(s sized) bool { return s.tokens > 2000 }},
		} {
			var prompts, whole []float64
			broken := 0
			for _, s := range calls {
				if !class.in(s) {
					continue
				}
				prompts, whole = append(prompts, s.prompt), append(whole, s.whole)
				if s.prompt < 1 {
					broken++
				}
			}
			t.Logf("%-11s %-27s %3d calls, reserved/used p50 p90 p99: prompt %s; whole call with max_tokens 1,024: %s; %d bounds did not hold",
				mode, class.name, len(prompts), quantiles(prompts), quantiles(whole), broken)
			if broken > 0 && mode != budget.EstimateCalibrated {
				t.Errorf("%s: %d bounds did not hold", mode, broken)
			}
		}
	}
}

func quantiles(v []float64) string {
	return fmt.Sprintf("%.2f %.2f %.2f", quantile(v, 0.5), quantile(v, 0.9), quantile(v, 0.99))
}

func quantile(v []float64, q float64) float64 {
	slices.Sort(v)
	return v[int(q*float64(len(v)-1))]
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

type sized struct {
	prompt, whole float64 // reserved over used
	tokens        int64   // of the prompt
	later         bool    // goes on from a prompt that was counted
}

// recordedSizes replays the requests of recorded loops through an estimator.
// Prompts with pictures or files are left out: their bytes do not bound them.
func recordedSizes(t *testing.T, dir string, loops []recordedLoop, mode budget.EstimateMode) []sized {
	t.Helper()
	e, err := budget.NewEstimator(mode)
	if err != nil {
		t.Fatal(err)
	}
	const maxTokens = 1024
	var out []sized
	for _, l := range loops {
		if strings.Contains(l.File, "multimodal") {
			continue
		}
		var all []interaction
		readJSON(t, filepath.Join(dir, l.File), &all)
		var counted, body int64
		for _, at := range l.Chain {
			size := int64(len(all[at].Request.Body))
			prompt, completion := recordedUsage(all[at].Response.Body)
			if prompt == 0 {
				counted = 0
				continue
			}
			p := budget.Prompt{Instrument: "recorded", Bytes: size, Template: 512, Counted: counted, CountedBytes: body, NewBytes: max(size-body, 0)}
			bound := e.Prompt(p, noon)
			out = append(out, sized{
				tokens: prompt,
				prompt: float64(bound) / float64(prompt), later: counted > 0,
				whole: float64(bound+e.Output("recorded", maxTokens, noon)) / float64(prompt+completion),
			})
			e.Observe(budget.Used{Prompt: p, PromptTokens: prompt, CompletionTokens: completion}, noon)
			counted, body = prompt, size
		}
	}
	if len(out) < 500 {
		t.Fatalf("only %d calls were replayed", len(out))
	}
	return out
}

// recordedUsage finds the usage of a whole answer or of a stream's last chunk that
// has one.
func recordedUsage(body string) (prompt, completion int64) {
	for line := range strings.Lines(body) {
		var chunk struct {
			Usage struct {
				Prompt     int64 `json:"prompt_tokens"`
				Completion int64 `json:"completion_tokens"`
			}
		}
		if json.Unmarshal([]byte(strings.TrimPrefix(strings.TrimSpace(line), "data:")), &chunk) == nil && chunk.Usage.Prompt > 0 {
			prompt, completion = chunk.Usage.Prompt, chunk.Usage.Completion
		}
	}
	if prompt == 0 { // an answer over several lines
		var whole struct {
			Usage struct {
				Prompt     int64 `json:"prompt_tokens"`
				Completion int64 `json:"completion_tokens"`
			}
		}
		_ = json.Unmarshal([]byte(body), &whole)
		prompt, completion = whole.Usage.Prompt, whole.Usage.Completion
	}
	return prompt, completion
}

// What a request has beyond its messages is new text, too, if the market has not counted it yet.
func TestWhatIsTunedIntoALaterStepIsReserved(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		if turn.N == 0 {
			return greedy(turn, calls(lookCall()))
		}
		return greedy(turn, say("done"))
	})
	l := ledgerOf(t)
	format := json.RawMessage(`{"type":"json_object","note":"` + strings.Repeat("x", 20_000) + `"}`)
	a := open(t, m, agent.Config{Ledger: l, Tools: []tools.Tool{look()}, Tune: func(_ context.Context, step agent.StepInfo, s *agent.StepTuning) {
		if step.Step > 0 {
			s.Params.ResponseFormat = format
		}
	}})
	res, err := agent.Run[string](t.Context(), a, "go")
	stands(t, res, err)
	if s := state(t, l, account().ID()); err != nil || len(res.Steps) != 2 || s.Overrun != 0 || s.Settled < m.Bill("") {
		t.Errorf("%d steps, the ledger says %+v: %v", len(res.Steps), s, err)
	}
}

// However little is left, and though the instrument writes three times what it is asked for, a request asks for no less than
// is worth asking: rather the run ends with its answer.
func TestNoRequestAsksForLessThanTheFloor(t *testing.T) {
	shrunk, ended := 0, 0
	for tokens := int64(2500); tokens <= 6500; tokens += 100 {
		synctest.Test(t, func(t *testing.T) {
			m := newMarket(t, gridtest.Config{})
			m.Model(func(turn gridtest.Turn) gridtest.Reply {
				if turn.MaxTokens < 256 {
					t.Errorf("with a cap of %d tokens, %d are asked for", tokens, turn.MaxTokens)
				}
				r := calls(lookCall())
				if len(turn.Tools) == 0 || turn.N > 2 {
					r = say("done")
				}
				r.PromptTokens, r.CompletionTokens = int64(len(turn.Raw))/4, 3*turn.MaxTokens
				return r
			})
			a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Limits: agent.Limits{MaxTokens: 1024}, Spending: agent.Spending{Overrun: agent.OverrunContinue}})
			if _, err := agent.Run[string](t.Context(), a, "go"); err != nil {
				t.Fatal(err) // from here on it is known what the instrument does
			}
			res, err := agent.Run[string](t.Context(), a, "go", agent.CapTokens(tokens))
			stands(t, res, err)
			for _, s := range res.Steps {
				if s.Shrunk {
					shrunk++
				}
			}
			if res.Stop == agent.StopBudget {
				ended++
			}
		})
	}
	if shrunk == 0 || ended == 0 {
		t.Errorf("%d requests were lowered, %d runs ended by their cap: the test shows nothing", shrunk, ended)
	}
}
