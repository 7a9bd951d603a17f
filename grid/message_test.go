package grid_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"reflect"
	"strings"
	"testing"

	openai "github.com/sashabaranov/go-openai"

	"github.com/gridloop/gridloop/grid"
)

func TestEncodedMessages(t *testing.T) {
	text, empty := "a\"<b>\n", ""
	for _, row := range []struct {
		name string
		m    grid.Message
		want string
	}{
		{"system", grid.SystemMessage("x"), `{"role":"system","content":"x"}`},
		{"escapes", grid.Message{Role: "user", Content: &text, Name: "ann"}, `{"role":"user","content":"a\"<b>\n","name":"ann"}`},
		{"tool", grid.ToolMessage("c1", ""), `{"role":"tool","content":"","tool_call_id":"c1"}`},
		{"calls", grid.Message{Role: "assistant", ToolCalls: []grid.ToolCall{{ID: "a", Name: "f", Arguments: "{"}, {ID: "b", Type: "custom", Name: "g", Arguments: "x", Extra: []grid.Field{{Name: "extra_content", Value: json.RawMessage(`{ "s" : 1 }`)}}}}},
			`{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{"}},{"id":"b","type":"custom","custom":{"name":"g","input":"x"},"extra_content":{"s":1}}]}`},
		{"parts and extra", grid.Message{Role: "user", Parts: json.RawMessage(` [ {"type":"text"} ] `), Extra: []grid.Field{{Name: "z", Value: json.RawMessage("1")}, {Name: "a", Value: json.RawMessage(`" b"`)}}},
			`{"role":"user","content":[{"type":"text"}],"z":1,"a":" b"}`},
		{"refusal", grid.Message{Role: "assistant", Content: &empty, Refusal: &text}, `{"role":"assistant","content":"","refusal":"a\"<b>\n"}`},
	} {
		b, err := grid.EncodeMessage(row.m)
		if err != nil || string(b) != row.want {
			t.Errorf("%s: %s (%v)\nwant %s", row.name, b, err, row.want)
		}
	}
	for name, m := range map[string]grid.Message{
		"no role":       {},
		"broken parts":  {Role: "user", Parts: json.RawMessage(`[`)},
		"broken extra":  {Role: "user", Extra: []grid.Field{{Name: "a", Value: nil}}},
		"known extra":   {Role: "user", Extra: []grid.Field{{Name: "content", Value: json.RawMessage("1")}}},
		"doubled extra": {Role: "user", Extra: []grid.Field{{Name: "a", Value: json.RawMessage("1")}, {Name: "a", Value: json.RawMessage("2")}}},
		"two contents":  {Role: "user", Content: &text, Parts: json.RawMessage(`[]`)},
	} {
		if b, err := grid.EncodeMessage(m); err == nil {
			t.Errorf("%s: %s", name, b)
		}
	}
	for _, bad := range []string{"", "[]", `{"role":"user"`, `{"role":"user"} x`, "null"} {
		if m, err := grid.DecodeMessage([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, m)
		}
	}
}

func TestPortableMessageLeavesOutWhatIsPrivate(t *testing.T) {
	m, err := grid.DecodeMessage([]byte(`{"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"yes"}],"reasoning_content":"r","annotations":[],"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":""},"extra_content":{"g":1}},{"id":"b","type":"function","function":{"name":"f","arguments":""}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	b, err := grid.EncodeMessage(m.Portable())
	const want = `{"role":"assistant","content":"yes","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"b","type":"function","function":{"name":"f","arguments":"{}"}}]}`
	if err != nil || string(b) != want {
		t.Errorf("%s\nwant %s", b, want)
	}
	if len(m.ToolCalls[0].Extra) != 1 || m.Field("reasoning_content") == nil {
		t.Errorf("the message itself was changed: %+v", m)
	}
	silent := grid.Message{Role: "assistant"}
	if b, _ := grid.EncodeMessage(silent.Portable()); string(b) != `{"role":"assistant","content":""}` {
		t.Errorf("%s", b)
	}
	user := grid.Message{Role: "user", Extra: []grid.Field{{Name: "cache_control", Value: json.RawMessage("{}")}}}
	if !reflect.DeepEqual(user.Portable(), user) {
		t.Error("a user's own fields were dropped")
	}
}

func TestMessagesOfRecordedRequestsKeepTheirMeaning(t *testing.T) {
	n := 0
	// null is absent, and a call's index is its place.
	var plain func(v any) any
	plain = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				if e == nil && k != "content" {
					delete(v, k)
				} else {
					v[k] = plain(e)
				}
			}
		case []any:
			for i := range v {
				v[i] = plain(v[i])
			}
		}
		return v
	}
	recordings(t, func(name string, at int, in interaction) {
		var req struct {
			Messages []json.RawMessage `json:"messages"`
		}
		if json.Unmarshal([]byte(in.Request.Body), &req) != nil {
			return
		}
		for i, raw := range req.Messages {
			m, err := grid.DecodeMessage(raw)
			if err != nil {
				t.Errorf("%s#%d.%d: %v", name, at, i, err)
				continue
			}
			b, err := grid.EncodeMessage(m)
			var want, got map[string]any
			if err != nil || json.Unmarshal(raw, &want) != nil || json.Unmarshal(b, &got) != nil {
				t.Errorf("%s#%d.%d: %v", name, at, i, err)
				continue
			}
			if _, ok := want["content"]; !ok {
				want["content"] = nil
			}
			if calls, ok := want["tool_calls"].([]any); ok {
				if len(calls) == 0 {
					delete(want, "tool_calls")
				}
				for _, c := range calls {
					call := c.(map[string]any)
					delete(call, "index")
					if f, ok := call["function"].(map[string]any); ok && f["arguments"] == nil {
						f["arguments"] = ""
					}
					if call["type"] == nil {
						call["type"] = "function"
					}
				}
			}
			if !reflect.DeepEqual(plain(got), plain(want)) {
				t.Errorf("%s#%d.%d:\n got %s\nwant %s", name, at, i, b, raw)
			}
			n++
		}
	})
	if n < 3000 {
		t.Errorf("only %d messages", n)
	}
}

func TestGoOpenAIValuesComeAndGo(t *testing.T) {
	for _, m := range []openai.ChatCompletionMessage{
		{Role: "user", Content: "hi", Name: "ann"},
		{Role: "user", MultiContent: []openai.ChatMessagePart{{Type: "text", Text: "a"}, {Type: "image_url", ImageURL: &openai.ChatMessageImageURL{URL: "u"}}}},
		{Role: "assistant", ReasoningContent: "r", ToolCalls: []openai.ToolCall{{ID: "a", Type: "function", Function: openai.FunctionCall{Name: "f", Arguments: "{}"}}}},
		{Role: "assistant", Refusal: "no", FunctionCall: &openai.FunctionCall{Name: "f", Arguments: "{}"}},
		{Role: "tool", ToolCallID: "a", Content: ""},
	} {
		ours := grid.FromOpenAI(m)
		if back := ours.OpenAI(); !reflect.DeepEqual(back, m) {
			t.Errorf("%+v came back as %+v", m, back)
		}
		b, err := grid.EncodeMessage(ours)
		again, err2 := grid.DecodeMessage(b)
		if err != nil || err2 != nil || !reflect.DeepEqual(again.OpenAI(), m) {
			t.Errorf("%s: %v %v", b, err, err2)
		}
	}
	cached := int64(3)
	u := grid.Usage{PromptTokens: 5, CompletionTokens: 2, TotalTokens: 7, CachedTokens: &cached}.OpenAI()
	if u.TotalTokens != 7 || u.PromptTokensDetails.CachedTokens != 3 || u.CompletionTokensDetails != nil {
		t.Errorf("%+v", u)
	}
}

// bodyOf returns what Chat sends for a request.
func bodyOf(t *testing.T, req *grid.Request) (string, error) {
	t.Helper()
	var body string
	c := client(t, "https://market.test", func(cfg *grid.Config) {
		cfg.HTTPClient = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			b, _ := io.ReadAll(r.Body)
			body = string(b)
			if int64(len(b)) != r.ContentLength {
				t.Errorf("%d bytes, announced %d", len(b), r.ContentLength)
			}
			return served200(answerJSON).RoundTrip(r)
		})}
	})
	_, err := c.Chat(t.Context(), req)
	return body, err
}

func TestEveryParameterCanBeSentZeroIncluded(t *testing.T) {
	tools, err := grid.NewToolList([]grid.ToolDef{{Name: "f", Description: "d", Schema: json.RawMessage(`{ "type" : "object" }`), Strict: true}, {Name: "g"}})
	if err != nil {
		t.Fatal(err)
	}
	talk := grid.NewTranscript()
	if err := talk.Append(grid.SystemMessage("s"), grid.UserMessage("u")); err != nil {
		t.Fatal(err)
	}
	encoded, _ := grid.EncodeMessage(grid.UserMessage("v"))
	talk.AppendEncoded(encoded)
	if talk.Len() != 3 || tools.Len() != 2 || tools.Bytes() == 0 {
		t.Errorf("%d messages, %d tools", talk.Len(), tools.Len())
	}
	req := &grid.Request{Instrument: "text-standard", Transcript: talk, Tools: tools, Stream: true, MaxTokens: 1 << 20, Params: grid.Params{
		Temperature: ptr(0.0), TopP: ptr(0.25), FrequencyPenalty: ptr(0.0), PresencePenalty: ptr(-1.5), Seed: ptr(int64(0)), Stop: []string{"a\n"},
		ToolChoice: json.RawMessage(`"auto"`), ResponseFormat: json.RawMessage(`{"type": "json_object"}`), ParallelToolCalls: ptr(false), LogProbs: ptr(false), TopLogProbs: ptr(0),
		ReasoningEffort: ptr("low"), Verbosity: ptr("low"), ServiceTier: ptr("auto"), Store: ptr(false), User: ptr(""), SafetyIdentifier: ptr("s"), PromptCacheKey: ptr("k"), PromptCacheRetention: ptr("24h"),
		Extra: map[string]json.RawMessage{"route": json.RawMessage(`"fallback"`), "provider": json.RawMessage(`{}`)},
	}}
	body, err := bodyOf(t, req)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"model":"text-standard","messages":[{"role":"system","content":"s"},{"role":"user","content":"u"},{"role":"user","content":"v"}],` +
		`"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"},"strict":true}},{"type":"function","function":{"name":"g","parameters":{"type":"object","properties":{}}}}],` +
		`"temperature":0,"top_p":0.25,"frequency_penalty":0,"presence_penalty":-1.5,"seed":0,"stop":["a\n"],"tool_choice":"auto","response_format":{"type":"json_object"},"parallel_tool_calls":false,"logprobs":false,"top_logprobs":0,` +
		`"reasoning_effort":"low","verbosity":"low","service_tier":"auto","store":false,"user":"","safety_identifier":"s","prompt_cache_key":"k","prompt_cache_retention":"24h","provider":{},"route":"fallback",` +
		`"stream":true,"stream_options":{"include_usage":true},"max_tokens":65536}`
	if body != want {
		t.Errorf("sent %s\nwant %s", body, want)
	}
}

func TestRequestsThatAreRefusedBeforeSending(t *testing.T) {
	long := grid.UserMessage(strings.Repeat("long ", 200_000))
	for name, req := range map[string]*grid.Request{
		"no instrument":  {Messages: []grid.Message{grid.UserMessage("a")}},
		"no messages":    {Instrument: "a"},
		"both":           {Instrument: "a", Messages: []grid.Message{grid.UserMessage("a")}, Transcript: grid.NewTranscript()},
		"negative":       {Instrument: "a", Messages: []grid.Message{grid.UserMessage("a")}, MaxTokens: -1},
		"not a number":   {Instrument: "a", Messages: []grid.Message{grid.UserMessage("a")}, Params: grid.Params{TopP: ptr(math.NaN())}},
		"broken raw":     {Instrument: "a", Messages: []grid.Message{grid.UserMessage("a")}, Params: grid.Params{ToolChoice: json.RawMessage("{")}},
		"reserved extra": {Instrument: "a", Messages: []grid.Message{grid.UserMessage("a")}, Params: grid.Params{Extra: map[string]json.RawMessage{"n": json.RawMessage("2")}}},
		"too long":       {Instrument: "text-prime", Messages: []grid.Message{long}},
	} {
		body, err := bodyOf(t, req)
		if err == nil || body != "" || strings.Contains(fmt.Sprint(err), "long long") {
			t.Errorf("%s: sent %.80s, %v", name, body, err)
		}
	}
}

func TestToolListNamesEveryMistake(t *testing.T) {
	_, err := grid.NewToolList([]grid.ToolDef{{Name: "a b"}, {Name: "c"}, {Name: "c"}, {Name: "d", Schema: json.RawMessage("[]")}, {Name: "e", Schema: json.RawMessage("{")}})
	for _, part := range []string{`"a b"`, `"c" is declared twice`, `"d" is not a JSON object`, `"e" is not a JSON object`} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %v", part, err)
		}
	}
}

func TestTranscriptGrowsWithoutTouchingWhatWasSent(t *testing.T) {
	talk := grid.NewTranscript()
	if err := talk.Append(grid.UserMessage("first")); err != nil {
		t.Fatal(err)
	}
	var bodies []io.ReadCloser
	c := client(t, "https://market.test", func(cfg *grid.Config) {
		cfg.HTTPClient = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			again, err := r.GetBody()
			if err != nil {
				return nil, err
			}
			bodies = append(bodies, again)
			return served200(answerJSON).RoundTrip(r)
		})}
	})
	for i := range 50 {
		if _, err := c.Chat(t.Context(), &grid.Request{Instrument: "a", Transcript: talk}); err != nil {
			t.Fatal(err)
		}
		if err := talk.Append(grid.UserMessage(fmt.Sprint("message ", i))); err != nil {
			t.Fatal(err)
		}
		before := talk.Bytes()
		if err := talk.Append(grid.UserMessage("x"), grid.Message{}); err == nil || talk.Bytes() != before || talk.Len() != i+2 {
			t.Fatalf("a failed Append left %d messages, %d bytes (%v)", talk.Len(), talk.Bytes(), err)
		}
	}
	for i, body := range bodies {
		b, _ := io.ReadAll(body)
		var sent struct{ Messages []struct{ Content string } }
		if err := json.Unmarshal(b, &sent); err != nil || len(sent.Messages) != i+1 || sent.Messages[0].Content != "first" {
			t.Fatalf("body %d: %d messages, %v", i, len(sent.Messages), err)
		}
	}
}
