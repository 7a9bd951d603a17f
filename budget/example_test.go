package budget_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/gridloop/gridloop/budget"
)

func Example() {
	ctx := context.Background()
	ledger, err := budget.Open(ctx, budget.Config{
		Store: budget.NewMemory(budget.Volatile()), // caps begin anew with the process
		Caps: []budget.Cap{
			{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: budget.USD(0.05), Per: budget.Lifetime()},
			{For: budget.One("tenant", "acme"), Meter: budget.MeterMoney, Limit: budget.USD(1), Per: budget.Lifetime()},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	const price = 200_000_000 // nano-USD per Unit of 1,000,000 tokens: $0.20

	// Before the call: an upper bound of what it can cost.
	_, err = ledger.Reserve(ctx, budget.Request{
		ID:      "run7/1/0/first/1",
		Scopes:  []budget.Scope{{Kind: "tenant", Name: "acme"}, {Kind: "run", Name: "run7"}},
		Amounts: budget.Amounts{NanoUSD: budget.Cost(12_000+4_096, price)},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// After it: what it used.
	done, err := ledger.Settle(ctx, "run7/1/0/first/1", budget.Amounts{NanoUSD: budget.Cost(3_500, price)})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(done.Reserved, "reserved,", done.Actual, "used,", budget.FormatUSD(done.Left[0].Left), "left")

	_, err = ledger.Reserve(ctx, budget.Request{
		ID:      "run8/1/0/first/1",
		Scopes:  []budget.Scope{{Kind: "tenant", Name: "small"}},
		Amounts: budget.Amounts{NanoUSD: budget.USD(0.06)},
	})
	fmt.Println(err)
	var denied *budget.DeniedError
	if errors.As(err, &denied) {
		fits, _ := denied.Available(budget.MeterMoney)
		fmt.Println(denied.Kind(), budget.FormatUSD(fits), "would fit")
	}
	// Output:
	// $0.0032192 reserved, $0.0007 used, $0.9993 left
	// budget: denied (too_big): cap "each tenant money lifetime" for tenant small: $0.06 requested, $0.00 settled and $0.00 held of $0.05: it can never fit, ask for less
	// too_big $0.05 would fit
}

// The answer that a run gives at its limit is paid from what was kept back for it.
func ExampleRequest_swap() {
	ctx := context.Background()
	run := []budget.Scope{{Kind: "run", Name: "r"}}
	ledger, err := budget.Open(ctx, budget.Config{Caps: []budget.Cap{{For: budget.Each("run"), Meter: budget.MeterTokens, Limit: 1000, Per: budget.Lifetime()}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	reserve := func(id string, tokens int64, idle bool, swap string) {
		_, err := ledger.Reserve(ctx, budget.Request{ID: id, Scopes: run, Amounts: budget.Amounts{Tokens: tokens}, Idle: idle, Swap: swap})
		fmt.Println(id, err == nil, errors.Is(err, budget.ErrHeld))
	}
	reserve("answer", 300, true, "")
	reserve("step 1", 700, false, "")
	reserve("step 2", 200, false, "")
	reserve("the answer's call", 300, false, "answer")
	// Output:
	// answer true false
	// step 1 true false
	// step 2 false true
	// the answer's call true false
}

func ExampleParseWindow() {
	w, err := budget.ParseWindow("day Europe/Berlin")
	fmt.Println(w, err)
	_, err = budget.ParseWindow("fixed 7d")
	fmt.Println(err)
	// Output:
	// day Europe/Berlin <nil>
	// budget: Per: "7d" is no duration: write hours, minutes and seconds, such as 6h or 168h
}
