package agent

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/tracing"
)

// attempt is what Begin opened and End closes: a reservation and a span.
type attempt struct {
	id     string
	amount budget.Amounts
	prompt budget.Prompt // what the bound was made of
	span   *tracing.AttemptSpan
}

// lease is how long a reservation stands without a sign of life. Its owner
// renews it; one whose owner died is charged when it runs out.
const lease = 2 * time.Minute

// Begin reserves the upper bound of an attempt on every cap of the run, before
// its first byte. When money is short it lowers max_tokens to what fits, down to
// the floor; the request is lowered with the reservation, never the reservation
// alone.
func (c *modelCall) Begin(ctx context.Context, at *grid.Attempt) (context.Context, error) {
	r := c.r
	prompt := c.promptOf(at)
	offer, _ := r.client.Catalogue().Market().Find(at.Instrument)
	c.price = offer.Price
	if err := r.priced(offer, c.in.Step); err != nil {
		return ctx, err
	}
	c.attempts++
	c.sends()
	if c.topup == nil {
		r.watch.turn(DoingStore, at.Instrument, at.Start)
		defer r.watch.turn(DoingModel, at.Instrument, at.Start)
	}
	id := c.op.Key + "/" + c.incarnation + "/" + strconv.Itoa(c.attempts)
	amount, err := c.reserve(ctx, id, prompt, at)
	if err != nil {
		// The answer may have been lost, not the reservation: nothing is dispatched on it.
		r.later.add(unsettled{id: id, how: voidAll, proof: budget.ProofNeverDispatched}, err)
		c.denied(ctx, err)
		return ctx, err
	}
	r.left(r.grant.Left)
	c.reserved = amount.NanoUSD
	c.openSpan(ctx)
	actx, span := r.a.tracing.Attempt(c.spanCtx, tracing.AttemptStart{URL: at.URL, Number: at.Number, Start: at.Start, Instrument: at.Instrument, Reservation: id})
	if at.Header != nil {
		r.a.tracing.Inject(actx, at.Header)
	}
	c.open = &attempt{id: id, amount: amount, prompt: prompt, span: span}
	r.renewal.keep(r.ledger, id)
	return actx, nil
}

// templateTokens is what a supplier's chat template may add to a prompt, where
// the instrument does not say otherwise.
const templateTokens = 512

func (c *modelCall) reserve(ctx context.Context, id string, p budget.Prompt, at *grid.Attempt) (amount budget.Amounts, err error) {
	r := c.r
	prompt := r.estimator.Prompt(p, at.Start)
	scopes := r.scopesOn(c.instrument)
	swap := ""
	if c.in.Final {
		swap = r.allowance.take()
		defer func() {
			if err != nil {
				r.allowance.id = swap // it stands, or may, and must be given back
			}
		}()
	}
	for try := 0; ; try++ {
		amount = amounts(prompt+r.estimator.Output(at.Instrument, int64(at.MaxTokens), at.Start), c.price.NanoUSDPerUnit)
		r.asked = budget.Request{ID: id, Scopes: scopes, Amounts: amount, Lease: lease, Swap: swap}
		err = r.reserve(ctx, &r.asked)
		swap = r.asked.Swap // none if its lease ran out while a long tool worked
		denied, ok := errors.AsType[*budget.DeniedError](err)
		if !ok || try == shrinkTries {
			return amount, err
		}
		room, ok := shrink(denied, prompt, c.price.NanoUSDPerUnit)
		fits := r.estimator.MaxTokens(at.Instrument, room, at.Start)
		if !ok || fits < finalTokens || fits >= int64(at.MaxTokens) {
			return amount, err
		}
		at.MaxTokens = int(fits)
		c.rec.Shrunk = true
	}
}

// shrinkTries bounds how often a reservation is lowered because others were
// faster.
const shrinkTries = 4

// shrink says how many tokens of an answer would fit what the denial says is
// available; at least the floor, or none.
func shrink(d *budget.DeniedError, prompt, price int64) (int64, bool) {
	tokens, ok := d.Available(budget.MeterTokens)
	if money, has := d.Available(budget.MeterMoney); has {
		afford := tokensFor(money, price)
		if !ok || afford < tokens {
			tokens, ok = afford, true
		}
	}
	if requests, has := d.Available(budget.MeterRequests); has && requests < 1 {
		return 0, false
	}
	if !ok || tokens-prompt < finalTokens {
		return 0, false
	}
	return tokens - prompt, true
}

// End settles an attempt by what is known of it: void with proof when it was
// not billed, the usage when there is one, else the whole bound. The ledger does
// that work also when ctx has ended.
func (c *modelCall) End(ctx context.Context, at *grid.Attempt, v grid.Verdict) {
	r, a := c.r, c.open
	if a == nil {
		return
	}
	c.open = nil
	r.renewal.stop()
	rec := AttemptRecord{Reservation: a.id, ReservedTokens: a.amount.Tokens, RequestID: v.RequestID, Instrument: at.Instrument, Status: v.Status, Billed: string(v.Billed), Class: string(v.Class)}
	var err error
	owed := unsettled{id: a.id, how: chargeAll}
	switch {
	case v.Billed == grid.BilledNo:
		owed.how, owed.proof = voidAll, budget.Proof(v.Proof)
		err = r.ledger.Void(ctx, a.id, owed.proof)
	case v.Billed == grid.BilledYes && countsPrompt(v.Usage):
		u := v.Usage
		rec.Tokens = max(u.TotalTokens, u.PromptTokens+u.CompletionTokens)
		actual := amounts(rec.Tokens, c.price.NanoUSDPerUnit)
		rec.CostNanoUSD, rec.CostSource = actual.NanoUSD, CostEstimate
		c.counted(at, a.prompt, u)
		owed.how, owed.actual = settleUse, actual
		if err = r.ledger.SettleInto(ctx, a.id, actual, &r.settlement); err == nil {
			c.settled(&r.settlement)
		}
		c.rec.InputTokens += u.PromptTokens
		c.rec.OutputTokens += rec.Tokens - u.PromptTokens
		if u.CachedTokens != nil {
			c.rec.CachedTokens += *u.CachedTokens
		}
	default:
		rec.Tokens = a.amount.Tokens
		rec.CostNanoUSD, rec.CostSource = a.amount.NanoUSD, CostBound
		var s budget.Settlement
		if s, err = r.ledger.Charge(ctx, a.id); err == nil {
			c.settled(&s)
		}
	}
	if err != nil && !r.later.add(owed, err) {
		r.warn(c.in.Step, "a reservation could not be settled; it is charged when its lease runs out: "+err.Error())
	}
	c.rec.CostNanoUSD += rec.CostNanoUSD
	r.spends(rec.CostNanoUSD)
	c.rec.Attempts = append(c.rec.Attempts, rec)
	end := tracing.AttemptEnd{Status: v.Status, ErrorType: errorType(v), Billed: string(v.Billed), End: v.End, RequestID: v.RequestID}
	if rec.CostSource == CostEstimate {
		end.ReservedTokens, end.UsedTokens = a.amount.Tokens, rec.Tokens
	}
	a.span.End(end)
}

// countsPrompt tells whether a usage counts the prompt, since none is empty. One that does
// not says nothing of what the attempt costs.
func countsPrompt(u *grid.Usage) bool { return u != nil && u.TotalTokens > u.CompletionTokens }

func (c *modelCall) settled(s *budget.Settlement) {
	c.r.left(s.Left)
	c.r.crossed(s.Crossed)
	if s.Overrun && !s.Duplicate {
		o, err := c.r.a.overrun(c.base, c.r.ledger, BudgetOverrun{Step: c.in.Step}, *s, c.r.id, c.instrument.ID)
		emit(c.r, o)
		if err != nil {
			c.r.warn(c.in.Step, "an overrun could not be halted: "+err.Error())
		}
		c.r.warn(c.in.Step, c.instrument.ID+" used more than its bound; the excess is recorded as overrun, and the bound is raised")
	}
}

func (r *run) left(caps []budget.CapState) {
	caps = r.carve.open(caps)
	if len(caps) > 0 {
		r.leftNanoUSD, r.leftPercent = left(caps)
	}
}

// crossedBy announces what a refusal found on its way: leases of others that were over, and are charged now.
func (r *run) crossedBy(err error) {
	if d, ok := errors.AsType[*budget.DeniedError](err); ok {
		r.crossed(d.Crossed)
		d.Crossed = nil // it is said once
	}
}

func (r *run) crossed(cs []budget.Crossing) {
	for _, x := range cs {
		emit(r, CapCrossed{Cap: x.Cap, Percent: x.Percent})
	}
}

// denied tells the reader and the trace that a cap refused the step.
func (c *modelCall) denied(ctx context.Context, err error) {
	var d *budget.DeniedError
	if !errors.As(err, &d) {
		return
	}
	emit(c.r, BudgetDenied{Step: c.in.Step, Instrument: c.instrument.ID, Kind: string(d.Kind()), Detail: d.Error()})
	for _, v := range d.Violations {
		c.r.a.tracing.Denied(ctx, tracing.Denial{Instrument: c.instrument.ID, Step: c.in.Step, Kind: string(v.Kind), Cap: v.Cap,
			Scope: v.Scope.Kind, Meter: string(v.Meter), Limit: v.Limit, Requested: v.Requested})
	}
}

// errorType is the low-cardinality name of what went wrong with an attempt.
func errorType(v grid.Verdict) string {
	if v.Err == nil {
		return ""
	}
	return statusOr(v.Status, string(v.Class))
}

func statusOr(status int, class string) string {
	if status >= 400 {
		return strconv.Itoa(status)
	}
	return class
}

// renewal keeps the lease of a reservation while its call is in flight. A run has
// one call in flight at a time, so it has one renewal.
type renewal struct {
	mu    sync.Mutex
	timer *time.Timer
	id    string // "" while nothing is in flight
}

func (k *renewal) keep(l *budget.Ledger, id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.id = id
	if k.timer == nil {
		k.timer = time.AfterFunc(lease/3, func() { k.renew(l) })
		return
	}
	k.timer.Reset(lease / 3)
}

func (k *renewal) renew(l *budget.Ledger) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	// If this fails the call goes on: the lease runs out, the bound is charged,
	// and settling later gives the difference back.
	err := l.Renew(ctx, k.id, lease)
	if errors.Is(err, budget.ErrFinished) || errors.Is(err, budget.ErrUnknownReservation) {
		k.id = "" // for good
		return
	}
	k.timer.Reset(lease / 3)
}

func (k *renewal) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.id = ""
	if k.timer != nil {
		k.timer.Stop()
	}
}

// keeps reports whether the reservation may still stand.
func (k *renewal) keeps(id string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.id == id
}
