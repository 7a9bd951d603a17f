package grid

import "time"

// Retry holds every number of the retry policy. A zero field means the default beside
// it; a negative count means none.
type Retry struct {
	Max          int // asks after the first, in all: 4
	MaxAmbiguous int // of them after a request that left and was not answered: 2
	MaxCut       int // of them after an answer that broke off: 2

	// An instrument that broke StreamCuts, 3, of its last StreamCalls, 10 (64 at most),
	// streams off is asked without streaming for StreamPause, 10 min. StreamCuts < 0 is
	// never.
	StreamCuts, StreamCalls int
	StreamPause             time.Duration

	Base   time.Duration // first delay: 1 s
	Factor float64       // by which it grows: 2
	Cap    time.Duration // and up to: 30 s, before jitter

	// JitterMin and JitterMax bound the share that is added to a delay: 0.10 and 0.25.
	JitterMin, JitterMax float64

	// MaxElapsed is how long after the first attempt's start a retry may still begin,
	// not counting top-up waits: 120 s. An attempt in flight is not cut by it.
	MaxElapsed time.Duration
	// MinLeft is how much time before the context's deadline an attempt needs: 2 s.
	MinLeft time.Duration

	// TopUpDelays are the delays before asking a dry balance again, the last one
	// repeated: 1, 2, 4 s.
	TopUpDelays []time.Duration
	// ExhaustedDelay is that delay where the account has no credits at all: 60 s.
	ExhaustedDelay time.Duration
	// DoubtAfter is how long a 402 that does not say why is taken for a top-up: 90 s.
	// Then it counts as used-up credits, unless another instrument is served.
	DoubtAfter time.Duration
	// Patience is the silence after which a request counts as let in: a market without
	// tokens says so at once. 5 s.
	Patience time.Duration
	// ReleaseMax is how many requests at most wait for the market to let them in, while
	// those that waited for a balance are released: 256.
	ReleaseMax int
	// ReleaseStep spreads those who were told to try later: 250 ms.
	ReleaseStep time.Duration

	// The retry budget of an instrument, shared by all calls: each first attempt earns
	// BudgetRatio retries, 0.1, each minute BudgetFloor, 10, up to BudgetMax, 100. A
	// retry costs 1, an ambiguous one AmbiguousCost, 2. BudgetMax < 0 is no bound.
	BudgetRatio, BudgetFloor, BudgetMax, AmbiguousCost float64

	// The breaker of an instrument opens when of at least BreakerCalls, 20, within
	// BreakerWindow, 30 s, the share BreakerShare, 0.5, failed at a server or on the way.
	// After BreakerPause, 5 s, one call tries. BreakerCalls < 0 is no breaker.
	BreakerCalls  int
	BreakerShare  float64
	BreakerWindow time.Duration
	BreakerPause  time.Duration
}

func (r Retry) withDefaults() Retry {
	r.Max = orCount(r.Max, 4)
	r.MaxAmbiguous = orCount(r.MaxAmbiguous, 2)
	r.MaxCut = orCount(r.MaxCut, 2)
	if r.StreamCuts == 0 {
		r.StreamCuts = 3
	}
	r.StreamCalls = min(orCount(r.StreamCalls, 10), 64)
	r.StreamPause = orDuration(r.StreamPause, 10*time.Minute)
	r.Base = orDuration(r.Base, time.Second)
	r.Cap = orDuration(r.Cap, 30*time.Second)
	r.MaxElapsed = orDuration(r.MaxElapsed, 120*time.Second)
	r.MinLeft = orDuration(r.MinLeft, 2*time.Second)
	r.ExhaustedDelay = orDuration(r.ExhaustedDelay, time.Minute)
	r.DoubtAfter = orDuration(r.DoubtAfter, 90*time.Second)
	r.Patience = orDuration(r.Patience, 5*time.Second)
	if r.ReleaseMax <= 0 {
		r.ReleaseMax = 256
	}
	r.ReleaseStep = orDuration(r.ReleaseStep, 250*time.Millisecond)
	r.BudgetRatio = orShare(r.BudgetRatio, 0.1)
	r.BudgetFloor = orShare(r.BudgetFloor, 10)
	if r.BudgetMax == 0 {
		r.BudgetMax = 100
	}
	r.AmbiguousCost = orShare(r.AmbiguousCost, 2)
	if r.BreakerCalls == 0 {
		r.BreakerCalls = 20
	}
	r.BreakerShare = orShare(r.BreakerShare, 0.5)
	r.BreakerWindow = orDuration(r.BreakerWindow, 30*time.Second)
	r.BreakerPause = orDuration(r.BreakerPause, 5*time.Second)
	if r.Factor <= 0 {
		r.Factor = 2
	}
	if r.JitterMin == 0 && r.JitterMax == 0 {
		r.JitterMin, r.JitterMax = 0.10, 0.25
	}
	if len(r.TopUpDelays) == 0 {
		r.TopUpDelays = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}
	}
	return r
}

func orCount(n, def int) int {
	if n == 0 {
		return def
	}
	return max(n, 0)
}

// orShare is orCount for fractions: less than 0 is none.
func orShare(v, def float64) float64 {
	if v == 0 {
		return def
	}
	return max(v, 0)
}

func orDuration(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// backoff is the delay before retry k, counted from 0.
func (r Retry) backoff(k int, rand func() float64) time.Duration {
	d := float64(r.Base)
	for range k {
		if d *= r.Factor; d >= float64(r.Cap) {
			break
		}
	}
	return r.jitter(time.Duration(min(d, float64(r.Cap))), rand)
}

func (r Retry) jitter(d time.Duration, rand func() float64) time.Duration {
	return d + time.Duration(float64(d)*(r.JitterMin+(r.JitterMax-r.JitterMin)*rand()))
}

// hinted is the delay where the server named one: never less than it asked for.
func (r Retry) hinted(hint time.Duration, k int, rand func() float64) time.Duration {
	if hint == 0 {
		return time.Duration(rand() * float64(250*time.Millisecond))
	}
	return max(hint, r.backoff(k, rand))
}
