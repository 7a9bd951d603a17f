package gridtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gridloop/gridloop/grid/gridtest"
)

// chat asks with bare net/http, which follows the redirect by itself.
func chat(t *testing.T, client *http.Client, base, key, body string) (status int, header http.Header, answer string) {
	t.Helper()
	resp := post(t, client, base+"/chat/completions", key, body)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

func post(t *testing.T, client *http.Client, url, key, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// ways are the two ways to a market; every test of the wire takes both.
func ways(t *testing.T, config gridtest.Config, run func(t *testing.T, m *gridtest.Market, client *http.Client, base string)) {
	t.Helper()
	t.Run("loopback server", func(t *testing.T) {
		m := gridtest.New(config)
		defer m.Close()
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		run(t, m, &http.Client{Transport: transport}, m.URL())
	})
	t.Run("in memory", func(t *testing.T) {
		m := gridtest.New(config)
		defer m.Close()
		run(t, m, &http.Client{Transport: m.Transport()}, m.BaseURL())
	})
}

const hello = `{"model":"text-prime","messages":[{"role":"user","content":"Hello?"}]}`

func TestChatTakesTwoHops(t *testing.T) {
	ways(t, gridtest.Config{}, func(t *testing.T, m *gridtest.Market, client *http.Client, base string) {
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			return gridtest.Reply{Text: "You said " + turn.Last().Content}
		})
		noFollow := *client
		noFollow.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		resp := post(t, &noFollow, base+"/chat/completions", m.Key(), hello)
		page, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		location := resp.Header.Get("Location")
		if resp.StatusCode != http.StatusTemporaryRedirect || !strings.HasPrefix(location, strings.TrimSuffix(base, "/v1")+"/r/v1/chat/completions?token=") {
			t.Fatalf("first hop: %d to %q", resp.StatusCode, location)
		}
		if want := `<html><body>You are being <a href="` + location + `">redirected</a>.</body></html>`; string(page) != want {
			t.Errorf("page %q, want %q", page, want)
		}

		second := post(t, &noFollow, location, "", hello)
		body, _ := io.ReadAll(second.Body)
		second.Body.Close()
		var got struct {
			Object, Model string
			Choices       []struct {
				Message      struct{ Role, Content string }
				FinishReason string `json:"finish_reason"`
			}
			Usage struct {
				PromptTokens     int64 `json:"prompt_tokens"`
				CompletionTokens int64 `json:"completion_tokens"`
				TotalTokens      int64 `json:"total_tokens"`
			}
		}
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		if second.StatusCode != 200 || got.Object != "chat.completion" || len(got.Choices) != 1 || got.Choices[0].Message.Content != "You said Hello?" || got.Choices[0].FinishReason != "stop" {
			t.Errorf("second hop without a key: %d %s", second.StatusCode, body)
		}
		if got.Model == "text-prime" || got.Model == "" {
			t.Errorf("model %q, want the one that served", got.Model)
		}
		if p, c := int64(len(hello)+3)/4, int64(4); got.Usage.PromptTokens != p || got.Usage.CompletionTokens != c || got.Usage.TotalTokens != p+c {
			t.Errorf("usage %+v, want %d and %d", got.Usage, p, c)
		}
		id := second.Header.Get("x-grid-request-id")
		cost, ok := m.BillByRequest(id)
		if want := (got.Usage.TotalTokens*600_000_000 + 999_999) / 1_000_000; !ok || cost != want || m.Bill(m.Key()) != want || m.Bill("default") != want {
			t.Errorf("request %q costs %d (%v), bill %d, want %d", id, cost, ok, m.Bill(""), want)
		}

		again := post(t, &noFollow, location, "", hello)
		again.Body.Close()
		if again.StatusCode != http.StatusUnauthorized {
			t.Errorf("the token was good for a second use: %d", again.StatusCode)
		}

		records := m.Requests()
		if len(records) != 3 || records[0].Hop != 1 || records[0].Status != 307 || records[1].Hop != 2 || records[1].Status != 200 || records[1].RequestID != id ||
			!records[1].Billed || records[1].CostNanoUSD != cost || records[1].Conversation == "" || !bytes.Equal(records[1].Body, []byte(hello)) || records[2].Status != 401 {
			t.Errorf("records %+v", records)
		}
		for _, r := range records {
			if r.Header.Get("Authorization") != "" || strings.Contains(r.Path, "token") {
				t.Errorf("a secret is in record %+v", r)
			}
		}
		m.AssertDone(t)
	})
}

func TestStreamHasUsageWhenAskedFor(t *testing.T) {
	ways(t, gridtest.Config{}, func(t *testing.T, m *gridtest.Market, client *http.Client, base string) {
		m.Model(func(gridtest.Turn) gridtest.Reply {
			return gridtest.Reply{Text: "Grüße, 世界", Reasoning: "hm", Calls: []gridtest.ToolCall{gridtest.Call("look", `{"id":42}`)}, Chunks: 5}
		})
		for _, include := range []string{"", `,"stream_options":{"include_usage":true}`} {
			status, header, body := chat(t, client, base, m.Key(), strings.Replace(hello, "{", `{"stream":true`+include+",", 1))
			if status != 200 || !strings.HasPrefix(header.Get("Content-Type"), "text/event-stream") || !strings.HasSuffix(body, "data: [DONE]\n\n") {
				t.Fatalf("%d %v %s", status, header, body)
			}
			if got := strings.Contains(body, `"usage"`); got != (include != "") {
				t.Errorf("usage in the stream: %v, asked for: %v", got, include != "")
			}
			var text, reasoning, args, finish strings.Builder
			for _, event := range strings.Split(strings.TrimSpace(strings.TrimSuffix(body, "data: [DONE]\n\n")), "\n\n") {
				var chunk struct {
					Choices []struct {
						Delta struct {
							Content          string
							ReasoningContent string                                          `json:"reasoning_content"`
							ToolCalls        []struct{ Function struct{ Arguments string } } `json:"tool_calls"`
						}
						FinishReason string `json:"finish_reason"`
					}
				}
				if err := json.Unmarshal([]byte(strings.TrimPrefix(event, "data: ")), &chunk); err != nil {
					t.Fatalf("%v in %q", err, event)
				}
				for _, c := range chunk.Choices {
					text.WriteString(c.Delta.Content)
					reasoning.WriteString(c.Delta.ReasoningContent)
					finish.WriteString(c.FinishReason)
					for _, call := range c.Delta.ToolCalls {
						args.WriteString(call.Function.Arguments)
					}
				}
			}
			if text.String() != "Grüße, 世界" || reasoning.String() != "hm" || args.String() != `{"id":42}` || finish.String() != "tool_calls" {
				t.Errorf("text %q reasoning %q arguments %q finish %q", &text, &reasoning, &args, &finish)
			}
		}
	})
}

func TestTheHandlerServesAnywhere(t *testing.T) {
	m := gridtest.New(gridtest.Config{})
	defer m.Close()
	server := httptest.NewTLSServer(m.Handler())
	defer server.Close()
	if status, _, body := chat(t, server.Client(), server.URL+"/v1", m.Key(), hello); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	m.Close()
	req := httptest.NewRequest(http.MethodGet, "/v1/models", nil)
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("a closed market ended with %v", v)
		}
	}()
	m.Handler().ServeHTTP(httptest.NewRecorder(), req)
	t.Error("a closed market answered")
}

func TestRawAnswersAreSentAsTheyAre(t *testing.T) {
	const events = ": hello\n\ndata: {\"a\":1}\r\n\r\ndata: [DONE]\n\n"
	ways(t, gridtest.Config{}, func(t *testing.T, m *gridtest.Market, client *http.Client, base string) {
		m.Script("raw", nil,
			gridtest.Answer(gridtest.Reply{Raw: &gridtest.RawReply{Status: 429, Header: http.Header{"retry-after-ms": {"5"}}, Body: []byte(`{"error":"slow down"}`)}}),
			gridtest.Answer(gridtest.Reply{Raw: &gridtest.RawReply{Body: []byte(events)}}),
			gridtest.Answer(gridtest.Reply{Raw: &gridtest.RawReply{Header: http.Header{"Content-Type": {"text/event-stream"}}}}),
		)
		status, header, body := chat(t, client, base, m.Key(), hello)
		if status != 429 || header.Get("Retry-After-Ms") != "5" || body != `{"error":"slow down"}` || m.Bill("") != 0 {
			t.Errorf("%d %v %s, bill %d", status, header, body, m.Bill(""))
		}
		m.Fault(gridtest.Fault{Kind: gridtest.CutStream, AfterChunks: 1, CleanEnd: true})
		if _, _, body := chat(t, client, base, m.Key(), hello); body != ": hello\n\n" {
			t.Errorf("cut: %q", body)
		}
		if _, header, body := chat(t, client, base, m.Key(), hello); body != events || header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("%v %q", header, body)
		}
		if status, _, body := chat(t, client, base, m.Key(), hello); status != 200 || body != "" {
			t.Errorf("nothing: %d %q", status, body)
		}
		m.AssertDone(t)
	})
}

func TestTheSameSeedGivesTheSameIds(t *testing.T) {
	ids := func(seed uint64) string {
		m := gridtest.New(gridtest.Config{Seed: seed})
		defer m.Close()
		m.Model(func(gridtest.Turn) gridtest.Reply {
			return gridtest.Reply{Calls: []gridtest.ToolCall{gridtest.Call("f", "{}")}}
		})
		_, header, body := chat(t, &http.Client{Transport: m.Transport()}, m.BaseURL(), m.Key(), hello)
		_, call, _ := strings.Cut(body, `"id":"call_`)
		return m.Key() + m.TradingKey() + header.Get("x-grid-request-id") + call[:24]
	}
	first, again, other := ids(7), ids(7), ids(8)
	if first != again || first == other {
		t.Errorf("%s\n%s\n%s", first, again, other)
	}
}
