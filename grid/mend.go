package grid

import (
	"bytes"
	"slices"
	"strings"
)

// Mended returns the message as it may be sent, and whether that is another one. What
// a model wrote wrongly in a call is answered with a tool's error, but strict servers
// refuse the whole conversation if the call goes back as it came: a name that no tool
// can have becomes one that it could, and arguments that are no JSON object become an
// object, empty where nothing was said, else with the text as its one member. The
// record keeps the message as received; only what is sent is mended.
func (m Message) Mended() (mended Message, changed bool) {
	for i := range m.ToolCalls {
		call := m.ToolCalls[i]
		call.Name = mendName(call.Name)
		if call.Type != "custom" {
			call.Arguments = mendArguments(call.Arguments)
		}
		if call.Name == m.ToolCalls[i].Name && call.Arguments == m.ToolCalls[i].Arguments {
			continue
		}
		if !changed {
			m.ToolCalls = slices.Clone(m.ToolCalls)
			changed = true
		}
		m.ToolCalls[i] = call
	}
	return m, changed
}

func mendName(name string) string {
	if toolName(name) {
		return name
	}
	name = strings.Map(func(r rune) rune {
		if r < 0x80 && toolName(string(r)) {
			return r
		}
		return '_'
	}, name)
	if name == "" {
		return "unnamed"
	}
	return name[:min(len(name), 64)]
}

func mendArguments(text string) string {
	raw := []byte(text)
	s := scan{b: raw}
	if s.peek() == '{' && validJSON(raw) {
		return text
	}
	if raw = bytes.TrimSpace(raw); isNull(raw) {
		return "{}"
	}
	out := append(make([]byte, 0, len(text)+32), `{"unreadable_arguments":`...)
	return string(append(appendQuoted(out, text), '}'))
}
