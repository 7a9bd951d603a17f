package runview

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	lognoop "go.opentelemetry.io/otel/log/noop"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/gridloop/gridloop/tracing"
)

// recorder writes spans as an agent does, at moments that it is told.
type recorder struct {
	*tracing.Tracing
	exporter *Exporter
	start    time.Time
	agent    string
}

func newRecorder(t testing.TB, e *Exporter, c tracing.Config) *recorder {
	t.Helper()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(e), sdktrace.WithIDGenerator(&ids{}), sdktrace.WithSampler(sdktrace.AlwaysSample()))
	t.Cleanup(func() {
		if err := provider.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	c.TracerProvider, c.MeterProvider, c.LoggerProvider = provider, metricnoop.NewMeterProvider(), lognoop.NewLoggerProvider()
	if c.Content == tracing.ContentFromEnv {
		c.Content = tracing.ContentNone
	}
	return &recorder{Tracing: tracing.New(c), exporter: e, agent: "desk", start: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
}

// ids counts, so that a recording is always the same.
type ids struct{ n atomic.Uint64 }

func (i *ids) NewIDs(ctx context.Context) (oteltrace.TraceID, oteltrace.SpanID) {
	var id oteltrace.TraceID
	binary.BigEndian.PutUint64(id[:], 0x67726964)
	binary.BigEndian.PutUint64(id[8:], i.n.Add(1))
	return id, i.NewSpanID(ctx, id)
}

func (i *ids) NewSpanID(context.Context, oteltrace.TraceID) (id oteltrace.SpanID) {
	binary.BigEndian.PutUint64(id[:], i.n.Add(1))
	return id
}

func (r *recorder) at(ms int) time.Time { return r.start.Add(time.Duration(ms) * time.Millisecond) }

func pointer[T any](v T) *T { return &v }

// model is one model call, in milliseconds.
type model struct {
	step                       int
	instrument, family, tier   string
	kind                       string
	route                      tracing.Route
	from, to                   int
	first                      int // until the first chunk
	attempts                   []request
	wait                       [2]int
	outcome                    string
	in, out, cached, reasoning int64
	cost, left                 int64
	final                      bool
	err                        string
	asked, answered            string
}

type request struct{ from, to, status int }

func (r *recorder) call(ctx context.Context, m model) {
	if m.route.Reason == "" {
		m.route.Reason = "default"
	}
	if m.kind == "" {
		m.kind = "tools"
	}
	start := tracing.ChatStart{
		Start: r.at(m.from), Agent: r.agent, Instrument: m.instrument, Family: m.family, Tier: m.tier, Step: m.step, Kind: m.kind, Final: m.final,
		Route: m.route, ServerAddress: "api.thegrid.ai", ServerPort: 443, ReservedNanoUSD: m.cost * 5, Stream: m.first > 0,
	}
	if m.asked != "" {
		start.Input = func() string { return m.asked }
	}
	ctx, span := r.Chat(ctx, start)
	if m.attempts == nil {
		m.attempts = []request{{m.from, m.to, 200}}
	}
	for i, a := range m.attempts {
		_, attempt := r.Attempt(ctx, tracing.AttemptStart{Start: r.at(a.from), URL: "https://api.thegrid.ai/v1/chat/completions", Number: i + 1, Instrument: m.instrument})
		end := tracing.AttemptEnd{End: r.at(a.to), Status: a.status, Billed: "yes"}
		if a.status >= 400 {
			end.Billed = "no"
		}
		if a.status == 0 {
			end.Billed, end.ErrorType = "maybe", "timeout"
		}
		attempt.End(end)
	}
	if m.wait[1] > 0 {
		_, w := r.TopUpWait(ctx, tracing.TopUpStart{Start: r.at(m.wait[0]), Instrument: m.instrument, Tries: 1})
		if m.outcome == "" {
			m.outcome = "settled"
		}
		w.End(tracing.TopUpEnd{End: r.at(m.wait[1]), Outcome: m.outcome, Tries: 2})
	}
	end := tracing.ChatEnd{
		End: r.at(m.to), ResponseModel: "market/model-5", FinishReason: "tool_calls", InputTokens: m.in, OutputTokens: m.out, UsageKnown: m.in > 0,
		CostNanoUSD: m.cost, Attempts: len(m.attempts), FirstChunk: time.Duration(m.first) * time.Millisecond, ErrorType: m.err,
	}
	if m.cached > 0 {
		end.CachedTokens = pointer(m.cached)
	}
	if m.reasoning > 0 {
		end.ReasoningTokens = pointer(m.reasoning)
	}
	if m.left >= 0 {
		end.RemainingNanoUSD = pointer(m.left)
	}
	if m.answered != "" {
		end.Output = func() string { return m.answered }
	}
	span.End(end)
}

type use struct {
	step, index     int
	name            string
	from, to        int
	parallel        bool
	status          string
	approval        string
	asked, answered string
}

func (r *recorder) tool(ctx context.Context, u use) {
	start := tracing.ToolStart{Start: r.at(u.from), Agent: r.agent, Name: u.name, Step: u.step, Index: u.index, Parallel: u.parallel, Approval: u.approval, CallID: "call"}
	if u.asked != "" {
		start.Arguments = func() string { return u.asked }
	}
	_, span := r.Tool(ctx, start)
	end := tracing.ToolEnd{End: r.at(u.to), Status: u.status}
	if u.answered != "" {
		end.Result = func() string { return u.answered }
	}
	span.End(end)
}

// desk is the run of the README: a rule that plans on the strongest tier, three tools side by side, a dry balance that is
// waited out, a busy market, a call with wrong arguments, and an answer in JSON.
func desk(r *recorder) {
	ctx, run := r.Run(context.Background(), tracing.RunStart{Start: r.at(0), Agent: "refund-desk", RunID: "r-7d1f"})
	r.call(ctx, model{step: 0, instrument: "agent-max", family: "agent", tier: "max", route: tracing.Route{Policy: "desk@3", Reason: "rule", Rule: "plan-on-max"},
		from: 0, to: 1480, first: 420, in: 1412, out: 96, cost: 3_393_000, left: 246_607_000})
	r.tool(ctx, use{step: 0, index: 0, name: "lookup_order", from: 1482, to: 1790, parallel: true})
	r.tool(ctx, use{step: 0, index: 1, name: "shipping_status", from: 1482, to: 2240, parallel: true})
	r.tool(ctx, use{step: 0, index: 2, name: "refund_policy", from: 1483, to: 1620, parallel: true})
	r.call(ctx, model{step: 1, instrument: "agent-prime", family: "agent", tier: "prime", from: 2242, to: 26_310, first: 23_200,
		attempts: []request{{2242, 2330, 402}, {4400, 4480, 402}, {25_020, 26_310, 200}}, wait: [2]int{2330, 25_020},
		in: 1698, out: 41, cached: 1408, cost: 1_630_312, left: 244_976_688})
	r.tool(ctx, use{step: 1, name: "refund", from: 26_312, to: 26_314, status: "invalid_arguments"})
	r.call(ctx, model{step: 2, instrument: "agent-prime", family: "agent", tier: "prime", from: 26_316, to: 29_140, first: 2300,
		attempts: []request{{26_316, 26_390, 429}, {27_420, 27_470, 500}, {28_300, 29_140, 200}},
		in:       1811, out: 38, cached: 1664, cost: 1_733_437, left: 243_243_251})
	r.tool(ctx, use{step: 2, name: "refund", from: 29_142, to: 29_560, approval: "granted"})
	r.call(ctx, model{step: 3, instrument: "agent-prime", family: "agent", tier: "prime", from: 29_562, to: 30_650, first: 310, in: 1902, out: 61, cached: 1792, cost: 1_840_313, left: 241_402_938})
	r.call(ctx, model{step: 4, instrument: "text-standard", family: "text", tier: "standard", kind: "extract", from: 30_652, to: 31_390, in: 1204, out: 57, cost: 315_250, left: 241_087_688})
	run.End(tracing.RunEnd{
		End: r.at(31_392), StopReason: "completed", Steps: 5, ModelCalls: 5, ToolCalls: 5, InputTokens: 8027, OutputTokens: 293, CostNanoUSD: 8_912_312, Retries: 4,
		Instruments: []string{"agent-max", "agent-prime", "text-standard"},
	})
}

// long is a run of so many steps, with a trouble now and then.
func long(r *recorder, steps int, stop string) {
	ctx, run := r.Run(context.Background(), tracing.RunStart{Start: r.at(0), Agent: "researcher", RunID: "r-long"})
	at, left, in, out, cost := 0, int64(2_000_000_000), int64(0), int64(0), int64(0)
	calls := 0
	for i := range steps {
		m := model{step: i, instrument: "agent-prime", family: "agent", tier: "prime", from: at, to: at + 400 + i*37%900, first: 150, in: int64(900 + i*61), out: int64(30 + i*17%200)}
		switch {
		case i%13 == 5:
			m.instrument, m.family = "code-prime", "code"
			m.kind = "code"
		case i%7 == 3:
			m.instrument, m.family, m.tier = "text-standard", "text", "standard"
			m.route.Reason, m.route.Requested = "budget", "text-prime"
		}
		if i%41 == 17 {
			m.to += 1500
			m.attempts = []request{{m.from, m.from + 80, 429}, {m.from + 1200, m.to, 200}}
		}
		if i == steps/3 {
			m.to += 9000
			m.attempts = []request{{m.from, m.from + 70, 402}, {m.from + 9000, m.to, 200}}
			m.wait = [2]int{m.from + 70, m.from + 9000}
		}
		m.cost = (m.in + m.out) * 937
		left -= m.cost
		m.left = max(left, 0)
		r.call(ctx, m)
		at = m.to + 2
		for j := range i % 4 {
			u := use{step: i, index: j, name: []string{"search_notes", "read_page", "run_query"}[j], from: at, to: at + 60 + (i+j)*53%700, parallel: i%4 > 1}
			if i%29 == 11 && j == 0 {
				u.status = "timeout"
			}
			r.tool(ctx, u)
			calls++
			if !u.parallel || j == i%4-1 {
				at = u.to + 1
			}
		}
		in, out, cost = in+m.in, out+m.out, cost+m.cost
	}
	run.End(tracing.RunEnd{End: r.at(at + 1), StopReason: stop, Steps: steps, ModelCalls: steps, ToolCalls: calls, InputTokens: in, OutputTokens: out, CostNanoUSD: cost, Retries: 1 + steps/41})
}

func recordedDesk(t testing.TB) *Exporter {
	e := New(Title("gridloop"))
	desk(newRecorder(t, e, tracing.Config{}))
	return e
}

func recordedLong(t testing.TB, steps int) *Exporter {
	e := New(Title(fmt.Sprintf("%d steps", steps)))
	long(newRecorder(t, e, tracing.Config{}), steps, "budget")
	return e
}
