package budget_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// distant is a store that is elsewhere: it is counted, it may be away, and closing it
// closes nothing.
type distant struct {
	counting
	mu   sync.Mutex
	gone bool
}

func newDistant() *distant {
	return &distant{counting: counting{Store: budget.NewMemory(budget.Volatile()), remote: true}}
}

func (d *distant) Close() error { return nil }

func (d *distant) away(yes bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone = yes
}

func (d *distant) reach() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone {
		return errors.New("connection refused")
	}
	return nil
}

func (d *distant) Reserve(ctx context.Context, account string, op *budget.ReserveOp, ans *budget.Answer) error {
	if err := d.reach(); err != nil {
		return err
	}
	return d.counting.Reserve(ctx, account, op, ans)
}

func (d *distant) Settle(ctx context.Context, account, id string, actual budget.Amounts, ans *budget.Answer) error {
	if err := d.reach(); err != nil {
		return err
	}
	return d.counting.Settle(ctx, account, id, actual, ans)
}

func (d *distant) Renew(ctx context.Context, account, id string, lease time.Duration, ans *budget.Answer) error {
	if err := d.reach(); err != nil {
		return err
	}
	return d.counting.Renew(ctx, account, id, lease, ans)
}

func slicedOn(t *testing.T, s budget.Store, caps ...budget.Cap) (budget.Store, *budget.Ledger) {
	t.Helper()
	sl, err := budget.Slice(s, budget.Slices{})
	if err != nil {
		t.Fatal(err)
	}
	return sl, ledgerOn(t, sl, caps...)
}

func settledAndHeld(t *testing.T, s budget.Store) (settled, held int64) {
	t.Helper()
	states, err := ledgerOn(t, s).Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return states[0].Settled, states[0].Held
}

// Four replicas spend from one cap; each dies now and then with calls in flight, which are billed all the same.
func TestSlicesKeepTheCapThroughDeaths(t *testing.T) {
	for seed := range uint64(4) {
		synctest.Test(t, func(t *testing.T) {
			const limit, most = 200_000, 100
			store := newDistant()
			var mu sync.Mutex
			bill, calls, deaths := int64(0), 0, 0
			var wg sync.WaitGroup
			for replica := range 4 {
				wg.Go(func() {
					rnd := rand.New(rand.NewPCG(seed, uint64(replica)))
					for life := 0; ; life++ {
						_, l := slicedOn(t, store, accountCap(limit))
						dies := 50 + rnd.IntN(600)
						for n := 0; ; n++ {
							id := fmt.Sprint(replica, "/", life, "/", n)
							bound := 1 + rnd.Int64N(most)
							_, err := l.Reserve(t.Context(), tokensOf(id, "acme", bound))
							if errors.Is(err, budget.ErrHeld) {
								time.Sleep(time.Minute) // slices of the dead
								if _, err := l.Sweep(t.Context(), 100); err != nil {
									t.Error(err)
								}
								continue
							}
							if err != nil {
								if !errors.Is(err, budget.ErrSpent) {
									t.Error(err)
								}
								return
							}
							use := rnd.Int64N(bound + 1)
							mu.Lock()
							bill += use
							calls++
							over := bill > 2*limit
							mu.Unlock()
							if over {
								t.Error("the cap is never spent")
								return
							}
							time.Sleep(time.Duration(rnd.IntN(100)) * time.Millisecond)
							if n == dies {
								mu.Lock()
								deaths++
								mu.Unlock()
								break
							}
							if _, err := l.Settle(t.Context(), id, budget.Amounts{Tokens: use}); err != nil {
								t.Error(err)
							}
						}
					}
				})
			}
			wg.Wait()
			settled, held := settledAndHeld(t, store)
			if bill > limit || settled+held > limit || bill > settled+held {
				t.Errorf("seed %d: billed are %d of %d, counted %d settled and %d held", seed, bill, limit, settled, held)
			}
			if asked := store.reserves.Load(); deaths < 2 || asked > int64(calls) {
				t.Errorf("seed %d: %d calls, %d deaths, %d questions to the store", seed, calls, deaths, asked)
			}
			if seed == 0 {
				t.Logf("%d calls, %d deaths, %d reserves in the store, billed %d of %d", calls, deaths, store.reserves.Load(), bill, limit)
			}
		})
	}
}

// One replica that nobody disturbs uses all of a cap, asking the store rarely.
func TestSlicesUseTheWholeCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 300_000
		store := newDistant()
		_, l := slicedOn(t, store, accountCap(limit))
		used, calls := int64(0), 0
		for {
			id := fmt.Sprint(calls)
			if _, err := l.Reserve(t.Context(), tokensOf(id, "acme", 100)); err != nil {
				if !errors.Is(err, budget.ErrSpent) {
					t.Error(err)
				}
				break
			}
			if _, err := l.Settle(t.Context(), id, budget.Amounts{Tokens: 60}); err != nil {
				t.Fatal(err)
			}
			used += 60
			if calls++; calls > limit {
				t.Fatal("the cap is never spent")
			}
		}
		if used < limit*995/1000 || used > limit {
			t.Errorf("%d of %d were used", used, limit)
		}
		if asked := store.reserves.Load(); asked > int64(calls)/10 {
			t.Errorf("the store was asked %d times for %d calls", asked, calls)
		}
		t.Logf("%d calls, %d reserves in the store", calls, store.reserves.Load())
	})
}

// A replica that dies is charged for its slice, no more, and closing one gives it back.
func TestADeathCostsOneSliceAndAnEndNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newDistant()
		s, l := slicedOn(t, store, accountCap(1_000_000))
		for i := range 10 {
			if _, err := l.Reserve(t.Context(), tokensOf(fmt.Sprint(i), "acme", 100)); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Settle(t.Context(), fmt.Sprint(i), budget.Amounts{Tokens: 50}); err != nil {
				t.Fatal(err)
			}
		}
		if _, held := settledAndHeld(t, store); held == 0 || held > 20_000 {
			t.Errorf("a slice of %d is held, 2 %% of the limit are 20,000", held)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if settled, held := settledAndHeld(t, store); settled != 500 || held != 0 {
			t.Errorf("after its end %d are settled and %d held", settled, held)
		}
		_, l = slicedOn(t, store)
		for i := range 2 { // the first call asks for itself
			if _, err := l.Reserve(t.Context(), tokensOf(fmt.Sprint("dead", i), "acme", 100)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour)
		if _, err := ledgerOn(t, store).Sweep(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		if settled, held := settledAndHeld(t, store); held != 0 || settled <= 600 || settled > 500+100+20_000 {
			t.Errorf("after its death %d are settled and %d held", settled, held)
		}
	})
}

// While the store is away a replica spends what it holds, until the lease ends.
func TestASliceOutlivesAnOutageUntilItsLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newDistant()
		_, l := slicedOn(t, store, accountCap(1_000_000))
		call := func(i int) error {
			id := fmt.Sprint(i)
			if _, err := l.Reserve(t.Context(), tokensOf(id, "acme", 100)); err != nil {
				return err
			}
			_, err := l.Settle(t.Context(), id, budget.Amounts{Tokens: 50})
			return err
		}
		for i := range 3 {
			if err := call(i); err != nil {
				t.Fatal(err)
			}
		}
		store.away(true)
		began := time.Now()
		served := 0
		var err error
		for i := 3; ; i++ {
			if err = call(i); err != nil {
				break
			}
			served++
			time.Sleep(time.Second)
		}
		if took := time.Since(began); !errors.Is(err, budget.ErrUnavailable) || took < 30*time.Second || took >= time.Minute || served < 30 {
			t.Errorf("%d calls were served for %v: %v", served, took, err)
		}
		store.away(false)
		if err := call(1000); err != nil {
			t.Fatal(err)
		}
		if settled, held := settledAndHeld(t, store); settled < int64(3+served)*50 || settled+held > 60_000 {
			t.Errorf("%d are settled and %d held after %d calls", settled, held, served)
		}
	})
}

// A freeze, and a lower limit, reach a replica that asks the store hardly ever.
func TestSlicesNoticeAFreezeAndALowerLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newDistant()
		_, l := slicedOn(t, store, accountCap(1_000_000))
		other := ledgerOn(t, store)
		n := 0
		untilDenied := func(want error) {
			t.Helper()
			began := time.Now()
			for {
				n++
				id := fmt.Sprint(n)
				_, err := l.Reserve(t.Context(), tokensOf(id, "acme", 100))
				if err != nil {
					if !errors.Is(err, want) {
						t.Errorf("want %v: %v", want, err)
					}
					break
				}
				if _, err := l.Settle(t.Context(), id, budget.Amounts{Tokens: 1}); err != nil {
					t.Fatal(err)
				}
				if time.Sleep(10 * time.Millisecond); time.Since(began) > time.Minute {
					t.Fatal("it is never noticed")
				}
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("noticed after %v", took)
			}
		}
		for range 3 {
			n++
			if _, err := l.Reserve(t.Context(), tokensOf(fmt.Sprint(n), "acme", 100)); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Settle(t.Context(), fmt.Sprint(n), budget.Amounts{Tokens: 1}); err != nil {
				t.Fatal(err)
			}
		}
		tenant := budget.Scope{Kind: "tenant", Name: "acme"}
		if err := other.Freeze(t.Context(), tenant, "odd", time.Time{}, "ann"); err != nil {
			t.Fatal(err)
		}
		untilDenied(budget.ErrFrozen)
		if err := other.Unfreeze(t.Context(), tenant, "ann"); err != nil {
			t.Fatal(err)
		}
		if err := other.Define(t.Context(), "ann", accountCap(50)); err != nil {
			t.Fatal(err)
		}
		untilDenied(budget.ErrDenied)
	})
}

// Within a slice a reservation lives as it does in a store.
func TestReservationsOfASliceSettleAsEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newDistant()
		s, l := slicedOn(t, store, accountCap(1_000_000))
		ctx := t.Context()
		reserve := func(id string, n int64) {
			t.Helper()
			if _, err := l.Reserve(ctx, tokensOf(id, "acme", n)); err != nil {
				t.Fatal(err)
			}
		}
		want := func(err, target error) {
			t.Helper()
			if !errors.Is(err, target) {
				t.Errorf("got %v, want %v", err, target)
			}
		}
		reserve("first", 100) // asks for itself
		for _, id := range []string{"a", "b", "c", "d"} {
			reserve(id, 100)
		}
		if g, err := l.Reserve(ctx, tokensOf("a", "acme", 100)); err != nil || !g.Duplicate {
			t.Errorf("%+v: %v", g, err)
		}
		_, err := l.Reserve(ctx, tokensOf("a", "acme", 101))
		want(err, budget.ErrMismatch)
		if st, err := l.Settle(ctx, "a", budget.Amounts{Tokens: 130}); err != nil || !st.Overrun || st.Over.Tokens != 30 {
			t.Errorf("%+v: %v", st, err)
		}
		if st, err := l.Settle(ctx, "a", budget.Amounts{Tokens: 130}); err != nil || !st.Duplicate {
			t.Errorf("%+v: %v", st, err)
		}
		_, err = l.Settle(ctx, "a", budget.Amounts{Tokens: 1})
		want(err, budget.ErrMismatch)
		want(l.Void(ctx, "a", budget.ProofDial), budget.ErrFinished)
		want(l.Void(ctx, "b", budget.ProofDial), nil)
		_, err = l.TrueUp(ctx, "c", budget.Amounts{Tokens: 7}, "receipt")
		want(err, budget.ErrStillOpen)
		if open, err := l.OpenReservations(ctx, ""); err != nil || len(open) != 4 || !strings.HasPrefix(open[3].ID, "slice/") {
			t.Errorf("%+v: %v", open, err)
		}
		if st, err := l.Charge(ctx, "c"); err != nil || !st.Unconfirmed || st.Actual.Tokens != 100 {
			t.Errorf("%+v: %v", st, err)
		}
		time.Sleep(time.Hour) // d runs out
		if swept, err := l.Sweep(ctx, 10); err != nil || len(swept.Expired) < 2 {
			t.Errorf("%+v: %v", swept, err)
		}
		if st, err := l.Settle(ctx, "d", budget.Amounts{Tokens: 40}); err != nil || !st.Late {
			t.Errorf("%+v: %v", st, err)
		}
		want(s.Close(), nil)
		for range 2 {
			if _, err := l.TrueUp(ctx, "c", budget.Amounts{Tokens: 10}, "receipt"); err != nil {
				t.Fatal(err)
			}
		}
		_, err = l.TrueUp(ctx, "c", budget.Amounts{Tokens: 11}, "receipt")
		want(err, budget.ErrMismatch)
		if settled, held := settledAndHeld(t, store); settled != 100+130+0+10+40 || held != 0 {
			t.Errorf("%d are settled and %d held", settled, held)
		}
	})
}

func TestSlicesThatCannotBeAreRefused(t *testing.T) {
	for _, s := range []budget.Slices{{Replicas: -1}, {Lease: -1}, {Check: -1}, {Lease: time.Second, Check: time.Second}} {
		if _, err := budget.Slice(budget.NewMemory(), s); !errors.Is(err, budget.ErrInvalid) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

// Callers of one replica share its slices.
func TestSlicesKeepTheCapUnderParallelCallers(t *testing.T) {
	const limit = 100_000
	store := newDistant()
	s, l := slicedOn(t, store, accountCap(limit))
	var mu sync.Mutex
	bill := int64(0)
	var wg sync.WaitGroup
	for caller := range 16 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(caller)))
			for n := range 1000 {
				id := fmt.Sprint(caller, "/", n)
				bound := 1 + rnd.Int64N(50)
				if _, err := l.Reserve(t.Context(), tokensOf(id, fmt.Sprint("t", caller%2), bound)); err != nil {
					if !errors.Is(err, budget.ErrDenied) {
						t.Error(err)
					}
					continue
				}
				use := rnd.Int64N(bound + 1)
				mu.Lock()
				bill += use
				mu.Unlock()
				if _, err := l.Settle(t.Context(), id, budget.Amounts{Tokens: use}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if settled, held := settledAndHeld(t, store); settled != bill || held != 0 || bill > limit || bill < limit*9/10 {
		t.Errorf("billed are %d of %d, counted %d and %d held", bill, limit, settled, held)
	}
}
