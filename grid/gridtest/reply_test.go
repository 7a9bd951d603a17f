package gridtest

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAnswersAreCutAtTheLimit(t *testing.T) {
	for _, row := range []struct {
		name           string
		reply          Reply
		limit          int64
		wantText       string
		wantArgs       []string
		wantFinish     string
		wantTokens     int64
		wantReasonings int64
	}{
		{"short enough", Reply{Text: "abcd"}, 1, "abcd", nil, "stop", 1, 0},
		{"nothing is a token too", Reply{}, 10, "", nil, "stop", 1, 0},
		{"text cut", Reply{Text: "abcdefgh"}, 1, "abcd", nil, "length", 1, 0},
		{"never half a rune", Reply{Text: "abcéfgh"}, 1, "abc", nil, "length", 1, 0},
		{"reasoning eats the limit", Reply{Reasoning: "abcdefgh", Text: "ijkl"}, 2, "", nil, "length", 2, 2},
		{"arguments cut", Reply{Calls: []ToolCall{{Name: "f", Arguments: `{"a":1}`}}}, 1, "", []string{`{"a`}, "length", 1, 0},
		{"a call that has no room", Reply{Text: "abc", Calls: []ToolCall{{Name: "look", Arguments: `{}`}}}, 1, "abc", nil, "length", 1, 0},
		{"calls that have room", Reply{Calls: []ToolCall{{Name: "look", Arguments: `{}`}}}, 2, "", []string{`{}`}, "tool_calls", 2, 0},
		{"another finish reason", Reply{Text: "abcdefgh", FinishReason: "stop"}, 1, "abcd", nil, "stop", 1, 0},
		{"an override may exceed it", Reply{Text: "abcdefgh", CompletionTokens: 99}, 1, "abcdefgh", nil, "stop", 99, 0},
		{"an override of none", Reply{Text: "abcdefgh", CompletionTokens: -1}, 1, "abcdefgh", nil, "stop", 0, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := row.reply
			reasoning := r.settle(400, row.limit)
			var args []string
			for _, c := range r.Calls {
				args = append(args, c.Arguments)
			}
			if r.Text != row.wantText || strings.Join(args, " ") != strings.Join(row.wantArgs, " ") || r.finish() != row.wantFinish ||
				r.CompletionTokens != row.wantTokens || reasoning != row.wantReasonings || r.PromptTokens != 100 {
				t.Errorf("%+v, finish %s, %d reasoning tokens", r, r.finish(), reasoning)
			}
		})
	}
}

func TestPiecesJoinToTheWhole(t *testing.T) {
	for _, s := range []string{"", "a", "世界世界世界", strings.Repeat("é", 1000), "\xff\xfe\x80\x80\x80\x80"} {
		for _, n := range []int{0, 1, 2, 3, 100} {
			all := pieces(s, n)
			if strings.Join(all, "") != s {
				t.Errorf("%q in %d: %q", s, n, all)
			}
			for _, p := range all {
				if p == "" || utf8.ValidString(s) && !utf8.ValidString(p) {
					t.Errorf("%q in %d has the piece %q", s, n, p)
				}
			}
			if n > 0 && n < 3 && len(all) > n && utf8.ValidString(s) {
				t.Errorf("%q in %d pieces has %d", s, n, len(all))
			}
		}
	}
}

func TestRawAnswersAreBilledByTheirOwnUsage(t *testing.T) {
	for _, row := range []struct {
		name, body         string
		prompt, completion int64
		contentType        string
	}{
		{"JSON", ` {"usage":{"prompt_tokens":7,"completion_tokens":9}}`, 7, 9, "application/json"},
		{"JSON without usage", `{"choices":[]}`, 100, 4, "application/json"},
		{"the last usage of a stream", "data: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\ndata:{\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":9}}\r\n\r\ndata: {\"usage\":null}\n\ndata: [DONE]\n\n", 7, 9, "text/event-stream"},
		{"a stream without usage", ": hi\n\ndata: {}\n\n", 100, 4, "text/event-stream"},
		{"negative usage", `{"usage":{"prompt_tokens":-7,"completion_tokens":-9}}`, 0, 0, "application/json"},
		{"HTML", `<html>`, 100, 2, "text/html; charset=utf-8"},
		{"nothing", ``, 100, 1, "application/json"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := Reply{Raw: &RawReply{Body: []byte(row.body)}}
			r.settle(400, 1000)
			if r.PromptTokens != row.prompt || r.CompletionTokens != row.completion {
				t.Errorf("%d and %d tokens, want %d and %d", r.PromptTokens, r.CompletionTokens, row.prompt, row.completion)
			}
			if got := r.Raw.contentType(); got != row.contentType {
				t.Errorf("type %s, want %s", got, row.contentType)
			}
			var joined strings.Builder
			for _, p := range rawEvents(r.Raw.Body) {
				joined.Write(p)
			}
			if joined.String() != row.body {
				t.Errorf("events join to %q", joined.String())
			}
		})
	}
}

func FuzzDecodeTurn(f *testing.F) {
	f.Add([]byte(`{"model":"text-prime","messages":[{"role":"user","content":"x"}],"tools":[{"function":{"name":"f"}}]}`))
	f.Add([]byte(`{"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"a","function":{"name":"f","arguments":{}}}]},{"role":"tool","tool_call_id":"a","content":[{"text":"x"}]}]}`))
	f.Add([]byte(`{"stop":["a"],"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{}}},"max_tokens":5,"n":null}`))
	f.Add([]byte(`[{}]`))
	in := Nine()[0].withDefaults()
	f.Fuzz(func(t *testing.T, body []byte) {
		turn, w, no := decodeTurn(body)
		if (no == nil) != (w != nil) || no != nil && (no.status < 400 || no.detail == "") {
			t.Fatalf("%v and %v", no, w)
		}
		if no != nil {
			return
		}
		if no := w.check(turn, in, len(body)); no != nil {
			if no.status != 422 {
				t.Fatalf("check: %v", no)
			}
			return
		}
		if limit := w.limit(in); limit < 1 || limit > in.MaxOutput {
			t.Fatalf("limit %d", limit)
		}
		checkTranscript(turn.Messages)
		again, _, _ := decodeTurn(body)
		if again.Conversation != turn.Conversation || again.sum != turn.sum {
			t.Fatal("the same body is another conversation")
		}
	})
}

func FuzzRawUsage(f *testing.F) {
	f.Add([]byte("data: {\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":9}}\r\n\r\n"))
	f.Add([]byte(`{"usage":{"prompt_tokens":-1}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r := Reply{Raw: &RawReply{Body: body}}
		r.settle(10, 10)
		if r.PromptTokens < 0 || r.CompletionTokens < 0 {
			t.Fatalf("%d and %d tokens", r.PromptTokens, r.CompletionTokens)
		}
	})
}
