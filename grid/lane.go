package grid

import (
	"sync"
	"sync/atomic"
	"time"
)

// lane is what all calls of a client to one instrument share.
type lane struct {
	gate gate
	rate *rates // nil for none
	// until is the end of the pause that a 429 asked for, as Unix nanoseconds.
	until atomic.Int64

	mu      sync.Mutex
	retries retryBudget
	breaker breaker
}

// maxLanes bounds what names of instruments cost that nobody has: beyond, they share.
const maxLanes = 1024

// laneOf finds an instrument's lane. The client's lock is held.
func (c *Client) laneOf(instrument string) *lane {
	l := c.lanes[instrument]
	if l != nil {
		return l
	}
	if len(c.lanes) >= maxLanes {
		if l = c.lanes[""]; l != nil {
			return l
		}
		instrument = ""
	}
	l = &lane{rate: newRates(c.rates, instrument)}
	l.gate.account, l.gate.instrument = &c.account, instrument
	c.account.mu.Lock()
	defer c.account.mu.Unlock()
	if c.account.exhausted && c.account.said {
		l.gate.resume(0, time.Now())
	}
	c.account.gates = append(c.account.gates, &l.gate)
	c.lanes[instrument] = l
	return l
}

// again takes what a retry costs, or nothing.
func (l *lane) again(r *Retry, cost float64, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.retries.spend(r, cost, now)
}

// begin asks the breaker: whether an attempt may go, whether it is the trial, and else
// when one may. A call's first attempt earns a share of a retry.
func (l *lane) begin(r *Retry, first bool, now time.Time) (trial bool, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if trial, wait = l.breaker.pass(r, now); wait == 0 && first {
		l.retries.earn(r, now)
	}
	return trial, wait
}

// report tells the breaker what became of an attempt.
func (l *lane) report(r *Retry, health health, trial bool, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.breaker.report(r, health, trial, now)
}

// pause keeps all calls from asking until the hint is over.
func (l *lane) pause(hint time.Duration, now time.Time) {
	until := now.Add(min(hint, maxPause)).UnixNano()
	for {
		old := l.until.Load()
		if old >= until || l.until.CompareAndSwap(old, until) {
			return
		}
	}
}

// maxPause bounds what a server can ask of everybody.
const maxPause = 24 * time.Hour

// paused is how much of the pause is left.
func (l *lane) paused() time.Duration {
	until := l.until.Load()
	if until == 0 {
		return 0
	}
	left := time.Until(time.Unix(0, until))
	if left <= 0 {
		l.until.CompareAndSwap(until, 0)
		return 0
	}
	return left
}
