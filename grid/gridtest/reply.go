package gridtest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"
	"unicode/utf8"
)

// A Reply is what a model answers. The zero Reply is an answer without text.
type Reply struct {
	Text      string
	Calls     []ToolCall
	Reasoning string // sent as reasoning_content

	// FinishReason overrides what follows from the rest: "tool_calls" with
	// Calls, "length" when the request's limit cut the answer, else "stop".
	FinishReason string

	// PromptTokens and CompletionTokens override the count; a negative number
	// is none. Zero: a token for every four bytes begun, of the request body,
	// and of reasoning, text, call names and arguments. A counted answer is cut at the request's limit; an
	// overridden one may exceed it, as a provider that breaks its word.
	PromptTokens, CompletionTokens int64

	// Raw, if set, is sent as it is instead of Text, Calls and Reasoning.
	Raw *RawReply

	Delay      time.Duration // before the first byte
	DeltaDelay time.Duration // before each further chunk of a stream

	// Chunks is how many pieces the text of a stream is sent in. Zero: a piece
	// for every 16 bytes, at most 64.
	Chunks int
}

// A RawReply is an answer sent as it is, recorded traffic for example. Its bill
// follows the usage that the body itself reports; without one, tokens are
// counted. A status of 400 or above is not billed.
type RawReply struct {
	Status int         // zero: 200
	Header http.Header // Content-Type zero: by the look of the body
	Body   []byte
}

func (r *RawReply) contentType() string {
	if v := r.Header.Get("Content-Type"); v != "" {
		return v
	}
	body := bytes.TrimSpace(r.Body)
	switch {
	case bytes.HasPrefix(body, []byte("data:")) || bytes.HasPrefix(body, []byte(":")) || bytes.HasPrefix(body, []byte("event:")):
		return "text/event-stream"
	case bytes.HasPrefix(body, []byte("<")):
		return "text/html; charset=utf-8"
	}
	return "application/json"
}

// usage is the last one that the body reports, in JSON or in any of its events.
func (r *RawReply) usage() (prompt, completion int64, ok bool) {
	var found struct {
		Usage *struct {
			PromptTokens     int64 `json:"prompt_tokens"`
			CompletionTokens int64 `json:"completion_tokens"`
		} `json:"usage"`
	}
	if json.Unmarshal(r.Body, &found) == nil && found.Usage != nil {
		return found.Usage.PromptTokens, found.Usage.CompletionTokens, true
	}
	for line := range bytes.Lines(r.Body) {
		event, is := bytes.CutPrefix(bytes.TrimSpace(line), []byte("data:"))
		found.Usage = nil
		if is && json.Unmarshal(event, &found) == nil && found.Usage != nil {
			prompt, completion, ok = found.Usage.PromptTokens, found.Usage.CompletionTokens, true
		}
	}
	return prompt, completion, ok
}

// countTokens is the market's tokenizer: never more tokens than bytes.
func countTokens(bytes int) int64 { return (int64(bytes) + 3) / 4 }

func (r *Reply) size() int {
	n := len(r.Text) + len(r.Reasoning)
	for _, c := range r.Calls {
		n += len(c.Name) + len(c.Arguments)
	}
	return n
}

// settle counts the reply's tokens and cuts it at the limit; it returns the
// part of the completion that is reasoning.
func (r *Reply) settle(bodyBytes int, limit int64) (reasoning int64) {
	if r.Raw != nil {
		if prompt, completion, ok := r.Raw.usage(); ok {
			r.PromptTokens = orDefault(r.PromptTokens, max(prompt, 0))
			r.CompletionTokens = orDefault(r.CompletionTokens, max(completion, 0))
			return 0
		}
	}
	r.PromptTokens = orDefault(r.PromptTokens, max(countTokens(bodyBytes), 1))
	if r.CompletionTokens != 0 {
		r.CompletionTokens = max(r.CompletionTokens, 0)
		return min(countTokens(len(r.Reasoning)), r.CompletionTokens)
	}
	if r.Raw != nil {
		r.CompletionTokens = min(max(countTokens(len(r.Raw.Body)), 1), limit)
		return 0
	}
	if countTokens(r.size()) > limit {
		r.cut(int(limit) * 4)
		if r.FinishReason == "" {
			r.FinishReason = "length"
		}
	}
	r.CompletionTokens = max(countTokens(r.size()), 1)
	return min(countTokens(len(r.Reasoning)), r.CompletionTokens)
}

// cut keeps the first bytes of reasoning, text and calls, in this order.
func (r *Reply) cut(left int) {
	take := func(s string) string {
		s = prefix(s, left)
		left -= len(s)
		return s
	}
	r.Reasoning = take(r.Reasoning)
	r.Text = take(r.Text)
	var calls []ToolCall
	for _, c := range r.Calls {
		if len(c.Name) > left {
			break
		}
		left -= len(c.Name)
		c.Arguments = take(c.Arguments)
		calls = append(calls, c)
	}
	r.Calls = calls
}

// prefix is at most n bytes of s, never half a rune.
func prefix(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func (r *Reply) finish() string {
	switch {
	case r.FinishReason != "":
		return r.FinishReason
	case len(r.Calls) > 0:
		return "tool_calls"
	}
	return "stop"
}

// pieces cuts s into n pieces of about the same size.
func pieces(s string, n int) []string {
	if s == "" {
		return nil
	}
	if n <= 0 {
		n = min((len(s)+15)/16, 64)
	}
	size := (len(s) + n - 1) / n
	var all []string
	for len(s) > size {
		p := prefix(s, size)
		if p == "" { // a rune wider than the piece
			_, width := utf8.DecodeRuneInString(s)
			p = s[:width]
		}
		all = append(all, p)
		s = s[len(p):]
	}
	if s != "" {
		all = append(all, s)
	}
	return all
}
