package gridtest

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// A Lot is a number of tokens bought at one price.
type Lot struct {
	Tokens       int64
	PriceNanoUSD int64     // nano-USD per Unit (1,000,000 tokens)
	Expires      time.Time // zero: never; tokens left over by then are lost
}

// A Draw is what one request took from one lot.
type Draw struct {
	Tokens       int64
	PriceNanoUSD int64 // nano-USD per Unit (1,000,000 tokens)
}

// account is the consumption balance of one instrument: its lots, soonest
// expiring first, and at most one purchase under way. Market.mu guards it.
type account struct {
	instrument Instrument
	lots       []*lot
	debt       int64 // tokens drawn past the last lot, taken from the next one
	lastPrice  int64 // of the lot drawn last: what an overdraft costs
	buy        *purchase
	bought     int // purchases filled or under way
}

type lot struct {
	Lot
}

type purchase struct {
	Lot
	due time.Time
}

// drawn remembers where tokens came from, so that they can go back.
type drawn struct {
	Draw
	from *lot // nil: overdraft
}

// advance brings the account to the given time: purchases that are due have
// arrived, lots whose time is over are gone. Doing it lazily costs no goroutine
// and makes the caller's clock, also a virtual one, the market's clock.
func (a *account) advance(now time.Time, window time.Duration) {
	if a.buy != nil && !now.Before(a.buy.due) {
		got := a.buy.Lot
		if window > 0 {
			got.Expires = a.buy.due.Add(window)
		}
		a.buy = nil
		a.add(got)
	}
	a.lots = slices.DeleteFunc(a.lots, func(l *lot) bool {
		return l.Tokens == 0 || !l.Expires.IsZero() && !now.Before(l.Expires)
	})
}

// add puts a lot in its place: behind all that expire no later.
func (a *account) add(l Lot) {
	pay := min(a.debt, l.Tokens)
	a.debt -= pay
	l.Tokens -= pay
	if pay > 0 {
		a.lastPrice = l.PriceNanoUSD
	}
	at := len(a.lots)
	for at > 0 && expiresBefore(l, a.lots[at-1].Lot) {
		at--
	}
	a.lots = slices.Insert(a.lots, at, &lot{l})
}

func expiresBefore(a, b Lot) bool {
	if a.Expires.IsZero() {
		return false
	}
	return b.Expires.IsZero() || a.Expires.Before(b.Expires)
}

func (a *account) balance() int64 {
	left := -a.debt
	for _, l := range a.lots {
		left = addSaturating(left, l.Tokens)
	}
	return left
}

// draw takes tokens lot by lot. What no lot holds is overdrawn at the price of
// the lot drawn last.
func (a *account) draw(tokens int64) []drawn {
	var all []drawn
	for _, l := range a.lots {
		if tokens <= 0 {
			break
		}
		n := min(tokens, l.Tokens)
		if n == 0 {
			continue
		}
		l.Tokens -= n
		tokens -= n
		a.lastPrice = l.PriceNanoUSD
		all = append(all, drawn{Draw{n, l.PriceNanoUSD}, l})
	}
	if tokens > 0 {
		a.debt = addSaturating(a.debt, tokens)
		all = append(all, drawn{Draw{tokens, a.lastPrice}, nil})
	}
	return all
}

// putBack returns what a request drew, an overdraft first: it ends the debt
// that would eat the lots.
func (a *account) putBack(all []drawn) {
	for _, d := range slices.Backward(all) {
		if d.from != nil && slices.Contains(a.lots, d.from) {
			d.from.Tokens += d.Tokens
			continue
		}
		l := Lot{Tokens: d.Tokens, PriceNanoUSD: d.PriceNanoUSD}
		if d.from != nil {
			l.Expires = d.from.Expires
		}
		a.add(l)
	}
}

func (a *account) set(tokens int64) {
	a.lots, a.debt = nil, 0
	a.lastPrice = a.instrument.PriceNanoUSD
	if tokens < 0 {
		a.debt = -max(tokens, -math.MaxInt64)
		return
	}
	a.add(Lot{Tokens: tokens, PriceNanoUSD: a.instrument.PriceNanoUSD})
}

// order starts a purchase of at most quantity tokens with what the credits
// allow, and returns what it locks of them; 0 tokens means that it cannot.
func (a *account) order(quantity, price, credits int64, due time.Time) (tokens, cost int64) {
	tokens = min(quantity, affordable(credits, price))
	if tokens <= 0 {
		return 0, 0
	}
	a.bought++
	a.buy = &purchase{Lot{Tokens: tokens, PriceNanoUSD: price}, due}
	return tokens, exact{}.plus(tokens, price).nano()
}

// affordable is how many tokens the credits buy at a price.
func affordable(credits, price int64) int64 {
	if price <= 0 {
		return math.MaxInt64
	}
	if credits <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(credits), tokensPerUnit)
	if hi >= uint64(price) {
		return math.MaxInt64
	}
	n, _ := bits.Div64(hi, lo, uint64(price))
	return int64(min(n, math.MaxInt64))
}

// bill is the exact price of draws: what the true bill rounds up once.
func bill(all []drawn) exact {
	var sum exact
	for _, d := range all {
		sum = sum.plus(d.Tokens, d.PriceNanoUSD)
	}
	return sum
}
