package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gridloop/gridloop/grid/gridtest"
)

// simulated is The Grid in this process. What the model says is written here;
// everything else is the market's: the redirect, balances, top-ups, lots,
// receipts and the bill.
func simulated() *gridtest.Market {
	m := gridtest.New(gridtest.Config{
		// Nobody has bought tokens of agent-prime yet: the first call of a step
		// there gets 402, and the platform's Auto Top Up begins to buy.
		Balance: map[string]int64{"agent-prime": 0},
		TopUp:   gridtest.TopUp{Delay: 1200 * time.Millisecond},
		Latency: 60 * time.Millisecond,
	})
	m.Model(func(t gridtest.Turn) gridtest.Reply {
		if slices.Contains(t.Tools, "search_notes") {
			return gridtest.Reply{Calls: []gridtest.ToolCall{
				gridtest.Call("search_notes", fmt.Sprintf(`{"query":"late lamps, attempt %d"}`, t.N+1)),
			}}
		}
		if strings.Contains(t.Last().Content, "Stop here") {
			return gridtest.Reply{Text: "The notes say nothing conclusive about late lamps. I searched until the budget was used up; " +
				"what is missing is a look at the carrier's own records.", DeltaDelay: 40 * time.Millisecond}
		}
		return refundTurn(t)
	})
	return m
}

func refundTurn(t gridtest.Turn) gridtest.Reply {
	switch t.N {
	case 0: // three questions at once
		return gridtest.Reply{Calls: []gridtest.ToolCall{
			gridtest.Call("lookup_order", `{"order":"1042"}`),
			gridtest.Call("shipping_status", `{"order":"1042"}`),
			gridtest.Call("refund_policy", `{"topic":"late"}`),
		}}
	case 1: // a mistake, as models make them: an amount in words
		return gridtest.Reply{Calls: []gridtest.ToolCall{gridtest.Call("refund", `{"order":"1042","cents":"a quarter"}`)}}
	case 2:
		return gridtest.Reply{Calls: []gridtest.ToolCall{gridtest.Call("refund", `{"order":"1042","cents":1225,"why":"6 days late"}`)}}
	case 3: // prose where JSON was asked for
		return gridtest.Reply{Text: "I have refunded $12.25, because the lamp came six days late."}
	}
	return gridtest.Reply{Text: `{"refunded":true,"cents":1225,"why":"The lamp came 6 days late; the policy gives a quarter of $49.00."}`}
}
