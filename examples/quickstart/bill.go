package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid/gridtest"
)

// bill adds up what the receipts say.
type bill struct {
	receipts int64 // nano-USD
	steps    int
}

// settle waits for the receipts of a run, prints its table, and adds them up.
func settle[T any](ctx context.Context, a *agent.Agent, res *agent.Result[T], b *bill) error {
	estimates := make([]int64, len(res.Steps))
	for i, s := range res.Steps {
		estimates[i] = s.CostNanoUSD
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := agent.Reconcile(ctx, a, res); err != nil {
		fmt.Println("   some receipts are missing:", err)
	}
	table(res.Steps, estimates)
	b.receipts += res.Cost.NanoUSD
	b.steps += len(res.Steps)
	return nil
}

// compare holds the receipts against the market's own bill.
func (b *bill) compare(market *gridtest.Market) error {
	title("3. The bill")
	fmt.Printf("   %d steps, receipts of %s\n", b.steps, budget.FormatUSD(b.receipts))
	if market == nil {
		return nil
	}
	truth := market.Bill("")
	fmt.Printf("   the market's own bill:  %s\n", budget.FormatUSD(truth))
	if truth != b.receipts {
		return errors.New("the receipts do not add up to the market's bill")
	}
	fmt.Println("   they agree to the nano-dollar.")
	return nil
}
