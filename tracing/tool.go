package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/trace"
)

// ToolStart describes a tool call that is about to run.
type ToolStart struct {
	Start        time.Time // zero = now
	Agent        string
	Name         string
	Unknown      bool // no tool has this name: it is the model's own text then, and not recorded
	Description  string
	CallID       string
	Type         string // function (also ""), extension, datastore
	Conversation string
	Step, Index  int // of the run, of the call within its message
	Parallel     bool
	Approval     string        // auto, granted, denied
	Arguments    func() string // JSON; called only if content is recorded
}

// ToolSpan is an open execute_tool span.
type ToolSpan struct {
	span
	key toolKey
}

type toolKey struct{ agent, name, kind string }

// ToolEnd is what a tool call came to.
type ToolEnd struct {
	End       time.Time     // zero = now
	Status    string        // "ok" (also ""), else a value of error.type
	Abandoned bool          // it ignored its context and still runs
	Result    func() string // what the model gets; called only if content is recorded
}

// Tool opens the span of a tool call. A failure that goes back to the model marks this span as failed, and not the run.
func (t *Tracing) Tool(ctx context.Context, s ToolStart) (context.Context, *ToolSpan) {
	if t == nil {
		return ctx, nil
	}
	k := toolKey{s.Agent, word(s.Name), word(s.Type)}
	if s.Unknown || k.name == "" {
		k.name = other
	}
	if k.kind == "" {
		k.kind = "function"
	}
	key := startKey{operation: "execute_tool", target: k.name, address: k.kind}
	p, ok := t.starts.get(key)
	if !ok {
		p = t.starts.put(key, newPrebuilt("execute_tool "+k.name, trace.SpanKindInternal,
			keyOperation.String("execute_tool"), keyTool.String(k.name), keyToolType.String(k.kind)))
	}
	begun := orNow(s.Start)
	ctx, otel := t.start(ctx, p, begun, trace.SpanContext{})
	if otel.IsRecording() {
		attrs := make([]attribute.KeyValue, 0, 12)
		attrs = addString(attrs, keyAgent, s.Agent)
		attrs = addString(attrs, keyToolDescription, s.Description)
		attrs = addString(attrs, keyToolCall, short(s.CallID))
		attrs = addString(attrs, keyConversation, s.Conversation)
		attrs = addString(attrs, keyToolApproval, word(s.Approval))
		attrs = append(attrs, keyStep.Int(s.Step), keyToolIndex.Int(s.Index), keyToolParallel.Bool(s.Parallel))
		otel.SetAttributes(t.content.onToolSpan(ctx, attrs, keyToolArguments, s.Arguments)...)
	} else if !t.metrics.toolDuration.Enabled(ctx) && !t.enabled(ctx, eventToolException, log.SeverityWarn) {
		return ctx, nil
	}
	return ctx, &ToolSpan{span: span{tracing: t, ctx: ctx, otel: otel, begun: begun}, key: k}
}

// End closes the tool call.
func (s *ToolSpan) End(e ToolEnd) {
	if s == nil || s.ended.Swap(true) {
		return
	}
	t, failed, at := s.tracing, word(e.Status), orNow(e.End)
	if failed == "ok" {
		failed = ""
	}
	if s.otel.IsRecording() {
		var attrs []attribute.KeyValue
		if e.Abandoned {
			attrs = append(attrs, keyToolAbandoned.Bool(true))
		}
		s.otel.SetAttributes(t.content.onToolSpan(s.ctx, attrs, keyToolResult, e.Result)...)
	}
	if failed != "" && t.enabled(s.ctx, eventToolException, log.SeverityWarn) {
		t.emit(s.ctx, eventToolException, log.SeverityWarn, at, []attribute.KeyValue{keyTool.String(s.key.name), keyErrorType.String(failed), keyExceptionType.String(failed)})
	}
	took := s.close(at, failed)
	t.measureTool(s.ctx, s.key, failed, took)
}

// onToolSpan adds content to a tool span. The conventions have no event for the content of tools.
func (c *content) onToolSpan(ctx context.Context, attrs []attribute.KeyValue, key attribute.Key, text func() string) []attribute.KeyValue {
	if !c.spans {
		return attrs
	}
	var content captured
	c.capture(ctx, &content, key, text)
	return content.span(attrs)
}
