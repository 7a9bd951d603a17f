package budget

import (
	"context"
	"fmt"
	"time"
)

// Define adds caps, or changes limits and thresholds of caps that are there, for every ledger on the store. by says who
// does it and is kept in [Ledger.Changes]. A limit below what is spent already is legal: nothing is admitted until the
// window turns. Mistakes are reported all at once, and then nothing is changed.
func (l *Ledger) Define(ctx context.Context, by string, caps ...Cap) error {
	if l.closed.Load() {
		return fmt.Errorf("%w: the ledger was shut down: open another", ErrClosed)
	}
	var errs fieldErrors
	errs.wrap("", checkBy(by))
	errs.wrap("", l.checkCaps("Caps", caps))
	if err := errs.join(); err != nil {
		return err
	}
	return l.define(ctx, by, caps)
}

func checkBy(by string) error {
	switch {
	case by == "":
		return &FieldError{Field: "By", Problem: "a change must say who makes it", Fix: "name a person or a program"}
	case len(by) > maxName:
		return &FieldError{Field: "By", Problem: fmt.Sprintf("a name of %d bytes", len(by)), Fix: fmt.Sprintf("use at most %d", maxName)}
	}
	return nil
}

func (l *Ledger) define(ctx context.Context, by string, caps []Cap) error {
	if len(caps) > 0 {
		if _, err := l.store.Define(ctx, l.account, by, caps); err != nil {
			return l.fail("define", err)
		}
	}
	return l.refresh(ctx)
}

// Caps lists the caps in force, by ID.
func (l *Ledger) Caps(ctx context.Context) ([]CapRecord, error) {
	if err := l.refresh(ctx); err != nil {
		return nil, err
	}
	return l.caps.records(), nil
}

// Counts reports whether any cap in force, as far as this ledger has heard, counts the meter, one with the limit [None]
// too. It asks no store and allocates nothing, so that what nothing counts need not be reserved. Of caps that others
// define a ledger hears with its next Reserve that they may concern.
func (l *Ledger) Counts(m Meter) bool { return l.caps.counts(m) }

// Changes is who changed what, oldest first: limits with old and new, freezes with their reasons.
func (l *Ledger) Changes(ctx context.Context) ([]Change, error) {
	out, err := l.store.Changes(ctx, l.account)
	return out, l.fail("changes", err)
}

// Freeze refuses everything that names the scope, until then or, if until is zero, [Ledger.Unfreeze]. Calls in flight
// settle as ever. Freezing the account stops all. A second freeze of a scope replaces the first.
//
// Who asks about tools only if [Ledger.Counts] says that their calls are counted would never meet the freeze of a tool, so
// if no cap counts tool calls, one without a limit is defined for it first, and stays.
func (l *Ledger) Freeze(ctx context.Context, scope Scope, reason string, until time.Time, by string) error {
	if err := l.checkFreeze(scope, by); err != nil {
		return err
	}
	if scope.Kind == ScopeTool {
		if err := l.countTool(ctx, scope, by); err != nil {
			return err
		}
	}
	return l.fail("freeze", l.store.Freeze(ctx, l.account, Freeze{Scope: scope, Reason: reason, Until: until, By: by}))
}

func (l *Ledger) countTool(ctx context.Context, tool Scope, by string) error {
	if err := l.refresh(ctx); err != nil || l.Counts(MeterToolCalls) {
		return err
	}
	return l.define(ctx, by, []Cap{{For: One(tool.Kind, tool.Name), Meter: MeterToolCalls, Limit: None, Per: Lifetime()}})
}

// Unfreeze ends a freeze. What is not frozen stays so.
func (l *Ledger) Unfreeze(ctx context.Context, scope Scope, by string) error {
	if err := l.checkFreeze(scope, by); err != nil {
		return err
	}
	return l.fail("unfreeze", l.store.Unfreeze(ctx, l.account, scope, by))
}

func (l *Ledger) checkFreeze(scope Scope, by string) error {
	if l.closed.Load() {
		return fmt.Errorf("%w: the ledger was shut down: open another", ErrClosed)
	}
	var errs fieldErrors
	errs.wrap("", scope.Validate())
	errs.wrap("", checkBy(by))
	return errs.join()
}

// Freezes lists what is frozen now.
func (l *Ledger) Freezes(ctx context.Context) ([]Freeze, error) {
	out, err := l.store.Freezes(ctx, l.account)
	return out, l.fail("freezes", err)
}

// Forget retires a run that has ended: its counts and the caps made for it alone are dropped, so that they do not pile up.
// All its reservations must have ended ([ErrStillOpen]). What it spent stays counted on every other cap, and receipts may
// still correct it there. Afterwards the run's id is refused with [ErrClosed] for a day, and must not be used again.
func (l *Ledger) Forget(ctx context.Context, run Scope) error {
	if err := run.Validate(); err != nil {
		return err
	}
	if run.Kind != ScopeRun {
		return &FieldError{Field: "Scope.Kind", Problem: fmt.Sprintf("a %s does not end", run.Kind), Fix: "forget runs only"}
	}
	ctx, cancel := l.detached(ctx)
	defer cancel()
	if err := l.fail("forget", l.store.Forget(ctx, l.account, run)); err != nil {
		return err
	}
	return l.refresh(ctx)
}

// Snapshot is where all the caps stand that a request with these scopes would touch, without changing anything.
func (l *Ledger) Snapshot(ctx context.Context, scopes ...Scope) ([]CapState, error) {
	var errs fieldErrors
	for _, s := range scopes {
		errs.wrap("", s.Validate())
	}
	if err := errs.join(); err != nil {
		return nil, err
	}
	if err := l.refresh(ctx); err != nil {
		return nil, err
	}
	k := l.pool.Get().(*lookup)
	defer func() { k.reset(); l.pool.Put(k) }()
	k.scopes = canonical(k.scopes, scopes)
	l.caps.resolve(k, Amounts{}, l.now())
	out, err := l.store.Snapshot(ctx, l.account, k.links)
	return out, l.fail("snapshot", err)
}

// OpenReservations lists the open reservations whose id begins with prefix, by id. End the prefix with the separator of
// your ids ("run7/"), or run70 is listed with run7.
func (l *Ledger) OpenReservations(ctx context.Context, prefix string) ([]Reservation, error) {
	out, err := l.store.Open(ctx, l.account, prefix)
	return out, l.fail("open", err)
}

// Swept is what a sweep found.
type Swept struct {
	Expired []string // charged, or released if they were idle
	Crossed []Crossing
}

// Sweep ends up to max reservations whose lease is over. Every Reserve ends a few by itself; only a process that has
// stopped reserving, and wants its numbers exact, needs to call it.
func (l *Ledger) Sweep(ctx context.Context, max int) (Swept, error) {
	if max <= 0 {
		return Swept{}, &FieldError{Field: "Max", Problem: fmt.Sprintf("a sweep of %d", max), Fix: "write how many at most"}
	}
	var ans Answer
	if err := l.fail("sweep", l.store.Sweep(ctx, l.account, max, &ans)); err != nil {
		return Swept{}, err
	}
	return Swept{Expired: ans.Expired, Crossed: ans.Crossed}, nil
}
