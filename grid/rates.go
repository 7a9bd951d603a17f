package grid

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Rate bounds what a client asks of one instrument, over all its runs. A zero field
// does not bound.
type Rate struct {
	// Requests is how many attempts may begin per second; one second's worth may begin
	// at once, and at least one.
	Requests float64
	// Tokens is how many tokens may be used per second, prompt and answer. A prompt is
	// counted by its size before it is sent, the rest when the answer's usage is known:
	// answers under way may exceed the rate, which those behind make up for.
	Tokens float64
	// Concurrency is how many attempts may be under way at once.
	Concurrency int
}

func (r Rate) fault() string {
	for _, v := range [...]float64{r.Requests, r.Tokens, float64(r.Concurrency)} {
		if v < 0 || math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprintf("%v is not a rate: write a positive number, or 0 for no bound", v)
		}
	}
	return ""
}

// rates are the limits of one instrument at work.
type rates struct {
	requests, tokens *rate.Limiter
	slots            chan struct{}
}

func newRates(all map[string]Rate, instrument string) *rates {
	r, ok := all[instrument]
	if !ok {
		r = all[""]
	}
	if r == (Rate{}) {
		return nil
	}
	out := new(rates)
	if r.Requests > 0 {
		out.requests = rate.NewLimiter(rate.Limit(r.Requests), burst(r.Requests))
	}
	if r.Tokens > 0 {
		out.tokens = rate.NewLimiter(rate.Limit(r.Tokens), burst(r.Tokens))
	}
	if r.Concurrency > 0 {
		out.slots = make(chan struct{}, r.Concurrency)
	}
	return out
}

func burst(perSecond float64) int { return int(min(max(math.Ceil(perSecond), 1), math.MaxInt32)) }

// ahead is how long to wait for n, without booking it.
func ahead(l *rate.Limiter, n int, now time.Time) time.Duration {
	missing := float64(n) - l.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	return time.Duration(min(missing/float64(l.Limit()), math.MaxInt64/float64(2*time.Second)) * float64(time.Second))
}

// take books n at a limiter and returns how long to wait for it. What is more than a
// burst is booked in parts.
func take(l *rate.Limiter, n int, now time.Time) (wait time.Duration, booked []*rate.Reservation) {
	for n > 0 {
		part := min(n, l.Burst())
		res := l.ReserveN(now, part)
		booked = append(booked, res)
		wait = max(wait, res.DelayFrom(now))
		n -= part
	}
	return wait, booked
}

// promptTokens is what a prompt of so many bytes is counted as before it is sent.
func promptTokens(bytes int) int { return bytes / 4 }

// await waits until an attempt of about so many prompt tokens may begin. The function
// that it returns ends the attempt; it is nil where there is nothing to end.
func (k *call) await(ctx context.Context, prompt int) (free func(used int), err *Error) {
	r := k.lane.rate
	if r == nil {
		return nil, nil
	}
	leave := func() {}
	if r.slots != nil {
		if err := k.slot(ctx, r); err != nil {
			return nil, err
		}
		leave = sync.OnceFunc(func() { <-r.slots })
	}
	wait, booked, err := r.book(ctx, k, max(prompt, 1))
	if err == nil && wait > 0 {
		err = k.rest(ctx, wait)
	}
	if err != nil {
		for i := len(booked) - 1; i >= 0; i-- {
			booked[i].Cancel()
		}
		leave()
		return nil, err
	}
	return func(used int) {
		leave()
		if more := used - prompt; r.tokens != nil && more > 0 {
			take(r.tokens, more, time.Now())
		}
	}, nil
}

// book takes what an attempt needs of both limits. A wait for which there is no time is
// not booked: what others booked behind it could not move up.
func (r *rates) book(ctx context.Context, k *call, prompt int) (wait time.Duration, booked []*rate.Reservation, err *Error) {
	now := time.Now()
	needs := [...]struct {
		limiter *rate.Limiter
		n       int
	}{{r.requests, 1}, {r.tokens, prompt}}
	if left, bounded := k.left(ctx); bounded {
		for _, b := range needs {
			if b.limiter == nil {
				continue
			}
			if d := ahead(b.limiter, b.n, now); d > left {
				err := k.fail(ClassThrottled, errNoTime)
				err.RetryAfter = d
				return 0, nil, err
			}
		}
	}
	for _, b := range needs {
		if b.limiter == nil {
			continue
		}
		d, more := take(b.limiter, b.n, now)
		wait, booked = max(wait, d), append(booked, more...)
	}
	return wait, booked, nil
}

// slot waits for one of those that may be under way at once.
func (k *call) slot(ctx context.Context, r *rates) *Error {
	select {
	case r.slots <- struct{}{}:
		return nil
	default:
	}
	k.notify(NoticeRateWait, Notice{Instrument: k.req.Instrument, Attempt: k.attempts})
	began := time.Now()
	defer func() { k.rateWait += time.Since(began) }()
	var over <-chan time.Time
	if left, bounded := k.left(ctx); bounded {
		t := time.NewTimer(max(left, 0))
		defer t.Stop()
		over = t.C
	}
	select {
	case r.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return k.interrupted(ctx)
	case <-k.client.done:
		return k.fail(ClassClosed, nil)
	case <-over:
		return k.fail(ClassThrottled, errNoTime)
	}
}

// rest waits for the own rate or a pause, if there is time for it.
func (k *call) rest(ctx context.Context, d time.Duration) *Error {
	if left, bounded := k.left(ctx); bounded && d > left {
		err := k.fail(ClassThrottled, errNoTime)
		err.RetryAfter = d
		return err
	}
	k.notify(NoticeRateWait, Notice{Instrument: k.req.Instrument, Attempt: k.attempts, Delay: d})
	began := time.Now()
	defer func() { k.rateWait += time.Since(began) }()
	return k.sleep(ctx, d)
}

// left is the time until the last moment at which an attempt may begin.
func (k *call) left(ctx context.Context) (left time.Duration, bounded bool) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0, false
	}
	return time.Until(deadline) - k.client.retry.MinLeft, true
}
