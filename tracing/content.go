package tracing

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
)

// ContentMode says where prompts, answers, tool arguments and results are recorded. They are sensitive.
type ContentMode int

// The modes. The value of the variable that selects each stands behind it.
const (
	ContentFromEnv      ContentMode = iota // as OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says; unset = none
	ContentNone                            // nowhere, whatever the environment says
	ContentSpan                            // span_only
	ContentEvent                           // event_only
	ContentSpanAndEvent                    // span_and_event, true
)

const contentVariable = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"

// ContentHook may change content before it is recorded. Key is the attribute (gen_ai.input.messages ...), text its JSON;
// what it returns is recorded, "" drops it. It is called only for content that is recorded, concurrently; if it panics, the content is dropped.
type ContentHook func(ctx context.Context, key, text string) string

const defaultContentLimit = 64 << 10

type content struct {
	spans, events bool
	limit         int // 0 = none
	hook          ContentHook
}

func newContent(c Config, env string) content {
	mode := c.Content
	if mode == ContentFromEnv {
		switch strings.ToLower(strings.TrimSpace(env)) {
		case "span_only":
			mode = ContentSpan
		case "event_only":
			mode = ContentEvent
		case "span_and_event", "true":
			mode = ContentSpanAndEvent
		}
	}
	limit := c.ContentLimit
	if limit == 0 {
		limit = defaultContentLimit
	}
	return content{
		spans:  mode == ContentSpan || mode == ContentSpanAndEvent,
		events: mode == ContentEvent || mode == ContentSpanAndEvent,
		limit:  max(limit, 0),
		hook:   c.ContentHook,
	}
}

// captured is content that was made once, for the span and the event.
type captured struct {
	texts     [3]attribute.KeyValue
	count     int
	truncated bool
}

func (c *content) capture(ctx context.Context, into *captured, key attribute.Key, text func() string) {
	if text == nil {
		return
	}
	s := text()
	if c.hook != nil {
		s = c.redacted(ctx, string(key), s)
	}
	if c.limit > 0 && len(s) > c.limit {
		s = shortened(s, c.limit)
		into.truncated = true
	}
	if s != "" {
		into.texts[into.count] = key.String(s)
		into.count++
	}
}

// span adds content as strings, the form that backends read.
func (c *captured) span(attrs []attribute.KeyValue) []attribute.KeyValue {
	if c.truncated {
		attrs = append(attrs, keyTruncated.Bool(true))
	}
	return append(attrs, c.texts[:c.count]...)
}

// event adds content as structure.
func (c *captured) event(attrs []attribute.KeyValue) []attribute.KeyValue {
	if c.truncated {
		attrs = append(attrs, keyTruncated.Bool(true))
	}
	for _, kv := range c.texts[:c.count] {
		if v, ok := decode(kv.Value.AsString()); ok {
			kv.Value = structured(v)
		}
		attrs = append(attrs, kv)
	}
	return attrs
}

func (c *content) redacted(ctx context.Context, key, text string) (s string) {
	defer func() {
		if recover() != nil {
			s = ""
		}
	}()
	return c.hook(ctx, key, text)
}

// shortened cuts content to the limit and keeps JSON valid: first the long strings in it, then the oldest elements of a
// list. What still does not fit is left out. Text that is no JSON is cut at its end.
func shortened(s string, limit int) string {
	v, ok := decode(s)
	if !ok {
		return cut(s, limit)
	}
	for longest := limit; longest >= 16; longest /= 2 {
		if out := encode(trimmed(v, longest)); len(out) <= limit {
			return out
		}
	}
	list, ok := trimmed(v, 16).([]any)
	if !ok {
		return ""
	}
	size, first := len("[]"), len(list)
	for first > 0 {
		size += len(encode(list[first-1])) + len(",")
		if size > limit {
			break
		}
		first--
	}
	if first == len(list) {
		return ""
	}
	return encode(list[first:])
}

func trimmed(v any, longest int) any {
	switch v := v.(type) {
	case string:
		return cut(v, longest)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = trimmed(v[i], longest)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for name := range v {
			out[name] = trimmed(v[name], longest)
		}
		return out
	}
	return v
}

// cut shortens at the boundary of a rune.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

func decode(s string) (any, bool) {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil || d.More() {
		return nil, false
	}
	return v, true
}

func encode(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return ""
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func structured(v any) attribute.Value {
	switch v := v.(type) {
	case string:
		return attribute.StringValue(v)
	case bool:
		return attribute.BoolValue(v)
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return attribute.Int64Value(n)
		}
		if f, err := v.Float64(); err == nil {
			return attribute.Float64Value(f)
		}
		return attribute.StringValue(v.String())
	case []any:
		values := make([]attribute.Value, len(v))
		for i := range v {
			values[i] = structured(v[i])
		}
		return attribute.SliceValue(values...)
	case map[string]any:
		pairs := make([]attribute.KeyValue, 0, len(v))
		for name := range v {
			pairs = append(pairs, attribute.KeyValue{Key: attribute.Key(name), Value: structured(v[name])})
		}
		return attribute.MapValue(pairs...) // sorts by key
	}
	return attribute.Value{}
}
