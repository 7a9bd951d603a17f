package agent_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// recordedDesk is recorded conversations of one agent with its users: long instructions, many
// tools, a growing history.
type recordedDesk struct {
	tools []recordedTool
	talks []talk
}

type recordedTool struct {
	Function struct {
		Name, Description string
		Parameters        json.RawMessage
	}
}

type talk struct{ Messages []talkMessage }

type talkMessage struct {
	Role, Content string
	ToolCalls     []struct {
		ID       string
		Function struct{ Name, Arguments string }
	} `json:"tool_calls"`
}

// said are the answers of the model, heard what its tools answered, each in order. Of
// several calls in a message the recorder ran the first alone.
func (k talk) said() (said []gridtest.Reply, heard []string) {
	for _, m := range k.Messages {
		switch m.Role {
		case "tool":
			heard = append(heard, m.Content)
		case "assistant":
			r := gridtest.Reply{Text: m.Content}
			if len(m.ToolCalls) > 0 {
				c := m.ToolCalls[0]
				r.Calls = calls(gridtest.ToolCall{ID: c.ID, Name: c.Function.Name, Arguments: c.Function.Arguments}).Calls
			}
			said = append(said, r)
		}
	}
	return said, heard
}

// readDesk reads so many conversations.
func readDesk(t *testing.T, most int) (d recordedDesk) {
	t.Helper()
	dir := filepath.Join(filepath.Dir(recordings(t)), "taubench", "airline")
	readJSON(t, filepath.Join(dir, "tools.json"), &d.tools)
	files, err := filepath.Glob(filepath.Join(dir, "*", "trajectories_*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no conversations: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(bytes.NewReader(data))
		lines.Buffer(nil, 64<<20)
		for len(d.talks) < most && lines.Scan() {
			var k talk
			if err := json.Unmarshal(lines.Bytes(), &k); err != nil {
				t.Fatal(err)
			}
			d.talks = append(d.talks, k)
		}
	}
	return d
}

// tokensOf is about what tokenizers make of a text: a token for a word of up to nine
// letters and for each five of a longer one, for three digits, for three other
// characters in a row, for three bytes of other scripts, for white space of more than a
// blank. Recorded counts of prompts of 1,500 tokens and more are 0.85 to 1.13 times that.
func tokensOf(text string) (n int64) {
	for len(text) > 0 {
		kind := kindOf(text[0])
		end := 1
		for end < len(text) && kindOf(text[end]) == kind {
			end++
		}
		switch {
		case kind == 'a' && end > 9:
			n += int64(end+4) / 5
		case kind == 'a':
			n++
		case kind != ' ':
			n += int64(end+2) / 3
		case end > 1 || text[0] != ' ':
			n++
		}
		text = text[end:]
	}
	return n
}

func kindOf(c byte) byte {
	switch {
	case c|0x20 >= 'a' && c|0x20 <= 'z':
		return 'a'
	case c >= '0' && c <= '9':
		return '0'
	case c == ' ' || c == '\n' || c == '\t' || c == '\r':
		return ' '
	case c < utf8.RuneSelf:
		return '.'
	}
	return 'u'
}

// counting is what one of four suppliers counts of a prompt. Two of them are up to 1.45
// times apart.
func counting(rnd *rand.Rand, toolTokens int64, turn gridtest.Turn) int64 {
	n := int64(40)
	if len(turn.Tools) > 0 {
		n += toolTokens
	}
	for _, m := range turn.Messages {
		n += 4 + tokensOf(m.Content)
		for _, c := range m.ToolCalls {
			n += 6 + tokensOf(c.Name) + tokensOf(c.Arguments)
		}
	}
	return int64(float64(n) * []float64{0.9, 1, 1.15, 1.3}[rnd.IntN(4)])
}

// reservedStep is a model step of a conversation: what was reserved, and what it used.
type reservedStep struct {
	index         int // in its conversation
	first         bool
	again         bool // first, of a run that goes on from another
	tokens        int64
	prompt, bound int64
}

// TestReservationsOfRealLoops reports how tight reservations are on recorded loops of
// agents, by prompt size and by place in the loop. No bound may be broken.
func TestReservationsOfRealLoops(t *testing.T) {
	most := 8
	if os.Getenv("GRIDLOOP_LONG") != "" {
		most = math.MaxInt
	}
	d := readDesk(t, most)
	for _, mode := range []budget.EstimateMode{budget.EstimateStrict, budget.EstimateIncremental, budget.EstimateCalibrated} {
		t.Run(string(mode), func(t *testing.T) {
			steps := d.replay(t, mode)
			reportReserved(t, steps)
			var whole []float64
			for _, s := range steps {
				whole = append(whole, float64(s.bound+1024)/float64(s.tokens))
			}
			if p50 := quantile(whole, 0.5); mode != budget.EstimateStrict && p50 >= 2 {
				t.Errorf("half of the calls reserve %.2f times what they use, or more", p50)
			}
		})
	}
}

func (d recordedDesk) replay(t *testing.T, mode budget.EstimateMode) (steps []reservedStep) {
	var said []gridtest.Reply
	var heard []string
	at := 0
	toolTokens := int64(0)
	var set []tools.Tool
	for _, tool := range d.tools {
		f := tool.Function
		toolTokens += 10 + tokensOf(f.Name) + tokensOf(f.Description) + tokensOf(string(f.Parameters))
		set = append(set, tools.Raw(f.Name, f.Description, f.Parameters, func(context.Context, json.RawMessage) (any, error) {
			if len(heard) == 0 {
				return nil, errors.New("no answer was recorded")
			}
			answer := heard[0]
			heard = heard[1:]
			return answer, nil
		}))
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	m := newMarket(t, gridtest.Config{})
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		r := say("That is all.")
		if at < len(said) && len(turn.Tools) > 0 {
			r = said[at]
			at++
		}
		r.PromptTokens = counting(rnd, toolTokens, turn)
		r.CompletionTokens = 4 + tokensOf(r.Text)
		for _, c := range r.Calls {
			r.CompletionTokens += 6 + tokensOf(c.Name) + tokensOf(c.Arguments)
		}
		return r
	})
	l := ledgerOf(t)
	a := open(t, m, agent.Config{Instructions: d.talks[0].Messages[0].Content, Tools: set, Ledger: l,
		Spending: agent.Spending{Estimate: mode, Overrun: agent.OverrunContinue}, Limits: agent.Limits{RunNanoUSD: agent.None, RunTokens: agent.None}})
	for _, k := range d.talks {
		said, heard = k.said()
		at = 0
		var before agent.Conversation
		index := 0
		for _, msg := range k.Messages {
			if msg.Role != "user" || at >= len(said) {
				continue
			}
			res, err := agent.Run[string](t.Context(), a, msg.Content, agent.Continue(before))
			stands(t, res, err)
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range res.Steps {
				for _, x := range s.Attempts {
					bound := x.ReservedTokens - agent.DefaultMaxTokens
					steps = append(steps, reservedStep{index: index, first: i == 0, again: i == 0 && before.Len() > 0, tokens: x.Tokens, prompt: s.InputTokens, bound: bound})
				}
				index++
			}
			before = res.Conversation()
		}
	}
	s := state(t, l, account().ID())
	if bill := m.Bill(""); s.Settled < bill {
		t.Errorf("%s: the bill is %d, counted are %d", mode, bill, s.Settled)
	}
	if s.Overrun != 0 && mode != budget.EstimateCalibrated {
		t.Errorf("%s: a bound was broken: %+v", mode, s)
	}
	return steps
}

func reportReserved(t *testing.T, steps []reservedStep) {
	if len(steps) < 100 {
		t.Fatalf("only %d steps were replayed", len(steps))
	}
	for _, class := range []struct {
		name string
		in   func(i int, s reservedStep) bool
	}{
		{"all steps", func(int, reservedStep) bool { return true }},
		{"first of the agent", func(i int, _ reservedStep) bool { return i == 0 }},
		{"first of a conversation", func(i int, s reservedStep) bool { return i > 0 && s.index == 0 }},
		{"first of a run that goes on", func(_ int, s reservedStep) bool { return s.again }},
		{"later in a run", func(_ int, s reservedStep) bool { return !s.first }},
		{"steps 2 to 5", func(_ int, s reservedStep) bool { return s.index > 0 && s.index < 5 }},
		{"steps 6 to 15", func(_ int, s reservedStep) bool { return s.index >= 5 && s.index < 15 }},
		{"steps 16 on", func(_ int, s reservedStep) bool { return s.index >= 15 }},
		{"prompt <= 500", func(_ int, s reservedStep) bool { return s.prompt <= 500 }},
		{"prompt <= 2,000", func(_ int, s reservedStep) bool { return s.prompt > 500 && s.prompt <= 2000 }},
		{"prompt <= 8,000", func(_ int, s reservedStep) bool { return s.prompt > 2000 && s.prompt <= 8000 }},
		{"prompt > 8,000", func(_ int, s reservedStep) bool { return s.prompt > 8000 }},
	} {
		var prompt []float64
		whole := map[int64][]float64{}
		broken := 0
		for i, s := range steps {
			if !class.in(i, s) {
				continue
			}
			prompt = append(prompt, float64(s.bound)/float64(s.prompt))
			for _, limit := range []int64{4096, 1024, 512} {
				whole[limit] = append(whole[limit], float64(s.bound+limit)/float64(s.tokens))
			}
			if s.prompt > s.bound {
				broken++
			}
		}
		if len(prompt) == 0 {
			continue
		}
		t.Logf("%-28s %5d steps, p50 p90 p99: prompt %s; whole call with max_tokens 4,096: %s; 1,024: %s; 512: %s; %d bounds did not hold",
			class.name, len(prompt), quantiles(prompt), quantiles(whole[4096]), quantiles(whole[1024]), quantiles(whole[512]), broken)
	}
}

// What is kept for the answer at a limit is no part of what its steps reserve: where a
// supplier uses all that strict bounds allow for, each step uses what was reserved for it.
func TestStepsReserveNothingButTheirOwn(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		if len(turn.Tools) == 0 {
			return greedy(turn, say("This is what I have."))
		}
		return greedy(turn, calls(lookCall()))
	})
	a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Spending: agent.Spending{Estimate: budget.EstimateStrict}, Limits: agent.Limits{Steps: 2}})
	res, err := agent.Run[string](t.Context(), a, "go")
	stands(t, res, err)
	if err != nil || len(res.Steps) != 3 || !res.Steps[2].Final {
		t.Fatalf("%d steps: %v", len(res.Steps), err)
	}
	for _, s := range res.Steps {
		for _, x := range s.Attempts {
			if x.ReservedTokens != x.Tokens {
				t.Errorf("step %d reserved %d tokens and used %d", s.Step, x.ReservedTokens, x.Tokens)
			}
		}
	}
}
