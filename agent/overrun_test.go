package agent

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// What an overrun halts is decided by its size, and by where the caps stand after it.
func TestAnOverrunHaltsByItsSizeAndByTheCapsItPasses(t *testing.T) {
	acme, instrument, run := budget.Scope{Kind: "tenant", Name: "acme"}, "instrument agent-prime", "run r1"
	stands := func(settled, held, limit int64) budget.CapState {
		return budget.CapState{Scope: acme, Settled: settled, Held: held, Limit: limit}
	}
	money := func(n int64) budget.Amounts { return budget.Amounts{NanoUSD: n} }
	tokens := func(n int64) budget.Amounts { return budget.Amounts{Tokens: n} }
	for _, tc := range []struct {
		name           string
		policy         OverrunPolicy
		reserved, over budget.Amounts
		caps           []budget.CapState
		halted         []string
	}{
		{"5 % of the money", OverrunDefault, money(1000), money(50), nil, nil},
		{"more than 5 % of the money", OverrunDefault, money(1000), money(51), nil, []string{instrument}},
		{"5 % of the tokens", OverrunDefault, tokens(200), tokens(10), nil, nil},
		{"more than 5 % of the tokens", OverrunDefault, tokens(200), tokens(11), nil, []string{instrument}},
		{"little, and a cap is full", OverrunDefault, money(1000), money(1), []budget.CapState{stands(60, 40, 100)}, nil},
		{"little, and a cap is passed by what is spent", OverrunDefault, money(1000), money(1), []budget.CapState{stands(101, 0, 100)}, []string{instrument}},
		{"little, and a cap is passed with what is held", OverrunDefault, money(1000), money(1), []budget.CapState{stands(60, 41, 100)}, []string{instrument}},
		{"little, and a cap without a limit", OverrunDefault, money(1000), money(1), []budget.CapState{stands(budget.None, 1, budget.None)}, nil},
		{"any, if the instrument is to halt", OverrunHaltInstrument, money(1000), money(1), nil, []string{instrument}},
		{"much, if nothing is to halt", OverrunContinue, money(1000), money(900), []budget.CapState{stands(101, 0, 100)}, nil},
		{"no cap is passed, so the run", OverrunHaltScope, money(1000), money(1), []budget.CapState{stands(60, 40, 100)}, []string{run}},
		{"two caps of a tenant are passed", OverrunHaltScope, money(1000), money(1), []budget.CapState{stands(101, 0, 100), stands(9, 0, 8)}, []string{acme.String()}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, err := budget.Open(t.Context(), budget.Config{})
				if err != nil {
					t.Fatal(err)
				}
				a := &Agent{spending: Spending{Overrun: tc.policy}, cfg: Config{Name: "desk"}}
				s := budget.Settlement{ID: "s", Reserved: tc.reserved, Actual: tc.reserved.Add(tc.over), Over: tc.over, Overrun: true, Left: tc.caps}
				o, err := a.overrun(t.Context(), l, BudgetOverrun{Step: 3}, s, "r1", "agent-prime")
				if err != nil || !slices.Equal(o.Halted, tc.halted) || o.Step != 3 || o.OverNanoUSD != tc.over.NanoUSD || o.OverTokens != tc.over.Tokens {
					t.Errorf("announced is %+v, %v, want %q halted", o, err, tc.halted)
				}
				frozen, err := l.Freezes(t.Context())
				if err != nil || len(frozen) != len(tc.halted) {
					t.Fatalf("frozen is %+v, %v", frozen, err)
				}
				for i, f := range frozen {
					if f.Scope.String() != tc.halted[i] || !f.Until.Equal(time.Now().Add(HaltTime)) || f.By != "agent desk" {
						t.Errorf("frozen is %+v", f)
					}
				}
			})
		})
	}
}

// A halt that did not come about is an error, and is not announced as one.
func TestAHaltThatFailsIsNotAnnounced(t *testing.T) {
	l, err := budget.Open(t.Context(), budget.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := &Agent{cfg: Config{Name: "desk"}}
	over := budget.Amounts{Tokens: 90}
	o, err := a.overrun(t.Context(), l, BudgetOverrun{}, budget.Settlement{Reserved: over, Over: over}, "r1", "agent-prime")
	if !errors.Is(err, budget.ErrClosed) || len(o.Halted) > 0 {
		t.Errorf("%+v, %v", o, err)
	}
}
