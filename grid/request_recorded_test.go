package grid_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"testing"

	"github.com/gridloop/gridloop/grid"
)

// openRouterTools are requests with declarations that only OpenRouter takes: tools that
// its servers run, and hints beside a function. The market's API has neither.
func openRouterTools(name string) bool {
	const at = "pydantic-ai/openrouter/"
	switch name {
	case at + "models-test_openrouter-test_eager_input_streaming_sent_to_openrouter_anthropic-enabled.json",
		at + "models-test_openrouter-test_openrouter_advisor_tool.json",
		at + "models-test_openrouter-test_openrouter_advisor_tool_stream.json",
		at + "models-test_openrouter-test_openrouter_web_search_annotations.json",
		at + "models-test_openrouter-test_openrouter_web_search_annotations_stream.json",
		at + "models-test_openrouter-test_openrouter_web_search_tool_full_params.json",
		at + "models-test_openrouter-test_openrouter_web_search_tool_usage.json",
		at + "models-test_openrouter-test_openrouter_web_search_tool_usage_stream.json",
		at + "openrouter-test_cache-test_openrouter_cache_all_settings_real_api.json":
		return true
	}
	return false
}

// TestRecordedRequestsKeepTheirMeaning decodes what real clients sent into our types,
// sends it, and compares the two as JSON values.
func TestRecordedRequestsKeepTheirMeaning(t *testing.T) {
	n, fields := 0, map[string]int{}
	var sent []byte
	last := transport(func(r *http.Request) (*http.Response, error) {
		sent, _ = io.ReadAll(r.Body)
		return served200(answerJSON).RoundTrip(r)
	})
	catalogue := map[string]*grid.Client{}
	for _, field := range []string{grid.TokenFieldMax, grid.TokenFieldCompletion} {
		c, err := grid.NewCatalogue(grid.Instrument{ID: "agent-prime", TokenField: field})
		if err != nil {
			t.Fatal(err)
		}
		catalogue[field] = client(t, "https://market.test", func(cfg *grid.Config) {
			cfg.HTTPClient, cfg.Catalogue = &http.Client{Transport: last}, c
		})
	}
	recordings(t, func(name string, at int, in interaction) {
		var recorded map[string]json.RawMessage
		if json.Unmarshal([]byte(in.Request.Body), &recorded) != nil {
			return
		}
		var list []json.RawMessage
		if json.Unmarshal(recorded["messages"], &list) != nil || len(list) == 0 {
			return
		}
		n++
		for name := range recorded {
			fields[name]++
		}
		id := fmt.Sprintf("%s#%d", name, at)
		req, tokenField, err := requestOf(recorded, list)
		if err != nil {
			t.Errorf("%s: %v", id, err)
			return
		}
		sent = nil
		_, err = catalogue[tokenField].Chat(t.Context(), req)
		if sent == nil {
			t.Errorf("%s: nothing was sent: %v", id, err)
			return
		}
		var got, want map[string]any
		if json.Unmarshal(sent, &got) != nil || json.Unmarshal([]byte(in.Request.Body), &want) != nil {
			t.Errorf("%s: sent %s", id, sent)
			return
		}
		normalize(got, want, req, tokenField)
		if openRouterTools(name) {
			if reflect.DeepEqual(got["tools"], want["tools"]) {
				t.Errorf("%s: its tools are sent and need not be excused", id)
			}
			got["tools"] = want["tools"]
		}
		for name := range want {
			if !reflect.DeepEqual(got[name], want[name]) {
				t.Errorf("%s: %s\n got %v\nwant %v", id, name, got[name], want[name])
			}
			delete(got, name)
		}
		if len(got) > 0 {
			t.Errorf("%s: %v was not in the recorded request", id, got)
		}
	})
	t.Logf("%d requests with %v", n, fields)
	if n < 2000 {
		t.Errorf("only %d requests", n)
	}
}

// requestOf reads a recorded request into our types.
func requestOf(recorded map[string]json.RawMessage, messages []json.RawMessage) (req *grid.Request, tokenField string, err error) {
	req, tokenField = &grid.Request{Instrument: "agent-prime"}, grid.TokenFieldMax
	for _, raw := range messages {
		m, err := grid.DecodeMessage(raw)
		if err != nil {
			return nil, "", err
		}
		req.Messages = append(req.Messages, m)
	}
	p := &req.Params
	into := map[string]any{
		"temperature": &p.Temperature, "top_p": &p.TopP, "frequency_penalty": &p.FrequencyPenalty, "presence_penalty": &p.PresencePenalty,
		"seed": &p.Seed, "tool_choice": &p.ToolChoice, "response_format": &p.ResponseFormat, "parallel_tool_calls": &p.ParallelToolCalls,
		"logprobs": &p.LogProbs, "top_logprobs": &p.TopLogProbs, "reasoning_effort": &p.ReasoningEffort, "verbosity": &p.Verbosity,
		"service_tier": &p.ServiceTier, "store": &p.Store, "user": &p.User, "safety_identifier": &p.SafetyIdentifier,
		"prompt_cache_key": &p.PromptCacheKey, "prompt_cache_retention": &p.PromptCacheRetention,
		"stream": &req.Stream, grid.TokenFieldMax: &req.MaxTokens, grid.TokenFieldCompletion: &req.MaxTokens,
	}
	for name, raw := range recorded {
		if string(raw) == "null" {
			continue
		}
		to, ok := into[name]
		switch {
		case ok:
			err = json.Unmarshal(raw, to)
			if name == grid.TokenFieldCompletion {
				tokenField = name
			}
		case name == "stop":
			if err = json.Unmarshal(raw, &p.Stop); err != nil {
				p.Stop = make([]string, 1)
				err = json.Unmarshal(raw, &p.Stop[0])
			}
		case name == "tools":
			req.Tools, err = toolsOf(raw)
		case name == "model", name == "messages", name == "n", name == "stream_options":
		default:
			if p.Extra == nil {
				p.Extra = map[string]json.RawMessage{}
			}
			p.Extra[name] = raw
		}
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", name, err)
		}
	}
	return req, tokenField, nil
}

func toolsOf(raw json.RawMessage) (*grid.ToolList, error) {
	var list []struct {
		Type     string
		Function *struct {
			Name, Description string
			Parameters        json.RawMessage
			Strict            bool
		}
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	var defs []grid.ToolDef
	for _, tool := range list {
		if f := tool.Function; f != nil {
			defs = append(defs, grid.ToolDef{Name: f.Name, Description: f.Description, Schema: f.Parameters, Strict: f.Strict})
		}
	}
	return grid.NewToolList(defs)
}

// normalize takes out of both what is meant to differ: null is absent, one answer is
// always asked for, usage is always asked for, the tokens are always bounded.
func normalize(got, want map[string]any, req *grid.Request, tokenField string) {
	for name, v := range want {
		if v == nil {
			delete(want, name)
		}
	}
	want["model"] = req.Instrument
	delete(want, "n")
	if req.MaxTokens == 0 {
		want[tokenField] = float64(grid.DefaultMaxTokens)
	}
	delete(want, "stream_options")
	if req.Stream {
		want["stream_options"] = map[string]any{"include_usage": true}
	} else {
		delete(want, "stream")
	}
	if stop, ok := want["stop"].(string); ok {
		want["stop"] = []any{stop}
	}
	want["messages"] = plainMessages(want["messages"].([]any))
	got["messages"] = plainMessages(got["messages"].([]any))
	if tools, ok := want["tools"].([]any); ok {
		if len(tools) == 0 {
			delete(want, "tools")
		}
		for _, tool := range tools {
			plainTool(tool.(map[string]any))
		}
	}
}

func plainTool(tool map[string]any) {
	f, _ := tool["function"].(map[string]any)
	for _, name := range []string{"strict", "description"} {
		if v := f[name]; v == nil || v == false || v == "" {
			delete(f, name)
		}
	}
	if f != nil && f["parameters"] == nil {
		f["parameters"] = map[string]any{"type": "object", "properties": map[string]any{}}
	}
	if tool["type"] == nil {
		tool["type"] = "function"
	}
}

// plainMessages drops what says nothing: null, a call's number, which is its place.
func plainMessages(list []any) []any {
	for _, v := range list {
		m := v.(map[string]any)
		for name, v := range m {
			if v == nil && name != "content" {
				delete(m, name)
			}
		}
		if _, ok := m["content"]; !ok {
			m["content"] = nil
		}
		calls, _ := m["tool_calls"].([]any)
		if len(calls) == 0 {
			delete(m, "tool_calls")
		}
		for _, c := range calls {
			call := c.(map[string]any)
			delete(call, "index")
			if call["type"] == nil {
				call["type"] = "function"
			}
			if f, ok := call["function"].(map[string]any); ok {
				delete(f, "parsed_arguments") // a client's own, always null
				if f["arguments"] == nil {
					f["arguments"] = ""
				}
			}
		}
	}
	return list
}
