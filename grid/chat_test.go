package grid_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gridloop/gridloop/grid"
)

const answerJSON = `{"id":"a1","object":"chat.completion","model":"openai/gpt-oss-120b","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}`

// market answers hop 1 with a redirect to hop 2 on the same host.
func market(t testing.TB, supplier http.HandlerFunc) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Location", "/r/v1/chat/completions?token=sesame-open")
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("POST /r/v1/chat/completions", supplier)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func client(t testing.TB, url string, change func(*grid.Config)) *grid.Client {
	t.Helper()
	cfg := grid.Config{APIKey: "consumption-key-1", BaseURL: url + "/v1"}
	if change != nil {
		change(&cfg)
	}
	c, err := grid.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func ask(text string) *grid.Request {
	return &grid.Request{Instrument: "agent-prime", Messages: []grid.Message{grid.UserMessage(text)}}
}

type watch struct {
	begins, ends int
	attempts     []grid.Attempt
	verdicts     []grid.Verdict
	begin        func(*grid.Attempt) error
}

func (w *watch) Begin(ctx context.Context, a *grid.Attempt) (context.Context, error) {
	if w.begin != nil {
		if err := w.begin(a); err != nil {
			return nil, err
		}
	}
	w.begins++
	return ctx, nil
}

func (w *watch) End(_ context.Context, a *grid.Attempt, v grid.Verdict) {
	w.ends++
	w.attempts = append(w.attempts, *a)
	w.verdicts = append(w.verdicts, v)
}

func TestAnswerComesThroughTheRedirect(t *testing.T) {
	var body string
	s := market(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		body = string(b)
		w.Header().Set("X-Grid-Request-Id", "req-7")
		fmt.Fprint(w, answerJSON)
	})
	o := &watch{begin: func(a *grid.Attempt) error { a.MaxTokens = 77; return nil }}
	req := ask("hi")
	req.Observer = o
	res, err := client(t, s.URL, nil).Chat(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if res.Message.Text() != "hello" || res.RequestID != "req-7" || res.Model != "openai/gpt-oss-120b" || res.Attempts != 1 || res.Usage.TotalTokens != 4 {
		t.Errorf("got %+v", res)
	}
	const want = `{"model":"agent-prime","messages":[{"role":"user","content":"hi"}],"max_tokens":77}`
	if body != want {
		t.Errorf("sent %s\nwant %s", body, want)
	}
	if o.begins != 1 || o.ends != 1 || o.attempts[0].MessageBytes != len(want)-2 {
		t.Errorf("observed %+v, %d bytes without the digits", o, len(want)-2)
	}
	if v := o.verdicts[0]; v.Billed != grid.BilledYes || v.Hops != 2 || v.Status != 200 || v.Usage == nil || v.Class != "" {
		t.Errorf("verdict %+v", v)
	}
}

func TestRefusedAttemptSendsNothing(t *testing.T) {
	refusal := errors.New("cap reached")
	s := market(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") })
	req := ask("hi")
	o := &watch{begin: func(*grid.Attempt) error { return refusal }}
	req.Observer = o
	_, err := client(t, s.URL, nil).Chat(t.Context(), req)
	if !errors.Is(err, refusal) || o.ends != 0 {
		t.Errorf("err %v, %d ends", err, o.ends)
	}
}
