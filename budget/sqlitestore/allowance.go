package sqlitestore

import (
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/internal/codec"
	"github.com/gridloop/gridloop/budget/internal/rules"
)

// named is a reservation that a request names besides its own, nil if it names none.
func (b *books) named(a *account, as, id string, check func(*rules.Row) error) (*row, error) {
	if id == "" {
		return nil, nil
	}
	r, err := b.row(a, id)
	switch {
	case err != nil:
		return nil, err
	case r == nil:
		return nil, unknown(as, id)
	}
	return r, check(&r.Row)
}

// of finds what the reservation returns to, when it has taken something and that is still kept.
func (b *books) of(a *account, r *row) (of *row, err error) {
	if r.Of = nil; r.Taken.IsZero() {
		return nil, nil
	}
	if of, err = b.row(a, r.From); of != nil {
		r.Of = &of.Row
	}
	return of, err
}

// touchOpen lists a reservation as changed, unless it has ended, or there is none.
func (a *account) touchOpen(r *row) {
	if r != nil && r.State == budget.StateOpen {
		a.touch(r)
	}
}

// taken is NULL for nearly all.
func (r *row) taken() any {
	if r.From == "" {
		return nil
	}
	return orNull(codec.EncodeAmounts(r.Taken))
}

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}
