package grid

import (
	"encoding/json"
	"errors"
	"fmt"
)

// EncodeMessage returns the message as compact JSON, always the same bytes for
// the same message and meaning what encoding/json would write. Fields without a
// value are left out, except that content is always there, null if need be. It
// fails, naming the field, where raw JSON in the message is not JSON.
func EncodeMessage(m Message) ([]byte, error) {
	return appendMessage(make([]byte, 0, m.sizeHint()), m)
}

func (m Message) sizeHint() int {
	n := 64 + len(m.Parts) + len(m.Name) + len(m.ToolCallID)
	if m.Content != nil {
		n += len(*m.Content) + len(*m.Content)/16
	}
	for _, c := range m.ToolCalls {
		n += 96 + len(c.ID) + len(c.Name) + len(c.Arguments) + len(c.Arguments)/4
	}
	for _, f := range m.Extra {
		n += len(f.Name) + len(f.Value) + 4
	}
	return n
}

func appendMessage(dst []byte, m Message) ([]byte, error) {
	if m.Role == "" {
		return dst, errors.New("grid: message without a role: set Role")
	}
	if m.Content != nil && len(m.Parts) > 0 {
		return dst, errors.New("grid: message with Content and Parts: set one of them")
	}
	dst = append(dst, `{"role":`...)
	dst = appendQuoted(dst, m.Role)
	dst = append(dst, `,"content":`...)
	ok := true
	switch {
	case m.Content != nil:
		dst = appendQuoted(dst, *m.Content)
	case len(m.Parts) > 0:
		if dst, ok = appendRaw(dst, m.Parts); !ok {
			return dst, errors.New("grid: message content parts are not JSON: mend Parts")
		}
	default:
		dst = append(dst, "null"...)
	}
	if m.Refusal != nil {
		dst = append(dst, `,"refusal":`...)
		dst = appendQuoted(dst, *m.Refusal)
	}
	if m.Name != "" {
		dst = append(dst, `,"name":`...)
		dst = appendQuoted(dst, m.Name)
	}
	if m.ToolCallID != "" {
		dst = append(dst, `,"tool_call_id":`...)
		dst = appendQuoted(dst, m.ToolCallID)
	}
	var err error
	if len(m.ToolCalls) > 0 {
		dst = append(dst, `,"tool_calls":[`...)
		for i, call := range m.ToolCalls {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendToolCall(dst, call); err != nil {
				return dst, err
			}
		}
		dst = append(dst, ']')
	}
	if dst, err = appendFields(dst, m.Extra, messageField); err != nil {
		return dst, err
	}
	return append(dst, '}'), nil
}

func appendToolCall(dst []byte, call ToolCall) ([]byte, error) {
	kind, body, text := "function", "function", "arguments"
	if call.Type != "" {
		kind = call.Type
	}
	if kind == "custom" {
		body, text = "custom", "input"
	}
	dst = append(dst, `{"id":`...)
	dst = appendQuoted(dst, call.ID)
	dst = append(dst, `,"type":`...)
	dst = appendQuoted(dst, kind)
	dst = append(dst, ',', '"')
	dst = append(append(dst, body...), `":{"name":`...)
	dst = appendQuoted(dst, call.Name)
	dst = append(dst, ',', '"')
	dst = append(append(dst, text...), '"', ':')
	dst = appendQuoted(dst, call.Arguments)
	dst = append(dst, '}')
	dst, err := appendFields(dst, call.Extra, callField)
	return append(dst, '}'), err
}

func appendFields(dst []byte, fields []Field, known func(string) bool) ([]byte, error) {
	for i, f := range fields {
		if known(f.Name) {
			return dst, fmt.Errorf("grid: message field %q stands in Extra: use the field of that name", f.Name)
		}
		for _, g := range fields[:i] {
			if g.Name == f.Name {
				return dst, fmt.Errorf("grid: message field %q stands twice in Extra: keep one", f.Name)
			}
		}
		dst = append(dst, ',')
		dst = appendQuoted(dst, f.Name)
		dst = append(dst, ':')
		var ok bool
		if dst, ok = appendRaw(dst, f.Value); !ok {
			return dst, fmt.Errorf("grid: message field %q is not JSON: mend its value", f.Name)
		}
	}
	return dst, nil
}

func messageField(name string) bool {
	switch name {
	case "role", "content", "refusal", "name", "tool_call_id", "tool_calls":
		return true
	}
	return false
}

func callField(name string) bool {
	switch name {
	case "id", "type", "function":
		return true
	}
	return false
}

// DecodeMessage reads one message. Fields it does not know are kept in Extra;
// null is the same as absent, and a tool call's index, which is its place, is
// dropped. It fails only where b is not a JSON object.
func DecodeMessage(b []byte) (Message, error) {
	var p piece
	s := scan{b: b}
	if s.peek() != '{' {
		return Message{}, errors.New("grid: message is not a JSON object: give one encoded message")
	}
	p.readMessage(&s)
	if !s.end() {
		return Message{}, errors.New("grid: message is not valid JSON: give one encoded message")
	}
	m := Message{Role: unquoted(p.role), Name: unquoted(p.name), ToolCallID: unquoted(p.toolCallID)}
	switch {
	case isString(p.content):
		text := unquoted(p.content)
		m.Content = &text
	case !isNull(p.content):
		m.Parts = append(json.RawMessage(nil), p.content...)
	}
	if isString(p.refusal) {
		text := unquoted(p.refusal)
		m.Refusal = &text
	}
	for i := range p.calls {
		m.ToolCalls = append(m.ToolCalls, p.calls[i].toolCall())
	}
	if isObject(p.functionCall) {
		m.Extra = append(m.Extra, Field{Name: "function_call", Value: append(json.RawMessage(nil), p.functionCall...)})
	}
	for _, f := range p.extra {
		m.Extra = setField(m.Extra, string(f.name), append(json.RawMessage(nil), f.value...))
	}
	return m, nil
}

// setField keeps one value per name, the last, as encoding/json does.
func setField(fields []Field, name string, value json.RawMessage) []Field {
	for i := range fields {
		if fields[i].Name == name {
			fields[i].Value = value
			return fields
		}
	}
	return append(fields, Field{Name: name, Value: value})
}
