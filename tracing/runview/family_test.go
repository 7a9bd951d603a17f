package runview

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/tracing"
)

// recordedFamily has runs of every kind: one that calls agents, one that a cap stops, a pause and what came after it, a
// failure, and one that is still under way.
func recordedFamily(t *testing.T) *Exporter {
	e := New(Title("Runs of every kind"))
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(t, e, tracing.Config{SpanEvents: true, Content: tracing.ContentSpan})
		r.start = time.Now()
		until := func(ms int) { time.Sleep(time.Until(r.at(ms))) }
		callsAgents(r)
		until(5000)
		capped(r, until)
		until(20_000)
		pausedAndResumed(r)
		until(90_000)
		failed(r)
		until(100_000)
		underWay(r)
	})
	return e
}

// callsAgents has two agents side by side, one of which calls a third.
func callsAgents(r *recorder) {
	ctx, run := r.Run(context.Background(), tracing.RunStart{Start: r.at(0), Agent: "editor", RunID: "r-1"})
	r.call(ctx, model{step: 0, instrument: "agent-max", family: "agent", tier: "max", from: 0, to: 700, in: 900, out: 80, cost: 2_000_000, left: 90_000_000})
	for i, name := range []string{"fact-checker", "style-guide"} {
		from := 702 + i*3
		ctx, sub := r.Run(ctx, tracing.RunStart{Start: r.at(from), Agent: name, RunID: fmt.Sprintf("r-1.%d", i)})
		steps := 2 + i*13
		for s := range steps {
			at := from + 10 + s*150
			r.call(ctx, model{step: s, instrument: "text-standard", family: "text", tier: "standard", kind: "text", from: at, to: at + 90, in: 300, out: 40, cost: 60_000, left: -1})
			r.tool(ctx, use{step: s, name: "search", from: at + 91, to: at + 130, parallel: true})
			if i == 0 && s == 1 {
				tctx, span := r.Tool(ctx, tracing.ToolStart{Start: r.at(at + 92), Name: "ask_librarian", Step: s, Index: 1, Parallel: true})
				_, third := r.Run(tctx, tracing.RunStart{Start: r.at(at + 93), Agent: "librarian"})
				third.End(tracing.RunEnd{End: r.at(at + 400), StopReason: "error", Err: errors.New("x"), ErrorType: "402"})
				span.End(tracing.ToolEnd{End: r.at(at + 401), Status: "error"})
			}
		}
		sub.End(tracing.RunEnd{End: r.at(from + 20 + steps*150), StopReason: "completed", Steps: steps, ModelCalls: steps, ToolCalls: steps, InputTokens: 300, OutputTokens: 40, CostNanoUSD: int64(steps) * 60_000})
	}
	r.call(ctx, model{step: 1, instrument: "text-prime", family: "text", tier: "prime", kind: "text", from: 3100, to: 3900, first: 200, in: 1500, out: 400, reasoning: 120, cost: 1_100_000, left: 87_000_000,
		asked: `[{"role":"user","parts":[{"type":"text","content":"Check this."}]}]`, answered: `[{"role":"assistant","parts":[{"type":"text","content":"Checked."}]}]`})
	run.End(tracing.RunEnd{End: r.at(3902), StopReason: "completed", Steps: 2, ModelCalls: 2, InputTokens: 2400, OutputTokens: 480, CostNanoUSD: 3_100_000})
}

// capped is refused by its cap, runs in circles, and ends with a last word.
func capped(r *recorder, until func(int)) {
	ctx, run := r.Run(context.Background(), tracing.RunStart{Start: r.at(5000), Agent: "researcher", RunID: "r-2"})
	left := int64(20_000_000)
	for s := range 6 {
		at := 5000 + s*400
		left -= 3_000_000
		r.call(ctx, model{step: s, instrument: "agent-prime", family: "agent", tier: "prime", from: at, to: at + 250, in: int64(1000 + s*300), out: 30, cost: 3_000_000, left: left})
		r.tool(ctx, use{step: s, name: "search_notes", from: at + 251, to: at + 380, asked: `{"query":"lamps"}`, answered: "Nothing <b>conclusive</b>."})
	}
	until(7390)
	r.LoopDetected(ctx, tracing.Loop{Detector: "same_call", Step: 5, Count: 3})
	until(7410)
	r.RouteDecision(ctx, tracing.Routing{Step: 7, Instrument: "text-standard", Skipped: []string{"agent-prime", "agent-max"}})
	r.Denied(ctx, tracing.Denial{Instrument: "agent-prime", Step: 6, Kind: "too_big", Meter: "money", Limit: 20_000_000, Requested: 4_000_000})
	r.call(ctx, model{step: 7, instrument: "text-standard", family: "text", tier: "standard", kind: "text", final: true, route: tracing.Route{Reason: "budget", Requested: "agent-prime"}, from: 7415, to: 7900, in: 800, out: 60, cost: 400_000, left: left - 400_000})
	until(7902)
	r.RouteDecision(ctx, tracing.Routing{Step: 7, Instrument: "text-standard", Skipped: []string{"agent-prime", "agent-max"}})
	run.End(tracing.RunEnd{StopReason: "budget", Steps: 8, ModelCalls: 7, ToolCalls: 6, InputTokens: 11_300, OutputTokens: 240, CostNanoUSD: 18_400_000})
}

func pausedAndResumed(r *recorder) {
	ctx, run := r.Run(context.Background(), tracing.RunStart{Start: r.at(20_000), Agent: "payer", RunID: "r-3"})
	r.call(ctx, model{step: 0, instrument: "agent-prime", family: "agent", tier: "prime", from: 20_000, to: 20_700, in: 500, out: 20, cost: 500_000, left: 900_000_000})
	before := run.Traceparent()
	run.End(tracing.RunEnd{End: r.at(20_702), StopReason: "paused", Steps: 1, ModelCalls: 1, InputTokens: 500, OutputTokens: 20, CostNanoUSD: 500_000})
	ctx, run = r.Run(context.Background(), tracing.RunStart{Start: r.at(60_000), Agent: "payer", RunID: "r-3", Resumed: tracing.ParseTraceparent(before)})
	r.tool(ctx, use{step: 0, name: "pay", from: 60_001, to: 60_300, approval: "granted"})
	r.call(ctx, model{step: 1, instrument: "text-prime", family: "text", tier: "prime", kind: "text", from: 60_302, to: 61_000, in: 600, out: 30, cost: 300_000, left: 899_700_000})
	run.End(tracing.RunEnd{End: r.at(61_002), StopReason: "completed", Steps: 2, ModelCalls: 1, ToolCalls: 1, InputTokens: 600, OutputTokens: 30, CostNanoUSD: 300_000})
}

// failed waits for a top-up that does not come.
func failed(r *recorder) {
	ctx, run := r.Run(context.Background(), tracing.RunStart{Start: r.at(90_000), Agent: "coder", RunID: "r-4"})
	r.call(ctx, model{step: 0, instrument: "code-max", family: "code", tier: "max", kind: "code", route: tracing.Route{Reason: "escalation", Requested: "code-prime", Escalated: true}, from: 90_000, to: 95_000,
		attempts: []request{{90_000, 90_050, 402}, {92_000, 92_040, 402}, {94_950, 95_000, 402}}, wait: [2]int{90_050, 94_950}, outcome: "timed_out", err: "402", left: -1})
	run.End(tracing.RunEnd{End: r.at(95_001), StopReason: "error", Err: errors.New("x"), ErrorType: "402", Steps: 1, ModelCalls: 1, Retries: 2})
}

// underWay has a run span that does not end.
func underWay(r *recorder) {
	r.agent = "watcher"
	ctx, _ := r.Run(context.Background(), tracing.RunStart{Start: r.at(100_000), Agent: "watcher", RunID: "r-5"})
	r.call(ctx, model{step: 0, instrument: "text-standard", family: "text", tier: "standard", from: 100_000, to: 100_400, in: 90, out: 10, cost: 20_000, left: 900_000_000})
	for i := range 14 {
		r.tool(ctx, use{step: 0, index: i, name: fmt.Sprintf("probe_%d", i), from: 100_401 + i, to: 100_500 + i*20, parallel: true})
	}
	sub, child := r.Run(ctx, tracing.RunStart{Start: r.at(100_800), Agent: "helper"})
	r.call(sub, model{step: 0, instrument: "text-standard", family: "text", tier: "standard", from: 100_801, to: 100_900, in: 9, out: 1, cost: 2_000, left: -1})
	child.End(tracing.RunEnd{End: r.at(100_901), StopReason: "completed", ModelCalls: 1, InputTokens: 9, OutputTokens: 1, CostNanoUSD: 2_000})
}
