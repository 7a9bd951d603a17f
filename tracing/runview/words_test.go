package runview

import (
	"math"
	"testing"
	"time"
)

func TestDurationsAreShortAndTrue(t *testing.T) {
	for _, row := range []struct {
		d    time.Duration
		want string
	}{
		{-5, "0 ms"}, {0, "0 ms"}, {1, "<0.1 ms"}, {1500 * time.Microsecond, "1.5 ms"}, {62 * time.Millisecond, "62 ms"},
		{999_400 * time.Microsecond, "999 ms"}, {999_600 * time.Microsecond, "1.00 s"}, {9_994 * time.Millisecond, "9.99 s"}, {9_996 * time.Millisecond, "10.0 s"},
		{59_940 * time.Millisecond, "59.9 s"}, {59_960 * time.Millisecond, "1 min 00 s"}, {125 * time.Second, "2 min 05 s"},
		{59*time.Minute + 59600*time.Millisecond, "1 h 00 min"}, {26*time.Hour + 2*time.Minute, "26 h 02 min"},
	} {
		if got := duration(row.d); got != row.want {
			t.Errorf("%v is %q, want %q", row.d, got, row.want)
		}
	}
}

func TestMoneyIsRoundedInItsColumnAndExactElsewhere(t *testing.T) {
	for _, row := range []struct {
		nano        int64
		decimals    int
		want, exact string
	}{
		{0, 2, "$0.00", "$0.00"}, {1, 6, "$0.000000", "$0.000000001"}, {3_393_000, 5, "$0.00339", "$0.003393"}, {999_999_999, 2, "$1.00", "$0.999999999"},
		{-1_500_000_000, 2, "-$1.50", "-$1.50"}, {math.MaxInt64, 2, "$9223372036.85", "$9223372036.854775807"}, {math.MinInt64, 2, "-$9223372036.85", "-$9223372036.854775808"},
	} {
		if got := money(row.nano, row.decimals); got != row.want {
			t.Errorf("money(%d, %d) = %s, want %s", row.nano, row.decimals, got, row.want)
		}
		if got := exact(row.nano); got != row.exact {
			t.Errorf("exact(%d) = %s, want %s", row.nano, got, row.exact)
		}
	}
	for _, row := range []struct {
		costs []int64
		want  int
	}{{nil, 2}, {[]int64{0}, 2}, {[]int64{2_000_000_000}, 2}, {[]int64{50_000_000}, 3}, {[]int64{3_000_000, 900}, 6}, {[]int64{1, 200_000_000_000}, 3}} {
		if got := decimals(row.costs...); got != row.want {
			t.Errorf("decimals(%v) = %d, want %d", row.costs, got, row.want)
		}
	}
	if got := amount(8_912_312); got != "$0.00891" {
		t.Errorf("amount is %s", got)
	}
}

func TestNumbersAreGrouped(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567", math.MinInt64: "-9,223,372,036,854,775,808"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %s", n, got)
		}
	}
	for n, want := range map[int64]string{99_999: "99,999", 100_000: "100k", 999_499: "999k", 999_500: "1.0M", 12_345_678: "12.3M", 250_000_000: "250M"} {
		if got := tokens(n); got != want {
			t.Errorf("tokens(%d) = %s", n, got)
		}
	}
}

func TestEveryEndOfARunHasWordsAndALook(t *testing.T) {
	for _, row := range []struct {
		run   run
		words string
		state state
	}{
		{run{stop: "completed"}, "completed", doneState},
		{run{stop: "budget"}, "stopped at its cap", limitState},
		{run{stop: "max_steps"}, "stopped at its step limit", limitState},
		{run{stop: "something_new"}, "stopped: something_new", limitState},
		{run{stop: "paused"}, "paused", pausedState},
		{run{stop: "canceled", failed: "canceled"}, "canceled", canceledState},
		{run{stop: "error", failed: "402"}, "failed: 402", failedState},
		{run{stop: "error", failed: "_OTHER"}, "failed", failedState},
		{run{failed: "timeout"}, "failed: timeout", failedState},
		{run{open: true}, "under way", openState},
		{run{}, "ended", doneState},
	} {
		if got := row.run.stopped(); got != row.words || row.run.state() != row.state {
			t.Errorf("%+v: %q, %v, want %q, %v", row.run.stop, got, row.run.state(), row.words, row.state)
		}
	}
}

func TestTextsAreShortenedToTheirWidth(t *testing.T) {
	for _, s := range append([]string{"agent-prime", "", "  two\twords \n"}, nasty...) {
		for _, width := range []float64{0, 5, 40, 150, 1e6} {
			for _, f := range faces {
				got := f.fit(s, width)
				if w := f.width(got); w > width+1e-9 {
					t.Errorf("%.20q at %v is %v wide", s, width, w)
				}
			}
		}
	}
	if got := nameFace.fit("  two\twords \n", 500); got != "two words" {
		t.Errorf("got %q", got)
	}
}
