package budget

import (
	"context"
	"errors"
	"maps"
	"time"
)

// retire takes no more from the lane's slice, and settles it when its calls have ended.
func (s *sliced) retire(ctx context.Context, l *lane) {
	sl := l.now
	if sl == nil {
		return
	}
	l.now = nil
	s.mu.Lock()
	sl.retired = true
	s.owe(sl)
	s.mu.Unlock()
	s.pay(ctx)
}

// owe has the store told what a slice came to, once that is known. The caller holds the lock.
func (s *sliced) owe(sl *slice) {
	if sl.retired && sl.calls == 0 && !sl.owed {
		sl.owed = true
		s.owed = append(s.owed, sl)
	}
}

// pay settles slices that have ended. What the store cannot take now is paid later, or charged when its lease runs out.
func (s *sliced) pay(ctx context.Context) {
	for {
		s.mu.Lock()
		if len(s.owed) == 0 {
			s.mu.Unlock()
			return
		}
		sl := s.owed[0]
		s.owed = s.owed[1:]
		s.mu.Unlock()
		sl.pay.Lock()
		s.mu.Lock()
		if !sl.tried {
			sl.tried, sl.asked = true, sl.used
		}
		s.mu.Unlock()
		var ans Answer
		err := s.Store.Settle(ctx, sl.account, sl.id, sl.asked, &ans)
		sl.pay.Unlock()
		s.mu.Lock()
		if err != nil && !errors.Is(err, ErrUnknownReservation) && !errors.Is(err, ErrMismatch) {
			s.owed = append(s.owed, sl)
			s.mu.Unlock()
			return
		}
		sl.settled = true
		if err == nil {
			s.hear(sl.account, &ans)
		}
		s.mu.Unlock()
	}
}

// quiet is how long a lane is unused before its slice is given back. A slice that nobody renews would be charged in full.
func (s *sliced) quiet() time.Duration { return max(s.cfg.Lease/4, s.cfg.Check) }

// tidy gives back the slices of lanes that were not used for so long, and forgets these lanes; not more often than every
// so often. A lane that is in use right now is not waited for. It reports whether there was a slice.
func (s *sliced) tidy(ctx context.Context, unused, every time.Duration) (some bool) {
	now := time.Now()
	s.mu.Lock()
	if now.Sub(s.tidied) < every {
		s.mu.Unlock()
		return false
	}
	s.tidied = now
	lanes := maps.Clone(s.lanes)
	s.mu.Unlock()
	for key, l := range lanes {
		if !l.mu.TryLock() {
			continue
		}
		if now.Sub(l.used) >= unused {
			some = some || l.now != nil
			s.retire(ctx, l)
			l.gone = true
			s.mu.Lock()
			if s.lanes[key] == l {
				delete(s.lanes, key)
			}
			s.mu.Unlock()
		}
		l.mu.Unlock()
	}
	return some
}

func (s *sliced) giveBack(ctx context.Context, of func(key string) bool) {
	s.mu.Lock()
	var mine []*lane
	for key, l := range s.lanes {
		if of(key) {
			mine = append(mine, l)
			delete(s.lanes, key)
		}
	}
	s.mu.Unlock()
	for _, l := range mine {
		l.mu.Lock()
		l.gone = true
		s.retire(ctx, l)
		l.mu.Unlock()
	}
}
