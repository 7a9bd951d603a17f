package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// Check says whether the arguments fit, without running anything. The error is an
// [*ArgumentsError], except when the tool itself is at fault: its [Tool.Err], or a
// [*PanicError] from an UnmarshalJSON or UnmarshalText of its type.
func (t Tool) Check(args json.RawMessage) error {
	if err := t.Err(); err != nil {
		return err
	}
	_, err := t.def.prepare(args)
	return err
}

// prepare validates the arguments and returns the call that is ready to run.
func (d *definition) prepare(args json.RawMessage) (run func(context.Context) (any, error), err error) {
	defer func() {
		if v := recover(); v != nil {
			run, err = nil, &PanicError{Tool: d.name, Value: v, Stack: debug.Stack()}
		}
	}()
	args = orEmptyObject(args)
	if err := d.schema.Validate(args); err != nil {
		return nil, err
	}
	return d.bind(args)
}

// Approval says whether this call must wait for a person, as [NeedsApproval] or
// [NeedsApprovalFunc] told. When there is an error, needed is true. Call
// [Tool.Check] first: the func is given whatever args are.
func (t Tool) Approval(ctx context.Context, args json.RawMessage) (needed bool, err error) {
	if err := t.Err(); err != nil {
		return true, err
	}
	d := t.def
	if d.needsApproval || d.approval == nil {
		return d.needsApproval, nil
	}
	own := bytes.Clone(orEmptyObject(args))
	asked := d.newJob()
	asked.start(func() (err error) {
		needed, err = d.approval(ctx, own)
		return err
	})
	if <-asked.done; asked.err != nil {
		return true, fmt.Errorf("tools: tool %q: cannot tell whether the call needs approval, so it does: %w", d.name, asked.err)
	}
	return needed, nil
}

// Call checks the arguments, runs the func in its own goroutine under the tool's
// time limit, and puts what came of it in words for the model. It never panics and
// always returns: at the latest one grace after ctx or the time limit ended.
//
// A func that succeeds although its context has just ended has succeeded. One
// that has not returned after the grace is left behind, see [Result.Abandoned].
func (t Tool) Call(ctx context.Context, args json.RawMessage) Result {
	if err := t.Err(); err != nil {
		return Result{Status: StatusError, Err: err, Content: "error: this tool is not usable. Go on without it."}
	}
	d := t.def
	if ctx.Err() != nil {
		return Result{Status: StatusCanceled, Err: context.Cause(ctx), Content: "canceled: the run ended before the call, and nothing was done."}
	}
	run, err := d.prepare(args)
	if err != nil {
		return d.failure(err)
	}

	work := d.newJob()
	var cancel context.CancelFunc
	if d.timeout == NoTimeout {
		ctx, cancel = context.WithCancel(ctx)
	} else {
		ctx, cancel = context.WithTimeoutCause(ctx, d.timeout, &work.over)
	}
	defer cancel()

	var said string
	work.start(func() (err error) {
		said, err = settle(run(ctx))
		return err
	})
	switch {
	case !work.wait(ctx, d.grace):
		res := d.ended(ctx, &work.over, nil)
		res.Abandoned, res.Done = true, work.done
		return res
	case work.panicked:
		err = work.err
	case work.err != nil && ctx.Err() != nil:
		res := d.ended(ctx, &work.over, work.err)
		res.Done = work.done
		return res
	case work.err != nil:
		return Result{Status: StatusError, Err: work.err, Done: work.done, Content: "error: " + cut(said, d.maxResult)}
	default:
		return Result{Status: StatusOK, Content: cut(said, d.maxResult), Ends: d.endsRun, Done: work.done}
	}
	res := d.failure(err)
	res.Done = work.done
	return res
}

// settle puts what the func returned in words. It runs where the func ran, since
// Error and MarshalJSON are the user's code as well.
func settle(out any, err error) (string, error) {
	if err != nil {
		said := err.Error()
		if said == "" {
			said = "the call failed"
		}
		return said + "\nMend the arguments if they are the cause, take another way, or say that it cannot be done.", err
	}
	said, err := text(out)
	if err != nil {
		return "the call was carried out, but its result cannot be shown. Do not repeat it.", err
	}
	return said, nil
}

// A job is the user's code on its way in a goroutine of its own. What came of it may
// be read when done is closed.
type job struct {
	over     TimeoutError // the cause with which its context ends
	done     chan struct{}
	err      error
	panicked bool
}

func (d *definition) newJob() *job {
	return &job{over: TimeoutError{Tool: d.name, After: d.timeout}, done: make(chan struct{})}
}

// start runs the user's code where neither a panic nor a Goexit reaches the caller.
// The goroutine ends when f does.
func (j *job) start(f func() error) {
	go func() {
		defer close(j.done)
		finished := false
		defer func() {
			if v := recover(); !finished {
				j.err, j.panicked = &PanicError{Tool: j.over.Tool, Value: v, Stack: debug.Stack()}, true
			}
		}()
		err := f()
		j.err, finished = err, true
	}()
}

// wait reports whether the user's code returned, at the latest a grace after ctx ended.
func (j *job) wait(ctx context.Context, grace time.Duration) bool {
	select {
	case <-j.done:
		return true
	case <-ctx.Done():
	}
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case <-j.done:
		return true
	case <-patience.C:
	}
	select { // both were ready: what is there counts
	case <-j.done:
		return true
	default:
		return false
	}
}

// ended is the Result of a call whose context ended first. returned is what the
// func said to that, nil if nothing.
func (d *definition) ended(ctx context.Context, over *TimeoutError, returned error) Result {
	const unsure = " It may have taken effect or not: check before you call it again."
	cause := context.Cause(ctx)
	if cause != error(over) {
		return Result{Status: StatusCanceled, Err: cause, Content: "canceled: the run ended during the call." + unsure}
	}
	return Result{
		Status: StatusTimeout, Err: &TimeoutError{Tool: d.name, After: d.timeout, Err: returned},
		Content: fmt.Sprintf("timeout: the call was stopped after %v.", d.timeout) + unsure,
	}
}

// failure is the Result of a call without an outcome of the func's own.
func (d *definition) failure(err error) Result {
	if wrong, ok := errors.AsType[*ArgumentsError](err); ok {
		return Result{Status: StatusInvalidArguments, Err: err, Content: fmt.Sprintf(
			"error: the arguments do not fit, so %s was not run.\n%s\nMend this and call %s again.", d.name, wrong.Explain(), d.name)}
	}
	return Result{Status: StatusPanic, Err: err, Content: "error: the tool broke down; that is a fault of the tool, not of your arguments. " +
		"It may have taken effect in part. Do not repeat the call; take another way, or say that it failed."}
}
