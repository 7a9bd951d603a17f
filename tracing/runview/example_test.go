package runview_test

import (
	"context"
	"fmt"
	"strings"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/gridloop/gridloop/tracing"
	"github.com/gridloop/gridloop/tracing/runview"
)

func Example() {
	view := runview.New(runview.Title("My desk"))
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(view))
	t := tracing.New(tracing.Config{TracerProvider: provider}) // give it to agent.Config.Tracing

	// What an agent does by itself:
	ctx, run := t.Run(context.Background(), tracing.RunStart{Agent: "desk"})
	_, chat := t.Chat(ctx, tracing.ChatStart{Instrument: "agent-prime", Family: "agent", Tier: "prime"})
	chat.End(tracing.ChatEnd{UsageKnown: true, InputTokens: 900, OutputTokens: 24, CostNanoUSD: 831_600})
	run.End(tracing.RunEnd{StopReason: "completed", Steps: 1, ModelCalls: 1, InputTokens: 900, OutputTokens: 24, CostNanoUSD: 831_600})

	var page strings.Builder
	if err := view.WriteHTML(&page); err != nil { // or WriteFile("run.html")
		fmt.Println(err)
	}
	fmt.Println(strings.Contains(page.String(), "1 completed · $0.000832 · 924 tokens"))
	// Output: true
}
