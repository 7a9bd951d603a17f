package grid_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
)

func told(alerts []grid.Alert) string {
	var all []string
	for _, a := range alerts {
		what := a.Instrument
		if what == "" {
			what = "credits"
		}
		all = append(all, what+" "+string(a.Kind))
	}
	return strings.Join(all, ", ")
}

func TestTheProfileDecidesWhichBalanceIsToldOfFirst(t *testing.T) {
	m := gridtest.New(gridtest.Config{Credits: 1_500_000_000, Balance: map[string]int64{"text-prime": 400_000, "text-max": 4_000_000, "code-max": 0}})
	defer m.Close()
	for _, row := range []struct {
		name string
		cfg  grid.WatchConfig
		want string
	}{
		{"interactive", grid.WatchConfig{}, "credits low, code-max empty, text-prime low"},
		{"batch", grid.WatchConfig{Profile: grid.WatchBatch}, "code-max empty, text-max low, text-prime low, credits low"},
		{"thresholds of one's own", grid.WatchConfig{CreditsNanoUSD: 1_000_000_000, AllTokens: -1, Tokens: map[string]int64{"text-max": 4_000_001, "glm-latest": 5}}, "glm-latest empty, text-max low"},
		{"one instrument left out", grid.WatchConfig{CreditsNanoUSD: -1, Tokens: map[string]int64{"code-max": -1}}, "text-prime low"},
		{"nothing", grid.WatchConfig{CreditsNanoUSD: -1, AllTokens: -1}, ""},
	} {
		w, err := grid.NewWatch(reader(t, m, nil), row.cfg)
		if err != nil {
			t.Fatal(err)
		}
		alerts, err := w.Check(t.Context())
		if got := told(alerts); err != nil || got != row.want {
			t.Errorf("%s: %s, %v; want %s", row.name, got, err, row.want)
		}
		if again, err := w.Check(t.Context()); err != nil || len(again) != 0 {
			t.Errorf("%s: told twice: %s", row.name, told(again))
		}
	}
}

func TestEachChangeOfABalanceIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{Instruments: []gridtest.Instrument{{ID: "text-prime"}}})
		defer m.Close()
		w, err := grid.NewWatch(reader(t, m, nil), grid.WatchConfig{CreditsNanoUSD: -1, AllTokens: 1000, Every: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		steps := []int64{5000, 999, 1000, 1099, 998, 0, -5, 500, 0, 1050, 1100, 2000}
		want := []string{"low 999", "empty 0", "low 500", "empty 0", "recovered 1050"}
		go func() {
			for _, left := range steps {
				m.SetBalance("text-prime", left)
				time.Sleep(10 * time.Second)
			}
			cancel()
		}()
		time.Sleep(time.Second)
		var got []string
		for a, err := range w.Alerts(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%s %d", a.Kind, a.Left))
			if a.String() == "" || a.At.IsZero() || a.Threshold != 1000 {
				t.Errorf("%+v", a)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
		if ctx.Err() == nil {
			t.Error("the watch ended before its context")
		}
		cancel()
	})
}

func TestAWatchGoesOnAfterAnErrorAndStopsWhenLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{Credits: -1})
		defer m.Close()
		fails := true
		flaky := transport(func(r *http.Request) (*http.Response, error) {
			if fails && strings.HasSuffix(r.URL.Path, "/consumption-accounts") {
				return (&served{status: 500}).RoundTrip(r)
			}
			return m.Transport().RoundTrip(r)
		})
		w, err := grid.NewWatch(reader(t, m, func(cfg *grid.TradingConfig) { cfg.HTTPClient = &http.Client{Transport: flaky} }), grid.WatchConfig{Tokens: map[string]int64{"x": 1}})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		began := time.Now()
		for a, err := range w.Alerts(t.Context()) {
			if err != nil {
				var e *grid.Error
				if !errors.As(err, &e) || e.Class != grid.ClassServer {
					t.Errorf("%v", err)
				}
				got = append(got, "error")
				fails = false
				continue
			}
			got = append(got, a.Instrument+" "+string(a.Kind))
			if a.Instrument == "x" {
				break
			}
		}
		if want := " empty,error,x empty"; strings.Join(got, ",") != want || time.Since(began) != time.Minute {
			t.Errorf("%q after %v, want %q", got, time.Since(began), want)
		}
	})
}

func TestNewWatchNamesEveryMistake(t *testing.T) {
	_, err := grid.NewWatch(nil, grid.WatchConfig{Profile: "lazy", Every: -1})
	for _, part := range []string{"no account", "Profile", "Every"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %v", part, err)
		}
	}
}
