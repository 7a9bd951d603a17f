package pgstore

import (
	"crypto/sha256"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/internal/rules"
)

// What stands in the columns is text that a person can read: scopes one per line as [budget.Scope.String] writes them,
// amounts as "money=900 tokens=12", links as "3 7:40", which is count 3, and count 7 with 40 of its overrun. All of it is
// read back exactly or not at all.

func encodeScopes(scopes []budget.Scope) string {
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

func decodeScopes(text string) ([]budget.Scope, error) {
	scopes := make([]budget.Scope, 0, strings.Count(text, "\n")+1)
	for line := range strings.SplitSeq(text, "\n") {
		s, err := decodeScope(line)
		if err != nil {
			return nil, err
		}
		scopes = append(scopes, s)
	}
	return scopes, nil
}

func decodeScope(text string) (budget.Scope, error) {
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
		return budget.Scope{}, damaged("%.64q is no scope", text)
	}
	return s, nil
}

func encodeAmounts(a budget.Amounts) string {
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

func decodeAmounts(text string) (budget.Amounts, error) {
	var a budget.Amounts
	for rest := text; rest != ""; {
		var word string
		word, rest, _ = strings.Cut(rest, " ")
		end := strings.LastIndexByte(word, '=')
		v, err := strconv.ParseInt(word[end+1:], 10, 64)
		if end < 1 || err != nil {
			return a, damaged("%.64q are no amounts", text)
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
				return a, damaged("%.64q are no amounts", text)
			}
			a = a.With(budget.Meter(name), v)
		}
	}
	return a, nil
}

func encodeLinks(links []rules.Link) string {
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

// decodeLinks reads the ids of counts and their overruns.
func decodeLinks(text string, each func(count, over int64) error) error {
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
			return damaged("%.64q are no links", text)
		}
		if err := each(count, over); err != nil {
			return err
		}
	}
	return nil
}

// Buckets are what a rolling count is made of: "start:settled" or "start:settled:unconfirmed:overrun", the start in Unix
// milliseconds. Counts of other windows have none, and neither have rolling ones with nothing spent.
func encodeBuckets(buckets []rules.Bucket) string {
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

func decodeBuckets(text string) ([]rules.Bucket, error) {
	if text == "" {
		return nil, nil
	}
	out := make([]rules.Bucket, 0, strings.Count(text, " ")+1)
	for word := range strings.SplitSeq(text, " ") {
		fields := strings.Split(word, ":")
		var n [4]int64
		if len(fields) != 2 && len(fields) != 4 {
			return nil, damaged("%.64q are no buckets", text)
		}
		for j, digits := range fields {
			v, err := strconv.ParseInt(digits, 10, 64)
			if err != nil || v < 0 {
				return nil, damaged("%.64q are no buckets", text)
			}
			n[j] = v
		}
		b := rules.Bucket{Start: n[0] * int64(time.Millisecond), Settled: n[1], Unconfirmed: n[2], Overrun: n[3]}
		if n[0] > math.MaxInt64/int64(time.Millisecond) || b.Settled == 0 || len(out) > 0 && b.Start <= out[len(out)-1].Start {
			return nil, damaged("%.64q are no buckets", text)
		}
		out = append(out, b)
	}
	return out, nil
}

// Corrections are one per line, the source first.
func encodeCorrections(cs []rules.Correction) string {
	lines := make([]string, len(cs))
	for i, c := range cs {
		lines[i] = url.PathEscape(c.Source) + " " + encodeAmounts(c.Actual)
	}
	return strings.Join(lines, "\n")
}

func decodeCorrections(text string) ([]rules.Correction, error) {
	if text == "" {
		return nil, nil
	}
	var out []rules.Correction
	for line := range strings.SplitSeq(text, "\n") {
		word, amounts, ok := strings.Cut(line, " ")
		source, err := url.PathUnescape(word)
		if !ok || err != nil {
			return nil, damaged("%.64q is no correction", line)
		}
		actual, err := decodeAmounts(amounts)
		if err != nil {
			return nil, err
		}
		out = append(out, rules.Correction{Source: source, Actual: actual})
	}
	return out, nil
}

// Thresholds that were not said are NULL, an empty list is "".
func encodeSoft(soft []int) *string {
	if soft == nil {
		return nil
	}
	words := make([]string, len(soft))
	for i, p := range soft {
		words[i] = strconv.Itoa(p)
	}
	text := strings.Join(words, " ")
	return &text
}

func decodeSoft(text *string) ([]int, error) {
	if text == nil {
		return nil, nil
	}
	out := []int{}
	for _, word := range strings.Fields(*text) {
		p, err := strconv.Atoi(word)
		if err != nil {
			return nil, damaged("%.64q is no threshold", word)
		}
		out = append(out, p)
	}
	return out, nil
}

// readable is s, unless a text column cannot hold it; % stands for nothing else, so that it reads back.
func readable(s string) string {
	if utf8.ValidString(s) && !strings.ContainsAny(s, "\x00%") {
		return s
	}
	return url.PathEscape(s)
}

func unreadable(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	out, err := url.PathUnescape(s)
	if err != nil {
		return "", damaged("%.64q is not escaped", s)
	}
	return out, nil
}

// nano is 0 for no time; times that nanoseconds cannot hold become the last that they can.
func nano(t time.Time) int64 {
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

func fromNano(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return rules.At(n)
}

// untilOf writes the end of a freeze, which is NULL when it has none.
func untilOf(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := nano(t)
	return &n
}

func toUntil(n *int64) time.Time {
	if n == nil {
		return time.Time{}
	}
	return rules.At(*n)
}

// digest is the key of a row whose name may be longer than an index holds.
func digest(parts ...string) []byte {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{'\n'}) // in none of them
	}
	return h.Sum(nil)
}
