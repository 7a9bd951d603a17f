package budget

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// local finds a reservation that was made from a slice.
func (s *sliced) local(account, id string) *sliceRow {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows[sliceKey{account, id}]
}

func (r *sliceRow) refuse(op string, cause error) error {
	return &StateError{Op: op, ID: r.id, State: r.state, Cause: cause}
}

// finish ends an open row, or moves one that was charged.
func (s *sliced) finish(ctx context.Context, r *sliceRow, state State, actual Amounts, ans *Answer) error {
	s.mu.Lock()
	late := r.state != StateOpen || !time.Now().Before(r.until)
	open := r.state == StateOpen
	if open {
		s.end(r, state, actual)
	}
	s.mu.Unlock()
	if !open {
		if err := s.move(ctx, r, state, actual); err != nil {
			return err
		}
	}
	s.pay(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.answer(ans)
	s.tell(r.of.account, ans)
	ans.Late = late
	return nil
}

// repeated answers what was done before.
func (r *sliceRow) repeated(ans *Answer) error {
	r.answer(ans)
	ans.Duplicate = true
	return nil
}

// Settle implements [Store].
func (s *sliced) Settle(ctx context.Context, account, id string, actual Amounts, ans *Answer) error {
	r := s.local(account, id)
	if r == nil {
		return s.Store.Settle(ctx, account, id, actual, ans)
	}
	r.one.Lock()
	defer r.one.Unlock()
	s.mu.Lock()
	switch {
	case r.said && !r.usage.Equal(actual):
		defer s.mu.Unlock()
		return r.refuse("settle", ErrMismatch)
	case r.said:
		defer s.mu.Unlock()
		return r.repeated(ans)
	case r.state == StateVoided:
		defer s.mu.Unlock()
		return r.refuse("settle", ErrFinished)
	case len(r.sources) > 0: // a receipt knows better
		defer s.mu.Unlock()
		r.said, r.usage = true, actual.clone()
		r.answer(ans)
		ans.Late = true
		return nil
	}
	s.mu.Unlock()
	err := s.finish(ctx, r, StateSettled, actual, ans)
	if err == nil {
		s.mu.Lock()
		r.said, r.usage = true, actual.clone()
		s.mu.Unlock()
	}
	return err
}

// Charge implements [Store].
func (s *sliced) Charge(ctx context.Context, account, id string, ans *Answer) error {
	r := s.local(account, id)
	if r == nil {
		return s.Store.Charge(ctx, account, id, ans)
	}
	r.one.Lock()
	defer r.one.Unlock()
	s.mu.Lock()
	switch {
	case r.state == StateVoided:
		defer s.mu.Unlock()
		return r.refuse("charge", ErrFinished)
	case r.state != StateOpen:
		defer s.mu.Unlock()
		return r.repeated(ans)
	}
	s.mu.Unlock()
	return s.finish(ctx, r, StateCharged, r.bound, ans)
}

// Void implements [Store].
func (s *sliced) Void(ctx context.Context, account, id string, proof Proof, ans *Answer) error {
	if err := proof.Validate(); err != nil {
		return err
	}
	r := s.local(account, id)
	if r == nil {
		return s.Store.Void(ctx, account, id, proof, ans)
	}
	r.one.Lock()
	defer r.one.Unlock()
	s.mu.Lock()
	switch r.state {
	case StateVoided:
		defer s.mu.Unlock()
		return r.repeated(ans)
	case StateSettled:
		defer s.mu.Unlock()
		return r.refuse("void", ErrFinished)
	}
	s.mu.Unlock()
	return s.finish(ctx, r, StateVoided, Amounts{}, ans)
}

// Release implements [Store].
func (s *sliced) Release(ctx context.Context, account, id string, ans *Answer) error {
	if r := s.local(account, id); r != nil {
		return &StateError{Op: "release", ID: id, State: r.state, Cause: ErrNotIdle}
	}
	return s.Store.Release(ctx, account, id, ans)
}

// Renew implements [Store]. The slice's own lease is renewed by those who take from it.
func (s *sliced) Renew(ctx context.Context, account, id string, lease time.Duration, ans *Answer) error {
	r := s.local(account, id)
	if r == nil {
		return s.Store.Renew(ctx, account, id, lease, ans)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.state != StateOpen || !time.Now().Before(r.until) {
		return r.refuse("renew", ErrFinished)
	}
	r.until = time.Now().Add(lease)
	r.answer(ans)
	return nil
}

// TrueUp implements [Store].
func (s *sliced) TrueUp(ctx context.Context, account, id string, actual Amounts, source string, ans *Answer) error {
	r := s.local(account, id)
	if r == nil {
		return s.Store.TrueUp(ctx, account, id, actual, source, ans)
	}
	r.one.Lock()
	defer r.one.Unlock()
	s.mu.Lock()
	heard, twice := r.sources[source]
	open := r.state == StateOpen
	s.mu.Unlock()
	switch {
	case open:
		return &StateError{Op: "true-up", ID: id, State: StateOpen, Cause: ErrStillOpen}
	case twice && !heard.Equal(actual):
		return ErrMismatch
	case !twice:
		if err := s.move(ctx, r, StateSettled, actual); err != nil {
			return err
		}
		s.pay(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.sources == nil {
		r.sources = map[string]Amounts{}
	}
	r.sources[source] = actual
	r.answer(ans)
	ans.Duplicate = twice
	return nil
}

// Sweep implements [Store].
func (s *sliced) Sweep(ctx context.Context, account string, max int, ans *Answer) error {
	ids := s.expire(time.Now())
	s.tidy(ctx, s.quiet(), 0)
	s.pay(ctx)
	err := s.Store.Sweep(ctx, account, max, ans)
	ans.Expired = append(ans.Expired, ids...)
	return err
}

// Open implements [Store].
func (s *sliced) Open(ctx context.Context, account, prefix string) ([]Reservation, error) {
	out, err := s.Store.Open(ctx, account, prefix)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rows {
		if r.state == StateOpen && r.of.account == account && strings.HasPrefix(r.id, prefix) {
			out = append(out, Reservation{ID: r.id, Scopes: r.scopes, State: r.state, Reserved: r.bound, Admitted: r.at, Expires: r.until})
		}
	}
	slices.SortFunc(out, func(a, b Reservation) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// Forget implements [Store]: slices of the run are given back first.
func (s *sliced) Forget(ctx context.Context, account string, run Scope) error {
	s.giveBack(ctx, func(key string) bool { return strings.Contains(key+"\x00", "\x00"+run.Kind+"\x00"+run.Name+"\x00") })
	return s.Store.Forget(ctx, account, run)
}

// Close implements [Store].
func (s *sliced) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	s.giveBack(ctx, func(string) bool { return true })
	s.mu.Lock()
	owed := len(s.owed)
	s.mu.Unlock()
	err := s.Store.Close()
	if owed > 0 {
		err = errors.Join(err, ErrUnavailable)
	}
	return err
}
