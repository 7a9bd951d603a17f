package grid

import (
	"context"
	"errors"
	"time"
)

var errNoTime = errors.New("it would be its turn too late")

// admit waits until an attempt may begin: at the gate of a dry balance, for the end of
// a pause, for the client's own rate; and asks the breaker. What it takes is given back
// by learn or yield.
func (k *call) admit(ctx context.Context, bytes int) *Error {
	l := k.lane
	if l == nil {
		return nil
	}
	k.went = false
	if err := k.enter(ctx); err != nil {
		return err
	}
	r := &k.client.retry
	for {
		d := l.paused()
		if d == 0 {
			break
		}
		// All that wait would come back in the same moment.
		d += time.Duration(k.client.rand() * float64(min(d/4, time.Second)))
		if d > r.MaxElapsed {
			err := k.fail(ClassThrottled, errNoTime)
			err.RetryAfter = d
			return err
		}
		if err := k.rest(ctx, d); err != nil {
			return err
		}
	}
	if l.rate != nil {
		var err *Error
		if k.free, err = k.await(ctx, promptTokens(bytes)); err != nil {
			return err
		}
	}
	trial, wait := l.begin(r, k.attempts == 0, time.Now())
	if wait > 0 {
		var cause error
		if k.failed != nil {
			cause = k.failed
		}
		err := k.fail(ClassBroken, cause)
		err.RetryAfter = wait
		return err
	}
	k.trial = trial
	return nil
}

// learn tells all others what an attempt found out.
func (k *call) learn(ctx context.Context, out *outcome) {
	l := k.lane
	if l == nil {
		return
	}
	class, used := Class(""), 0
	if out.err != nil {
		class = out.err.Class
		k.failed = out.err
	} else if out.res != nil && out.res.Usage != nil {
		used = clampInt(out.res.Usage.TotalTokens)
	}
	now := time.Now()
	l.report(&k.client.retry, healthOf(class), k.trial, now)
	k.trial = false
	if k.free != nil {
		k.free(used)
		k.free = nil
	}
	if class == ClassThrottled && out.hint > 0 {
		l.pause(out.hint, now)
	}
	if out.err != nil && out.rule.action == actWait {
		k.ranDry(ctx, out)
		return
	}
	k.yield()
}
