package budget

import (
	"context"
	"fmt"
	"time"
)

// Settlement is what a reservation has come to.
type Settlement struct {
	ID    string
	State State
	// Reserved is the bound, Actual what is counted now.
	Reserved, Actual Amounts
	// Over is what Actual has above Reserved; Overrun says that there is some. It is counted in full: the caps may now
	// stand above their limits, and refuse everything until their windows turn.
	Over    Amounts
	Overrun bool
	// Unconfirmed says that Actual is the bound, until usage or a receipt says better.
	Unconfirmed bool
	// Late says that the lease had run out, or the bound had been charged, before.
	Late bool
	// Duplicate says that this was recorded before and nothing moved.
	Duplicate bool
	// Left is where the caps of the reservation's chain stand now, in the windows that admitted it.
	Left    []CapState
	Crossed []Crossing
}

// Settle records what a call used and gives back the rest of its reservation. More than was reserved is recorded in full.
// It works after the lease ran out, too, and refunds then. A settlement that is repeated with the same amounts is a
// Duplicate, with others [ErrMismatch]; usage that comes after a receipt is noted and moves nothing.
//
// Settle, Charge, Void, Release and TrueUp do their work even if ctx was cancelled or the ledger was shut down.
func (l *Ledger) Settle(ctx context.Context, id string, actual Amounts) (Settlement, error) {
	var s Settlement
	if err := l.SettleInto(ctx, id, actual, &s); err != nil {
		return Settlement{}, err
	}
	return s, nil
}

// SettleInto is [Ledger.Settle] with the memory of an earlier settlement, as [Ledger.ReserveInto] is Reserve.
func (l *Ledger) SettleInto(ctx context.Context, id string, actual Amounts, s *Settlement) error {
	if err := checkID("ID", id); err != nil {
		return err
	}
	if err := actual.Validate(); err != nil {
		return err
	}
	return l.settlement(ctx, "settle", id, s, func(ctx context.Context, ans *Answer) error {
		return l.store.Settle(ctx, l.account, id, actual, ans)
	})
}

// Charge settles a reservation at its bound, unconfirmed: it may have been billed, and nobody knows what. [Ledger.Settle],
// [Ledger.TrueUp] or, with proof, [Ledger.Void] may correct it. Charging what has been settled or charged already changes
// nothing.
func (l *Ledger) Charge(ctx context.Context, id string) (Settlement, error) {
	if err := checkID("ID", id); err != nil {
		return Settlement{}, err
	}
	var s Settlement
	err := l.settlement(ctx, "charge", id, &s, func(ctx context.Context, ans *Answer) error {
		return l.store.Charge(ctx, l.account, id, ans)
	})
	if err != nil {
		return Settlement{}, err
	}
	return s, nil
}

// TrueUp replaces what is counted by what a source says was billed, up or down: a receipt, an audit. Each source is heard
// once per reservation: the same source with the same amounts is a Duplicate, with others [ErrMismatch]. A reservation that
// is still open is [ErrStillOpen]: settle or charge it first.
func (l *Ledger) TrueUp(ctx context.Context, id string, actual Amounts, source string) (Settlement, error) {
	var errs fieldErrors
	errs.wrap("", checkID("ID", id))
	errs.wrap("", actual.Validate())
	switch {
	case source == "":
		errs.add("Source", "a correction must say who makes it", "name the source, such as receipt")
	case len(source) > maxName:
		errs.add("Source", fmt.Sprintf("a name of %d bytes", len(source)), fmt.Sprintf("use at most %d", maxName))
	}
	if err := errs.join(); err != nil {
		return Settlement{}, err
	}
	var s Settlement
	err := l.settlement(ctx, "true-up", id, &s, func(ctx context.Context, ans *Answer) error {
		return l.store.TrueUp(ctx, l.account, id, actual, source, ans)
	})
	if err != nil {
		return Settlement{}, err
	}
	return s, nil
}

func (l *Ledger) settlement(ctx context.Context, op, id string, s *Settlement, ask func(context.Context, *Answer) error) error {
	if !l.traits.Local {
		var cancel context.CancelFunc
		ctx, cancel = l.detached(ctx)
		defer cancel()
	}
	k := l.pool.Get().(*lookup)
	defer l.done(k)
	ans := &k.ans
	if s == nil { // nobody asks
		ans.Left = k.left
		defer func() { k.left = ans.Left[:0] }()
	} else {
		ans.Left, ans.Crossed = s.Left, s.Crossed
	}
	if err := l.fail(op, ask(ctx, ans)); err != nil {
		return err
	}
	l.line.freed(ans.Left)
	l.refused.settled(ans.Left)
	if s == nil {
		return nil
	}
	s.ID, s.State, s.Overrun, s.Unconfirmed = id, ans.State, !ans.Over.IsZero(), ans.State.Unconfirmed()
	s.Reserved, s.Actual, s.Over = ans.Reserved, ans.Actual, ans.Over
	s.Late, s.Duplicate, s.Left, s.Crossed = ans.Late, ans.Duplicate, ans.Left, ans.Crossed
	return nil
}

// Void gives a whole reservation back, with proof that nothing was billed; without one it is [ErrNoProof]. Voiding twice
// changes nothing; what has been settled cannot be voided ([ErrFinished]).
func (l *Ledger) Void(ctx context.Context, id string, proof Proof) error {
	if err := proof.Validate(); err != nil {
		return err
	}
	return l.transition(ctx, "void", id, func(ctx context.Context, ans *Answer) error {
		return l.store.Void(ctx, l.account, id, proof, ans)
	})
}

// Release gives an idle reservation back. Releasing it twice changes nothing; one that is not idle is [ErrNotIdle].
func (l *Ledger) Release(ctx context.Context, id string) error {
	return l.transition(ctx, "release", id, func(ctx context.Context, ans *Answer) error {
		return l.store.Release(ctx, l.account, id, ans)
	})
}

// Renew lets the lease of an open reservation run for another lease from now; zero is the ledger's default. If it fails the
// call in flight goes on: the bound is charged when the lease runs out, and settling gives the difference back.
func (l *Ledger) Renew(ctx context.Context, id string, lease time.Duration) error {
	if err := checkLease("Lease", lease); err != nil {
		return err
	}
	if lease == 0 {
		lease = l.lease
	}
	return l.transition(ctx, "renew", id, func(ctx context.Context, ans *Answer) error {
		return l.store.Renew(ctx, l.account, id, lease, ans)
	})
}

func (l *Ledger) transition(ctx context.Context, op, id string, ask func(context.Context, *Answer) error) error {
	if err := checkID("ID", id); err != nil {
		return err
	}
	return l.settlement(ctx, op, id, nil, ask)
}
