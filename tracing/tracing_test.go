package tracing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	lognoop "go.opentelemetry.io/otel/log/noop"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

func silent() *Tracing {
	return New(Config{
		TracerProvider: tracenoop.NewTracerProvider(),
		MeterProvider:  metricnoop.NewMeterProvider(),
		LoggerProvider: lognoop.NewLoggerProvider(),
	})
}

// everything calls each method once.
func everything(t *Tracing) {
	ctx, run := t.Run(context.Background(), RunStart{Agent: "desk"})
	t.RouteDecision(ctx, Routing{Instrument: "agent-prime", Route: Route{Reason: "default"}})
	t.Denied(ctx, Denial{Scope: "run"})
	t.BudgetReserved(ctx, Hold{})
	call, chat := t.Chat(ctx, ChatStart{Instrument: "agent-prime"})
	request, attempt := t.Attempt(call, AttemptStart{URL: "https://api.example/v1", Number: 1})
	t.Inject(request, http.Header{})
	t.Inject(request, nil)
	attempt.End(AttemptEnd{Status: 402})
	_, wait := t.TopUpWait(call, TopUpStart{Instrument: "agent-prime"})
	wait.End(TopUpEnd{Outcome: "settled"})
	t.RetryScheduled(call, Retry{})
	t.UnknownRefusal(call, Refusal{})
	chat.End(ChatEnd{})
	chat.End(ChatEnd{})
	t.BudgetSettled(ctx, Hold{})
	t.BudgetReleased(ctx, Hold{})
	_, tool := t.Tool(ctx, ToolStart{Name: "lookup"})
	tool.End(ToolEnd{Status: "panic"})
	t.LoopDetected(ctx, Loop{})
	t.CostAdjusted(ctx, Adjustment{})
	run.End(RunEnd{Err: errors.New("x")})
	_ = run.Traceparent()
}

func TestNilRecordsNothingAndNeverPanics(t *testing.T) {
	everything(nil)
	var (
		run     *RunSpan
		chat    *ChatSpan
		attempt *AttemptSpan
		wait    *TopUpSpan
		tool    *ToolSpan
	)
	run.End(RunEnd{})
	chat.End(ChatEnd{})
	attempt.End(AttemptEnd{})
	wait.End(TopUpEnd{})
	tool.End(ToolEnd{})
	if got := run.Traceparent(); got != "" {
		t.Errorf("a span that is not there is identified as %q", got)
	}
	ctx := context.WithValue(context.Background(), key{}, 1)
	if got, _ := (*Tracing)(nil).Chat(ctx, ChatStart{}); got != ctx {
		t.Error("the context was changed")
	}
}

type key struct{}

func TestTheZeroConfigAndSilentProvidersAreUsable(t *testing.T) {
	everything(New(Config{}))
	everything(silent())
	everything(New(Config{NoHTTPSpans: true, SpanEvents: true, RunUsage: true, Content: ContentSpanAndEvent}))
}

func TestSilentSpansCostAtMostThreeAllocations(t *testing.T) {
	tr, at := silent(), time.Now()
	ctx := context.Background()
	content := func() string { t.Error("content was asked for"); return "" }
	for _, row := range []struct {
		name string
		call func()
	}{
		{"run", func() {
			_, s := tr.Run(ctx, RunStart{Agent: "desk", Start: at})
			s.End(RunEnd{End: at})
		}},
		{"all of a run", func() {
			ctx, s := tr.Run(ctx, RunStart{Agent: "desk", Start: at})
			for range 100 {
				ctx, s := tr.Chat(ctx, ChatStart{Instrument: "agent-prime", Start: at})
				_, a := tr.Attempt(ctx, AttemptStart{URL: "https://api.example/v1/chat/completions", Start: at})
				a.End(AttemptEnd{End: at})
				s.End(ChatEnd{End: at})
				_, l := tr.Tool(ctx, ToolStart{Name: "lookup_order", Start: at})
				l.End(ToolEnd{End: at})
			}
			s.End(RunEnd{End: at})
		}},
		{"chat", func() {
			_, s := tr.Chat(ctx, ChatStart{Instrument: "agent-prime", ServerAddress: "api.example", ServerPort: 443, Start: at, Input: content})
			s.End(ChatEnd{End: at, Output: content})
		}},
		{"attempt", func() {
			_, s := tr.Attempt(ctx, AttemptStart{URL: "https://api.example/v1/chat/completions", Number: 2, Start: at})
			s.End(AttemptEnd{End: at})
		}},
		{"tool", func() {
			_, s := tr.Tool(ctx, ToolStart{Name: "lookup_order", Start: at, Arguments: content})
			s.End(ToolEnd{End: at, Result: content})
		}},
		{"events", func() {
			tr.RouteDecision(ctx, Routing{Instrument: "agent-prime"})
			tr.BudgetSettled(ctx, Hold{Reservation: "r"})
			tr.CostAdjusted(ctx, Adjustment{DeltaNanoUSD: 1})
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := testing.AllocsPerRun(200, row.call); got > 3 {
				t.Errorf("%v allocations, want at most 3", got)
			}
		})
	}
}

// counting counts the spans that are asked for and records none.
type counting struct {
	tracenoop.TracerProvider
	started int
}

type countingTracer struct {
	tracenoop.Tracer
	by *counting
}

func (c *counting) Tracer(string, ...trace.TracerOption) trace.Tracer {
	return countingTracer{by: c}
}

func (c countingTracer) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	c.by.started++
	return c.Tracer.Start(ctx, name, options...)
}

func TestARunWithoutATraceAsksForNoMoreSpans(t *testing.T) {
	c, other := &counting{}, &counting{}
	tr := New(Config{TracerProvider: c})
	ask := func(tr *Tracing, ctx context.Context) {
		ctx, _ = tr.Chat(ctx, ChatStart{Instrument: "agent-prime"})
		tr.Attempt(ctx, AttemptStart{URL: "https://api.example/v1/chat/completions"})
		tr.Tool(ctx, ToolStart{Name: "lookup_order"})
	}
	ctx, _ := tr.Run(context.Background(), RunStart{Agent: "desk"})
	ask(tr, ctx)
	if c.started != 1 {
		t.Errorf("%d spans were asked for, want that of the run alone", c.started)
	}
	ask(New(Config{TracerProvider: other}), ctx)
	if other.started != 3 {
		t.Errorf("another provider was asked for %d spans, want 3", other.started)
	}
	ask(tr, trace.ContextWithSpanContext(ctx, ParseTraceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")))
	if c.started != 4 {
		t.Errorf("within a trace that came later %d spans were asked for, want 3", c.started-1)
	}
}

func TestCachesAreBounded(t *testing.T) {
	tr := silent()
	for i := range cacheLimit + 100 {
		_, s := tr.Tool(context.Background(), ToolStart{Name: fmt.Sprintf("tool_%d", i)})
		s.End(ToolEnd{})
	}
	if got := len(tr.starts.m); got != cacheLimit {
		t.Errorf("%d entries are kept, want %d", got, cacheLimit)
	}
}

func TestTheOptionWinsOverTheEnvironment(t *testing.T) {
	for _, row := range []struct {
		name          string
		mode          ContentMode
		env           string
		spans, events bool
	}{
		{"nothing by default", ContentFromEnv, "", false, false},
		{"an unknown value is nothing", ContentFromEnv, "yes please", false, false},
		{"false is nothing", ContentFromEnv, "false", false, false},
		{"span_only", ContentFromEnv, "span_only", true, false},
		{"event_only", ContentFromEnv, "event_only", false, true},
		{"span_and_event", ContentFromEnv, "SPAN_AND_EVENT", true, true},
		{"true", ContentFromEnv, "true", true, true},
		{"none wins", ContentNone, "true", false, false},
		{"span wins", ContentSpan, "event_only", true, false},
		{"event wins", ContentEvent, "span_only", false, true},
		{"both win", ContentSpanAndEvent, "", true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Setenv(contentVariable, row.env)
			got := New(Config{Content: row.mode}).content
			if got.spans != row.spans || got.events != row.events {
				t.Errorf("spans %t, events %t", got.spans, got.events)
			}
		})
	}
}

func TestShortenedContentStaysValidAndKeepsTheNewest(t *testing.T) {
	long := strings.Repeat("ü", 500)
	for _, row := range []struct {
		name, text string
		limit      int
		want       func(string) bool
	}{
		{"long strings are cut first", `[{"role":"user","parts":[{"type":"text","content":"` + long + `"}]}]`, 200, func(s string) bool { return strings.Contains(s, `"role":"user"`) }},
		{"old messages go next", "[" + strings.Repeat(`{"role":"old"},`, 50) + `{"role":"new"}]`, 40, func(s string) bool { return s == `[{"role":"old"},{"role":"new"}]` }},
		{"what cannot be cut is left out", `{"a":1111111111,"b":2222222222}`, 10, func(s string) bool { return s == "" }},
		{"a list of what cannot be cut is left out", `[11111111111111111111]`, 10, func(s string) bool { return s == "" }},
		{"plain text is cut at a rune", long, 7, func(s string) bool { return s == "üüü" }},
		{"numbers keep their digits", `{"n":12345678901234567890,"s":"` + long + `"}`, 100, func(s string) bool { return strings.Contains(s, "12345678901234567890") }},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := shortened(row.text, row.limit)
			if len(got) > row.limit || !row.want(got) {
				t.Errorf("%d bytes: %s", len(got), got)
			}
		})
	}
}

func FuzzShortenedContent(f *testing.F) {
	f.Add(`[{"role":"user","parts":[{"type":"text","content":"hello there, this is long enough to be cut"}]}]`, 40)
	f.Add(`not json at all, but long`, 5)
	f.Add(`[[[[[["deep"]]]]]]`, 9)
	f.Add("\"\xff\xfe broken\"", 4)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		if limit <= 0 || limit > 1<<16 || len(s) <= limit {
			return
		}
		got := shortened(s, limit)
		if len(got) > limit {
			t.Fatalf("%d bytes for a limit of %d", len(got), limit)
		}
		if _, isJSON := decode(s); isJSON && got != "" && !json.Valid([]byte(got)) {
			t.Fatalf("%q became %q, which is no JSON", s, got)
		}
		if utf8.ValidString(s) && !utf8.ValidString(got) {
			t.Fatalf("%q became %q, which is no UTF-8", s, got)
		}
		if v, ok := decode(s); ok {
			structured(v)
		}
	})
}

func TestAPanickingHookDropsTheContent(t *testing.T) {
	c := newContent(Config{Content: ContentSpan, ContentHook: func(context.Context, string, string) string { panic("no") }}, "")
	var got captured
	c.capture(context.Background(), &got, keyInput, func() string { return "secret" })
	if got.count != 0 {
		t.Errorf("recorded %v", got.texts)
	}
}

func TestURLsLoseQueriesAndUsers(t *testing.T) {
	for _, row := range []struct{ name, url, want string }{
		{"plain", "https://api.example/v1/chat/completions", "https://api.example/v1/chat/completions"},
		{"query", "https://api.example/r?token=SECRET", "https://api.example/r"},
		{"fragment", "https://api.example/r#SECRET", "https://api.example/r"},
		{"user", "https://me:SECRET@api.example:8443/r", "https://api.example:8443/r"},
		{"broken", "https://api.example/%zzSECRET", ""},
		{"no host", "SECRET", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := bareURL(row.url); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
	for _, row := range []struct{ name, host, want string }{
		{"host", "node.example", "node.example"},
		{"host and port", "node.example:8443", "node.example:8443"},
		{"a whole URL", "https://me:SECRET@node.example/r/v1?token=SECRET", "node.example"},
		{"nothing", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := bareHost(row.host); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestFailuresAreNamedAndNeverQuoted(t *testing.T) {
	for _, row := range []struct {
		name, given string
		err         error
		want        string
	}{
		{"none", "", nil, ""},
		{"given", "402", errors.New("x"), "402"},
		{"canceled", "", fmt.Errorf("agent: %w", context.Canceled), "canceled"},
		{"timeout", "", fmt.Errorf("agent: %w", context.DeadlineExceeded), "timeout"},
		{"unknown", "", errors.New("the prompt was: hello"), "_OTHER"},
		{"a text is no name", "the prompt was: hello", nil, "_OTHER"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := errorType(row.given, row.err); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestFinishReasonsAreThoseOfTheConventions(t *testing.T) {
	for wire, want := range map[string]string{"stop": "stop", "length": "length", "tool_calls": "tool_call", "function_call": "tool_call", "content_filter": "content_filter", "": "error", "so long": "_OTHER"} {
		if got := finishReason(wire); got != want {
			t.Errorf("%q is recorded as %q, want %q", wire, got, want)
		}
	}
}

func TestTraceparentSurvivesAPause(t *testing.T) {
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	run := &RunSpan{span: span{ctx: trace.ContextWithSpanContext(context.Background(), sc)}}
	back := ParseTraceparent(run.Traceparent())
	if back.TraceID() != sc.TraceID() || back.SpanID() != sc.SpanID() {
		t.Errorf("%v came back as %v", sc, back)
	}
	for _, bad := range []string{"", "00-x", "hello"} {
		if ParseTraceparent(bad).IsValid() {
			t.Errorf("%q is read as a span", bad)
		}
	}
}

func TestInjectWritesHeaders(t *testing.T) {
	tr := New(Config{Propagator: propagation.TraceContext{}})
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	h := http.Header{}
	tr.Inject(trace.ContextWithSpanContext(context.Background(), sc), h)
	if !strings.Contains(h.Get("traceparent"), sc.TraceID().String()) {
		t.Errorf("headers are %v", h)
	}
}

func BenchmarkSilentChat(b *testing.B) {
	tr, at, ctx := silent(), time.Now(), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		_, s := tr.Chat(ctx, ChatStart{Instrument: "agent-prime", ServerAddress: "api.example", ServerPort: 443, Start: at})
		s.End(ChatEnd{End: at})
	}
}

func BenchmarkSilentTool(b *testing.B) {
	tr, at, ctx := silent(), time.Now(), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		_, s := tr.Tool(ctx, ToolStart{Name: "lookup_order", Start: at})
		s.End(ToolEnd{End: at})
	}
}
