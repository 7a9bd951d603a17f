package redisstore_test

import (
	"context"
	"fmt"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/redisstore"
	"github.com/redis/go-redis/v9"
)

func Example() {
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	store, err := redisstore.Open(ctx, client, redisstore.Prefix("spend"))
	if err != nil {
		fmt.Println(err) // no server, one that evicts keys, or books of another version
		return
	}
	defer store.Close()

	ledger, err := budget.Open(ctx, budget.Config{Store: store, Caps: []budget.Cap{
		{For: budget.Each(budget.ScopeTenant), Meter: budget.MeterMoney, Limit: 20_000_000_000, Per: budget.Day(nil)}, // $20
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	grant, err := ledger.Reserve(ctx, budget.Request{ID: "op1/1", Scopes: []budget.Scope{{Kind: budget.ScopeTenant, Name: "acme"}},
		Amounts: budget.Amounts{NanoUSD: 30_000_000}})
	if err != nil {
		fmt.Println(err)
		return
	}
	// Call, then say what it used.
	_, err = ledger.Settle(ctx, grant.ID, budget.Amounts{NanoUSD: 9_000_000})
	fmt.Println(err)
}
