package agent_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
)

// An agent that is called as a tool, and for which $0.50 are kept from the moment it is called: whatever others spend of the
// tenant's cap, it can finish what it began.
func ExampleLimits_carved() {
	market := gridtest.New(gridtest.Config{})
	defer market.Close()
	client, err := grid.New(grid.Config{APIKey: market.Key(), HTTPClient: &http.Client{Transport: market.Transport()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	ledger, err := budget.Open(context.Background(), budget.Config{
		Store: budget.NewMemory(budget.Volatile()), // sqlitestore, redisstore or pgstore where more than one process spends
		Caps:  []budget.Cap{{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: budget.USD(2), Per: budget.Day(nil)}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	researcher, err := agent.New(agent.Config{
		Name: "researcher", Description: "Reads what there is on a subject.", Market: client, Ledger: ledger,
		Limits: agent.Limits{RunNanoUSD: budget.USD(0.50), Carved: true},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer researcher.Shutdown(context.Background())
	desk, err := agent.New(agent.Config{Name: "desk", Market: client, Ledger: ledger, Agents: []*agent.Agent{researcher}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer desk.Shutdown(context.Background())

	acme := budget.Scope{Kind: budget.ScopeTenant, Name: "acme"}
	market.Model(func(turn gridtest.Turn) gridtest.Reply {
		switch {
		case slices.Contains(turn.Tools, "researcher") && turn.N == 0:
			return gridtest.Reply{Calls: []gridtest.ToolCall{gridtest.Call("researcher", `{"task":"What is known of the grid?"}`)}}
		case len(turn.Tools) == 0: // the researcher is at work
			caps, err := ledger.Snapshot(context.Background(), acme)
			fmt.Println("for others at most $1.50:", caps[0].Left <= budget.USD(1.50), err)
			return gridtest.Reply{Text: "Much."}
		}
		return gridtest.Reply{Text: "Much is known."}
	})
	res, err := agent.Run[string](context.Background(), desk, "What is known of the grid?", agent.Tenant("acme"))
	fmt.Println(res.Output, err)
	caps, err := ledger.Snapshot(context.Background(), acme)
	fmt.Println("what was not spent is free again:", caps[0].Left == budget.USD(2)-res.Cost.NanoUSD, err)
	// Output:
	// for others at most $1.50: true <nil>
	// Much is known. <nil>
	// what was not spent is free again: true <nil>
}
