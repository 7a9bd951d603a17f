package budget_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/budget"
)

func TestARunwayKnowsThatWindowsRoll(t *testing.T) {
	for _, tc := range []struct {
		name  string
		limit int64
		want  time.Duration
	}{
		// 1,000 in ten minutes: 100 a minute, 6,100 in an hour and a bucket.
		{"spent before the oldest leaves", 1500, 5 * time.Minute},
		{"spent at the earliest", 6900, 59 * time.Minute},
		{"a pace that the window bears", 7100, budget.NoRunway},
		{"spent already", 1000, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hourly := budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: tc.limit, Per: budget.Rolling(time.Hour)}
				l, err := budget.Open(t.Context(), budget.Config{Store: budget.NewMemory(budget.Volatile()), Caps: []budget.Cap{hourly}})
				if err != nil {
					t.Fatal(err)
				}
				acme := []budget.Scope{{Kind: "tenant", Name: "acme"}}
				if _, err := l.Reserve(t.Context(), budget.Request{ID: "a", Scopes: acme, Amounts: budget.Amounts{NanoUSD: 1000}}); err != nil {
					t.Fatal(err)
				}
				if _, err := l.Settle(t.Context(), "a", budget.Amounts{NanoUSD: 1000}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Minute)
				rows, err := l.Top(t.Context(), budget.TopQuery{By: "tenant"})
				if err != nil || len(rows) != 1 || rows[0].Runway != tc.want {
					t.Fatalf("rows %+v, %v, want a runway of %v", rows, err, tc.want)
				}
			})
		})
	}
}

func TestARunwayKnowsThatWindowsTurn(t *testing.T) {
	for _, tc := range []struct {
		name  string
		limit int64
		want  time.Duration
	}{
		// 1,000 in the last ten of fifty minutes, and ten more until the turn: 100 a minute.
		{"spent within this turn", 1500, 5 * time.Minute},
		{"spent within the next turn", 5000, 10*time.Minute + 50*time.Minute},
		{"no turn is long enough", 6001, budget.NoRunway},
		{"spent already", 1000, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hourly := budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: tc.limit, Per: budget.Fixed(time.Hour, time.Now())}
				lifetime := budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: 1500, Per: budget.Lifetime()}
				l, err := budget.Open(t.Context(), budget.Config{Store: budget.NewMemory(budget.Volatile()), Caps: []budget.Cap{hourly, lifetime}})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(40 * time.Minute)
				acme := []budget.Scope{{Kind: "tenant", Name: "acme"}}
				if _, err := l.Reserve(t.Context(), budget.Request{ID: "a", Scopes: acme, Amounts: budget.Amounts{NanoUSD: 1000}}); err != nil {
					t.Fatal(err)
				}
				if _, err := l.Settle(t.Context(), "a", budget.Amounts{NanoUSD: 1000}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Minute)
				rows, err := l.Top(t.Context(), budget.TopQuery{By: "tenant"})
				if err != nil || len(rows) != 1 {
					t.Fatal(rows, err)
				}
				wantCap := hourly.ID()
				if tc.want == budget.NoRunway {
					wantCap = ""
				}
				if r := rows[0]; r.PerMinute != 100 || r.Runway.Round(time.Second) != tc.want || r.Cap != wantCap {
					t.Errorf("%+v, want a runway of %v on %q", r, tc.want, wantCap)
				}
				rows, err = l.Top(t.Context(), budget.TopQuery{By: "account"})
				if err != nil || len(rows) != 1 || rows[0].Runway != 5*time.Minute || rows[0].Cap != lifetime.ID() {
					t.Errorf("the account: %+v, %v", rows, err)
				}
			})
		})
	}
}
