package budget

import (
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestCostRoundsUpAndSaturates(t *testing.T) {
	for _, test := range []struct {
		name                string
		tokens, price, want int64
	}{
		{"nothing", 0, 200_000_000, 0},
		{"free", 1000, 0, 0},
		{"one Unit", 1_000_000, 200_000_000, 200_000_000},
		{"a thousand tokens at 20 cents", 1000, 200_000_000, 200_000},
		{"less than a nano-dollar", 1, 1, 1},
		{"just above one", 1_000_001, 1, 2},
		{"as large as can be counted", 1_000_000, math.MaxInt64, math.MaxInt64},
		{"more than can be counted", 1_000_001, math.MaxInt64, math.MaxInt64},
		{"the largest of all", math.MaxInt64, math.MaxInt64, math.MaxInt64},
		{"negative tokens", -1, 5, math.MaxInt64},
		{"negative price", 5, -1, math.MaxInt64},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Cost(test.tokens, test.price); got != test.want {
				t.Fatalf("Cost(%d, %d) = %d, want %d", test.tokens, test.price, got, test.want)
			}
		})
	}
}

func TestCostAgreesWithBigIntegers(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		tokens, price := rnd.Int64()>>rnd.IntN(63), rnd.Int64()>>rnd.IntN(63)
		want := new(big.Int).Mul(big.NewInt(tokens), big.NewInt(price))
		want.Add(want, big.NewInt(999_999)).Div(want, big.NewInt(1_000_000))
		if !want.IsInt64() {
			want.SetInt64(math.MaxInt64)
		}
		if got := Cost(tokens, price); got != want.Int64() {
			t.Fatalf("Cost(%d, %d) = %d, want %d", tokens, price, got, want)
		}
	}
}

func TestUSDIsExactForWhatPeopleWrite(t *testing.T) {
	for cents := range int64(200_000) {
		if got := USD(float64(cents) / 100); got != cents*10_000_000 {
			t.Fatalf("USD of %d cents = %d", cents, got)
		}
	}
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e11, -1e11} {
		c := Cap{For: Account(), Meter: MeterMoney, Limit: USD(bad), Per: Lifetime()}
		if c.Validate() == nil {
			t.Fatalf("a limit of USD(%v) = %d is accepted", bad, c.Limit)
		}
	}
	if USD(-0.5) != -500_000_000 {
		t.Fatalf("USD(-0.5) = %d", USD(-0.5))
	}
}

func TestDollarsAreReadExactly(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1_000_000_000, "$1": 1_000_000_000, "0.05": 50_000_000, "$12.34": 12_340_000_000, "007.50": 7_500_000_000,
		"0.000000001": 1, "1.0000000000000": 1_000_000_000, "9223372036.854775807": math.MaxInt64,
	} {
		if got, err := ParseUSD(text); err != nil || got != want {
			t.Errorf("ParseUSD(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "$", ".", ".5", "5.", "-1", "+1", "1e3", "1,000", "1_000", " 1", "1 ", "0x1", "1.2.3", "NaN", "€1", "$$1",
		"0.0000000001", "9223372036.854775808", "99999999999999999999999999", "１"} {
		if got, err := ParseUSD(text); err == nil {
			t.Errorf("ParseUSD(%q) = %d, want an error", text, got)
		} else if !strings.HasPrefix(err.Error(), "budget: ") {
			t.Errorf("ParseUSD(%q): %v", text, err)
		}
	}
}

func TestDollarsAreWrittenWithNothingRoundedAway(t *testing.T) {
	for nano, want := range map[int64]string{
		0: "$0.00", 1: "$0.000000001", 13_200_000: "$0.0132", 1_000_000_000: "$1.00", 1_500_000_000: "$1.50", -20_000_000: "-$0.02",
		math.MaxInt64: "$9223372036.854775807", math.MinInt64: "-$9223372036.854775808",
	} {
		if got := FormatUSD(nano); got != want {
			t.Errorf("FormatUSD(%d) = %q, want %q", nano, got, want)
		}
	}
}

func FuzzParseUSD(f *testing.F) {
	for _, s := range []string{"1.50", "$0.000000001", "9223372036.854775807", "-1", "1e9", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		nano, err := ParseUSD(s)
		if err != nil {
			return
		}
		if nano < 0 {
			t.Fatalf("ParseUSD(%q) = %d", s, nano)
		}
		again, err := ParseUSD(FormatUSD(nano))
		if err != nil || again != nano {
			t.Fatalf("%q is %d, written %q and read as %d, %v", s, nano, FormatUSD(nano), again, err)
		}
	})
}
