package agent

import (
	"context"
	"errors"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/tracing"
)

// standsInLine reports whether the policy is to wait for what others hold, and
// waiting may help.
func (c *modelCall) standsInLine(err error) bool {
	denied, ok := errors.AsType[*budget.DeniedError](err)
	return ok && c.r.a.spending.Held == HeldLine && !c.inVain && !c.in.Final && c.base.Err() == nil &&
		errors.Is(err, budget.ErrHeld) && c.r.waitHelps(denied, false)
}

// waitHeld stands in line for room for the call and for the answer at a limit. It
// waits outside of the call, so that nobody waits behind it, and holds nothing:
// what was kept back for the answer is given back first, or runs that wait would
// wait for each other. The room becomes the allowance's, which gives back the rest
// when it is fitted to its size, right before the call.
func (c *modelCall) waitHeld(ctx context.Context, err error) error {
	r := c.r
	limit := c.in.Wait - c.rec.HeldWait
	if limit <= 0 {
		c.inVain = true
		return err
	}
	var denied *budget.DeniedError
	errors.As(err, &denied)
	room := denied.Requested
	scopes := r.scopes
	if c.instrument.ID != "" {
		scopes = r.scopesOn(c.instrument)
	}
	if w := &r.allowance; w.id != "" {
		room = room.Add(w.amount)
		r.releaseAllowance(ctx)
	}
	emit(r, HeldWait{Step: c.in.Step, Instrument: c.instrument.ID, Detail: denied.Error()})
	v := denied.Violations[0]
	_, span := r.a.tracing.HeldWait(c.chatCtx(), tracing.HeldStart{Instrument: c.instrument.ID, Step: c.in.Step, Cap: v.Cap, Scope: v.Scope.Kind})
	began := time.Now()
	c.timer.pause() // it is nobody's work
	wctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	id := r.id + "/room/" + r.a.incarnation()
	req := budget.Request{ID: id, Scopes: scopes, Amounts: room, Lease: lease, Idle: true}
	share := r.ownCarve()
	if share != nil && share.begun {
		share = nil
	}
	if share != nil {
		req = share.request(room) // the run waits for its share before it begins
	}
	var grant budget.Grant
	err = r.carve.reserve(r, &req, func() (err error) { grant, err = r.ledger.ReserveWait(wctx, req); return err })
	c.timer.goOn()
	waited := time.Since(began)
	c.rec.HeldWait += waited
	outcome := "granted"
	switch {
	case err == nil && share != nil:
		share.mu.Lock()
		share.took(req, grant, nil)
		share.mu.Unlock()
	case err == nil:
		// Not yet an allowance: it pays for nothing until ensureAllowance has fitted it.
		r.allowance = allowance{id: id, amount: room, scopes: scopes}
		r.crossed(grant.Crossed)
	case ctx.Err() != nil:
		outcome = "canceled"
	case wctx.Err() != nil:
		outcome, c.inVain = "timed_out", true
	default:
		outcome = "refused"
	}
	span.End(outcome)
	emit(r, HeldDone{Step: c.in.Step, Instrument: c.instrument.ID, Waited: waited, OK: err == nil})
	return err
}
