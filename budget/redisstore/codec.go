package redisstore

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// Scopes are written as [budget.Scope.String] does, those of a reservation each after a line feed. Amounts are nothing, or
// four doubles (money, tokens, requests, tool calls) and then "custom:a=900 custom:b=12" in one order only, so that equal amounts
// are equal texts. A count's key has the lines meter, cap, scopes, and start and end of the window in nanoseconds;
// that of a rolling count ends with "0" and "rolling length/bucket" in microseconds.

func parseScope(text string) (budget.Scope, bool) {
	if text == budget.ScopeAccount {
		return budget.Scope{Kind: budget.ScopeAccount}, true
	}
	kind, name, ok := strings.Cut(text, " ")
	if strings.Contains(name, "%") {
		plain, err := url.PathUnescape(name)
		ok, name = ok && err == nil, plain
	}
	s := budget.Scope{Kind: kind, Name: name}
	return s, ok && s.String() == text
}

func parseScopes(text string) ([]budget.Scope, error) {
	lines := strings.Split(strings.Clone(text), "\n")[1:]
	out := make([]budget.Scope, len(lines))
	for i, line := range lines {
		s, ok := parseScope(line)
		if !ok {
			return nil, nonsense("a scope")
		}
		out[i] = s
	}
	return out, nil
}

func scopesText(scopes []budget.Scope) string {
	b := make([]byte, 0, 32*len(scopes))
	for _, s := range scopes {
		b = append(append(b, '\n'), s.String()...)
	}
	return string(b)
}

// MaxLimit is the largest limit, and the largest amount of one reservation, that the store counts exactly: 2^53-1, since
// the numbers of a script are doubles. A count without a limit, or one that overran its own, stops at 2^53 and stays there.
const MaxLimit int64 = 1<<53 - 1

func checkAmounts(a budget.Amounts) error {
	check := func(m budget.Meter, v int64) error {
		if v < 0 || v > MaxLimit {
			return &budget.FieldError{Field: "Amounts", Problem: fmt.Sprintf("%d of %s cannot be counted exactly", v, m), Fix: fmt.Sprintf("use 0 to %d, or another store", MaxLimit)}
		}
		return nil
	}
	for _, m := range []budget.Meter{budget.MeterMoney, budget.MeterTokens, budget.MeterRequests, budget.MeterToolCalls} {
		if err := check(m, a.Get(m)); err != nil {
			return err
		}
	}
	for m, v := range a.Custom {
		if err := check(m, v); err != nil {
			return err
		}
	}
	return nil
}

func amountsText(a budget.Amounts) string {
	if a.IsZero() {
		return ""
	}
	b := packed(make([]byte, 0, 64)).double(a.NanoUSD).double(a.Tokens).double(a.Requests).double(a.ToolCalls)
	if len(a.Custom) > 0 {
		for _, m := range slices.Sorted(maps.Keys(a.Custom)) {
			if v := a.Custom[m]; v != 0 {
				if len(b) > 32 {
					b = append(b, ' ')
				}
				b = append(append(b, m...), '=')
				b = strconv.AppendInt(b, v, 10)
			}
		}
	}
	return string(b)
}

func parseAmounts(text string) (budget.Amounts, error) {
	var a budget.Amounts
	if text == "" {
		return a, nil
	}
	u := unpacked{rest: text}
	a.NanoUSD, a.Tokens, a.Requests, a.ToolCalls = u.double(), u.double(), u.double(), u.double()
	if u.bad || min(a.NanoUSD, a.Tokens, a.Requests, a.ToolCalls) < 0 {
		return budget.Amounts{}, nonsense("amounts")
	}
	for rest := u.rest; rest != ""; {
		var word string
		word, rest, _ = strings.Cut(rest, " ")
		meter, digits, ok := strings.Cut(word, "=")
		v, err := strconv.ParseInt(digits, 10, 64)
		if !ok || err != nil || v < 0 {
			return budget.Amounts{}, nonsense("amounts")
		}
		a = a.With(budget.Meter(meter), v)
	}
	return a, nil
}

// above is what a has more than b, per meter.
func above(a, b budget.Amounts) budget.Amounts {
	over := budget.Amounts{NanoUSD: max(a.NanoUSD-b.NanoUSD, 0), Tokens: max(a.Tokens-b.Tokens, 0),
		Requests: max(a.Requests-b.Requests, 0), ToolCalls: max(a.ToolCalls-b.ToolCalls, 0)}
	for m, v := range a.Custom {
		if more := v - b.Custom[m]; more > 0 {
			over = over.With(m, more)
		}
	}
	return over
}

// splitCap takes the ID of a cap apart.
func splitCap(id string) (meter budget.Meter, window string, ok bool) {
	rest := id
	for {
		var word string
		if word, rest, ok = strings.Cut(rest, " "); !ok {
			return "", "", false
		}
		if word != budget.ScopeAccount { // a kind, or "each", and what it is of
			if _, rest, ok = strings.Cut(rest, " "); !ok {
				return "", "", false
			}
		}
		joined, more := strings.CutPrefix(rest, "and ")
		if !more {
			break
		}
		rest = joined
	}
	word, window, ok := strings.Cut(rest, " ")
	return budget.Meter(word), window, ok
}

// countKey appends the key of a link's count to b.
func countKey(b []byte, l *budget.Link) ([]byte, error) {
	meter, window, ok := splitCap(l.Cap)
	if !ok || len(l.Scopes) == 0 {
		return nil, &budget.FieldError{Field: "Links", Problem: fmt.Sprintf("%.64q is no count", l.Cap), Fix: "name a cap and its scopes"}
	}
	b = append(append(append(b, meter...), '\n'), l.Cap...)
	for _, s := range l.Scopes {
		b = append(append(b, '\n'), s.String()...)
	}
	if strings.HasPrefix(window, "rolling ") {
		per, err := budget.ParseWindow(window)
		if err != nil {
			return nil, err
		}
		length, width := per.Rolls()
		return fmt.Appendf(b, "\n0\nrolling %d/%d", length.Microseconds(), width.Microseconds()), nil
	}
	b = strconv.AppendInt(append(b, '\n'), nano(l.Window.Start), 10)
	return strconv.AppendInt(append(b, '\n'), nano(l.Window.End), 10), nil
}

// counted is what the key of a count says.
type counted struct {
	key    string
	id     string // of the count in the books, under names.mu; "" while it is not known
	cap    string
	meter  budget.Meter
	window string
	scope  budget.Scope
	scopes []budget.Scope
	span   budget.Span
	rolls  int64 // how long after its admission a spending may count under a rolling window, in microseconds; else 0
}

// reset is when the count has less: at the end of its window or, rolling, when the script says.
func (c *counted) reset(us int64) time.Time {
	if us == 0 {
		return c.span.End
	}
	return fromMicros(us)
}

func parseKey(key string) (*counted, bool) {
	key = strings.Clone(key)
	lines := strings.Split(key, "\n")
	if len(lines) < 5 {
		return nil, false
	}
	scopes, err := parseScopes("\n" + strings.Join(lines[2:len(lines)-2], "\n"))
	start, startErr := strconv.ParseInt(lines[len(lines)-2], 10, 64)
	end, rolls, endErr := int64(0), int64(0), error(nil)
	if how, is := strings.CutPrefix(lines[len(lines)-1], "rolling "); is {
		length, width, _ := strings.Cut(how, "/")
		lengthUS, lengthErr := strconv.ParseInt(length, 10, 64)
		widthUS, widthErr := strconv.ParseInt(width, 10, 64)
		rolls, endErr = lengthUS+widthUS, errors.Join(lengthErr, widthErr)
	} else {
		end, endErr = strconv.ParseInt(lines[len(lines)-1], 10, 64)
	}
	meter, window, ok := splitCap(lines[1])
	if err != nil || startErr != nil || endErr != nil || !ok || string(meter) != lines[0] {
		return nil, false
	}
	c := &counted{key: key, cap: lines[1], meter: meter, window: window, scopes: scopes, scope: scopes[0], span: budget.Span{Start: fromNano(start), End: fromNano(end)}, rolls: rolls}
	if i := slices.IndexFunc(scopes, labels); i >= 0 {
		c.scope = scopes[i]
	}
	return c, true
}

// labels reports whether a scope says on whose behalf money is spent.
func labels(s budget.Scope) bool {
	switch s.Kind {
	case budget.ScopeTenant, budget.ScopeUser, budget.ScopeRun:
		return true
	}
	return strings.HasPrefix(s.Kind, budget.Tag(""))
}

func nano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNano(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// micros are whole microseconds, rounded up: what begins or ends between two ticks of the server's clock does so at the
// second. Zero stays zero.
func micros(nanos int64) int64 {
	us := nanos / 1000
	if nanos%1000 > 0 {
		us++
	}
	return us
}

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }
