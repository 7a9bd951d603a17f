package router_test

import (
	"fmt"

	"github.com/gridloop/gridloop/router"
)

func Example() {
	table, err := router.New(router.Config{
		Name: "desk", Version: "3",
		Tools: router.Route{Floor: "prime", Fallback: router.Fallback{router.SameTier}},
		Rules: []router.Rule{
			{ID: "plan", When: router.Match{StepBelow: 2}, Use: router.Route{Tier: "max"}},
		},
	})
	if err != nil {
		fmt.Println(err) // every mistake, with its field and its fix
		return
	}
	market := router.Snapshot{LeftPercent: 80, Instruments: []router.Instrument{
		{ID: "agent-prime", Dry: true}, {ID: "agent-max"}, {ID: "code-prime"},
	}}
	for _, step := range []router.Step{{Index: 0, Kind: router.KindTools}, {Index: 5, Kind: router.KindTools}} {
		d := table.Decide(step, market)
		fmt.Printf("%s by %s: %s\n", d.Instrument, d.Reason, d.Why)
	}
	// Output:
	// agent-max by rule: rule plan sends this step to agent-max
	// code-prime by fallback: tools steps go to agent-prime; agent-prime is being topped up, code-prime stands in
}
