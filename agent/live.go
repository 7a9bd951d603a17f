package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/gridloop/gridloop/tools"
)

// Run starts a run and waits for its result: the short way. T is the type of
// the answer: string for text, anything else for structured output, which is
// asked for by schema, checked, and mended once.
//
// A Result stands beside every error.
func Run[T any](ctx context.Context, a *Agent, input string, opts ...Option) (*Result[T], error) {
	return Start[T](ctx, a, input, opts...).Result()
}

// Start prepares a run: the long way, with events. Nothing runs and nothing is
// spent until the first of Events and Result is used.
func Start[T any](ctx context.Context, a *Agent, input string, opts ...Option) *Live[T] {
	l := &Live[T]{ctx: ctx, done: make(chan struct{})}
	output, err := schemaFor[T](a)
	if err == nil {
		l.output = output
		l.run, err = newRun(ctx, a, input, output, opts)
	}
	l.failed = err
	return l
}

// Resume goes on with a paused run: the short way. Decisions come from [Approve]
// and [Deny]; a run that waited for money needs none. Calls that are still
// undecided pause the run again, under a new token.
func Resume[T any](ctx context.Context, a *Agent, token string, opts ...Option) (*Result[T], error) {
	return Reopen[T](ctx, a, token, opts...).Result()
}

// Reopen goes on with a paused run: the long way, with events.
func Reopen[T any](ctx context.Context, a *Agent, token string, opts ...Option) *Live[T] {
	l := &Live[T]{ctx: ctx, done: make(chan struct{})}
	output, err := schemaFor[T](a)
	var o runOptions
	for _, opt := range opts {
		opt(&o)
	}
	if err == nil {
		err = o.validate()
	}
	if err == nil {
		l.output = output
		l.run, err = a.unpark(token, output, &o)
	}
	l.failed = err
	return l
}

// Live is a run that can be watched. Its methods may be called from any
// goroutine, but there is one reader of its events.
type Live[T any] struct {
	ctx    context.Context
	run    *run
	output *tools.Schema
	failed error // the run could not be prepared

	mu     sync.Mutex
	begun  bool
	reads  bool // the reader is at its events
	left   bool // the reader is done with them, or broke off
	done   chan struct{}
	result *Result[T]
	err    error
}

// RunID is the id of the run; empty if it could not be prepared.
func (l *Live[T]) RunID() string {
	if l.run == nil {
		return ""
	}
	return l.run.id
}

// breakGrace is how long a reader that breaks off waits for handlers to end.
const breakGrace = 5 * time.Second

var errLeft = fmt.Errorf("the reader left the events: %w", context.Canceled)

// Events runs the run and yields what happens, on the goroutine that ranges.
// Breaking off cancels the run, so that the spending stops, and returns when its
// calls have ended, or after five seconds. It can be ranged over once.
func (l *Live[T]) Events() iter.Seq[Event] {
	return func(yield func(Event) bool) {
		if l.failed != nil {
			return // Result says why
		}
		if !l.begin() {
			yield(Misused{Err: ErrEventsUsed})
			return
		}
		l.reader(true)
		ctx, cancel := context.WithCancelCause(l.ctx)
		events := newQueue()
		go func() {
			defer events.end()
			l.finish(l.run.drive(ctx, events))
		}()
		defer func() {
			events.leave()
			cancel(errLeft)
			l.reader(false)
			grace := time.NewTimer(breakGrace)
			defer grace.Stop()
			select {
			case <-l.done:
			case <-grace.C:
			}
		}()
		for {
			batch, ok := events.next()
			if !ok {
				return
			}
			for _, e := range batch {
				if !yield(e) {
					return
				}
			}
		}
	}
}

// Result is what the run came to. If nobody read events it runs the run here and
// now. Asked while events are being read it returns [ErrRunning]; asked again it
// returns the same.
func (l *Live[T]) Result() (*Result[T], error) {
	if l.failed != nil {
		return &Result[T]{Stop: StopError, Reason: l.failed.Error()}, l.failed
	}
	if l.begin() {
		l.finish(l.run.drive(l.ctx, nil))
	}
	l.mu.Lock()
	reads, left := l.reads, l.left
	l.mu.Unlock()
	if left {
		<-l.done // the run is cancelled and drains
	}
	// A run may be ahead of its reader: what is asked in between does not depend on
	// how far.
	if !reads {
		select {
		case <-l.done:
			return l.result, l.err
		default:
		}
	}
	return &Result[T]{Run: l.run.id, Reason: ErrRunning.Error()}, ErrRunning
}

func (l *Live[T]) reader(at bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads, l.left = at, !at
}

func (l *Live[T]) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.begun {
		return false
	}
	l.begun = true
	return true
}

// finish makes the result; it is called once.
func (l *Live[T]) finish(err error) {
	defer close(l.done)
	r := l.run
	s := &r.state
	steps := make([]StepRecord, len(s.Steps))
	for i, rec := range s.Steps {
		steps[i] = *rec
		steps[i].Attempts = slices.Clone(rec.Attempts) // Reconcile changes them
	}
	res := &Result[T]{
		Final: s.Final, Stop: s.Stop, Reason: s.Reason, Run: s.Run, Cost: costOf(steps), Usage: s.Totals,
		Steps: steps, Elapsed: s.Elapsed, Waited: s.Waited, Abandoned: s.Abandoned, state: *s, blobs: r.blobs, counted: r.counted, agent: r.a,
	}
	var paused *Paused
	if errors.As(err, &paused) {
		res.Stop, res.Reason = StopPaused, paused.Error()
	}
	if res.Stop == "" {
		res.Stop = StopError
		if err != nil {
			res.Reason = err.Error()
		}
	}
	if s.Answer != nil {
		m, lerr := loadMessage(context.Background(), r.blobs, *s.Answer)
		if lerr != nil {
			err = errors.Join(err, lerr)
		}
		res.Text = m.Text()
		if derr := l.decode(res); derr != nil && err == nil {
			err = &RunError{Run: s.Run, Class: string(StopInvalidOutput), Message: derr.Error(), Err: fmt.Errorf("%w: %w", ErrInvalidOutput, derr)}
		}
	}
	l.result, l.err = res, err
}

// decode fills Output from Text. A tool that ends the run answers in its own
// form: as JSON if T is not a string.
func (l *Live[T]) decode(res *Result[T]) error {
	if l.output == nil {
		if s, ok := any(&res.Output).(*string); ok {
			*s = res.Text
			return nil
		}
		return json.Unmarshal([]byte(quoted(res.Text)), &res.Output) // a named string type
	}
	if res.Stop == StopTool {
		return json.Unmarshal([]byte(res.Text), &res.Output)
	}
	return l.output.Decode(unfenced(res.Text), &res.Output)
}

func quoted(s string) string {
	b, _ := json.Marshal(s) // a string always encodes
	return string(b)
}
