package budget

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Meter says what a cap counts.
type Meter string

// The meters the agent loop fills in. Any other is written [Custom] so that a misspelt name is an error and not a new meter.
const (
	MeterMoney     Meter = "money"      // nano-USD
	MeterTokens    Meter = "tokens"     // input and output tokens together
	MeterRequests  Meter = "requests"   // possibly billed attempts
	MeterToolCalls Meter = "tool_calls" // tool calls
)

const customPrefix = "custom:"

// Custom is a meter of the embedding service's own, such as Custom("emails"): lower-case letters, digits and _.
func Custom(name string) Meter { return Meter(customPrefix + name) }

// Validate reports a meter that does not exist, as a [*FieldError].
func (m Meter) Validate() error {
	switch m {
	case MeterMoney, MeterTokens, MeterRequests, MeterToolCalls:
		return nil
	}
	if name, ok := strings.CutPrefix(string(m), customPrefix); ok && plainName(name) {
		return nil
	}
	return &FieldError{Field: "Meter", Problem: fmt.Sprintf("%q is no meter", clip(string(m))),
		Fix: "write money, tokens, requests, tool_calls or custom:name (lower case, digits and _)"}
}

// format writes an amount of this meter for a person.
func (m Meter) format(v int64) string {
	if v == None {
		return "none"
	}
	if m == MeterMoney {
		return FormatUSD(v)
	}
	return fmt.Sprintf("%d", v)
}

func plainName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// Amounts is how much of each meter a call may use or has used. The zero value is nothing. It is passed by value and
// costs no allocation unless Custom is used; nobody changes a Custom map that was handed over.
type Amounts struct {
	NanoUSD   int64 `json:"nano_usd,omitempty"`
	Tokens    int64 `json:"tokens,omitempty"`
	Requests  int64 `json:"requests,omitempty"`
	ToolCalls int64 `json:"tool_calls,omitempty"`
	// Custom holds the amounts of meters made by [Custom].
	Custom map[Meter]int64 `json:"custom,omitempty"`
}

// Get is the amount of one meter, 0 when there is none.
func (a Amounts) Get(m Meter) int64 {
	switch m {
	case MeterMoney:
		return a.NanoUSD
	case MeterTokens:
		return a.Tokens
	case MeterRequests:
		return a.Requests
	case MeterToolCalls:
		return a.ToolCalls
	}
	return a.Custom[m]
}

// With is a copy of a in which meter m has the amount v.
func (a Amounts) With(m Meter, v int64) Amounts {
	switch m {
	case MeterMoney:
		a.NanoUSD = v
	case MeterTokens:
		a.Tokens = v
	case MeterRequests:
		a.Requests = v
	case MeterToolCalls:
		a.ToolCalls = v
	default:
		a = a.clone()
		if a.Custom == nil {
			a.Custom = map[Meter]int64{}
		}
		a.Custom[m] = v
	}
	return a
}

// Add is the sum of a and b per meter; it stops at MaxInt64.
func (a Amounts) Add(b Amounts) Amounts {
	a.NanoUSD = plus(a.NanoUSD, b.NanoUSD)
	a.Tokens = plus(a.Tokens, b.Tokens)
	a.Requests = plus(a.Requests, b.Requests)
	a.ToolCalls = plus(a.ToolCalls, b.ToolCalls)
	for m, v := range b.Custom {
		a = a.With(m, plus(a.Custom[m], v))
	}
	return a
}

// Equal reports whether a and b are the same amounts; a meter that is absent is 0.
func (a Amounts) Equal(b Amounts) bool {
	if a.NanoUSD != b.NanoUSD || a.Tokens != b.Tokens || a.Requests != b.Requests || a.ToolCalls != b.ToolCalls {
		return false
	}
	for m, v := range a.Custom {
		if b.Custom[m] != v {
			return false
		}
	}
	for m, v := range b.Custom {
		if a.Custom[m] != v {
			return false
		}
	}
	return true
}

// IsZero reports whether every meter is 0.
func (a Amounts) IsZero() bool {
	return a.NanoUSD|a.Tokens|a.Requests|a.ToolCalls == 0 && (len(a.Custom) == 0 || a.Equal(Amounts{}))
}

// Validate reports negative amounts and unknown meters, all of them, as [*FieldError]s.
func (a Amounts) Validate() error {
	if a.NanoUSD|a.Tokens|a.Requests|a.ToolCalls >= 0 && len(a.Custom) == 0 {
		return nil
	}
	var errs fieldErrors
	negative := func(field string, v int64) {
		if v < 0 {
			errs.add("Amounts."+field, fmt.Sprintf("%d is negative", v), "write 0 or more")
		}
	}
	negative("NanoUSD", a.NanoUSD)
	negative("Tokens", a.Tokens)
	negative("Requests", a.Requests)
	negative("ToolCalls", a.ToolCalls)
	for _, m := range slices.Sorted(maps.Keys(a.Custom)) {
		if m.Validate() != nil || !strings.HasPrefix(string(m), customPrefix) {
			errs.add("Amounts.Custom", fmt.Sprintf("%q is no meter of your own", clip(string(m))), "make its name with budget.Custom")
		}
		negative("Custom", a.Custom[m])
	}
	return errs.join()
}

// String writes what is not 0: "$0.0132, 900 tokens".
func (a Amounts) String() string {
	var parts []string
	for _, m := range []Meter{MeterMoney, MeterTokens, MeterRequests, MeterToolCalls} {
		switch v := a.Get(m); {
		case v == 0:
		case m == MeterMoney:
			parts = append(parts, FormatUSD(v))
		default:
			parts = append(parts, fmt.Sprintf("%d %s", v, strings.ReplaceAll(string(m), "_", " ")))
		}
	}
	for _, m := range slices.Sorted(maps.Keys(a.Custom)) {
		if v := a.Custom[m]; v != 0 {
			parts = append(parts, fmt.Sprintf("%d %s", v, strings.TrimPrefix(string(m), customPrefix)))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// above is what a has more than b, per meter.
func (a Amounts) above(b Amounts) Amounts {
	over := Amounts{
		NanoUSD:   max(a.NanoUSD-b.NanoUSD, 0),
		Tokens:    max(a.Tokens-b.Tokens, 0),
		Requests:  max(a.Requests-b.Requests, 0),
		ToolCalls: max(a.ToolCalls-b.ToolCalls, 0),
	}
	for m, v := range a.Custom {
		if more := v - b.Custom[m]; more > 0 {
			over = over.With(m, more)
		}
	}
	return over
}

// least is the lesser of the two, per meter.
func least(a, b Amounts) Amounts {
	out := Amounts{NanoUSD: min(a.NanoUSD, b.NanoUSD), Tokens: min(a.Tokens, b.Tokens), Requests: min(a.Requests, b.Requests), ToolCalls: min(a.ToolCalls, b.ToolCalls)}
	for m, v := range a.Custom {
		if v = min(v, b.Custom[m]); v != 0 {
			out = out.With(m, v)
		}
	}
	return out
}

func (a Amounts) clone() Amounts {
	a.Custom = maps.Clone(a.Custom)
	return a
}
