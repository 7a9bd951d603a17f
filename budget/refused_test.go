package budget_test

import (
	"crypto/rand"
	"errors"
	"fmt"
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

// A request may touch two counts of one cap. Which of them refused is not said, so none is held to be spent.
func TestOfTwoCountsOfACapNoneIsRefusedForTheOther(t *testing.T) {
	joined := budget.Cap{For: budget.Each("tenant").And(budget.Each("instrument")), Meter: budget.MeterTokens, Limit: 100, Per: budget.Lifetime()}
	request := func(id string, n int64, instruments ...string) budget.Request {
		r := tokensOf(id, "acme", n)
		for _, name := range instruments {
			r.Scopes = append(r.Scopes, budget.Scope{Kind: "instrument", Name: name})
		}
		return r
	}
	for _, spent := range []string{"prime", "max"} {
		synctest.Test(t, func(t *testing.T) {
			s, l := elsewhere(t, joined)
			ask := func(want error, r budget.Request) {
				t.Helper()
				if _, err := l.Reserve(t.Context(), r); !errors.Is(err, want) {
					t.Fatalf("%s is spent, and %s is refused with %v, want %v", spent, r.ID, err, want)
				}
			}
			ask(nil, request("r", 90, spent))
			if _, err := l.Charge(t.Context(), "r"); err != nil {
				t.Fatal(err)
			}
			ask(budget.ErrSpent, request("both", 20, "prime", "max"))
			before := s.reserves.Load()
			for _, one := range []string{"prime", "max"} {
				if one == spent {
					ask(budget.ErrSpent, request(one, 20, one))
				} else {
					ask(nil, request(one, 20, one))
				}
			}
			if asked := s.reserves.Load() - before; asked != 2 {
				t.Errorf("the store was asked %d times", asked)
			}
		})
	}
}

// Which counts are spent is known by cap and name: refusals of others are none of theirs.
func TestARefusalIsOfOneCountOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ever, user := eachTenant, eachTenant
		ever.Per, ever.Limit, user.For = budget.Lifetime(), 1000, budget.Each("user")
		s, l := elsewhere(t, eachTenant, ever, user)
		request := func(id, tenant, user string) budget.Request {
			r := tokensOf(id, tenant, 20)
			r.Scopes = append(r.Scopes, budget.Scope{Kind: "user", Name: user})
			return r
		}
		first := request("r", "acme", "ann")
		first.Amounts.Tokens = 90
		if _, err := l.Reserve(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Charge(t.Context(), "r"); err != nil {
			t.Fatal(err)
		}
		before := s.reserves.Load()
		for _, id := range []string{"the store says so", "then the memory"} {
			_, err := l.Reserve(t.Context(), request(id, "acme", "bob"))
			var d *budget.DeniedError
			if !errors.As(err, &d) || len(d.Violations) != 1 || d.Violations[0].Cap != eachTenant.ID() {
				t.Errorf("%s: %v", id, err)
			}
		}
		if asked := s.reserves.Load() - before; asked != 1 {
			t.Errorf("the store was asked %d times", asked)
		}
		if _, err := l.Reserve(t.Context(), request("of somebody else", "acm", "acme")); err != nil {
			t.Error(err)
		}
	})
}

// Under a rolling window it depends on how much is asked for when there will be room.
func TestARefusalOfARollingCapIsOfThatMuchOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rolling := eachTenant
		rolling.Per = budget.Rolling(time.Hour)
		s, l := elsewhere(t, rolling)
		chargeFor(t, l, "first", "acme", 30)
		time.Sleep(10 * time.Minute)
		chargeFor(t, l, "then", "acme", 60)
		resets := func(n int64) time.Time {
			t.Helper()
			_, err := l.Reserve(t.Context(), tokensOf("again", "acme", n))
			var d *budget.DeniedError
			if !errors.As(err, &d) || d.Kind() != budget.KindSpent {
				t.Fatal(err)
			}
			return d.ResetAt()
		}
		before := s.reserves.Load()
		soon, late := resets(20), resets(50)
		if late.Sub(soon) != 10*time.Minute {
			t.Errorf("20 fit at %v, 50 at %v", soon, late)
		}
		if again := resets(50); !again.Equal(late) {
			t.Errorf("50 fit at %v, and from memory at %v", late, again)
		}
		if asked := s.reserves.Load() - before; asked != 2 {
			t.Errorf("the store was asked %d times", asked)
		}
	})
}

// What is asked for after a refusal is in the answer from memory, with what the store knew.
func TestARefusalFromMemorySaysWhatWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := elsewhere(t, eachTenant)
		chargeFor(t, l, "r", "acme", 90)
		spentNow(t, l, "acme", 20)
		before := s.reserves.Load()
		_, err := l.Reserve(t.Context(), tokensOf("more", "acme", 100))
		var d *budget.DeniedError
		if !errors.As(err, &d) || d.Violations[0].Requested != 100 || d.Requested.Tokens != 100 || d.Violations[0].Settled != 90 || len(d.Left) != 1 || d.Left[0].Left != 10 {
			t.Errorf("%+v", err)
		}
		if s.reserves.Load() != before {
			t.Error("the store was asked for as much as the limit")
		}
		if _, err := l.Reserve(t.Context(), tokensOf("most", "acme", 101)); !errors.Is(err, budget.ErrTooBig) || s.reserves.Load() != before+1 {
			t.Errorf("more than the limit is refused as spent: %v", err)
		}
	})
}

// Beyond a thousand refusals the memory begins anew: it does not grow with the tenants.
func TestTheMemoryOfRefusalsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := elsewhere(t, eachTenant)
		ask := func(tenant int) {
			t.Helper()
			if _, err := l.Reserve(t.Context(), tokensOf("again", fmt.Sprint("t", tenant), 101)); !errors.Is(err, budget.ErrTooBig) {
				t.Fatal(err)
			}
		}
		asked := func(tenants int) int64 {
			before := s.reserves.Load()
			for i := range tenants {
				ask(i)
			}
			return s.reserves.Load() - before
		}
		if n := asked(1024); n != 1024 {
			t.Fatalf("the store was asked %d times for 1,024 tenants", n)
		}
		if n := asked(1024); n != 0 {
			t.Errorf("of 1,024 refusals %d were forgotten", n)
		}
		ask(1024)
		if n := asked(1024); n == 0 {
			t.Error("nothing was ever forgotten")
		}
	})
}
