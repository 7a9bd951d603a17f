package budget_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// lossy does what it is asked, and its answers get lost when they are to.
type lossy struct {
	budget.Store
	lose bool
}

func newLossy() *lossy { return &lossy{Store: budget.NewMemory(budget.Volatile())} }

func (s *lossy) Traits() budget.Traits {
	t := s.Store.Traits()
	t.Local = false
	return t
}

func (s *lossy) Reserve(ctx context.Context, account string, op *budget.ReserveOp, ans *budget.Answer) error {
	err := s.Store.Reserve(ctx, account, op, ans)
	if s.lose {
		ans.Reset()
		return errors.New("connection reset")
	}
	return err
}

func uses(t *testing.T, l *budget.Ledger, id, tenant string, n int64) {
	t.Helper()
	if _, err := l.Reserve(t.Context(), tokensOf(id, tenant, n)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Settle(t.Context(), id, budget.Amounts{Tokens: n}); err != nil {
		t.Fatal(err)
	}
}

// A slice that the store made, and nobody heard of, is not charged.
func TestASliceWhoseAnswerIsLostIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newLossy()
		_, l := slicedOn(t, s, accountCap(100_000))
		uses(t, l, "direct", "acme", 10)
		s.lose = true
		if _, err := l.Reserve(t.Context(), tokensOf("lost", "acme", 10)); !errors.Is(err, budget.ErrUnavailable) {
			t.Fatal(err)
		}
		s.lose = false
		time.Sleep(10 * time.Minute)
		uses(t, l, "next", "acme", 10)
		if _, err := l.Sweep(t.Context(), 100); err != nil {
			t.Fatal(err)
		}
		if settled, held := settledAndHeld(t, s); settled+held < 10 || settled > 20 {
			t.Errorf("20 were used, %d are settled and %d held", settled, held)
		}
	})
}

// Whether an id was reserved from a slice or in the store, it is the same id when it comes again.
func TestAnIDThatTheStoreHasIsNotNewInASlice(t *testing.T) {
	for _, lost := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newLossy()
			_, l := slicedOn(t, s, accountCap(100_000))
			s.lose = lost // the first of a set of scopes is asked for in the store
			if _, err := l.Reserve(t.Context(), tokensOf("a", "acme", 10)); (err != nil) != lost {
				t.Fatal(err)
			}
			s.lose = false
			uses(t, l, "b", "acme", 10)
			uses(t, l, "c", "acme", 10)
			if g, err := l.Reserve(t.Context(), tokensOf("a", "acme", 10)); err != nil || !g.Duplicate {
				t.Errorf("lost %t: repeated: %+v, %v", lost, g, err)
			}
			if _, err := l.Settle(t.Context(), "a", budget.Amounts{Tokens: 10}); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Reserve(t.Context(), tokensOf("a", "acme", 10)); !errors.Is(err, budget.ErrFinished) {
				t.Errorf("lost %t: used up: %v", lost, err)
			}
		})
	}
}

func TestAccountsShareNoReservationsOfASlice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := budget.Slice(newDistant(), budget.Slices{})
		if err != nil {
			t.Fatal(err)
		}
		var ledgers []*budget.Ledger
		for _, account := range []string{"a", "b"} {
			l, err := budget.Open(t.Context(), budget.Config{Store: s, Account: account, Caps: []budget.Cap{accountCap(10_000)}})
			if err != nil {
				t.Fatal(err)
			}
			uses(t, l, "first", "acme", 10)
			ledgers = append(ledgers, l)
		}
		for _, l := range ledgers {
			if g, err := l.Reserve(t.Context(), tokensOf("same", "acme", 10)); err != nil || g.Duplicate {
				t.Errorf("%+v, %v", g, err)
			}
		}
		for i, l := range ledgers {
			if st, err := l.Settle(t.Context(), "same", budget.Amounts{Tokens: int64(i)}); err != nil || st.Actual.Tokens != int64(i) {
				t.Errorf("%+v, %v", st, err)
			}
		}
	})
}

// What a gateway's many tenants do not use is not charged when they have gone quiet.
func TestSlicesThatNobodyUsesAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newDistant()
		_, l := slicedOn(t, s, accountCap(1_000_000))
		for round := range 2 { // the first asks the store itself
			for i := range 200 {
				uses(t, l, fmt.Sprint(round, "/", i), fmt.Sprint("t", i), 10)
			}
		}
		if settled, held := settledAndHeld(t, s); settled+held < 500_000 {
			t.Fatalf("there are hardly slices: %d settled, %d held", settled, held)
		}
		for i := range 10 { // one of them goes on
			time.Sleep(10 * time.Second)
			uses(t, l, fmt.Sprint("on", i), "t0", 10)
		}
		if settled, held := settledAndHeld(t, s); settled+held > 30_000 {
			t.Errorf("4,100 were used, %d are settled and %d held", settled, held)
		}
	})
}

// A tenant is not refused for what slices of other tenants hold and do not use.
func TestSlicesMakeRoomForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := slicedOn(t, newDistant(), accountCap(1_000_000))
		for round := range 2 {
			for i := range 200 {
				uses(t, l, fmt.Sprint(round, "/", i), fmt.Sprint("t", i), 10)
			}
		}
		time.Sleep(2 * time.Second)
		uses(t, l, "large", "large", 200_000)
	})
}

// An overrun is in the store's count at once, so that nobody else spends what is not there.
func TestAnOverrunOfASliceIsKnownToAll(t *testing.T) {
	for _, how := range []string{"usage", "usage after a charge", "receipt"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newDistant()
				_, l := slicedOn(t, s, accountCap(10_000))
				uses(t, l, "direct", "acme", 10)
				if _, err := l.Reserve(t.Context(), tokensOf("r", "acme", 10)); err != nil {
					t.Fatal(err)
				}
				actual, err := budget.Amounts{Tokens: 5_000}, error(nil)
				if how != "usage" {
					if _, err := l.Charge(t.Context(), "r"); err != nil {
						t.Fatal(err)
					}
				}
				if how == "receipt" {
					_, err = l.TrueUp(t.Context(), "r", actual, "receipt")
				} else {
					_, err = l.Settle(t.Context(), "r", actual)
				}
				if err != nil {
					t.Fatal(err)
				}
				if settled, held := settledAndHeld(t, s); settled+held < 5_010 {
					t.Errorf("5,010 were used, %d are settled and %d held", settled, held)
				}
			})
		})
	}
}

// A reservation of a slice goes the ways of one in the store.
func TestReservationsOfASliceEndAsInTheStore(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(l *budget.Ledger) (budget.Settlement, error)
		want error
		left int64 // what is counted
		dup  bool
	}{
		{name: "usage after a receipt", left: 4, do: func(l *budget.Ledger) (budget.Settlement, error) {
			_, _ = l.Charge(context.Background(), "r")
			_, _ = l.TrueUp(context.Background(), "r", budget.Amounts{Tokens: 4}, "receipt")
			return l.Settle(context.Background(), "r", budget.Amounts{Tokens: 6})
		}},
		{name: "usage again after a receipt", left: 4, dup: true, do: func(l *budget.Ledger) (budget.Settlement, error) {
			_, _ = l.Settle(context.Background(), "r", budget.Amounts{Tokens: 6})
			_, _ = l.TrueUp(context.Background(), "r", budget.Amounts{Tokens: 4}, "receipt")
			return l.Settle(context.Background(), "r", budget.Amounts{Tokens: 6})
		}},
		{name: "other usage", want: budget.ErrMismatch, do: func(l *budget.Ledger) (budget.Settlement, error) {
			_, _ = l.Settle(context.Background(), "r", budget.Amounts{Tokens: 6})
			return l.Settle(context.Background(), "r", budget.Amounts{Tokens: 7})
		}},
		{name: "usage after a void", want: budget.ErrFinished, do: func(l *budget.Ledger) (budget.Settlement, error) {
			_ = l.Void(context.Background(), "r", budget.ProofDial)
			return l.Settle(context.Background(), "r", budget.Amounts{Tokens: 6})
		}},
		{name: "a charge after a void", want: budget.ErrFinished, do: func(l *budget.Ledger) (budget.Settlement, error) {
			_ = l.Void(context.Background(), "r", budget.ProofDial)
			return l.Charge(context.Background(), "r")
		}},
		{name: "a void after usage", want: budget.ErrFinished, do: func(l *budget.Ledger) (budget.Settlement, error) {
			_, _ = l.Settle(context.Background(), "r", budget.Amounts{Tokens: 6})
			return budget.Settlement{}, l.Void(context.Background(), "r", budget.ProofDial)
		}},
		{name: "a sign of life after the lease", want: budget.ErrFinished, do: func(l *budget.Ledger) (budget.Settlement, error) {
			time.Sleep(time.Hour)
			return budget.Settlement{}, l.Renew(context.Background(), "r", time.Minute)
		}},
		{name: "again after the lease", want: budget.ErrFinished, do: func(l *budget.Ledger) (budget.Settlement, error) {
			time.Sleep(time.Hour)
			_, err := l.Reserve(context.Background(), tokensOf("r", "acme", 10))
			return budget.Settlement{}, err
		}},
	} {
		for _, sliced := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, sliced %t", tc.name, sliced), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var s budget.Store = newDistant()
					if sliced {
						var err error
						if s, err = budget.Slice(s, budget.Slices{}); err != nil {
							t.Fatal(err)
						}
					}
					l := ledgerOn(t, s, accountCap(100_000))
					uses(t, l, "direct", "acme", 10)
					if _, err := l.Reserve(t.Context(), tokensOf("r", "acme", 10)); err != nil {
						t.Fatal(err)
					}
					st, err := tc.do(l)
					if !errors.Is(err, tc.want) || tc.want == nil && (err != nil || st.Actual.Tokens != tc.left || st.Duplicate != tc.dup) {
						t.Errorf("%+v, %v", st, err)
					}
				})
			})
		}
	}
}
