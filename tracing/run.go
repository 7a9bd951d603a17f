package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// RunStart describes a run, or the part of it that runs in this process after a pause.
type RunStart struct {
	Start        time.Time // zero = now
	Agent        string
	Description  string
	RunID        string
	Conversation string            // "" = none: an id is never invented
	Resumed      trace.SpanContext // the part before the pause; it is linked, since its trace may be long closed
}

// RunSpan is an open invoke_agent span.
type RunSpan struct {
	span
	agent string
}

// RunEnd is what a run came to. Tokens and cost are those of its model calls, as on their spans.
type RunEnd struct {
	End                       time.Time // zero = now
	StopReason                string
	Steps                     int
	ModelCalls                int // own ones, failed ones included; sub-agents count for themselves
	ToolCalls                 int
	InputTokens, OutputTokens int64
	CostNanoUSD               int64
	Instruments               []string
	Retries, Escalations      int
	Err                       error  // the run failed; its text is not recorded
	ErrorType                 string // "" = derived from Err
}

// Run opens the span of a run. The context it returns is the parent of everything the run does, also in other goroutines.
// If its span comes to nothing, since no provider is installed, there are no spans in the run: one that is installed
// meanwhile sees the next run.
func (t *Tracing) Run(ctx context.Context, s RunStart) (context.Context, *RunSpan) {
	if t == nil {
		return ctx, nil
	}
	key := startKey{operation: "invoke_agent", target: s.Agent}
	p, ok := t.starts.get(key)
	if !ok {
		p = t.starts.put(key, runPrebuilt(s.Agent))
	}
	begun := orNow(s.Start)
	ctx, otel := t.start(ctx, p, begun, s.Resumed)
	if otel.IsRecording() {
		attrs := make([]attribute.KeyValue, 0, 4)
		attrs = addString(attrs, keyAgentDescription, s.Description)
		attrs = addString(attrs, keyConversation, s.Conversation)
		attrs = addString(attrs, keyRun, s.RunID)
		otel.SetAttributes(attrs...)
	} else {
		if !otel.SpanContext().IsValid() {
			ctx = context.WithValue(ctx, untraced{}, t)
		}
		if !t.metrics.runs(ctx) {
			return ctx, nil
		}
	}
	return ctx, &RunSpan{span: span{tracing: t, ctx: ctx, otel: otel, begun: begun}, agent: s.Agent}
}

func runPrebuilt(agent string) *prebuilt {
	if agent == "" {
		return newPrebuilt("invoke_agent", trace.SpanKindInternal, keyOperation.String("invoke_agent"))
	}
	return newPrebuilt("invoke_agent "+agent, trace.SpanKindInternal, keyOperation.String("invoke_agent"), keyAgent.String(agent))
}

// Traceparent identifies the span in W3C form, for a resumed run to link to. "" if nothing is traced.
func (r *RunSpan) Traceparent() string {
	if r == nil {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(r.ctx, carrier)
	return carrier["traceparent"]
}

// ParseTraceparent reads what [RunSpan.Traceparent] gave. What it cannot read is an invalid context, which links to nothing.
func ParseTraceparent(s string) trace.SpanContext {
	carrier := propagation.MapCarrier{"traceparent": s}
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
}

// End closes the run.
func (r *RunSpan) End(e RunEnd) {
	if r == nil || r.ended.Swap(true) {
		return
	}
	failed := errorType(e.ErrorType, e.Err)
	stop := word(e.StopReason)
	if r.otel.IsRecording() {
		attrs := make([]attribute.KeyValue, 0, 14)
		attrs = addString(attrs, keyRunStop, stop)
		attrs = append(attrs,
			keyRunSteps.Int(e.Steps), keyRunModelCalls.Int(e.ModelCalls), keyRunToolCalls.Int(e.ToolCalls),
			keyRunInput.Int64(e.InputTokens), keyRunOutput.Int64(e.OutputTokens), keyRunCost.Int64(e.CostNanoUSD),
			keyRunRetries.Int(e.Retries), keyRunEscalations.Int(e.Escalations))
		if len(e.Instruments) > 0 {
			attrs = append(attrs, keyRunInstruments.StringSlice(e.Instruments))
		}
		if r.tracing.runUsage {
			attrs = append(attrs, keyInputTokens.Int64(e.InputTokens), keyOutputTokens.Int64(e.OutputTokens))
		}
		r.otel.SetAttributes(attrs...)
	}
	took := r.close(orNow(e.End), failed)
	r.tracing.measureRun(r.ctx, r.agent, stop, failed, took, e)
}

func addString(attrs []attribute.KeyValue, key attribute.Key, value string) []attribute.KeyValue {
	if value == "" {
		return attrs
	}
	return append(attrs, key.String(value))
}
