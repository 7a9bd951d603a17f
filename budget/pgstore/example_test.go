package pgstore_test

import (
	"context"
	"fmt"
	"os"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/pgstore"
)

// Every replica opens the store in the same database, and all of them hold one cap together. Reserve and settle as with any
// store.
func Example() {
	ctx := context.Background()
	store := pgstore.At(os.Getenv("DATABASE_URL"), pgstore.Schema("spending"))
	defer store.Close()
	ledger, err := budget.Open(ctx, budget.Config{Store: store, Caps: []budget.Cap{
		{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: budget.USD(5), Per: budget.Day(nil)},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	acme := budget.Scope{Kind: "tenant", Name: "acme"}
	const id = "run7/1/0/first/1"
	if _, err := ledger.Reserve(ctx, budget.Request{ID: id, Scopes: []budget.Scope{acme}, Amounts: budget.Amounts{NanoUSD: budget.USD(2)}}); err != nil {
		fmt.Println(err) // dispatch nothing
		return
	}
	if _, err := ledger.Settle(ctx, id, budget.Amounts{NanoUSD: budget.USD(0.5)}); err != nil {
		fmt.Println(err)
	}
}
