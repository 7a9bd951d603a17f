package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	openai "github.com/sashabaranov/go-openai"

	"github.com/gridloop/gridloop/tools"
)

// floor is what the loop is measured against: the loop that a team writes by hand
// on go-openai when it has no framework. It has no caps, no routes, no traces, no
// checks of arguments and no limits but its steps.
type floor struct {
	client *openai.Client
	model  string
	desk   *desk
	tools  []openai.Tool
	steps  int
}

func newFloor(cfg openai.ClientConfig, d *desk, steps int) *floor {
	f := &floor{client: openai.NewClientWithConfig(cfg), model: "agent-prime", desk: d, steps: steps}
	for _, t := range deskTools(d) {
		f.tools = append(f.tools, openaiTool(t))
	}
	return f
}

func openaiTool(t tools.Tool) openai.Tool {
	return openai.Tool{Type: openai.ToolTypeFunction, Function: &openai.FunctionDefinition{
		Name: t.Name(), Description: t.Description(), Parameters: json.RawMessage(t.Schema()),
	}}
}

// run runs one task; show, if there is one, is given the text as it comes, and makes
// the answers streams.
func (f *floor) run(ctx context.Context, task string, show func(step int, text string)) (string, error) {
	messages := []openai.ChatCompletionMessage{
		{Role: openai.ChatMessageRoleSystem, Content: deskInstructions},
		{Role: openai.ChatMessageRoleUser, Content: task},
	}
	for step := range f.steps {
		//lint:ignore SA1019 it is the field that the market takes
		req := openai.ChatCompletionRequest{Model: f.model, Messages: messages, Tools: f.tools, MaxTokens: 4096}
		m, err := f.ask(ctx, req, step, show)
		if err != nil {
			return "", err
		}
		messages = append(messages, m)
		if len(m.ToolCalls) == 0 {
			return m.Content, nil
		}
		messages = append(messages, f.answer(ctx, m.ToolCalls)...)
	}
	return "", errors.New("too many steps")
}

func (f *floor) ask(ctx context.Context, req openai.ChatCompletionRequest, step int, show func(step int, text string)) (openai.ChatCompletionMessage, error) {
	if show != nil {
		return f.stream(ctx, req, step, show)
	}
	res, err := f.client.CreateChatCompletion(ctx, req)
	if err != nil {
		return openai.ChatCompletionMessage{}, err
	}
	if len(res.Choices) == 0 {
		return openai.ChatCompletionMessage{}, errors.New("no choices")
	}
	return res.Choices[0].Message, nil
}

func (f *floor) stream(ctx context.Context, req openai.ChatCompletionRequest, step int, show func(step int, text string)) (openai.ChatCompletionMessage, error) {
	m := openai.ChatCompletionMessage{Role: openai.ChatMessageRoleAssistant}
	req.StreamOptions = &openai.StreamOptions{IncludeUsage: true}
	stream, err := f.client.CreateChatCompletionStream(ctx, req)
	if err != nil {
		return m, err
	}
	defer stream.Close()
	var text strings.Builder
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			m.Content = text.String()
			return m, nil
		}
		if err != nil {
			return m, err
		}
		if len(chunk.Choices) == 0 {
			continue
		}
		d := chunk.Choices[0].Delta
		if d.Content != "" {
			text.WriteString(d.Content)
			show(step, d.Content)
		}
		for _, c := range d.ToolCalls {
			if c.Index == nil {
				return m, errors.New("a tool call without an index")
			}
			for len(m.ToolCalls) <= *c.Index {
				m.ToolCalls = append(m.ToolCalls, openai.ToolCall{Type: openai.ToolTypeFunction})
			}
			call := &m.ToolCalls[*c.Index]
			call.ID += c.ID
			call.Function.Name += c.Function.Name
			call.Function.Arguments += c.Function.Arguments
		}
	}
}

// answer runs the calls, several of them beside each other.
func (f *floor) answer(ctx context.Context, calls []openai.ToolCall) []openai.ChatCompletionMessage {
	out := make([]openai.ChatCompletionMessage, len(calls))
	one := func(i int) {
		text, err := f.desk.call(ctx, calls[i].Function.Name, calls[i].Function.Arguments)
		if err != nil {
			text = fmt.Sprintf("error: %v", err)
		}
		out[i] = openai.ChatCompletionMessage{Role: openai.ChatMessageRoleTool, ToolCallID: calls[i].ID, Content: text}
	}
	if len(calls) == 1 {
		one(0)
		return out
	}
	var all sync.WaitGroup
	for i := range calls {
		all.Go(func() { one(i) })
	}
	all.Wait()
	return out
}
