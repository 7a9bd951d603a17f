package pgstore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gridloop/gridloop/budget"
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
	// batch takes operations when it is able to do them, and finishes every one it took. An error means that it took none.
	batch func(take func() []*task) error

	mu       sync.Mutex
	waiting  []*task
	draining bool
	closed   bool
	idle     chan struct{} // closed when the last drain ends after close
}

// task is one operation. What it needs is said beforehand, so that everything a batch needs is locked in order.
type task struct {
	rank   rank
	alone  bool              // it changes what others read without locking: nothing else may be under way in the account
	id     string            // the reservation it is about
	op     *budget.ReserveOp // what it wants to reserve
	sweep  int               // how many leases it may end
	forget int               // how many ended reservations it may forget
	run    func(*books) error

	err   error
	state atomic.Uint32
	done  chan struct{}
}

const (
	queued uint32 = iota
	taken
	left
)

func (q *queue) do(ctx context.Context, t *task) error {
	t.done = make(chan struct{})
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
			return fmt.Errorf("pgstore: nothing was done: %w", context.Cause(ctx))
		}
		<-t.done // a batch under way ends within the timeout, and without it nobody would know
	}
	return t.err
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
				close(t.done)
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
	if wait && q.idle == nil {
		q.idle = make(chan struct{})
	}
	q.mu.Unlock()
	if wait {
		<-q.idle
	}
}
