package gridtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"strings"
	"time"
)

// A Turn is one request to a model, decoded.
type Turn struct {
	Key        string // name of the consumption key
	Instrument string
	Messages   []Message
	Tools      []string // names of the tools on offer
	Raw        json.RawMessage
	Stream     bool

	// MaxTokens is the request's limit for the answer; without one, the
	// instrument's.
	MaxTokens int64

	// Conversation names the exchange that the turn belongs to: the same for
	// all requests that begin with the same messages up to the first user
	// message.
	Conversation string

	// N is how many turns the conversation has so far: the assistant messages
	// in it. A request that is made again has the same N.
	N int

	Header http.Header // without Authorization

	sum uint64 // of all messages: tells a request made again
}

// Last is the message sent last; the zero Message when there is none.
func (t Turn) Last() Message {
	if len(t.Messages) == 0 {
		return Message{}
	}
	return t.Messages[len(t.Messages)-1]
}

// A Message is one message of a request.
type Message struct {
	Role       string
	Content    string // a string content, or the text parts joined
	Name       string
	ToolCallID string
	ToolCalls  []ToolCall
}

// A ToolCall is a call by the model. In a [Reply] an empty ID is replaced by
// one that is unique in its conversation.
type ToolCall struct {
	ID        string
	Name      string
	Arguments string // as sent, also when it is not JSON
}

// Call is a tool call without an id of its own.
func Call(name, arguments string) ToolCall { return ToolCall{Name: name, Arguments: arguments} }

// wire is the part of a chat request that the market looks at.
type wire struct {
	Model               *string         `json:"model"`
	Messages            json.RawMessage `json:"messages"`
	Stream              bool            `json:"stream"`
	StreamOptions       *streamOptions  `json:"stream_options"`
	MaxTokens           *int64          `json:"max_tokens"`
	MaxCompletionTokens *int64          `json:"max_completion_tokens"`
	Temperature         *float64        `json:"temperature"`
	TopP                *float64        `json:"top_p"`
	FrequencyPenalty    *float64        `json:"frequency_penalty"`
	PresencePenalty     *float64        `json:"presence_penalty"`
	N                   *int64          `json:"n"`
	TopLogprobs         *int64          `json:"top_logprobs"`
	Stop                json.RawMessage `json:"stop"`
	Tools               json.RawMessage `json:"tools"`
	ToolChoice          json.RawMessage `json:"tool_choice"`
	ResponseFormat      json.RawMessage `json:"response_format"`
	ReasoningEffort     *string         `json:"reasoning_effort"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type wireMessage struct {
	Role       string          `json:"role"`
	Content    json.RawMessage `json:"content"`
	Name       string          `json:"name"`
	ToolCallID string          `json:"tool_call_id"`
	ToolCalls  []wireCall      `json:"tool_calls"`
}

type wireCall struct {
	ID       string `json:"id"`
	Function struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	} `json:"function"`
}

// refusal is an answer other than 200, with the status and the text that the
// envelope carries.
type refusal struct {
	status int
	detail string
	after  time.Duration // of a Retry-After; zero: none
}

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status: status, detail: fmt.Sprintf(format, args...)}
}

// decodeTurn reads a request body. The rest of the checks need an instrument.
func decodeTurn(body []byte) (Turn, *wire, *refusal) {
	var w wire
	if err := json.Unmarshal(body, &w); err != nil {
		return Turn{}, nil, refuse(http.StatusBadRequest, "Malformed request body: %s", plainJSONError(err))
	}
	t := Turn{Raw: body, Stream: w.Stream}
	if w.Model != nil {
		t.Instrument = strings.ToLower(*w.Model)
	}
	var messages []wireMessage
	if len(w.Messages) > 0 {
		if err := json.Unmarshal(w.Messages, &messages); err != nil {
			return Turn{}, nil, refuse(http.StatusBadRequest, "Malformed messages: %s", plainJSONError(err))
		}
	}
	conversation, all := fnv.New64a(), fnv.New64a()
	opened := false
	for i, wm := range messages {
		msg := Message{Role: wm.Role, Name: wm.Name, ToolCallID: wm.ToolCallID}
		var err error
		if msg.Content, err = contentText(wm.Content); err != nil {
			return Turn{}, nil, refuse(http.StatusBadRequest, "messages[%d].content: %s", i, plainJSONError(err))
		}
		for _, c := range wm.ToolCalls {
			call := ToolCall{ID: c.ID, Name: c.Function.Name}
			if json.Unmarshal(c.Function.Arguments, &call.Arguments) != nil {
				call.Arguments = string(c.Function.Arguments)
			}
			msg.ToolCalls = append(msg.ToolCalls, call)
		}
		if wm.Role == "assistant" {
			t.N++
		}
		if !opened {
			fmt.Fprintf(conversation, "%s\x00%s\x00", msg.Role, msg.Content)
			opened = msg.Role == "user"
		}
		t.Messages = append(t.Messages, msg)
	}
	all.Write(w.Messages)
	t.sum = all.Sum64()
	t.Conversation = fmt.Sprintf("conv_%016x", conversation.Sum64())
	var tools []struct {
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	}
	if len(w.Tools) > 0 && json.Unmarshal(w.Tools, &tools) == nil {
		for _, tool := range tools {
			t.Tools = append(t.Tools, tool.Function.Name)
		}
	}
	return t, &w, nil
}

// contentText reads a content that is a string, null, or a list of parts.
func contentText(raw json.RawMessage) (string, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return "", nil
	}
	var text string
	if raw[0] == '"' {
		err := json.Unmarshal(raw, &text)
		return text, err
	}
	var parts []struct {
		Text string `json:"text"`
	}
	if err := json.Unmarshal(raw, &parts); err != nil {
		return "", err
	}
	for _, p := range parts {
		text += p.Text
	}
	return text, nil
}

// plainJSONError drops encoding/json's own prefix and Go's type names, which a
// caller of an HTTP API has never heard of.
func plainJSONError(err error) string {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Sprintf("%s has the wrong type (%s)", wrong.Field, wrong.Value)
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}
