package gridtest

import (
	"fmt"
	"math"
	"testing"
	"time"
)

func TestMoneyIsRoundedUpAndSaturates(t *testing.T) {
	for _, row := range []struct {
		name          string
		tokens, price int64
		wantNano      int64
		wantUSD       string
	}{
		{"nothing", 0, 5, 0, "0"},
		{"free", 5, 0, 0, "0"},
		{"the least", 1, 1, 1, "0.000000000000001"},
		{"one Unit", 1_000_000, 200_000_000, 200_000_000, "0.2"},
		{"a fraction", 1_000_001, 200_000_001, 200_000_202, "0.200000201000001"},
		{"negative factors", -1, -1, 0, "0"},
		{"the largest", math.MaxInt64, 1_000_000, math.MaxInt64, "9223372036.854775807"},
		{"too large", math.MaxInt64, 1_000_001, math.MaxInt64, "9223381260.226812661775807"},
		{"far too large", math.MaxInt64, math.MaxInt64, math.MaxInt64, "85070591730234615847396.907784232501249"},
	} {
		e := exact{}.plus(row.tokens, row.price)
		if e.nano() != row.wantNano || e.usd() != row.wantUSD {
			t.Errorf("%s: %d nano-USD, %s USD, want %d and %s", row.name, e.nano(), e.usd(), row.wantNano, row.wantUSD)
		}
	}
	var sum exact
	for range 10 {
		sum = sum.plus(math.MaxInt64, math.MaxInt64)
	}
	if sum.nano() != math.MaxInt64 || sum.plus(1, 1) != sum {
		t.Errorf("the sum wrapped: %+v", sum)
	}
	if addSaturating(math.MaxInt64, 1) != math.MaxInt64 || addSaturating(math.MinInt64, -1) != math.MinInt64 {
		t.Error("an addition wrapped")
	}
}

func TestCreditsBuyWhatTheyCan(t *testing.T) {
	for _, row := range []struct{ credits, price, want int64 }{
		{1_000, 1_000_000_000, 1},
		{999, 1_000_000_000, 0},
		{0, 1, 0},
		{-5, 1, 0},
		{5, 0, math.MaxInt64},
		{math.MaxInt64, 1, math.MaxInt64},
		{math.MaxInt64, math.MaxInt64, 1_000_000},
		{math.MaxInt64, 999_999, math.MaxInt64},
	} {
		if got := affordable(row.credits, row.price); got != row.want {
			t.Errorf("%d nano-USD at %d buy %d tokens, want %d", row.credits, row.price, got, row.want)
		}
	}
}

func TestWhatIsPutBackIsThereAgain(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, row := range []struct {
		name  string
		draw  int64
		then  func(*account)
		after time.Duration
		want  string
	}{
		{"part of a lot", 5, nil, 0, "[{10 1} {10 2}] 0"},
		{"a whole lot", 10, nil, 0, "[{10 1} {10 2}] 0"},
		{"an overdraft", 25, nil, 0, "[{10 1} {10 2}] 0"},
		{"an overdraft paid by then", 25, func(a *account) { a.add(Lot{Tokens: 7, PriceNanoUSD: 3}) }, 0, "[{10 1} {2 3} {5 2} {10 2}] 0"},
		{"a lot that has expired", 5, nil, time.Hour, "[{10 2}] 0"},
		{"an emptied lot that has expired", 10, nil, time.Hour, "[{10 2}] 0"},
	} {
		a := &account{instrument: Instrument{PriceNanoUSD: 1}}
		a.add(Lot{Tokens: 10, PriceNanoUSD: 2})
		a.add(Lot{Tokens: 10, PriceNanoUSD: 1, Expires: now.Add(time.Hour)})
		all := a.draw(row.draw)
		a.advance(now.Add(row.after), 0)
		if row.then != nil {
			row.then(a)
		}
		a.putBack(all)
		a.advance(now.Add(row.after), 0)
		var lots []Draw
		for _, l := range a.lots {
			lots = append(lots, Draw{l.Tokens, l.PriceNanoUSD})
		}
		if got := fmt.Sprint(lots, a.debt); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}

func TestABalanceCanBeSetToADebt(t *testing.T) {
	m := New(Config{Balance: map[string]int64{"text-prime": -5}, Credits: -1})
	defer m.Close()
	if got := m.Balance("text-prime"); got != -5 {
		t.Errorf("balance %d", got)
	}
	m.SetBalance("text-prime", math.MinInt64)
	if got := m.Balance("text-prime"); got != -math.MaxInt64 {
		t.Errorf("balance %d", got)
	}
	if m.Credits() != 0 {
		t.Errorf("credits %d, want none", m.Credits())
	}
}

func TestTheOtherHostIsTheSamePlace(t *testing.T) {
	for host, want := range map[string]string{
		"127.0.0.1:80":    "localhost:80",
		"localhost:8080":  "127.0.0.1:8080",
		"api.thegrid.ai":  "synapse.thegrid.ai",
		"example.com:443": "synapse.example.com:443",
	} {
		if got := otherHost(host); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
}
