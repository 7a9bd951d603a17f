package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/trace"
)

// HeldSpan is an open wait for money that other calls hold.
type HeldSpan struct {
	span
	attrs []attribute.KeyValue
}

// HeldStart describes a wait for money that other calls hold.
type HeldStart struct {
	Instrument string
	Step       int
	Cap        string // id of the cap that refused; reaches logs, never metrics
	Scope      string // kind of what the cap is for; not its name
}

// HeldWait opens the span of a wait and announces it as gridloop.budget.wait.started (INFO); End announces
// gridloop.budget.wait.finished.
func (t *Tracing) HeldWait(ctx context.Context, s HeldStart) (context.Context, *HeldSpan) {
	if t == nil {
		return ctx, nil
	}
	key := startKey{operation: "held", target: s.Instrument}
	p, ok := t.starts.get(key)
	if !ok {
		p = t.starts.put(key, newPrebuilt("gridloop.budget_wait", trace.SpanKindInternal, addString(nil, keyInstrument, s.Instrument)...))
	}
	begun := time.Now()
	ctx, otel := t.start(ctx, p, begun, trace.SpanContext{})
	attrs := addString([]attribute.KeyValue{keyStep.Int(s.Step)}, keyInstrument, s.Instrument)
	attrs = addString(addString(attrs, keyCap, s.Cap), keyCapScope, word(s.Scope))
	if t.wanted(ctx, eventHeldStarted, log.SeverityInfo) {
		t.announce(ctx, eventHeldStarted, log.SeverityInfo, begun, attrs...)
	}
	return ctx, &HeldSpan{span: span{tracing: t, ctx: ctx, otel: otel, begun: begun}, attrs: attrs}
}

// End closes the wait; outcome is granted, refused, timed_out or canceled.
func (h *HeldSpan) End(outcome string) {
	if h == nil || h.ended.Swap(true) {
		return
	}
	t, at := h.tracing, time.Now()
	outcome = word(outcome)
	attrs := append(h.attrs[:len(h.attrs):len(h.attrs)], keyHeldOutcome.String(outcome), keyHeldWait.Float64(at.Sub(h.begun).Seconds()))
	if h.otel.IsRecording() {
		h.otel.SetAttributes(attrs...)
	}
	if t.wanted(h.ctx, eventHeldFinished, log.SeverityInfo) {
		t.announce(h.ctx, eventHeldFinished, log.SeverityInfo, at, attrs...)
	}
	failed := ""
	switch outcome {
	case "timed_out":
		failed = "timeout"
	case "refused", "canceled":
		failed = outcome
	}
	h.close(at, failed)
}
