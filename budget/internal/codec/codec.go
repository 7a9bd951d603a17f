// Package codec is how stores write into text columns what is no number: scopes one per line as [budget.Scope.String]
// writes them, amounts as "money=900 tokens=12", links as "3 7:40", which is count 3, and count 7 with 40 of its overrun.
// A person can read all of it, and it is read back exactly or not at all.
package codec

import (
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/internal/rules"
)

// Error is about a text that was not written by this package.
type Error struct{ problem string }

func (e *Error) Error() string { return e.problem }

func unread(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// EncodeScopes writes one scope per line, in their order.
func EncodeScopes(scopes []budget.Scope) string {
	if len(scopes) == 1 {
		return scopes[0].String()
	}
	var b strings.Builder
	for i, s := range scopes {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(s.String())
	}
	return b.String()
}

// DecodeScopes reads what EncodeScopes wrote, or answers an [*Error], as all of the reading functions do.
func DecodeScopes(text string) ([]budget.Scope, error) {
	scopes := make([]budget.Scope, 0, strings.Count(text, "\n")+1)
	for line := range strings.SplitSeq(text, "\n") {
		s, err := DecodeScope(line)
		if err != nil {
			return nil, err
		}
		scopes = append(scopes, s)
	}
	return scopes, nil
}

// DecodeScope reads one scope.
func DecodeScope(text string) (budget.Scope, error) {
	if text == budget.ScopeAccount {
		return budget.Scope{Kind: budget.ScopeAccount}, nil
	}
	kind, word, ok := strings.Cut(text, " ")
	name := word
	if strings.Contains(word, "%") {
		var err error
		name, err = url.PathUnescape(word)
		ok = ok && err == nil
	}
	s := budget.Scope{Kind: kind, Name: name}
	if !ok || s.String() != text {
		return budget.Scope{}, unread("%.64q is no scope", text)
	}
	return s, nil
}

// EncodeAmounts leaves out what is zero.
func EncodeAmounts(a budget.Amounts) string {
	b := make([]byte, 0, 48)
	put := func(m budget.Meter, v int64) {
		if v == 0 {
			return
		}
		if len(b) > 0 {
			b = append(b, ' ')
		}
		b = append(b, m...)
		b = append(b, '=')
		b = strconv.AppendInt(b, v, 10)
	}
	put(budget.MeterMoney, a.NanoUSD)
	put(budget.MeterTokens, a.Tokens)
	put(budget.MeterRequests, a.Requests)
	put(budget.MeterToolCalls, a.ToolCalls)
	if len(a.Custom) > 0 {
		for _, m := range slices.Sorted(maps.Keys(a.Custom)) {
			put(budget.Meter(url.PathEscape(string(m))), a.Custom[m])
		}
	}
	return string(b)
}

// DecodeAmounts reads what EncodeAmounts wrote.
func DecodeAmounts(text string) (budget.Amounts, error) {
	var a budget.Amounts
	for rest := text; rest != ""; {
		var word string
		word, rest, _ = strings.Cut(rest, " ")
		end := strings.LastIndexByte(word, '=')
		v, err := strconv.ParseInt(word[end+1:], 10, 64)
		if end < 1 || err != nil {
			return a, unread("%.64q are no amounts", text)
		}
		name := word[:end]
		switch m := budget.Meter(name); m {
		case budget.MeterMoney:
			a.NanoUSD = v
		case budget.MeterTokens:
			a.Tokens = v
		case budget.MeterRequests:
			a.Requests = v
		case budget.MeterToolCalls:
			a.ToolCalls = v
		default:
			if name, err = url.PathUnescape(name); err != nil {
				return a, unread("%.64q are no amounts", text)
			}
			a = a.With(budget.Meter(name), v)
		}
	}
	return a, nil
}

// EncodeLinks writes the ids of counts and their overruns.
func EncodeLinks(links []rules.Link) string {
	b := make([]byte, 0, 32)
	for i, l := range links {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, l.Count.ID, 10)
		if l.Over != 0 {
			b = append(b, ':')
			b = strconv.AppendInt(b, l.Over, 10)
		}
	}
	return string(b)
}

// DecodeLinks calls each for every link, until it answers an error, which is returned.
func DecodeLinks(text string, each func(count, over int64) error) error {
	for rest := text; rest != ""; {
		var word string
		word, rest, _ = strings.Cut(rest, " ")
		digits, overDigits, split := strings.Cut(word, ":")
		count, err := strconv.ParseInt(digits, 10, 64)
		over := int64(0)
		if err == nil && split {
			over, err = strconv.ParseInt(overDigits, 10, 64)
		}
		if err != nil {
			return unread("%.64q are no links", text)
		}
		if err := each(count, over); err != nil {
			return err
		}
	}
	return nil
}

// EncodeBuckets writes what a rolling count is made of: "start:settled" or "start:settled:unconfirmed:overrun", the start in Unix
// milliseconds; empty for a count that has none.
func EncodeBuckets(buckets []rules.Bucket) string {
	if len(buckets) == 0 {
		return ""
	}
	b := make([]byte, 0, 32*len(buckets))
	for i, k := range buckets {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, k.Start/int64(time.Millisecond), 10)
		b = strconv.AppendInt(append(b, ':'), k.Settled, 10)
		if k.Unconfirmed != 0 || k.Overrun != 0 {
			b = strconv.AppendInt(append(b, ':'), k.Unconfirmed, 10)
			b = strconv.AppendInt(append(b, ':'), k.Overrun, 10)
		}
	}
	return string(b)
}

// DecodeBuckets reads what EncodeBuckets wrote of a count that has some.
func DecodeBuckets(text string) ([]rules.Bucket, error) {
	out := make([]rules.Bucket, 0, strings.Count(text, " ")+1)
	for word := range strings.SplitSeq(text, " ") {
		fields := strings.Split(word, ":")
		var n [4]int64
		if len(fields) != 2 && len(fields) != 4 {
			return nil, unread("%.64q are no buckets", text)
		}
		for j, digits := range fields {
			v, err := strconv.ParseInt(digits, 10, 64)
			if err != nil || v < 0 {
				return nil, unread("%.64q are no buckets", text)
			}
			n[j] = v
		}
		b := rules.Bucket{Start: n[0] * int64(time.Millisecond), Settled: n[1], Unconfirmed: n[2], Overrun: n[3]}
		if n[0] > math.MaxInt64/int64(time.Millisecond) || b.Settled == 0 || len(out) > 0 && b.Start <= out[len(out)-1].Start {
			return nil, unread("%.64q are no buckets", text)
		}
		out = append(out, b)
	}
	return out, nil
}

// EncodeCorrections writes one per line, the source first.
func EncodeCorrections(cs []rules.Correction) string {
	lines := make([]string, len(cs))
	for i, c := range cs {
		lines[i] = url.PathEscape(c.Source) + " " + EncodeAmounts(c.Actual)
	}
	return strings.Join(lines, "\n")
}

// DecodeCorrections reads what EncodeCorrections wrote.
func DecodeCorrections(text string) ([]rules.Correction, error) {
	if text == "" {
		return nil, nil
	}
	var out []rules.Correction
	for line := range strings.SplitSeq(text, "\n") {
		word, amounts, ok := strings.Cut(line, " ")
		source, err := url.PathUnescape(word)
		if !ok || err != nil {
			return nil, unread("%.64q is no correction", line)
		}
		actual, err := DecodeAmounts(amounts)
		if err != nil {
			return nil, err
		}
		out = append(out, rules.Correction{Source: source, Actual: actual})
	}
	return out, nil
}

// EncodeSoft writes thresholds in percent, in their order. Whether any were said is for the column to keep: none is "".
func EncodeSoft(soft []int) string {
	words := make([]string, len(soft))
	for i, p := range soft {
		words[i] = strconv.Itoa(p)
	}
	return strings.Join(words, " ")
}

// DecodeSoft reads what EncodeSoft wrote. It answers no nil.
func DecodeSoft(text string) ([]int, error) {
	out := []int{}
	for _, word := range strings.Fields(text) {
		p, err := strconv.Atoi(word)
		if err != nil {
			return nil, unread("%.64q is no threshold", word)
		}
		out = append(out, p)
	}
	return out, nil
}

// Nano is 0 for no time; times that nanoseconds cannot hold become the last that they can.
func Nano(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Year() > 2261:
		return math.MaxInt64
	case t.Year() < 1678:
		return math.MinInt64
	}
	return t.UnixNano()
}

// FromNano reads what Nano wrote.
func FromNano(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return rules.At(n)
}
