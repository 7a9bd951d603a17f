package grid_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	openai "github.com/sashabaranov/go-openai"

	"github.com/gridloop/gridloop/grid"
)

func TestExistingGoOpenAICodeWorksThroughDoer(t *testing.T) {
	var n atomic.Int32
	s := market(t, func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		_ = json.NewDecoder(r.Body).Decode(&body)
		if body["max_tokens"] != float64(50) {
			t.Errorf("sent %v", body)
		}
		if n.Add(1)%2 == 1 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		if body["stream"] == true {
			fmt.Fprint(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hel\"}}]}\n\n", "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo\"},\"finish_reason\":\"stop\"}]}\n\n",
				"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,\"total_tokens\":7}}\n\n", "data: [DONE]\n\n")
			return
		}
		fmt.Fprint(w, answerJSON)
	})
	o := &watch{begin: func(a *grid.Attempt) error { a.MaxTokens = 50; return nil }}
	c := client(t, s.URL, func(cfg *grid.Config) { cfg.Retry.Base = time.Millisecond })
	cfg := openai.DefaultConfig("their-key")
	cfg.BaseURL = s.URL + "/v1"
	cfg.HTTPClient = c.DoerWith(grid.DoerOptions{Observer: o})
	program := openai.NewClientWithConfig(cfg)
	question := openai.ChatCompletionRequest{Model: "agent-prime", Messages: []openai.ChatCompletionMessage{{Role: "user", Content: "hi"}}}
	res, err := program.CreateChatCompletion(t.Context(), question)
	if err != nil || res.Choices[0].Message.Content != "hello" {
		t.Fatalf("%+v, %v", res, err)
	}
	//lint:ignore SA1019 programs that are there send max_tokens
	question.MaxTokens = 60
	stream, err := program.CreateChatCompletionStream(t.Context(), question)
	if err != nil {
		t.Fatal(err)
	}
	var text string
	for {
		chunk, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(chunk.Choices) > 0 {
			text += chunk.Choices[0].Delta.Content
		}
	}
	_ = stream.Close()
	if text != "hello" || o.begins != 4 || o.ends != 4 || n.Load() != 4 {
		t.Errorf("%q, %d begins, %d ends, %d requests", text, o.begins, o.ends, n.Load())
	}
	for i, tokens := range []int64{0, 4, 0, 7} {
		v := o.verdicts[i]
		if (v.Billed == grid.BilledYes) != (tokens > 0) || tokens > 0 && (v.Usage == nil || v.Usage.TotalTokens != tokens) {
			t.Errorf("attempt %d: %+v", i, v)
		}
	}
	if o.attempts[0].Instrument != "agent-prime" || !o.attempts[2].Stream {
		t.Errorf("attempts %+v", o.attempts)
	}
}

func TestDoerHandsOverTheLastFailure(t *testing.T) {
	s := market(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(422)
		fmt.Fprint(w, `{"error":{"message":"temperature","type":"invalid"}}`)
	})
	c := client(t, s.URL, nil)
	cfg := openai.DefaultConfig("their-key")
	cfg.BaseURL, cfg.HTTPClient = s.URL+"/v1", c.Doer()
	_, err := openai.NewClientWithConfig(cfg).CreateChatCompletion(t.Context(), openai.ChatCompletionRequest{Model: "m"})
	var api *openai.APIError
	if !errors.As(err, &api) || api.HTTPStatusCode != 422 || api.Message != "temperature" {
		t.Errorf("%v", err)
	}
}
