package budget_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// A rolling window counts elapsed time: the nights in which clocks change are as long as any other.
func TestRollingWindowsKnowNoSummerTime(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, spent string
		day         time.Duration
	}{
		{"an ordinary night", "2026-03-10T12:07:00Z", 24 * time.Hour},
		{"the night in which an hour is missing", "2026-03-28T12:07:00Z", 24 * time.Hour},
		{"the day of 23 hours", "2026-03-29T00:07:00Z", 23 * time.Hour},
		{"the day of 25 hours", "2026-10-25T00:07:00Z", 25 * time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				at, err := time.Parse(time.RFC3339, test.spent)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Until(at))
				rolling := budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: 100, Per: budget.Rolling(24 * time.Hour)}
				fixed, day := rolling, rolling
				fixed.Per, day.Per = budget.Fixed(24*time.Hour, at), budget.Day(berlin)
				l, err := budget.Open(t.Context(), budget.Config{Store: budget.NewMemory(budget.Volatile()), Caps: []budget.Cap{rolling, fixed, day}})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := l.Reserve(t.Context(), budget.Request{ID: "a", Amounts: budget.Amounts{NanoUSD: 100}}); err != nil {
					t.Fatal(err)
				}
				if _, err := l.Settle(t.Context(), "a", budget.Amounts{NanoUSD: 100}); err != nil {
					t.Fatal(err)
				}
				states, err := l.Snapshot(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range states {
					got, want := s.Reset.Sub(at), map[string]time.Duration{"fixed 24h from " + test.spent: 24 * time.Hour, "rolling 24h": 24*time.Hour + 17*time.Minute}[s.Window]
					if s.Window == "day Europe/Berlin" {
						got, want = s.Reset.Sub(s.Start), test.day
					}
					if got != want {
						t.Errorf("%s: counts for %v, want %v", s.Window, got, want)
					}
				}
			})
		})
	}
}

func TestADenialOfARollingCapSaysWhenTheRequestFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cap := budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: budget.USD(1), Per: budget.Rolling(24 * time.Hour)}
		l, err := budget.Open(t.Context(), budget.Config{Store: budget.NewMemory(budget.Volatile()), Caps: []budget.Cap{cap}})
		if err != nil {
			t.Fatal(err)
		}
		ask := func(id string, usd float64) string {
			t.Helper()
			_, err := l.Reserve(t.Context(), budget.Request{ID: id, Amounts: budget.Amounts{NanoUSD: budget.USD(usd)}})
			var d *budget.DeniedError
			if !errors.As(err, &d) {
				t.Fatalf("reserve of %v: %v", usd, err)
			}
			return d.Error()
		}
		for _, id := range []string{"a", "b"} { // at midnight and at one
			if _, err := l.Reserve(t.Context(), budget.Request{ID: id, Amounts: budget.Amounts{NanoUSD: budget.USD(0.4)}}); err != nil {
				t.Fatal(err)
			}
			if id == "a" {
				if text := ask("held", 0.7); !strings.HasSuffix(text, "ask again when calls in flight have settled") {
					t.Error(text)
				}
			}
			if _, err := l.Settle(t.Context(), id, budget.Amounts{NanoUSD: budget.USD(0.4)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		for _, test := range []struct {
			usd  float64
			want string
		}{
			{0.5, "$0.80 settled and $0.00 held of $1.00: enough of that is older than the window at 2000-01-02T00:24:00Z"},
			{0.9, "$0.80 settled and $0.00 held of $1.00: enough of that is older than the window at 2000-01-02T01:12:00Z"},
			{1.1, "it can never fit, ask for less"},
		} {
			if text := ask("x", test.usd); !strings.HasSuffix(text, test.want) {
				t.Errorf("%v: %s, want %s", test.usd, text, test.want)
			}
		}
	})
}
