package budget_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/budgettest"
)

// What a slice does not do as its store would, see Slice.
var slicesDiffer = map[string]string{
	"a rolling window counts by admission":                   "calls count from the admission of their slice",
	"what left a rolling window comes back by no settlement": "as above; a slice is in its bucket as one",
	"renewing keeps a lease":                                 "a call whose lease ran out is shown as held, as its slice is",
	"thresholds fire once":                                   "a threshold is announced to whoever is answered next after its slice was settled, and the test only listens to settlements",
	"top looks at a given time":                              "calls stand at the time of their slice, as one",
	"random histories match the model":                       "the model shows what calls hold, the store what slices hold; TestSlicesKeepTheCapThroughDeaths asks the bill instead",
}

func TestSlicesKeepTheContractOfAStore(t *testing.T) {
	budgettest.Exercise(t, func(t *testing.T) budget.Store {
		s, err := budget.Slice(budget.NewMemory(budget.Volatile()), budget.Slices{Replicas: 1})
		if err != nil {
			t.Fatal(err)
		}
		budget.HalfSlices(s)
		return s
	}, budgettest.Virtual(), budgettest.Except(slicesDiffer))
}

// Thresholds that slices cross are announced, each once.
func TestThresholdsThatASliceCrossesAreAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := slicedOn(t, newDistant(), budget.Cap{For: budget.Account(), Meter: budget.MeterTokens, Limit: 100_000, Per: budget.Lifetime()})
		fired := map[int]int{}
		for i := range 1000 {
			id := fmt.Sprint(i)
			g, err := l.Reserve(t.Context(), tokensOf(id, "acme", 100))
			if err != nil {
				t.Fatal(err)
			}
			st, err := l.Settle(t.Context(), id, budget.Amounts{Tokens: 100})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range append(g.Crossed, st.Crossed...) {
				fired[c.Percent]++
			}
		}
		if err := s.Close(); err != nil || fmt.Sprint(fired) != "map[50:1 80:1 95:1]" {
			t.Errorf("announced were %v: %v", fired, err)
		}
	})
}

// What lives in a slice is not reserved once more in the store by a request of another kind with its id.
func TestAReservationOfASliceIsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := slicedOn(t, newDistant(), accountCap(1_000_000))
		kept := tokensOf("kept", "acme", 100)
		kept.Idle = true
		for _, r := range []budget.Request{kept, tokensOf("first", "acme", 100), tokensOf("sliced", "acme", 100)} {
			if _, err := l.Reserve(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		for name, change := range map[string]func(*budget.Request){
			"idle": func(r *budget.Request) { r.Idle = true },
			"swap": func(r *budget.Request) { r.Swap = "kept" },
			"from": func(r *budget.Request) { r.From = "kept" },
		} {
			r := tokensOf("sliced", "acme", 100)
			change(&r)
			var state *budget.StateError
			if _, err := l.Reserve(t.Context(), r); !errors.Is(err, budget.ErrMismatch) || !errors.As(err, &state) || state.ID != "sliced" {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// A reservation that asked the store for itself is no second one, in a slice, when it is repeated; and accounts are apart.
func TestARepeatedReservationIsNeverTakenFromASlice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newDistant()
		s, l := slicedOn(t, store, accountCap(1_000_000))
		for i := range 2 { // the first asks for itself, the second makes a slice
			if _, err := l.Reserve(t.Context(), tokensOf(fmt.Sprint(i), "acme", 100)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 2 {
			g, err := l.Reserve(t.Context(), tokensOf(fmt.Sprint(i), "acme", 100))
			if err != nil || !g.Duplicate {
				t.Errorf("%d again: duplicate %t, %v", i, g.Duplicate, err)
			}
		}
		other, err := budget.Open(t.Context(), budget.Config{Store: s, Account: "other", Caps: []budget.Cap{accountCap(1_000_000)}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if g, err := other.Reserve(t.Context(), tokensOf(fmt.Sprint(i), "acme", 100)); err != nil || g.Duplicate {
				t.Errorf("%d of another account: duplicate %t, %v", i, g.Duplicate, err)
			}
		}
		if _, err := other.Settle(t.Context(), "1", budget.Amounts{Tokens: 7}); err != nil {
			t.Error(err)
		}
		if _, err := l.Settle(t.Context(), "1", budget.Amounts{Tokens: 9}); err != nil {
			t.Error(err)
		}
	})
}
