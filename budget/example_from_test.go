package budget_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/gridloop/gridloop/budget"
)

// A job of a tenant keeps $1 for a part of it. Whatever the rest spends, the part can have its dollar, and what it does not
// use is the tenant's again.
func ExampleRequest_from() {
	ctx := context.Background()
	ledger, err := budget.Open(ctx, budget.Config{
		Store: budget.NewMemory(budget.Volatile()),
		Caps:  []budget.Cap{{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: budget.USD(5), Per: budget.Lifetime()}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	tenant := []budget.Scope{{Kind: "tenant", Name: "acme"}}
	reserve := func(r budget.Request) {
		r.Scopes = tenant
		_, err := ledger.Reserve(ctx, r)
		fmt.Println(r.ID, err == nil, errors.Is(err, budget.ErrHeld))
	}
	dollars := func(d float64) budget.Amounts { return budget.Amounts{NanoUSD: budget.USD(d)} }

	reserve(budget.Request{ID: "kept", Amounts: dollars(1), Idle: true})
	reserve(budget.Request{ID: "the rest", Amounts: dollars(4)})
	reserve(budget.Request{ID: "greedy", Amounts: dollars(0.10)})
	reserve(budget.Request{ID: "part/1", Amounts: dollars(0.60), From: "kept"})
	if _, err := ledger.Settle(ctx, "part/1", dollars(0.25)); err != nil { // 35 cents return to what is kept
		fmt.Println(err)
	}
	reserve(budget.Request{ID: "part/2", Amounts: dollars(0.75), From: "kept"})
	if _, err := ledger.Settle(ctx, "part/2", dollars(0.05)); err != nil {
		fmt.Println(err)
	}
	if err := ledger.Release(ctx, "kept"); err != nil { // the part is done: 70 cents go back to the tenant
		fmt.Println(err)
	}
	caps, err := ledger.Snapshot(ctx, tenant...)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(budget.FormatUSD(caps[0].Settled), "used,", budget.FormatUSD(caps[0].Held), "held,", budget.FormatUSD(caps[0].Left), "left")
	// Output:
	// kept true false
	// the rest true false
	// greedy false true
	// part/1 true false
	// part/2 true false
	// $0.30 used, $4.00 held, $0.70 left
}
