package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gridloop/gridloop/tools"
)

// park keeps the run for Resume and says what it waits for.
func (r *run) park() error {
	p := &Paused{Token: "paused_" + randomID(16), Err: r.cause, at: time.Now()}
	r.waits(p)
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	if r.a.closed {
		return ErrClosed
	}
	r.a.parked[p.Token] = r
	r.parked, r.paused = true, p
	return p
}

// waits collects what the run and the runs below it wait for.
func (r *run) waits(p *Paused) {
	if p.Err == nil {
		p.Err = r.cause
	}
	for _, op := range r.state.Pending {
		switch {
		case op.Await != nil:
			p.Reason, p.Detail = op.Await.Reason, op.Await.Detail
			if c := op.Await.Call; c != nil {
				p.Calls = append(p.Calls, r.pendingCall(*c))
			}
		case op.Run != nil && r.children[op.Key] != nil:
			r.children[op.Key].waits(p)
		}
	}
}

// waitsForMoney reports whether the run itself is parked for a top-up or a thaw,
// so that being resumed is what it waits for. A decision is not: it leaves the
// wait for a later top-up as it is.
func (r *run) waitsForMoney() bool {
	return slices.ContainsFunc(r.state.Pending, func(op Op) bool { return op.Await != nil && op.Await.Call == nil })
}

func (r *run) pendingCall(c CallAt) PendingCall {
	p := PendingCall{Key: c.Key, Step: c.Step}
	m, err := r.load(context.Background(), c.Message)
	if err == nil && c.Index < len(m.ToolCalls) {
		tc := m.ToolCalls[c.Index]
		p.ID, p.Name, p.Args = tc.ID, tc.Name, []byte(tc.Arguments)
	}
	return p
}

// unpark takes a parked run and gives it what was delivered.
func (a *Agent) unpark(token string, output *tools.Schema, o *runOptions) (*run, error) {
	if o.labels.Tenant != "" || o.labels.User != "" || o.labels.Tags != nil || o.id != "" || o.nanoUSD != 0 || o.tokens != 0 || o.steps != 0 || o.toolCalls != 0 || o.pin != "" || o.before.Len() > 0 || len(o.history) > 0 {
		return nil, errors.New("agent: Resume takes decisions and Stream only: labels, caps, limits, pin and history are those the run began with")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, ErrClosed
	}
	r := a.parked[token]
	if r == nil {
		return nil, ErrToken
	}
	if r.state.Version != LoopVersion {
		return nil, ErrVersion
	}
	if r.state.Fingerprint != a.print+outputPrint(output) {
		return nil, ErrFingerprint
	}
	var p Paused
	r.waits(&p)
	for _, d := range o.decisions {
		if !slices.ContainsFunc(p.Calls, func(c PendingCall) bool { return c.Key == d.key }) {
			return nil, fmt.Errorf("agent: call %q does not wait for a decision: take the calls from Paused.Calls", d.key)
		}
	}
	delete(a.parked, token)
	delete(a.ids, r.id)
	r.parked, r.paused = false, nil
	for _, d := range o.decisions {
		r.inbox[d.key] = d.d
	}
	r.thawed = r.waitsForMoney()
	r.resumed = true
	r.cause = nil
	r.output = output
	r.stream = o.stream
	return r, nil
}
