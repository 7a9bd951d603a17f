package grid

import (
	"context"
	"errors"
	"time"
)

// next decides what follows a failed attempt: a delay, or the error that ends the call.
func (k *call) next(ctx context.Context, out *outcome) (time.Duration, *Error) {
	r := &k.client.retry
	if ctx.Err() != nil {
		return 0, out.err
	}
	left, bounded := k.left(ctx)
	cost := 1.0
	switch out.rule.action {
	case actFail:
		return 0, out.err
	case actWait:
		return k.stayDry(left, bounded, out)
	case actMaybe:
		if k.ambiguous >= r.MaxAmbiguous {
			return 0, out.err
		}
		k.ambiguous++
		cost = r.AmbiguousCost
	case actCut:
		if k.cuts >= r.MaxCut {
			return 0, out.err
		}
		k.cuts++
	case actOnce:
		if k.once >= 1 {
			return 0, out.err
		}
		k.once++
	}
	if k.retries >= r.Max {
		return 0, out.err
	}
	delay := r.backoff(k.retries, k.client.rand)
	if out.hinted {
		delay = r.hinted(out.hint, k.retries, k.client.rand)
	}
	// Never less than was asked for, and never past the end: then it fails now.
	if bounded && delay > left || delay > r.MaxElapsed-(time.Since(k.began)-k.waited) {
		return 0, out.err
	}
	if k.lane != nil && !k.lane.again(r, cost, time.Now()) {
		out.err.cause = &retriesSpent{out.err.cause}
		return 0, out.err
	}
	k.retries++
	return delay, nil
}

// stayDry decides whether to wait for a top-up: the waiting itself is done in line.
func (k *call) stayDry(left time.Duration, bounded bool, out *outcome) (time.Duration, *Error) {
	if k.lane == nil {
		return 0, out.err
	}
	if k.pass != nil {
		return 0, nil // it has bought, and asks at once
	}
	if k.req.Wait <= 0 {
		a := k.lane.gate.account
		a.mu.Lock()
		defer a.mu.Unlock()
		return 0, k.gaveUp(time.Now())
	}
	remaining := k.req.Wait - k.waited
	if bounded {
		remaining = min(remaining, left)
	}
	if remaining <= 0 || out.hint > remaining {
		return 0, out.err
	}
	return 0, nil
}

// retriesSpent is why a call was not retried although its failure would allow it.
type retriesSpent struct{ cause error }

func (e *retriesSpent) Error() string {
	if e.cause == nil {
		return ErrRetryBudget.Error()
	}
	return ErrRetryBudget.Error() + ": " + e.cause.Error()
}

func (e *retriesSpent) Unwrap() []error {
	if e.cause == nil {
		return []error{ErrRetryBudget}
	}
	return []error{ErrRetryBudget, e.cause}
}

// pause waits and tells the watcher why. At a dry balance it only takes back what was
// told: the wait is the gate's.
func (k *call) pause(ctx context.Context, delay time.Duration, out *outcome) *Error {
	n := Notice{
		Instrument: k.req.Instrument, Attempt: k.attempts, Delay: delay,
		Waited: k.waited, Status: out.err.Status, Class: out.rule.class,
	}
	if k.told {
		k.told = false
		k.notify(NoticeDiscard, n)
		k.req.OnDelta(Delta{Discard: true})
	}
	if out.rule.action == actWait {
		return nil
	}
	k.notify(NoticeRetry, n)
	began := time.Now()
	defer func() { k.retryWait += time.Since(began) }()
	return k.sleep(ctx, delay)
}

// sleep ends early with the error of a call whose context or client ended.
func (k *call) sleep(ctx context.Context, d time.Duration) *Error {
	switch err := k.client.sleep(ctx, d); {
	case err == nil:
		return nil
	case errors.Is(err, ErrClosed):
		return k.fail(ClassClosed, nil)
	}
	return k.interrupted(ctx)
}

func (k *call) notify(kind NoticeKind, n Notice) {
	if k.req.Notify != nil {
		n.Kind = kind
		k.req.Notify(n)
	}
}

// sleep returns early with the context's error, or ErrClosed.
func (c *Client) sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		return ErrClosed
	}
}
