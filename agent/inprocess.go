package agent

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// inProcess executes the ops of one run with goroutines.
type inProcess struct{ run *run }

// errOverTime is the cause of a context whose run has no wall time left.
var errOverTime = errors.New("the run's wall time is used up")

func (x *inProcess) Rotate() bool { return false }

func (x *inProcess) Do(ctx context.Context, limit int, ops []Op) ([]Outcome, error) {
	if len(ops) == 1 {
		out, ok := x.one(ctx, ops[0])
		if !ok {
			return nil, ErrParked
		}
		return []Outcome{out}, nil
	}
	outs := make([]Outcome, len(ops))
	answered := make([]bool, len(ops))
	next := make(chan int, len(ops))
	for i := range ops {
		next <- i
	}
	close(next)
	var workers sync.WaitGroup
	for range min(limit, len(ops)) {
		workers.Go(func() {
			for i := range next {
				outs[i], answered[i] = x.one(ctx, ops[i])
			}
		})
	}
	workers.Wait()
	kept := outs[:0]
	for i, ok := range answered {
		if ok {
			kept = append(kept, outs[i])
		}
	}
	if len(kept) < len(ops) {
		return kept, ErrParked
	}
	return kept, nil
}

// one executes one op; false means that it waits for somebody outside.
func (x *inProcess) one(ctx context.Context, op Op) (out Outcome, ok bool) {
	r := x.run
	start := time.Now()
	slot := r.watch.begin(&op, start)
	defer func() {
		if p := recover(); p != nil {
			out = r.broken(op, p)
			r.lose(op.Key)
		}
		r.watch.end(slot)
		out.Key, out.Issue, out.Start, out.End = op.Key, op.Issue, start, time.Now()
	}()
	if ctx.Err() != nil {
		return Outcome{Canceled: true}, true
	}
	switch op.Kind {
	case OpModel:
		return r.model(ctx, op), true
	case OpTool:
		return r.tool(ctx, op), true
	case OpVerify:
		return Outcome{Verify: r.verify(ctx, op)}, true
	case OpRun:
		return r.sub(ctx, op)
	case OpSleep:
		return r.sleep(ctx, op), true
	case OpAwait:
		return r.await(ctx, op)
	}
	return r.broken(op, fmt.Sprintf("unknown op kind %q", op.Kind)), true
}

// broken is the outcome of a handler that panicked: a bug of this library or of
// a router, store or hook that was plugged in. It ends the run, not the process.
func (r *run) broken(op Op, p any) Outcome {
	err := &PanicError{Op: op.Kind, Key: op.Key, Value: p, Stack: debug.Stack()}
	r.blame(err)
	f := &Failure{Class: "panic", Message: err.Error()}
	switch op.Kind {
	case OpVerify:
		return Outcome{Verify: &VerifyOut{Problem: "The check failed."}}
	case OpTool, OpRun:
		n := note(callID(op), "the tool failed: it panicked")
		return Outcome{Tool: &ToolOut{Message: &n, Status: "panic"}}
	}
	return Outcome{Model: &ModelOut{Failed: f}}
}

func callID(op Op) string {
	switch {
	case op.Tool != nil && op.Tool.Index < len(op.Tool.Message.Calls):
		return op.Tool.Message.Calls[op.Tool.Index].ID
	case op.Run != nil && op.Run.Index < len(op.Run.Message.Calls):
		return op.Run.Message.Calls[op.Run.Index].ID
	}
	return ""
}

func (r *run) sleep(ctx context.Context, op Op) Outcome {
	t := time.NewTimer(op.Sleep.For)
	defer t.Stop()
	var froze chan struct{}
	if op.Sleep.For > lookEvery {
		froze = make(chan struct{})
		w := &freezeWait{scopes: r.scopes, tell: func(*frozen) { close(froze) }}
		r.freezes.wait(r.ledger, w)
		defer r.freezes.stop(w)
	}
	select {
	case <-t.C:
		return Outcome{}
	case <-froze:
		return Outcome{} // the op that this rest held back meets the freeze itself
	case <-ctx.Done():
		return Outcome{Canceled: true}
	}
}

// await answers with what was delivered; without a delivery the run parks.
func (r *run) await(_ context.Context, op Op) (Outcome, bool) {
	if op.Await.Call == nil {
		// Resume itself is the delivery: money may be there again.
		ok := r.thawed
		r.thawed = false
		return Outcome{Await: &AwaitOut{}}, ok
	}
	r.mu.Lock()
	d, ok := r.inbox[op.Await.Call.Key]
	delete(r.inbox, op.Await.Call.Key)
	r.mu.Unlock()
	if !ok {
		return Outcome{}, false
	}
	return Outcome{Await: &AwaitOut{Decision: &d}}, true
}

// wallTimer cancels a context when the run's wall time is used up. It stands
// still while the run waits for a top-up, which is nobody's work.
type wallTimer struct {
	mu     sync.Mutex
	cancel context.CancelCauseFunc
	timer  *time.Timer
	left   time.Duration
	since  time.Time
}

func newWallTimer(ctx context.Context, left time.Duration) (context.Context, *wallTimer) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &wallTimer{cancel: cancel, left: left, since: time.Now()}
	if left > 0 {
		w.timer = time.AfterFunc(left, func() { cancel(errOverTime) })
	}
	return ctx, w
}

// pause stops the clock; going on starts it with what was left.
func (w *wallTimer) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil && !w.since.IsZero() {
		w.timer.Stop()
		w.left -= time.Since(w.since)
		w.since = time.Time{}
	}
}

func (w *wallTimer) goOn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil && w.since.IsZero() {
		w.since = time.Now()
		w.timer.Reset(max(w.left, 0))
	}
}

func (w *wallTimer) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
	w.cancel(nil)
}

// overTime reports whether the run's wall time is what ended ctx.
func overTime(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errOverTime) }
