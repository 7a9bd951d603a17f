package budget

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// mostRefused bounds the memory of refusals; beyond it all are forgotten.
const mostRefused = 1024

// refused remembers which counts are spent, so that a loop that does not give up costs no store traffic. Only what waiting
// for calls in flight cannot change is kept, and this ledger's own settlements and limits count at once. A store in this
// process is asked each time: it costs nothing.
type refused struct {
	span time.Duration // how long a refusal is believed; 0 is not at all
	some atomic.Int64
	mu   sync.Mutex
	by   map[string]refusal
}

type refusal struct {
	violation Violation
	state     CapState
	until     time.Time
	version   int64
}

// covers reports whether a request of that much is refused for the same reason, until the same time.
func (r *refusal) covers(requested int64) bool {
	v := &r.violation
	if v.Kind == KindSpent && strings.HasPrefix(v.Window, "rolling ") {
		return requested == v.Requested // when there will be room depends on how much is asked for
	}
	return requested >= v.Requested && (v.Kind == KindTooBig || requested <= v.Limit)
}

func spentKey(cap string, scopes []Scope) string {
	var b strings.Builder
	b.WriteString(cap)
	for _, s := range scopes {
		b.WriteByte(0)
		b.WriteString(s.Kind)
		b.WriteByte(0)
		b.WriteString(s.Name)
	}
	return b.String()
}

// remember keeps what a denial says of counts that are spent.
func (f *refused) remember(d *DeniedError, version int64) {
	now := time.Now()
	for _, v := range d.Violations {
		if v.Kind != KindSpent && v.Kind != KindTooBig {
			continue
		}
		state, found := CapState{}, 0
		for _, s := range d.Left {
			if s.Cap == v.Cap && s.Scope == v.Scope {
				state = s
				found++
			}
		}
		if found != 1 { // of two counts of one cap it is not said which
			continue
		}
		until := now.Add(f.span)
		if !v.ResetAt.IsZero() && v.ResetAt.Before(until) {
			until = v.ResetAt
		}
		f.mu.Lock()
		if f.by == nil || len(f.by) >= mostRefused {
			f.by = map[string]refusal{}
		}
		f.by[spentKey(v.Cap, state.Scopes)] = refusal{v, state, until, version}
		f.some.Store(int64(len(f.by)))
		f.mu.Unlock()
	}
}

// settled forgets refusals that may be grants now.
func (f *refused) settled(states []CapState) {
	if f.some.Load() == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range states {
		key := spentKey(s.Cap, s.Scopes)
		if r, ok := f.by[key]; ok && s.Settled < r.state.Settled {
			delete(f.by, key)
		}
	}
	f.some.Store(int64(len(f.by)))
}

// refuse answers a request for counts that are known to be spent; nil if the store has to be asked. A request with a swap
// or an allowance frees something, so it is always asked for.
func (l *Ledger) refuse(r *Request) error {
	if l.refused.some.Load() == 0 || r.Swap != "" || r.From != "" {
		return nil
	}
	k := l.pool.Get().(*lookup)
	defer func() { k.reset(); l.pool.Put(k) }()
	k.scopes = canonical(k.scopes, r.Scopes)
	version := l.caps.resolve(k, r.Amounts, l.now())
	d := &DeniedError{Requested: r.Amounts}
	now := time.Now()
	f := &l.refused
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, link := range k.links {
		key := spentKey(link.Cap, link.Scopes)
		e, ok := f.by[key]
		switch {
		case !ok:
		case e.version != version || !now.Before(e.until):
			delete(f.by, key)
		case e.covers(r.Amounts.Get(e.violation.Meter)):
			v := e.violation
			v.Requested = r.Amounts.Get(v.Meter)
			d.Violations, d.Left = append(d.Violations, v), append(d.Left, e.state)
		}
	}
	f.some.Store(int64(len(f.by)))
	if len(d.Violations) == 0 {
		return nil
	}
	return d
}
