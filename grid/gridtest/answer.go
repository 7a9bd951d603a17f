package gridtest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// answer is a settled reply with what the wire adds to it.
type answer struct {
	id, model string
	created   int64
	reply     Reply
	reasoning int64 // tokens
	withUsage bool  // the stream ends with a usage chunk
}

type usageJSON struct {
	PromptTokens            int64             `json:"prompt_tokens"`
	CompletionTokens        int64             `json:"completion_tokens"`
	TotalTokens             int64             `json:"total_tokens"`
	CompletionTokensDetails *completionDetail `json:"completion_tokens_details,omitempty"`
}

type completionDetail struct {
	ReasoningTokens int64 `json:"reasoning_tokens"`
}

type callJSON struct {
	Index    *int         `json:"index,omitempty"` // only in deltas
	ID       string       `json:"id,omitempty"`
	Type     string       `json:"type,omitempty"`
	Function functionJSON `json:"function"`
}

type functionJSON struct {
	Name      string `json:"name,omitempty"`
	Arguments string `json:"arguments"`
}

type messageJSON struct {
	Role             string     `json:"role"`
	Content          *string    `json:"content"`
	ReasoningContent string     `json:"reasoning_content,omitempty"`
	ToolCalls        []callJSON `json:"tool_calls,omitempty"`
}

type deltaJSON struct {
	Role             string     `json:"role,omitempty"`
	Content          *string    `json:"content,omitempty"`
	ReasoningContent string     `json:"reasoning_content,omitempty"`
	ToolCalls        []callJSON `json:"tool_calls,omitempty"`
}

type choiceJSON struct {
	Index        int          `json:"index"`
	Message      *messageJSON `json:"message,omitempty"`
	Delta        *deltaJSON   `json:"delta,omitempty"`
	Logprobs     *struct{}    `json:"logprobs"`
	FinishReason *string      `json:"finish_reason"`
}

type completionJSON struct {
	ID      string       `json:"id"`
	Object  string       `json:"object"`
	Created int64        `json:"created"`
	Model   string       `json:"model"`
	Choices []choiceJSON `json:"choices"`
	Usage   *usageJSON   `json:"usage,omitempty"`
}

func (a *answer) usage() *usageJSON {
	u := &usageJSON{
		PromptTokens:     a.reply.PromptTokens,
		CompletionTokens: a.reply.CompletionTokens,
		TotalTokens:      addSaturating(a.reply.PromptTokens, a.reply.CompletionTokens),
	}
	if a.reasoning > 0 {
		u.CompletionTokensDetails = &completionDetail{a.reasoning}
	}
	return u
}

func (a *answer) calls() []callJSON {
	var calls []callJSON
	for _, c := range a.reply.Calls {
		calls = append(calls, callJSON{ID: c.ID, Type: "function", Function: functionJSON{c.Name, c.Arguments}})
	}
	return calls
}

// whole is the answer as one JSON object; noChoices leaves it without any.
func (a *answer) whole(noChoices bool) []byte {
	finish := a.reply.finish()
	msg := &messageJSON{Role: "assistant", ReasoningContent: a.reply.Reasoning, ToolCalls: a.calls()}
	if a.reply.Text != "" || len(msg.ToolCalls) == 0 {
		msg.Content = &a.reply.Text
	}
	c := completionJSON{ID: a.id, Object: "chat.completion", Created: a.created, Model: a.model, Usage: a.usage(),
		Choices: []choiceJSON{{Message: msg, FinishReason: &finish}}}
	if noChoices {
		c.Choices = []choiceJSON{}
	}
	return encode(c)
}

// events is the answer as a stream: each element is one event with its blank
// line, and finished is the one with the finish reason.
func (a *answer) events(noChoices bool) (all [][]byte, finished int) {
	event := func(payload []byte) {
		all = append(all, bytes.Join([][]byte{[]byte("data: "), payload, []byte("\n\n")}, nil))
	}
	chunk := completionJSON{ID: a.id, Object: "chat.completion.chunk", Created: a.created, Model: a.model}
	delta := func(d deltaJSON, finish *string) {
		chunk.Choices = []choiceJSON{{Delta: &d, FinishReason: finish}}
		event(encode(chunk))
	}
	if !noChoices {
		empty := ""
		delta(deltaJSON{Role: "assistant", Content: &empty}, nil)
		for _, p := range pieces(a.reply.Reasoning, a.reply.Chunks) {
			delta(deltaJSON{ReasoningContent: p}, nil)
		}
		for _, p := range pieces(a.reply.Text, a.reply.Chunks) {
			delta(deltaJSON{Content: &p}, nil)
		}
		for i, c := range a.reply.Calls {
			delta(deltaJSON{ToolCalls: []callJSON{{Index: &i, ID: c.ID, Type: "function", Function: functionJSON{Name: c.Name}}}}, nil)
			for _, p := range pieces(c.Arguments, 0) {
				delta(deltaJSON{ToolCalls: []callJSON{{Index: &i, Function: functionJSON{Arguments: p}}}}, nil)
			}
		}
		finish := a.reply.finish()
		delta(deltaJSON{}, &finish)
		finished = len(all) - 1
	}
	if a.withUsage {
		chunk.Choices, chunk.Usage = []choiceJSON{}, a.usage()
		event(encode(chunk))
	}
	event([]byte("[DONE]"))
	return all, finished
}

// rawEvents cuts a recorded stream behind its blank lines, so that faults and
// delays work on it too. Joined, the parts are the body.
func rawEvents(body []byte) [][]byte {
	var all [][]byte
	start, at := 0, 0
	for line := range bytes.Lines(body) {
		at += len(line)
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			all = append(all, body[start:at])
			start = at
		}
	}
	if start < len(body) {
		all = append(all, body[start:])
	}
	return all
}

// encode never fails on the market's own types, which hold only strings,
// numbers and lists.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return []byte("null")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// sendJSON writes a whole answer.
func sendJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(encode(v))
}

// sendRefusal writes an error in the platform's envelope, or behind the
// redirect in that of a supplier.
func sendRefusal(w http.ResponseWriter, hop int, r *refusal, retryAfter time.Duration) {
	if retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((retryAfter+time.Second-1)/time.Second), 10))
	}
	if hop == 2 {
		var e struct {
			Error struct {
				Message string `json:"message"`
				Type    string `json:"type"`
				Code    int    `json:"code"`
			} `json:"error"`
		}
		e.Error.Message, e.Error.Type, e.Error.Code = r.detail, "supplier_error", r.status
		sendJSON(w, r.status, e)
		return
	}
	var e struct {
		Errors struct {
			Detail string `json:"detail"`
		} `json:"errors"`
	}
	e.Errors.Detail = r.detail
	sendJSON(w, r.status, e)
}
