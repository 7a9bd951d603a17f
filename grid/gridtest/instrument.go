package gridtest

import (
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"strings"
)

// An Instrument is one thing the market sells.
type Instrument struct {
	ID          string // what a request names in "model"; lower case
	DisplayName string // zero: made from ID
	Status      string // "live" or "preview"; zero: "live"

	// The limits that the market enforces, in tokens. Zero: 128,000, 120,000
	// and 65,536.
	Context, MaxInput, MaxOutput int64

	// PriceNanoUSD is the live price in nano-USD per Unit (1,000,000 tokens),
	// prompt and completion tokens alike. It is the price of the lots that an
	// account starts with and of those that Auto Top Up buys. Zero is free.
	PriceNanoUSD int64

	// ServingModel is what answers name in "model" instead of the instrument.
	// Zero: "openai/gpt-oss-120b".
	ServingModel string
}

// Nine returns the nine tier instruments with their documented limits and
// plausible prices. The prices are an assumption.
func Nine() []Instrument {
	tier := func(id, status string, context, input, output, price int64, serving string) Instrument {
		return Instrument{ID: id, Status: status, Context: context, MaxInput: input, MaxOutput: output, PriceNanoUSD: price, ServingModel: serving}
	}
	const cent = 10_000_000
	return []Instrument{
		tier("text-standard", "live", 128_000, 120_000, 65_536, 20*cent, "openai/gpt-oss-120b"),
		tier("text-prime", "live", 196_608, 120_000, 131_072, 60*cent, "zai/glm-4.7"),
		tier("text-max", "live", 1_000_000, 922_000, 128_000, 250*cent, "deepseek/deepseek-v4"),
		tier("code-standard", "preview", 128_000, 120_000, 65_536, 24*cent, "openai/gpt-oss-120b"),
		tier("code-prime", "preview", 196_608, 120_000, 131_072, 70*cent, "qwen/qwen3-coder"),
		tier("code-max", "preview", 1_000_000, 922_000, 128_000, 290*cent, "deepseek/deepseek-v4"),
		tier("agent-standard", "preview", 128_000, 120_000, 65_536, 25*cent, "openai/gpt-oss-120b"),
		tier("agent-prime", "preview", 196_608, 120_000, 131_072, 75*cent, "zai/glm-4.7"),
		tier("agent-max", "preview", 1_000_000, 922_000, 128_000, 300*cent, "deepseek/deepseek-v4"),
	}
}

func (in Instrument) withDefaults() Instrument {
	if in.DisplayName == "" {
		words := strings.Split(in.ID, "-")
		for i, w := range words {
			if w != "" {
				words[i] = strings.ToUpper(w[:1]) + w[1:]
			}
		}
		in.DisplayName = strings.Join(words, " ")
	}
	if in.Status == "" {
		in.Status = "live"
	}
	if in.Context == 0 {
		in.Context = 128_000
	}
	if in.MaxInput == 0 {
		in.MaxInput = 120_000
	}
	if in.MaxOutput == 0 {
		in.MaxOutput = 65_536
	}
	if in.ServingModel == "" {
		in.ServingModel = "openai/gpt-oss-120b"
	}
	return in
}

func (in Instrument) problem() error {
	switch {
	case in.ID == "" || in.ID != strings.ToLower(in.ID):
		return fmt.Errorf("instrument %q: the id must be lower case and not empty", in.ID)
	case in.Context < 0 || in.MaxInput < 0 || in.MaxOutput < 0:
		return fmt.Errorf("instrument %q: a limit is negative", in.ID)
	case in.PriceNanoUSD < 0:
		return fmt.Errorf("instrument %q: the price is negative", in.ID)
	}
	return nil
}

// tokensPerUnit is the size of a Unit, and also the factor between nano-USD
// and the market's exact money (1e-15 USD), in which tokens x price is whole.
const tokensPerUnit = 1_000_000

// exact is an amount of money in 1e-15 USD: 128 bits, saturating.
type exact struct{ hi, lo uint64 }

// plus adds the price of tokens at nano-USD per Unit; negative factors are 0.
func (e exact) plus(tokens, price int64) exact {
	hi, lo := bits.Mul64(uint64(max(tokens, 0)), uint64(max(price, 0)))
	lo, carry := bits.Add64(e.lo, lo, 0)
	hi, carry = bits.Add64(e.hi, hi, carry)
	if carry != 0 {
		return exact{math.MaxUint64, math.MaxUint64}
	}
	return exact{hi, lo}
}

// nano is the amount in nano-USD, rounded up and saturating at the int64 range.
func (e exact) nano() int64 {
	if e.hi >= tokensPerUnit {
		return math.MaxInt64
	}
	quotient, rest := bits.Div64(e.hi, e.lo, tokensPerUnit)
	if quotient >= math.MaxInt64 {
		return math.MaxInt64
	}
	if rest > 0 {
		quotient++
	}
	return int64(quotient)
}

// usd writes the amount in USD as an exact decimal without trailing zeros.
func (e exact) usd() string {
	n := new(big.Int).SetUint64(e.hi)
	n.Lsh(n, 64)
	n.Or(n, new(big.Int).SetUint64(e.lo))
	return decimal(n.String(), 15, 0)
}

// decimal puts a point before the last places digits and drops trailing zeros
// down to keep of them.
func decimal(digits string, places, keep int) string {
	if len(digits) <= places {
		digits = strings.Repeat("0", places-len(digits)+1) + digits
	}
	whole, rest := digits[:len(digits)-places], digits[len(digits)-places:]
	for len(rest) > keep && rest[len(rest)-1] == '0' {
		rest = rest[:len(rest)-1]
	}
	if rest == "" {
		return whole
	}
	return whole + "." + rest
}

// addSaturating adds two token or money amounts without wrapping.
func addSaturating(a, b int64) int64 {
	switch {
	case b > 0 && a > math.MaxInt64-b:
		return math.MaxInt64
	case b < 0 && a < math.MinInt64-b:
		return math.MinInt64
	}
	return a + b
}
