package agent

import (
	"context"
	"errors"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/router"
)

// allowance is what a run keeps back on every cap for the answer at a limit: an
// idle reservation, never dispatched, that is swapped for the call's own.
type allowance struct {
	id         string
	instrument string
	prompt     int64 // tokens of the prompt that it pays for
	amount     budget.Amounts
	scopes     []budget.Scope
}

// answerBytes is room for what the final question adds: the frame of the
// request, the loop's own question, and the notes on calls that were not run.
const answerBytes = 1024

// take gives the reservation away; it is swapped or gone.
func (w *allowance) take() string {
	id := w.id
	w.id = ""
	return id
}

// finalRoom is how many bytes the answer at a limit may have: what the allowance
// pays for, and what its instrument takes. Zero says that there is no allowance, or
// that it pays for all of the prompt.
func (r *run) finalRoom(in *ModelIn) int {
	w := &r.allowance
	if w.id == "" {
		return 0
	}
	inst, ok := r.client.Catalogue().Get(w.instrument)
	room := 0
	if !ok || r.estimator.Prompt(r.answerPrompt(in, inst, answerBytes/2), time.Now()) > w.prompt {
		room = int(max(w.prompt-templateOf(inst), 1))
	}
	if ok && inst.MaxInput > 0 && (room == 0 || int64(room) > inst.MaxInput*bytesPerToken) {
		room = int(inst.MaxInput * bytesPerToken)
	}
	return room
}

// answerPrompt is the prompt of an answer at a limit, with more bytes for what is
// not yet in the history.
func (r *run) answerPrompt(in *ModelIn, inst grid.Instrument, more int) budget.Prompt {
	p := budget.Prompt{Instrument: inst.ID, Bytes: int64(bytesOf(in.Messages) + len(r.format) + more), Template: templateOf(inst)}
	k := r.known(inst.ID)
	if beyond, ok := k.beyond(in.Messages, inst.Echo); ok {
		p.Counted, p.CountedBytes, p.NewBytes = k.tokens, k.body, beyond+int64(more)
	}
	return p
}

// bytesPerToken is how the router reckons whether a prompt fits; a prompt that is
// cut to fit is cut by the same measure.
const bytesPerToken = 3

// ensureAllowance makes the allowance pay for the history as it is now, and no
// longer for much more than that: once the market has counted a prompt its bound
// shrinks. If the caps have no room for a larger one the old one stands, and the
// final answer will leave out the oldest turns; with none at all the run cannot
// begin.
func (r *run) ensureAllowance(ctx context.Context, in *ModelIn) error {
	w, now := &r.allowance, time.Now()
	if offer, ok := r.market.Find(w.instrument); ok && w.id != "" {
		need := r.estimator.Prompt(r.answerPrompt(in, offer.Instrument, answerBytes), now)
		if w.prompt >= need && w.prompt-r.slack(need) <= 2*need {
			return nil
		}
	}
	d := r.a.router.Decide(router.Step{
		Run: r.id, Index: in.Step, Kind: router.KindText, PromptBytes: int64(bytesOf(in.Messages) + len(r.format)), MaxTokens: finalTokens,
		Schema: in.Schema, Final: true, Pin: in.Pin, Sticky: in.Sticky, Exclude: r.mispriced(), Labels: routeLabels(&r.state),
	}, router.Snapshot{Instruments: r.market.instruments, LeftPercent: r.leftPercent})
	inst, ok := r.market.Find(d.Instrument)
	if !ok {
		return nil // nothing can give a final answer; the step itself will say so
	}
	need := r.estimator.Prompt(r.answerPrompt(in, inst.Instrument, answerBytes), now)
	output := r.estimator.Output(inst.ID, finalTokens, now)
	for _, room := range []int64{need + r.slack(need), need} {
		err := r.reserveAllowance(ctx, room, inst.ID, r.scopesOn(inst.Instrument), amounts(room+output, inst.Price.NanoUSDPerUnit))
		if err == nil {
			return nil
		}
		if !errors.Is(err, budget.ErrDenied) {
			return err
		}
		if w.id == "" && room == need {
			return err
		}
	}
	return nil
}

// slack is what the allowance has beyond today's history, so that it need not
// grow at every step: much while there is plenty, little when every cent may
// decide whether another step fits.
func (r *run) slack(tokens int64) int64 {
	if r.leftPercent > 50 {
		return max(tokens/4, 4096)
	}
	return tokens / 8
}

func (r *run) reserveAllowance(ctx context.Context, room int64, instrument string, scopes []budget.Scope, amount budget.Amounts) error {
	w, req := &r.allowance, &r.asked
	*req = budget.Request{
		ID: r.id + "/answer/" + r.a.incarnation(), Scopes: scopes, Amounts: amount,
		Lease: allowanceLease(r.state.Limits), Idle: true, Swap: w.id,
	}
	err := r.reserve(ctx, req)
	w.id = req.Swap
	if err != nil {
		r.later.add(unsettled{id: req.ID, how: releaseAll}, err)
		return err
	}
	w.id, w.instrument, w.prompt, w.amount, w.scopes = req.ID, instrument, room, amount, scopes
	r.left(r.grant.Left)
	return nil
}

// releaseAllowance gives the allowance back: the run has ended or is parked.
func (r *run) releaseAllowance(ctx context.Context) {
	if id := r.allowance.take(); id != "" {
		r.release(ctx, id)
	}
}

// release gives an idle reservation back, later if it cannot be done now. False says
// that it still stands.
func (r *run) release(ctx context.Context, id string) bool {
	err := r.ledger.Release(ctx, id)
	if err == nil || errors.Is(err, budget.ErrUnknownReservation) {
		return true
	}
	if !r.later.add(unsettled{id: id, how: releaseAll}, err) {
		r.blameOn(err)
	}
	return false
}

// waitHelps reports whether a denial of kind held can turn into a grant when
// other runs settle. What this run and those above it keep back for their own
// answers never does: waiting for it would be waiting for oneself. The answer
// itself takes the place of what its own run keeps back.
func (r *run) waitHelps(d *budget.DeniedError, answer bool) bool {
	for _, v := range d.Violations {
		own := int64(0)
		for at := r; at != nil; at = at.parent {
			if answer && at == r {
				continue
			}
			if w := &at.allowance; w.id != "" && slices.Contains(w.scopes, v.Scope) || w.id != "" && v.Scope.Kind == budget.ScopeAccount {
				own += w.amount.Get(v.Meter)
			}
		}
		if v.Settled+own+v.Requested > v.Limit {
			return false
		}
	}
	return true
}

// tokensFor is how many tokens money buys at a price.
func tokensFor(nanoUSD, perUnit int64) int64 {
	if perUnit <= 0 {
		return math.MaxInt64
	}
	if nanoUSD <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(nanoUSD), 1_000_000)
	if hi >= uint64(perUnit) {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, uint64(perUnit))
	return int64(min(q, math.MaxInt64))
}
