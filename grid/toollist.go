package grid

import (
	"encoding/json"
	"errors"
	"fmt"
)

// ToolDef declares a tool to the model.
type ToolDef struct {
	// Name is 1 to 64 letters, digits, _ and -.
	Name        string
	Description string
	// Schema is the JSON Schema of the arguments, an object; nil means no arguments.
	Schema json.RawMessage
	// Strict asks the provider to hold the model to the schema.
	Strict bool
}

// ToolList is a set of tools, encoded once. It never changes and is safe for
// concurrent use. A nil list is an empty one.
type ToolList struct {
	buf   []byte // declarations, joined by commas
	names []string
}

// NewToolList encodes the declarations. The error names every mistake: a name that
// the API refuses, a name given twice, a schema that is no JSON object.
func NewToolList(defs []ToolDef) (*ToolList, error) {
	l := &ToolList{}
	seen := make(map[string]bool, len(defs))
	var mistakes []error
	for i, d := range defs {
		if !toolName(d.Name) {
			mistakes = append(mistakes, fmt.Errorf("grid: tool name %q: use 1 to 64 of a-z A-Z 0-9 _ -", d.Name))
		} else if seen[d.Name] {
			mistakes = append(mistakes, fmt.Errorf("grid: tool %q is declared twice: rename one", d.Name))
		}
		seen[d.Name] = true
		l.names = append(l.names, d.Name)
		if i > 0 {
			l.buf = append(l.buf, ',')
		}
		l.buf = append(l.buf, `{"type":"function","function":{"name":`...)
		l.buf = appendQuoted(l.buf, d.Name)
		if d.Description != "" {
			l.buf = append(l.buf, `,"description":`...)
			l.buf = appendQuoted(l.buf, d.Description)
		}
		schema := d.Schema
		if len(schema) == 0 {
			schema = json.RawMessage(`{"type":"object","properties":{}}`)
		}
		l.buf = append(l.buf, `,"parameters":`...)
		var ok bool
		s := scan{b: schema}
		if l.buf, ok = appendRaw(l.buf, schema); !ok || s.peek() != '{' {
			mistakes = append(mistakes, fmt.Errorf("grid: schema of tool %q is not a JSON object: mend it", d.Name))
		}
		if d.Strict {
			l.buf = append(l.buf, `,"strict":true`...)
		}
		l.buf = append(l.buf, "}}"...)
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	return l, nil
}

func toolName(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}

// Len returns how many tools there are.
func (l *ToolList) Len() int {
	if l == nil {
		return 0
	}
	return len(l.names)
}

// Bytes returns how many bytes they take on the wire.
func (l *ToolList) Bytes() int {
	if l == nil {
		return 0
	}
	return len(l.buf)
}
