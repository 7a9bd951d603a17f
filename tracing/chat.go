package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/trace"
)

// Route is how the instrument of a call was chosen.
type Route struct {
	Policy    string // name@version
	Reason    string
	Rule      string
	Requested string // what was wanted before something changed it
	Escalated bool
}

// ChatStart describes a model call. The span is opened when the first attempt is about to be sent, with the time at which the
// call really began: a call that is denied before has no span (see [Tracing.Denied]).
type ChatStart struct {
	Start           time.Time // zero = now
	Agent           string
	Conversation    string
	Instrument      string
	Family, Tier    string
	Step            int
	Kind            string // of the step: tools, extract, text ...
	Final           bool   // the answer at a limit
	Route           Route
	ServerAddress   string
	ServerPort      int // 0 = unknown
	Stream          bool
	MaxTokens       int64 // 0 = not sent
	Temperature     *float64
	TopP            *float64
	Seed            *int64
	Stop            []string
	OutputJSON      bool
	ReasoningEffort string
	ReservedNanoUSD int64         // 0 = none
	Input           func() string // gen_ai.input.messages as JSON; called only if content is recorded, as the next two
	Instructions    func() string // gen_ai.system_instructions as JSON
	ToolDefinitions func() string // gen_ai.tool.definitions as JSON
}

// ChatSpan is an open chat span.
type ChatSpan struct {
	span
	start   ChatStart
	details []attribute.KeyValue // of the details event: what the span says, content structured
}

// ChatEnd is what a model call came to, all attempts together.
type ChatEnd struct {
	End           time.Time // zero = now
	ResponseModel string
	ResponseID    string
	RequestID     string
	FinishReason  string // as on the wire; "" = none arrived
	StreamReason  string // why a stream was asked for or not; "" = not known
	InputTokens   int64  // including cached ones
	OutputTokens  int64  // including reasoning
	CachedTokens  *int64 // nil = not reported
	// ReasoningTokens is nil if not reported.
	ReasoningTokens  *int64
	UsageKnown       bool
	CostNanoUSD      int64
	CostSource       string // estimate or receipt; "" = estimate
	FirstChunk       time.Duration
	Attempts         int
	RetryWait        time.Duration
	TopUpWait        time.Duration // part of the call's time that a top-up took
	TopUpOutcome     string        // settled, timed_out, not_active
	ReservedNanoUSD  int64         // 0 = as at the start
	RemainingNanoUSD *int64        // what the tightest money cap has left; nil = no cap, or not known
	Err              error         // the call failed; its text is not recorded
	ErrorType        string        // "" = derived from Err
	Output           func() string // gen_ai.output.messages as JSON; called only if content is recorded
}

// Chat opens the span of a model call.
func (t *Tracing) Chat(ctx context.Context, s ChatStart) (context.Context, *ChatSpan) {
	if t == nil {
		return ctx, nil
	}
	key := startKey{"chat", s.Instrument, s.ServerAddress, s.ServerPort}
	p, ok := t.starts.get(key)
	if !ok {
		p = t.starts.put(key, chatPrebuilt(key))
	}
	begun := orNow(s.Start)
	ctx, otel := t.start(ctx, p, begun, trace.SpanContext{})
	recording, logging := otel.IsRecording(), t.content.events && t.enabled(ctx, eventDetails, log.SeverityDebug)
	if !recording && !logging && !t.metrics.chats(ctx) {
		return ctx, nil
	}
	c := newChatSpan(t, ctx, otel, begun, &s)
	if recording || logging {
		attrs := chatStartAttributes(&s)
		var content captured
		if logging || t.content.spans {
			t.content.capture(ctx, &content, keyInput, s.Input)
			t.content.capture(ctx, &content, keyInstructions, s.Instructions)
			t.content.capture(ctx, &content, keyDefinitions, s.ToolDefinitions)
		}
		if logging {
			c.details = content.event(append(chatIdentity(key), attrs...))
		}
		if recording {
			if t.content.spans {
				attrs = content.span(attrs)
			}
			otel.SetAttributes(attrs...)
		}
	}
	return ctx, c
}

// newChatSpan is apart so that the arguments of Chat are copied to the heap only when there is something to record.
func newChatSpan(t *Tracing, ctx context.Context, otel trace.Span, begun time.Time, s *ChatStart) *ChatSpan {
	c := &ChatSpan{span: span{tracing: t, ctx: ctx, otel: otel, begun: begun}, start: *s}
	c.start.Input, c.start.Instructions, c.start.ToolDefinitions = nil, nil, nil // the prompt need not live as long as the call
	return c
}

func chatIdentity(key startKey) []attribute.KeyValue {
	attrs := make([]attribute.KeyValue, 0, 40)
	attrs = append(attrs, keyOperation.String("chat"), keyProvider.String(provider))
	attrs = addString(attrs, keyModel, key.target)
	attrs = addString(attrs, keyServerAddress, key.address)
	if key.address != "" && key.port > 0 {
		attrs = append(attrs, keyServerPort.Int(key.port))
	}
	return attrs
}

func chatPrebuilt(key startKey) *prebuilt {
	name := "chat"
	if key.target != "" {
		name += " " + key.target
	}
	return newPrebuilt(name, trace.SpanKindClient, chatIdentity(key)...)
}

func chatStartAttributes(s *ChatStart) []attribute.KeyValue {
	attrs := make([]attribute.KeyValue, 0, 26)
	attrs = append(attrs, keyStep.Int(s.Step))
	attrs = addString(attrs, keyStepKind, word(s.Kind))
	if s.Final {
		attrs = append(attrs, keyStepFinal.Bool(true))
	}
	attrs = addString(attrs, keyAgentOfStep, s.Agent)
	attrs = addString(attrs, keyConversation, s.Conversation)
	attrs = addString(attrs, keyInstrument, s.Instrument)
	attrs = addString(attrs, keyFamily, s.Family)
	attrs = addString(attrs, keyTier, s.Tier)
	attrs = s.Route.attributes(attrs)
	if s.ReservedNanoUSD > 0 {
		attrs = append(attrs, keyReserved.Int64(s.ReservedNanoUSD))
	}
	if s.Stream {
		attrs = append(attrs, keyStream.Bool(true))
	}
	if s.MaxTokens > 0 {
		attrs = append(attrs, keyMaxTokens.Int64(s.MaxTokens))
	}
	if s.Temperature != nil {
		attrs = append(attrs, keyTemperature.Float64(*s.Temperature))
	}
	if s.TopP != nil {
		attrs = append(attrs, keyTopP.Float64(*s.TopP))
	}
	if s.Seed != nil {
		attrs = append(attrs, keySeed.Int64(*s.Seed))
	}
	if len(s.Stop) > 0 {
		attrs = append(attrs, keyStop.StringSlice(s.Stop))
	}
	if s.OutputJSON {
		attrs = append(attrs, keyOutputType.String("json"))
	}
	return addString(attrs, keyReasoningLevel, word(s.ReasoningEffort))
}

func (r Route) attributes(attrs []attribute.KeyValue) []attribute.KeyValue {
	attrs = addString(attrs, keyPolicy, r.Policy)
	attrs = addString(attrs, keyRouteReason, word(r.Reason))
	attrs = addString(attrs, keyRouteRule, r.Rule)
	attrs = addString(attrs, keyRouteRequested, r.Requested)
	if r.Escalated {
		attrs = append(attrs, keyRouteEscalated.Bool(true))
	}
	return attrs
}

// End closes the model call.
func (c *ChatSpan) End(e ChatEnd) {
	if c == nil || c.ended.Swap(true) {
		return
	}
	t, failed := c.tracing, errorType(e.ErrorType, e.Err)
	if e.CostSource == "" {
		e.CostSource = "estimate"
	}
	e.CostSource = word(e.CostSource)
	at := orNow(e.End)
	if recording := c.otel.IsRecording(); recording || c.details != nil {
		attrs := chatEndAttributes(&e)
		var content captured
		if c.details != nil || t.content.spans {
			t.content.capture(c.ctx, &content, keyOutput, e.Output)
		}
		if c.details != nil {
			details := content.event(append(c.details, attrs...))
			t.emit(c.ctx, eventDetails, log.SeverityDebug, at, addString(details, keyErrorType, failed))
		}
		if recording {
			if t.content.spans {
				attrs = content.span(attrs)
			}
			c.otel.SetAttributes(attrs...)
		}
	}
	if failed != "" && t.enabled(c.ctx, eventChatException, log.SeverityWarn) {
		attrs := []attribute.KeyValue{keyErrorType.String(failed), keyModel.String(c.start.Instrument)}
		t.emit(c.ctx, eventChatException, log.SeverityWarn, at, addString(attrs, keyExceptionType, exceptionType(e.Err)))
	}
	took := c.close(at, failed)
	t.measureChat(c, &e, failed, took)
}

func chatEndAttributes(e *ChatEnd) []attribute.KeyValue {
	attrs := make([]attribute.KeyValue, 0, 20)
	attrs = addString(attrs, keyStreamReason, word(e.StreamReason))
	attrs = addString(attrs, keyResponseModel, short(e.ResponseModel))
	attrs = addString(attrs, keyResponseID, short(e.ResponseID))
	attrs = addString(attrs, keyRequestID, short(e.RequestID))
	attrs = append(attrs, keyFinishReasons.StringSlice([]string{finishReason(e.FinishReason)}))
	if e.UsageKnown {
		attrs = append(attrs, keyInputTokens.Int64(e.InputTokens), keyOutputTokens.Int64(e.OutputTokens))
		if e.CachedTokens != nil {
			attrs = append(attrs, keyCachedTokens.Int64(*e.CachedTokens))
		}
		if e.ReasoningTokens != nil {
			attrs = append(attrs, keyReasoningTokens.Int64(*e.ReasoningTokens))
		}
	}
	attrs = append(attrs, keyCost.Int64(e.CostNanoUSD), keyCostSource.String(e.CostSource), keyAttempts.Int(e.Attempts))
	if e.ReservedNanoUSD > 0 {
		attrs = append(attrs, keyReserved.Int64(e.ReservedNanoUSD))
	}
	if e.RemainingNanoUSD != nil {
		attrs = append(attrs, keyRemaining.Int64(*e.RemainingNanoUSD))
	}
	if e.FirstChunk > 0 {
		attrs = append(attrs, keyFirstChunk.Float64(e.FirstChunk.Seconds()))
	}
	if e.RetryWait > 0 {
		attrs = append(attrs, keyRetryWait.Float64(e.RetryWait.Seconds()))
	}
	if e.TopUpWait > 0 {
		attrs = append(attrs, keyTopUpWait.Float64(e.TopUpWait.Seconds()))
	}
	return addString(attrs, keyTopUpOutcome, word(e.TopUpOutcome))
}
