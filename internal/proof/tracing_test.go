package proof

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/gridloop/gridloop/tracing"
)

func TestARunIsOneTreeOfSpans(t *testing.T) {
	r := record(t, tracing.Config{})
	refund(r)
	byID := r.whole(t)

	var lines []string
	started := r.spans.Started()
	for _, s := range started {
		ended := byID[s.SpanContext().SpanID()]
		depth := 0
		for p := byID[s.Parent().SpanID()]; p != nil; p = byID[p.Parent().SpanID()] {
			depth++
		}
		lines = append(lines, fmt.Sprintf("%s%s %s %s %.1f-%.1f", strings.Repeat("  ", depth), ended.Name(), ended.SpanKind(),
			strings.Trim(ended.Status().Code.String()+" "+ended.Status().Description, " "), ended.StartTime().Sub(at(0)).Seconds(), ended.EndTime().Sub(at(0)).Seconds()))
	}
	want := []string{
		"invoke_agent refund-desk internal Error budget_exceeded 0.0-5.0",
		"  chat agent-prime client Unset 0.1-2.0",
		"    POST client Error 402 0.1-0.2",
		"    gridloop.topup_wait agent-prime internal Unset 0.2-1.2",
		"    POST client Unset 1.2-2.0",
		"  execute_tool lookup_order internal Unset 2.0-2.5",
		"  execute_tool refund internal Error panic 2.0-3.0",
		"  execute_tool _OTHER internal Error tool_not_found 3.0-3.0",
		"  chat text-prime client Error timeout 3.0-4.0",
		"    POST client Error timeout 3.0-4.0",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("the tree is\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	for _, s := range r.spans.Ended() {
		if len(s.Events()) != 0 {
			t.Errorf("%s has span events %v", s.Name(), s.Events())
		}
	}
}

func TestASpanSaysWhatHappened(t *testing.T) {
	r := record(t, tracing.Config{})
	refund(r)
	find := func(name string, nth int) map[attribute.Key]attribute.Value {
		for _, s := range r.spans.Started() {
			if s.Name() == name {
				if nth == 0 {
					return attributes(s)
				}
				nth--
			}
		}
		t.Fatalf("no span %s", name)
		return nil
	}
	for _, row := range []struct {
		span string
		nth  int
		want map[attribute.Key]any
	}{
		{"chat agent-prime", 0, map[attribute.Key]any{
			"gen_ai.operation.name": "chat", "gen_ai.provider.name": "thegrid", "gen_ai.request.model": "agent-prime", "server.address": "api.thegrid.ai", "server.port": int64(443),
			"gen_ai.response.model": "some/model-5", "gen_ai.response.finish_reasons": []string{"tool_call"}, "gen_ai.usage.input_tokens": int64(1000), "gen_ai.usage.output_tokens": int64(50),
			"gen_ai.usage.cache_read.input_tokens": int64(300), "gen_ai.usage.reasoning.output_tokens": int64(20), "gen_ai.response.time_to_first_chunk": 1.5, "gen_ai.output.type": "json",
			"gen_ai.request.stream": true, "gridloop.stream.reason": "read", "gridloop.cost.nano_usd": int64(945_000), "gridloop.cost.source": "estimate", "gridloop.retry.attempts": int64(2), "gridloop.retry.wait": 0.01, "gridloop.topup.wait": 1.0,
			"gridloop.topup.outcome": "settled", "gridloop.route.reason": "budget", "gridloop.route.requested": "agent-max", "gridloop.route.policy": "desk@3", "gridloop.route.rule": "light",
			"gridloop.route.escalated": true, "gridloop.budget.reserved.nano_usd": int64(9_000_000), "gridloop.budget.remaining.nano_usd": int64(8_055_000), "gridloop.request.id": "req-2",
			"gridloop.step.kind": "tools", "gridloop.step.final": true,
		}},
		{"chat text-prime", 0, map[attribute.Key]any{"error.type": "timeout", "gen_ai.response.finish_reasons": []string{"error"}, "gridloop.cost.nano_usd": int64(50_000), "gridloop.budget.remaining.nano_usd": nil, "gridloop.step.final": nil, "gen_ai.usage.input_tokens": nil, "gen_ai.request.stream": nil}},
		{"POST", 0, map[attribute.Key]any{"http.request.method": "POST", "url.full": "https://api.thegrid.ai/v1/chat/completions", "server.address": "api.thegrid.ai", "server.port": int64(443),
			"http.response.status_code": int64(402), "error.type": "402", "http.request.resend_count": nil, "gridloop.billed": "no"}},
		{"POST", 1, map[attribute.Key]any{"http.response.status_code": int64(200), "http.request.resend_count": int64(1), "error.type": nil, "gridloop.redirect.host": "node.example", "gridloop.billed": "yes"}},
		{"POST", 2, map[attribute.Key]any{"http.response.status_code": nil, "error.type": "timeout", "gridloop.billed": "maybe"}},
		{"execute_tool refund", 0, map[attribute.Key]any{"gen_ai.tool.type": "function", "gridloop.tool.approval": "granted", "gridloop.tool.parallel": true, "gridloop.tool.abandoned": true, "gridloop.tool.index": int64(1)}},
		{"invoke_agent refund-desk", 0, map[attribute.Key]any{"gridloop.run.id": "run-1", "gridloop.run.stop_reason": "budget", "gridloop.run.cost.nano_usd": int64(995_000), "gridloop.run.steps": int64(2),
			"gridloop.run.instruments": []string{"agent-prime", "text-prime"}, "gen_ai.usage.input_tokens": nil, "gen_ai.request.model": nil, "gridloop.run.usage.input_tokens": int64(1000)}},
	} {
		have := find(row.span, row.nth)
		for key, want := range row.want {
			if got := have[key].AsInterface(); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %s is %v, want %v", row.span, key, got, want)
			}
		}
	}
}

// words returns every text that left the program.
func (r *telemetry) words(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, s := range r.spans.Ended() {
		all = append(all, s.Name(), s.Status().Description)
		for _, kv := range s.Attributes() {
			all = append(all, string(kv.Key)+"="+kv.Value.String())
		}
		for _, e := range s.Events() {
			all = append(all, fmt.Sprint(e))
		}
	}
	for _, rec := range r.logs.records {
		all = append(all, rec.EventName(), rec.Body().String())
		for key, value := range fields(rec) {
			all = append(all, string(key)+"="+value.String())
		}
	}
	return append(all, fmt.Sprint(r.metrics(t)))
}

func TestNoContentLeavesUnlessAskedFor(t *testing.T) {
	for _, row := range []struct {
		name   string
		env    string
		config tracing.Config
	}{
		{"by default", "", tracing.Config{SpanEvents: true, RunUsage: true}},
		{"an option wins", "true", tracing.Config{Content: tracing.ContentNone}},
		{"a hook can drop all", "true", tracing.Config{ContentHook: func(context.Context, string, string) string { return "" }}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", row.env)
			r := record(t, row.config)
			refund(r)
			for _, text := range r.words(t) {
				if strings.Contains(text, canary) {
					t.Errorf("content left in %s", text)
				}
			}
		})
	}
}

func TestContentIsRecordedWhereItIsAskedFor(t *testing.T) {
	for _, row := range []struct {
		name          string
		mode          tracing.ContentMode
		spans, events bool
	}{
		{"span", tracing.ContentSpan, true, false},
		{"event", tracing.ContentEvent, false, true},
		{"both", tracing.ContentSpanAndEvent, true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			var mu sync.Mutex
			calls := map[string]int{}
			r := record(t, tracing.Config{Content: row.mode, ContentHook: func(_ context.Context, key, text string) string {
				mu.Lock()
				defer mu.Unlock()
				calls[key]++
				return strings.ReplaceAll(text, "rules", "[redacted]")
			}})
			refund(r)
			spans := map[attribute.Key]attribute.Value{}
			for _, s := range r.spans.Ended() {
				for _, kv := range s.Attributes() {
					if strings.Contains(kv.Value.String(), canary) {
						spans[kv.Key] = kv.Value
					}
				}
			}
			details := r.logs.named("gen_ai.client.inference.operation.details")
			want := 0
			if row.spans {
				want = 6
			}
			if len(spans) != want {
				t.Errorf("content on spans in %v", spans)
			}
			if !row.events {
				if len(details) != 0 {
					t.Errorf("%d details events", len(details))
				}
				return
			}
			if len(details) != 2 {
				t.Fatalf("%d details events, want one for each call", len(details))
			}
			have := fields(details[0])
			if have["gen_ai.input.messages"].Type() != attribute.SLICE || !strings.Contains(have["gen_ai.input.messages"].String(), canary) {
				t.Errorf("input is %v", have["gen_ai.input.messages"])
			}
			if s := have["gen_ai.system_instructions"].String(); strings.Contains(s, "rules") || !strings.Contains(s, "[redacted]") {
				t.Errorf("the hook was passed over: %s", s)
			}
			if have["gridloop.cost.nano_usd"].AsInt64() != 945_000 || have["gen_ai.request.model"].AsString() != "agent-prime" {
				t.Errorf("the event says less than the span: %v", have)
			}
			if calls["gen_ai.input.messages"] != 1 {
				t.Errorf("input was made %d times", calls["gen_ai.input.messages"])
			}
		})
	}
}

func TestEventsCarryTheContextOfTheirSpan(t *testing.T) {
	r := record(t, tracing.Config{SpanEvents: true})
	refund(r)
	byID := r.whole(t)
	where := map[string]string{}
	for _, rec := range r.logs.records {
		s := byID[rec.SpanID()]
		if s == nil {
			t.Errorf("%s belongs to no span", rec.EventName())
			continue
		}
		where[rec.EventName()] = fmt.Sprintf("%s %s", rec.Severity(), family(s.Name()))
		if strings.HasPrefix(rec.EventName(), "gridloop.") && !slices.ContainsFunc(s.Events(), func(e sdktrace.Event) bool { return e.Name == rec.EventName() }) {
			t.Errorf("%s is not mirrored on %s", rec.EventName(), s.Name())
		}
	}
	want := map[string]string{
		"gridloop.route.decision": "INFO invoke_agent", "gridloop.budget.denied": "WARN invoke_agent", "gridloop.budget.reserved": "DEBUG invoke_agent",
		"gridloop.budget.settled": "DEBUG invoke_agent", "gridloop.budget.released": "DEBUG invoke_agent", "gridloop.retry.scheduled": "INFO chat", "gridloop.market.unknown_refusal": "WARN chat",
		"gridloop.topup.started": "INFO gridloop.topup_wait", "gridloop.topup.finished": "INFO gridloop.topup_wait", "gridloop.loop.detected": "WARN invoke_agent",
		"gridloop.cost.adjusted": "INFO invoke_agent", "gen_ai.client.operation.exception": "WARN chat", "gen_ai.execute_tool.exception": "WARN execute_tool",
	}
	if !reflect.DeepEqual(where, want) {
		t.Errorf("events are %v, want %v", where, want)
	}
	denied := fields(r.logs.named("gridloop.budget.denied")[0])
	if denied["gridloop.budget.limit"].AsInt64() != 5 || denied["gridloop.budget.kind"].AsString() != "held" || denied["gridloop.budget.unit"].AsString() != "money" {
		t.Errorf("the denial says %v", denied)
	}
	failed := fields(r.logs.named("gen_ai.client.operation.exception")[0])
	if failed["error.type"].AsString() != "timeout" || failed["exception.type"].AsString() != "fmt.wrapError" {
		t.Errorf("the failure says %v", failed)
	}
}

func TestADeniedCallHasAnEventAndNoSpan(t *testing.T) {
	r := record(t, tracing.Config{})
	ctx, run := r.Run(context.Background(), tracing.RunStart{Agent: "desk"})
	r.Denied(ctx, tracing.Denial{Instrument: "agent-max", Scope: "tenant", Kind: "spent"})
	run.End(tracing.RunEnd{StopReason: "budget"})
	if n := len(r.spans.Ended()); n != 1 {
		t.Errorf("%d spans, want that of the run alone", n)
	}
	if len(r.logs.named("gridloop.budget.denied")) != 1 {
		t.Error("no event")
	}
	m := r.metrics(t)
	if got := sum(t, m["gridloop.budget.denials"]); got != 1 {
		t.Errorf("%d denials are counted", got)
	}
	if _, counted := m["gen_ai.client.inference.duration"]; counted {
		t.Error("a call that was never sent is measured")
	}
}

func sum(t *testing.T, m metricdata.Metrics) int64 {
	t.Helper()
	var total int64
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			total += p.Value
		}
	case metricdata.Histogram[int64]:
		for _, p := range data.DataPoints {
			total += p.Sum
		}
	default:
		t.Fatalf("%s is a %T", m.Name, m.Data)
	}
	return total
}

func TestMetricsAddUpAndHoldNoIDs(t *testing.T) {
	r := record(t, tracing.Config{})
	refund(r)
	m := r.metrics(t)
	for name, want := range map[string]int64{
		"gen_ai.client.inference.usage.input_tokens": 1000, "gen_ai.client.inference.usage.output_tokens": 50,
		"gen_ai.client.inference.usage.cache_read.input_tokens": 300, "gen_ai.client.inference.usage.reasoning.output_tokens": 20,
		"gen_ai.client.inference.operation.input_tokens": 1000, "gen_ai.client.inference.operation.output_tokens": 50,
		"gen_ai.invoke_agent.inference_calls": 2, "gen_ai.invoke_agent.tool_calls": 3, "gridloop.run.steps": 2, "gridloop.run.cost.nano_usd": 995_000,
		"gridloop.cost.nano_usd": 975_000, "gridloop.retry.attempts": 3, "gridloop.route.decisions": 1, "gridloop.budget.denials": 1, "gridloop.loop.detections": 1,
	} {
		if _, ok := m[name]; !ok {
			t.Errorf("%s is not recorded", name)
		} else if got := sum(t, m[name]); got != want {
			t.Errorf("%s adds up to %d, want %d", name, got, want)
		}
	}
	for name, want := range map[string][]float64{ // durations equal those of the spans
		"gen_ai.client.inference.duration": {1, 1.9}, "gen_ai.invoke_agent.duration": {5}, "gen_ai.execute_tool.duration": {0, 0.5, 1},
		"gen_ai.client.inference.time_to_first_chunk": {1.5}, "gridloop.topup.wait.duration": {1},
	} {
		data, ok := m[name].Data.(metricdata.Histogram[float64])
		if !ok || m[name].Unit != "s" {
			t.Errorf("%s is %+v", name, m[name])
			continue
		}
		var got []float64
		for _, p := range data.DataPoints {
			got = append(got, p.Sum)
		}
		slices.Sort(got)
		if !slices.EqualFunc(got, want, func(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }) {
			t.Errorf("%s has %v, want %v", name, got, want)
		}
	}
	allowed := map[string]bool{}
	for _, key := range []string{"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model", "server.address", "server.port", "error.type", "gen_ai.token.modality",
		"gen_ai.agent.name", "gen_ai.tool.name", "gen_ai.tool.type", "gridloop.instrument", "gridloop.cost.source", "gridloop.run.stop_reason", "gridloop.topup.outcome",
		"gridloop.route.reason", "gridloop.budget.scope", "gridloop.loop.detector"} {
		allowed[key] = true
	}
	for name, one := range m {
		for _, set := range sets(one) {
			for _, kv := range set.ToSlice() {
				if !allowed[string(kv.Key)] {
					t.Errorf("%s has attribute %s", name, kv.Key)
				}
			}
			required := []attribute.Key{}
			if strings.HasPrefix(name, "gen_ai.client.inference.") {
				required = append(required, "gen_ai.operation.name", "gen_ai.provider.name")
			}
			if name == "gridloop.cost.nano_usd" {
				required = append(required, "gen_ai.agent.name", "gridloop.instrument", "gridloop.cost.source")
				if agent, _ := set.Value("gen_ai.agent.name"); agent.AsString() != "refund-desk" {
					t.Errorf("cost is counted for agent %q", agent.AsString())
				}
			}
			if strings.HasPrefix(name, "gen_ai.client.inference.usage.") {
				required = append(required, "gen_ai.token.modality")
			}
			for _, key := range required {
				if !set.HasValue(key) {
					t.Errorf("%s lacks %s", name, key)
				}
			}
		}
	}
}

func sets(m metricdata.Metrics) []attribute.Set {
	var all []attribute.Set
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			all = append(all, p.Attributes)
		}
	case metricdata.Histogram[int64]:
		for _, p := range data.DataPoints {
			all = append(all, p.Attributes)
		}
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			all = append(all, p.Attributes)
		}
	}
	return all
}

// TestCostOnChatSpansAndAdjustmentsIsTheLedger keeps a ledger beside random calls and corrections.
func TestCostOnChatSpansAndAdjustmentsIsTheLedger(t *testing.T) {
	r := record(t, tracing.Config{})
	random := rand.New(rand.NewPCG(4, 2))
	var ledger int64
	ctx, run := r.Run(context.Background(), tracing.RunStart{Agent: "desk"})
	for i := range 300 {
		cost := random.Int64N(5_000_000)
		_, chat := r.Chat(ctx, tracing.ChatStart{Agent: "desk", Instrument: []string{"agent-prime", "text-max"}[random.IntN(2)], Step: i})
		end := tracing.ChatEnd{CostNanoUSD: cost, Attempts: 1}
		if random.IntN(4) == 0 {
			end.Err = errors.New("cut")
		}
		chat.End(end)
		chat.End(end) // twice is once
		ledger += cost
		if random.IntN(3) == 0 {
			delta := random.Int64N(cost+1) - cost/2
			r.CostAdjusted(ctx, tracing.Adjustment{Agent: "desk", Instrument: "agent-prime", Step: i, DeltaNanoUSD: delta})
			ledger += delta
		}
	}
	run.End(tracing.RunEnd{CostNanoUSD: ledger, InputTokens: 5})
	var traced int64
	for _, s := range r.spans.Ended() {
		traced += attributes(s)["gridloop.cost.nano_usd"].AsInt64() // over all spans, not only chat: nothing else may carry it
	}
	for _, rec := range r.logs.named("gridloop.cost.adjusted") {
		traced += fields(rec)["gridloop.cost.delta.nano_usd"].AsInt64()
	}
	if traced != ledger {
		t.Errorf("traces add up to %d nano-USD, the ledger to %d", traced, ledger)
	}
	if counted := sum(t, r.metrics(t)["gridloop.cost.nano_usd"]); counted != ledger {
		t.Errorf("the counter is at %d nano-USD, the ledger at %d", counted, ledger)
	}
}

func TestFiftyParallelToolsKeepTheirParent(t *testing.T) {
	r := record(t, tracing.Config{Content: tracing.ContentSpan, Attributes: func(context.Context) []attribute.KeyValue {
		return []attribute.KeyValue{attribute.String("tenant", "acme")}
	}})
	ctx, run := r.Run(context.Background(), tracing.RunStart{Agent: "desk"})
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			inner, tool := r.Tool(ctx, tracing.ToolStart{Agent: "desk", Name: fmt.Sprintf("tool_%d", i%7), Index: i, Parallel: true, Arguments: func() string { return "{}" }})
			call, chat := r.Chat(inner, tracing.ChatStart{Instrument: "text-standard"}) // a tool that asks a model itself
			_, attempt := r.Attempt(call, tracing.AttemptStart{URL: "https://api.example/v1", Number: 1})
			attempt.End(tracing.AttemptEnd{Status: 200})
			chat.End(tracing.ChatEnd{UsageKnown: true, InputTokens: 1})
			tool.End(tracing.ToolEnd{Status: "ok", Result: func() string { return `"done"` }})
		})
	}
	wg.Wait()
	run.End(tracing.RunEnd{})
	byID := r.whole(t)
	tools := 0
	for _, s := range r.spans.Ended() {
		want := map[string]string{"execute_tool": "invoke_agent", "chat": "execute_tool", "POST": "chat"}[family(s.Name())]
		if want == "" {
			continue
		}
		if parent := byID[s.Parent().SpanID()]; parent == nil || family(parent.Name()) != want {
			t.Errorf("%s is not inside %s", s.Name(), want)
		}
		if attributes(s)["tenant"].AsString() != "acme" {
			t.Errorf("%s lacks the attributes of the program", s.Name())
		}
		if family(s.Name()) == "execute_tool" {
			tools++
		}
	}
	if tools != 50 {
		t.Errorf("%d tool spans", tools)
	}
	if got := sum(t, r.metrics(t)["gen_ai.client.inference.usage.input_tokens"]); got != 50 {
		t.Errorf("%d tokens are counted", got)
	}
}

func TestAResumedRunLinksToWhereItPaused(t *testing.T) {
	r := record(t, tracing.Config{})
	_, before := r.Run(context.Background(), tracing.RunStart{Agent: "desk"})
	paused := before.Traceparent()
	before.End(tracing.RunEnd{StopReason: "paused"})
	_, after := r.Run(context.Background(), tracing.RunStart{Agent: "desk", Resumed: tracing.ParseTraceparent(paused)})
	after.End(tracing.RunEnd{})
	spans := r.spans.Ended()
	links := spans[1].Links()
	if len(links) != 1 || links[0].SpanContext.SpanID() != spans[0].SpanContext().SpanID() || links[0].SpanContext.TraceID() != spans[0].SpanContext().TraceID() {
		t.Errorf("links are %v", links)
	}
	if spans[1].Parent().IsValid() {
		t.Error("the resumed run is a child of a span that is closed")
	}
}

func TestWithoutHTTPSpansTheCallIsWhatIsPropagated(t *testing.T) {
	for _, none := range []bool{false, true} {
		r := record(t, tracing.Config{NoHTTPSpans: none, Propagator: propagation.TraceContext{}})
		call, chat := r.Chat(context.Background(), tracing.ChatStart{Instrument: "agent-prime"})
		ctx, attempt := r.Attempt(call, tracing.AttemptStart{Number: 1, Instrument: "agent-prime"})
		h := http.Header{}
		r.Inject(ctx, h)
		attempt.End(tracing.AttemptEnd{Status: 200})
		chat.End(tracing.ChatEnd{})
		want, spans := trace.SpanContextFromContext(ctx).SpanID().String(), 2
		if none {
			want, spans = trace.SpanContextFromContext(call).SpanID().String(), 1
		}
		if !strings.Contains(h.Get("traceparent"), want) || len(r.spans.Ended()) != spans {
			t.Errorf("NoHTTPSpans %t: header %q, %d spans", none, h.Get("traceparent"), len(r.spans.Ended()))
		}
		if got := sum(t, r.metrics(t)["gridloop.retry.attempts"]); got != 1 {
			t.Errorf("NoHTTPSpans %t: %d attempts are counted", none, got)
		}
	}
}

func TestRunUsageIsOptIn(t *testing.T) {
	for _, asked := range []bool{false, true} {
		r := record(t, tracing.Config{RunUsage: asked})
		_, run := r.Run(context.Background(), tracing.RunStart{Agent: "desk"})
		run.End(tracing.RunEnd{InputTokens: 7})
		_, have := attributes(r.spans.Ended()[0])["gen_ai.usage.input_tokens"]
		if have != asked {
			t.Errorf("asked %t, recorded %t", asked, have)
		}
	}
}

func TestWhatIsNotSampledIsStillMeasuredAndPropagated(t *testing.T) {
	r := record(t, tracing.Config{Content: tracing.ContentSpan, Propagator: propagation.TraceContext{}}, sdktrace.WithSampler(sdktrace.NeverSample()))
	ctx, run := r.Run(context.Background(), tracing.RunStart{Agent: "desk"})
	ctx, chat := r.Chat(ctx, tracing.ChatStart{Instrument: "agent-prime", Input: func() string { t.Error("content was made for nobody"); return "" }})
	h := http.Header{}
	r.Inject(ctx, h)
	chat.End(tracing.ChatEnd{UsageKnown: true, InputTokens: 3, Output: func() string { t.Error("content was made for nobody"); return "" }})
	run.End(tracing.RunEnd{ModelCalls: 1})
	if len(r.spans.Ended()) != 0 || !strings.HasSuffix(h.Get("traceparent"), "-00") {
		t.Errorf("%d spans, header %q", len(r.spans.Ended()), h.Get("traceparent"))
	}
	if got := sum(t, r.metrics(t)["gen_ai.client.inference.usage.input_tokens"]); got != 3 {
		t.Errorf("%d tokens are counted", got)
	}
}

func TestASamplerSeesWhatTheConventionsPromise(t *testing.T) {
	seen := map[string][]string{}
	r := record(t, tracing.Config{}, sdktrace.WithSampler(sampler(func(p sdktrace.SamplingParameters) {
		for _, kv := range p.Attributes {
			seen[family(p.Name)] = append(seen[family(p.Name)], string(kv.Key))
		}
	})))
	refund(r)
	for span, keys := range map[string][]string{
		"invoke_agent": {"gen_ai.operation.name", "gen_ai.agent.name"},
		"chat":         {"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "server.address", "server.port"},
		"execute_tool": {"gen_ai.operation.name", "gen_ai.tool.name", "gen_ai.tool.type"},
		"POST":         {"http.request.method", "url.full", "server.address", "server.port"},
	} {
		for _, key := range keys {
			if !slices.Contains(seen[span], key) {
				t.Errorf("a sampler does not see %s of %s", key, span)
			}
		}
	}
}

type sampler func(sdktrace.SamplingParameters)

func (s sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	s(p)
	return sdktrace.AlwaysSample().ShouldSample(p)
}

func (sampler) Description() string { return "watches" }

func TestARunThatFailsSaysSoAndNoMore(t *testing.T) {
	r := record(t, tracing.Config{})
	_, run := r.Run(context.Background(), tracing.RunStart{})
	run.End(tracing.RunEnd{Err: errors.New(canary)})
	s := r.spans.Ended()[0]
	if s.Name() != "invoke_agent" || s.Status().Code != codes.Error || s.Status().Description != "_OTHER" {
		t.Errorf("%s ended with %+v", s.Name(), s.Status())
	}
}

func BenchmarkRecordedChat(b *testing.B) {
	tracers := sdktrace.NewTracerProvider()
	defer tracers.Shutdown(context.Background())
	tr := tracing.New(tracing.Config{TracerProvider: tracers})
	b.ReportAllocs()
	for b.Loop() {
		_, chat := tr.Chat(context.Background(), tracing.ChatStart{Instrument: "agent-prime", ServerAddress: "api.example", ServerPort: 443, Family: "agent", Tier: "prime"})
		chat.End(tracing.ChatEnd{UsageKnown: true, InputTokens: 1000, OutputTokens: 50, CostNanoUSD: 5, FinishReason: "stop", Attempts: 1})
	}
}
