package budget_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/budgettest"
)

func TestMemoryIsAStore(t *testing.T) {
	budgettest.Exercise(t, func(*testing.T) budget.Store { return budget.NewMemory(budget.Volatile()) }, budgettest.Virtual())
}

func TestMemoryIsAStoreInRealTime(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for windows to turn")
	}
	budgettest.Exercise(t, func(*testing.T) budget.Store { return budget.NewMemory(budget.Volatile()) })
}

// The test of the test: the same crashes on a store that releases leases must overspend, and its own sums must hide it.
func TestReleasingExpiredLeasesOverspends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget.NewMemory(budget.Volatile())
		budget.ReleaseOnExpiry(m)
		b := budgettest.Crashes(t, m)
		if b.True <= b.Limit {
			t.Fatalf("billed %d of %d although crashed calls were given back: the suite would not notice", b.True, b.Limit)
		}
		t.Logf("released leases: billed %d of %d; the store itself counts %d", b.True, b.Limit, b.Counted)
	})
}

func TestMemoryRefusesCapsThatItWouldForget(t *testing.T) {
	day, lifetime := budget.Day(nil), budget.Lifetime()
	for _, test := range []struct {
		name string
		cap  budget.Cap
		ok   bool
	}{
		{"daily cap", budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: 1, Per: day}, false},
		{"lifetime cap of a tenant", budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 1, Per: lifetime}, false},
		{"daily cap of a run", budget.Cap{For: budget.Each("run"), Meter: budget.MeterMoney, Limit: 1, Per: day}, false},
		{"lifetime cap of a run", budget.Cap{For: budget.Each("run"), Meter: budget.MeterMoney, Limit: 1, Per: lifetime}, true},
		{"a run on an instrument", budget.Cap{For: budget.Each("run").And(budget.One("instrument", "x")), Meter: budget.MeterMoney, Limit: 1, Per: lifetime}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := budget.Config{Caps: []budget.Cap{test.cap}}
			_, err := budget.Open(t.Context(), cfg)
			if (err == nil) != test.ok || err != nil && !strings.Contains(err.Error(), "Volatile") {
				t.Fatalf("open: %v", err)
			}
			cfg.Store = budget.NewMemory(budget.Volatile())
			if _, err := budget.Open(t.Context(), cfg); err != nil {
				t.Fatalf("volatile: %v", err)
			}
			l, err := budget.Open(t.Context(), budget.Config{})
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Define(t.Context(), "test", test.cap); (err == nil) != test.ok {
				t.Fatalf("define: %v", err)
			}
		})
	}
}

func TestMemoryStaysBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keep = 50
		m := budget.NewMemory(budget.Volatile(), budget.Keep(keep))
		l, err := budget.Open(t.Context(), budget.Config{Store: m, Caps: []budget.Cap{
			{For: budget.Each("run"), Meter: budget.MeterMoney, Limit: 1000, Per: budget.Lifetime()},
			{For: budget.Each("run"), Meter: budget.MeterTokens, Limit: 1000, Per: budget.Fixed(time.Minute, time.Time{})},
			{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 1000, Per: budget.Fixed(time.Minute, time.Time{})},
		}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3000 {
			run := budget.Scope{Kind: "run", Name: fmt.Sprint(i)}
			own := budget.Cap{For: budget.One("run", run.Name), Meter: budget.MeterMoney, Limit: 500, Per: budget.Lifetime()}
			if err := l.Define(t.Context(), "agent", own); err != nil {
				t.Fatal(err)
			}
			id := "op/" + run.Name
			r := budget.Request{ID: id, Scopes: []budget.Scope{run, {Kind: "tenant", Name: fmt.Sprint(i % 7)}}, Amounts: budget.Amounts{NanoUSD: 5, Tokens: 5}}
			if _, err := l.Reserve(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Settle(t.Context(), id, budget.Amounts{NanoUSD: 1, Tokens: 1}); err != nil {
				t.Fatal(err)
			}
			if i%10 != 0 { // some runs are never forgotten
				if err := l.Forget(t.Context(), run); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(10 * time.Second)
		}
		s := budget.SizesOf(m, "default")
		if s.Rows > keep+10 || s.Tabs > s.Rows || s.Closed > keep || s.Counts > 300+2*keep || s.Runs > 310 || s.Caps != 3+300 || s.Anchors != 300 || s.Leases != 0 {
			t.Fatalf("the store keeps %+v", s)
		}
		caps, err := l.Caps(t.Context())
		if err != nil || len(caps) != 303 {
			t.Fatalf("the ledger knows %d caps, %v", len(caps), err)
		}
	})
}

func TestEndedReservationsAreKeptForADayBeyondTheirWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget.NewMemory(budget.Volatile())
		l, err := budget.Open(t.Context(), budget.Config{Store: m, Caps: []budget.Cap{
			{For: budget.Account(), Meter: budget.MeterMoney, Limit: 1000, Per: budget.Fixed(48*time.Hour, time.Now())},
		}})
		if err != nil {
			t.Fatal(err)
		}
		r := budget.Request{ID: "a", Amounts: budget.Amounts{NanoUSD: 5}}
		if _, err := l.Reserve(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Settle(t.Context(), "a", r.Amounts); err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			wait time.Duration
			kept int
		}{{47 * time.Hour, 1}, {24 * time.Hour, 1}, {time.Hour + time.Second, 0}} {
			time.Sleep(step.wait)
			if _, err := l.Sweep(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			if s := budget.SizesOf(m, "default"); s.Rows != step.kept {
				t.Fatalf("after %v more: %+v, want %d kept", step.wait, s, step.kept)
			}
		}
		if s := budget.SizesOf(m, "default"); s.Counts != 0 {
			t.Fatalf("the count of a window that is over is kept: %+v", s)
		}
	})
}

func TestReservationsOfTheSameScopesShareWhatTheyHaveInCommon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keep = 64
		m := budget.NewMemory(budget.Volatile(), budget.Keep(keep))
		l, err := budget.Open(t.Context(), budget.Config{Store: m, Caps: []budget.Cap{
			{For: budget.Each("run"), Meter: budget.MeterMoney, Limit: 1000, Per: budget.Lifetime()},
			{For: budget.Account(), Meter: budget.MeterMoney, Limit: 1000, Per: budget.Fixed(time.Hour, time.Now())},
		}})
		if err != nil {
			t.Fatal(err)
		}
		run := budget.Scope{Kind: "run", Name: "r"}
		call := func(id string, idle bool) {
			t.Helper()
			r := budget.Request{ID: id, Scopes: []budget.Scope{run}, Amounts: budget.Amounts{NanoUSD: 5}, Idle: idle}
			if _, err := l.Reserve(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if idle {
				err = l.Release(t.Context(), id)
			} else {
				_, err = l.Settle(t.Context(), id, budget.Amounts{NanoUSD: 1})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for i := range 40 {
			call(fmt.Sprint("call ", i), false)
			call(fmt.Sprint("idle ", i), true)
		}
		if s := budget.SizesOf(m, "default"); s.Tabs != 1 || s.Rows-s.Idle != 40 || s.Idle > keep/16+1 {
			t.Fatalf("in one window: %+v", s)
		}
		time.Sleep(time.Hour)
		call("in the next window", false)
		if s := budget.SizesOf(m, "default"); s.Counts != 3 {
			t.Fatalf("in the next window: %+v, want the run's count and one of each window", s)
		}
		if err := l.Forget(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		_, err = l.Reserve(t.Context(), budget.Request{ID: "late", Scopes: []budget.Scope{run}, Amounts: budget.Amounts{NanoUSD: 5}})
		if !errors.Is(err, budget.ErrClosed) {
			t.Fatalf("reserve for a run that was forgotten: %v", err)
		}
		time.Sleep(26 * time.Hour)
		for range 10 {
			if _, err := l.Sweep(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		if s := budget.SizesOf(m, "default"); s.Rows+s.Tabs+s.Counts+s.Runs != 0 {
			t.Fatalf("a day later: %+v", s)
		}
	})
}

func TestARunWithoutACapOfItsOwnIsForgottenToo(t *testing.T) {
	l, err := budget.Open(t.Context(), budget.Config{Store: budget.NewMemory(budget.Volatile()), Caps: []budget.Cap{
		{For: budget.Account(), Meter: budget.MeterMoney, Limit: 1000, Per: budget.Lifetime()},
	}})
	if err != nil {
		t.Fatal(err)
	}
	run := budget.Scope{Kind: "run", Name: "r"}
	r := budget.Request{ID: "before", Scopes: []budget.Scope{run}, Amounts: budget.Amounts{NanoUSD: 5}}
	if _, err := l.Reserve(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Settle(t.Context(), r.ID, r.Amounts); err != nil {
		t.Fatal(err)
	}
	if err := l.Forget(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	r.ID = "after"
	if _, err := l.Reserve(t.Context(), r); !errors.Is(err, budget.ErrClosed) {
		t.Fatalf("reserve for a run that was forgotten: %v", err)
	}
}

func TestARunIsForgottenTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := budget.Open(t.Context(), budget.Config{Store: budget.NewMemory(budget.Volatile())})
		if err != nil {
			t.Fatal(err)
		}
		run := budget.Scope{Kind: "run", Name: "nightly"}
		for night := range 3 {
			r := budget.Request{ID: fmt.Sprint(night), Scopes: []budget.Scope{run}, Amounts: budget.Amounts{NanoUSD: 5}}
			if _, err := l.Reserve(t.Context(), r); err != nil {
				t.Fatalf("night %d: %v", night, err)
			}
			if _, err := l.Settle(t.Context(), r.ID, r.Amounts); err != nil {
				t.Fatal(err)
			}
			if err := l.Forget(t.Context(), run); err != nil {
				t.Fatal(err)
			}
			time.Sleep(23 * time.Hour)
			r.ID += " too late"
			if _, err := l.Reserve(t.Context(), r); !errors.Is(err, budget.ErrClosed) {
				t.Fatalf("night %d: reserve for a run that was forgotten: %v", night, err)
			}
			time.Sleep(2 * time.Hour)
		}
	})
}

func TestManyRunCapsAreLearntInFull(t *testing.T) {
	m := budget.NewMemory()
	a, err := budget.Open(t.Context(), budget.Config{Store: m, Caps: []budget.Cap{{For: budget.Each("run"), Meter: budget.MeterMoney, Limit: 10, Per: budget.Lifetime()}}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := budget.Open(t.Context(), budget.Config{Store: m})
	if err != nil {
		t.Fatal(err)
	}
	const runs = 5000 // more than the store remembers as changes
	for i := range runs {
		if err := a.Define(t.Context(), "agent", budget.Cap{For: budget.One("run", fmt.Sprint(i)), Meter: budget.MeterMoney, Limit: 20, Per: budget.Lifetime()}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Reserve(t.Context(), budget.Request{ID: "x", Scopes: []budget.Scope{{Kind: "run", Name: "0"}}, Amounts: budget.Amounts{NanoUSD: 20}}); err != nil {
		t.Fatal(err)
	}
	changes, err := a.Changes(t.Context())
	if err != nil || len(changes) != 1 {
		t.Fatalf("%d changes, %v: caps that runs bring are not changes", len(changes), err)
	}
	caps, err := b.Caps(t.Context())
	if err != nil || len(caps) != runs+1 {
		t.Fatalf("%d caps, %v", len(caps), err)
	}
}

func TestThresholdsFollowALimitThatIsLowered(t *testing.T) {
	cap := budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: 1000, Per: budget.Lifetime()}
	l := openLedger(t, budget.Config{Caps: []budget.Cap{cap}})
	settle := func(id string, nano int64) []budget.Crossing {
		t.Helper()
		if _, err := l.Reserve(t.Context(), budget.Request{ID: id, Amounts: budget.Amounts{NanoUSD: nano}}); err != nil {
			t.Fatal(err)
		}
		s, err := l.Settle(t.Context(), id, budget.Amounts{NanoUSD: nano})
		if err != nil {
			t.Fatal(err)
		}
		return s.Crossed
	}
	if crossed := settle("a", 100); len(crossed) != 0 {
		t.Fatalf("crossed %v", crossed)
	}
	cap.Limit = 300
	if err := l.Define(t.Context(), "ann", cap); err != nil {
		t.Fatal(err)
	}
	if crossed := settle("b", 60); len(crossed) != 1 || crossed[0].Percent != 50 || crossed[0].Limit != 300 {
		t.Fatalf("160 of 300 crossed %v", crossed)
	}
}
