package agent

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Reconciliation makes an agent correct its ledger by the market's receipts after
// each run, in the background: caps then stand at what was paid, not at a
// ceiling. Results keep what they said when the run ended; [Reconcile] corrects
// one of them, before or after, and nothing is counted twice.
//
// It is one goroutine, which the first run starts and Shutdown ends: Shutdown waits
// for the receipts that are still missing, ten seconds at most.
type Reconciliation struct {
	On bool
	// Queue bounds the attempts that wait for their receipt. Zero: 4096. What comes
	// on top stays at its ceiling in the ledger, and is told to OnError.
	Queue int
	// Patience is how long a receipt may take. Zero: 10 minutes. Then its attempt
	// stays at its ceiling, and is told to OnError.
	Patience time.Duration
	// OnError is told what could not be corrected, on the agent's goroutine: it
	// must not block. Nil: nobody is told.
	OnError func(error)
}

func (c Reconciliation) validate() error {
	var errs []error
	if c.Queue < 0 {
		errs = append(errs, fmt.Errorf("agent: Reconcile.Queue is %d: leave it 0 for %d attempts", c.Queue, defaultQueue))
	}
	if c.Patience < 0 {
		errs = append(errs, fmt.Errorf("agent: Reconcile.Patience is %v: leave it 0 for %v", c.Patience, defaultPatience))
	}
	if !c.On && (c.Queue != 0 || c.Patience != 0 || c.OnError != nil) {
		errs = append(errs, errors.New("agent: Reconcile has settings but is not On: set On, or leave them out"))
	}
	return errors.Join(errs...)
}

const (
	defaultQueue    = 4096
	defaultPatience = 10 * time.Minute

	// A receipt settles within a second as a rule; one that does not is asked for
	// ever less often.
	firstLook   = time.Second
	longestLook = time.Minute

	// lastLooks is how long Shutdown waits for receipts.
	lastLooks = 10 * time.Second
)

// openBill is an attempt whose receipt is still missing.
type openBill struct {
	step   *StepRecord
	at     AttemptRecord
	next   time.Time // when to ask
	wait   time.Duration
	giveUp time.Time
}

// openBills is a heap by the time to ask.
type openBills []*openBill

func (h openBills) Len() int           { return len(h) }
func (h openBills) Less(i, j int) bool { return h[i].next.Before(h[j].next) }
func (h openBills) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *openBills) Push(x any)        { *h = append(*h, x.(*openBill)) }
func (h *openBills) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}

// reconciler corrects the ledger of one agent in the background.
type reconciler struct {
	agent    *Agent
	queue    int
	patience time.Duration
	onError  func(error)

	mu     sync.Mutex
	open   openBills
	closed bool
	end    time.Time     // with closed: when the last receipt is given up
	wake   chan struct{} // holds one token: something was added, or the end has come
	done   chan struct{} // closed when the goroutine ended; nil before it began
	ctx    context.Context
	cancel context.CancelFunc
}

// newReconciler returns nil where reconciling is off: all methods take that.
func newReconciler(a *Agent, cfg Reconciliation) *reconciler {
	if !cfg.On {
		return nil
	}
	r := &reconciler{agent: a, queue: or(cfg.Queue, defaultQueue), patience: or(cfg.Patience, defaultPatience), onError: cfg.OnError, wake: make(chan struct{}, 1)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// add takes over the attempts of steps whose bill is open.
func (r *reconciler) add(steps []*StepRecord) {
	if r == nil {
		return
	}
	now := time.Now()
	var lost []error
	r.mu.Lock()
	for _, step := range steps {
		for _, at := range step.Attempts {
			switch {
			case at.Billed == "no" || at.CostSource == CostReceipt:
			case at.RequestID == "":
				lost = append(lost, noRequestID(at))
			case r.closed:
				lost = append(lost, fmt.Errorf("agent: the bill of %s stays an upper bound: the agent was shut down", at.RequestID))
			case len(r.open) >= r.queue:
				lost = append(lost, fmt.Errorf("agent: the bill of %s stays an upper bound: %d others wait for their receipt already: raise Reconcile.Queue", at.RequestID, len(r.open)))
			default:
				heap.Push(&r.open, &openBill{step: step, at: at, next: now.Add(firstLook), wait: firstLook, giveUp: now.Add(r.patience)})
			}
		}
	}
	if len(r.open) > 0 && r.done == nil && !r.closed {
		r.done = make(chan struct{})
		go r.work()
	}
	r.mu.Unlock()
	r.rouse()
	r.tell(lost...)
}

func (r *reconciler) rouse() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reconciler) tell(errs ...error) {
	if r.onError == nil {
		return
	}
	for _, err := range errs {
		r.onError(err)
	}
}

// work asks for one receipt at a time, each when it is due, until the end.
func (r *reconciler) work() {
	defer close(r.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		bill, pause := r.due()
		switch {
		case bill != nil:
			r.ask(bill)
			continue
		case pause < 0:
			return
		}
		timer.Reset(pause)
		select {
		case <-timer.C:
		case <-r.wake:
		case <-r.ctx.Done():
		}
	}
}

// idle is how long the goroutine sleeps when nothing is open: adding wakes it.
const idle = time.Hour

// due returns the bill whose time has come, or how long to wait for it; less than 0
// is the end.
func (r *reconciler) due() (*openBill, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case len(r.open) == 0 && (r.closed || r.ctx.Err() != nil):
		return nil, -1
	case len(r.open) == 0:
		return nil, idle
	}
	if wait := time.Until(r.open[0].next); wait > 0 && r.ctx.Err() == nil {
		return nil, wait
	}
	return heap.Pop(&r.open).(*openBill), 0
}

func (r *reconciler) ask(b *openBill) {
	receipt, err := r.agent.client.Receipt(r.ctx, b.at.RequestID)
	if err == nil && receipt.CostNanoUSD != nil {
		if _, err = r.agent.paid(r.ctx, b.step, &b.at, receipt); err == nil {
			return
		}
	} else if err == nil {
		err = errors.New("it is still pending")
	}
	now := time.Now()
	r.mu.Lock()
	if r.closed {
		r.hurry(b)
	}
	last := r.ctx.Err() != nil || !now.Before(b.giveUp)
	if !last {
		b.wait = min(2*b.wait, longestLook)
		b.next = now.Add(b.wait)
		if b.next.After(b.giveUp) {
			b.next = b.giveUp
		}
		heap.Push(&r.open, b)
	}
	r.mu.Unlock()
	if last {
		r.tell(fmt.Errorf("agent: the receipt of %s: the ledger keeps its upper bound: %w", b.at.RequestID, err))
	}
}

// hurry lets a bill wait no longer than Shutdown does. The caller holds the lock.
func (r *reconciler) hurry(b *openBill) {
	if b.giveUp.After(r.end) {
		b.giveUp = r.end
	}
	b.wait = firstLook / 2
}

// shutdown ends the goroutine when nothing is open any more, when its time is over, or
// with ctx.
func (r *reconciler) shutdown(ctx context.Context) error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	if now := time.Now(); !r.closed {
		r.closed, r.end = true, now.Add(lastLooks)
		for _, b := range r.open {
			b.next = now
			r.hurry(b)
		}
		heap.Init(&r.open)
	}
	done := r.done
	r.mu.Unlock()
	defer r.cancel()
	defer time.AfterFunc(lastLooks+firstLook, r.cancel).Stop() // a market that hangs
	if done == nil {
		return nil
	}
	r.rouse()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		r.cancel()
		<-done
		return fmt.Errorf("agent: Shutdown: some bills stay upper bounds: %w", ctx.Err())
	}
}
