package runview

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// span of time in words that are short and never two units apart from the truth.
func duration(d time.Duration) string {
	switch {
	case d <= 0:
		return "0 ms"
	case d < 100*time.Microsecond:
		return "<0.1 ms"
	case d < 10*time.Millisecond:
		return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 1, 64) + " ms"
	case d < 999500*time.Microsecond:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	case d < 9995*time.Millisecond:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d < 59950*time.Millisecond:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour-500*time.Millisecond:
		d = d.Round(time.Second)
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
}

// count writes a number in groups of three.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// tokens is count for narrow columns.
func tokens(n int64) string {
	switch {
	case n < 100_000:
		return count(n)
	case n < 999_500:
		return fmt.Sprintf("%.0fk", float64(n)/1e3)
	case n < 99_950_000:
		return fmt.Sprintf("%.1fM", float64(n)/1e6)
	}
	return fmt.Sprintf("%.0fM", float64(n)/1e6)
}

// exact writes nano-USD without rounding.
func exact(nano int64) string {
	sign, abs := "", uint64(nano)
	if nano < 0 {
		sign, abs = "-", -abs
	}
	frac := strings.TrimRight(fmt.Sprintf("%09d", abs%1e9), "0")
	for len(frac) < 2 {
		frac += "0"
	}
	return fmt.Sprintf("%s$%d.%s", sign, abs/1e9, frac)
}

// money writes nano-USD with so many decimals, half up.
func money(nano int64, decimals int) string {
	sign, abs := "", uint64(nano)
	if nano < 0 {
		sign, abs = "-", -abs
	}
	unit := uint64(1)
	for range 9 - decimals {
		unit *= 10
	}
	abs = (abs + unit/2) / unit
	scale := uint64(1e9) / unit
	return fmt.Sprintf("%s$%d.%0*d", sign, abs/scale, decimals, abs%scale)
}

// decimals is how many a column of costs needs so that its smallest says something.
func decimals(costs ...int64) int {
	var smallest, largest int64
	for _, c := range costs {
		if c > 0 && (smallest == 0 || c < smallest) {
			smallest = c
		}
		largest = max(largest, c)
	}
	d := 2
	for limit := int64(100_000_000); d < 6 && smallest > 0 && smallest < limit; limit /= 10 {
		d++
	}
	if largest >= 100_000_000_000 {
		d = min(d, 3)
	}
	return d
}

// amount writes nano-USD in three digits or more.
func amount(nano int64) string { return money(nano, min(6, decimals(nano/10))) }

// plural counts things.
func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

var stops = map[string]string{
	"completed": "completed", "tool": "ended by a tool", "max_steps": "stopped at its step limit", "max_tool_calls": "stopped at its limit of tool calls",
	"wall": "stopped at its time limit", "budget": "stopped at its cap", "too_long": "stopped: prompt too long",
	"invalid_output": "failed: the answer did not fit", "canceled": "canceled", "paused": "paused", "error": "failed",
}

// stopped says why a run ended.
func (r *run) stopped() string {
	switch words := stops[r.stop]; {
	case r.stop == "" && r.open:
		return "under way"
	case r.stop == "error" && r.failed != "" && r.failed != "_OTHER":
		return "failed: " + r.failed
	case words != "":
		return words
	case r.stop != "":
		return "stopped: " + r.stop
	case r.failed != "":
		return "failed: " + r.failed
	}
	return "ended"
}

// why says in a few words how the instrument was chosen.
func (c *call) why() string {
	instead := ""
	if c.requested != "" && c.requested != c.instrument {
		instead = c.requested
	}
	var s string
	switch c.reason {
	case "rule":
		s = "rule " + cmp.Or(c.rule, "matched")
	case "default", "":
		s = "default"
		if c.kind != "" {
			s = "default for " + c.kind
		}
	case "escalation":
		s = "escalated"
		if instead != "" {
			s += " from " + instead
		}
	case "budget":
		s = "cap is near"
		if instead != "" {
			s += ", not " + instead
		}
	case "capability", "fallback":
		s = c.reason
		if instead != "" {
			s = "instead of " + instead
		}
	case "sticky":
		s = "stays in its family"
	default:
		s = c.reason
	}
	if c.final {
		s = "last word · " + s
	}
	return s
}

func (k *call) failure() string { return tried{failed: k.failed}.word() }

// word names how an attempt failed.
func (t tried) word() string {
	if t.status >= 400 {
		return strconv.FormatInt(t.status, 10)
	}
	return strings.ReplaceAll(cmp.Or(t.failed, strconv.FormatInt(t.status, 10)), "_", " ")
}

func (w wait) word() string {
	switch w.outcome {
	case "settled", "":
		return "topped up"
	}
	return strings.ReplaceAll(w.outcome, "_", " ")
}

func denial(e event) string {
	s := "cap refused"
	if instrument := textOf(e.values, "gridloop.instrument"); instrument != "" {
		s += " " + instrument
	}
	if kind := textOf(e.values, "gridloop.budget.kind"); kind != "" {
		s += ": " + strings.ReplaceAll(kind, "_", " ")
	}
	value := count
	unit := " " + cmp.Or(textOf(e.values, "gridloop.budget.unit"), "units")
	if unit == " money" {
		value, unit = exact, ""
	}
	if asked := intOf(e.values, "gridloop.budget.requested"); asked > 0 {
		s += ", wanted " + value(asked) + unit
		if limit := intOf(e.values, "gridloop.budget.limit"); limit > 0 {
			s += ", limit " + value(limit) + unit
		}
	}
	return s
}

func loop(e event) string {
	s := "loop found"
	if d := textOf(e.values, "gridloop.loop.detector"); d != "" {
		s += ": " + strings.ReplaceAll(d, "_", " ")
	}
	if n := intOf(e.values, "gridloop.loop.repeat_count"); n > 0 {
		s += fmt.Sprintf(" ×%d", n)
	}
	return s
}

func trimmed(f float64, decimals int) string { return strconv.FormatFloat(f, 'f', decimals, 64) }

func twoDigits(n int) string { return fmt.Sprintf("%02d", n) }
