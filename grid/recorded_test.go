package grid_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/gridloop/gridloop/grid"
)

// differences are the recordings that are read otherwise than by the plain rules of
// the reference, each with what is changed in the reference's reading and why.
func differences() map[string]func(*reading) {
	// A key that the provider repeats in its message is hidden.
	hidden := func(r *reading) {
		for word := range strings.FieldsSeq(r.Message) {
			if strings.HasPrefix(word, "sk-") {
				r.Message = strings.ReplaceAll(r.Message, word, "[hidden]")
			}
		}
	}
	return map[string]func(*reading){
		"openinference/openai/dspy-test_instrumentor-TestLM.test_exception_event_recorded_on_lm_error.json#0":                                        hidden,
		"openinference/openai/haystack-test_instrumentor-test_async_pipeline_with_chat_prompt_builder_and_chat_generator_produces_expected_s.json#5": hidden,
		"openinference/openai/haystack-test_instrumentor-test_error_status_code_and_exception_events_with_invalid_api_key.json#0":                    hidden,
	}
}

func TestEveryRecordingIsReadWithoutLoss(t *testing.T) {
	differ := differences()
	counts := map[string]int{}
	recordings(t, func(name string, at int, in interaction) {
		id := fmt.Sprintf("%s#%d", name, at)
		counts["all"]++
		stream := isStream(in.Response.Body)
		res, live, err := read(t, in.Response.serve(), stream)
		want := readSlowly(in.Response.Status, in.Response.Body)
		if change := differ[id]; change != nil {
			change(&want)
			delete(differ, id)
		}
		switch {
		case want.Failed || want.Cut:
			counts["errors"]++
			sameError(t, id, in.Response.Status, want, err)
		case err != nil:
			t.Errorf("%s: %v", id, err)
		default:
			counts["answers"]++
			counts["calls"] += len(res.Message.ToolCalls)
			sameReading(t, id, res, want)
			if !stream {
				return
			}
			counts["streams"]++
			if got := live.text.String(); got != res.Message.Text() {
				t.Errorf("%s: watched %q, then %q", id, got, res.Message.Text())
			}
			if got := live.reasoning.String(); got != res.Message.Reasoning() {
				t.Errorf("%s: watched the reasoning %q, then %q", id, got, res.Message.Reasoning())
			}
		}
	})
	for id := range differ {
		t.Errorf("%s is listed as different and is not recorded", id)
	}
	t.Logf("%v", counts)
	if counts["all"] < 2621 || counts["errors"] < 50 || counts["streams"] < 500 {
		t.Errorf("too few were read: %v", counts)
	}
}

// sameReading compares an answer with the reference's reading of its bytes.
func sameReading(t *testing.T, id string, res *grid.Response, want reading) {
	t.Helper()
	m := res.Message
	got := reading{
		ID: res.ID, Model: res.Model, Role: m.Role, Text: m.Text(), Reasoning: m.Reasoning(), Finish: res.FinishReason,
		Extra: values(m.Extra), Parts: plainParts(value(m.Parts)),
	}
	if m.Refusal != nil {
		got.Refusal = *m.Refusal
	}
	if object, ok := want.Parts.(map[string]any); ok {
		if !reflect.DeepEqual(value(json.RawMessage(m.Text())), any(object)) {
			t.Errorf("%s: the text of an object is %q", id, m.Text())
		}
		want.Text = got.Text
	}
	if res.Usage != nil {
		got.Usage, _ = value(res.Usage.Raw).(map[string]any)
		sameUsage(t, id, res.Usage, want.Usage)
	}
	want.Parts = plainParts(want.Parts)
	for i, c := range m.ToolCalls {
		call := readCall{c.ID, c.Type, c.Name, c.Arguments, values(c.Extra)}
		if i < len(want.Calls) {
			w := &want.Calls[i]
			if w.ID == "" || hasCall(want.Calls[:i], w.ID) {
				// Missing or a duplicate: mended, and unlike every other.
				if !strings.HasPrefix(c.ID, "call_") || hasCall(want.Calls[:i], c.ID) {
					t.Errorf("%s: call %d has the id %q", id, i, c.ID)
				}
				w.ID = c.ID
			}
			if w.Type == "" {
				w.Type = "function"
			}
		}
		got.Calls = append(got.Calls, call)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %+v\nwant %+v", id, got, want)
	}
	b, err := grid.EncodeMessage(m)
	if err != nil {
		t.Errorf("%s: encoding: %v", id, err)
	}
	sameWhenSent(t, id, m, b, want)
	back, err := grid.DecodeMessage(b)
	again, _ := grid.EncodeMessage(back)
	if err != nil || !bytes.Equal(again, b) {
		t.Errorf("%s: %s came back as %s (%v)", id, b, again, err)
	}
}

// sameWhenSent checks what goes back next turn: with echo all that the provider wrote
// for itself, else nothing of it.
func sameWhenSent(t *testing.T, id string, m grid.Message, echo []byte, want reading) {
	t.Helper()
	portable, err := grid.EncodeMessage(m.Portable())
	if err != nil {
		t.Errorf("%s: encoding the portable message: %v", id, err)
	}
	back, _ := value(echo).(map[string]any)
	plain, _ := value(portable).(map[string]any)
	for name, v := range want.Extra {
		if !reflect.DeepEqual(back[name], v) {
			t.Errorf("%s: %s goes back as %v, it came as %v", id, name, back[name], v)
		}
	}
	for name := range plain {
		switch name {
		case "role", "content", "tool_calls":
		default:
			t.Errorf("%s: %s is sent to instruments of many models", id, name)
		}
	}
	calls, _ := back["tool_calls"].([]any)
	for i, c := range calls {
		for name, v := range want.Calls[i].Extra {
			if !reflect.DeepEqual(c.(map[string]any)[name], v) {
				t.Errorf("%s: %s of call %d goes back as %v", id, name, i, c)
			}
		}
	}
	calls, _ = plain["tool_calls"].([]any)
	for i, c := range calls {
		if call := c.(map[string]any); len(call) != 3 || call["id"] != m.ToolCalls[i].ID {
			t.Errorf("%s: call %d is sent as %v", id, i, call)
		}
	}
}

func hasCall(calls []readCall, id string) bool {
	for _, c := range calls {
		if c.ID == id {
			return true
		}
	}
	return false
}

func sameUsage(t *testing.T, id string, got *grid.Usage, want map[string]any) {
	t.Helper()
	number := func(path ...string) (int64, bool) {
		var v any = want
		for _, name := range path {
			o, _ := v.(map[string]any)
			v = o[name]
		}
		n, ok := v.(float64)
		return int64(n), ok
	}
	in, _ := number("prompt_tokens")
	out, _ := number("completion_tokens")
	all, _ := number("total_tokens")
	if got.PromptTokens != in || got.CompletionTokens != out || got.TotalTokens != max(all, in+out) {
		t.Errorf("%s: usage %+v of %v", id, got, want)
	}
	cached, ok := number("prompt_tokens_details", "cached_tokens")
	if (got.CachedTokens != nil) != ok || ok && *got.CachedTokens != cached {
		t.Errorf("%s: cached tokens %v of %v", id, got.CachedTokens, want)
	}
	reasoning, ok := number("completion_tokens_details", "reasoning_tokens")
	if (got.ReasoningTokens != nil) != ok || ok && *got.ReasoningTokens != reasoning {
		t.Errorf("%s: reasoning tokens %v of %v", id, got.ReasoningTokens, want)
	}
}

// sameError compares an error with what the provider meant.
func sameError(t *testing.T, id string, status int, want reading, err error) {
	t.Helper()
	var e *grid.Error
	if !errors.As(err, &e) {
		t.Errorf("%s: an error was meant (%q), got %v", id, want.Message, err)
		return
	}
	if want.Cut != errors.Is(err, grid.ErrCut) {
		t.Errorf("%s: cut %v, got %v", id, want.Cut, err)
	}
	if e.Class == "" || e.Status != status {
		t.Errorf("%s: class %q, status %d", id, e.Class, e.Status)
	}
	if strings.HasPrefix(strings.TrimSpace(want.Message), "<") {
		want.Message = "an HTML page"
	}
	message, cut := strings.CutSuffix(e.Message, "...")
	message, words := strings.Join(strings.Fields(message), " "), strings.Join(strings.Fields(want.Message), " ")
	if words != "" && message != words && (!strings.HasPrefix(words, message) || !cut || len(message) < 400) && !strings.HasPrefix(words, "an HTML") {
		t.Errorf("%s: message %q, the provider said %q", id, e.Message, want.Message)
	}
	if words == "" && !want.Cut && e.Message == "" && err.Error() == "" {
		t.Errorf("%s: nothing is said about %v", id, err)
	}
}

func value(raw json.RawMessage) any {
	var v any
	_ = json.Unmarshal(raw, &v)
	return v
}

func values(fields []grid.Field) map[string]any {
	var out map[string]any
	for _, f := range fields {
		if out == nil {
			out = map[string]any{}
		}
		out[f.Name] = value(f.Value)
	}
	return out
}

func TestRecordingsReadTheSameInPieces(t *testing.T) {
	n := 0
	recordings(t, func(name string, at int, in interaction) {
		if n++; len(in.Response.Body) > 20_000 || n%4 != 0 || in.Response.Status != 200 {
			return
		}
		stream := isStream(in.Response.Body)
		whole, _, err := read(t, in.Response.serve(), stream)
		s := in.Response.serve()
		s.cut = 1 + n%7
		pieces, _, err2 := read(t, s, stream)
		if fmt.Sprint(err) != fmt.Sprint(err2) {
			t.Errorf("%s#%d: %v, in pieces of %d bytes %v", name, at, err, s.cut, err2)
		} else if err == nil && (!reflect.DeepEqual(pieces.Message, whole.Message) || pieces.FinishReason != whole.FinishReason || !reflect.DeepEqual(pieces.Usage, whole.Usage)) {
			t.Errorf("%s#%d: pieces of %d bytes read as %+v", name, at, s.cut, pieces)
		}
	})
}
