package grid

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// The roles of a message.
const (
	RoleSystem    = "system"
	RoleDeveloper = "developer"
	RoleUser      = "user"
	RoleAssistant = "assistant"
	RoleTool      = "tool"
)

// Message is one entry of a conversation, with everything the provider sent.
// The fields of go-openai's message lose what must travel back to some models
// (reasoning details, thought signatures, null content); here they are kept.
// A Message is a value: whoever shares one must not change its slices.
type Message struct {
	Role string
	// Content is the text; nil where the content was null, absent or not a string.
	Content *string
	// Parts is content that is not a string, an array or an object, as received.
	Parts json.RawMessage
	// Name names the author, ToolCallID the call that a tool message answers.
	Name, ToolCallID string
	Refusal          *string
	// ToolCalls is what the model asks for, in its order. Their presence, and
	// never a finish reason, tells that tools are to be run.
	ToolCalls []ToolCall
	// Extra holds the fields that are not named above, in the order received.
	Extra []Field
}

// ToolCall is one call that a model asks for.
type ToolCall struct {
	// ID is unique within its message only, and goes back verbatim.
	ID string
	// Type is "function", or "custom" for a call with free text; "" means "function".
	Type string
	Name string
	// Arguments is the text as received: it may be empty or no JSON at all.
	Arguments string
	// Extra holds further fields of the call, for instance a thought signature.
	Extra []Field
}

// Field is a member of a JSON object that this package does not interpret.
type Field struct {
	Name  string
	Value json.RawMessage
}

// SystemMessage returns instructions.
func SystemMessage(text string) Message { return Message{Role: RoleSystem, Content: &text} }

// UserMessage returns what the user said.
func UserMessage(text string) Message { return Message{Role: RoleUser, Content: &text} }

// ToolMessage returns the result of the call with the id.
func ToolMessage(callID, text string) Message {
	return Message{Role: RoleTool, ToolCallID: callID, Content: &text}
}

// Text returns the content, or the text parts joined, or, for content that is an
// object (some servers answer structured output so), its JSON. It is "" where
// there is none.
func (m Message) Text() string {
	if m.Content != nil {
		return *m.Content
	}
	if isNull(m.Parts) {
		return ""
	}
	if m.Parts[0] != '[' {
		return string(m.Parts)
	}
	var text strings.Builder
	s := scan{b: m.Parts}
	for ok := s.enter('[', ']'); ok && !s.bad; ok = s.more(']') {
		if kind, t, _ := readPart(s.value()); kind == partText {
			text.WriteString(t)
		}
	}
	return text.String()
}

// Reasoning returns what the model wrote for itself, as far as the provider shows it as
// text. It is no part of Text.
func (m Message) Reasoning() string {
	for _, name := range [...]string{"reasoning_content", "reasoning"} {
		if text := unquoted(m.Field(name)); text != "" {
			return text
		}
	}
	if len(m.Parts) == 0 || m.Parts[0] != '[' {
		return ""
	}
	var text strings.Builder
	s := scan{b: m.Parts}
	for ok := s.enter('[', ']'); ok && !s.bad; ok = s.more(']') {
		if kind, t, _ := readPart(s.value()); kind == partThinking {
			text.WriteString(t)
		}
	}
	return text.String()
}

type partKind int

const (
	partOther partKind = iota
	partText
	partThinking
)

// readPart tells what a content part holds; plain means that it has no field
// beside its type and text.
func readPart(raw []byte) (kind partKind, text string, plain bool) {
	if isString(raw) {
		return partText, unquoted(raw), true
	}
	var typ, body, thinking []byte
	plain = true
	s := scan{b: raw}
	for ok := s.enter('{', '}'); ok && !s.bad; ok = s.more('}') {
		switch string(s.key()) {
		case "type":
			typ = s.value()
		case "text":
			body = s.value()
		case "thinking":
			thinking = s.value()
		default:
			plain = false
			s.value()
		}
	}
	if s.bad {
		return partOther, "", false
	}
	switch unquoted(typ) {
	case "text", "output_text":
		return partText, unquoted(body), plain
	case "thinking":
		if isString(thinking) {
			return partThinking, unquoted(thinking), false
		}
		inner := Message{Parts: bytes.TrimSpace(thinking)}
		return partThinking, inner.Text(), false
	}
	return partOther, "", false
}

// Field returns the raw value of an uninterpreted field, nil if there is none.
func (m Message) Field(name string) json.RawMessage {
	for _, f := range m.Extra {
		if f.Name == name {
			return f.Value
		}
	}
	return nil
}

// Portable returns the message as an instrument of many models may be sent it.
// What one provider wrote for itself (reasoning, signatures, annotations, audio,
// every field unknown to the chat completions schema) is left out of assistant
// messages, since the next turn may be served by another model; content that is
// not a string becomes its text, and calls are mended (see Mended). Messages of
// other roles are unchanged.
func (m Message) Portable() Message {
	if m.Role != RoleAssistant {
		return m
	}
	m.Extra = nil
	if len(m.Parts) > 0 {
		text := m.Text()
		m.Content, m.Parts = &text, nil
	}
	if m.Refusal != nil {
		if m.Content == nil || *m.Content == "" {
			m.Content = m.Refusal
		}
		m.Refusal = nil
	}
	// The API refuses null content beside no call.
	if m.Content == nil && len(m.ToolCalls) == 0 {
		m.Content = new(string)
	}
	m, mended := m.Mended()
	if slices.ContainsFunc(m.ToolCalls, func(c ToolCall) bool { return len(c.Extra) > 0 }) {
		if !mended {
			m.ToolCalls = slices.Clone(m.ToolCalls)
		}
		for i := range m.ToolCalls {
			m.ToolCalls[i].Extra = nil
		}
	}
	return m
}
