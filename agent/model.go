package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/router"
	"github.com/gridloop/gridloop/tracing"
)

// model carries out a model op: it routes the step, reserves for each attempt,
// calls, settles, and says what came of it. Whatever happens, the outcome has
// what the attempts cost, and no reservation of this op stays open.
func (r *run) model(ctx context.Context, op Op) (out Outcome) {
	wall := op.Left
	ctx, timer := newWallTimer(ctx, wall)
	defer timer.stop()
	c := &modelCall{r: r, op: op, in: op.Model, base: ctx, timer: timer, incarnation: r.a.incarnation(), started: time.Now()}
	c.rec = StepRecord{Run: r.id, Step: c.in.Step, Start: time.Now().UTC().Round(0), Kind: c.in.Kind, Final: c.in.Final, LeftNanoUSD: r.leftNanoUSD, LeftPercent: r.leftPercent}
	if op.Issue > 1 || r.resumed {
		c.chargeDead(ctx)
	}
	defer func() {
		// What the attempts cost is kept also when something plugged in panics.
		if p := recover(); p != nil {
			out = r.broken(op, p)
			out.Model.Record = c.rec
			c.closeSpan(nil, errPanicked)
		}
	}()
	defer c.sends()
	resp, err := c.call(ctx)
	for c.standsInLine(err) {
		if err = c.waitHeld(ctx, err); err == nil {
			resp, err = c.call(ctx)
		}
	}
	out = c.outcome(ctx, resp, err)
	c.closeSpan(resp, err)
	return out
}

var errPanicked = errors.New("agent: the call panicked")

// modelCall is one model op under way. It is the Observer of its attempts.
type modelCall struct {
	r           *run
	op          Op
	in          *ModelIn
	timer       *wallTimer
	incarnation string
	started     time.Time

	rec        StepRecord
	instrument grid.Instrument
	price      grid.Price
	maxTokens  int
	params     *grid.Params
	setting    setting // of params, as sent
	stream     bool
	open       *attempt // between Begin and End
	frozen     *freezeWait
	attempts   int
	reserved   int64 // nano-USD of the last attempt

	base    context.Context // of the run
	spanCtx context.Context // of the chat span
	span    *tracing.ChatSpan
	topup   *tracing.TopUpSpan
	inVain  bool      // the wait for what others hold is used up
	dry     time.Time // when the wait for a top-up began
	text    bool      // text of this step was delivered
}

// call routes the step and asks the market.
func (c *modelCall) call(ctx context.Context) (*grid.Response, error) {
	r, in := c.r, c.in
	refs := in.Messages
	if err := r.define(ctx); err != nil {
		return nil, err
	}
	r.look(ctx)
	r.tellNews(in.Step)
	// A run that cannot have its share does not begin, not even to say so.
	if err := r.carve.ensure(ctx); err != nil {
		c.denied(ctx, err)
		return nil, err
	}
	c.rec.Uncarved = r.carve.missing()
	// The final answer needs room for what came since the last step; where the caps
	// have none it leaves out the oldest turns.
	if err := r.ensureAllowance(ctx, in); err != nil && !in.Final {
		c.denied(ctx, err)
		return nil, err
	}
	if in.Final {
		if limit := r.finalRoom(in); limit > 0 {
			refs, c.rec.Trimmed = trim(refs, limit-answerBytes/2-len(r.format))
		}
	}
	d, err := c.route(ctx, bytesOf(refs))
	if err != nil {
		return nil, err
	}
	transcript, err := r.transcriptFor(ctx, refs, c.instrument.Echo)
	if err != nil {
		return nil, err
	}
	c.maxTokens = or(in.MaxTokens, r.state.Limits.MaxTokens)
	c.tune(ctx)
	c.stream, c.rec.StreamReason = c.streams()
	req := grid.Request{
		Instrument: d.Instrument, Transcript: transcript, Params: *c.params, MaxTokens: c.maxTokens,
		Observer: c, Notify: c.notice, Wait: in.Wait, Tenant: r.state.Labels.Tenant, Stream: c.stream,
	}
	if !in.NoTools {
		req.Tools = r.a.defs
	}
	if in.Schema && req.Params.ResponseFormat == nil {
		req.Params.ResponseFormat = r.format
	}
	if in.NoTools {
		req.Params.ToolChoice, req.Params.ParallelToolCalls = nil, nil
	}
	c.setting = settingOf(&req.Params)
	if req.Stream && r.shows(in) {
		req.OnDelta = c.delta
	}
	return r.client.Chat(ctx, &req)
}

// reasonReserved is why the answer at a limit is served where it is.
const reasonReserved = "reserved"

// route decides the instrument and records why.
func (c *modelCall) route(ctx context.Context, prompt int) (router.Decision, error) {
	r, in := c.r, c.in
	pin := in.Pin
	if in.Final && pin == "" && r.allowance.instrument != "" {
		pin = r.allowance.instrument // what the answer was reserved on
	}
	step := router.Step{
		Run: r.id, Index: in.Step, Kind: router.Kind(in.Kind), PromptBytes: int64(prompt),
		MaxTokens: int64(or(in.MaxTokens, r.state.Limits.MaxTokens)),
		Tools:     r.a.defs != nil && !in.NoTools, Schema: in.Schema, Final: in.Final, Pin: pin,
		Sticky: in.Sticky, Escalation: in.Escalation, Exclude: in.Exclude, Labels: routeLabels(&r.state),
	}
	mispriced := r.mispriced()
	if len(mispriced) > 0 {
		step.Exclude = append(slices.Clone(mispriced), in.Exclude...)
	}
	market := router.Snapshot{Instruments: r.market.instruments, LeftPercent: r.leftPercent}
	d := r.a.router.Decide(step, market)
	rec := &c.rec
	if pin != in.Pin {
		d.Reason, d.Why = reasonReserved, "the answer at a limit is given where it was reserved from the start"
	}
	rec.Policy, rec.Reason, rec.Rule, rec.Why, rec.Requested = d.Policy, d.Reason, d.Rule, d.Why, d.Requested
	rec.Candidates = make([]Candidate, len(d.Candidates))
	for i, k := range d.Candidates {
		rec.Candidates[i] = Candidate{k.Instrument, k.Skipped}
	}
	if d.Instrument == "" {
		if len(mispriced) > 0 {
			step.Exclude = in.Exclude
			if offer, ok := r.market.Find(r.a.router.Decide(step, market).Instrument); ok {
				if err := r.priced(offer, in.Step); err != nil {
					return d, err
				}
			}
		}
		step.PromptBytes, step.Exclude = 0, nil
		if r.a.router.Decide(step, market).Instrument != "" {
			// Only the size stands in the way: a limit, not an error.
			return d, fmt.Errorf("%w: %w: %s", ErrNoInstrument, grid.ErrTooLong, d.Why)
		}
		if in.Pin != "" {
			return d, fmt.Errorf("%w: pinned to %q: %s", ErrNoInstrument, in.Pin, d.Why)
		}
		return d, fmt.Errorf("%w: %s", ErrNoInstrument, d.Why)
	}
	offer, ok := r.market.Find(d.Instrument)
	if !ok {
		return d, fmt.Errorf("%w: the router chose %q, which the catalogue does not have", ErrNoInstrument, d.Instrument)
	}
	c.instrument, c.price = offer.Instrument, offer.Price
	r.watch.turn(DoingModel, offer.ID, time.Time{})
	rec.Instrument, rec.Family, rec.Tier = offer.ID, offer.Family, offer.Tier
	rec.PriceNanoUSD, rec.PriceSource = c.price.NanoUSDPerUnit, c.price.Source
	if !c.price.At.IsZero() {
		rec.PriceAge = time.Since(c.price.At)
	}
	emit(r, Routed{Step: in.Step, Instrument: d.Instrument, Reason: d.Reason, Why: d.Why, Requested: d.Requested, LeftNanoUSD: r.leftNanoUSD})
	r.a.tracing.RouteDecision(ctx, c.routing(d))
	return d, nil
}

func (c *modelCall) routing(d router.Decision) tracing.Routing {
	t := tracing.Routing{Step: c.in.Step, Instrument: d.Instrument, Family: c.rec.Family, Tier: c.rec.Tier, Route: c.routed(), Probability: d.Probability}
	names, able := make([]string, len(d.Candidates)), 0
	for _, k := range d.Candidates {
		if k.Skipped == "" {
			names[able] = k.Instrument
			able++
		}
	}
	skipped := able
	for _, k := range d.Candidates {
		if k.Skipped != "" {
			names[skipped] = k.Instrument
			skipped++
		}
	}
	t.Candidates, t.Skipped = names[:able:able], names[able:]
	return t
}

// look takes the market as it is, for all decisions of one step. Prices are
// fetched when an instrument has none.
func (r *run) look(ctx context.Context) {
	if r.market = r.a.look(); r.market.unpriced {
		r.a.prices.refresh(ctx, r.client)
		r.market = r.a.look()
	}
}

func routeLabels(s *State) map[string]string {
	if s.Labels.Tenant == "" && s.Labels.User == "" {
		return s.Labels.Tags
	}
	m := make(map[string]string, len(s.Labels.Tags)+2)
	for k, v := range s.Labels.Tags {
		m[k] = v
	}
	m["tenant"], m["user"] = s.Labels.Tenant, s.Labels.User
	return m
}

// streams says whether the answer is asked for as a stream, and why: only when
// somebody may see it as it is written.
func (c *modelCall) streams() (bool, StreamReason) {
	switch {
	case c.r.stream == StreamOn:
		return true, StreamAsked
	case c.r.stream == StreamOff:
		return false, StreamDeclined
	case c.r.events == nil:
		return false, StreamUnread
	case !c.r.shows(c.in):
		return false, StreamChecked
	}
	switch router.Kind(c.in.Kind) {
	case router.KindExtract, router.KindJudge, router.KindSummarize:
		return false, StreamKind
	}
	return true, StreamRead
}

// shows says whether text of a step may be shown before the step is done: an
// answer that is checked first is shown when it is accepted.
func (r *run) shows(in *ModelIn) bool { return r.events != nil && !in.Schema }

func (c *modelCall) delta(d grid.Delta) {
	if d.Discard {
		if c.text {
			emit(c.r, TextDiscarded{Step: c.in.Step})
		}
		c.text = false
		return
	}
	if d.Text != "" {
		c.text = true
		c.r.events.say(c.in.Step, d.Text)
	}
}

// notice passes on why a call takes its time. Waiting for a top-up is nobody's
// work: the run's wall clock stands still.
func (c *modelCall) notice(n grid.Notice) {
	r := c.r
	r.tellNews(c.in.Step)
	c.waits(n)
	switch n.Kind {
	case grid.NoticeTopUpWait:
		if c.topup == nil {
			c.timer.pause()
			c.dry = time.Now()
			r.watch.turn(DoingTopUp, n.Instrument, c.dry)
			_, c.topup = r.a.tracing.TopUpWait(c.chatCtx(), tracing.TopUpStart{Instrument: n.Instrument, Start: c.dry, Tries: n.Attempt})
		}
		emit(r, TopUpWait{Step: c.in.Step, Instrument: n.Instrument, Attempt: n.Attempt, Waited: n.Waited, Next: n.Delay, Position: n.Position, Estimate: n.Estimate})
	case grid.NoticeTopUpEnd:
		c.endTopUp(n.Class == "", n.Attempt)
		emit(r, TopUpDone{Step: c.in.Step, Instrument: n.Instrument, Waited: n.Waited, OK: n.Class == ""})
	case grid.NoticeExhausted:
		r.warn(c.in.Step, "the account's credits are used up: no instrument can be topped up until credits are added")
	case grid.NoticeRateWait:
		r.watch.turn(DoingRate, n.Instrument, time.Now())
		emit(r, RateWait{Step: c.in.Step, Instrument: n.Instrument, Delay: n.Delay})
	case grid.NoticeUnknownDetail:
		emit(r, UnknownRefusal{Step: c.in.Step, Instrument: n.Instrument, Status: n.Status, Class: string(n.Class), Detail: n.Detail})
		r.a.tracing.UnknownRefusal(c.chatCtx(), tracing.Refusal{Instrument: n.Instrument, Step: c.in.Step, Status: n.Status, TakenFor: string(n.Class), Detail: n.Detail})
	case grid.NoticeNoStream:
		c.stream, c.rec.StreamReason = false, StreamCuts
		r.warn(c.in.Step, n.Instrument+" breaks its streams off: for a while it is asked without streaming")
	case grid.NoticeRetry:
		r.watch.turn(DoingRetry, n.Instrument, time.Now())
		emit(r, Retrying{Step: c.in.Step, Instrument: n.Instrument, Attempt: n.Attempt, Status: n.Status, Class: string(n.Class), Delay: n.Delay})
		r.a.tracing.RetryScheduled(c.chatCtx(), tracing.Retry{Instrument: n.Instrument, Step: c.in.Step, Attempt: n.Attempt, ErrorType: statusOr(n.Status, string(n.Class)), Delay: n.Delay})
	}
}

func (c *modelCall) endTopUp(ok bool, tries int) {
	if c.topup == nil {
		return
	}
	c.timer.goOn()
	outcome := "timed_out"
	if ok {
		outcome = "settled"
	}
	c.topup.End(tracing.TopUpEnd{Outcome: outcome, Tries: tries, End: time.Now()})
	c.topup = nil
}

// outcome turns an answer or an error into data.
func (c *modelCall) outcome(ctx context.Context, resp *grid.Response, err error) Outcome {
	r := c.r
	out := &ModelOut{}
	o := Outcome{Model: out}
	c.endTopUp(err == nil, c.attempts)
	if resp != nil {
		c.rec.Model, c.rec.FinishReason, c.rec.Streamed = resp.Model, resp.FinishReason, resp.Streamed
		c.rec.Waited, c.rec.RetryWait, c.rec.RateWait = resp.Waited, resp.RetryWait, resp.RateWait
		c.rec.FirstDelta, c.rec.Supplier, c.rec.Quality = resp.FirstDelta, resp.Supplier, resp.Quality
	}
	c.rec.Took = time.Since(c.started)
	ge, failed := errors.AsType[*grid.Error](err)
	if failed {
		c.rec.Waited = ge.Waited
	}
	later, isLater := errors.AsType[*grid.TryLaterError](err)
	o.Waited = c.rec.Waited + c.rec.HeldWait
	c.rec.LeftNanoUSD, c.rec.LeftPercent = r.leftNanoUSD, r.leftPercent
	switch {
	case err == nil:
		ref, kerr := r.keep(context.WithoutCancel(ctx), resp.Message)
		if kerr != nil {
			r.blame(kerr)
			out.Failed = &Failure{Class: "blobs", Message: kerr.Error()}
			break
		}
		r.remember(ref, resp.Message)
		out.Message = &ref
	case frozenWhile(ctx) != nil:
		z := frozenWhile(ctx)
		r.blame(z)
		c.denied(ctx, z)
		out.Refused = &Refusal{Kind: RefusedFrozen, Instrument: c.instrument.ID, Detail: z.Error()}
	case overTime(ctx):
		o.OverTime = true
	case ctx.Err() != nil:
		o.Canceled = true
	case isLater:
		r.blame(err)
		out.Refused = &Refusal{Kind: RefusedTryLater, Instrument: c.instrument.ID, After: later.After, Detail: c.instrument.ID + " is dry and is being topped up"}
	case errors.Is(err, grid.ErrInstrumentDry):
		r.blame(err)
		out.Refused = &Refusal{Kind: RefusedTryLater, Instrument: c.instrument.ID, After: notByItself, Detail: c.instrument.ID + " is dry and is not topped up by itself"}
	case errors.Is(err, grid.ErrBroken):
		r.blame(err)
		out.Refused = &Refusal{Kind: RefusedBroken, Instrument: c.instrument.ID, After: max(time.Second, ge.RetryAfter), Detail: "most calls to " + c.instrument.ID + " fail"}
	case errors.Is(err, grid.ErrDry):
		r.blame(err)
		after := time.Second
		if failed {
			after = max(after, ge.RetryAfter)
		}
		out.Refused = &Refusal{Kind: RefusedTryLater, Instrument: c.instrument.ID, After: after, Detail: c.instrument.ID + " stayed dry for longer than the run may wait"}
	default:
		r.blame(err)
		out.Refused, out.Failed = c.refusal(err)
	}
	out.Record = c.rec
	if len(c.rec.Attempts) > 0 || out.Message != nil {
		emit(r, StepDone{Record: c.rec})
	}
	return o
}

// notByItself is longer than runs wait: they pause instead.
const notByItself = 24 * time.Hour

// refusal sorts an error: what the loop can answer, and what ends the run.
func (c *modelCall) refusal(err error) (*Refusal, *Failure) {
	var denied *budget.DeniedError
	var tooLong *grid.TooLongError
	var ge *grid.Error
	switch {
	case errors.As(err, &denied):
		kind := RefusalKind("")
		switch {
		case errors.Is(err, budget.ErrFrozen):
			kind = RefusedFrozen
		case errors.Is(err, budget.ErrTooBig):
			kind = RefusedTooBig
		case errors.Is(err, budget.ErrSpent):
			kind = RefusedSpent
		case errors.Is(err, budget.ErrHeld) && c.r.waitHelps(denied, c.in.Final):
			kind = RefusedHeld
		case errors.Is(err, budget.ErrHeld):
			kind = RefusedSpent
		default:
			return nil, &Failure{Class: "no_label", Message: denied.Error()}
		}
		return &Refusal{Kind: kind, Instrument: c.instrument.ID, Detail: denied.Error(), Waited: c.inVain && kind == RefusedHeld}, nil
	case errors.As(err, &tooLong):
		return &Refusal{Kind: RefusedTooLong, Instrument: c.instrument.ID, Detail: tooLong.Error()}, nil
	case errors.Is(err, ErrPriceOver):
		return nil, &Failure{Class: "price_over", Message: err.Error()}
	case errors.Is(err, ErrPriceUnknown):
		return nil, &Failure{Class: "price_unknown", Message: err.Error()}
	case errors.Is(err, ErrNoInstrument) && errors.Is(err, grid.ErrTooLong):
		return &Refusal{Kind: RefusedTooLong, Detail: err.Error()}, nil
	case errors.Is(err, ErrNoInstrument):
		return nil, &Failure{Class: "no_instrument", Message: err.Error()}
	case errors.Is(err, budget.ErrUnavailable):
		return &Refusal{Kind: RefusedStore, Instrument: c.instrument.ID, Detail: "the ledger's store cannot be reached"}, nil
	case errors.As(err, &ge):
		return nil, &Failure{Class: string(ge.Class), Message: ge.Error()}
	}
	return nil, &Failure{Class: "error", Message: err.Error()}
}

// chargeDead charges what earlier incarnations of this op left open: nobody
// knows whether they were sent, so they count in full until a receipt says less.
func (c *modelCall) chargeDead(ctx context.Context) {
	open, err := c.r.ledger.OpenReservations(ctx, c.op.Key+"/")
	if err != nil {
		c.r.blameOn(err)
		return
	}
	for _, o := range open {
		s, err := c.r.ledger.Charge(ctx, o.ID)
		c.r.blameOn(err)
		c.r.crossed(s.Crossed)
	}
}

func bytesOf(refs []*MessageRef) int {
	n := 0
	for _, ref := range refs {
		n += refBytes(ref)
	}
	return n
}
