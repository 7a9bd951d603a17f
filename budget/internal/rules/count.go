package rules

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/gridloop/gridloop/budget"
)

const (
	// Dedup is how long a reservation that has ended is kept beyond its lease and its windows.
	Dedup = 24 * time.Hour
	// SweepEach bounds the leases that one Reserve ends for others.
	SweepEach = 8
)

// Cap is a cap in force, with what admission needs of it at hand.
type Cap struct {
	budget.CapRecord
	Window string
	marks  []mark
	length int64 // of a rolling window, else 0
	width  int64 // of its buckets
}

// mark is a soft threshold.
type mark struct {
	percent int
	at      int64
}

// NewCap prepares a cap.
func NewCap(r budget.CapRecord) *Cap {
	c := &Cap{CapRecord: r, Window: r.Per.String()}
	length, width := r.Per.Rolls()
	c.length, c.width = int64(length), int64(width)
	if r.Limit == budget.None {
		return c
	}
	for _, p := range r.Thresholds() {
		whole, rest := r.Limit/100, r.Limit%100
		c.marks = append(c.marks, mark{p, whole*int64(p) + (rest*int64(p)+99)/100})
	}
	return c
}

// Same reports whether defining d would change nothing.
func (c *Cap) Same(d budget.Cap) bool {
	return c.Limit == d.Limit && slices.Equal(c.Thresholds(), d.Thresholds())
}

// Count is what one cap has counted for its scopes in one turn of its window. Under a rolling window there is one for all
// times, with the zero Span.
type Count struct {
	ID          int64 // the store's own
	Cap         *Cap
	Scopes      []budget.Scope
	Span        budget.Span
	Settled     int64
	Held        int64
	Unconfirmed int64
	Overrun     int64
	Fired       [2]uint64 // thresholds announced, by percent
	// Buckets are what Settled, Unconfirmed and Overrun are the sums of, under a rolling window: oldest first, none empty.
	Buckets []Bucket

	freed  int64 // what a swap would give back and an allowance lend, during Check
	turned bool  // see Turned
}

// End is the end of the count's window in Unix nanoseconds, 0 when it never ends.
func (c *Count) End() int64 {
	if c.Span.End.IsZero() {
		return 0
	}
	return c.Span.End.UnixNano()
}

// Scope is the one of the count's scopes that says most: the first that labels whose money it is, else the first.
func (c *Count) Scope() budget.Scope {
	if i := slices.IndexFunc(c.Scopes, labels); i >= 0 {
		return c.Scopes[i]
	}
	return c.Scopes[0]
}

func labels(s budget.Scope) bool {
	switch s.Kind {
	case budget.ScopeTenant, budget.ScopeUser, budget.ScopeRun:
		return true
	}
	return strings.HasPrefix(s.Kind, budget.Tag(""))
}

func (c *Count) room() int64   { return c.Cap.Limit - Plus(c.Settled, c.Held) + c.freed }
func (c *Count) bounded() bool { return c.Cap.Limit != budget.None }

// State is where the count stands. A rolling one must have been rolled.
func (c *Count) State() budget.CapState {
	s := budget.CapState{Cap: c.Cap.Key, Scope: c.Scope(), Scopes: c.Scopes, Meter: c.Cap.Meter, Window: c.Cap.Window,
		Start: c.Span.Start, Reset: c.reset(), Limit: c.Cap.Limit,
		Settled: c.Settled, Held: c.Held, Unconfirmed: c.Unconfirmed, Overrun: c.Overrun, Left: budget.None}
	if c.bounded() {
		s.Left = max(c.room(), 0)
	}
	return s
}

func (c *Count) violation(asked int64) budget.Violation {
	v := budget.Violation{Cap: c.Cap.Key, Scope: c.Scope(), Meter: c.Cap.Meter, Window: c.Cap.Window, ResetAt: c.Span.End,
		Kind: budget.KindSpent, Limit: c.Cap.Limit, Settled: c.Settled, Held: c.Held - c.freed, Requested: asked}
	switch {
	case asked > c.Cap.Limit:
		v.Kind = budget.KindTooBig
	case Plus(c.Settled, asked) <= c.Cap.Limit:
		v.Kind = budget.KindHeld
	}
	if c.Cap.Rolling() {
		v.ResetAt = c.fits(v.Kind, asked)
	}
	return v
}

// cross announces thresholds that settled spending has reached, once each.
func (c *Count) cross(ans *budget.Answer) {
	for _, m := range c.Cap.marks {
		if c.Settled < m.at {
			return
		}
		word, bit := m.percent/64, uint64(1)<<(m.percent%64)
		if c.Fired[word]&bit == 0 {
			c.Fired[word] |= bit
			ans.Crossed = append(ans.Crossed, budget.Crossing{Cap: c.Cap.Key, Scope: c.Scope(), Meter: c.Cap.Meter,
				Percent: m.percent, Settled: c.Settled, Limit: c.Cap.Limit, Reset: c.reset()})
		}
	}
}

// FreezeOver reports whether a freeze has ended by itself.
func FreezeOver(f budget.Freeze, now time.Time) bool {
	return !f.Until.IsZero() && !now.Before(f.Until)
}

// At is an instant of the store's clock.
func At(nano int64) time.Time { return time.Unix(0, nano).UTC() }

// Plus adds two amounts that are not negative and stops at MaxInt64.
func Plus(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// least is the lesser of the two, per meter.
func least(a, b budget.Amounts) budget.Amounts {
	out := budget.Amounts{NanoUSD: min(a.NanoUSD, b.NanoUSD), Tokens: min(a.Tokens, b.Tokens), Requests: min(a.Requests, b.Requests), ToolCalls: min(a.ToolCalls, b.ToolCalls)}
	for m, v := range a.Custom {
		if v = min(v, b.Custom[m]); v != 0 {
			out = out.With(m, v)
		}
	}
	return out
}

// minus takes b from a. A sum that stopped at MaxInt64 is no longer exact, so it stays there: the safe side.
func minus(a, b int64) int64 {
	if a == math.MaxInt64 {
		return a
	}
	return max(a-b, 0)
}
