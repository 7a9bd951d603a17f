package runview

import (
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/gridloop/gridloop/tracing"
)

type kind int

const (
	link kind = iota // of somebody else: only its parent is known
	agentRun
	chat
	attempt
	topUp
	toolCall
)

// span is what is kept of a span: values by key, texts cut, and nothing that holds on to the SDK's own.
type span struct {
	kind       kind
	id, parent oteltrace.SpanID
	name       string
	start, end time.Time
	failed     string
	values     map[attribute.Key]attribute.Value
	events     []event
	resumes    oteltrace.SpanContext
}

type event struct {
	name   string
	at     time.Time
	values map[attribute.Key]attribute.Value
}

const (
	textLimit  = 4096 // bytes of one value
	eventLimit = 64   // of one span
)

func read(s sdktrace.ReadOnlySpan) *span {
	out := &span{id: s.SpanContext().SpanID(), parent: s.Parent().SpanID()}
	if s.InstrumentationScope().Name != tracing.Scope {
		return out
	}
	out.values = values(s.Attributes())
	out.kind = kindOf(s.Name(), out.values)
	if out.kind == link {
		return out
	}
	out.name, out.start, out.end = cut(s.Name()), s.StartTime(), s.EndTime()
	if out.end.Before(out.start) {
		out.end = out.start
	}
	out.failed = out.text("error.type")
	if out.failed == "" && s.Status().Code == codes.Error {
		out.failed = "_OTHER"
	}
	for _, e := range s.Events() {
		if len(out.events) == eventLimit {
			break
		}
		out.events = append(out.events, event{e.Name, e.Time, values(e.Attributes)})
	}
	for _, l := range s.Links() {
		out.resumes = l.SpanContext
	}
	return out
}

func kindOf(name string, v map[attribute.Key]attribute.Value) kind {
	switch v["gen_ai.operation.name"].AsString() {
	case "invoke_agent":
		return agentRun
	case "chat":
		return chat
	case "execute_tool":
		return toolCall
	}
	switch {
	case len(name) >= len(topUpName) && name[:len(topUpName)] == topUpName:
		return topUp
	case v["http.request.method"].AsString() != "":
		return attempt
	}
	return link
}

const topUpName = "gridloop.topup_wait"

func values(attrs []attribute.KeyValue) map[attribute.Key]attribute.Value {
	m := make(map[attribute.Key]attribute.Value, len(attrs))
	for _, kv := range attrs {
		switch kv.Value.Type() {
		case attribute.STRING:
			m[kv.Key] = attribute.StringValue(cut(kv.Value.AsString()))
		case attribute.INT64, attribute.FLOAT64, attribute.BOOL:
			m[kv.Key] = kv.Value
		case attribute.STRINGSLICE:
			list := kv.Value.AsStringSlice()
			list = list[:min(len(list), 16)]
			for i := range list {
				list[i] = cut(list[i])
			}
			m[kv.Key] = attribute.StringSliceValue(list)
		}
	}
	return m
}

// cut shortens at the boundary of a rune and copies, so that a short text does not keep a long one alive.
func cut(s string) string {
	if len(s) <= textLimit {
		return s
	}
	end := textLimit
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return string([]byte(s[:end])) + "…"
}

func (s *span) text(key attribute.Key) string { return textOf(s.values, key) }
func (s *span) int(key attribute.Key) int64   { return intOf(s.values, key) }
func (s *span) bool(key attribute.Key) bool   { return boolOf(s.values, key) }

// Values of a type that was not expected are absent: foreign spans may carry the name of our tracer.
func textOf(v map[attribute.Key]attribute.Value, key attribute.Key) string {
	if v := v[key]; v.Type() == attribute.STRING {
		return v.AsString()
	}
	return ""
}

func intOf(v map[attribute.Key]attribute.Value, key attribute.Key) int64 {
	if v := v[key]; v.Type() == attribute.INT64 {
		return v.AsInt64()
	}
	return 0
}

func boolOf(v map[attribute.Key]attribute.Value, key attribute.Key) bool {
	v0 := v[key]
	return v0.Type() == attribute.BOOL && v0.AsBool()
}

func listOf(v map[attribute.Key]attribute.Value, key attribute.Key) []string {
	if v := v[key]; v.Type() == attribute.STRINGSLICE {
		return v.AsStringSlice()
	}
	return nil
}

func has(v map[attribute.Key]attribute.Value, key attribute.Key) bool {
	return v[key].Type() != attribute.EMPTY
}
