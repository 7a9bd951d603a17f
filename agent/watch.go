package agent

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// LiveRun is a run of this process as it stood when [Agent.Live] looked. It holds
// no content: names, numbers and times only.
type LiveRun struct {
	ID     string
	Agent  string
	Parent string // the run that called this one's agent; "" at the root
	Labels Labels // of the caller: not to be changed
	Step   int    // of the op under way, or of the last one
	Began  time.Time
	// SpentNanoUSD is what the ledger counts for this run so far, with the runs that
	// it called, before receipts.
	SpentNanoUSD int64
	// Doing is what the run does or waits for now; empty between two ops.
	Doing []Doing
	// Paused says why the run is parked; "" while it is under way.
	Paused PauseReason

	cancel func(error)
}

// Doing is one thing that a run does or waits for.
type Doing struct {
	What  Activity
	Name  string // the instrument, tool or agent; "" before the step is routed
	Since time.Time
}

// Activity says what a run is at.
type Activity string

// What a run may be doing, or waiting for. A paused run has the word of its
// [PauseReason].
const (
	DoingModel  Activity = "model"  // an instrument's answer
	DoingTool   Activity = "tool"   // a tool call
	DoingAgent  Activity = "agent"  // a run of another agent
	DoingVerify Activity = "verify" // the check of an answer
	DoingTopUp  Activity = "topup"  // a dry instrument's balance
	DoingRetry  Activity = "retry"  // the pause before the next try
	DoingRate   Activity = "rate"   // a rate limit, or a place among those under way
	DoingStore  Activity = "store"  // the ledger's answer
	DoingHeld   Activity = "held"   // a cap that calls of others hold
	DoingBroken Activity = "broken" // an instrument that fails
)

// Cancel ends the run with this cause, and all of the tree that it belongs to: calls
// in flight settle, tools are told by their context, and the error beside the result
// has the cause. A paused run is forgotten: its token is not accepted any more. Nil
// is [context.Canceled]. It does not wait, and a run that has ended stays so.
func (l LiveRun) Cancel(cause error) {
	if l.cancel != nil {
		l.cancel(cause)
	}
}

// Live lists the agent's runs in this process, oldest first, those of agents that
// they called behind them: under way, and paused. Asking costs the runs nothing that
// they would notice.
func (a *Agent) Live() []LiveRun {
	type root struct {
		r      *run
		paused *Paused
		cancel func(error)
	}
	var roots []root
	a.mu.Lock()
	for r, cancel := range a.active {
		roots = append(roots, root{r, nil, cancel})
	}
	for token, r := range a.parked {
		roots = append(roots, root{r, r.paused, func(error) { a.forget(token) }})
	}
	a.mu.Unlock()
	slices.SortFunc(roots, func(x, y root) int {
		return cmp.Or(x.r.watch.begun().Compare(y.r.watch.begun()), cmp.Compare(x.r.id, y.r.id))
	})
	var out []LiveRun
	for _, t := range roots {
		out = t.r.live(out, t.paused, t.cancel)
	}
	return out
}

// live adds the run, and those that it called, as they stand.
func (r *run) live(out []LiveRun, paused *Paused, cancel func(error)) []LiveRun {
	l := LiveRun{ID: r.id, Agent: r.a.cfg.Name, Labels: r.labels, cancel: cancel}
	if r.parent != nil {
		l.Parent = r.parent.id
	}
	r.watch.read(&l)
	if paused != nil {
		l.Paused = paused.Reason
		l.Doing = nil
		if len(paused.Calls) == 0 {
			l.Doing = append(l.Doing, Doing{What: Activity(paused.Reason), Since: paused.at})
		}
		for _, c := range paused.Calls {
			l.Doing = append(l.Doing, Doing{What: Activity(paused.Reason), Name: c.Name, Since: paused.at})
		}
	}
	out = append(out, l)
	r.mu.Lock()
	called := make([]*run, 0, len(r.children))
	for _, c := range r.children {
		called = append(called, c)
	}
	r.mu.Unlock()
	slices.SortFunc(called, func(x, y *run) int { return cmp.Compare(x.id, y.id) })
	for _, c := range called {
		out = c.live(out, paused, cancel)
	}
	return out
}

// forget drops a parked run.
func (a *Agent) forget(token string) {
	a.mu.Lock()
	r := a.parked[token]
	if r != nil {
		delete(a.parked, token)
		delete(a.ids, r.id)
	}
	a.mu.Unlock()
	if r == nil {
		return // it was resumed, or the agent was shut down
	}
	ctx, done := context.WithTimeout(context.Background(), settleTime)
	defer done()
	// A parked run holds nothing. If this fails, the counts of a run that spends no more
	// stay for as long as the store keeps any.
	_ = r.forget(ctx)
}

// watch is what others may see of a run under way. Writing it is a few stores under a
// lock that nobody else wants, and allocates nothing.
type watch struct {
	mu    sync.Mutex
	began time.Time
	step  int
	spent int64
	doing []activity // slots: a model op has the first, for it runs alone
	first [1]activity
}

type activity struct {
	Doing
	on bool
}

// begin notes an op and returns its slot.
func (w *watch) begin(op *Op, at time.Time) int {
	step, what, name := op.shown()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.began.IsZero() {
		w.began = at
	}
	if step >= 0 {
		w.step = step
	}
	if w.doing == nil {
		w.doing = w.first[:0]
	}
	slot := slices.IndexFunc(w.doing, func(a activity) bool { return !a.on })
	if slot < 0 {
		slot = len(w.doing)
		w.doing = append(w.doing, activity{})
	}
	w.doing[slot] = activity{Doing{what, name, at}, true}
	return slot
}

func (w *watch) end(slot int) {
	w.mu.Lock()
	w.doing[slot].on = false
	w.mu.Unlock()
}

// turn says that the model op under way is now at something else. A zero time leaves
// the one that is there.
func (w *watch) turn(what Activity, name string, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.doing) == 0 {
		return
	}
	d := &w.doing[0].Doing
	d.What, d.Name = what, name
	if !at.IsZero() {
		d.Since = at
	}
}

func (w *watch) begun() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.began
}

func (w *watch) read(l *LiveRun) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.Step, l.Began, l.SpentNanoUSD = w.step, w.began, w.spent
	for _, a := range w.doing {
		if a.on {
			l.Doing = append(l.Doing, a.Doing)
		}
	}
}

// spends counts a cost for the run and for all above it.
func (r *run) spends(nanoUSD int64) {
	for at := r; at != nil; at = at.parent {
		at.watch.mu.Lock()
		at.watch.spent += nanoUSD
		at.watch.mu.Unlock()
	}
}

// shown is what a reader of Live sees of an op; a step below 0 is none.
func (op *Op) shown() (step int, what Activity, name string) {
	switch {
	case op.Model != nil:
		return op.Model.Step, DoingModel, ""
	case op.Tool != nil:
		return op.Tool.Step, DoingTool, calledName(op.Tool.Message, op.Tool.Index)
	case op.Run != nil:
		return op.Run.Step, DoingAgent, op.Name
	case op.Verify != nil:
		return op.Verify.Step, DoingVerify, ""
	case op.Sleep != nil:
		return -1, Activity(op.Sleep.Reason), ""
	case op.Await != nil:
		return -1, Activity(op.Await.Reason), ""
	}
	return -1, Activity(op.Kind), ""
}

func calledName(m MessageRef, index int) string {
	if index < len(m.Calls) {
		return m.Calls[index].Name
	}
	return ""
}
