package budget_test

import (
	"errors"
	"strings"
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

// A cap of something else says nothing of how long this lasts, nor does one without a limit, or of somebody else.
func TestARunwayIsThatOfTheMeter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		of := func(target budget.Target, m budget.Meter, limit int64, per budget.Window) budget.Cap {
			return budget.Cap{For: target, Meter: m, Limit: limit, Per: per}
		}
		money := of(budget.Each("tenant"), budget.MeterMoney, 3000, budget.Lifetime())
		l := openLedger(t, budget.Config{Caps: []budget.Cap{money, of(budget.Each("tenant"), budget.MeterTokens, 1001, budget.Lifetime()),
			of(budget.Each("tenant"), budget.MeterMoney, budget.None, budget.Day(nil)), of(budget.Account(), budget.MeterMoney, 1001, budget.Day(nil))}})
		scopes := []budget.Scope{{Kind: "tenant", Name: "acme"}, {Kind: "tool", Name: "mail"}}
		use := budget.Amounts{NanoUSD: 1000, Tokens: 1000, ToolCalls: 7}
		if _, err := l.Reserve(t.Context(), budget.Request{ID: "a", Scopes: scopes, Amounts: use}); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Settle(t.Context(), "a", use); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		top := func(q budget.TopQuery) budget.TopRow {
			t.Helper()
			rows, err := l.Top(t.Context(), q)
			if err != nil || len(rows) != 1 {
				t.Fatalf("%+v: %+v, %v", q, rows, err)
			}
			return rows[0]
		}
		if r := top(budget.TopQuery{By: "tenant"}); r.Runway != 20*time.Minute || r.Cap != money.ID() {
			t.Errorf("%+v", r)
		}
		if r := top(budget.TopQuery{By: "tool"}); r.Settled != 7 || r.Runway != budget.NoRunway {
			t.Errorf("of a tool calls are compared: %+v", r)
		}
		began := time.Now().Add(-15 * time.Minute)
		if r := top(budget.TopQuery{By: "tenant", Since: began, Until: began.Add(10 * time.Minute)}); r.Settled != 1000 || r.Runway != budget.NoRunway || r.Cap != "" {
			t.Errorf("of a time that is over: %+v", r)
		}
		if r := top(budget.TopQuery{By: "tenant", Since: began, Until: time.Now().Add(time.Minute)}); r.Runway == budget.NoRunway || r.Cap != money.ID() {
			t.Errorf("of a time that is not over: %+v", r)
		}
	})
}

func TestAQuestionForTheTopThatMakesNoSenseIsRefused(t *testing.T) {
	l := openLedger(t, budget.Config{})
	now := time.Now()
	for says, q := range map[string]budget.TopQuery{
		`By: "galaxy"`:      {By: "galaxy"},
		`Meter: "mony"`:     {By: "run", Meter: "mony"},
		"For, Limit":        {By: "run", Limit: -1},
		"Since: the year 2": {By: "run", Since: time.Date(2201, 1, 1, 0, 0, 0, 0, time.UTC)},
		"Until: the year 1": {By: "run", Until: time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC)},
		"come after Since":  {By: "run", Since: now, Until: now},
	} {
		if _, err := l.Top(t.Context(), q); !errors.Is(err, budget.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	for _, q := range []budget.TopQuery{{By: "run", Since: time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC)}, {By: "run", Until: now}, {By: "run", Since: now.Add(-1), Until: now}} {
		if _, err := l.Top(t.Context(), q); err != nil {
			t.Errorf("%+v: %v", q, err)
		}
	}
}
