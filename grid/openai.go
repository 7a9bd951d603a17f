package grid

import (
	"encoding/json"

	openai "github.com/sashabaranov/go-openai"
)

// FromOpenAI returns go-openai's message as a Message. Empty content beside tool
// calls is null, since go-openai cannot tell the two apart.
func FromOpenAI(from openai.ChatCompletionMessage) Message {
	m := Message{Role: from.Role, Name: from.Name, ToolCallID: from.ToolCallID}
	switch {
	case len(from.MultiContent) > 0:
		// The parts are strings and numbers: they always encode.
		m.Parts, _ = json.Marshal(from.MultiContent)
	case from.Content != "" || len(from.ToolCalls) == 0 && from.FunctionCall == nil:
		m.Content = &from.Content
	}
	if from.Refusal != "" {
		m.Refusal = &from.Refusal
	}
	for _, call := range from.ToolCalls {
		m.ToolCalls = append(m.ToolCalls, ToolCall{
			ID: call.ID, Type: string(call.Type), Name: call.Function.Name, Arguments: call.Function.Arguments,
		})
	}
	if from.ReasoningContent != "" {
		m.Extra = append(m.Extra, Field{Name: "reasoning_content", Value: appendQuoted(nil, from.ReasoningContent)})
	}
	if from.FunctionCall != nil {
		v, _ := json.Marshal(from.FunctionCall)
		m.Extra = append(m.Extra, Field{Name: "function_call", Value: v})
	}
	return m
}

// OpenAI returns the message as go-openai's value. What that type has no field for
// is lost; the message itself keeps it.
func (m Message) OpenAI() openai.ChatCompletionMessage {
	out := openai.ChatCompletionMessage{Role: m.Role, Name: m.Name, ToolCallID: m.ToolCallID}
	if isNull(m.Parts) || json.Unmarshal(m.Parts, &out.MultiContent) != nil {
		out.Content, out.MultiContent = m.Text(), nil
	}
	if m.Refusal != nil {
		out.Refusal = *m.Refusal
	}
	for _, call := range m.ToolCalls {
		typ := openai.ToolType(call.Type)
		if typ == "" {
			typ = openai.ToolTypeFunction
		}
		out.ToolCalls = append(out.ToolCalls, openai.ToolCall{
			ID: call.ID, Type: typ, Function: openai.FunctionCall{Name: call.Name, Arguments: call.Arguments},
		})
	}
	for _, f := range m.Extra {
		switch f.Name {
		case "reasoning_content", "reasoning":
			if out.ReasoningContent == "" {
				out.ReasoningContent = unquoted(f.Value)
			}
		case "function_call":
			var call openai.FunctionCall
			if json.Unmarshal(f.Value, &call) == nil {
				out.FunctionCall = &call
			}
		}
	}
	return out
}
