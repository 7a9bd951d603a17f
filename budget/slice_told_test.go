package budget_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// halves is one replica whose slices take up to half of a cap.
func halves(t *testing.T, s budget.Store, caps ...budget.Cap) (budget.Store, *budget.Ledger) {
	t.Helper()
	sl, err := budget.Slice(s, budget.Slices{Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	budget.HalfSlices(sl)
	return sl, ledgerOn(t, sl, caps...)
}

// Who is granted something from a slice is told the same as by the store: until when, and where the caps stand.
func TestAGrantFromASliceSaysWhatAGrantSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newDistant()
		_, l := slicedOn(t, store, accountCap(1_000_000))
		ctx := t.Context()
		uses(t, l, "direct", "acme", 100)
		uses(t, l, "fetches", "acme", 100)
		before := store.reserves.Load()
		began := time.Now()
		g, err := l.Reserve(ctx, tokensOf("call/1", "acme", 100))
		if err != nil || !g.Expires.Equal(began.Add(budget.DefaultLease)) || len(g.Left) != 1 || g.Left[0].Limit != 1_000_000 || g.Left[0].Held < 100 {
			t.Fatalf("%+v, %v", g, err)
		}
		time.Sleep(100 * time.Millisecond)
		again, err := l.Reserve(ctx, tokensOf("call/1", "acme", 100))
		if err != nil || !again.Duplicate || !again.Expires.Equal(g.Expires) || len(again.Left) != 1 {
			t.Errorf("repeated: %+v, %v", again, err)
		}
		if store.reserves.Load() != before {
			t.Fatal("it asked the store: the test shows nothing")
		}
		for _, id := range []string{"call/2", "other"} {
			if _, err := l.Reserve(ctx, tokensOf(id, "acme", 100)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := l.Settle(ctx, "call/2", budget.Amounts{Tokens: 1}); err != nil {
			t.Fatal(err)
		}
		if err := l.Renew(ctx, "call/1", time.Hour); err != nil {
			t.Fatal(err)
		}
		open, err := l.OpenReservations(ctx, "call/")
		if err != nil || len(open) != 1 || open[0].ID != "call/1" || !open[0].Expires.Equal(time.Now().Add(time.Hour)) || open[0].Reserved.Tokens != 100 || len(open[0].Scopes) != 2 {
			t.Errorf("open is %+v, %v", open, err)
		}
		if err := l.Renew(ctx, "call/2", time.Hour); !errors.Is(err, budget.ErrFinished) {
			t.Errorf("what was settled lives on: %v", err)
		}
		time.Sleep(30 * time.Minute)
		st, err := l.Settle(ctx, "call/1", budget.Amounts{Tokens: 60})
		if err != nil || st.Late || st.Reserved.Tokens != 100 || st.Actual.Tokens != 60 || len(st.Left) != 1 {
			t.Errorf("after half an hour, which it was renewed for: %+v, %v", st, err)
		}
		if st, err = l.Settle(ctx, "other", budget.Amounts{Tokens: 60}); err != nil || !st.Late {
			t.Errorf("after half an hour: %+v, %v", st, err)
		}
	})
}

// Usage that comes after a receipt is noted: the same again is nothing new, other usage is a mistake.
func TestUsageAfterAReceiptIsNotedInASlice(t *testing.T) {
	for _, sliced := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var s budget.Store = newDistant()
			l := ledgerOn(t, s, accountCap(100_000))
			if sliced {
				_, l = slicedOn(t, s, accountCap(100_000))
			}
			uses(t, l, "direct", "acme", 10)
			if _, err := l.Reserve(t.Context(), tokensOf("r", "acme", 10)); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Charge(t.Context(), "r"); err != nil {
				t.Fatal(err)
			}
			for i, dup := range []bool{false, true} {
				st, err := l.TrueUp(t.Context(), "r", budget.Amounts{Tokens: 4}, "receipt")
				if err != nil || st.Duplicate != dup || st.Actual.Tokens != 4 || len(st.Left) != 1 {
					t.Errorf("sliced %t, receipt %d: %+v, %v", sliced, i, st, err)
				}
			}
			for i, dup := range []bool{false, true} {
				st, err := l.Settle(t.Context(), "r", budget.Amounts{Tokens: 6})
				if err != nil || st.Duplicate != dup || st.Actual.Tokens != 4 || !dup && !st.Late {
					t.Errorf("sliced %t, usage %d: %+v, %v", sliced, i, st, err)
				}
			}
			if _, err := l.Settle(t.Context(), "r", budget.Amounts{Tokens: 7}); !errors.Is(err, budget.ErrMismatch) {
				t.Errorf("sliced %t, other usage: %v", sliced, err)
			}
		})
	}
}

// What a slice holds itself is no reason to refuse what fits into it, and no reason beside a freeze.
func TestASliceDoesNotStandInItsOwnWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newDistant()
		_, l := halves(t, store, accountCap(100_000))
		other := ledgerOn(t, store)
		ctx := t.Context()
		uses(t, l, "direct", "acme", 100)
		uses(t, l, "fetches", "acme", 20_000) // two of that size
		if _, err := other.Reserve(ctx, tokensOf("elsewhere", "zeta", 50_000)); err != nil {
			t.Fatal(err)
		}
		acme := budget.Scope{Kind: "tenant", Name: "acme"}
		if err := other.Freeze(ctx, acme, "too fast", time.Time{}, "ann"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		_, err := l.Reserve(ctx, tokensOf("frozen", "acme", 20_000))
		var d *budget.DeniedError
		if !errors.As(err, &d) || len(d.Violations) != 1 || d.Kind() != budget.KindFrozen {
			t.Errorf("%v", err)
		}
		if err := other.Unfreeze(ctx, acme, "ann"); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Reserve(ctx, tokensOf("thawed", "acme", 20_000)); err != nil {
			t.Errorf("it holds the room itself: %v", err)
		}
	})
}

// The store is asked whether anything has changed once for each Check, however many calls there are.
func TestASliceIsCheckedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newDistant()
		_, l := slicedOn(t, store, accountCap(1_000_000))
		uses(t, l, "direct", "acme", 10)
		uses(t, l, "fetches", "acme", 10)
		before := store.reserves.Load()
		for i := range 1000 {
			time.Sleep(10 * time.Millisecond)
			uses(t, l, fmt.Sprint(i), "acme", 10)
		}
		if asked := store.reserves.Load() - before; asked < 9 || asked > 11 {
			t.Errorf("within ten seconds the store was asked %d times", asked)
		}
	})
}

// What the store says while slices are fetched and given back is told to whoever is answered then.
func TestNewsOfTheStoreAreToldToWhoeverIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newDistant()
		cap := accountCap(1000)
		cap.Soft = []int{30}
		_, l := halves(t, store, cap)
		other := ledgerOn(t, store)
		ctx := t.Context()
		uses(t, l, "direct", "acme", 10)
		for i := range 40 {
			uses(t, l, fmt.Sprint(i), "acme", 10)
		}
		if _, err := other.Reserve(ctx, budget.Request{ID: "dead", Amounts: budget.Amounts{Tokens: 10}, Lease: time.Second}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second) // nobody uses the slice any more
		g, err := l.Reserve(ctx, tokensOf("b", "zeta", 10))
		if err != nil || len(g.Crossed) != 1 || g.Crossed[0].Percent != 30 || len(g.Expired) != 1 || g.Expired[0] != "dead" {
			t.Errorf("crossed is %+v, expired %q: %v", g.Crossed, g.Expired, err)
		}
		if _, err := other.Reserve(ctx, budget.Request{ID: "dead, too", Amounts: budget.Amounts{Tokens: 10}, Lease: time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if g, err = l.Reserve(ctx, tokensOf("c", "zeta", 10)); err != nil || len(g.Crossed) != 0 || len(g.Expired) != 1 || g.Expired[0] != "dead, too" {
			t.Errorf("fetching a slice: crossed is %+v, expired %q: %v", g.Crossed, g.Expired, err)
		}
	})
}

// A slice that could not be given back is said so, and charged when its lease ends.
func TestClosingASliceWithoutItsStoreIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newDistant()
		s, l := slicedOn(t, store, accountCap(100_000))
		uses(t, l, "direct", "acme", 10)
		uses(t, l, "fetches", "acme", 10)
		_, slice := settledAndHeld(t, store)
		store.away(true)
		if err := s.Close(); !errors.Is(err, budget.ErrUnavailable) {
			t.Errorf("it was closed with %v", err)
		}
		store.away(false)
		time.Sleep(2 * time.Minute)
		if _, err := ledgerOn(t, store).Sweep(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		if settled, held := settledAndHeld(t, store); held != 0 || settled != 10+slice {
			t.Errorf("%d are settled and %d held, the slice was %d", settled, held, slice)
		}
	})
}
