package grid_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// reading is what an answer means, in values that compare.
type reading struct {
	ID, Model, Role, Text, Reasoning, Refusal, Finish string
	Parts                                             any
	Calls                                             []readCall
	Extra                                             map[string]any
	Usage                                             map[string]any
	// Failed tells of an error, Message what the provider said about it.
	Failed  bool
	Message string
	// Cut tells that a stream had neither finish reason nor end mark.
	Cut bool
}

type readCall struct {
	ID, Type, Name, Arguments string
	Extra                     map[string]any
}

// reference is the slow reader: encoding/json into maps, and the plainest rules.
// Choice 0 counts, the rest is dropped; strings of one field are joined; calls belong
// together by their index, else their id, else their place; the last usage holds.
type reference struct {
	reading
	keys            []any // of Calls
	whole, anything bool
	done            bool
	choices         int
}

func isStream(body string) bool {
	return !strings.HasPrefix(strings.TrimLeft(body, "\ufeff \t\r\n"), "{")
}

func readSlowly(status int, body string) reading {
	r := reference{}
	body = strings.TrimPrefix(body, "\ufeff")
	switch {
	case status >= 400:
		r.Failed = true
		var v any
		if json.Unmarshal([]byte(body), &v) == nil {
			r.Message = slowMessage(v)
		} else {
			r.Message = body
		}
		return r.reading
	case !isStream(body):
		r.whole, r.done = true, true
		var o map[string]any
		if json.Unmarshal([]byte(body), &o) != nil {
			r.Failed = true
		}
		r.take(o, "")
	default:
		r.stream(body)
	}
	if r.choices == 0 && !r.Failed && r.done {
		r.Failed = true
	}
	r.Cut = !r.Failed && !r.done && r.Finish == ""
	if r.Role == "" {
		r.Role = "assistant"
	}
	return r.reading
}

// stream joins the data lines of each event, as the standard has it.
func (r *reference) stream(body string) {
	event, data := "", []string(nil)
	flush := func() {
		text := strings.Join(data, "\n")
		var o map[string]any
		switch {
		case strings.TrimSpace(text) == "[DONE]":
			r.done = true
		case json.Unmarshal([]byte(text), &o) == nil && !r.done && !r.Failed:
			r.take(o, event)
		}
		event, data = "", nil
	}
	body = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(body)
	for line := range strings.SplitSeq(body, "\n") {
		name, value, _ := strings.Cut(line, ":")
		switch {
		case line == "":
			flush()
		case name == "data":
			data = append(data, strings.TrimPrefix(value, " "))
		case name == "event":
			event = strings.TrimSpace(value)
		}
	}
	flush()
}

func (r *reference) take(o map[string]any, event string) {
	r.ID = or(r.ID, o["id"])
	r.Model = or(r.Model, o["model"])
	if u, ok := o["usage"].(map[string]any); ok {
		r.Usage = u
	} else if x, ok := o["x_groq"].(map[string]any); ok {
		if u, ok := x["usage"].(map[string]any); ok {
			r.Usage = u
		}
	}
	choices, _ := o["choices"].([]any)
	r.choices += len(choices)
	for _, c := range choices {
		choice := c.(map[string]any)
		if i, _ := choice["index"].(float64); i != 0 {
			continue
		}
		r.Finish = or("", choice["finish_reason"], r.Finish)
		if e := choice["error"]; said(e) {
			r.Failed, r.Message = true, slowMessage(e)
		}
		message, _ := choice["message"].(map[string]any)
		if delta, ok := choice["delta"].(map[string]any); ok && !r.whole {
			message = delta // a message beside it repeats what was said
		} else if !r.whole && (r.anything || message == nil) {
			continue
		}
		r.message(message)
	}
	for _, name := range []string{"error", "errors"} {
		if e := o[name]; said(e) {
			r.Failed, r.Message = true, slowMessage(e)
		}
	}
	if event == "error" && !r.Failed || len(choices) == 0 && !r.Failed && (o["detail"] != nil || o["message"] != nil) && r.Usage == nil {
		r.Failed, r.Message = true, slowMessage(o)
	}
}

// said tells whether an error field says something.
func said(e any) bool {
	switch e := e.(type) {
	case nil:
		return false
	case string:
		return e != ""
	case map[string]any:
		return len(e) > 0
	}
	return true
}

func (r *reference) message(m map[string]any) {
	thinking := ""
	switch content := m["content"].(type) {
	case string:
		r.Text += content
		r.anything = r.anything || content != ""
		if list, ok := r.Parts.([]any); ok {
			r.Parts = append(list, map[string]any{"type": "text", "text": content})
		}
	case []any:
		if r.Parts == nil {
			r.Parts = []any{}
			if r.Text != "" {
				r.Parts = []any{map[string]any{"type": "text", "text": r.Text}}
			}
		}
		r.anything = true
		for _, p := range content {
			part := p.(map[string]any)
			r.Parts = append(r.Parts.([]any), part)
			switch part["type"] {
			case "text":
				r.Text += part["text"].(string)
			case "thinking":
				list, _ := part["thinking"].([]any)
				for _, t := range list {
					thinking += t.(map[string]any)["text"].(string)
				}
			}
		}
	case map[string]any:
		r.Parts = content
	}
	if s, ok := m["refusal"].(string); ok {
		r.Refusal += s
	}
	r.Role = or(r.Role, m["role"])
	r.Reasoning += or(thinking, m["reasoning_content"], m["reasoning"])
	calls, _ := m["tool_calls"].([]any)
	if f, _ := m["function_call"].(map[string]any); said(f["name"]) || said(f["arguments"]) {
		calls = append(calls, map[string]any{"index": "legacy", "function": f})
	}
	for _, c := range calls {
		r.call(c.(map[string]any))
		r.anything = true
	}
	for name, v := range m {
		switch name {
		case "role", "content", "refusal", "name", "tool_calls", "tool_call_id", "function_call":
		default:
			r.Extra = joined(r.Extra, name, v)
		}
	}
}

// joined puts the pieces of a field together: texts and lists grow, except that a
// label stays what it was.
func joined(to map[string]any, name string, v any) map[string]any {
	if v == nil {
		return to
	}
	if to == nil {
		to = map[string]any{}
	}
	switch v := v.(type) {
	case string:
		if before, ok := to[name].(string); ok && name != "channel" {
			to[name] = before + v
			return to
		}
	case []any:
		if before, ok := to[name].([]any); ok {
			to[name] = append(before, v...)
			return to
		}
	}
	to[name] = v
	return to
}

func (r *reference) call(c map[string]any) {
	f, _ := c["function"].(map[string]any)
	text := "arguments"
	if custom, ok := c["custom"].(map[string]any); ok && (said(custom["name"]) || said(custom["input"])) {
		f, text = custom, "input"
	}
	id, name := or("", c["id"]), or("", f["name"])
	arguments, isText := f[text].(string)
	if !isText && f[text] != nil {
		b, _ := json.Marshal(f[text])
		arguments = string(b)
	}
	key := c["index"]
	if key == nil && id != "" {
		key = id
	}
	at := -1
	for i, k := range r.keys {
		if !r.whole && (k == key || key == nil && i == len(r.keys)-1) && (id == "" || r.Calls[i].ID == "" || r.Calls[i].ID == id) {
			at = i
		}
	}
	if at < 0 {
		at = len(r.Calls)
		r.keys = append(r.keys, key)
		r.Calls = append(r.Calls, readCall{})
	}
	to := &r.Calls[at]
	to.ID, to.Type = or(to.ID, id), or(to.Type, c["type"])
	if to.Name != name {
		to.Name += name
	}
	to.Arguments += arguments
	for name, v := range c {
		switch name {
		case "index", "id", "type", "function", "custom":
		default:
			to.Extra = joined(to.Extra, name, v)
		}
	}
}

// slowMessage finds the words in an error, however they are wrapped.
func slowMessage(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []any:
		if len(v) > 0 {
			return slowMessage(v[0])
		}
	case map[string]any:
		for _, name := range []string{"message", "msg", "error_description", "error", "errors", "detail"} {
			if text := slowMessage(v[name]); text != "" {
				return text
			}
		}
	}
	return ""
}

// or returns the first text that is not empty.
func or(first string, then ...any) string {
	for _, v := range then {
		if first == "" {
			first, _ = v.(string)
		}
	}
	return first
}

// plainParts joins neighbouring text parts, which mean the same apart.
func plainParts(parts any) any {
	list, ok := parts.([]any)
	if !ok {
		return parts
	}
	var out []any
	for _, p := range list {
		part := p.(map[string]any)
		text, isText := part["text"].(string)
		if isText && part["type"] == "text" && len(part) == 2 {
			if text == "" {
				continue
			}
			if n := len(out); n > 0 {
				if last := out[n-1].(map[string]any); last["type"] == "text" && len(last) == 2 {
					out[n-1] = map[string]any{"type": "text", "text": last["text"].(string) + text}
					continue
				}
			}
		}
		out = append(out, maps.Clone(part))
	}
	return slices.Clip(out)
}
