package agent

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/tools"
)

// sub carries out a run op: a whole run of another agent, with its own State and
// transcript, that spends from the caps of every run above it. False means that
// it waits for somebody outside, and with it the whole tree.
func (r *run) sub(ctx context.Context, op Op) (Outcome, bool) {
	m, err := r.load(ctx, op.Run.Message)
	if err != nil || op.Run.Index >= len(m.ToolCalls) {
		n := note(callID(op), "not run: the call could not be read")
		return Outcome{Run: &RunOut{Message: &n, Status: string(tools.StatusError)}}, true
	}
	call := m.ToolCalls[op.Run.Index]
	child, problem := r.child(ctx, op, call)
	if problem != "" {
		return r.subAnswer(ctx, call.ID, problem, &RunOut{Status: string(tools.StatusInvalidArguments)}), true
	}
	var p paid
	if child.state.Phase == phaseStart {
		// It is counted when it begins: a call that waited for its agent's own calls
		// while holding a place among them could wait for itself.
		var no *unpaid
		if p, no = r.pay(ctx, op, call.Name, op.Run.Step); no == nil {
			var waited time.Duration
			waited, no = r.beginChild(ctx, op, child, call.Name)
			p.waited += waited
			r.settle(ctx, p, no == nil)
		}
		if no != nil {
			r.dropChild(op.Key)
			return r.unpaidSub(ctx, call.ID, p, no), true
		}
	}
	err = child.loop(ctx)
	s := &child.state
	child.retire(ctx, err)
	if errors.Is(err, ErrParked) {
		return Outcome{}, false
	}
	r.dropChild(op.Key)
	out := &RunOut{Status: string(tools.StatusOK), Stop: s.Stop, Reason: s.Reason, Totals: s.Totals, Steps: s.Steps}
	text := ""
	if s.Answer != nil {
		if m, err := child.load(ctx, *s.Answer); err == nil {
			text = m.Text()
		}
	}
	if verr := child.verdict(ctx, err); verr != nil {
		out.Status = string(tools.StatusError)
	}
	answer := r.subAnswer(context.WithoutCancel(ctx), call.ID, s.toldAbove(text), out)
	answer.Waited = p.waited + s.Waited
	answer.Canceled = ctx.Err() != nil
	return answer, true
}

func (r *run) dropChild(key string) {
	r.mu.Lock()
	delete(r.children, key)
	r.mu.Unlock()
}

func (r *run) unpaidSub(ctx context.Context, callID string, p paid, no *unpaid) Outcome {
	out := Outcome{Canceled: no.cancel}
	switch {
	case no.refusal != nil:
		out.Run = &RunOut{Status: statusBudget, Refused: no.refusal}
	case !no.cancel:
		out = r.subAnswer(ctx, callID, no.text, &RunOut{Status: statusBudget})
	}
	out.Waited = p.waited
	return out
}

func (r *run) subAnswer(ctx context.Context, callID, text string, out *RunOut) Outcome {
	ref, err := r.keep(ctx, grid.ToolMessage(callID, text))
	if err != nil {
		ref = note(callID, "the result could not be kept")
	}
	out.Message = &ref
	return Outcome{Run: out}
}

// child finds the run of an op that parked, or makes it.
func (r *run) child(ctx context.Context, op Op, call grid.ToolCall) (c *run, problem string) {
	r.mu.Lock()
	c = r.children[op.Key]
	r.mu.Unlock()
	if c != nil {
		r.mu.Lock()
		c.inbox, c.thawed, c.resumed = r.inbox, c.waitsForMoney(), true
		r.mu.Unlock()
		return c, ""
	}
	var in struct {
		Task string `json:"task"`
	}
	if err := json.Unmarshal([]byte(call.Arguments), &in); err != nil || in.Task == "" {
		return nil, `the arguments do not fit: give {"task": "..."} with all that the agent needs to know. Call again.`
	}
	a := r.a.agents[op.Name]
	s := &r.state
	limits := a.limits
	if op.Left > 0 && (limits.Wall == 0 || limits.Wall > op.Left) {
		limits.Wall = op.Left // its work is work of the runs above it
	}
	c = &run{a: a, ledger: r.ledger, estimator: r.estimator, later: r.later, blobs: r.blobs, strictMoney: r.strictMoney || a.strictMoney, inbox: r.inbox, client: r.client, parent: r}
	c.state = State{
		Version: LoopVersion, Agent: a.cfg.Name, Fingerprint: a.print, Run: keyRun(op.Key), Limits: limits, Labels: s.Labels,
		Kind: string(a.kind(nil)), Parents: append(append([]string{}, s.Parents...), s.Run),
	}
	if err := c.write(ctx, in.Task, &runOptions{}); err != nil {
		return nil, "the agent could not start"
	}
	c.caps = ownCaps(c.state.Run, a.limits.RunNanoUSD, a.limits.RunTokens)
	c.ready()
	c.carveFor(a.share)
	r.mu.Lock()
	if r.children == nil {
		r.children = make(map[string]*run)
	}
	r.children[op.Key] = c
	r.mu.Unlock()
	return c, ""
}

// keyRun makes an op key a run id: keys of the child's ops are built on it.
func keyRun(key string) string {
	b := []byte(key)
	for i := range b {
		if b[i] == '/' {
			b[i] = '.'
		}
	}
	return string(b)
}
