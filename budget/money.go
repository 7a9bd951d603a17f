package budget

import (
	"fmt"
	"math"
	"math/bits"
	"strings"
)

// nanoPerUSD is how many nano-USD make one dollar.
const nanoPerUSD = 1_000_000_000

// tokensPerUnit is how many tokens The Grid sells as one Unit.
const tokensPerUnit = 1_000_000

// Cost is what tokens cost in nano-USD at a price of nanoUSDPerUnit for one Unit of 1,000,000 tokens: rounded up, computed in
// 128 bits, and MaxInt64 when the product does not fit. A negative argument also costs MaxInt64, so that a mistake is
// refused by every cap instead of being free.
func Cost(tokens, nanoUSDPerUnit int64) int64 {
	if tokens < 0 || nanoUSDPerUnit < 0 {
		return math.MaxInt64
	}
	hi, lo := bits.Mul64(uint64(tokens), uint64(nanoUSDPerUnit))
	lo, carry := bits.Add64(lo, tokensPerUnit-1, 0)
	hi += carry
	if hi >= tokensPerUnit {
		return math.MaxInt64
	}
	quo, _ := bits.Div64(hi, lo, tokensPerUnit)
	if quo > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(quo)
}

// USD is dollars in nano-USD, rounded to the nearest one, for limits written in Go: USD(0.05), USD(20). Cents, and every
// amount a person would write, are exact. What has no nano-USD value (NaN, infinities, more than about 9.2 thousand
// million dollars) becomes the lowest int64, which [Cap.Validate] and [Amounts.Validate] refuse.
func USD(dollars float64) int64 {
	nano := math.Round(dollars * nanoPerUSD)
	if math.IsNaN(nano) || nano >= math.MaxInt64 || nano <= math.MinInt64 {
		return math.MinInt64
	}
	return int64(nano)
}

// ParseUSD reads a decimal amount of dollars, "1", "0.05" or "$1.50", as nano-USD, exactly. Signs, exponents, separators
// and more than nine decimals are errors.
func ParseUSD(s string) (int64, error) {
	text := strings.TrimPrefix(s, "$")
	whole, frac, point := strings.Cut(text, ".")
	if whole == "" || !digits(whole) || (point && frac == "") || !digits(frac) {
		return 0, fmt.Errorf("budget: %q is not an amount of dollars: write digits with at most one point, such as 0.05", clip(s))
	}
	frac = strings.TrimRight(frac, "0")
	if len(frac) > 9 {
		return 0, fmt.Errorf("budget: %q is finer than a nano-dollar: write at most nine decimals", clip(s))
	}
	var nano uint64
	for _, d := range whole + frac + strings.Repeat("0", 9-len(frac)) {
		hi, lo := bits.Mul64(nano, 10)
		lo, carry := bits.Add64(lo, uint64(d-'0'), 0)
		if hi+carry != 0 || lo > math.MaxInt64 {
			return 0, fmt.Errorf("budget: %q is more dollars than can be counted: write less than 9223372036", clip(s))
		}
		nano = lo
	}
	return int64(nano), nil
}

// FormatUSD writes nano-USD as dollars with at least two decimals and nothing rounded away: "$0.0132", "$1.00".
func FormatUSD(nano int64) string {
	sign, abs := "", uint64(nano)
	if nano < 0 {
		sign, abs = "-", -abs
	}
	frac := strings.TrimRight(fmt.Sprintf("%09d", abs%nanoPerUSD), "0")
	for len(frac) < 2 {
		frac += "0"
	}
	return fmt.Sprintf("%s$%d.%s", sign, abs/nanoPerUSD, frac)
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// clip keeps a foreign text short enough for an error message.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}

// plus adds two amounts that are not negative and stops at MaxInt64.
func plus(a, b int64) int64 {
	if sum := a + b; sum >= 0 {
		return sum
	}
	return math.MaxInt64
}

// minus takes b from a. A sum that stopped at MaxInt64 is no longer exact, so it stays there: the safe side.
func minus(a, b int64) int64 {
	if a == math.MaxInt64 {
		return a
	}
	return max(a-b, 0)
}
