package ledger

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
	"pgregory.net/rapid"
)

// Whatever operations come in whatever order, every store answers and counts as the reference does.
func TestStoresFollowTheReference(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if asked != 0 { // to see a failure again
		seed = asked
	}
	rounds := 1 // rapid ends a run after 24 hours, which pass quickly in virtual time: many checks are many rounds
	if long() {
		rounds = 100
	}
	for round := range rounds {
		must(t, flag.Set("rapid.seed", fmt.Sprint(seed+uint64(round))))
		t.Run(fmt.Sprint("round ", round), func(t *testing.T) {
			each(t, kinds, true, func(t *testing.T, k kind) {
				address := k.place(t)
				replicas := []budget.Store{k.replica(t, address), k.replica(t, address)}
				if n := follow(untimed{t}, replicas, k.virtual); n < checks && !t.Failed() {
					t.Errorf("%d checks, want %d", n, checks)
				}
			})
		})
	}
}

// untimed has no deadline, which nobody may ask for in virtual time.
type untimed struct{ rapid.TB }

// follow answers how many histories there were.
func follow(t rapid.TB, replicas []budget.Store, virtual bool) (n int) {
	rapid.Check(t, func(t *rapid.T) {
		n++
		newMachine(t, replicas, fmt.Sprintf("check %d", n), virtual).run(t)
	})
	return n
}

// machine is one history.
type machine struct {
	reference
	ctx     context.Context
	ledgers []*budget.Ledger
	virtual bool
	serial  int
	peaks   map[string]int64
}

func newMachine(t *rapid.T, replicas []budget.Store, account string, virtual bool) *machine {
	window := budget.Lifetime()
	if virtual {
		window = budget.Fixed(7*time.Minute, time.Time{})
	}
	m := &machine{ctx: context.Background(), virtual: virtual, peaks: map[string]int64{}, reference: reference{rows: map[string]*entry{}, caps: []budget.Cap{
		{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 100, Per: budget.Lifetime()},
		{For: budget.Account(), Meter: budget.MeterMoney, Limit: 150, Per: budget.Rolling(10 * time.Minute)},
		{For: budget.Each("tenant"), Meter: budget.MeterTokens, Limit: 30, Per: budget.Rolling(time.Hour)},
		{For: budget.Account(), Meter: budget.MeterTokens, Limit: 40, Per: window},
	}}}
	for _, c := range m.caps {
		m.peaks[c.ID()] = c.Limit
	}
	for _, s := range replicas {
		l, err := budget.Open(m.ctx, budget.Config{Store: s, Account: account, Caps: m.caps})
		if err != nil {
			t.Fatal(err)
		}
		m.ledgers = append(m.ledgers, l)
	}
	return m
}

func (m *machine) run(t *rapid.T) {
	t.Repeat(map[string]func(*rapid.T){
		"reserve": m.doReserve,
		"again":   m.doAgain,
		"settle":  m.doSettle,
		"charge": func(t *rapid.T) {
			id, e := m.any(t)
			_, err := m.ledger(t).Charge(m.ctx, id)
			want(t, err, m.charge(e, time.Now()))
		},
		"void": func(t *rapid.T) {
			id, e := m.any(t)
			want(t, m.ledger(t).Void(m.ctx, id, budget.ProofDial), m.void(e, time.Now()))
		},
		"release": func(t *rapid.T) { id, e := m.any(t); want(t, m.ledger(t).Release(m.ctx, id), m.release(e, time.Now())) },
		"renew": func(t *rapid.T) {
			id, e := m.any(t)
			want(t, m.ledger(t).Renew(m.ctx, id, time.Hour), e.renew(time.Hour, time.Now()))
		},
		"true-up": func(t *rapid.T) {
			id, e := m.any(t)
			actual, source := m.amounts(t), rapid.SampledFrom([]string{"receipt", "audit"}).Draw(t, "source")
			_, err := m.ledger(t).TrueUp(m.ctx, id, actual, source)
			want(t, err, e.trueUp(actual, source))
		},
		"limit": func(t *rapid.T) {
			c := &m.caps[rapid.IntRange(0, len(m.caps)-1).Draw(t, "cap")]
			c.Limit = rapid.Int64Range(10, 200).Draw(t, "limit")
			m.peaks[c.ID()] = max(m.peaks[c.ID()], c.Limit)
			want(t, m.ledger(t).Define(m.ctx, "somebody", *c), nil)
		},
		"sweep": func(t *rapid.T) {
			swept, err := m.ledger(t).Sweep(m.ctx, 100)
			want(t, err, nil)
			m.expired(t, swept.Expired, 100)
		},
		"time": func(t *rapid.T) {
			if !m.virtual {
				t.Skip("nobody can make it pass")
			}
			time.Sleep(rapid.SampledFrom([]time.Duration{time.Second, 17 * time.Second, 3 * time.Minute, 21 * time.Minute}).Draw(t, "passes"))
		},
		"": m.compare,
	})
}

func want(t *rapid.T, err, want error) {
	t.Helper()
	if want == nil && err != nil || want != nil && !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

func (m *machine) ledger(t *rapid.T) *budget.Ledger {
	return m.ledgers[rapid.IntRange(0, len(m.ledgers)-1).Draw(t, "replica")]
}

func (m *machine) amounts(t *rapid.T) budget.Amounts {
	return budget.Amounts{NanoUSD: rapid.Int64Range(0, 60).Draw(t, "nano"), Tokens: rapid.Int64Range(1, 12).Draw(t, "tokens")}
}

func (m *machine) any(t *rapid.T) (string, *entry) {
	if len(m.rows) == 0 {
		t.Skip("nothing was reserved")
	}
	id := rapid.SampledFrom(m.ids()).Draw(t, "id")
	return id, m.rows[id]
}

// idle are the reservations that can be drawn from, or could.
func (m *machine) idle() (ids []string) {
	for _, id := range m.ids() {
		if m.rows[id].idle {
			ids = append(ids, id)
		}
	}
	return ids[max(0, len(ids)-6):]
}

// expired takes over whose leases a store found to be over: as many as it may end, and no others.
func (m *machine) expired(t *rapid.T, ids []string, most int) {
	t.Helper()
	due := m.due(time.Now())
	for _, id := range ids {
		if !slices.Contains(due, id) {
			t.Fatalf("%s expired, due are %v", id, due)
		}
	}
	if len(ids) != min(most, len(due)) {
		t.Fatalf("%v expired, due are %v", ids, due)
	}
	m.expire(ids, time.Now())
}

func (m *machine) doReserve(t *rapid.T) {
	m.serial++
	id, who := fmt.Sprintf("r%03d", m.serial), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "tenant")
	r := budget.Request{ID: id, Scopes: tenant(who), Amounts: m.amounts(t), Idle: rapid.Bool().Draw(t, "idle"),
		Lease: rapid.SampledFrom([]time.Duration{time.Hour, 5 * time.Minute, time.Millisecond}).Draw(t, "lease")}
	var swap *entry
	if len(m.rows) > 0 && rapid.IntRange(0, 3).Draw(t, "swaps") == 0 {
		r.Swap, swap = m.any(t)
	}
	var from *entry
	if ids := m.idle(); len(ids) > 0 && rapid.IntRange(0, 3).Draw(t, "draws") > 0 {
		r.From = rapid.SampledFrom(ids).Draw(t, "from")
		if from = m.rows[r.From]; rapid.IntRange(0, 3).Draw(t, "same") > 0 {
			who = from.tenant
			r.Scopes = tenant(who)
		}
	} else if len(m.rows) > 0 && rapid.IntRange(0, 9).Draw(t, "draws from any") == 0 {
		r.From, from = m.any(t)
	}
	g, err := m.ledger(t).Reserve(m.ctx, r)
	if swap != nil && !swap.idle || from != nil && !from.idle {
		want(t, err, budget.ErrNotIdle)
		return
	}
	expired := g.Expired
	var d *budget.DeniedError
	if errors.As(err, &d) {
		expired = d.Expired
	}
	m.expired(t, expired, 8)
	reason := m.reserve(r, who, time.Now())
	want(t, err, reason)
	if reason != nil {
		return
	}
	if r.Lease < time.Second {
		time.Sleep(3 * r.Lease) // over before anything else is asked
	}
}

// doAgain repeats a reserve, the same or otherwise.
func (m *machine) doAgain(t *rapid.T) {
	id, e := m.any(t)
	r := budget.Request{ID: id, Scopes: tenant(e.tenant), Amounts: e.bound, Idle: e.idle, Lease: time.Hour, From: e.from}
	if rapid.Bool().Draw(t, "other") {
		r.Amounts.Tokens++
		_, err := m.ledger(t).Reserve(m.ctx, r)
		want(t, err, budget.ErrMismatch)
		return
	}
	g, err := m.ledger(t).Reserve(m.ctx, r)
	switch {
	case errors.Is(err, budget.ErrMismatch): // it had a swap
	case !e.open() || !time.Now().Before(e.expires):
		want(t, err, budget.ErrFinished)
	default:
		want(t, err, nil)
		if !g.Duplicate {
			t.Fatalf("%s was reserved twice", id)
		}
	}
}

func (m *machine) doSettle(t *rapid.T) {
	id, e := m.any(t)
	actual := m.amounts(t)
	if e.said && rapid.Bool().Draw(t, "same") {
		actual = e.usage
	}
	late := !e.open() || !time.Now().Before(e.expires)
	first := !e.said
	s, err := m.ledger(t).Settle(m.ctx, id, actual)
	reason := m.settle(e, actual, time.Now())
	want(t, err, reason)
	if reason == nil && (s.Duplicate == first || first && s.Late != late) {
		t.Fatalf("settled %+v, first %v, late %v", s, first, late)
	}
}

// compare asks for every count, and for law 1.
func (m *machine) compare(t *rapid.T) {
	l := m.ledger(t)
	open, err := l.OpenReservations(m.ctx, "")
	want(t, err, nil)
	for _, r := range open {
		if lent := m.lent(m.rows[r.ID]); !r.Actual.Equal(lent) {
			t.Fatalf("%v are drawn from %s, want %v", r.Actual, r.ID, lent)
		}
	}
	for _, who := range []string{"a", "b"} {
		states, err := l.Snapshot(m.ctx, tenant(who)...)
		want(t, err, nil)
		if len(states) != len(m.caps) {
			t.Fatalf("%d counts, want %d", len(states), len(m.caps))
		}
		for _, c := range m.caps {
			s := states[slices.IndexFunc(states, func(s budget.CapState) bool { return s.Cap == c.ID() })]
			settled, held, unconfirmed := m.stands(c, who, time.Now())
			if s.Settled != settled || s.Held != held || s.Unconfirmed != unconfirmed || s.Limit != c.Limit {
				t.Fatalf("%s of %s stands at %+v, want %d settled with %d unconfirmed and %d held of %d", c.ID(), who, s, settled, unconfirmed, held, c.Limit)
			}
			if s.Settled+s.Held > m.peaks[c.ID()]+s.Overrun {
				t.Fatalf("%s of %s passed its limit: %+v", c.ID(), who, s)
			}
		}
	}
}
