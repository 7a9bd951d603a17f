package grid

import "time"

// breaker stops asking an instrument of which most calls fail, and lets one real call
// try from time to time. Its owner's lock guards it.
type breaker struct {
	slots  [breakerSlots]breakerSlot
	opened time.Time // zero: closed
	trying bool
}

type breakerSlot struct {
	number       int64
	calls, fails int
}

const breakerSlots = 10

// health is what an attempt says about an instrument.
type health int

const (
	healthUnknown health = iota // nothing: it was refused, throttled, dry, cancelled
	healthGood
	healthBad
)

// healthOf sorts the classes: a server or a connection that fails, or one that answers.
func healthOf(class Class) health {
	switch class {
	case "":
		return healthGood
	case ClassServer, ClassGateway, ClassOverloaded, ClassTransport, ClassAmbiguous, ClassTimeout:
		return healthBad
	}
	return healthUnknown
}

func (b *breaker) pass(r *Retry, now time.Time) (trial bool, wait time.Duration) {
	if b.opened.IsZero() || r.BreakerCalls < 0 {
		return false, 0
	}
	if left := b.opened.Add(r.BreakerPause).Sub(now); left > 0 {
		return false, left
	}
	if b.trying {
		return false, r.BreakerPause
	}
	b.trying = true
	return true, 0
}

func (b *breaker) report(r *Retry, h health, trial bool, now time.Time) {
	if trial {
		b.trying = false
		switch h {
		case healthGood:
			*b = breaker{}
		case healthBad:
			b.opened = now
		}
		return
	}
	if h == healthUnknown || r.BreakerCalls < 0 || !b.opened.IsZero() {
		return
	}
	width := max(r.BreakerWindow/breakerSlots, 1)
	number := now.UnixNano() / int64(width)
	slot := &b.slots[number%breakerSlots]
	if slot.number != number {
		*slot = breakerSlot{number: number}
	}
	slot.calls++
	if h == healthGood {
		return
	}
	slot.fails++
	calls, fails := 0, 0
	for _, s := range b.slots {
		if number-s.number < breakerSlots {
			calls += s.calls
			fails += s.fails
		}
	}
	if calls >= r.BreakerCalls && float64(fails) >= r.BreakerShare*float64(calls) {
		*b = breaker{opened: now}
	}
}
