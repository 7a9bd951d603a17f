package budget

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultLease is how long a reservation stands when neither [Request] nor [Config] says otherwise. The lease is no part of
// the safety (when it runs out the bound is charged, and settling later gives the difference back), it only governs how
// long a dead caller's unused headroom stays held. Five minutes is longer than a call with its retries usually takes, so
// that whoever does not renew is not charged in mid-call, and short enough for a crash to be accounted for soon.
const DefaultLease = 5 * time.Minute

const (
	maxLease = 366 * 24 * time.Hour
	maxID    = 1024
	// settleTime is how long a settlement may take on a store that is elsewhere, once its caller is gone.
	settleTime = 5 * time.Second
	// staleTries bounds how often a Reserve is repeated because caps or windows were not the present ones.
	staleTries = 8
)

// Config is what [Open] needs. The zero value is a ledger in memory without caps, which grants everything.
type Config struct {
	// Store keeps the counts; nil is NewMemory(), for caps on runs only. It is the caller's to close.
	Store Store
	// Caps are set in the store as they are here; a limit that was changed at run time is set back, visibly in
	// Changes. A cap that was once defined in a store that remembers, and is no longer listed, stays: list it with the
	// limit None to end it.
	Caps []Cap
	// Account separates ledgers that share a store; empty is "default". Caps never hold across accounts.
	Account string
	// Lease is the default of Request.Lease; zero is DefaultLease.
	Lease time.Duration
	// RefusedFor is how long a denial as spent is believed without asking a store that is elsewhere again, so that a loop
	// that does not give up costs no traffic. What this ledger settles or defines counts at once; receipts, refunds, limits
	// and freezes of other processes may be missed for that long, never longer: a second is plenty. Zero asks each time.
	RefusedFor time.Duration
	// Check, if there is one, is asked about each cap that Open or Define is handed and that is valid; what it returns
	// refuses the cap. A program that reserves in one way only refuses here what that would never count.
	Check func(Cap) error
}

// Ledger admits spending and settles it; what a part of a program must be able to spend whatever the others do, it keeps for
// that part ([Request.From]). It is safe for concurrent use, starts no goroutine, and any number of ledgers, in any number of
// processes, may work on one store.
type Ledger struct {
	store   Store
	traits  Traits
	account string
	lease   time.Duration
	check   func(Cap) error
	caps    *chain
	plans   plans
	closed  atomic.Bool
	ahead   atomic.Int64 // of the store's clock, in nanoseconds; only to guess windows
	pool    sync.Pool
	refused refused
	line    line // who waits for what others hold
}

// Open checks the configuration, defines its caps in the store and returns the ledger. All mistakes are reported at once,
// joined, as [*FieldError]s; a store that cannot be reached is [ErrUnavailable].
func Open(ctx context.Context, cfg Config) (*Ledger, error) {
	if cfg.Store == nil {
		cfg.Store = NewMemory()
	}
	if cfg.Account == "" {
		cfg.Account = "default"
	}
	if cfg.Lease == 0 {
		cfg.Lease = DefaultLease
	}
	l := &Ledger{store: cfg.Store, traits: cfg.Store.Traits(), account: cfg.Account, lease: cfg.Lease, check: cfg.Check, caps: newChain()}
	if !l.traits.Local {
		l.refused.span = max(cfg.RefusedFor, 0)
	}
	l.pool.New = func() any { return &lookup{} }
	var errs fieldErrors
	errs.wrap("Config", checkLease("Lease", cfg.Lease))
	if cfg.RefusedFor < 0 {
		errs.add("Config.RefusedFor", fmt.Sprintf("%v is negative", cfg.RefusedFor), "write 0 to ask each time, or up to some seconds")
	}
	if len(cfg.Account) > maxName {
		errs.add("Config.Account", fmt.Sprintf("a name of %d bytes", len(cfg.Account)), fmt.Sprintf("use at most %d", maxName))
	}
	errs.wrap("", l.checkCaps("Caps", cfg.Caps))
	if err := errs.join(); err != nil {
		return nil, err
	}
	if err := l.define(ctx, "config", cfg.Caps); err != nil {
		return nil, err
	}
	return l, nil
}

// checkCaps reports every mistake in caps that are handed in together.
func (l *Ledger) checkCaps(name string, caps []Cap) error {
	var errs fieldErrors
	seen := map[string]int{}
	for i, c := range caps {
		at := fmt.Sprintf("%s[%d]", name, i)
		if err := c.Validate(); err != nil {
			errs.wrap(at, err)
			continue
		}
		if first, twice := seen[c.ID()]; twice {
			errs.add(at, fmt.Sprintf("%q is the same cap as %s[%d]", c.ID(), name, first), "keep one of them")
		}
		seen[c.ID()] = i
		if l.check != nil {
			errs.wrap(at, l.check(c))
		}
		if l.traits.Forgets && (c.Per.kind != windowLifetime || !c.For.Names(ScopeRun)) {
			errs.add(at, fmt.Sprintf("%q outlives a run, and this memory store forgets it with the process", c.ID()),
				"use a store that remembers, or NewMemory(Volatile()) if caps may begin anew with every process")
		}
		if l.traits.MaxLimit > 0 && c.Limit > l.traits.MaxLimit && c.Limit != None {
			errs.add(at+".Limit", fmt.Sprintf("%d is more than this store counts exactly", c.Limit), fmt.Sprintf("write at most %d, or use another store", l.traits.MaxLimit))
		}
	}
	return errs.join()
}

func checkLease(field string, d time.Duration) error {
	if d >= 0 && d <= maxLease {
		return nil
	}
	return &FieldError{Field: field, Problem: fmt.Sprintf("a lease of %v", d), Fix: "write 0 for the default, or up to 366 days"}
}

func checkID(field, id string) error {
	switch {
	case id == "":
		return &FieldError{Field: field, Problem: "the reservation has no id", Fix: "make one that is new for every attempt"}
	case len(id) > maxID:
		return &FieldError{Field: field, Problem: fmt.Sprintf("an id of %d bytes", len(id)), Fix: fmt.Sprintf("use at most %d", maxID)}
	}
	return nil
}

// Request asks to spend.
type Request struct {
	// ID names the reservation: new for every possibly billed attempt, and the same when the very same call is repeated
	// because its answer was lost. The agent loop uses op key / incarnation / attempt.
	ID string
	// Scopes are everything the spend belongs to, in any order: tenant, user, the run and the runs above it, instrument.
	// The account is always among them.
	Scopes []Scope
	// Amounts is an upper bound of what the attempt can cost. Law 1 holds as far as it is one.
	Amounts Amounts
	// Lease is how long the reservation stands if nobody renews or settles it; zero is the ledger's default.
	Lease time.Duration
	// Idle marks a reservation that is never dispatched, only kept back (for a final answer). It is the one kind that is
	// given back when its lease runs out.
	Idle bool
	// Swap is the id of an idle reservation that is given back in the same step, if this one is granted.
	Swap string
	// From is the id of an idle reservation, the allowance, that this one is taken from as far as that goes: what the
	// allowance holds is room for those who draw from it, and for nobody else. What they do not use returns to it while it
	// stands; releasing it gives back what is left of it. Scopes must include the allowance's. It serves the caps that it
	// holds of itself, in the turn of the window in which it was reserved, and counts for no others.
	From string
}

// plain reports that a request is as nearly all are, scopes aside: nothing is wrong with it.
func (r *Request) plain() bool {
	a := &r.Amounts
	return len(r.ID) > 0 && len(r.ID) <= maxID && a.NanoUSD|a.Tokens|a.Requests|a.ToolCalls > 0 && len(a.Custom) == 0 &&
		r.Lease >= 0 && r.Lease <= maxLease && r.Swap == "" && r.From == ""
}

func (r *Request) validate() error {
	var errs fieldErrors
	errs.wrap("Request", checkID("ID", r.ID))
	for _, s := range r.Scopes {
		errs.wrap("Request", s.Validate())
	}
	errs.wrap("Request", r.Amounts.Validate())
	if r.Amounts.IsZero() {
		errs.add("Request.Amounts", "nothing is asked for", "give an upper bound of what the attempt can use")
	}
	errs.wrap("Request", checkLease("Lease", r.Lease))
	if r.Swap != "" && r.Swap == r.ID {
		errs.add("Request.Swap", "a reservation cannot replace itself", "reserve under a new id")
	}
	if r.From != "" && r.From == r.ID {
		errs.add("Request.From", "a reservation cannot be taken from itself", "name the idle reservation that it draws from, or leave it empty")
	}
	return errs.join()
}

// Grant is a reservation that was made.
type Grant struct {
	ID string
	// Duplicate says that this id was reserved before, with the same arguments, and is still open. Only a caller that is
	// still trying that very call may dispatch on it.
	Duplicate bool
	// Expires is when the lease runs out, by the store's clock.
	Expires time.Time
	// Left is where every cap of the chain stands now.
	Left []CapState
	// Crossed and Expired belong to reservations of others whose lease was found to be over: they were charged, or
	// released if idle.
	Crossed []Crossing
	Expired []string
}

// Reserve takes the amounts on every cap that the scopes touch, or on none. A refusal is a [*DeniedError] that names every
// cap that refused. Other errors: [*FieldError], [ErrMismatch], [ErrUnavailable], [ErrClosed], a [*StateError] for an id
// that was used up, and [ErrUnknownReservation] or [ErrNotIdle] for Swap and From. On any error nothing may be dispatched.
//
// A cap refuses only if the request asks for some of its meter. A cap for each tenant, user, run or tag refuses a request
// that names none; a cap for each instrument, family, tier, tool or agent does not apply to one that uses none.
func (l *Ledger) Reserve(ctx context.Context, r Request) (Grant, error) {
	var g Grant
	if err := l.ReserveInto(ctx, &r, &g); err != nil {
		return Grant{}, err
	}
	return g, nil
}

// ReserveInto is [Ledger.Reserve] with the memory of an earlier grant, for callers to whom allocations matter: what was in
// g is gone, and its slices are filled anew. After an error nothing in g means anything. What g.Left holds is to be read only,
// as long as g will be used again.
func (l *Ledger) ReserveInto(ctx context.Context, r *Request, g *Grant) error {
	p := l.plan(r.Scopes) // its scopes were looked at when it was made
	if p == nil || !r.plain() {
		if err := r.validate(); err != nil {
			return err
		}
	}
	if l.closed.Load() {
		return fmt.Errorf("%w: the ledger was shut down: open another", ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("budget: reserve: %w", err)
	}
	if err := l.refuse(r); err != nil {
		return err
	}
	k := l.pool.Get().(*lookup)
	defer l.done(k)
	ans := &k.ans
	ans.Left, ans.Crossed, ans.Expired = g.Left, g.Crossed, g.Expired
	lease := r.Lease
	if lease == 0 {
		lease = l.lease
	}
	if err := l.reserve(ctx, p, k, r, lease); err != nil {
		return err
	}
	if len(ans.Violations) > 0 {
		d := &DeniedError{Violations: copied(ans.Violations), Requested: r.Amounts, Left: copied(ans.Left),
			Crossed: copied(ans.Crossed), Expired: copied(ans.Expired)}
		if l.refused.span > 0 && r.Swap == "" && r.From == "" {
			l.refused.remember(d, l.caps.known())
		}
		return d
	}
	g.ID, g.Duplicate, g.Expires, g.Left, g.Crossed, g.Expired = r.ID, ans.Duplicate, ans.Expires, ans.Left, ans.Crossed, ans.Expired
	return nil
}

// reserve asks the store until it agrees which caps and windows are in force.
func (l *Ledger) reserve(ctx context.Context, p *plan, k *lookup, r *Request, lease time.Duration) error {
	if p != nil {
		if good, err := l.reserveBy(ctx, p, k, r, lease); good {
			return err
		}
	}
	k.scopes = canonical(k.scopes, r.Scopes)
	now := l.now()
	for try := range staleTries {
		if try > 0 || p != nil { // the store has just said why
			switch k.ans.Stale {
			case StaleCaps:
				if err := l.refresh(ctx); err != nil {
					return err
				}
				now = l.now()
			case StaleWindow:
				l.ahead.Store(int64(time.Until(k.ans.Now)))
				now = k.ans.Now
			}
		}
		version := l.caps.resolve(k, r.Amounts, now)
		k.op = ReserveOp{ID: r.ID, Scopes: k.scopes, Amounts: r.Amounts, Lease: lease, Idle: r.Idle, Swap: r.Swap, From: r.From,
			Version: version, Links: k.links, DryRun: len(k.unnamed) > 0}
		if err := l.fail("reserve", l.store.Reserve(ctx, l.account, &k.op, &k.ans)); err != nil {
			return err
		}
		if k.ans.Stale == "" {
			k.ans.Violations = append(k.ans.Violations, k.unnamed...)
			if !k.unlabelled {
				l.keepPlan(r.Scopes, now)
			}
			return nil
		}
	}
	return fmt.Errorf("%w: caps or windows changed %d times during one reserve", ErrUnavailable, staleTries)
}

// done gives the memory of a request back, but not what its caller has lent or was given. A plan leaves nothing else that
// would have to be cleared.
func (l *Ledger) done(k *lookup) {
	k.ans.Left, k.ans.Crossed, k.ans.Expired = nil, nil, nil
	if len(k.scopes) > 0 {
		k.reset()
	}
	l.pool.Put(k)
}

func copied[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return append([]T(nil), s...)
}

// now guesses the store's clock. A wrong guess costs one more question at the turn of a window.
func (l *Ledger) now() time.Time { return time.Now().Add(time.Duration(l.ahead.Load())) }

// refresh learns the caps that changed.
func (l *Ledger) refresh(ctx context.Context) error {
	set, err := l.store.Caps(ctx, l.account, l.caps.known())
	if err := l.fail("caps", err); err != nil {
		return err
	}
	l.caps.apply(set)
	return nil
}

// ours are the errors a store may answer; any other means that the outcome is unknown.
var ours = []error{ErrMismatch, ErrUnknownReservation, ErrFinished, ErrStillOpen, ErrNotIdle, ErrNoProof, ErrClosed, ErrInvalid, ErrUnavailable}

func (l *Ledger) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	for _, own := range ours {
		if errors.Is(err, own) {
			return err
		}
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, op, err)
}

// detached lets a settlement outlive its caller: a run that was cancelled must still say what it spent.
func (l *Ledger) detached(ctx context.Context) (context.Context, context.CancelFunc) {
	if l.traits.Local {
		return ctx, func() {}
	}
	return context.WithTimeout(context.WithoutCancel(ctx), settleTime)
}

// Shutdown ends admission: Reserve, Define, Freeze and Unfreeze answer [ErrClosed] from now on. Calls in flight can still
// be settled, and the store stays open, since it may be shared. It never blocks and is safe to repeat.
func (l *Ledger) Shutdown(context.Context) error {
	l.closed.Store(true)
	return nil
}
