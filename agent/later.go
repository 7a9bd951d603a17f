package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// later settles what could not be settled because the store was away. It is bounded:
// what finds no place, or is still open when the agent is shut down, is charged at
// its bound when its lease runs out, so nothing is lost but headroom. Its goroutine
// runs while something is open.
type later struct {
	ledger *budget.Ledger
	mu     sync.Mutex
	open   []unsettled
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine has ended; nil without one
	ended  bool
}

// unsettled is one settlement that is owed.
type unsettled struct {
	id     string
	how    settling
	actual budget.Amounts
	proof  budget.Proof
}

type settling string

const (
	settleUse  settling = "settle"
	chargeAll  settling = "charge"
	voidAll    settling = "void"
	releaseAll settling = "release"
	forgetRun  settling = "forget" // id is the run's
)

const (
	mostUnsettled = 4096
	firstRetry    = 250 * time.Millisecond
	lastRetry     = 5 * time.Second
)

func newLater(l *budget.Ledger) *later {
	ctx, cancel := context.WithCancel(context.Background())
	return &later{ledger: l, ctx: ctx, cancel: cancel}
}

// add takes over a settlement that failed with err, if the store may be back later.
func (q *later) add(u unsettled, err error) bool {
	if !errors.Is(err, budget.ErrUnavailable) && !(u.how == forgetRun && errors.Is(err, budget.ErrStillOpen)) {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended || len(q.open) == mostUnsettled {
		return false
	}
	q.open = append(q.open, u)
	if q.done == nil {
		q.done = make(chan struct{})
		go q.work(q.done)
	}
	return true
}

func (q *later) work(done chan struct{}) {
	defer close(done)
	timer := time.NewTimer(firstRetry)
	defer timer.Stop()
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		timer.Reset(pause)
		select {
		case <-timer.C:
		case <-q.ctx.Done():
			return
		}
		if q.drain() {
			return
		}
	}
}

// drain settles what it can; true is the end.
func (q *later) drain() bool {
	for {
		q.mu.Lock()
		if len(q.open) == 0 {
			q.done = nil
			q.mu.Unlock()
			return true
		}
		u := q.open[0]
		q.mu.Unlock()
		if errors.Is(q.settle(u), budget.ErrUnavailable) {
			return false
		}
		q.mu.Lock()
		q.open = q.open[1:]
		q.mu.Unlock()
	}
}

// settle tries once. What was never reserved, because that answer was lost as well,
// or what was settled by others meanwhile, is done.
func (q *later) settle(u unsettled) error {
	ctx, cancel := context.WithTimeout(q.ctx, settleTime)
	defer cancel()
	var err error
	switch u.how {
	case settleUse:
		_, err = q.ledger.Settle(ctx, u.id, u.actual)
	case chargeAll:
		_, err = q.ledger.Charge(ctx, u.id)
	case voidAll:
		err = q.ledger.Void(ctx, u.id, u.proof)
	case releaseAll:
		err = q.ledger.Release(ctx, u.id)
	case forgetRun:
		err = q.ledger.Forget(ctx, budget.Scope{Kind: scopeRun, Name: u.id})
	}
	return err
}

// shutdown tries once more and ends the goroutine.
func (q *later) shutdown() {
	if q == nil {
		return
	}
	q.mu.Lock()
	q.ended = true
	done := q.done
	q.mu.Unlock()
	q.cancel()
	if done == nil {
		return
	}
	<-done
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	q.ctx = ctx
	q.drain()
}
