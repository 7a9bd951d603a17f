package agent

import (
	"fmt"
	"testing"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
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

// What a held cap comes to for the loop depends on whether the answer asks, or a step before it.
func TestADenialOfTheAnswerIsHeldThoughItsOwnRunKeepsItBack(t *testing.T) {
	scope := budget.Scope{Kind: "run", Name: "r"}
	d := &budget.DeniedError{Violations: []budget.Violation{{Kind: budget.KindHeld, Scope: scope, Meter: budget.MeterTokens, Limit: 100, Settled: 20, Held: 60, Requested: 40}}}
	for final, want := range map[bool]RefusalKind{true: RefusedHeld, false: RefusedSpent} {
		c := &modelCall{r: &run{allowance: allowance{id: "kept", amount: budget.Amounts{Tokens: 50}, scopes: []budget.Scope{scope}}}, in: &ModelIn{Final: final}}
		if refused, _ := c.refusal(d); refused == nil || refused.Kind != want {
			t.Errorf("final %t: refused as %+v, want %s", final, refused, want)
		}
	}
}

// Only what has room to be granted is waited for: the cap that refused, of this scope and meter.
func TestWaitingHelpsWhereOthersHold(t *testing.T) {
	run1, acme, account := budget.Scope{Kind: "run", Name: "r"}, budget.Scope{Kind: "tenant", Name: "acme"}, budget.Scope{Kind: budget.ScopeAccount}
	for _, tc := range []struct {
		name     string
		scope    budget.Scope
		meter    budget.Meter
		asked    int64
		released bool
		want     bool
	}{
		{"to the last token beside what is kept", run1, budget.MeterTokens, 30, false, true},
		{"one more than that", run1, budget.MeterTokens, 31, false, false},
		{"of another scope", acme, budget.MeterTokens, 80, false, true},
		{"of the account, which is everybody's", account, budget.MeterTokens, 31, false, false},
		{"of another meter", run1, budget.MeterRequests, 79, false, true},
		{"one more than that", run1, budget.MeterRequests, 80, false, false},
		{"nothing is kept any more", run1, budget.MeterTokens, 80, true, true},
		{"nor of the account", account, budget.MeterTokens, 80, true, true},
	} {
		r := &run{allowance: allowance{id: "kept", amount: budget.Amounts{Tokens: 50, Requests: 1}, scopes: []budget.Scope{run1}}}
		if tc.released {
			r.allowance.id = ""
		}
		d := &budget.DeniedError{Violations: []budget.Violation{{Kind: budget.KindHeld, Scope: tc.scope, Meter: tc.meter, Limit: 100, Settled: 20, Held: 80, Requested: tc.asked}}}
		if got := r.waitHelps(d, false); got != tc.want {
			t.Errorf("%s: %d %s: %t", tc.name, tc.asked, tc.meter, got)
		}
	}
}

// The answer at a limit leaves out what its allowance does not pay for, or its instrument does not take.
func TestTheAnswerHasTheRoomThatItsAllowancePaysFor(t *testing.T) {
	catalogue := grid.DefaultCatalogue()
	for id, most := range map[string]int64{"agent-prime": 0, "agent-max": 100} {
		in, _ := catalogue.Get(id)
		in.MaxInput, in.TemplateTokens = most, 10
		if err := catalogue.Put(in); err != nil {
			t.Fatal(err)
		}
	}
	client, err := grid.New(grid.Config{APIKey: "test-key", Catalogue: catalogue})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	in := &ModelIn{Messages: []*MessageRef{{Hash: "a", Bytes: 487}}} // 488 + 512 bytes and a template of 10
	for _, tc := range []struct {
		name string
		w    allowance
		want int
	}{
		{"nothing is kept", allowance{instrument: "agent-prime", prompt: 1}, 0},
		{"it pays for all", allowance{id: "w", instrument: "agent-prime", prompt: 1010}, 0},
		{"it pays for less", allowance{id: "w", instrument: "agent-prime", prompt: 1009}, 999},
		{"it pays for nothing", allowance{id: "w", instrument: "agent-prime", prompt: 4}, 1},
		{"its instrument takes less than is paid for", allowance{id: "w", instrument: "agent-max", prompt: 1010}, 300},
		{"its instrument takes no more than is paid for", allowance{id: "w", instrument: "agent-max", prompt: 210}, 200},
		{"its instrument is not sold any more", allowance{id: "w", instrument: "gone", prompt: 5000}, 5000 - templateTokens},
	} {
		r := &run{client: client, estimator: &estimates{Estimator: new(budget.Estimator)}, allowance: tc.w}
		if got := r.finalRoom(in); got != tc.want {
			t.Errorf("%s: %d bytes, want %d", tc.name, got, tc.want)
		}
	}
}

// A refusal passes through several hands; what it found is announced by the first.
func TestNewsOfARefusalAreToldOnce(t *testing.T) {
	r := &run{events: newQueue()}
	d := &budget.DeniedError{Crossed: []budget.Crossing{{Cap: "c", Percent: 50}}}
	r.crossedBy(d)
	r.crossedBy(fmt.Errorf("again: %w", d))
	r.crossedBy(nil)
	if told, ok := r.events.next(); !ok || len(told) != 1 || told[0] != (CapCrossed{Cap: "c", Percent: 50}) {
		t.Errorf("%+v", told)
	}
}
