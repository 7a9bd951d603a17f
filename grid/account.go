package grid

import (
	"sync"
	"sync/atomic"
	"time"
)

// account is what the gates of one account share: the credits that pay for all top-ups.
// While they are used up the whole account sends one probe at a time, from whichever
// instrument's line was not asked for longest.
type account struct {
	retry *Retry
	rand  func() float64
	// admissions counts requests that the market let pass.
	admissions atomic.Uint64
	// drained mirrors exhausted for calls at an open gate.
	drained atomic.Bool

	mu        sync.Mutex
	gates     []*gate
	tickets   uint64
	probes    uint64
	exhausted bool
	said      bool // by the market, not inferred
	untold    bool // nobody was told so yet
	since     time.Time
	prober    *pass
	sent      time.Time
	next      time.Time
	delay     time.Duration
}

// ticket is a place in line.
func (a *account) ticket() uint64 {
	a.tickets++
	return a.tickets
}

// exhaust notes that the credits are used up. Said by the market, that shuts every
// gate; inferred from a long wait, only those that are dry themselves.
func (a *account) exhaust(said bool, now time.Time) {
	if !a.exhausted {
		a.exhausted, a.untold, a.since, a.delay = true, true, now, 0
		a.drained.Store(true)
		for _, g := range a.gates {
			a.delay = max(a.delay, min(2*g.delay, a.retry.ExhaustedDelay))
		}
		a.schedule(now, 0)
	}
	if !said {
		return
	}
	a.said = true
	if a.delay < a.retry.ExhaustedDelay {
		a.delay = a.retry.ExhaustedDelay
		a.schedule(now, 0)
	}
	for _, g := range a.gates {
		if g.state != gateProbing {
			g.resume(0, now)
		}
	}
}

// schedule sets the time of the account's next probe.
func (a *account) schedule(now time.Time, hint time.Duration) {
	a.next = now.Add(max(a.retry.jitter(a.delay, a.rand), hint))
}

// clear notes that there are credits after all: one instrument was served. The others
// ask again, each with one probe.
func (a *account) clear(served *gate, now time.Time) {
	if !a.exhausted {
		return
	}
	a.exhausted, a.said, a.untold, a.prober = false, false, false, nil
	a.drained.Store(false)
	for _, g := range a.gates {
		if g == served || g.state != gateProbing {
			continue
		}
		g.step, g.delay, g.next, g.asked = 0, a.retry.TopUpDelays[0], now, false
		g.trust(now)
		if h := g.line.head(); h != nil {
			h.rouse()
		} else if g.prober == nil && g.tickets == 0 {
			g.turn(gateOpen)
		}
	}
}

// turnOf says from when on g may probe for the account; zero if another gate's turn is
// first, whose line wakes this one.
func (a *account) turnOf(g *gate, now time.Time) time.Time {
	if a.prober != nil {
		if until := a.sent.Add(a.retry.ExhaustedDelay); now.Before(until) {
			return until
		}
		// It got no answer for a minute: the next one asks.
		a.prober = nil
	}
	for _, other := range a.gates {
		if other != g && other.line.n > 0 && other.prober == nil && other.probed < g.probed {
			return time.Time{}
		}
	}
	if g.prober != nil {
		// It went before the credits were known to be used up.
		if until := g.sent.Add(a.retry.Patience); now.Before(until) {
			return until
		}
		g.prober = nil
	}
	return a.next
}

// rouse wakes the first in line, who may have to look again: in g, or in all gates
// while these take turns.
func (a *account) rouse(g *gate) {
	if !a.exhausted {
		if h := g.line.head(); h != nil {
			h.rouse()
		}
		return
	}
	for _, g := range a.gates {
		if h := g.line.head(); h != nil {
			h.rouse()
		}
	}
}

// tell says once for each time that the credits ran out that they did.
func (a *account) tell() bool {
	untold := a.untold
	a.untold = false
	return untold
}
