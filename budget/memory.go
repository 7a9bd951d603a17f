package budget

import (
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Memory is a [Store] in this process. Its counts end with the process, so by default it takes only lifetime caps on runs,
// which end with it too; see [Volatile]. Safe for concurrent use; it starts no goroutine.
type Memory struct {
	accounts atomic.Pointer[accounts] // never changed, only replaced
	mu       sync.Mutex               // of who replaces it
	seed     maphash.Seed
	clock    clock
	volatile bool
	keep     int
	releases bool // only for the test of the test: leases that run out are given back, as others do
	thorough bool // only for a test: no call is a quick one
}

// MemoryOption changes what [NewMemory] makes.
type MemoryOption func(*Memory)

// Volatile says that it is understood that caps begin anew with every process: a daily cap then bounds what one process
// spends in a day, and a service that crashes ten times may spend ten times as much.
func Volatile() MemoryOption { return func(m *Memory) { m.volatile = true } }

// Keep sets how many ended reservations each account remembers, for duplicates and receipts that come late; the oldest go
// first. What is forgotten stays counted. Of idle reservations it remembers a sixteenth as many. Less than 1 is 32,768,
// which take about six megabytes.
func Keep(reservations int) MemoryOption { return func(m *Memory) { m.keep = reservations } }

// NewMemory is an empty store.
func NewMemory(opts ...MemoryOption) *Memory {
	m := &Memory{seed: maphash.MakeSeed()}
	m.accounts.Store(&accounts{})
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
	_        [64]byte // what lies beside is another's, who would wait for the same line of the cache
	mu       sync.Mutex
	name     string
	keep     int
	releases bool
	thorough bool
	seed     maphash.Seed
	last     int64 // the clock, in Unix nanoseconds

	version int64 // of the caps
	shared  int64 // version of the last change to a cap that any request may touch
	caps    map[string]*capBook
	ones    map[Scope]*anchorBook
	recent  []capChange // the latest changes, so that ledgers need not read everything
	floor   int64       // recent is complete after this version
	changes []Change

	counts map[countKey]*count
	turns  heap[*count] // by when there may be nothing left to count
	rows
	tabs    tabs
	leases  leases
	ended   ended
	idled   ended // those that were never to be dispatched
	runs    map[string]*runBook
	freezes map[Scope]Freeze
	closed  map[Scope]int64 // forgotten runs, until when
	closing queue[closing]
	_       [64]byte
}

type closing struct {
	run   Scope
	until int64
}

// accounts are found by name: the few that most processes have in a row, the others in a map. The names stand here and not
// only in the books, so that who looks for one does not wait for the memory of another that is being changed.
type accounts struct {
	few []account
	by  map[string]*books
}

type account struct {
	name  string
	books *books
}

const fewAccounts = 8

func (a *accounts) find(name string) *books {
	for i := range a.few {
		if a.few[i].name == name {
			return a.few[i].books
		}
	}
	return a.by[name]
}

func (a *accounts) with(b *books) *accounts {
	if len(a.few) < fewAccounts {
		return &accounts{append(slices.Clip(a.few), account{b.name, b}), a.by}
	}
	by := maps.Clone(a.by)
	if by == nil {
		by = map[string]*books{}
	}
	by[b.name] = b
	return &accounts{a.few, by}
}

// account finds the books, made if they are new.
func (m *Memory) account(name string) *books {
	if b := m.accounts.Load().find(name); b != nil {
		return b
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if b := m.accounts.Load().find(name); b != nil {
		return b
	}
	b := &books{name: name, keep: m.keep, releases: m.releases, thorough: m.thorough, seed: m.seed, rows: newRows(), tabs: newTabs(),
		caps: map[string]*capBook{}, ones: map[Scope]*anchorBook{}, counts: map[countKey]*count{},
		runs: map[string]*runBook{}, freezes: map[Scope]Freeze{}, closed: map[Scope]int64{}}
	m.accounts.Store(m.accounts.Load().with(b))
	return b
}

// open locks the books.
func (m *Memory) open(account string) *books {
	b := m.account(account)
	b.mu.Lock()
	return b
}

// now is the clock of the account, which never shows an earlier time than before.
func (b *books) now(m *Memory) int64 { return b.tick(m.clock.now()) }

func (b *books) tick(now int64) int64 {
	b.last = max(b.last, now)
	return b.last
}

// clock is time.Now, so that testing/synctest owns it. Most of what that costs is asking for both the time and the
// monotonic clock; so the time is asked for once a second, and in between it is told by the other.
type clock struct{ asked atomic.Pointer[asked] }

type asked struct {
	at   time.Time
	nano int64
}

func (c *clock) now() int64 {
	if a := c.asked.Load(); a != nil {
		if since := time.Since(a.at); since >= 0 && since < time.Second {
			return a.nano + int64(since)
		}
	}
	t := time.Now()
	a := &asked{t, t.UnixNano()}
	c.asked.Store(a)
	return a.nano
}

func at(nano int64) time.Time { return time.Unix(nano/1e9, nano%1e9).UTC() }

// hash is that of a reservation's id.
func (m *Memory) hash(id string) uint32 { return uint32(maphash.String(m.seed, id)) }
func (b *books) hash(id string) uint32  { return uint32(maphash.String(b.seed, id)) }
