package agent

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// carve is the share of one run on the caps above it: an idle reservation from which
// those of the run, and of the runs that it calls, are taken. Nobody else gets at it, and
// what they do not use goes back to it, so it is there for as long as it is held.
//
// It is held while the run works: a run that waits for people keeps no money from
// others.
type carve struct {
	above  *carve // of a run further up, from which this one is taken; nil: none
	run    *run   // whose share it is
	scopes []budget.Scope
	share  budget.Amounts

	renewal renewal

	mu    sync.Mutex
	id    string    // "" while nothing is held
	swap  string    // one that could not be given back
	begun bool      // it was held once: from then on the run goes on without it, if it must
	turns time.Time // when it is to be taken anew: a window turns, in which it holds nothing
}

// carveFor sets what is kept for the run: of itself, else what is kept for the run above.
func (r *run) carveFor(share budget.Amounts) {
	if r.parent != nil {
		r.carve = r.parent.carve
	}
	if share.IsZero() {
		return
	}
	// Only scopes that all reservations below will have: those of a run that is called
	// name its own agent.
	scopes := slices.DeleteFunc(slices.Clone(r.scopes), func(s budget.Scope) bool {
		return s.Kind == scopeRun && s.Name == r.id || s.Kind == scopeAgent && len(r.a.agents) > 0
	})
	r.carve = &carve{above: r.carve, run: r, scopes: scopes, share: share}
}

// ownCarve is the run's own share; nil without one.
func (r *run) ownCarve() *carve {
	if c := r.carve; c != nil && c.run == r {
		return c
	}
	return nil
}

// from is what a reservation is taken from: the nearest share that is held.
func (c *carve) from() string {
	for ; c != nil; c = c.above {
		c.mu.Lock()
		id := c.id
		c.mu.Unlock()
		if id != "" {
			return id
		}
	}
	return ""
}

// missing reports whether a share is not held that should be.
func (c *carve) missing() bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id == "" || !time.Now().Before(c.turns) && !c.turns.IsZero()
}

// open are the counts on which no share is held: those that bound what the run can spend.
// Of the others it has its share, whatever they have left for everybody.
func (c *carve) open(caps []budget.CapState) []budget.CapState {
	if c == nil || !slices.ContainsFunc(caps, func(s budget.CapState) bool { return c.holds(&s) }) {
		return caps
	}
	var open []budget.CapState
	for i := range caps {
		if !c.holds(&caps[i]) {
			open = append(open, caps[i])
		}
	}
	return open
}

// holds reports whether a count is one of those on which a share is held.
func (c *carve) holds(s *budget.CapState) bool {
	for ; c != nil; c = c.above {
		if c.share.Get(s.Meter) == 0 || slices.ContainsFunc(s.Scopes, func(x budget.Scope) bool {
			return x.Kind != budget.ScopeAccount && !slices.Contains(c.scopes, x)
		}) {
			continue
		}
		if !c.missing() {
			return true
		}
	}
	return false
}

// reserve asks for a reservation that is taken, as far as it goes, from what is kept for
// the run; r.grant has the answer. What the ledger no longer knows, to be taken from or
// to be swapped, is left out of req.
func (r *run) reserve(ctx context.Context, req *budget.Request) error {
	err := r.carve.reserve(r, req, func() error { return r.ledger.ReserveInto(ctx, req, &r.grant) })
	if err == nil {
		r.crossed(r.grant.Crossed)
	}
	return err
}

func (c *carve) reserve(r *run, req *budget.Request, ask func() error) error {
	from, swap := c.from(), req.Swap
	req.From = from
	err := ask()
	for try := 0; try < 3 && errors.Is(err, budget.ErrUnknownReservation); try++ {
		req.From, req.Swap = from, swap
		if try != 1 {
			req.From = ""
		}
		if try > 0 {
			req.Swap = ""
		}
		err = ask()
	}
	if err == nil && req.From != from {
		c.forget(from)
		r.warnAtRoot("the ledger does not know the share any more that was kept for " + r.id + ": a call was made without it")
	}
	if d, ok := errors.AsType[*budget.DeniedError](err); ok {
		c.doubt(d)
	}
	r.crossedBy(err)
	return err
}

// doubt has a share taken anew that should have been room where there was none, though it
// is not used up: a cap took the place of one that it is held on, or a window has turned
// since.
func (c *carve) doubt(d *budget.DeniedError) {
	for ; c != nil; c = c.above {
		usedUp, refused := false, false
		for _, v := range d.Violations {
			usedUp = usedUp || v.Scope == budget.Scope{Kind: scopeRun, Name: c.run.id}
			refused = refused || c.share.Get(v.Meter) > 0 && (v.Scope.Kind == budget.ScopeAccount || slices.Contains(c.scopes, v.Scope))
		}
		if refused && !usedUp {
			c.mu.Lock()
			c.turns = time.Now()
			c.mu.Unlock()
		}
	}
}

// forget notes that a share is gone.
func (c *carve) forget(id string) {
	for ; c != nil; c = c.above {
		c.mu.Lock()
		if c.id == id {
			c.renewal.stop()
			c.id = ""
		}
		c.mu.Unlock()
	}
}

// ensure makes the share stand, and those above it: before the first step, after a
// pause, when its lease ran out because the ledger was out of reach, and when a window
// has turned. Where the caps have no room the run cannot begin; one that has begun goes
// on without.
func (c *carve) ensure(ctx context.Context) error {
	if c == nil {
		return nil
	}
	if err := c.above.ensure(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stands() {
		return nil
	}
	rest, err := c.rest(ctx)
	if err != nil || rest.IsZero() {
		return err
	}
	req := c.request(rest)
	var g budget.Grant
	err = c.above.reserve(c.run, &req, func() (err error) { g, err = c.run.ledger.Reserve(ctx, req); return err })
	c.took(req, g, err)
	if d, ok := errors.AsType[*budget.DeniedError](err); ok && c.begun {
		if d.Kind() != budget.KindFrozen {
			c.run.warnAtRoot("the caps have no room for what is left of the share of " + c.run.id + ": it goes on without")
		}
		return nil
	}
	return err
}

// stands reports whether nothing is to be done, and notes if the share was lost.
func (c *carve) stands() bool {
	if c.id != "" && !c.renewal.keeps(c.id) {
		c.id = "" // its lease ran out
	}
	return c.id != "" && (c.turns.IsZero() || time.Now().Before(c.turns))
}

// rest is what the run has not spent of its share. What is held for it right now counts
// as not spent: it was taken from elsewhere, and is held twice until it is settled.
func (c *carve) rest(ctx context.Context) (budget.Amounts, error) {
	rest := c.share
	if !c.begun {
		return rest, nil
	}
	own := budget.Scope{Kind: scopeRun, Name: c.run.id}
	states, err := c.run.ledger.Snapshot(ctx, own)
	if err != nil {
		return rest, err
	}
	for _, s := range states {
		if s.Scope == own && c.share.Get(s.Meter) > 0 {
			rest = rest.With(s.Meter, min(rest.Get(s.Meter), max(c.share.Get(s.Meter)-s.Settled, 0)))
		}
	}
	return rest, nil
}

func (c *carve) request(amount budget.Amounts) budget.Request {
	swap := c.id
	if swap == "" {
		swap = c.swap
	}
	return budget.Request{ID: c.run.id + "/carved/" + c.run.a.incarnation(), Scopes: c.scopes, Amounts: amount, Lease: lease, Idle: true, Swap: swap}
}

// took notes what came of a request.
func (c *carve) took(req budget.Request, g budget.Grant, err error) {
	if err != nil {
		// The answer may have been lost, not the reservation.
		c.run.later.add(unsettled{id: req.ID, how: releaseAll}, err)
		return
	}
	c.id, c.swap, c.begun, c.turns = req.ID, "", true, time.Time{}
	c.renewal.keep(c.run.ledger, req.ID)
	c.run.crossed(g.Crossed)
	for _, s := range g.Left {
		if s.Reset.IsZero() || s.Start.IsZero() || c.share.Get(s.Meter) == 0 {
			continue // a rolling window does not turn
		}
		// Reset is by the store's clock, by which the lease began now.
		at := time.Now().Add(s.Reset.Sub(g.Expires.Add(-lease)))
		if c.turns.IsZero() || at.Before(c.turns) {
			c.turns = at
		}
	}
}

// beginChild takes the share of a run that is called, after which it can begin.
func (r *run) beginChild(ctx context.Context, op Op, child *run, name string) (waited time.Duration, no *unpaid) {
	c := child.ownCarve()
	if c == nil {
		return 0, nil
	}
	futile := false // to wait would be to wait for oneself
	err := c.above.ensure(ctx)
	if err == nil {
		req := c.request(c.share)
		var g budget.Grant
		err = c.above.reserve(r, &req, func() (err error) { g, err = r.ledger.Reserve(ctx, req); return err })
		d, _ := errors.AsType[*budget.DeniedError](err)
		held := errors.Is(err, budget.ErrHeld)
		if futile = held && !r.waitHelps(d, false); held && !futile {
			err = c.above.reserve(r, &req, func() (err error) { g, waited, err = r.payLater(ctx, req, op, op.Run.Step, d); return err })
		}
		c.mu.Lock()
		c.took(req, g, err)
		c.mu.Unlock()
	}
	if err != nil {
		no = r.refuseCall(ctx, err, name, op.Run.Step)
		if futile {
			no.text = "not run: the budget has no room for the " + shareInWords(c.share) + " of one call beside what is kept back for your own answer. " +
				"Do not try it again; go on without it, and say what was left out."
		}
	}
	return waited, no
}

// releaseCarve gives the run's own share back: the run has ended or is parked.
func (r *run) releaseCarve(ctx context.Context) {
	c := r.ownCarve()
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.id != "" && !r.release(ctx, c.id) {
		c.swap = c.id
	}
	c.id = ""
}

// lose lets the share run out of a run that was called and has broken off.
func (r *run) lose(key string) {
	r.mu.Lock()
	child := r.children[key]
	r.mu.Unlock()
	if child == nil {
		return
	}
	if c := child.ownCarve(); c != nil {
		c.renewal.stop()
	}
}

// shareInWords says what is kept, for people.
func shareInWords(a budget.Amounts) string {
	switch {
	case a.NanoUSD == 0:
		return quantity(budget.MeterTokens, a.Tokens)
	case a.Tokens == 0:
		return quantity(budget.MeterMoney, a.NanoUSD)
	}
	return quantity(budget.MeterMoney, a.NanoUSD) + " and " + quantity(budget.MeterTokens, a.Tokens)
}
