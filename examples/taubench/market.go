package main

import (
	"bytes"
	"encoding/json"
	"hash/fnv"
	"math/rand/v2"
	"unicode/utf8"

	"github.com/gridloop/gridloop/examples/internal/tau"
	"github.com/gridloop/gridloop/grid/gridtest"
)

// nameHeader says which conversation a request belongs to. It is how the market
// finds the recording: some conversations begin with the same words.
const nameHeader = "X-Conversation"

// The words of a model that has no recorded message left: where the recording was
// cut off at 30 steps, and where a cap leaves one last answer without tools.
const (
	endOfRecording = "(The recording ends here.)"
	lastWords      = "I have to stop here: what may be spent on this conversation is used up."
)

// A player answers with recorded messages.
type player struct {
	said map[string][]tau.Message // by the name of the conversation
	seed uint64
}

func newPlayer(recorded []*recording, seed uint64) *player {
	p := &player{make(map[string][]tau.Message, len(recorded)), seed}
	for _, r := range recorded {
		p.said[r.name] = r.said()
	}
	return p
}

// answer is the market's model. Turn.N counts the model's messages in what was
// sent, so a request that is made again gets the same message again.
func (p *player) answer(t gridtest.Turn) gridtest.Reply {
	name := t.Header.Get(nameHeader)
	reply := gridtest.Reply{Text: endOfRecording}
	switch said := p.said[name]; {
	case len(t.Tools) == 0:
		reply.Text = lastWords
	case t.N < len(said):
		reply = replyOf(said[t.N])
	}
	if t.Stream {
		reply = streamed(reply, t, dice(p.seed, "cuts", name, t.N))
	}
	return reply
}

// replyOf is a recorded message as an answer. Of several calls the benchmark runs
// the first alone.
func replyOf(m tau.Message) gridtest.Reply {
	r := gridtest.Reply{Text: m.Text()}
	if len(m.ToolCalls) > 0 {
		c := m.ToolCalls[0]
		r.Calls = []gridtest.ToolCall{{ID: c.ID, Name: c.Function.Name, Arguments: c.Function.Arguments}}
	}
	return r
}

// dice are random numbers that depend on nothing but what is named.
func dice(seed uint64, use, name string, n int) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(use))
	h.Write([]byte{0})
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(seed, h.Sum64()+uint64(n)))
}

type delta struct {
	Role      string      `json:"role,omitempty"`
	Content   *string     `json:"content,omitempty"`
	ToolCalls []callDelta `json:"tool_calls,omitempty"`
}

type callDelta struct {
	Index    int       `json:"index"`
	ID       string    `json:"id,omitempty"`
	Type     string    `json:"type,omitempty"`
	Function funcDelta `json:"function"`
}

type funcDelta struct {
	Name      string `json:"name,omitempty"`
	Arguments string `json:"arguments"`
}

// streamed is the reply as server-sent events, with text and arguments cut at
// random places.
func streamed(r gridtest.Reply, t gridtest.Turn, d *rand.Rand) gridtest.Reply {
	var body bytes.Buffer
	event := func(v any) {
		line, err := json.Marshal(v)
		if err != nil {
			line = []byte("null") // strings and numbers alone: cannot be
		}
		body.WriteString("data: ")
		body.Write(line)
		body.WriteString("\n\n")
	}
	chunk := func(d delta, finish any) {
		event(map[string]any{"id": "chatcmpl-recorded", "object": "chat.completion.chunk", "model": "gpt-4o",
			"choices": []any{map[string]any{"index": 0, "delta": d, "finish_reason": finish}}})
	}
	chunk(delta{Role: "assistant"}, nil)
	size := len(r.Text)
	for _, piece := range cut(r.Text, d) {
		chunk(delta{Content: &piece}, nil)
	}
	finish := "stop"
	for i, c := range r.Calls {
		finish = "tool_calls"
		size += len(c.Name) + len(c.Arguments)
		chunk(delta{ToolCalls: []callDelta{{i, c.ID, "function", funcDelta{Name: c.Name}}}}, nil)
		for _, piece := range cut(c.Arguments, d) {
			chunk(delta{ToolCalls: []callDelta{{Index: i, Function: funcDelta{Arguments: piece}}}}, nil)
		}
	}
	chunk(delta{}, finish)
	prompt, completion := (len(t.Raw)+3)/4, max((size+3)/4, 1) // as the market counts
	event(map[string]any{"id": "chatcmpl-recorded", "object": "chat.completion.chunk", "model": "gpt-4o", "choices": []any{},
		"usage": map[string]int{"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}})
	body.WriteString("data: [DONE]\n\n")
	return gridtest.Reply{Raw: &gridtest.RawReply{Body: body.Bytes()}}
}

// cut parts s at random places, never within a character.
func cut(s string, d *rand.Rand) []string {
	var all []string
	for s != "" {
		n := min(1+d.IntN(40), len(s))
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n++
		}
		all = append(all, s[:n])
		s = s[n:]
	}
	return all
}
