package grid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Funding says how the account's balances are filled.
type Funding string

const (
	// FundingUnknown, the zero value, finds out what a refusal means: by its words, by
	// Config.Balance at the first 402, by what was served a short time before, and after
	// Retry.DoubtAfter by its length.
	FundingUnknown Funding = ""
	// FundingAuto: Auto Top Up is on, the market buys by itself. A 402 is a top-up that
	// has begun and a 503 one under way, unless their words say otherwise; Config.Balance
	// is not asked until the wait has taken Retry.DoubtAfter, after which only used-up
	// credits explain it. Trading.Settings tells whether it is on.
	FundingAuto Funding = "auto"
	// FundingAdvanced: tokens are bought by orders of one's own, so that a dry
	// instrument stays dry. It is an ErrInstrumentDry at once, unless Config.OnDry buys.
	FundingAdvanced Funding = "advanced"
)

// DryText says what the words of a 402 or 503 mean: ClassTopUp, a top-up comes, or
// ClassExhausted, the credits are used up. The case of letters does not matter.
type DryText struct {
	Contains string
	Class    Class
}

// finding is what is known about a dry balance.
type finding int

const (
	foundUnknown finding = iota
	foundTopUp
	foundExhausted
)

// judge reads the words of a refusal: the user's own rules first.
func (k *call) judge(f fault, status int, out *outcome) {
	if status == http.StatusPaymentRequired || status == http.StatusServiceUnavailable {
		for _, t := range k.client.dryTexts {
			if f.says(strings.ToLower(t.Contains)) || f.is(strings.ToLower(t.Contains)) {
				out.rule.class, out.rule.action = t.Class, actWait
				out.found = foundTopUp
				if t.Class == ClassExhausted {
					out.found = foundExhausted
				}
				return
			}
		}
	}
	switch {
	case out.rule.action != actWait:
	case out.rule.class == ClassExhausted:
		out.found = foundExhausted
	case status == http.StatusServiceUnavailable || f.replenishing():
		out.found = foundTopUp
	}
}

// dryMemory is how long a 402 explains a 503 of the same instrument.
const dryMemory = 5 * time.Minute

// wasDry tells whether a 503 is the replenishment that follows a 402.
func (g *gate) wasDry() bool {
	at := g.dryAt.Load()
	return g.word.Load()&1 != 0 || at != 0 && time.Since(time.Unix(0, at)) < dryMemory
}

// enter passes the gate, or waits at it.
func (k *call) enter(ctx context.Context) *Error {
	if k.pass != nil {
		return nil // it has just bought
	}
	if w := k.lane.gate.word.Load(); w&1 == 0 {
		k.episode = w >> 1
		return nil
	}
	return k.queue(ctx)
}

// queue waits in line until it is this call's turn.
func (k *call) queue(ctx context.Context) *Error {
	g := &k.lane.gate
	a := g.account
	a.mu.Lock()
	now := time.Now()
	if g.state == gateOpen {
		k.episode = g.episode
		a.mu.Unlock()
		return nil
	}
	if g.line.n == 0 {
		if p, _ := g.ask(now); p != nil {
			k.pass, k.episode = p, p.episode
			a.mu.Unlock()
			return nil
		}
	}
	end := now.Add(k.req.Wait - k.waited)
	if left, bounded := k.left(ctx); bounded && now.Add(left).Before(end) {
		end = now.Add(left)
	}
	if k.req.Wait <= 0 || !now.Before(end) {
		err := k.gaveUp(now)
		a.mu.Unlock()
		return err
	}
	if k.ticket == 0 {
		k.ticket = a.ticket()
	}
	w := &waiter{ticket: k.ticket, wake: make(chan struct{}, 1)}
	g.line.join(w, k.req.Tenant, k.queued)
	k.queued = true
	n := Notice{
		Instrument: k.req.Instrument, Attempt: k.attempts, Delay: min(g.due(now), end.Sub(now)), Waited: k.waited,
		Class: ClassTopUp, Position: g.line.place(w), Estimate: g.estimate(now),
	}
	if a.exhausted {
		n.Class = ClassExhausted
	}
	if k.dry != nil {
		n.Status = k.dry.Status
	}
	tell := k.req.Notify != nil && a.tell()
	a.mu.Unlock()

	went := false
	defer func() {
		// Also when the watcher panics: a place in line that nobody holds would stop it.
		k.waited += time.Since(now)
		if !went {
			a.mu.Lock()
			defer a.mu.Unlock()
			g.leave(w, time.Now())
		}
	}()
	if tell {
		k.notify(NoticeExhausted, n)
	}
	k.waiting = true
	k.notify(NoticeTopUpWait, n)
	var timer *time.Timer
	for {
		a.mu.Lock()
		at := time.Now()
		p, until, over := g.look(w, end, at)
		fail := w.fail
		if p != nil {
			k.episode = p.episode // others renew it under the lock
		}
		var err *Error
		if over {
			err = k.gaveUp(at)
		}
		a.mu.Unlock()
		switch {
		case p != nil:
			k.pass, went = p, true
			return nil
		case fail != nil:
			return k.notBought(fail)
		case over:
			return err
		}
		left := time.Until(until)
		if left <= 0 {
			continue
		}
		if timer == nil {
			timer = time.NewTimer(left)
			defer timer.Stop()
		} else {
			timer.Reset(left)
		}
		select {
		case <-w.wake:
		case <-timer.C:
		case <-ctx.Done():
			return k.interrupted(ctx)
		case <-k.client.done:
			return k.fail(ClassClosed, nil)
		}
	}
}

// gaveUp is the error of a call that waits no longer. The account's lock is held.
func (k *call) gaveUp(now time.Time) *Error {
	g := &k.lane.gate
	err := k.dry
	if err == nil {
		err = k.fail(ClassTopUp, errors.New("others wait for its balance to be filled"))
	}
	if g.account.exhausted {
		err.Class, err.kind = ClassExhausted, ErrCreditsExhausted
	}
	if k.req.Wait <= 0 {
		err.cause = &TryLaterError{After: g.later(now), Instrument: k.req.Instrument, Status: err.Status, exhausted: g.account.exhausted}
	}
	return err
}

// notBought is the error of a dry instrument that will not be filled by itself.
func (k *call) notBought(why error) *Error {
	err := k.dry
	if err == nil {
		err = k.fail(ClassTopUp, nil)
	}
	err.kind, err.cause = ErrInstrumentDry, why
	if why == nil {
		err.cause = ErrInstrumentDry
	}
	return err
}

// ranDry takes in a refusal for want of a balance.
func (k *call) ranDry(ctx context.Context, out *outcome) {
	g := &k.lane.gate
	a := g.account
	k.dry = out.err
	if out.found == foundUnknown && k.client.funding != FundingAdvanced {
		out.found = k.lookUp(ctx)
	}
	a.mu.Lock()
	now := time.Now()
	p := k.pass
	k.pass = nil
	if k.client.funding == FundingAdvanced && out.err.Status == http.StatusPaymentRequired {
		buys := k.client.onDry != nil && (g.prober == nil || g.prober == p) && !g.buying &&
			(g.bought.IsZero() || now.Sub(g.bought) >= a.retry.DoubtAfter)
		switch {
		case k.client.onDry == nil:
			g.retire(p)
			g.dismiss(ErrInstrumentDry)
			a.mu.Unlock()
			out.err, out.rule.action = k.notBought(nil), actFail
			return
		case buys:
			g.dry(p, k.episode, foundTopUp, out.hint, now)
			k.pass, g.buying = g.probe(now), true
			k.episode = k.pass.episode
			a.mu.Unlock()
			k.buy(ctx, out)
			return
		}
		out.found = foundTopUp
	}
	g.dry(p, k.episode, out.found, out.hint, now)
	if a.exhausted {
		out.rule.class, out.err.Class, out.err.kind = ClassExhausted, ClassExhausted, ErrCreditsExhausted
	}
	tell := k.req.Notify != nil && a.tell()
	a.mu.Unlock()
	if tell {
		k.notify(NoticeExhausted, Notice{Instrument: k.req.Instrument, Attempt: k.attempts, Waited: k.waited, Status: out.err.Status, Class: ClassExhausted})
	}
}

// buy lets the user's own code fill the balance, for all who wait for it. If it
// succeeds the call keeps the right to ask.
func (k *call) buy(ctx context.Context, out *outcome) {
	g := &k.lane.gate
	a := g.account
	k.waiting = true
	began := time.Now()
	bought := false
	var err error
	defer func() {
		k.waited += time.Since(began)
		a.mu.Lock()
		defer a.mu.Unlock()
		g.buying = false
		p, now := k.pass, time.Now()
		switch {
		case bought:
			g.bought, g.sent = now, now
		case err == nil || ctx.Err() != nil:
			// It panicked or this caller left: that says nothing about the next one's luck.
			k.pass = nil
			g.nothing(p, false, now)
		default:
			k.pass = nil
			g.retire(p)
			g.dismiss(err)
		}
		a.rouse(g)
	}()
	k.notify(NoticeTopUpWait, Notice{Instrument: k.req.Instrument, Attempt: k.attempts, Waited: k.waited, Status: out.err.Status, Class: ClassTopUp, Position: 1})
	if err = k.client.onDry(ctx, k.req.Instrument); err != nil {
		err = fmt.Errorf("OnDry: %w", err)
		out.err, out.rule.action = k.notBought(err), actFail
		return
	}
	bought = true
}

// lookUp asks Config.Balance what a 402 means; one call at a time, and not more often
// than a balance is asked.
func (k *call) lookUp(ctx context.Context) finding {
	ask := k.client.balance
	if ask == nil {
		return foundUnknown
	}
	g := &k.lane.gate
	a := g.account
	a.mu.Lock()
	now := time.Now()
	long := g.state == gateProbing && now.Sub(g.doubt) >= a.retry.DoubtAfter
	free := (k.client.funding != FundingAuto || long) && !g.looking && (g.looked.IsZero() || now.Sub(g.looked) >= a.retry.TopUpDelays[0])
	g.looking = g.looking || free
	a.mu.Unlock()
	if !free {
		return foundUnknown
	}
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		g.looking, g.looked = false, time.Now()
	}()
	ctx, cancel := context.WithTimeout(ctx, balanceTime)
	defer cancel()
	tokens, credits, err := ask(ctx, k.req.Instrument)
	switch {
	case err != nil:
		return foundUnknown
	case tokens > 0 || credits > 0:
		return foundTopUp
	}
	return foundExhausted
}

// balanceTime bounds Config.Balance.
const balanceTime = 5 * time.Second

// admitted takes in that the market let the request pass: it answered with its redirect
// or with an answer.
func (k *call) admitted() {
	g := &k.lane.gate
	a := g.account
	a.admissions.Add(1)
	if g.dryAt.Load() != 0 {
		g.dryAt.Store(0)
	}
	if p := k.pass; p != nil || a.drained.Load() {
		a.mu.Lock()
		now := time.Now()
		if p != nil {
			g.admit(p, now)
		} else if a.exhausted && k.sentAt.After(a.since) {
			a.clear(g, now)
		}
		a.mu.Unlock()
		k.pass = nil
	}
	k.dry = nil
	k.endWait("")
}

// yield gives back what an attempt holds and did not use.
func (k *call) yield() {
	if k.free != nil {
		k.free(0)
		k.free = nil
	}
	if k.trial {
		k.trial = false
		k.lane.report(&k.client.retry, healthUnknown, true, time.Now())
	}
	if p := k.pass; p != nil {
		k.pass = nil
		a := k.lane.gate.account
		a.mu.Lock()
		defer a.mu.Unlock()
		k.lane.gate.nothing(p, k.went, time.Now())
	}
}

// endWait announces that a top-up is no longer waited for, and why not.
func (k *call) endWait(class Class) {
	if !k.waiting {
		return
	}
	k.waiting = false
	k.notify(NoticeTopUpEnd, Notice{Instrument: k.req.Instrument, Attempt: k.attempts, Waited: k.waited, Class: class})
}
