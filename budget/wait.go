package budget

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ReserveWait is Reserve for a caller that can wait for what others hold: it returns when it was granted, refused for
// another reason than [ErrHeld], or when ctx has ended, with an error that is both ctx's and ErrHeld. A caller that waits
// holds nothing here, and must hold nothing else on these caps, or it may wait for itself.
//
// Within one ledger those who wait for a cap stand in one line: first come, first served within a tenant, tenants in turn,
// and only the first asks the store, when something was settled or, since others may settle too, now and then. One that is
// too large for the moment is not overtaken by smaller ones behind it. Those who draw from one allowance stand in a line of
// their own, since nobody else can have what it holds. Reserve does not stand in line.
func (l *Ledger) ReserveWait(ctx context.Context, r Request) (Grant, error) {
	w := &waiter{wake: make(chan struct{}, 1)}
	for _, s := range r.Scopes {
		if s.Kind == ScopeTenant {
			w.tenant = s.Name
		}
	}
	defer func() { l.line.leave(w) }()
	var denied *DeniedError
	var crossed []Crossing
	var expired []string
	if l.line.waiting.Load() > 0 && r.validate() == nil {
		l.line.behind(l.places(&r), w)
	}
	for poll := firstPoll; ; poll = min(2*poll, lastPoll) {
		if w.queue != nil {
			if err := l.line.wait(ctx, w, &poll); err != nil {
				if denied == nil {
					return Grant{}, fmt.Errorf("%w: %w", ErrHeld, err)
				}
				return Grant{}, fmt.Errorf("%w: %w", denied, err)
			}
		}
		g, err := l.Reserve(ctx, r)
		switch {
		case err == nil:
			w.served = true
			g.Crossed, g.Expired = append(crossed, g.Crossed...), append(expired, g.Expired...)
			return g, nil
		case !errors.As(err, &denied):
			return Grant{}, err
		}
		// The news of every refusal are in the last answer, or nobody would hear of them.
		crossed, expired = append(crossed, denied.Crossed...), append(expired, denied.Expired...)
		denied.Crossed, denied.Expired = crossed, expired
		if !errors.Is(err, ErrHeld) {
			return Grant{}, err
		}
		l.line.join(place{denied.count(), r.From}, w)
	}
}

const (
	firstPoll = 100 * time.Millisecond
	lastPoll  = 2 * time.Second
)

// places are the counts that a request touches.
func (l *Ledger) places(r *Request) []place {
	k := l.pool.Get().(*lookup)
	defer func() { k.reset(); l.pool.Put(k) }()
	k.scopes = canonical(k.scopes, r.Scopes)
	l.caps.resolve(k, r.Amounts, l.now())
	out := make([]place, len(k.links))
	for i, link := range k.links {
		out[i] = place{spentKey(link.Cap, link.Scopes), r.From}
	}
	return out
}

// place is a count that is waited for, a cap for all of the scopes that it counts together, by those who draw from one
// allowance or by all others.
type place struct{ count, from string }

// count is the count that refused first.
func (e *DeniedError) count() string {
	v := e.Violations[0]
	for _, s := range e.Left {
		if s.Cap == v.Cap && s.Scope == v.Scope && s.Settled == v.Settled {
			return spentKey(s.Cap, s.Scopes)
		}
	}
	return spentKey(v.Cap, []Scope{v.Scope})
}

// line is all who wait in this process, by what they wait for.
type line struct {
	waiting atomic.Int64
	mu      sync.Mutex
	tickets int64
	queues  map[place]*capLine
	draws   int // queues of those who draw
}

type waiter struct {
	tenant string
	ticket int64
	wake   chan struct{} // it is your turn, or something was settled
	served bool
	queue  *capLine
}

// capLine is a line before one count: the first waiter of the first tenant is its head.
type capLine struct {
	place   place
	tenants []*tenantLine
}

type tenantLine struct {
	name    string
	waiters []*waiter
}

func (q *capLine) head() *waiter {
	if len(q.tenants) == 0 {
		return nil
	}
	return q.tenants[0].waiters[0]
}

func (w *waiter) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// behind queues w if anybody waits for one of the places.
func (l *line) behind(places []place, w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range places {
		if l.queues[p] != nil {
			l.enter(p, w)
			return
		}
	}
}

// join queues w, or moves it to another queue; where it stands already it stays.
func (l *line) join(p place, w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.queue != nil && w.queue.place == p {
		return
	}
	l.exit(w)
	l.enter(p, w)
}

func (l *line) leave(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.exit(w)
}

// enter keeps the order of arrival within a tenant, also for one that stood elsewhere before.
func (l *line) enter(p place, w *waiter) {
	if w.ticket == 0 {
		l.tickets++
		w.ticket = l.tickets
	}
	if l.queues == nil {
		l.queues = map[place]*capLine{}
	}
	q := l.queues[p]
	if q == nil {
		q = &capLine{place: p}
		l.queues[p] = q
		if p.from != "" {
			l.draws++
		}
	}
	i := slices.IndexFunc(q.tenants, func(t *tenantLine) bool { return t.name == w.tenant })
	if i < 0 {
		i = len(q.tenants)
		q.tenants = append(q.tenants, &tenantLine{name: w.tenant})
	}
	t := q.tenants[i]
	at, _ := slices.BinarySearchFunc(t.waiters, w, func(a, b *waiter) int { return int(a.ticket - b.ticket) })
	t.waiters = slices.Insert(t.waiters, at, w)
	w.queue = q
	l.waiting.Add(1)
}

// exit takes w out, and gives the next its turn. A tenant that was served goes to the end.
func (l *line) exit(w *waiter) {
	q := w.queue
	if q == nil {
		return
	}
	w.queue = nil
	l.waiting.Add(-1)
	was := q.head()
	i := slices.IndexFunc(q.tenants, func(t *tenantLine) bool { return t.name == w.tenant })
	t := q.tenants[i]
	t.waiters = slices.DeleteFunc(t.waiters, func(x *waiter) bool { return x == w })
	switch {
	case len(t.waiters) == 0:
		q.tenants = slices.Delete(q.tenants, i, i+1)
	case w.served:
		q.tenants = append(slices.Delete(q.tenants, i, i+1), t)
	}
	switch next := q.head(); {
	case next == nil:
		delete(l.queues, q.place)
		if q.place.from != "" {
			l.draws--
		}
	case next != was:
		next.rouse()
	}
}

// wait returns when it is w's turn to ask: at once if it has just come to the head, later if it was refused there.
func (l *line) wait(ctx context.Context, w *waiter, poll *time.Duration) error {
	for {
		l.mu.Lock()
		head := w.queue.head() == w
		l.mu.Unlock()
		var again <-chan time.Time
		timer := (*time.Timer)(nil)
		if head {
			timer = time.NewTimer(*poll)
			again = timer.C
		}
		ask, err := false, error(nil)
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-again:
			ask = true
		case <-w.wake:
			*poll = firstPoll
			ask = l.atHead(w)
		}
		if timer != nil {
			timer.Stop()
		}
		if ask || err != nil {
			return err
		}
	}
}

func (l *line) atHead(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return w.queue.head() == w
}

// freed rouses those who wait for counts that have just gone down, or of which something returned to an allowance.
func (l *line) freed(states []CapState) {
	if l.waiting.Load() == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range states {
		count := spentKey(states[i].Cap, states[i].Scopes)
		if q := l.queues[place{count: count}]; q != nil {
			q.head().rouse()
		}
		if l.draws == 0 {
			continue
		}
		for p, q := range l.queues {
			if p.count == count && p.from != "" {
				q.head().rouse()
			}
		}
	}
}
