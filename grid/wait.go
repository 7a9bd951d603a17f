package grid

import (
	"context"
	"errors"
	"strings"
	"time"
)

// next decides what follows a failed attempt: a delay, or the error that ends the call.
func (k *call) next(ctx context.Context, out *outcome) (time.Duration, *Error) {
	r := &k.client.retry
	if ctx.Err() != nil {
		return 0, out.err
	}
	left, bounded := time.Duration(0), false
	if deadline, ok := ctx.Deadline(); ok {
		left, bounded = time.Until(deadline)-r.MinLeft, true
	}
	if out.rule.action == actWait {
		return k.nextProbe(left, bounded, out)
	}
	k.endWait()
	switch out.rule.action {
	case actFail:
		return 0, out.err
	case actMaybe:
		if k.ambiguous >= r.MaxAmbiguous {
			return 0, out.err
		}
		k.ambiguous++
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
	k.retries++
	return delay, nil
}

// nextProbe decides how long to wait for a top-up.
func (k *call) nextProbe(left time.Duration, bounded bool, out *outcome) (time.Duration, *Error) {
	r := &k.client.retry
	delay := r.topUp(k.probes, k.client.rand)
	if out.rule.class == ClassExhausted {
		delay = r.jitter(r.ExhaustedDelay, k.client.rand)
	}
	if out.hinted {
		delay = max(delay, out.hint)
	}
	if k.req.Wait <= 0 {
		out.err.cause = &TryLaterError{After: delay, Instrument: k.req.Instrument, Status: out.err.Status}
		return 0, out.err
	}
	remaining := k.req.Wait - k.waited
	if bounded {
		remaining = min(remaining, left)
	}
	if remaining <= 0 || out.hint > remaining {
		return 0, out.err
	}
	k.probes++
	// The last probe comes at the end of what is left, rather than not at all.
	return min(delay, remaining), nil
}

// pause waits and tells the watcher why.
func (k *call) pause(ctx context.Context, delay time.Duration, out *outcome) *Error {
	n := Notice{
		Kind: NoticeRetry, Instrument: k.req.Instrument, Attempt: k.attempts, Delay: delay,
		Waited: k.waited, Status: out.err.Status, Class: out.rule.class,
	}
	topUp := out.rule.action == actWait
	if k.told {
		k.told = false
		k.notify(NoticeDiscard, n)
		k.req.OnDelta(Delta{Discard: true})
	}
	if topUp {
		k.waiting = true
		k.notify(NoticeTopUpWait, n)
	} else {
		k.notify(NoticeRetry, n)
	}
	began := time.Now()
	err := k.client.sleep(ctx, delay)
	if waited := time.Since(began); topUp {
		k.waited += waited
	} else {
		k.retryWait += waited
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrClosed) {
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

// endWait announces that a top-up is no longer waited for.
func (k *call) endWait() {
	if !k.waiting {
		return
	}
	k.waiting = false
	k.notify(NoticeTopUpEnd, Notice{Instrument: k.req.Instrument, Attempt: k.attempts, Waited: k.waited})
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

// hideKey takes the key out of a text, should a server repeat it.
func (c *Client) hideKey(text string) string {
	if len(c.key) < 8 {
		return text
	}
	return strings.ReplaceAll(text, c.key, hidden)
}
