package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/tools"
	"github.com/gridloop/gridloop/tracing"
)

// statusDenied is the status of a call that a person refused.
const statusDenied = "denied"

// tool carries out a tool op: it asks for approval if the tool wants it, and
// runs the call at most once.
func (r *run) tool(ctx context.Context, op Op) Outcome {
	in := op.Tool
	m, err := r.load(ctx, in.Message)
	if err != nil || in.Index >= len(m.ToolCalls) {
		r.blame(fmt.Errorf("agent: tool call %s cannot be read: %w", op.Key, err))
		n := note(callID(op), "not run: the call could not be read")
		return Outcome{Tool: &ToolOut{Message: &n, Status: string(tools.StatusError)}}
	}
	call := m.ToolCalls[in.Index]
	args := json.RawMessage(call.Arguments)
	t, known := r.a.tools.Lookup(call.Name)
	approver := ""
	switch {
	case in.Decision != nil && !in.Decision.Approved:
		return r.answer(ctx, op, call, 0, tools.Result{Status: statusDenied, Content: denial(*in.Decision)})
	case in.Decision != nil:
		approver = in.Decision.By
	case t.AsksApproval() && t.Check(args) == nil:
		// Calls that cannot run anyway are not worth a person's time.
		if needed, err := t.Approval(ctx, args); needed || err != nil {
			emit(r, ToolAsked{Step: in.Step, Call: PendingCall{Key: op.Key, ID: call.ID, Name: call.Name, Args: args, Step: in.Step}})
			return Outcome{Tool: &ToolOut{Ask: true}}
		}
	}
	p, no := r.pay(ctx, op, call.Name, in.Step)
	if no != nil {
		return r.unpaid(ctx, op, call, p, no)
	}
	emit(r, ToolStarted{Step: in.Step, Key: op.Key, ID: call.ID, Name: call.Name, Args: args, Parallel: in.Parallel})
	s := &r.state
	start := time.Now()
	ctx, span := r.a.tracing.Tool(ctx, tracing.ToolStart{
		Agent: s.Agent, Name: call.Name, Unknown: !known, Description: describe(t, known), CallID: call.ID, Step: in.Step, Index: in.Index,
		Parallel: in.Parallel, Approval: approval(in.Decision), Arguments: func() string { return call.Arguments },
	})
	ctx = tools.WithCall(ctx, tools.Call{
		Key: op.Key, ID: call.ID, Tool: call.Name, Run: s.Run, Agent: s.Agent, Tenant: s.Labels.Tenant, User: s.Labels.User,
		Tags: s.Labels.Tags, Approver: approver, Step: in.Step, Index: in.Index, Issue: op.Issue,
	})
	callCtx := ctx
	if op.Left > 0 && op.Left < t.Timeout() { // else the tool's own limit comes first
		var cancel context.CancelFunc
		callCtx, cancel = context.WithTimeoutCause(ctx, op.Left, errOverTime)
		defer cancel()
	}
	res := r.a.tools.Call(callCtx, call.Name, args)
	r.settle(ctx, p, res.Done != nil)
	span.End(tracing.ToolEnd{Status: string(res.Status), Abandoned: res.Abandoned, Result: func() string { return res.Content }})
	out := r.answer(context.WithoutCancel(ctx), op, call, time.Since(start), res)
	out.Waited = p.waited
	out.Canceled = ctx.Err() != nil
	out.OverTime = !out.Canceled && overTime(callCtx)
	return out
}

// unpaid is the outcome of a call that was not reserved.
func (r *run) unpaid(ctx context.Context, op Op, call grid.ToolCall, p paid, no *unpaid) Outcome {
	out := Outcome{Canceled: no.cancel}
	switch {
	case no.refusal != nil:
		out.Tool = &ToolOut{Status: statusBudget, Refused: no.refusal}
	case !no.cancel:
		out = r.answer(ctx, op, call, 0, tools.Result{Status: statusBudget, Content: no.text})
	}
	out.Waited = p.waited
	return out
}

// answer keeps the result as the call's tool message.
func (r *run) answer(ctx context.Context, op Op, call grid.ToolCall, took time.Duration, res tools.Result) Outcome {
	out := &ToolOut{Status: string(res.Status), Ends: res.Ends, Abandoned: res.Abandoned}
	ref, err := r.keep(ctx, grid.ToolMessage(call.ID, res.Content))
	if err != nil {
		r.blame(err)
		ref = note(call.ID, "the result could not be kept")
		out.Status = string(tools.StatusError)
	}
	out.Message = &ref
	emit(r, ToolFinished{Step: op.Tool.Step, Key: op.Key, ID: call.ID, Name: call.Name, Status: out.Status,
		Content: res.Content, Duration: took, Abandoned: res.Abandoned})
	return Outcome{Tool: out}
}

func denial(d Decision) string {
	by := "a person"
	if d.By != "" {
		by = d.By
	}
	return sentence("not run: "+by+" refused this call", d.Reason) + ". Do not try it again; go on without it."
}

func approval(d *Decision) string {
	switch {
	case d == nil:
		return "auto"
	case d.Approved:
		return "granted"
	}
	return statusDenied
}

func describe(t tools.Tool, known bool) string {
	if !known {
		return ""
	}
	return t.Description()
}
