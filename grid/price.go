package grid

import (
	"math"
	"math/bits"
	"strings"
	"time"
)

// The sources of a price, best first.
const (
	PriceMax     = "max_price" // the operator's ceiling
	PriceReceipt = "receipt"   // the dearest lot in recent receipts
	PriceLive    = "live"      // the market's live price, with a quarter on top
	PriceNone    = "none"
)

// Price is what a token of an instrument is reckoned to cost at most.
type Price struct {
	// NanoUSDPerUnit is nano-USD (1e-9 USD) per Unit of 1,000,000 tokens; 0 is none.
	NanoUSDPerUnit int64
	Source         string
	// At is when the source was seen; zero for the operator's ceiling.
	At time.Time
}

const (
	// lotMemory is how long a lot's price bears on the next one.
	lotMemory = 24 * time.Hour
	maxLots   = 64
)

// ObserveLot records what a lot that paid for a request had cost, in nano-USD per Unit.
// Prices of unknown instruments, and those not above 0, are dropped.
func (c *Catalogue) ObserveLot(id string, nanoUSDPerUnit int64, at time.Time) {
	c.change()
	defer c.mu.Unlock()
	l := c.byID[id]
	if l == nil || nanoUSDPerUnit <= 0 {
		return
	}
	for i := range l.lots {
		if l.lots[i].nanoUSD == nanoUSDPerUnit {
			if at.After(l.lots[i].at) {
				l.lots[i].at = at
			}
			return
		}
	}
	if len(l.lots) == maxLots {
		oldest := 0
		for i := range l.lots {
			if l.lots[i].at.Before(l.lots[oldest].at) {
				oldest = i
			}
		}
		l.lots[oldest] = seenPrice{nanoUSDPerUnit, at}
		return
	}
	l.lots = append(l.lots, seenPrice{nanoUSDPerUnit, at})
}

// decimal reads a decimal number without a float: v x 10^scale, rounded up, and at
// most MaxInt64. It refuses what is negative, empty or not a number.
func decimal(v string, scale int) (int64, bool) {
	n, more, ok := scaled(v, scale)
	if more && n < math.MaxInt64 {
		n++
	}
	return n, ok
}

// signedDecimal reads what an account has, which may be a debt: rounded down, so that
// nobody counts on what is not there.
func signedDecimal(v string, scale int) (int64, bool) {
	if debt, ok := strings.CutPrefix(v, "-"); ok {
		if strings.HasPrefix(debt, "+") {
			return 0, false
		}
		n, ok := decimal(debt, scale)
		return -n, ok
	}
	n, _, ok := scaled(v, scale)
	return n, ok
}

// scaled is v x 10^scale without its fraction; more tells that there was one.
func scaled(v string, scale int) (_ int64, more, ok bool) {
	var hi, n uint64
	digits, point, exp, i := 0, -1, 0, 0
	up, full := false, false
	if i < len(v) && v[i] == '+' {
		i++
	}
	for ; i < len(v); i++ {
		ch := v[i]
		if ch == '.' && point < 0 {
			point = digits
			continue
		}
		if ch == 'e' || ch == 'E' {
			break
		}
		if ch < '0' || ch > '9' {
			return 0, false, false
		}
		digits++
	}
	mantissa := v[:i]
	if digits == 0 {
		return 0, false, false
	}
	if i < len(v) {
		i++
		sign := 1
		if i < len(v) && (v[i] == '-' || v[i] == '+') {
			if v[i] == '-' {
				sign = -1
			}
			i++
		}
		if i == len(v) || len(v)-i > 4 {
			return 0, false, false
		}
		for ; i < len(v); i++ {
			if v[i] < '0' || v[i] > '9' {
				return 0, false, false
			}
			exp = exp*10 + int(v[i]-'0')
		}
		exp *= sign
	}
	if point < 0 {
		point = digits
	}
	keep := point + exp + scale // digits before the point once it was moved
	push := func(d uint64) {
		hi, n = bits.Mul64(n, 10)
		var carry uint64
		n, carry = bits.Add64(n, d, 0)
		full = full || hi != 0 || carry != 0 || n > math.MaxInt64
		if full {
			n = math.MaxInt64
		}
	}
	seen, zero := 0, true
	for _, ch := range []byte(mantissa) {
		if ch < '0' || ch > '9' {
			continue
		}
		zero = zero && ch == '0'
		if seen < keep {
			push(uint64(ch - '0'))
		} else if ch != '0' {
			up = true
		}
		seen++
	}
	if zero {
		return 0, false, true
	}
	for ; seen < keep && !full; seen++ {
		push(0)
	}
	if full {
		return math.MaxInt64, false, true
	}
	return int64(n), up, true
}

// plus adds amounts of money or tokens without wrapping.
func plus(a, b int64) int64 {
	switch sum := a + b; {
	case a > 0 && b > 0 && sum < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && sum >= 0:
		return math.MinInt64
	default:
		return sum
	}
}
