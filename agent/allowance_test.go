package agent

import (
	"testing"

	"github.com/gridloop/gridloop/budget"
)

// What a run keeps back for its answer is in the way of its steps for as long as it runs, not of the answer itself.
func TestWaitingForOneselfIsNoHelpButToTheAnswer(t *testing.T) {
	scope := budget.Scope{Kind: "run", Name: "r"}
	kept := allowance{id: "kept", amount: budget.Amounts{Tokens: 50}, scopes: []budget.Scope{scope}}
	d := &budget.DeniedError{Violations: []budget.Violation{{Kind: budget.KindHeld, Scope: scope, Meter: budget.MeterTokens, Limit: 100, Settled: 20, Held: 60, Requested: 40}}}
	r := &run{allowance: kept}
	child := &run{parent: r}
	for _, tc := range []struct {
		name   string
		r      *run
		answer bool
		want   bool
	}{{"a step", r, false, false}, {"its answer", r, true, true}, {"a step of a called agent", child, false, false}, {"an answer of a called agent", child, true, false}} {
		if got := tc.r.waitHelps(d, tc.answer); got != tc.want {
			t.Errorf("%s: %t", tc.name, got)
		}
	}
}
