package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// metrics holds every instrument, made once.
type metrics struct {
	chatDuration, firstChunk                     metric.Float64Histogram
	inputUsage, outputUsage, cached, reasoning   metric.Int64Counter
	inputPerCall, outputPerCall                  metric.Int64Histogram
	runDuration                                  metric.Float64Histogram
	inferenceCalls, toolCalls, runSteps, runCost metric.Int64Histogram
	toolDuration, topUpDuration, reservedRatio   metric.Float64Histogram
	routes, denials, attempts, loops             metric.Int64Counter
	cost                                         metric.Int64UpDownCounter
	unexplained, missing, estimateError          metric.Int64Gauge
}

// Bucket edges of the conventions.
func doubling(first float64, count int) []float64 {
	edges := make([]float64, count)
	for i := range edges {
		edges[i] = first
		first *= 2
	}
	return edges
}

func quadrupling(first float64, count int) []float64 {
	edges := make([]float64, count)
	for i := range edges {
		edges[i] = first
		first *= 4
	}
	return edges
}

// newMetrics uses what a meter gives and a silent instrument for what it refuses: telemetry never fails its program.
func newMetrics(m metric.Meter) metrics {
	seconds := func(name, what string, edges []float64) metric.Float64Histogram {
		h, err := m.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(what), metric.WithExplicitBucketBoundaries(edges...))
		if err != nil || h == nil {
			return noop.Float64Histogram{}
		}
		return h
	}
	ratio, err := m.Float64Histogram("gridloop.budget.reserved_ratio", metric.WithUnit("1"),
		metric.WithDescription("Tokens reserved for an attempt, divided by tokens used."), metric.WithExplicitBucketBoundaries(0.5, 1, 1.25, 1.5, 2, 3, 5, 10, 20, 50, 100))
	if err != nil || ratio == nil {
		ratio = noop.Float64Histogram{}
	}
	amounts := func(name, unit, what string, edges []float64) metric.Int64Histogram {
		h, err := m.Int64Histogram(name, metric.WithUnit(unit), metric.WithDescription(what), metric.WithExplicitBucketBoundaries(edges...))
		if err != nil || h == nil {
			return noop.Int64Histogram{}
		}
		return h
	}
	counter := func(name, unit, what string) metric.Int64Counter {
		c, err := m.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(what))
		if err != nil || c == nil {
			return noop.Int64Counter{}
		}
		return c
	}
	cost, err := m.Int64UpDownCounter("gridloop.cost.nano_usd", metric.WithUnit("{nano_usd}"), metric.WithDescription("Cost of model calls, with later adjustments."))
	if err != nil || cost == nil {
		cost = noop.Int64UpDownCounter{}
	}
	gauge := func(name, unit, what string) metric.Int64Gauge {
		g, err := m.Int64Gauge(name, metric.WithUnit(unit), metric.WithDescription(what))
		if err != nil || g == nil {
			return noop.Int64Gauge{}
		}
		return g
	}
	calls := doubling(0.01, 14)
	tokens := quadrupling(1, 14)
	counts := doubling(1, 8)
	return metrics{
		chatDuration:   seconds("gen_ai.client.inference.duration", "Duration of model calls, retries included.", calls),
		firstChunk:     seconds("gen_ai.client.inference.time_to_first_chunk", "Time to the first chunk of a stream.", calls),
		inputUsage:     counter("gen_ai.client.inference.usage.input_tokens", "{token}", "Input tokens, cached ones included."),
		outputUsage:    counter("gen_ai.client.inference.usage.output_tokens", "{token}", "Output tokens, reasoning included."),
		cached:         counter("gen_ai.client.inference.usage.cache_read.input_tokens", "{token}", "Input tokens read from a cache."),
		reasoning:      counter("gen_ai.client.inference.usage.reasoning.output_tokens", "{token}", "Output tokens spent on reasoning."),
		inputPerCall:   amounts("gen_ai.client.inference.operation.input_tokens", "{token}", "Input tokens of one model call.", tokens),
		outputPerCall:  amounts("gen_ai.client.inference.operation.output_tokens", "{token}", "Output tokens of one model call.", tokens),
		runDuration:    seconds("gen_ai.invoke_agent.duration", "Duration of runs.", doubling(0.1, 13)),
		inferenceCalls: amounts("gen_ai.invoke_agent.inference_calls", "{inference_call}", "Model calls of one run.", counts),
		toolCalls:      amounts("gen_ai.invoke_agent.tool_calls", "{tool_call}", "Tool calls of one run.", counts),
		toolDuration:   seconds("gen_ai.execute_tool.duration", "Duration of tool calls.", calls),
		topUpDuration:  seconds("gridloop.topup.wait.duration", "Time waited for a balance to be bought.", []float64{0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120}),
		reservedRatio:  ratio,
		runSteps:       amounts("gridloop.run.steps", "{step}", "Steps of one run.", counts),
		runCost:        amounts("gridloop.run.cost.nano_usd", "{nano_usd}", "Cost of one run.", quadrupling(100_000, 14)),
		routes:         counter("gridloop.route.decisions", "{decision}", "Instruments chosen."),
		denials:        counter("gridloop.budget.denials", "{denial}", "Calls refused by a cap."),
		attempts:       counter("gridloop.retry.attempts", "{attempt}", "Requests sent, the first of a call included."),
		loops:          counter("gridloop.loop.detections", "{detection}", "Runs found repeating themselves."),
		cost:           cost,
		unexplained:    gauge("gridloop.audit.unexplained.requests", "{request}", "Requests that were billed and are not ours, by the last audit."),
		missing:        gauge("gridloop.audit.missing.requests", "{request}", "Requests that are ours and were not billed, by the last audit."),
		estimateError:  gauge("gridloop.audit.estimate_error.nano_usd", "{nano_usd}", "What the ledger counts above the bill, by the last audit."),
	}
}

func (m *metrics) chats(ctx context.Context) bool {
	return m.chatDuration.Enabled(ctx) || m.inputUsage.Enabled(ctx) || m.outputUsage.Enabled(ctx) || m.cost.Enabled(ctx) ||
		m.firstChunk.Enabled(ctx) || m.inputPerCall.Enabled(ctx) || m.outputPerCall.Enabled(ctx) || m.cached.Enabled(ctx) || m.reasoning.Enabled(ctx)
}

func (m *metrics) runs(ctx context.Context) bool {
	return m.runDuration.Enabled(ctx) || m.inferenceCalls.Enabled(ctx) || m.toolCalls.Enabled(ctx) || m.runSteps.Enabled(ctx) || m.runCost.Enabled(ctx)
}

// measureKey is one set of metric attributes. What the four words mean depends on the kind.
type measureKey struct {
	kind       byte
	a, b, c, d string
	port       int
}

const (
	ofChat byte = iota
	ofFirstChunk
	ofUsage
	ofCost
	ofRun
	ofRunTotals
	ofRunOurs
	ofTool
	ofTopUp
	ofRoute
	ofDenial
	ofAttempt
	ofLoop
	ofRatio
)

// measure is a set in the two forms that instruments take, made once.
type measure struct {
	record []metric.RecordOption
	add    []metric.AddOption
}

func (t *Tracing) measure(key measureKey) *measure {
	if m, ok := t.measured.get(key); ok {
		return m
	}
	option := metric.WithAttributeSet(attribute.NewSet(key.attributes()...))
	return t.measured.put(key, &measure{[]metric.RecordOption{option}, []metric.AddOption{option}})
}

func (k measureKey) attributes() []attribute.KeyValue {
	var attrs []attribute.KeyValue
	add := func(key attribute.Key, value string) { attrs = addString(attrs, key, value) }
	switch k.kind {
	case ofChat, ofFirstChunk, ofUsage:
		attrs = append(attrs, keyOperation.String("chat"), keyProvider.String(provider))
		add(keyModel, k.a)
		add(keyResponseModel, k.b)
		add(keyServerAddress, k.c)
		if k.c != "" && k.port > 0 {
			attrs = append(attrs, keyServerPort.Int(k.port))
		}
		if k.kind == ofUsage {
			add(keyModality, k.d)
		} else {
			add(keyErrorType, k.d)
		}
	case ofCost:
		add(keyAgent, k.a)
		add(keyInstrument, k.b)
		add(keyCostSource, k.c)
	case ofRun:
		attrs = append(attrs, keyOperation.String("invoke_agent"))
		add(keyAgent, k.a)
		add(keyErrorType, k.b)
	case ofRunTotals:
		add(keyAgent, k.a)
	case ofRunOurs:
		add(keyAgent, k.a)
		add(keyRunStop, k.b)
	case ofTool:
		add(keyAgent, k.a)
		add(keyTool, k.b)
		add(keyToolType, k.c)
		add(keyErrorType, k.d)
	case ofTopUp:
		add(keyInstrument, k.a)
		add(keyTopUpOutcome, k.b)
	case ofRoute:
		add(keyInstrument, k.a)
		add(keyRouteReason, k.b)
	case ofDenial:
		add(keyInstrument, k.a)
		add(keyCapScope, k.b)
	case ofAttempt:
		add(keyInstrument, k.a)
		add(keyErrorType, k.b)
	case ofRatio:
		add(keyInstrument, k.a)
	case ofLoop:
		add(keyDetector, k.a)
	}
	return attrs
}

func (t *Tracing) measureChat(c *ChatSpan, e *ChatEnd, failed string, took time.Duration) {
	m, ctx := &t.metrics, c.ctx
	if !m.chats(ctx) {
		return
	}
	key := measureKey{kind: ofChat, a: c.start.Instrument, b: word(e.ResponseModel), c: c.start.ServerAddress, d: failed, port: c.start.ServerPort}
	set := t.measure(key)
	m.chatDuration.Record(ctx, took.Seconds(), set.record...)
	usage := key
	usage.kind, usage.d = ofUsage, "text"
	if !e.UsageKnown {
		usage.d = "unknown"
		e.InputTokens, e.OutputTokens = 0, 0
	} else {
		m.inputPerCall.Record(ctx, e.InputTokens, set.record...)
		m.outputPerCall.Record(ctx, e.OutputTokens, set.record...)
	}
	used := t.measure(usage)
	m.inputUsage.Add(ctx, e.InputTokens, used.add...)
	m.outputUsage.Add(ctx, e.OutputTokens, used.add...)
	if e.UsageKnown && e.CachedTokens != nil {
		m.cached.Add(ctx, *e.CachedTokens, used.add...)
	}
	if e.UsageKnown && e.ReasoningTokens != nil {
		m.reasoning.Add(ctx, *e.ReasoningTokens, used.add...)
	}
	if c.start.Stream && e.FirstChunk > 0 {
		key.kind, key.d = ofFirstChunk, ""
		m.firstChunk.Record(ctx, e.FirstChunk.Seconds(), t.measure(key).record...)
	}
	t.measureCost(ctx, c.start.Agent, c.start.Instrument, e.CostSource, e.CostNanoUSD)
}

func (t *Tracing) measureCost(ctx context.Context, agent, instrument, source string, nanoUSD int64) {
	if t.metrics.cost.Enabled(ctx) {
		t.metrics.cost.Add(ctx, nanoUSD, t.measure(measureKey{kind: ofCost, a: agent, b: instrument, c: source}).add...)
	}
}

func (t *Tracing) measureRun(ctx context.Context, agent, stop, failed string, took time.Duration, e RunEnd) {
	m := &t.metrics
	if !m.runs(ctx) {
		return
	}
	m.runDuration.Record(ctx, took.Seconds(), t.measure(measureKey{kind: ofRun, a: agent, b: failed}).record...)
	totals := t.measure(measureKey{kind: ofRunTotals, a: agent}).record
	m.inferenceCalls.Record(ctx, int64(e.ModelCalls), totals...)
	m.toolCalls.Record(ctx, int64(e.ToolCalls), totals...)
	ours := t.measure(measureKey{kind: ofRunOurs, a: agent, b: stop}).record
	m.runSteps.Record(ctx, int64(e.Steps), ours...)
	m.runCost.Record(ctx, e.CostNanoUSD, ours...)
}

func (t *Tracing) measureTool(ctx context.Context, k toolKey, failed string, took time.Duration) {
	if t.metrics.toolDuration.Enabled(ctx) {
		t.metrics.toolDuration.Record(ctx, took.Seconds(), t.measure(measureKey{kind: ofTool, a: k.agent, b: k.name, c: k.kind, d: failed}).record...)
	}
}

func (t *Tracing) measureTopUp(ctx context.Context, instrument, outcome string, took time.Duration) {
	if t.metrics.topUpDuration.Enabled(ctx) {
		t.metrics.topUpDuration.Record(ctx, took.Seconds(), t.measure(measureKey{kind: ofTopUp, a: instrument, b: outcome}).record...)
	}
}

func (t *Tracing) measureRoute(ctx context.Context, instrument, reason string) {
	t.count(ctx, t.metrics.routes, measureKey{kind: ofRoute, a: instrument, b: reason})
}

func (t *Tracing) measureDenial(ctx context.Context, instrument, scope string) {
	t.count(ctx, t.metrics.denials, measureKey{kind: ofDenial, a: instrument, b: scope})
}

func (t *Tracing) measureAttempt(ctx context.Context, instrument, failed string) {
	t.count(ctx, t.metrics.attempts, measureKey{kind: ofAttempt, a: instrument, b: failed})
}

func (t *Tracing) measureRatio(ctx context.Context, instrument string, ratio float64) {
	if t.metrics.reservedRatio.Enabled(ctx) {
		t.metrics.reservedRatio.Record(ctx, ratio, t.measure(measureKey{kind: ofRatio, a: instrument}).record...)
	}
}

func (t *Tracing) measureLoop(ctx context.Context, detector string) {
	t.count(ctx, t.metrics.loops, measureKey{kind: ofLoop, a: detector})
}

func (t *Tracing) count(ctx context.Context, c metric.Int64Counter, key measureKey) {
	if c.Enabled(ctx) {
		c.Add(ctx, 1, t.measure(key).add...)
	}
}
