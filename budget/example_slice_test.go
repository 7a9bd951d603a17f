package budget_test

import (
	"context"
	"fmt"

	"github.com/gridloop/gridloop/budget"
)

// A gateway reserves for a tenant many times over; most of it never reaches the store.
func ExampleSlice() {
	ctx := context.Background()
	store, err := budget.Slice(budget.NewMemory(budget.Volatile()), budget.Slices{Replicas: 4})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	ledger, err := budget.Open(ctx, budget.Config{Store: store, Caps: []budget.Cap{
		{For: budget.Each("tenant"), Meter: budget.MeterTokens, Limit: 1_000_000, Per: budget.Lifetime()},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range 100 {
		id := fmt.Sprint("call/", i)
		_, err := ledger.Reserve(ctx, budget.Request{ID: id, Scopes: []budget.Scope{{Kind: "tenant", Name: "acme"}}, Amounts: budget.Amounts{Tokens: 500}})
		if err != nil {
			fmt.Println(err)
			return
		}
		if _, err := ledger.Settle(ctx, id, budget.Amounts{Tokens: 120}); err != nil {
			fmt.Println(err)
			return
		}
	}
	caps, err := ledger.Snapshot(ctx, budget.Scope{Kind: "tenant", Name: "acme"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("within the limit:", caps[0].Settled+caps[0].Held <= caps[0].Limit)
	// Output: within the limit: true
}
