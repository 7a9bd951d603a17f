package sqlitestore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/sqlitestore"
)

func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "spend.db")

	for range 2 { // the second process goes on where the first ended
		store := sqlitestore.At(path)
		ledger, err := budget.Open(ctx, budget.Config{Store: store, Caps: []budget.Cap{
			{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: budget.USD(5), Per: budget.Lifetime()},
		}})
		if err != nil {
			fmt.Println(err)
			return
		}
		acme := budget.Scope{Kind: "tenant", Name: "acme"}
		_, err = ledger.Reserve(ctx, budget.Request{ID: "run7/1/0/first/1", Scopes: []budget.Scope{acme}, Amounts: budget.Amounts{NanoUSD: budget.USD(2)}})
		fmt.Println("reserved:", err == nil)
		if _, err := ledger.Settle(ctx, "run7/1/0/first/1", budget.Amounts{NanoUSD: budget.USD(0.5)}); err != nil {
			fmt.Println(err)
			return
		}
		states, err := ledger.Snapshot(ctx, acme)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(budget.FormatUSD(states[0].Left), "left")
		if err := store.Close(); err != nil {
			fmt.Println(err)
			return
		}
	}
	// Output:
	// reserved: true
	// $4.50 left
	// reserved: false
	// $4.50 left
}
