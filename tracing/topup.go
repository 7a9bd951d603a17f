package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/trace"
)

// TopUpStart describes the wait for a balance that is being bought.
type TopUpStart struct {
	Instrument string
	Start      time.Time // zero = now
	Tries      int       // requests that found the balance dry so far
}

// TopUpSpan is an open wait.
type TopUpSpan struct {
	span
	instrument string
}

// TopUpEnd is how the wait ended.
type TopUpEnd struct {
	Outcome string // settled, timed_out, not_active, canceled
	Tries   int
	End     time.Time // zero = now
}

// TopUpWait opens the span of a wait and announces it as gridloop.topup.started; End announces gridloop.topup.finished.
func (t *Tracing) TopUpWait(ctx context.Context, s TopUpStart) (context.Context, *TopUpSpan) {
	if t == nil {
		return ctx, nil
	}
	key := startKey{operation: "topup", target: s.Instrument}
	p, ok := t.starts.get(key)
	if !ok {
		p = t.starts.put(key, newPrebuilt("gridloop.topup_wait "+s.Instrument, trace.SpanKindInternal, keyInstrument.String(s.Instrument)))
	}
	begun := orNow(s.Start)
	ctx, otel := t.start(ctx, p, begun, trace.SpanContext{})
	if t.wanted(ctx, eventTopUpStarted, log.SeverityInfo) {
		t.announce(ctx, eventTopUpStarted, log.SeverityInfo, begun, keyInstrument.String(s.Instrument), keyTopUpTries.Int(s.Tries))
	}
	return ctx, &TopUpSpan{span: span{tracing: t, ctx: ctx, otel: otel, begun: begun}, instrument: s.Instrument}
}

// End closes the wait.
func (w *TopUpSpan) End(e TopUpEnd) {
	if w == nil || w.ended.Swap(true) {
		return
	}
	t, outcome, at := w.tracing, word(e.Outcome), orNow(e.End)
	if w.otel.IsRecording() {
		w.otel.SetAttributes(addString([]attribute.KeyValue{keyTopUpTries.Int(e.Tries)}, keyTopUpOutcome, outcome)...)
	}
	if t.wanted(w.ctx, eventTopUpFinished, log.SeverityInfo) {
		t.announce(w.ctx, eventTopUpFinished, log.SeverityInfo, at, keyInstrument.String(w.instrument), keyTopUpTries.Int(e.Tries),
			keyTopUpOutcome.String(outcome), keyTopUpWait.Float64(at.Sub(w.begun).Seconds()))
	}
	failed := ""
	switch outcome {
	case "settled", "":
	case "timed_out":
		failed = "timeout"
	case "canceled":
		failed = "canceled"
	default:
		failed = other
	}
	took := w.close(at, failed)
	t.measureTopUp(w.ctx, w.instrument, outcome, took)
}
