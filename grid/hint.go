package grid

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// retryAfter reads when the server wants to be asked again. now is used where the
// answer carries no date of its own; a date is measured against the server's clock,
// so that its being wrong does not matter. Garbage is as good as no hint.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	// Azure was recorded sending no milliseconds beside a whole second.
	ms, hinted := seconds(h.Get("Retry-After-Ms"), time.Millisecond)
	if ms > 0 {
		return ms, true
	}
	if v := strings.TrimSpace(h.Get("Retry-After")); v != "" {
		if d, ok := seconds(v, time.Second); ok {
			return d, true
		}
		// A number that was not accepted is not a date either.
		if _, err := strconv.ParseFloat(v, 64); err != nil {
			if at, err := http.ParseTime(v); err == nil {
				if date, err := http.ParseTime(h.Get("Date")); err == nil {
					now = date
				}
				return max(at.Sub(now), 0), true
			}
		}
	}
	if d, ok := seconds(h.Get("X-Ratelimit-Retry-After"), time.Second); ok {
		return d, true
	}
	if v := strings.TrimSpace(h.Get("X-Ratelimit-Reset")); v != "" {
		if unix, err := strconv.ParseInt(v, 10, 64); err == nil && unix > 1e9 && unix < 1e11 {
			if date, err := http.ParseTime(h.Get("Date")); err == nil {
				now = date
			}
			return max(time.Unix(unix, 0).Sub(now), 0), true
		}
	}
	return 0, hinted
}

// seconds reads a whole or decimal number of units; what is negative is over.
func seconds(v string, unit time.Duration) (time.Duration, bool) {
	n, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return 0, false
	}
	d := n * float64(unit)
	if d >= math.MaxInt64 {
		return math.MaxInt64, true
	}
	return max(time.Duration(d), 0), true
}
