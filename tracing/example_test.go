package tracing_test

import (
	"context"
	"fmt"

	"github.com/gridloop/gridloop/tracing"
)

func Example() {
	t := tracing.New(tracing.Config{}) // the global providers; without an SDK nothing is recorded

	ctx, run := t.Run(context.Background(), tracing.RunStart{Agent: "desk", RunID: "r-1"})

	call, chat := t.Chat(ctx, tracing.ChatStart{Instrument: "agent-prime", Family: "agent", Tier: "prime"})
	_, attempt := t.Attempt(call, tracing.AttemptStart{URL: "https://api.thegrid.ai/v1/chat/completions", Number: 1})
	attempt.End(tracing.AttemptEnd{Status: 200, Billed: "yes"})
	chat.End(tracing.ChatEnd{FinishReason: "stop", UsageKnown: true, InputTokens: 900, OutputTokens: 24, CostNanoUSD: 831_600, Attempts: 1})

	_, tool := t.Tool(ctx, tracing.ToolStart{Name: "lookup_order", CallID: "call_1"})
	tool.End(tracing.ToolEnd{Status: "ok"})

	run.End(tracing.RunEnd{StopReason: "completed", Steps: 1, ModelCalls: 1, ToolCalls: 1, CostNanoUSD: 831_600})
	fmt.Println("recorded")
	// Output: recorded
}
