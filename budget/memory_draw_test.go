package budget_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// An allowance that was forgotten may have its name taken by another, which has lent nothing to those who drew from the first.
func TestADrawReturnsToNoOtherAllowanceOfThatName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ledgerOn(t, budget.NewMemory(budget.Volatile(), budget.Keep(16)), accountCap(100)) // of idle ones one is remembered
		reserve := func(id string, n int64, idle bool, from string) {
			t.Helper()
			r := tokensOf(id, "a", n)
			r.Idle, r.From = idle, from
			if _, err := l.Reserve(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		release := func(id string) {
			t.Helper()
			if err := l.Release(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		reserve("kept", 40, true, "")
		reserve("first", 30, false, "kept")
		release("kept")
		for _, id := range []string{"other", "another"} {
			reserve(id, 1, true, "")
			release(id)
		}
		reserve("call", 1, false, "") // which forgets
		late := tokensOf("late", "a", 1)
		late.From = "kept"
		if _, err := l.Reserve(t.Context(), late); !errors.Is(err, budget.ErrUnknownReservation) {
			t.Fatalf("from an allowance that was forgotten: %v", err)
		}
		reserve("kept", 30, true, "")
		reserve("second", 20, false, "kept")
		if _, err := l.Settle(t.Context(), "first", budget.Amounts{}); err != nil {
			t.Fatal(err)
		}
		open, err := l.OpenReservations(t.Context(), "kept")
		if err != nil || len(open) != 1 || open[0].Actual.Tokens != 20 {
			t.Fatalf("open %+v, %v, want 20 drawn", open, err)
		}
		states, err := l.Snapshot(t.Context())
		if err != nil || states[0].Held != 30+1 {
			t.Fatalf("stands at %+v, %v", states, err)
		}
	})
}
