package agent

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/tracing"
)

// statusBudget is the status of a call that a cap refused.
const statusBudget = "budget"

// heldPatience is how long a call waits for what other calls hold.
const heldPatience = 10 * time.Second

// toll is what a call of one tool, or of one agent, takes of the caps that count calls.
type toll struct {
	amounts budget.Amounts
	custom  []budget.Meter
}

// tolls are those of the agent's tools and of the agents that it calls.
func (a *Agent) fixTolls() {
	a.tolls = make(map[string]*toll)
	for _, t := range a.tools.All() {
		w := &toll{amounts: budget.Amounts{ToolCalls: 1}}
		uses := t.Uses()
		for _, name := range sortedKeys(uses) {
			m := budget.Custom(name)
			w.custom = append(w.custom, m)
			w.amounts = w.amounts.With(m, uses[name])
		}
		a.tolls[t.Name()] = w
	}
	for name := range a.agents {
		a.tolls[name] = &toll{amounts: budget.Amounts{ToolCalls: 1}}
	}
}

// counted reports whether a cap in force counts such a call. Where none does the
// ledger is not asked at all.
func (w *toll) counted(l *budget.Ledger) bool {
	if l.Counts(budget.MeterToolCalls) {
		return true
	}
	for _, m := range w.custom {
		if l.Counts(m) {
			return true
		}
	}
	return false
}

// paid is a reservation for one call.
type paid struct {
	id      string // "" when no cap counts the call
	amounts budget.Amounts
	waited  time.Duration // for what others held
}

// unpaid is why a call may not run.
type unpaid struct {
	refusal *Refusal // the run has to pause, or to end; nil: the model is told
	text    string
	cancel  bool // the run was cancelled meanwhile
}

// pay reserves a call before it runs. Its reservation is never dispatched on by
// another incarnation: what a dead one left open counts.
func (r *run) pay(ctx context.Context, op Op, name string, step int) (p paid, no *unpaid) {
	w := r.a.tolls[name]
	if w == nil || !w.counted(r.ledger) {
		return paid{}, nil
	}
	if op.Issue > 1 || r.resumed {
		if err := r.countDead(ctx, op.Key); err != nil {
			return paid{}, r.refuseCall(ctx, err, name, step)
		}
	}
	p = paid{id: op.Key + "/" + r.a.incarnation(), amounts: w.amounts}
	scopes := make([]budget.Scope, len(r.scopes), len(r.scopes)+1)
	copy(scopes, r.scopes)
	req := budget.Request{ID: p.id, Scopes: append(scopes, budget.Scope{Kind: budget.ScopeTool, Name: name}), Amounts: p.amounts, Lease: lease}
	grant, err := r.ledger.Reserve(ctx, req)
	r.crossedBy(err)
	if errors.Is(err, budget.ErrHeld) {
		grant, p.waited, err = r.payLater(ctx, req, op, step, err)
	}
	if err != nil {
		// The answer may have been lost, not the reservation: nothing runs on it.
		r.later.add(unsettled{id: p.id, how: voidAll, proof: budget.ProofNeverDispatched}, err)
		return p, r.refuseCall(ctx, err, name, step)
	}
	r.crossed(grant.Crossed)
	return p, nil
}

// payLater waits for what other calls hold, for a while.
func (r *run) payLater(ctx context.Context, req budget.Request, op Op, step int, denied error) (budget.Grant, time.Duration, error) {
	emit(r, HeldWait{Step: step, Detail: denied.Error()})
	limit := heldPatience
	if op.Left > 0 {
		limit = min(limit, op.Left)
	}
	wctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	grant, err := r.ledger.ReserveWait(wctx, req)
	if d := (*budget.DeniedError)(nil); err != nil && !errors.As(err, &d) && ctx.Err() == nil && wctx.Err() != nil {
		err = denied // it never came to ask
	}
	r.crossedBy(err)
	waited := time.Since(began)
	emit(r, HeldDone{Step: step, Waited: waited, OK: err == nil})
	return grant, waited, err
}

// countDead counts the calls that earlier incarnations of an op may have begun.
func (r *run) countDead(ctx context.Context, key string) error {
	open, err := r.ledger.OpenReservations(ctx, key+"/")
	if err != nil {
		return err
	}
	for _, o := range open {
		s, err := r.ledger.Charge(ctx, o.ID)
		if err != nil {
			return err
		}
		r.crossed(s.Crossed)
	}
	return nil
}

// settle counts a call that began, and gives back what was kept for one that did not.
func (r *run) settle(ctx context.Context, p paid, began bool) {
	if p.id == "" {
		return
	}
	owed := unsettled{id: p.id, how: settleUse, actual: p.amounts}
	var err error
	if began {
		var s budget.Settlement
		if s, err = r.ledger.Settle(ctx, p.id, p.amounts); err == nil {
			r.crossed(s.Crossed)
		}
	} else {
		owed.how, owed.proof = voidAll, budget.ProofNeverDispatched
		err = r.ledger.Void(ctx, p.id, owed.proof)
	}
	if err != nil && !r.later.add(owed, err) {
		r.blameOn(fmt.Errorf("agent: a tool call could not be settled; it is counted when its lease runs out: %w", err))
	}
}

// refuseCall sorts why a call was not reserved: most refusals are an answer for the
// model, as the run has other ways; a freeze and a store that is away pause the run;
// a label that a cap wants is for the caller of the run to mend.
func (r *run) refuseCall(ctx context.Context, err error, name string, step int) *unpaid {
	if ctx.Err() != nil {
		return &unpaid{cancel: true}
	}
	var d *budget.DeniedError
	if !errors.As(err, &d) {
		r.blame(err)
		if errors.Is(err, budget.ErrUnavailable) {
			return &unpaid{refusal: &Refusal{Kind: RefusedStore, Detail: "the ledger's store cannot be reached"}}
		}
		return &unpaid{text: "not run: whether the budget allows this call could not be found out. Go on without it."}
	}
	emit(r, BudgetDenied{Step: step, Tool: name, Kind: string(d.Kind()), Detail: d.Error()})
	for _, v := range d.Violations {
		r.a.tracing.Denied(ctx, tracing.Denial{Step: step, Kind: string(v.Kind), Cap: v.Cap, Scope: v.Scope.Kind,
			Meter: string(v.Meter), Limit: v.Limit, Requested: v.Requested})
	}
	switch d.Kind() {
	case budget.KindFrozen:
		r.blame(d)
		return &unpaid{refusal: &Refusal{Kind: RefusedFrozen, Detail: d.Error()}}
	case budget.KindNoLabel:
		r.blame(d)
		return &unpaid{refusal: &Refusal{Kind: RefusedNoLabel, Detail: d.Error()}}
	}
	return &unpaid{text: overBudget(d)}
}

// overBudget is a denial in words for the model. It names no tenant, user or run:
// they are none of its business.
func overBudget(d *budget.DeniedError) string {
	var b strings.Builder
	b.WriteString("not run: the budget refused this call. ")
	for _, v := range d.Violations {
		whose := "this " + strings.TrimPrefix(v.Scope.Kind, scopeTag)
		if v.Scope.Kind == budget.ScopeTool || v.Scope.Kind == budget.ScopeAgent {
			whose = v.Scope.String()
		}
		fmt.Fprintf(&b, "The limit of %s for %s, per %s, ", quantity(v.Meter, v.Limit), whose, v.Window)
		switch {
		case v.Kind == budget.KindTooBig:
			fmt.Fprintf(&b, "is less than the %s of one call. ", quantity(v.Meter, v.Requested))
		case v.Kind == budget.KindHeld:
			b.WriteString("is taken by calls that are under way. ")
		case v.Settled < v.Limit:
			fmt.Fprintf(&b, "has only %s left for the %s of one call,%s. ", quantity(v.Meter, v.Limit-v.Settled), quantity(v.Meter, v.Requested), reset(v.ResetAt))
		default:
			b.WriteString("is used up" + reset(v.ResetAt) + ". ")
		}
	}
	if d.Kind() == budget.KindHeld {
		b.WriteString("You may try it once more later, or go on without it.")
	} else {
		b.WriteString("Do not try it again before that; go on without it, and say what was left out.")
	}
	return b.String()
}

// quantity is an amount of a meter in words.
func quantity(m budget.Meter, n int64) string {
	if m == budget.MeterMoney {
		return budget.FormatUSD(n)
	}
	return strconv.FormatInt(n, 10) + " " + strings.ReplaceAll(strings.TrimPrefix(string(m), "custom:"), "_", " ")
}

func reset(at time.Time) string {
	if at.IsZero() {
		return " and does not reset"
	}
	return " until " + at.UTC().Format(time.RFC3339)
}

// Countable reports a cap that nothing an agent does would ever count, as a
// [*budget.FieldError]: model calls count money, tokens and requests, and belong to
// an instrument, its family and its tier; tool calls count tool_calls and the meters
// of [tools.Uses], and belong to a tool. Account, tenant, user, run, agent and tags
// are shared by both. An agent refuses such caps in Config, in the file and in its
// own ledger; for a ledger that agents share, give it to budget.Config.Check, unless
// the service reserves under such scopes itself.
func Countable(c budget.Cap) error {
	ofTool := c.Meter == budget.MeterToolCalls || strings.HasPrefix(string(c.Meter), "custom:")
	model := ""
	for _, kind := range []string{scopeInstrument, scopeFamily, scopeTier} {
		if model == "" && c.For.Names(kind) {
			model = kind
		}
	}
	tool := c.For.Names(budget.ScopeTool)
	never := func(field, problem, fix string) error {
		return &budget.FieldError{Field: field, Problem: problem, Fix: fix}
	}
	switch {
	case tool && model != "":
		return never("For", "a call of a tool is on no "+model+", so this cap would never count", "write one cap for the tool and one for the "+model)
	case tool && !ofTool:
		return never("Meter", fmt.Sprintf("no call of a tool uses %s, so this cap would never count", c.Meter),
			"cap tool_calls or a meter of tools.Uses; what an agent spends that is called as a tool is capped for its agent, such as \"agent researcher\"")
	case model != "" && ofTool:
		return never("Meter", fmt.Sprintf("no call of a %s uses %s, so this cap would never count", model, c.Meter),
			"cap money, tokens or requests of the "+model+", or "+string(c.Meter)+" for a tool, agent, tenant, user, run, tag or the account")
	}
	return nil
}
