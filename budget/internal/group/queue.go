// Package group is group commit, for stores whose commits are dear: while one is under way, operations gather, and the next
// takes all of them. An operation that finds nobody committing starts at once.
//
//	Do ... Do ... Do --> waiting --> Batch: begin, take (at most 128, Settling before Reserving), apply, commit, Finish each
package group

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// Most is how many operations share one commit.
const Most = 128

// Rank orders operations inside a commit: those that give money back go before those that ask for it.
type Rank uint8

// The ranks.
const (
	Settling Rank = iota
	Reserving
)

// Queue is the operations of one store, or one account of it, that wait for a commit. It has a goroutine while there are any.
// Its exported fields are set before it is used; then it is safe for concurrent use.
type Queue[T any] struct {
	// Batch takes operations when it is able to do them, and finishes every one it took. An error means that it took none;
	// then it is the answer to those that wait. One call is under way at a time.
	Batch func(take func() []*Task[T]) error
	// Store is what errors begin with, Closed the error after Close.
	Store  string
	Closed error

	spare    sync.Pool // of tasks
	mu       sync.Mutex
	waiting  []*Task[T]
	draining bool
	closed   bool
	idle     chan struct{} // closed when the last drain ends after Close
}

// Task is one operation.
type Task[T any] struct {
	What T
	Err  error // to be told

	rank  Rank
	state atomic.Uint32
	done  chan struct{}
}

const (
	queued uint32 = iota
	taken
	left
)

// Finish tells the caller; the task is not touched afterwards.
func (t *Task[T]) Finish() { t.done <- struct{}{} }

// Do waits until what is done, and answers its error. If ctx ends before it was taken, nothing was done and the error says so.
func (q *Queue[T]) Do(ctx context.Context, rank Rank, what T) error {
	t, ok := q.spare.Get().(*Task[T])
	if !ok {
		t = &Task[T]{done: make(chan struct{}, 1)}
	}
	t.What, t.rank, t.Err = what, rank, nil
	t.state.Store(queued)
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return q.Closed
	}
	q.waiting = append(q.waiting, t)
	if !q.draining {
		q.draining = true
		go q.drain()
	}
	q.mu.Unlock()
	select {
	case <-t.done:
	case <-ctx.Done():
		if t.state.CompareAndSwap(queued, left) {
			return fmt.Errorf("%s: nothing was done: %w", q.Store, context.Cause(ctx)) // the queue still holds t
		}
		<-t.done // a commit under way comes to an end, and without it nobody would know
	}
	err := t.Err
	var none T
	t.What = none
	q.spare.Put(t)
	return err
}

func (q *Queue[T]) drain() {
	for {
		q.mu.Lock()
		if len(q.waiting) == 0 {
			q.draining = false
			if q.closed {
				close(q.idle)
			}
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		if err := q.Batch(q.take); err != nil {
			for _, t := range q.take() {
				t.Err = err
				t.Finish()
			}
		}
	}
}

// take removes the next operations from the queue, in the order in which they are to be applied.
func (q *Queue[T]) take() []*Task[T] {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []*Task[T]
	n := 0
	for ; n < len(q.waiting) && len(out) < Most; n++ {
		if t := q.waiting[n]; t.state.CompareAndSwap(queued, taken) {
			out = append(out, t)
		}
	}
	q.waiting = slices.Delete(q.waiting, 0, n)
	slices.SortStableFunc(out, func(a, b *Task[T]) int { return int(a.rank) - int(b.rank) })
	return out
}

// Waiting is how many operations have not been taken.
func (q *Queue[T]) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// Close refuses new operations and waits for those that were accepted. It is safe to repeat.
func (q *Queue[T]) Close() {
	q.mu.Lock()
	q.closed = true
	wait := q.draining
	if wait && q.idle == nil {
		q.idle = make(chan struct{})
	}
	q.mu.Unlock()
	if wait {
		<-q.idle
	}
}
