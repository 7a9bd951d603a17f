package gridtest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
)

var functionName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// check answers 422 for what is well-formed but out of the documented range.
func (w *wire) check(t Turn, in Instrument, bodyBytes int) *refusal {
	no := func(format string, args ...any) *refusal {
		return refuse(http.StatusUnprocessableEntity, format, args...)
	}
	outside := func(v *float64, low, high float64) bool { return v != nil && (*v < low || *v > high) }
	switch {
	case len(t.Messages) == 0:
		return no("messages must have at least one message")
	case outside(w.Temperature, 0, 2):
		return no("temperature must be between 0 and 2")
	case outside(w.TopP, 0, 1):
		return no("top_p must be between 0 and 1")
	case outside(w.FrequencyPenalty, -2, 2):
		return no("frequency_penalty must be between -2 and 2")
	case outside(w.PresencePenalty, -2, 2):
		return no("presence_penalty must be between -2 and 2")
	case w.N != nil && (*w.N < 1 || *w.N > 128):
		return no("n must be between 1 and 128")
	case w.N != nil && *w.N != 1:
		return no("n above 1 is not simulated")
	case w.TopLogprobs != nil && (*w.TopLogprobs < 0 || *w.TopLogprobs > 20):
		return no("top_logprobs must be between 0 and 20")
	}
	for i, msg := range t.Messages {
		switch msg.Role {
		case "system", "developer", "user", "assistant", "tool", "function":
		default:
			return no("messages[%d].role %q is not a role", i, msg.Role)
		}
	}
	if !absent(w.Stop) {
		var one string
		var many []string
		if json.Unmarshal(w.Stop, &one) != nil && (json.Unmarshal(w.Stop, &many) != nil || len(many) > 4) {
			return no("stop must be a string or at most 4 strings")
		}
	}
	for name, limit := range map[string]*int64{"max_tokens": w.MaxTokens, "max_completion_tokens": w.MaxCompletionTokens} {
		if limit == nil {
			continue
		}
		if *limit < 1 || *limit > in.MaxOutput {
			return no("%s must be between 1 and %d for %s", name, in.MaxOutput, in.ID)
		}
	}
	if prompt := countTokens(bodyBytes); prompt > in.MaxInput {
		return no("the prompt has %d tokens, %s takes at most %d", prompt, in.ID, in.MaxInput)
	}
	if r := w.checkTools(no); r != nil {
		return r
	}
	return w.checkFormat(no)
}

func (w *wire) checkTools(no func(string, ...any) *refusal) *refusal {
	if absent(w.Tools) {
		return nil
	}
	var tools []struct {
		Type     string `json:"type"`
		Function *struct {
			Name       string          `json:"name"`
			Parameters json.RawMessage `json:"parameters"`
		} `json:"function"`
	}
	if json.Unmarshal(w.Tools, &tools) != nil {
		return no("tools must be a list of tools")
	}
	seen := make(map[string]bool)
	for i, tool := range tools {
		switch {
		case tool.Type != "function" || tool.Function == nil:
			return no("tools[%d] must be of type function", i)
		case !functionName.MatchString(tool.Function.Name):
			return no("tools[%d].function.name must match %s", i, functionName)
		case seen[tool.Function.Name]:
			return no("tools[%d].function.name %q is there twice", i, tool.Function.Name)
		case !absent(tool.Function.Parameters) && !isObject(tool.Function.Parameters):
			return no("tools[%d].function.parameters must be a JSON schema object", i)
		}
		seen[tool.Function.Name] = true
	}
	return nil
}

func (w *wire) checkFormat(no func(string, ...any) *refusal) *refusal {
	if absent(w.ResponseFormat) {
		return nil
	}
	var format struct {
		Type       string `json:"type"`
		JSONSchema *struct {
			Name   string          `json:"name"`
			Schema json.RawMessage `json:"schema"`
		} `json:"json_schema"`
	}
	if json.Unmarshal(w.ResponseFormat, &format) != nil {
		return no("response_format must be an object")
	}
	switch format.Type {
	case "text", "json_object":
		return nil
	case "json_schema":
		if format.JSONSchema == nil || !functionName.MatchString(format.JSONSchema.Name) || !isObject(format.JSONSchema.Schema) {
			return no("response_format.json_schema must have a name and a schema")
		}
		return nil
	}
	return no("response_format.type %q is none of text, json_object, json_schema", format.Type)
}

// limit is the most tokens that an answer may have.
func (w *wire) limit(in Instrument) int64 {
	limit := in.MaxOutput
	if w.MaxTokens != nil {
		limit = min(limit, *w.MaxTokens)
	}
	if w.MaxCompletionTokens != nil {
		limit = min(limit, *w.MaxCompletionTokens)
	}
	return limit
}

func absent(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) == 0 || bytes.Equal(raw, []byte("null"))
}

func isObject(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) > 0 && raw[0] == '{'
}

// checkTranscript is what suppliers say to a history whose tool calls are not
// answered exactly once, by the messages right behind them.
func checkTranscript(messages []Message) *refusal {
	open := make(map[string]int)
	total := 0
	for i, msg := range messages {
		if msg.Role == "tool" {
			if open[msg.ToolCallID] == 0 {
				return refuse(http.StatusBadRequest, "messages[%d]: tool message answers no open tool call", i)
			}
			open[msg.ToolCallID]--
			total--
			continue
		}
		if total > 0 {
			return refuse(http.StatusBadRequest, "messages[%d]: %d tool calls before it have no answer", i, total)
		}
		clear(open)
		if msg.Role == "assistant" {
			for _, c := range msg.ToolCalls {
				open[c.ID]++
				total++
			}
		}
	}
	if total > 0 {
		return refuse(http.StatusBadRequest, "the last %d tool calls have no answer", total)
	}
	return nil
}
