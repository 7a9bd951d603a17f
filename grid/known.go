package grid

import "strings"

// known are words that answers repeat, so that they need not be made of bytes anew.
type known struct {
	tools *ToolList
	last  string // model of an answer before
}

// model reads the name of a model.
func (k *known) model(raw []byte) string {
	if isString(raw) && string(raw[1:len(raw)-1]) == k.last && strings.IndexByte(k.last, '\\') < 0 {
		return k.last
	}
	k.last = unquoted(raw)
	return k.last
}

// tool reads the name of a tool.
func (k *known) tool(raw []byte) string {
	if k.tools != nil && isString(raw) {
		for _, name := range k.tools.names {
			if string(raw[1:len(raw)-1]) == name {
				return name
			}
		}
	}
	return unquoted(raw)
}

// word reads a string that is one of few in nearly every answer.
func word(raw []byte) string {
	switch string(raw) {
	case `"assistant"`:
		return RoleAssistant
	case `"function"`:
		return "function"
	case `"stop"`:
		return "stop"
	case `"tool_calls"`:
		return "tool_calls"
	case `"length"`:
		return "length"
	}
	return unquoted(raw)
}

// nameOf is the name of a field.
func nameOf(name []byte) string {
	switch string(name) {
	case "annotations":
		return "annotations"
	case "reasoning_content":
		return "reasoning_content"
	case "reasoning":
		return "reasoning"
	case "reasoning_details":
		return "reasoning_details"
	case "extra_content":
		return "extra_content"
	}
	return string(name)
}
