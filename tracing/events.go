package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/trace"
)

// Names of events. The first three are those of the conventions.
const (
	eventDetails       = "gen_ai.client.inference.operation.details"
	eventChatException = "gen_ai.client.operation.exception"
	eventToolException = "gen_ai.execute_tool.exception"

	eventRouted        = "gridloop.route.decision"
	eventReserved      = "gridloop.budget.reserved"
	eventSettled       = "gridloop.budget.settled"
	eventOverrun       = "gridloop.budget.overrun"
	eventHeldStarted   = "gridloop.budget.wait.started"
	eventHeldFinished  = "gridloop.budget.wait.finished"
	eventReleased      = "gridloop.budget.released"
	eventDenied        = "gridloop.budget.denied"
	eventRetry         = "gridloop.retry.scheduled"
	eventTopUpStarted  = "gridloop.topup.started"
	eventTopUpFinished = "gridloop.topup.finished"
	eventLoop          = "gridloop.loop.detected"
	eventAdjusted      = "gridloop.cost.adjusted"
	eventRefusal       = "gridloop.market.unknown_refusal"
)

// enabled says whether a log record would be taken. It is asked before anything is built.
func (t *Tracing) enabled(ctx context.Context, name string, severity log.Severity) bool {
	return t.logger.Enabled(ctx, log.EnabledParameters{Severity: severity, EventName: name})
}

// wanted says whether one of our events would reach a log or a span.
func (t *Tracing) wanted(ctx context.Context, name string, severity log.Severity) bool {
	return t.spanEvents && trace.SpanFromContext(ctx).IsRecording() || t.enabled(ctx, name, severity)
}

func (t *Tracing) emit(ctx context.Context, name string, severity log.Severity, at time.Time, attrs []attribute.KeyValue) {
	var r log.Record
	r.SetEventName(name)
	r.SetSeverity(severity)
	r.SetTimestamp(at)
	r.AddAttributes(attrs...)
	t.logger.Emit(ctx, r)
}

// announce emits one of our events, and mirrors it on the span if that was asked for.
func (t *Tracing) announce(ctx context.Context, name string, severity log.Severity, at time.Time, attrs ...attribute.KeyValue) {
	if t.enabled(ctx, name, severity) {
		t.emit(ctx, name, severity, at, attrs)
	}
	if t.spanEvents {
		if span := trace.SpanFromContext(ctx); span.IsRecording() {
			span.AddEvent(name, trace.WithTimestamp(at), trace.WithAttributes(attrs...))
		}
	}
}

// Routing is one decision of a router.
type Routing struct {
	Step         int
	Instrument   string // "" = nothing could serve the step
	Family, Tier string
	Route        Route
	Candidates   []string // instruments that could have served
	Skipped      []string // instruments that could not
	Probability  float64
}

// RouteDecision records how an instrument was chosen (INFO), and counts it.
func (t *Tracing) RouteDecision(ctx context.Context, r Routing) {
	if t == nil {
		return
	}
	t.measureRoute(ctx, r.Instrument, word(r.Route.Reason))
	if !t.wanted(ctx, eventRouted, log.SeverityInfo) {
		return
	}
	attrs := []attribute.KeyValue{keyStep.Int(r.Step), keyRouteChance.Float64(r.Probability)}
	attrs = addString(attrs, keyInstrument, r.Instrument)
	attrs = addString(attrs, keyFamily, r.Family)
	attrs = addString(attrs, keyTier, r.Tier)
	attrs = r.Route.attributes(attrs)
	if len(r.Candidates) > 0 {
		attrs = append(attrs, keyRouteCandidates.StringSlice(r.Candidates))
	}
	if len(r.Skipped) > 0 {
		attrs = append(attrs, keyRouteSkipped.StringSlice(r.Skipped))
	}
	t.announce(ctx, eventRouted, log.SeverityInfo, time.Now(), attrs...)
}

// Denial is a spend that a cap refused.
type Denial struct {
	Instrument string
	Step       int
	Kind       string // held, spent, too_big, frozen, no_label, price_unknown
	Cap        string // id of the cap; reaches logs, never metrics
	Scope      string // kind of what the cap is for: run, tenant, instrument; not its name
	Meter      string // money (nano-USD), tokens
	Limit      int64  // in the unit of the meter
	Requested  int64
}

// Denied records a call that was refused before its first attempt (WARN), and counts it. Such a call has no chat span:
// nothing was sent.
func (t *Tracing) Denied(ctx context.Context, d Denial) {
	if t == nil {
		return
	}
	t.measureDenial(ctx, d.Instrument, word(d.Scope))
	if !t.wanted(ctx, eventDenied, log.SeverityWarn) {
		return
	}
	attrs := []attribute.KeyValue{keyStep.Int(d.Step), keyLimit.Int64(d.Limit), keyRequested.Int64(d.Requested)}
	attrs = addString(attrs, keyInstrument, d.Instrument)
	attrs = addString(attrs, keyDenialKind, word(d.Kind))
	attrs = addString(attrs, keyCap, d.Cap)
	attrs = addString(attrs, keyCapScope, word(d.Scope))
	t.announce(ctx, eventDenied, log.SeverityWarn, time.Now(), addString(attrs, keyMeter, word(d.Meter))...)
}

// Hold is a reservation in the ledger.
type Hold struct {
	Reservation     string
	Instrument      string
	Step            int
	ReservedNanoUSD int64
	SettledNanoUSD  int64
	Overrun         bool // settled above what was reserved
	Unconfirmed     bool // charged at its bound, since nobody knows
}

func (h Hold) attributes(more ...attribute.KeyValue) []attribute.KeyValue {
	attrs := append(more, keyStep.Int(h.Step), keyReserved.Int64(h.ReservedNanoUSD))
	attrs = addString(attrs, keyReservation, h.Reservation)
	return addString(attrs, keyInstrument, h.Instrument)
}

// BudgetReserved records that money was set aside (DEBUG).
func (t *Tracing) BudgetReserved(ctx context.Context, h Hold) {
	if t != nil && t.wanted(ctx, eventReserved, log.SeverityDebug) {
		t.announce(ctx, eventReserved, log.SeverityDebug, time.Now(), h.attributes()...)
	}
}

// BudgetSettled records what a reservation really cost (DEBUG).
func (t *Tracing) BudgetSettled(ctx context.Context, h Hold) {
	if t != nil && t.wanted(ctx, eventSettled, log.SeverityDebug) {
		t.announce(ctx, eventSettled, log.SeverityDebug, time.Now(),
			h.attributes(keySettled.Int64(h.SettledNanoUSD), keyOverrun.Bool(h.Overrun), keyUnconfirmed.Bool(h.Unconfirmed))...)
	}
}

// BudgetOverrun records that a call used more than was reserved for it (WARN). The use is counted in full.
func (t *Tracing) BudgetOverrun(ctx context.Context, h Hold) {
	if t != nil && t.wanted(ctx, eventOverrun, log.SeverityWarn) {
		t.announce(ctx, eventOverrun, log.SeverityWarn, time.Now(), h.attributes(keySettled.Int64(h.SettledNanoUSD))...)
	}
}

// BudgetReleased records that a reservation was given back unspent (DEBUG).
func (t *Tracing) BudgetReleased(ctx context.Context, h Hold) {
	if t != nil && t.wanted(ctx, eventReleased, log.SeverityDebug) {
		t.announce(ctx, eventReleased, log.SeverityDebug, time.Now(), h.attributes()...)
	}
}

// Retry is another attempt that is going to be made.
type Retry struct {
	Instrument string
	Step       int
	Attempt    int    // that failed, 1-based
	ErrorType  string // why
	Delay      time.Duration
}

// RetryScheduled records that a call waits before it is sent again (INFO).
func (t *Tracing) RetryScheduled(ctx context.Context, r Retry) {
	if t == nil || !t.wanted(ctx, eventRetry, log.SeverityInfo) {
		return
	}
	attrs := []attribute.KeyValue{keyStep.Int(r.Step), keyAttempt.Int(r.Attempt), keyRetryWait.Float64(r.Delay.Seconds())}
	attrs = addString(attrs, keyInstrument, r.Instrument)
	t.announce(ctx, eventRetry, log.SeverityInfo, time.Now(), addString(attrs, keyErrorType, word(r.ErrorType))...)
}

// Refusal is a dry balance in words that nobody has seen before.
type Refusal struct {
	Instrument string
	Step       int
	Status     int
	TakenFor   string // what it was taken for: topup, exhausted, overloaded
	Detail     string // the market's own words, short and without secrets
}

// UnknownRefusal records the market's words for a dry balance that are not documented (WARN). They are the one text of an
// error that is recorded: the market refuses before a model sees the prompt.
func (t *Tracing) UnknownRefusal(ctx context.Context, r Refusal) {
	if t == nil || !t.wanted(ctx, eventRefusal, log.SeverityWarn) {
		return
	}
	attrs := []attribute.KeyValue{keyStep.Int(r.Step), keyStatus.Int(r.Status)}
	attrs = addString(attrs, keyInstrument, r.Instrument)
	attrs = addString(attrs, keyRefusalClass, word(r.TakenFor))
	t.announce(ctx, eventRefusal, log.SeverityWarn, time.Now(), addString(attrs, keyRefusalDetail, r.Detail)...)
}

// Loop is a run that repeats itself.
type Loop struct {
	Detector  string
	Step      int
	Count     int
	Signature string // a hash; never the repeated call itself
}

// LoopDetected records that a run repeats itself (WARN), and counts it.
func (t *Tracing) LoopDetected(ctx context.Context, l Loop) {
	if t == nil {
		return
	}
	t.measureLoop(ctx, word(l.Detector))
	if !t.wanted(ctx, eventLoop, log.SeverityWarn) {
		return
	}
	attrs := []attribute.KeyValue{keyStep.Int(l.Step), keyRepeats.Int(l.Count)}
	attrs = addString(attrs, keyDetector, word(l.Detector))
	t.announce(ctx, eventLoop, log.SeverityWarn, time.Now(), addString(attrs, keySignature, word(l.Signature))...)
}

// Adjustment corrects the cost of a call whose span is closed.
type Adjustment struct {
	Instrument   string
	Agent        string
	RequestID    string
	Step         int
	DeltaNanoUSD int64  // new cost less the cost recorded before
	Source       string // receipt, expired, late; "" = receipt
}

// CostAdjusted records a correction (INFO) and adds it to the cost counter: costs on chat spans and adjustments together are
// the ledger.
func (t *Tracing) CostAdjusted(ctx context.Context, a Adjustment) {
	if t == nil {
		return
	}
	if a.Source == "" {
		a.Source = "receipt"
	}
	a.Source = word(a.Source)
	t.measureCost(ctx, a.Agent, a.Instrument, a.Source, a.DeltaNanoUSD)
	if !t.wanted(ctx, eventAdjusted, log.SeverityInfo) {
		return
	}
	attrs := []attribute.KeyValue{keyStep.Int(a.Step), keyCostDelta.Int64(a.DeltaNanoUSD), keyCostSource.String(a.Source)}
	attrs = addString(attrs, keyInstrument, a.Instrument)
	t.announce(ctx, eventAdjusted, log.SeverityInfo, time.Now(), addString(attrs, keyRequestID, short(a.RequestID))...)
}
