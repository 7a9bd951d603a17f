package pgstore

import (
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/internal/codec"
	"github.com/gridloop/gridloop/budget/internal/rules"
)

// named is a reservation that a request names besides its own, nil if it names none.
func (b *books) named(as, id string, check func(*rules.Row) error) (*row, error) {
	if id == "" {
		return nil, nil
	}
	r, err := b.row(id)
	switch {
	case err != nil:
		return nil, err
	case r == nil:
		return nil, unknown(as, id)
	}
	return r, check(&r.Row)
}

// lacks reports whether a reservation that may end may return something to an allowance that was not locked with it. Who has
// drawn is known of this process's own reservations; of others it is learnt here, and the next attempt locks everything in order.
func (b *books) lacks(w *wanted) (some bool) {
	look := func(r *row) {
		if r == nil || r.err != nil || r.State != budget.StateOpen || r.Taken.IsZero() {
			return
		}
		if _, locked := b.rows[r.From]; !locked {
			b.account.lacked[r.From], some = true, true
		}
	}
	for _, id := range w.ends {
		look(b.rows[id])
	}
	for _, r := range b.due {
		if r.Idle { // others are charged in full
			look(r)
		}
	}
	return some
}

// of finds what the reservation returns to, when it has taken something and that is still kept.
func (b *books) of(r *row) (*row, error) {
	if r.Of = nil; r.Taken.IsZero() {
		return nil, nil
	}
	of, err := b.row(r.From)
	if of != nil {
		r.Of = &of.Row
	}
	return of, err
}

// touchOpen is touch, unless the reservation has ended, or there is none.
func (b *books) touchOpen(r *row) {
	if r != nil && r.State == budget.StateOpen {
		b.touch(r)
	}
}

// from and taken are NULL for nearly all.
func (r *row) from() []byte {
	if r.From == "" {
		return nil
	}
	return []byte(r.From)
}

func (r *row) taken() *string {
	if r.Taken.IsZero() {
		return nil
	}
	text := codec.EncodeAmounts(r.Taken)
	return &text
}
