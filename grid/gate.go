package grid

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// gate keeps the calls to one instrument in order while its balance is dry.
//
//	          402                    admitted
//	open ------------> probing ------------------> releasing ----> open
//	                    ^   | 402: later              | 402
//	                    +---+                         |
//	                    ^-----------------------------+
//
// Probing, one call at a time asks: the first in line, with its real request. When the
// market admits it, the others follow two, four, eight ... at a time, for the new tokens
// may serve only some of them: see release.
//
// A gate owns no goroutine and no timer. It is a state and a line; the first in line
// is told when to look again, and whoever changes something wakes the one it concerns.
// The account's mutex guards all fields but the atomic ones.
type gate struct {
	account    *account
	instrument string
	// word is the episode and, in its lowest bit, whether the gate is shut: all that a
	// call at an open gate reads.
	word atomic.Uint64
	// dryAt is when the instrument last said so, as Unix nanoseconds; 0 is: not since it served.
	dryAt atomic.Int64

	state gateState
	// episode counts the changes of state. What a request of an earlier one learnt is
	// no news.
	episode uint64
	line    line
	prober  *pass
	sent    time.Time // when the last prober went
	next    time.Time // the earliest time of the next one
	asked   bool      // the server named that time
	buying  bool      // the prober is at Config.OnDry
	looking bool      // somebody is asking Config.Balance
	looked  time.Time
	probed  uint64 // the account's count at the last probe
	step    int    // in Retry.TopUpDelays
	delay   time.Duration
	since   time.Time // when it ran dry
	doubt   time.Time // since when nothing has said that a top-up is under way
	served  uint64    // the account's admissions at that time
	typical time.Duration
	bought  time.Time // when Config.OnDry last said that it had bought

	release release

	// tickets were given to callers that do not wait, since the last probe; they come
	// back until ticketsEnd.
	tickets    int
	ticketsEnd time.Time
}

type gateState int

const (
	gateOpen gateState = iota
	gateProbing
	gateReleasing
)

// pass is the right to send one request through a gate that is not open.
type pass struct {
	episode, stage uint64
	used           bool
}

// turn brings the gate to a state. Opening keeps the episode, so that the last of a
// release are still heard.
func (g *gate) turn(s gateState) {
	g.state = s
	shut := uint64(0)
	if s != gateOpen {
		g.episode++
		shut = 1
	}
	g.word.Store(g.episode<<1 | shut)
}

// schedule sets the time of the next probe. Who came for it and does not wait gets a
// new place.
func (g *gate) schedule(now time.Time, hint time.Duration) {
	d := g.account.retry.jitter(g.delay, g.account.rand)
	g.asked = hint > d
	g.next = now.Add(max(d, hint))
	g.tickets = 0
}

// resume begins probing at step.
func (g *gate) resume(step int, now time.Time) {
	g.step = step
	g.delay = g.account.retry.TopUpDelays[step]
	g.since = now
	g.trust(now)
	g.turn(gateProbing)
	g.release.end()
}

// trust forgets doubts whether a top-up comes.
func (g *gate) trust(now time.Time) { g.doubt, g.served = now, g.account.admissions.Load() }

// dry takes in that a request was refused for want of a balance. p is nil for one that
// was sent while the gate was open.
func (g *gate) dry(p *pass, episode uint64, found finding, hint time.Duration, now time.Time) {
	a := g.account
	delays := a.retry.TopUpDelays
	if p != nil {
		episode = p.episode // a silent prober's was renewed
	}
	current := episode == g.episode
	prober := p != nil && current && g.state == gateProbing
	slow := p != nil && p == a.prober
	g.retire(p)
	g.dryAt.Store(now.UnixNano())
	switch {
	case g.state == gateOpen:
		g.resume(0, now)
		g.schedule(now, hint)
	case g.state == gateReleasing && current:
		g.release.dry(g.episode)
		// Some tokens came: resume at half the delay, not at the start.
		half := 0
		for half+1 < len(delays) && delays[half+1] <= g.delay/2 {
			half++
		}
		g.resume(half, now)
		g.schedule(now, hint)
	case prober && now.Sub(g.doubt) >= a.retry.DoubtAfter && found != foundTopUp:
		g.delay = max(g.delay, min(2*g.delay, a.retry.ExhaustedDelay))
		g.schedule(now, hint)
	case prober:
		g.step = min(g.step+1, len(delays)-1)
		g.delay = delays[g.step]
		g.schedule(now, hint)
	}
	switch {
	case found == foundExhausted:
		a.exhaust(true, now)
	case found == foundTopUp:
		g.trust(now)
		if slow {
			a.clear(g, now) // something is being bought again
		}
	case now.Sub(g.doubt) >= a.retry.DoubtAfter && a.admissions.Load() == g.served:
		a.exhaust(false, now)
	}
	if slow && a.exhausted {
		a.delay = min(2*a.delay, a.retry.ExhaustedDelay)
		a.schedule(now, hint)
	}
	a.rouse(g)
}

// admit takes in that the market let a request pass.
func (g *gate) admit(p *pass, now time.Time) {
	if p.used {
		return
	}
	g.retire(p)
	if p.episode != g.episode {
		g.release.straggler(p.episode)
		return
	}
	switch g.state {
	case gateProbing:
		g.account.clear(g, now)
		g.flow(now)
	case gateReleasing:
		g.release.admitted(p, now)
	}
	g.letGo(now)
}

// flow begins to release.
func (g *gate) flow(now time.Time) {
	g.typical = now.Sub(g.since)
	g.bought = time.Time{}
	g.turn(gateReleasing)
	g.release.begin(g.account.retry.ReleaseMax, now)
}

// nothing takes back a pass whose request learnt nothing about the balance. sent tells
// whether it was made at all: if not, the next in line goes at once.
func (g *gate) nothing(p *pass, sent bool, now time.Time) {
	if p.used {
		return
	}
	prober := p == g.prober
	slow := p == g.account.prober
	g.retire(p)
	switch {
	case prober && sent:
		g.schedule(now, 0)
	case !sent && p.episode == g.episode:
		g.release.unsent(p)
	}
	if slow && !sent {
		g.account.next = now
	}
	g.letGo(now)
	g.account.rouse(g)
}

func (g *gate) retire(p *pass) {
	if p == nil || p.used {
		return
	}
	p.used = true
	if p == g.account.prober {
		g.account.prober = nil
	}
	switch {
	case p == g.prober:
		g.prober = nil
	case p.episode == g.episode && g.state == gateReleasing:
		g.release.back(p)
	}
}

// letGo releases as many as may go, and opens the gate behind the last.
func (g *gate) letGo(now time.Time) {
	if g.state != gateReleasing {
		return
	}
	g.release.next()
	for g.line.n > 0 && g.release.room() > 0 {
		w := g.line.pop()
		w.pass = g.hand(now)
		w.rouse()
	}
	if g.line.n == 0 && g.release.out == 0 && (g.release.window > g.tickets || !now.Before(g.ticketsEnd)) {
		g.tickets = 0
		g.release.forget()
		g.turn(gateOpen)
	}
}

func (g *gate) hand(now time.Time) *pass {
	return &pass{episode: g.episode, stage: g.release.hand(now)}
}

// ask says what the first of those who want to pass may do now: go, or look again at a
// time, which is zero where it will be woken.
func (g *gate) ask(now time.Time) (*pass, time.Time) {
	a := g.account
	patience := a.retry.Patience
	if g.buying {
		return nil, time.Time{}
	}
	if g.state == gateProbing && g.prober != nil && !a.exhausted {
		// A market that has no tokens says so at once. Silence is an answer in the making.
		until := g.sent.Add(patience)
		if now.Before(until) {
			return nil, until
		}
		silent := g.prober
		g.prober = nil
		g.flow(now)
		silent.episode = g.episode
	}
	if g.state == gateReleasing {
		until := g.release.quiet.Add(patience)
		if g.release.room() <= 0 && !now.Before(until) {
			g.release.silence()
		}
		if g.release.room() > 0 {
			return g.hand(now), time.Time{}
		}
		return nil, until
	}
	if a.exhausted {
		if until := a.turnOf(g, now); now.Before(until) || until.IsZero() {
			return nil, until
		}
	} else if now.Before(g.next) {
		return nil, g.next
	}
	return g.probe(now), time.Time{}
}

func (g *gate) probe(now time.Time) *pass {
	a := g.account
	p := &pass{episode: g.episode}
	g.prober, g.sent = p, now
	a.probes++
	g.probed = a.probes
	if a.exhausted {
		a.prober, a.sent = p, now
		a.schedule(now, 0)
	}
	return p
}

// look is ask for one in line: only its head may go, and others wait to be woken.
func (g *gate) look(w *waiter, end, now time.Time) (p *pass, until time.Time, over bool) {
	if w.pass != nil || w.fail != nil {
		return w.pass, until, false
	}
	if g.line.head() != w {
		return nil, end, !now.Before(end)
	}
	p, until = g.ask(now)
	if p == nil && !now.Before(end) && g.last(now) {
		p = g.probe(now)
	}
	switch {
	case p != nil:
		g.line.pop()
		g.letGo(now)
		if h := g.line.head(); h != nil {
			h.rouse() // to watch over this one
		}
		return p, until, false
	case !now.Before(end):
		return nil, end, true
	case g.state == gateProbing && g.asked && g.prober == nil && g.next.After(end):
		return nil, end, true // the server named a time that is too late
	case until.IsZero() || until.After(end):
		until = end
	}
	return nil, until, false
}

// last tells whether one whose time is over may ask ahead of time, rather than not at
// all. Of many whose time ends together it is one.
func (g *gate) last(now time.Time) bool {
	return g.state == gateProbing && !g.account.exhausted && g.prober == nil && !g.asked &&
		now.Sub(g.sent) >= g.account.retry.TopUpDelays[0] && now.Sub(g.since) >= g.account.retry.TopUpDelays[0]
}

// leave takes out one that will not go any more, also in the moment in which it was
// its turn.
func (g *gate) leave(w *waiter, now time.Time) {
	if w.pass != nil {
		g.nothing(w.pass, false, now)
		return
	}
	g.line.leave(w)
	g.letGo(now)
	g.account.rouse(g)
}

// dismiss sends everybody home with an error and opens the gate: the next to come asks
// for itself.
func (g *gate) dismiss(err error) {
	for w := g.line.pop(); w != nil; w = g.line.pop() {
		w.fail = err
		w.rouse()
	}
	g.prober, g.tickets = nil, 0
	g.turn(gateOpen)
}

// due is when something is expected to happen next.
func (g *gate) due(now time.Time) time.Duration {
	a := g.account
	d := g.next.Sub(now)
	switch {
	case g.state == gateReleasing:
		return a.retry.ReleaseStep
	case a.exhausted:
		d = a.next.Sub(now)
	case g.prober != nil:
		d = a.retry.TopUpDelays[0]
	}
	return max(d, 0)
}

// later is when a caller that does not wait should come back: the first for the probe,
// the others behind it as they would be released.
func (g *gate) later(now time.Time) time.Duration {
	d := g.due(now)
	g.tickets++
	if stage := bits.Len(uint(g.tickets)) - 1; stage > 0 {
		d += time.Duration((float64(stage) + g.account.rand()) * float64(g.account.retry.ReleaseStep))
	}
	if end := now.Add(d + g.account.retry.Patience); end.After(g.ticketsEnd) {
		g.ticketsEnd = end
	}
	return d
}

// estimate is how long the wait may take, judged by the last one.
func (g *gate) estimate(now time.Time) time.Duration {
	return max(g.due(now), g.typical-now.Sub(g.since))
}
