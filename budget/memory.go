package budget

import (
	"context"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"
)

// Memory is a [Store] in this process. Its counts end with the process, so by default it takes only lifetime caps on runs,
// which end with it too; see [Volatile]. Safe for concurrent use; it starts no goroutine.
type Memory struct {
	mu       sync.RWMutex
	accounts map[string]*books
	volatile bool
	keep     int
	releases bool // only for the test of the test: leases that run out are given back, as others do
}

// MemoryOption changes what [NewMemory] makes.
type MemoryOption func(*Memory)

// Volatile says that it is understood that caps begin anew with every process: a daily cap then bounds what one process
// spends in a day, and a service that crashes ten times may spend ten times as much.
func Volatile() MemoryOption { return func(m *Memory) { m.volatile = true } }

// Keep sets how many ended reservations each account remembers, for duplicates and receipts that come late; the oldest go
// first. What is forgotten stays counted. Of idle reservations it remembers a sixteenth as many. Less than 1 is 32,768, about as many megabytes as thousands.
func Keep(reservations int) MemoryOption { return func(m *Memory) { m.keep = reservations } }

// NewMemory is an empty store.
func NewMemory(opts ...MemoryOption) *Memory {
	m := &Memory{accounts: map[string]*books{}}
	for _, o := range opts {
		o(m)
	}
	if m.keep < 1 {
		m.keep = 32_768
	}
	return m
}

// Traits implements [Store].
func (m *Memory) Traits() Traits { return Traits{Forgets: !m.volatile, Local: true} }

// Close implements [Store]; there is nothing to close.
func (m *Memory) Close() error { return nil }

// books are one account. Everything in it is guarded by mu: all caps of a chain change together, and one lock needs no order.
type books struct {
	mu       sync.Mutex
	keep     int
	releases bool
	last     int64 // the clock, in Unix nanoseconds

	version int64 // of the caps
	shared  int64 // version of the last change to a cap that any request may touch
	caps    map[string]*capBook
	ones    map[Scope]*anchorBook
	recent  []capChange // the latest changes, so that ledgers need not read everything
	floor   int64       // recent is complete after this version
	changes []Change

	counts  map[countKey]*count
	turns   heap[*count] // by the end of their window
	rows    map[string]*row
	tabs    map[uint64]*tab // by the hash of their scopes
	seed    maphash.Seed
	leases  heap[*row] // open ones, by expiry
	ended   queue[*row]
	idled   queue[*row] // ended ones that were never to be dispatched
	spare   []*row
	runs    map[string]*runBook
	freezes map[Scope]Freeze
	closed  map[Scope]int64 // forgotten runs, until when
	closing queue[closing]
}

type closing struct {
	run   Scope
	until int64
}

func (m *Memory) open(account string) *books {
	m.mu.RLock()
	b := m.accounts[account]
	m.mu.RUnlock()
	if b == nil {
		m.mu.Lock()
		if b = m.accounts[account]; b == nil {
			b = &books{keep: m.keep, releases: m.releases,
				caps: map[string]*capBook{}, ones: map[Scope]*anchorBook{}, counts: map[countKey]*count{}, rows: map[string]*row{},
				tabs: map[uint64]*tab{}, seed: maphash.MakeSeed(), runs: map[string]*runBook{}, freezes: map[Scope]Freeze{}, closed: map[Scope]int64{}}
			m.accounts[account] = b
		}
		m.mu.Unlock()
	}
	b.mu.Lock()
	return b
}

// now is the clock of the account: time.Now, so that testing/synctest owns it, but never earlier than before.
func (b *books) now() int64 {
	b.last = max(b.last, time.Now().UnixNano())
	return b.last
}

func at(nano int64) time.Time { return time.Unix(0, nano).UTC() }

// count is what one cap has counted for its scopes in one turn of its window.
type count struct {
	book        *capBook
	scopes      []Scope
	scope       Scope
	span        Span
	end         int64 // 0 never
	settled     int64
	held        int64
	unconfirmed int64
	overrun     int64
	fired       [2]uint64 // thresholds announced, by percent
	freed       int64     // scratch: what a swap would give back
	tabs        int       // of reservations that are kept
	over        bool      // the window has ended
	dropped     bool      // the run was forgotten
	pos         int
}

// countKey finds a count without building a string.
type countKey struct {
	cap    string
	scopes [maxConditions]Scope
	start  int64
}

func keyOf(l *Link) countKey {
	k := countKey{cap: l.Cap}
	copy(k.scopes[:], l.Scopes)
	if !l.Window.Start.IsZero() {
		k.start = l.Window.Start.UnixNano()
	}
	return k
}

func (c *count) due() int64    { return c.end }
func (c *count) setPos(i int)  { c.pos = i }
func (c *count) room() int64   { return c.book.limit - plus(c.settled, c.held) + c.freed }
func (c *count) bounded() bool { return c.book.limit != None }

func (c *count) state() CapState {
	s := CapState{Cap: c.book.record.Key, Scope: c.scope, Scopes: c.scopes, Meter: c.book.record.Meter, Window: c.book.window,
		Start: c.span.Start, Reset: c.span.End, Limit: c.book.limit,
		Settled: c.settled, Held: c.held, Unconfirmed: c.unconfirmed, Overrun: c.overrun, Left: None}
	if c.bounded() {
		s.Left = max(c.room(), 0)
	}
	return s
}

// find returns the count of a link, made if it is new.
func (b *books) find(l *Link, book *capBook) *count {
	key := keyOf(l)
	if c := b.counts[key]; c != nil {
		return c
	}
	c := &count{book: book, scopes: slices.Clone(l.Scopes), scope: foremost(l.Scopes), span: l.Window, pos: -1}
	b.counts[keyOf(&Link{Cap: book.record.Key, Scopes: c.scopes, Window: l.Window})] = c
	if !l.Window.End.IsZero() {
		c.end = l.Window.End.UnixNano()
		b.turns.push(c)
	}
	for _, s := range c.scopes {
		if s.Kind == ScopeRun {
			r := b.run(s.Name)
			r.counts = append(r.counts, c)
		}
	}
	return c
}

// row is one reservation. A store keeps many: what they have in common is in their tab, and what few have in rest.
type row struct {
	id        string
	tab       *tab
	bound     Amounts
	actual    Amounts
	state     State
	swap      string
	admitted  int64
	expires   int64
	keepUntil int64
	rest      *rest // nil for none
	pos       int
	idle      bool
	late      bool
	said      bool // usage was reported
}

// rest is what a reservation has when it did not go as most do.
type rest struct {
	usage       Amounts // as it was reported, if a correction has replaced it
	over        []int64 // what it added to the overrun of each count
	corrections []correction
}

type correction struct {
	source string
	actual Amounts
}

func (r *row) odd() *rest {
	if r.rest == nil {
		r.rest = &rest{}
	}
	return r.rest
}

func (r *row) due() int64   { return r.expires }
func (r *row) setPos(i int) { r.pos = i }

func (r *row) reservation() Reservation {
	return Reservation{ID: r.id, Scopes: slices.Clone(r.tab.scopes), State: r.state, Idle: r.idle, Reserved: r.bound.clone(), Actual: r.actual.clone(),
		Admitted: at(r.admitted), Expires: at(r.expires)}
}

// Snapshot implements [Store].
func (m *Memory) Snapshot(_ context.Context, account string, links []Link) ([]CapState, error) {
	b := m.open(account)
	defer b.mu.Unlock()
	out := make([]CapState, 0, len(links))
	for i := range links {
		l := &links[i]
		book := b.caps[l.Cap]
		if book == nil {
			continue
		}
		c := b.counts[keyOf(l)]
		if c == nil {
			c = &count{book: book, scopes: slices.Clone(l.Scopes), scope: foremost(l.Scopes), span: l.Window}
		}
		out = append(out, c.state())
	}
	return out, nil
}

// Open implements [Store].
func (m *Memory) Open(_ context.Context, account, prefix string) ([]Reservation, error) {
	b := m.open(account)
	defer b.mu.Unlock()
	var out []Reservation
	for _, r := range b.leases.items {
		if strings.HasPrefix(r.id, prefix) {
			out = append(out, r.reservation())
		}
	}
	slices.SortFunc(out, func(x, y Reservation) int { return strings.Compare(x.ID, y.ID) })
	return out, nil
}

// Top implements [Store]. It looks at every reservation that is kept.
func (m *Memory) Top(_ context.Context, account string, q TopQuery) ([]TopRow, error) {
	b := m.open(account)
	defer b.mu.Unlock()
	now := b.now()
	span := q.Span(time.Unix(0, now))
	from, to := span.Start.UnixNano(), span.End.UnixNano()
	type sum struct {
		TopRow
		first int64
	}
	sums := map[string]*sum{}
	for _, r := range b.rows {
		if r.admitted < from || r.admitted >= to {
			continue
		}
		for _, s := range r.tab.scopes {
			if s.Kind != q.By {
				continue
			}
			t := sums[s.Name]
			if t == nil {
				t = &sum{TopRow: TopRow{Scope: s}, first: r.admitted}
				sums[s.Name] = t
			}
			t.first = min(t.first, r.admitted)
			t.Reservations++
			switch {
			case r.state == StateOpen:
				t.Held = plus(t.Held, r.bound.Get(q.Meter))
			default:
				t.Settled = plus(t.Settled, r.actual.Get(q.Meter))
				if r.state.Unconfirmed() {
					t.Unconfirmed = plus(t.Unconfirmed, r.actual.Get(q.Meter))
				}
			}
		}
	}
	out := make([]TopRow, 0, len(sums))
	for _, t := range sums {
		minutes := max(time.Duration(min(now, to)-t.first).Minutes(), 1)
		t.PerMinute = int64(float64(plus(t.Settled, t.Held)) / minutes)
		out = append(out, t.TopRow)
	}
	slices.SortFunc(out, func(x, y TopRow) int {
		a, b := plus(x.Settled, x.Held), plus(y.Settled, y.Held)
		switch {
		case a > b:
			return -1
		case a < b:
			return 1
		}
		return strings.Compare(x.Scope.Name, y.Scope.Name)
	})
	return out[:min(len(out), q.Limit)], nil
}
