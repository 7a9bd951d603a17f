package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
)

// lookEvery is how often somebody looks for a freeze while runs wait. Whatever wants
// to be sent meets a freeze at once, in the ledger; this is for runs that would
// otherwise sit in a line for minutes before they ask it.
const lookEvery = time.Second

// freezes tells runs that wait (in the line of a dry instrument, for a rate, between
// retries, in a rest) that they are frozen, so that they pause. One look at the ledger
// each second serves all of an agent's runs, and there is none while nobody waits.
type freezes struct {
	mu    sync.Mutex
	waits map[*freezeWait]struct{}
	end   context.CancelFunc // of the goroutine that looks; nil without one
}

// freezeWait is one run that waits. It holds no reservation and has no request under
// way, so that ending it costs nothing.
type freezeWait struct {
	scopes []budget.Scope
	tell   func(*frozen)
}

// frozen is why a wait ended. It reads like the denial that the run would have met.
type frozen struct{ *budget.DeniedError }

// Unwrap is the denial.
func (f *frozen) Unwrap() error { return f.DeniedError }

func (f *freezes) wait(l *budget.Ledger, w *freezeWait) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waits == nil {
		f.waits = make(map[*freezeWait]struct{})
	}
	f.waits[w] = struct{}{}
	if f.end == nil {
		ctx, end := context.WithCancel(context.Background())
		f.end = end
		go f.look(ctx, l)
	}
}

// stop ends a wait. When it returns the run is not told any more.
func (f *freezes) stop(w *freezeWait) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.waits, w)
	f.idle()
}

// idle ends the goroutine when nobody waits. The caller holds the lock.
func (f *freezes) idle() {
	if len(f.waits) == 0 && f.end != nil {
		f.end()
		f.end = nil
	}
}

func (f *freezes) look(ctx context.Context, l *budget.Ledger) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now, err := l.Freezes(ctx)
		if err != nil || len(now) == 0 {
			continue // a store that cannot be asked will say so when something is reserved
		}
		f.tell(ctx, now)
	}
}

func (f *freezes) tell(ctx context.Context, now []budget.Freeze) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil {
		return // others wait by now, and another looks for them
	}
	for w := range f.waits {
		var found []budget.Violation
		for _, z := range now {
			if z.Scope.Kind == budget.ScopeAccount || slices.Contains(w.scopes, z.Scope) {
				found = append(found, budget.Violation{Kind: budget.KindFrozen, Scope: z.Scope, Reason: z.Reason, ResetAt: z.Until})
			}
		}
		if found != nil {
			delete(f.waits, w)
			w.tell(&frozen{&budget.DeniedError{Violations: found}})
		}
	}
	f.idle()
}

// waits lets the call be told of a freeze until it sends something.
func (c *modelCall) waits(n grid.Notice) {
	switch n.Kind {
	case grid.NoticeTopUpWait, grid.NoticeRateWait, grid.NoticeRetry:
	default:
		return
	}
	if c.frozen == nil {
		c.frozen = &freezeWait{scopes: c.r.scopesOn(c.instrument), tell: func(f *frozen) { c.timer.cancel(f) }}
		c.r.freezes.wait(c.r.ledger, c.frozen)
	}
}

// sends is the end of that: what is under way is settled, whatever is frozen.
func (c *modelCall) sends() {
	if c.frozen != nil {
		c.r.freezes.stop(c.frozen)
		c.frozen = nil
	}
}

// frozenWhile is the freeze that ended a wait, or nil.
func frozenWhile(ctx context.Context) *frozen {
	f, _ := context.Cause(ctx).(*frozen)
	return f
}
