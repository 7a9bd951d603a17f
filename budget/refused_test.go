package budget_test

import (
	"crypto/rand"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/budget"
)

func elsewhere(t *testing.T, caps ...budget.Cap) (*counting, *budget.Ledger) {
	t.Helper()
	s := &counting{Store: budget.NewMemory(budget.Volatile()), remote: true}
	l, err := budget.Open(t.Context(), budget.Config{Store: s, Caps: caps, RefusedFor: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return s, l
}

func chargeFor(t *testing.T, l *budget.Ledger, id, tenant string, n int64) {
	t.Helper()
	if _, err := l.Reserve(t.Context(), tokensOf(id, tenant, n)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Charge(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

func spentNow(t *testing.T, l *budget.Ledger, tenant string, n int64) bool {
	t.Helper()
	_, err := l.Reserve(t.Context(), tokensOf(rand.Text(), tenant, n))
	if err != nil && !errors.Is(err, budget.ErrSpent) {
		t.Fatal(err)
	}
	return err != nil
}

var eachTenant = budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterTokens, Limit: 100, Per: budget.Day(time.UTC)}

// A loop that does not give up asks the store once a second at most.
func TestARunawayLoopOnASpentCapCostsNoStoreTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := elsewhere(t, eachTenant)
		chargeFor(t, l, "r", "acme", 90)
		before := s.reserves.Load()
		var last error
		for range 10_000 {
			time.Sleep(time.Millisecond) // ten seconds
			_, last = l.Reserve(t.Context(), tokensOf("again", "acme", 20))
			var d *budget.DeniedError
			if !errors.As(last, &d) || !errors.Is(last, budget.ErrSpent) || d.ResetAt().IsZero() || d.Violations[0].Requested != 20 {
				t.Fatalf("%+v", last)
			}
			if left, ok := d.Available(budget.MeterTokens); !ok || left != 10 {
				t.Fatalf("%d are left", left)
			}
		}
		if asked := s.reserves.Load() - before; asked < 9 || asked > 11 {
			t.Errorf("10,000 requests within ten seconds asked the store %d times", asked)
		}
	})
}

func TestARefusalIsForgottenWhenItMayBeAGrant(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*testing.T, *budget.Ledger)
	}{
		{"a receipt says less", func(t *testing.T, l *budget.Ledger) {
			if _, err := l.TrueUp(t.Context(), "r", budget.Amounts{Tokens: 10}, "receipt"); err != nil {
				t.Fatal(err)
			}
		}},
		{"the call is settled late", func(t *testing.T, l *budget.Ledger) {
			if _, err := l.Settle(t.Context(), "r", budget.Amounts{Tokens: 10}); err != nil {
				t.Fatal(err)
			}
		}},
		{"it proves not to be billed", func(t *testing.T, l *budget.Ledger) {
			if err := l.Void(t.Context(), "r", budget.ProofStatus402); err != nil {
				t.Fatal(err)
			}
		}},
		{"the limit is raised", func(t *testing.T, l *budget.Ledger) {
			more := eachTenant
			more.Limit = 500
			if err := l.Define(t.Context(), "ann", more); err != nil {
				t.Fatal(err)
			}
		}},
		{"the window turns", func(t *testing.T, _ *budget.Ledger) { time.Sleep(100 * time.Millisecond) }},
		{"a second passes, and another process has corrected it", func(t *testing.T, _ *budget.Ledger) { time.Sleep(time.Second) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if tc.name == "the window turns" {
					time.Sleep(24*time.Hour - 50*time.Millisecond)
				}
				s, l := elsewhere(t, eachTenant)
				chargeFor(t, l, "r", "acme", 90)
				for range 2 { // the store says so, then the memory
					if !spentNow(t, l, "acme", 20) {
						t.Fatal("it is not spent")
					}
				}
				asked := s.reserves.Load()
				if spentNow(t, l, "acme", 10) || spentNow(t, l, "zeta", 20) {
					t.Error("a smaller request, or another tenant's, is refused")
				}
				if err := l.Void(t.Context(), lastID(t, l), budget.ProofNeverDispatched); err != nil {
					t.Fatal(err)
				}
				if s.reserves.Load() != asked+2 {
					t.Errorf("the store was asked %d times", s.reserves.Load()-asked)
				}
				if tc.name == "a second passes, and another process has corrected it" {
					if _, err := ledgerOn(t, s.Store).TrueUp(t.Context(), "r", budget.Amounts{}, "receipt"); err != nil {
						t.Fatal(err)
					}
					if !spentNow(t, l, "acme", 20) {
						t.Error("within the second the refusal was not believed: the test shows nothing")
					}
				}
				tc.change(t, l)
				if spentNow(t, l, "acme", 20) {
					t.Error("it is still refused")
				}
			})
		})
	}
}

// lastID is the open reservation of acme.
func lastID(t *testing.T, l *budget.Ledger) string {
	t.Helper()
	open, err := l.OpenReservations(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range open {
		for _, s := range r.Scopes {
			if s.Name == "acme" {
				return r.ID
			}
		}
	}
	t.Fatal("nothing is open")
	return ""
}

func TestRefusalsAreNotKeptUnlessAskedFor(t *testing.T) {
	s := &counting{Store: budget.NewMemory(budget.Volatile()), remote: true}
	l := ledgerOn(t, s, eachTenant)
	chargeFor(t, l, "r", "acme", 90)
	before := s.reserves.Load()
	for range 5 {
		spentNow(t, l, "acme", 20)
	}
	if asked := s.reserves.Load() - before; asked != 5 {
		t.Errorf("the store was asked %d times", asked)
	}
	if _, err := budget.Open(t.Context(), budget.Config{RefusedFor: -1}); !errors.Is(err, budget.ErrInvalid) {
		t.Error(err)
	}
}

// A swap frees something, so a refusal that was made without it does not count.
func TestASwapIsNeverRefusedFromMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := elsewhere(t, eachTenant)
		idle := tokensOf("idle", "acme", 40)
		idle.Idle = true
		if _, err := l.Reserve(t.Context(), idle); err != nil {
			t.Fatal(err)
		}
		chargeFor(t, l, "r", "acme", 60)
		if !spentNow(t, l, "acme", 50) {
			t.Fatal("it is not spent")
		}
		call := tokensOf("call", "acme", 40)
		call.Swap = "idle"
		if _, err := l.Reserve(t.Context(), call); err != nil {
			t.Error(err)
		}
	})
}

// What can never fit is not asked for again and again, either; what does fit is not refused with it.
func TestARequestThatIsTooBigCostsNoStoreTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := elsewhere(t, eachTenant)
		before := s.reserves.Load()
		for range 1000 {
			if _, err := l.Reserve(t.Context(), tokensOf("again", "acme", 101)); !errors.Is(err, budget.ErrTooBig) {
				t.Fatal(err)
			}
		}
		if asked := s.reserves.Load() - before; asked != 1 {
			t.Errorf("the store was asked %d times", asked)
		}
		if spentNow(t, l, "acme", 100) {
			t.Error("100 of 100 are refused")
		}
	})
}
