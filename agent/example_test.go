package agent_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

type Order struct {
	ID    int `json:"id"`
	Cents int `json:"cents"`
}

type OrderID struct {
	Order int `json:"order"`
}

func lookupOrder(_ context.Context, in OrderID) (Order, error) {
	return Order{ID: in.Order, Cents: 4900}, nil
}

// A run on a simulated market: the model calls a tool and answers.
func Example() {
	market := gridtest.New(gridtest.Config{})
	defer market.Close()
	market.Script("refund", nil,
		gridtest.CallTools(gridtest.Call("lookup_order", `{"order":42}`)),
		gridtest.Say("Order 42 cost $49.00."))
	client, err := grid.New(grid.Config{APIKey: market.Key(), HTTPClient: &http.Client{Transport: market.Transport()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	desk, err := agent.New(agent.Config{
		Name: "refund-desk", Instructions: "You handle refunds.", Market: client,
		Tools: []tools.Tool{tools.New("lookup_order", "Read one order.", lookupOrder, tools.ReadOnly())},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer desk.Shutdown(context.Background())

	res, err := agent.Run[string](context.Background(), desk, "What did order 42 cost?")
	fmt.Println(res.Output, err)
	fmt.Println(res.Stop, len(res.Steps), "steps,", len(res.History()), "messages")
	for _, s := range res.Steps {
		fmt.Println(s.Step, s.Instrument, s.Reason)
	}
	fmt.Println("bill within the cap:", market.Bill("") <= budget.USD(1))
	// Output:
	// Order 42 cost $49.00. <nil>
	// completed 2 steps, 5 messages
	// 0 agent-prime default
	// 1 agent-prime default
	// bill within the cap: true
}
