package proof

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/gridloop/gridloop/tracing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// telemetry is a whole SDK in memory.
type telemetry struct {
	*tracing.Tracing
	spans  *tracetest.SpanRecorder
	reader *sdkmetric.ManualReader
	logs   *logs
}

func record(t *testing.T, c tracing.Config, options ...sdktrace.TracerProviderOption) *telemetry {
	t.Helper()
	r := &telemetry{spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader(), logs: &logs{}}
	tracers := sdktrace.NewTracerProvider(append(options, sdktrace.WithSpanProcessor(r.spans))...)
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.reader))
	loggers := sdklog.NewLoggerProvider(sdklog.WithProcessor(r.logs))
	t.Cleanup(func() {
		for _, shutdown := range []func(context.Context) error{tracers.Shutdown, meters.Shutdown, loggers.Shutdown} {
			if err := shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	c.TracerProvider, c.MeterProvider, c.LoggerProvider = tracers, meters, loggers
	r.Tracing = tracing.New(c)
	return r
}

// logs keeps every record.
type logs struct {
	mu      sync.Mutex
	records []sdklog.Record
}

func (l *logs) OnEmit(_ context.Context, r *sdklog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, r.Clone())
	return nil
}

func (*logs) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }
func (*logs) Shutdown(context.Context) error                         { return nil }
func (*logs) ForceFlush(context.Context) error                       { return nil }

func (l *logs) named(name string) []sdklog.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []sdklog.Record
	for _, r := range l.records {
		if r.EventName() == name {
			found = append(found, r)
		}
	}
	return found
}

func fields(r sdklog.Record) map[attribute.Key]attribute.Value {
	m := map[attribute.Key]attribute.Value{}
	r.WalkAttributes(func(kv attribute.KeyValue) bool {
		m[kv.Key] = kv.Value
		return true
	})
	return m
}

func attributes(s sdktrace.ReadOnlySpan) map[attribute.Key]attribute.Value {
	m := map[attribute.Key]attribute.Value{}
	for _, kv := range s.Attributes() {
		m[kv.Key] = kv.Value
	}
	return m
}

func (r *telemetry) metrics(t *testing.T) map[string]metricdata.Metrics {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.reader.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	found := map[string]metricdata.Metrics{}
	for _, scope := range all.ScopeMetrics {
		if scope.Scope.Name != tracing.Scope || scope.Scope.SchemaURL != tracing.SchemaURL {
			t.Errorf("metrics of scope %+v", scope.Scope)
		}
		for _, m := range scope.Metrics {
			found[m.Name] = m
		}
	}
	return found
}

// whole checks that all spans are ended, belong to one trace and have a parent in it, but for one root.
func (r *telemetry) whole(t *testing.T) map[trace.SpanID]sdktrace.ReadOnlySpan {
	t.Helper()
	ended := r.spans.Ended()
	if len(r.spans.Started()) != len(ended) {
		t.Errorf("%d spans were started, %d ended", len(r.spans.Started()), len(ended))
	}
	byID := map[trace.SpanID]sdktrace.ReadOnlySpan{}
	for _, s := range ended {
		byID[s.SpanContext().SpanID()] = s
	}
	roots := 0
	for _, s := range ended {
		if scope := s.InstrumentationScope(); scope.Name != tracing.Scope || scope.SchemaURL != tracing.SchemaURL || scope.Version == "" {
			t.Errorf("%s has scope %+v", s.Name(), scope)
		}
		if s.SpanContext().TraceID() != ended[0].SpanContext().TraceID() {
			t.Errorf("%s is in another trace", s.Name())
		}
		if !s.Parent().IsValid() {
			roots++
		} else if byID[s.Parent().SpanID()] == nil {
			t.Errorf("%s has a parent that was not recorded", s.Name())
		}
	}
	if roots != 1 {
		t.Errorf("%d roots", roots)
	}
	return byID
}

// at is a moment of the recorded run, in seconds.
func at(seconds float64) time.Time {
	return time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
}

func pointer[T any](v T) *T { return &v }

// canary stands in every text that is content, and nowhere else.
const canary = "CANARY-7f3a"

func secret(part string) func() string { return func() string { return fmt.Sprintf(part, canary) } }

// refund is a run with everything in it: a denied call, a top-up, a retry, two parallel tools of which one fails, a tool that
// does not exist, a failed call and a correction by receipt.
func refund(r *telemetry) {
	ctx, run := r.Run(context.Background(), tracing.RunStart{
		Start: at(0), Agent: "refund-desk", Description: "Handles refunds.", RunID: "run-1", Conversation: "talk-9",
	})
	route := tracing.Route{Policy: "desk@3", Reason: "budget", Rule: "light", Requested: "agent-max", Escalated: true}
	r.RouteDecision(ctx, tracing.Routing{Step: 0, Instrument: "agent-prime", Family: "agent", Tier: "prime", Route: route, Candidates: []string{"agent-prime"}, Skipped: []string{"agent-max"}, Probability: 1})
	r.Denied(ctx, tracing.Denial{Instrument: "agent-max", Kind: "held", Cap: "run/money/lifetime", Scope: "run", Meter: "money", Limit: 5, Requested: 9})
	r.BudgetReserved(ctx, tracing.Hold{Reservation: "run-1/0/0/a/1", Instrument: "agent-prime", ReservedNanoUSD: 9_000_000})

	call, chat := r.Chat(ctx, tracing.ChatStart{
		Start: at(0.1), Agent: "refund-desk", Conversation: "talk-9", Instrument: "agent-prime", Family: "agent", Tier: "prime", Kind: "tools", Final: true, Route: route,
		ServerAddress: "api.thegrid.ai", ServerPort: 443, Stream: true, MaxTokens: 4096, Temperature: pointer(0.2), TopP: pointer(0.9),
		Seed: pointer(int64(7)), Stop: []string{"END"}, OutputJSON: true, ReasoningEffort: "low", ReservedNanoUSD: 9_000_000,
		Input:        secret(`[{"role":"user","parts":[{"type":"text","content":"%s in, and so on, and so on"}]}]`),
		Instructions: secret(`[{"type":"text","content":"%s rules"}]`), ToolDefinitions: secret(`[{"type":"function","name":"%s"}]`),
	})
	const url = "https://user:" + canary + "@api.thegrid.ai/v1/chat/completions?token=" + canary
	_, first := r.Attempt(call, tracing.AttemptStart{Start: at(0.1), URL: url, Number: 1, Instrument: "agent-prime", Reservation: "run-1/0/0/a/1"})
	first.End(tracing.AttemptEnd{End: at(0.2), Status: 402, Billed: "no", RequestID: "req-1"})
	r.RetryScheduled(call, tracing.Retry{Instrument: "agent-prime", Attempt: 1, ErrorType: "402", Delay: time.Second})
	r.UnknownRefusal(call, tracing.Refusal{Instrument: "agent-prime", Status: 402, TakenFor: "topup", Detail: "Your purse is light"})
	_, wait := r.TopUpWait(call, tracing.TopUpStart{Instrument: "agent-prime", Start: at(0.2), Tries: 1})
	wait.End(tracing.TopUpEnd{Outcome: "settled", Tries: 2, End: at(1.2)})
	_, second := r.Attempt(call, tracing.AttemptStart{Start: at(1.2), URL: url, Number: 2, Instrument: "agent-prime", Reservation: "run-1/0/0/a/2"})
	second.End(tracing.AttemptEnd{End: at(2), Status: 200, Billed: "yes", RequestID: "req-2", RedirectHost: "https://node.example/r?token=" + canary})
	chat.End(tracing.ChatEnd{
		End: at(2), ResponseModel: "some/model-5", ResponseID: "chatcmpl-1", RequestID: "req-2", FinishReason: "tool_calls", StreamReason: "read",
		InputTokens: 1000, OutputTokens: 50, CachedTokens: pointer(int64(300)), ReasoningTokens: pointer(int64(20)), UsageKnown: true,
		CostNanoUSD: 945_000, FirstChunk: 1500 * time.Millisecond, Attempts: 2, RetryWait: 10 * time.Millisecond, TopUpWait: time.Second, TopUpOutcome: "settled", RemainingNanoUSD: pointer(int64(8_055_000)),
		Output: secret(`[{"role":"assistant","parts":[{"type":"text","content":"%s out"}]}]`),
	})
	r.BudgetSettled(ctx, tracing.Hold{Reservation: "run-1/0/0/a/2", Instrument: "agent-prime", ReservedNanoUSD: 9_000_000, SettledNanoUSD: 945_000})

	_, good := r.Tool(ctx, tracing.ToolStart{Start: at(2), Agent: "refund-desk", Name: "lookup_order", Description: "Read one order.", CallID: "call_1", Conversation: "talk-9", Parallel: true, Approval: "auto", Arguments: secret(`{"order":"%s"}`)})
	_, bad := r.Tool(ctx, tracing.ToolStart{Start: at(2), Agent: "refund-desk", Name: "refund", CallID: "call_2", Index: 1, Parallel: true, Approval: "granted", Arguments: secret(`{"reason":"%s and a reason that is too long for a small limit on content, and then some more words"}`)})
	good.End(tracing.ToolEnd{End: at(2.5), Status: "ok", Result: secret(`"%s"`)})
	bad.End(tracing.ToolEnd{End: at(3), Status: "panic", Abandoned: true, Result: secret("%s went wrong")})
	_, invented := r.Tool(ctx, tracing.ToolStart{Start: at(3), Agent: "refund-desk", Name: canary, Unknown: true, CallID: "call_3"})
	invented.End(tracing.ToolEnd{End: at(3), Status: "tool_not_found"})
	r.LoopDetected(ctx, tracing.Loop{Detector: "same_call", Step: 1, Count: 3, Signature: "9f2c"})

	call, failing := r.Chat(ctx, tracing.ChatStart{Start: at(3), Agent: "refund-desk", Instrument: "text-prime", Family: "text", Tier: "prime", Step: 1, Route: tracing.Route{Policy: "desk@3", Reason: "default"}, ServerAddress: "api.thegrid.ai", ServerPort: 443})
	_, third := r.Attempt(call, tracing.AttemptStart{Start: at(3), URL: url, Number: 1, Instrument: "text-prime"})
	third.End(tracing.AttemptEnd{End: at(4), ErrorType: "timeout", Billed: "maybe"})
	failing.End(tracing.ChatEnd{End: at(4), CostNanoUSD: 50_000, Attempts: 1, Err: fmt.Errorf("agent: %w: the prompt was %s", context.DeadlineExceeded, canary)})
	r.BudgetReleased(ctx, tracing.Hold{Reservation: "final"})
	r.CostAdjusted(ctx, tracing.Adjustment{Instrument: "text-prime", Agent: "refund-desk", RequestID: "req-3", Step: 1, DeltaNanoUSD: -20_000})

	run.End(tracing.RunEnd{
		End: at(5), StopReason: "budget", Steps: 2, ModelCalls: 2, ToolCalls: 3, InputTokens: 1000, OutputTokens: 50, CostNanoUSD: 995_000,
		Instruments: []string{"agent-prime", "text-prime"}, Retries: 1, Escalations: 1, ErrorType: "budget_exceeded", Err: fmt.Errorf("agent: %s", canary),
	})
}

// recordings returns the folder of recorded data, or ends the test.
func recordings(t *testing.T) string {
	t.Helper()
	root := os.Getenv("GRIDLOOP_TESTDATA")
	if root == "" {
		if os.Getenv("GRIDLOOP_REQUIRE") != "" {
			t.Fatal("GRIDLOOP_TESTDATA is not set, and GRIDLOOP_REQUIRE is")
		}
		t.Skip("GRIDLOOP_TESTDATA is not set")
	}
	return root
}
