package sqlitestore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// most is how many operations share one commit.
const most = 128

// rank orders operations inside a commit: those that give money back go before those that ask for it.
type rank uint8

const (
	settling rank = iota
	reserving
)

// queue is group commit: while one commit is under way, operations gather, and the next takes all of them. An operation
// that finds nobody committing starts at once, on a goroutine that ends when the queue is empty, so an idle store has none.
type queue struct {
	// batch begins a transaction, calls take when it holds the lock, and finishes every task it was given. An error means
	// that it took none.
	batch func(take func() []*task) error

	spare    sync.Pool // of tasks
	mu       sync.Mutex
	waiting  []*task
	draining bool
	closed   bool
	idle     chan struct{} // closed when the last drain ends after close
}

type task struct {
	rank  rank
	run   func(*books) error
	err   error
	state atomic.Uint32
	done  chan struct{}
}

const (
	queued uint32 = iota
	taken
	left
)

// finish tells the caller; the task is not touched afterwards.
func (t *task) finish() { t.done <- struct{}{} }

func (q *queue) do(ctx context.Context, rank rank, run func(*books) error) error {
	t, ok := q.spare.Get().(*task)
	if !ok {
		t = &task{done: make(chan struct{}, 1)}
	}
	t.rank, t.run, t.err = rank, run, nil
	t.state.Store(queued)
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return ErrClosed
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
			return fmt.Errorf("sqlitestore: nothing was done: %w", context.Cause(ctx)) // the queue still holds t
		}
		<-t.done // a commit under way takes a moment, and without it nobody would know
	}
	err := t.err
	t.run = nil
	q.spare.Put(t)
	return err
}

func (q *queue) drain() {
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
		if err := q.batch(q.take); err != nil {
			for _, t := range q.take() {
				t.err = err
				t.finish()
			}
		}
	}
}

// take removes the next operations from the queue, in the order in which they are to be applied.
func (q *queue) take() []*task {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []*task
	n := 0
	for ; n < len(q.waiting) && len(out) < most; n++ {
		if t := q.waiting[n]; t.state.CompareAndSwap(queued, taken) {
			out = append(out, t)
		}
	}
	q.waiting = slices.Delete(q.waiting, 0, n)
	slices.SortStableFunc(out, func(a, b *task) int { return int(a.rank) - int(b.rank) })
	return out
}

// close refuses new operations and waits for those that were accepted.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	wait := q.draining
	if wait {
		q.idle = make(chan struct{})
	}
	q.mu.Unlock()
	if wait {
		<-q.idle
	}
}
