package agent_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/router"
	"github.com/gridloop/gridloop/tools"
)

// recordings returns the directory of recorded traffic, or skips.
func recordings(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("GRIDLOOP_TESTDATA")
	if dir == "" {
		if os.Getenv("GRIDLOOP_REQUIRE") != "" {
			t.Fatal("GRIDLOOP_REQUIRE is set but GRIDLOOP_TESTDATA is not: name the directory of the recorded traffic")
		}
		t.Skip("GRIDLOOP_TESTDATA is not set: no recorded traffic to drive")
	}
	return filepath.Join(dir, "recordings")
}

type recordedLoop struct {
	File      string `json:"file"`
	Streaming bool   `json:"streaming"`
	Chain     []int  `json:"chain"`
	ToolCalls int    `json:"tool_calls"`
}

type interaction struct {
	Request  struct{ Body string }
	Response struct {
		Status  int
		Headers map[string]string
		Body    string
	}
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestRecordedLoops drives the loop with every complete tool loop of real
// providers: what the model said comes back as recorded, tools answer what they
// answered then, and the loop must make the same calls and reach the same end.
func TestRecordedLoops(t *testing.T) {
	dir := recordings(t)
	var loops []recordedLoop
	readJSON(t, filepath.Join(dir, "loops.json"), &loops)
	driven, streamed := 0, 0
	for _, l := range loops {
		t.Run(strings.TrimSuffix(l.File, ".json"), func(t *testing.T) {
			var all []interaction
			readJSON(t, filepath.Join(dir, l.File), &all)
			chain := make([]interaction, len(l.Chain))
			for i, at := range l.Chain {
				chain[i] = all[at]
			}
			driveRecorded(t, l, chain)
			driven++
			if l.Streaming {
				streamed++
			}
		})
	}
	t.Logf("%d loops driven, %d of them streamed", driven, streamed)
	if len(loops) == 0 {
		t.Error("loops.json lists nothing")
	}
}

func driveRecorded(t *testing.T, l recordedLoop, chain []interaction) {
	want := make([]turn, len(chain))
	for i, x := range chain {
		want[i] = readSlowly(t, x.Response.Body)
	}
	results := recordedResults(t, chain)
	var made []madeCall
	market := &playback{chain: chain}
	client, err := grid.New(grid.Config{
		APIKey: "test-key", HTTPClient: &http.Client{Transport: market},
		Catalogue: mustCatalogue(t, grid.Instrument{ID: "agent-prime", Family: "agent", Tier: "prime", MaxPriceNanoUSD: 1}),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	desk, err := agent.New(agent.Config{
		Name: "recorded", Market: client, Tools: recordedTools(t, chain, results, &made),
		Router: router.Func(func(router.Step, router.Snapshot) router.Decision {
			return router.Decision{Instrument: "agent-prime", Reason: router.ReasonDefault, Probability: 1}
		}),
		Limits: agent.Limits{RunTokens: agent.None, Parallel: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer desk.Shutdown(context.Background())

	live := agent.Start[string](t.Context(), desk, "go", agent.RunID("rec"))
	var text strings.Builder
	if l.Streaming {
		for e := range live.Events() {
			if d, ok := e.(agent.TextDelta); ok {
				text.WriteString(d.Text)
			}
		}
	}
	res, err := live.Result()
	if err != nil {
		t.Fatalf("the run failed: %v", err)
	}
	if market.served != len(chain) {
		t.Fatalf("%d model calls, recorded were %d", market.served, len(chain))
	}
	var wantCalls []wantedCall
	for _, w := range want {
		wantCalls = append(wantCalls, w.calls...)
	}
	if len(wantCalls) != l.ToolCalls {
		t.Fatalf("the reference reads %d tool calls, the index says %d", len(wantCalls), l.ToolCalls)
	}
	checkHistory(t, res.Messages(), want, results)
	if len(made) != len(wantCalls) {
		t.Errorf("%d tool calls made, recorded were %d", len(made), len(wantCalls))
	}
	for i := range min(len(made), len(wantCalls)) {
		if made[i].name != wantCalls[i].Name {
			t.Errorf("call %d is of %q, recorded was %q", i, made[i].name, wantCalls[i].Name)
		}
		if w := wantCalls[i].ID; w != "" && made[i].id != w {
			t.Errorf("call %d has id %q, recorded was %q", i, made[i].id, w)
		}
	}
	if final := want[len(want)-1].text; res.Text != final {
		t.Errorf("the final text is %q, recorded was %q", res.Text, final)
	}
	if l.Streaming {
		all := ""
		for _, w := range want {
			all += w.text
		}
		if text.String() != all {
			t.Errorf("the streamed text is %q, recorded was %q", text.String(), all)
		}
	}
}

// checkHistory compares the transcript with the recording: calls with names, ids
// and argument bytes, and tool messages with the recorded text.
func checkHistory(t *testing.T, msgs []grid.Message, want []turn, results map[string]string) {
	t.Helper()
	step := -1
	var open []grid.ToolCall
	for _, m := range msgs {
		switch m.Role {
		case "assistant":
			step++
			if len(m.ToolCalls) != len(want[step].calls) {
				t.Fatalf("step %d has %d calls, recorded were %d", step, len(m.ToolCalls), len(want[step].calls))
			}
			for i, c := range m.ToolCalls {
				w := want[step].calls[i]
				if c.Name != w.Name || c.Arguments != w.Arguments || w.ID != "" && c.ID != w.ID {
					t.Errorf("step %d call %d is %s %s(%s), recorded was %s %s(%s)", step, i, c.ID, c.Name, c.Arguments, w.ID, w.Name, w.Arguments)
				}
			}
			open = m.ToolCalls
		case "tool":
			if len(open) == 0 || open[0].ID != m.ToolCallID {
				t.Fatalf("step %d: the result of %q is out of order", step, m.ToolCallID)
			}
			w, ok := results[resultKey(step, m.ToolCallID)]
			if !ok {
				w, ok = results[fmt.Sprintf("%d#%d", step, len(want[step].calls)-len(open))]
			}
			if !ok || m.Text() != w {
				t.Errorf("step %d: the result of %q is %q, recorded was %q", step, m.ToolCallID, m.Text(), w)
			}
			open = open[1:]
		}
	}
	if step != len(want)-1 {
		t.Errorf("%d assistant messages, recorded were %d", step+1, len(want))
	}
}

// playback answers each model call with the next recorded response, whatever is
// asked.
type playback struct {
	chain  []interaction
	served int
}

func (p *playback) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		io.Copy(io.Discard, req.Body)
		req.Body.Close()
	}
	if req.Method != http.MethodPost || p.served >= len(p.chain) {
		return &http.Response{StatusCode: 404, Body: io.NopCloser(strings.NewReader(`{"errors":{"detail":"no more recorded"}}`)), Request: req, Header: http.Header{}}, nil
	}
	r := p.chain[p.served].Response
	p.served++
	h := http.Header{}
	for k, v := range r.Headers {
		h.Set(k, v)
	}
	return &http.Response{StatusCode: r.Status, Header: h, Body: io.NopCloser(strings.NewReader(r.Body)), Request: req, ContentLength: -1}, nil
}

type madeCall struct{ id, name string }

// recordedTools are stubs with the recorded schemas, the union over the requests.
func recordedTools(t *testing.T, chain []interaction, results map[string]string, made *[]madeCall) []tools.Tool {
	t.Helper()
	type def struct {
		Name, Description string
		Parameters        json.RawMessage
	}
	seen := map[string]bool{}
	var out []tools.Tool
	for _, x := range chain {
		var req struct {
			Tools []struct {
				Type     string
				Function def
			}
			Functions []def
		}
		if err := json.Unmarshal([]byte(x.Request.Body), &req); err != nil {
			t.Fatal(err)
		}
		defs := req.Functions
		for _, tl := range req.Tools {
			if tl.Function.Name != "" {
				defs = append(defs, tl.Function)
			}
		}
		for _, d := range defs {
			if seen[d.Name] {
				continue
			}
			seen[d.Name] = true
			schema := d.Parameters
			if len(bytes.TrimSpace(schema)) == 0 || string(schema) == "null" || string(schema) == "{}" {
				schema = json.RawMessage(`{"type":"object","properties":{}}`)
			}
			out = append(out, tools.Raw(d.Name, or(d.Description, "recorded"), schema, func(ctx context.Context, _ json.RawMessage) (any, error) {
				c := tools.CallFrom(ctx)
				*made = append(*made, madeCall{c.ID, c.Tool})
				if r, ok := results[resultKey(c.Step, c.ID)]; ok {
					return r, nil
				}
				if r, ok := results[fmt.Sprintf("%d#%d", c.Step, c.Index)]; ok {
					return r, nil // the recording has no ids
				}
				return nil, fmt.Errorf("no result was recorded for call %q of step %d", c.ID, c.Step)
			}))
		}
	}
	return out
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

func resultKey(step int, id string) string { return fmt.Sprintf("%d/%s", step, id) }

// recordedResults finds what each call's tool answered: it stands in a later
// request, behind the assistant message that made the call.
func recordedResults(t *testing.T, chain []interaction) map[string]string {
	t.Helper()
	out := map[string]string{}
	for i := 1; i < len(chain); i++ {
		var req struct {
			Messages []struct {
				Role         string
				Content      json.RawMessage
				ToolCallID   string `json:"tool_call_id"`
				ToolCalls    []any  `json:"tool_calls"`
				FunctionCall any    `json:"function_call"`
			}
		}
		if err := json.Unmarshal([]byte(chain[i].Request.Body), &req); err != nil {
			t.Fatal(err)
		}
		// The results of the step before are the tool messages after the last
		// message that made calls; a conversation may have gone on since.
		last := -1
		for j, m := range req.Messages {
			if len(m.ToolCalls) > 0 || m.FunctionCall != nil {
				last = j
			}
		}
		n := 0
		for _, m := range req.Messages[last+1:] {
			if m.Role != "tool" && m.Role != "function" {
				continue
			}
			text := contentText(m.Content)
			out[resultKey(i-1, m.ToolCallID)] = text
			out[fmt.Sprintf("%d#%d", i-1, n)] = text
			n++
		}
	}
	return out
}

func mustCatalogue(t *testing.T, in ...grid.Instrument) *grid.Catalogue {
	t.Helper()
	c, err := grid.NewCatalogue(in...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The reference reader: slow, with encoding/json into maps.

type wantedCall struct{ ID, Name, Arguments string }

type turn struct {
	text  string
	calls []wantedCall
}

func readSlowly(t *testing.T, body string) turn {
	t.Helper()
	body = strings.TrimPrefix(body, "\ufeff")
	if trimmed := strings.TrimSpace(body); strings.HasPrefix(trimmed, "{") {
		var r struct {
			Choices []struct{ Message map[string]any }
		}
		if err := json.Unmarshal([]byte(trimmed), &r); err != nil {
			t.Fatal(err)
		}
		return slowMessage(r.Choices[0].Message)
	}
	var out turn
	var slots []*wantedCall
	byKey := map[string]*wantedCall{}
	sc := bufio.NewScanner(strings.NewReader(body))
	sc.Buffer(nil, 64<<20)
	for sc.Scan() {
		data, ok := strings.CutPrefix(strings.TrimRight(sc.Text(), "\r"), "data:")
		if data = strings.TrimSpace(data); !ok || data == "[DONE]" || data == "" {
			continue
		}
		var chunk struct {
			Choices []struct {
				Index int
				Delta map[string]any
			}
		}
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			t.Fatal(err)
		}
		for _, c := range chunk.Choices {
			if c.Index != 0 {
				continue
			}
			out.text += slowText(c.Delta["content"])
			deltas, _ := c.Delta["tool_calls"].([]any)
			for _, d := range deltas {
				d := d.(map[string]any)
				id, _ := d["id"].(string)
				index, hasIndex := d["index"].(float64)
				fn, _ := d["function"].(map[string]any)
				name, _ := fn["name"].(string)
				args, _ := fn["arguments"].(string)
				if o, ok := fn["arguments"].(map[string]any); ok {
					b, _ := json.Marshal(o)
					args = string(b)
				}
				var slot *wantedCall
				switch {
				case hasIndex:
					slot = byKey[fmt.Sprint("index ", index)]
					if slot != nil && id != "" && slot.ID != "" && slot.ID != id {
						slot = nil
					}
				case id != "":
					slot = byKey["id "+id]
				case len(slots) > 0 && name == "":
					slot = slots[len(slots)-1]
				}
				if slot == nil {
					slot = &wantedCall{}
					slots = append(slots, slot)
				}
				if id != "" {
					slot.ID = id
					byKey["id "+id] = slot
				}
				if hasIndex {
					byKey[fmt.Sprint("index ", index)] = slot
				}
				if slot.Name == "" {
					slot.Name = name
				}
				slot.Arguments += args
			}
		}
	}
	for _, s := range slots {
		out.calls = append(out.calls, *s)
	}
	return out
}

func slowMessage(m map[string]any) turn {
	out := turn{text: slowText(m["content"])}
	calls, _ := m["tool_calls"].([]any)
	for _, c := range calls {
		c := c.(map[string]any)
		fn, _ := c["function"].(map[string]any)
		id, _ := c["id"].(string)
		name, _ := fn["name"].(string)
		args, _ := fn["arguments"].(string)
		out.calls = append(out.calls, wantedCall{id, name, args})
	}
	return out
}

func slowText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []any:
		text := ""
		for _, p := range v {
			if p, ok := p.(map[string]any); ok && (p["type"] == "text" || p["type"] == nil) {
				s, _ := p["text"].(string)
				text += s
			}
		}
		return text
	}
	return ""
}

func contentText(raw json.RawMessage) string {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return ""
	}
	if s, ok := v.(string); ok {
		return s
	}
	return slowText(v)
}
