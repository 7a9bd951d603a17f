package gridtest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	openai "github.com/sashabaranov/go-openai"

	"github.com/gridloop/gridloop/grid/gridtest"
)

func goOpenAI(m *gridtest.Market, client *http.Client, base string) *openai.Client {
	config := openai.DefaultConfig(m.Key())
	config.BaseURL, config.HTTPClient = base, client
	return openai.NewClientWithConfig(config)
}

func TestGoOpenAIRunsAToolLoop(t *testing.T) {
	ways(t, gridtest.Config{}, func(t *testing.T, m *gridtest.Market, client *http.Client, base string) {
		script := m.Script("order desk", nil,
			gridtest.CallTools(gridtest.Call("lookup_order", `{"id":42}`), gridtest.Call("lookup_order", `{"id":43}`)).
				Expect(func(turn gridtest.Turn) error {
					if !slices.Equal(turn.Tools, []string{"lookup_order"}) || turn.N != 0 || turn.Stream {
						return errors.New("the first turn is not as expected")
					}
					return nil
				}),
			gridtest.Say("Both are late.").Expect(func(turn gridtest.Turn) error {
				if turn.Last().Role != "tool" || turn.Last().Content != "late" || turn.N != 1 || len(turn.Messages[1].ToolCalls) != 2 {
					return errors.New("the second turn is not as expected")
				}
				return nil
			}),
		)
		c := goOpenAI(m, client, base)
		request := openai.ChatCompletionRequest{
			Model:    "agent-prime",
			Messages: []openai.ChatCompletionMessage{{Role: "user", Content: "Where are 42 and 43?"}},
			Tools: []openai.Tool{{Type: openai.ToolTypeFunction, Function: &openai.FunctionDefinition{
				Name: "lookup_order", Parameters: map[string]any{"type": "object", "properties": map[string]any{"id": map[string]any{"type": "integer"}}}}}},
		}
		first, err := c.CreateChatCompletion(context.Background(), request)
		if err != nil {
			t.Fatal(err)
		}
		calls := first.Choices[0].Message.ToolCalls
		if len(calls) != 2 || calls[0].ID == "" || calls[0].ID == calls[1].ID || calls[1].Function.Arguments != `{"id":43}` || first.Choices[0].FinishReason != openai.FinishReasonToolCalls {
			t.Fatalf("calls %+v", first.Choices[0])
		}
		request.Messages = append(request.Messages, first.Choices[0].Message)
		for _, call := range calls {
			request.Messages = append(request.Messages, openai.ChatCompletionMessage{Role: "tool", Content: "late", ToolCallID: call.ID})
		}
		if err := script.Done(); err == nil || !strings.Contains(err.Error(), "stopped after turn 1 of 2") {
			t.Errorf("half a script is done: %v", err)
		}
		second, err := c.CreateChatCompletion(context.Background(), request)
		if err != nil || second.Choices[0].Message.Content != "Both are late." {
			t.Fatalf("%+v, %v", second, err)
		}
		if second.Header().Get("x-grid-request-id") == "" {
			t.Error("no x-grid-request-id")
		}
		m.AssertDone(t)
	})
}

func TestGoOpenAIReadsTheStream(t *testing.T) {
	ways(t, gridtest.Config{}, func(t *testing.T, m *gridtest.Market, client *http.Client, base string) {
		long := strings.Repeat("all work and no play ", 40)
		m.Model(func(gridtest.Turn) gridtest.Reply {
			return gridtest.Reply{Text: long, Calls: []gridtest.ToolCall{{ID: "mine", Name: "rest", Arguments: `{"for":"a while, or two"}`}}}
		})
		stream, err := goOpenAI(m, client, base).CreateChatCompletionStream(context.Background(), openai.ChatCompletionRequest{
			Model: "text-max", Messages: []openai.ChatCompletionMessage{{Role: "user", Content: "Go on."}},
			StreamOptions: &openai.StreamOptions{IncludeUsage: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		var text, arguments, id strings.Builder
		var usage *openai.Usage
		for {
			chunk, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if chunk.Usage != nil {
				usage = chunk.Usage
			}
			for _, choice := range chunk.Choices {
				text.WriteString(choice.Delta.Content)
				for _, call := range choice.Delta.ToolCalls {
					id.WriteString(call.ID)
					arguments.WriteString(call.Function.Arguments)
				}
			}
		}
		if text.String() != long || id.String() != "mine" || arguments.String() != `{"for":"a while, or two"}` {
			t.Errorf("text %q, id %q, arguments %q", &text, &id, &arguments)
		}
		if usage == nil || int64(usage.CompletionTokens) != m.Requests()[1].CompletionTokens || int64(usage.PromptTokens) != m.Requests()[1].PromptTokens {
			t.Errorf("usage %+v, record %+v", usage, m.Requests()[1])
		}
	})
}
