package grid_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
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

// An instrument that breaks streams off is asked for whole answers, also by existing
// code, which still reads a stream. Its cuts and those of Chat are counted together.
func TestExistingCodeReadsAStreamOfAnInstrumentThatIsAskedWithoutStreaming(t *testing.T) {
	var bodies []string
	cut := true
	s := market(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(b))
		switch {
		case cut:
			fmt.Fprint(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hel\"}}]}\n\n")
		case strings.Contains(string(b), `"stream":false`):
			fmt.Fprint(w, `{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"hello","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"b","type":"function","function":{"name":"g","arguments":"{}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}`)
		}
	})
	c := client(t, s.URL, nil)
	o := &watch{}
	var notices []grid.NoticeKind
	cfg := openai.DefaultConfig("their-key")
	cfg.BaseURL = s.URL + "/v1"
	cfg.HTTPClient = c.DoerWith(grid.DoerOptions{Observer: o, Notify: func(n grid.Notice) { notices = append(notices, n.Kind) }})
	program := openai.NewClientWithConfig(cfg)
	question := openai.ChatCompletionRequest{Model: "agent-prime", Messages: []openai.ChatCompletionMessage{{Role: "user", Content: "hi"}}, StreamOptions: &openai.StreamOptions{IncludeUsage: true}}
	ask := func() (text string, calls []openai.ToolCall, usage *openai.Usage, err error) {
		stream, err := program.CreateChatCompletionStream(t.Context(), question)
		if err != nil {
			return "", nil, nil, err
		}
		defer stream.Close()
		for {
			chunk, err := stream.Recv()
			if err == io.EOF {
				return text, calls, usage, nil
			}
			if err != nil {
				return text, calls, usage, err
			}
			for _, c := range chunk.Choices {
				text += c.Delta.Content
				calls = append(calls, c.Delta.ToolCalls...)
			}
			if chunk.Usage != nil {
				usage = chunk.Usage
			}
		}
	}
	for range 3 {
		if text, _, _, _ := ask(); text != "hel" {
			t.Errorf("%q", text)
		}
	}
	cut = false
	text, calls, usage, err := ask()
	if err != nil || text != "hello" || len(calls) != 2 || *calls[1].Index != 1 || calls[1].Function.Name != "g" || usage == nil || usage.TotalTokens != 7 {
		t.Errorf("%q, %+v, %+v, %v", text, calls, usage, err)
	}
	if sent := bodies[3]; !strings.Contains(sent, `"stream_options":null`) || !strings.Contains(sent, `"max_tokens":4096`) || !json.Valid([]byte(sent)) {
		t.Errorf("sent %s", sent)
	}
	if len(notices) != 1 || notices[0] != grid.NoticeNoStream || o.attempts[3].Stream || o.verdicts[3].Usage == nil || o.verdicts[2].Class != grid.ClassCut {
		t.Errorf("%v, %+v", notices, o.verdicts)
	}
}

// A reader that leaves is no cut.
func TestAStreamThatExistingCodeLeavesIsNoCut(t *testing.T) {
	var asked []bool
	s := market(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		asked = append(asked, strings.Contains(string(b), `"stream":true`))
		fmt.Fprint(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hel\"}}]}\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c := client(t, s.URL, nil)
	for range 5 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/v1/chat/completions", strings.NewReader(`{"model":"agent-prime","messages":[],"stream":true}`))
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Doer().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := res.Body.Read(make([]byte, 10)); err != nil {
			t.Error(err)
		}
		_ = res.Body.Close()
	}
	if len(asked) != 5 || slices.Contains(asked, false) {
		t.Errorf("asked for streams: %v", asked)
	}
}

// A program may close a stream while it is read: the attempt ends once.
func TestAStreamMayBeClosedWhileItIsRead(t *testing.T) {
	going := make(chan bool)
	s := market(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hel\"}}]}\n\n")
		_ = http.NewResponseController(w).Flush()
		<-going
	})
	defer close(going)
	for range 20 {
		o := &watch{}
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/v1/chat/completions", strings.NewReader(`{"model":"agent-prime","stream":true,"messages":[]}`))
		res, err := client(t, s.URL, nil).DoerWith(grid.DoerOptions{Observer: o}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		began, done := make(chan bool), make(chan error)
		go func() {
			_, _ = io.ReadFull(res.Body, make([]byte, 10))
			close(began)
			_, err := io.Copy(io.Discard, res.Body)
			done <- err
		}()
		<-began
		_ = res.Body.Close()
		if err := <-done; err == nil {
			t.Error("a closed stream ended well")
		}
		if o.ends != 1 || o.verdicts[0].Billed != grid.BilledMaybe {
			t.Errorf("%d ends, verdicts %+v", o.ends, o.verdicts)
		}
	}
}
