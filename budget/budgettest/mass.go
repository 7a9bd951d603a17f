package budgettest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// Mass is what came of [VeryManyCalls].
type Mass struct {
	Limit      int64 // of the account's cap
	True       int64 // what the provider billed, added up where the calls are made and not by the store
	Counted    int64 // what the store says was settled, after all leases ran out
	Calls      int64 // admitted
	Operations int64 // that were answered, refusals and repetitions among them
	Twice      int64 // settled twice
	Late       int64 // settled after their lease had run out
	Dead       int64 // never settled
	Forgotten  int64 // late, and no longer remembered: they stay charged
	Held       int64 // refused for what others held
	Looks      int64 // at caps while they were spent
}

const (
	massTenants = 4
	massMost    = 1000 // the largest bound
	massLease   = 20 * time.Millisecond
)

// VeryManyCalls lets 64 callers spend one cap until it is spent, through a chain of four caps. Of a thousand calls 50 are
// settled twice, 10 after their lease ran out and one never. It wants that the true bill and what the store has counted stay
// within the limit, that all the counts of the chain come to exactly what the calls used, and that the cap was used up.
//
// calls is about how many there are; with GRIDLOOP_LONG=1 it is five million, or what GRIDLOOP_PAIRS says, by 256 callers.
// The store must be empty; one that forgets what ended while a caller waited for its turn shows in Forgotten.
func VeryManyCalls(t *testing.T, store budget.Store, calls int64) Mass {
	t.Helper()
	callers := 64
	if os.Getenv("GRIDLOOP_LONG") != "" {
		calls, callers = 5_000_000, 256
		if pairs := os.Getenv("GRIDLOOP_PAIRS"); pairs != "" {
			var err error
			if calls, err = strconv.ParseInt(pairs, 10, 64); err != nil || calls < 1 {
				t.Fatalf("GRIDLOOP_PAIRS is %q: write a number of calls", pairs)
			}
		}
	}
	m := newMass(t, store, calls, callers)
	stop := m.watch()
	begin := time.Now()
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			if err := m.spend(caller); err != nil {
				t.Errorf("caller %d: %v", caller, err)
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	stop()
	m.sweep()
	m.adds()
	out := Mass{Limit: m.limit, True: m.bill.Load(), Counted: m.counted, Calls: m.made.Load(), Operations: m.operations.Load(), Twice: m.twice.Load(),
		Late: m.late.Load(), Dead: m.dead.Load(), Forgotten: m.forgotten.Load(), Held: m.held.Load(), Looks: m.looks.Load()}
	t.Logf("%d calls of %d callers, %d operations in %v: limit %d, billed %d (%.4f %%), overspend %d; %d settled twice, %d late, %d never and %d too late (charged %d more than they cost), %d refused as held; looked at caps %d times",
		out.Calls, callers, out.Operations, took.Round(time.Millisecond), out.Limit, out.True, 100*float64(out.True)/float64(out.Limit), max(out.True-out.Limit, 0),
		out.Twice, out.Late, out.Dead, out.Forgotten, m.lost.Load(), out.Held, out.Looks)
	return out
}

// mass is one run of [VeryManyCalls].
type mass struct {
	*testing.T
	ledger  *budget.Ledger
	caps    []budget.Cap
	callers int
	limit   int64
	begun   atomic.Int64
	enough  int64 // requests, if the store lets anybody come to an end
	counted int64

	bill, lost, made, operations, twice, late, dead, forgotten, held, looks atomic.Int64
}

func newMass(t *testing.T, store budget.Store, calls int64, callers int) *mass {
	// A call uses a quarter of the largest bound on average.
	m := &mass{T: t, callers: callers, limit: calls * massMost * 253 / 1000, enough: 2*calls + 100*int64(callers)}
	m.caps = []budget.Cap{
		moneyCap(budget.Account(), m.limit),
		moneyCap(budget.Each(budget.ScopeTenant), m.limit/massTenants+m.limit/100), // together a little more than the account's
		{For: budget.Each(budget.ScopeRun), Meter: budget.MeterRequests, Limit: budget.None, Per: budget.Lifetime()},
		{For: budget.One(budget.ScopeInstrument, "x"), Meter: budget.MeterTokens, Limit: budget.None, Per: budget.Rolling(300 * 24 * time.Hour)},
	}
	l, err := budget.Open(t.Context(), budget.Config{Store: store, Account: "mass", Lease: long, Caps: m.caps})
	if err != nil {
		t.Fatal(err)
	}
	m.ledger = l
	return m
}

func massScopes(tenant, caller int) []budget.Scope {
	return scopes(fmt.Sprint("tenant=", tenant%massTenants), fmt.Sprint("run=", caller), "instrument=x")
}

const (
	massBound = 9 // tokens
	massUsed  = 8
)

// spend calls until every tenant's cap, or the account's, is spent.
func (m *mass) spend(caller int) error {
	rnd := rand.New(rand.NewPCG(uint64(caller), 3))
	ctx := context.Background()
	var chains [massTenants][]budget.Scope
	for tenant := range chains {
		chains[tenant] = massScopes(tenant, caller)
	}
	var g budget.Grant
	var s budget.Settlement
	for i, tenant, spent, waits := 0, caller%massTenants, 0, 0; spent < massTenants; i++ {
		if m.begun.Add(1) > m.enough {
			return errors.New("the cap is never spent")
		}
		bound := 1 + rnd.Int64N(massMost)
		actual, fate := rnd.Int64N(bound+1), rnd.IntN(1000)
		if i == 0 && caller%16 == 0 {
			fate = 0 // some die in the shortest form, too
		}
		r := budget.Request{ID: strconv.Itoa(caller) + "/" + strconv.Itoa(i), Scopes: chains[tenant], Amounts: budget.Amounts{NanoUSD: bound, Tokens: massBound, Requests: 1}}
		switch {
		case fate == 0:
			r.Lease = massLease
		case fate < 11:
			r.Lease = 1 // over at once
		}
		err := m.ledger.ReserveInto(ctx, &r, &g)
		m.operations.Add(1)
		switch {
		case errors.Is(err, budget.ErrHeld):
			if waits++; waits > 5_000 {
				return errors.New("refused as held again and again")
			}
			m.held.Add(1)
			m.begun.Add(-1)
			time.Sleep(time.Duration(min(waits, 20)) * time.Millisecond)
			continue
		case errors.Is(err, budget.ErrSpent):
			spent, tenant = spent+1, (tenant+1)%massTenants
			continue
		case err != nil:
			return err
		}
		spent, waits = 0, 0
		m.made.Add(1)
		m.bill.Add(actual)
		if fate == 0 {
			m.dead.Add(1)
			m.lost.Add(bound - actual)
			continue
		}
		if err := m.settle(ctx, r.ID, bound, actual, fate, &s); err != nil {
			return err
		}
	}
	return nil
}

func (m *mass) settle(ctx context.Context, id string, bound, actual int64, fate int, s *budget.Settlement) error {
	used, times := budget.Amounts{NanoUSD: actual, Tokens: massUsed, Requests: 1}, 1
	switch {
	case fate < 11:
		m.late.Add(1)
	case fate < 61:
		m.twice.Add(1)
		times = 2
	}
	for n := range times {
		err := m.ledger.SettleInto(ctx, id, used, s)
		m.operations.Add(1)
		switch {
		case errors.Is(err, budget.ErrUnknownReservation) && n > 0:
			// So many others ended meanwhile that it was forgotten.
		case errors.Is(err, budget.ErrUnknownReservation) && fate < 11:
			m.forgotten.Add(1)
			m.lost.Add(bound - actual)
		case err != nil:
			return err
		case s.Duplicate != (n > 0) || s.Late != (fate < 11):
			return fmt.Errorf("settled %s for the %d. time: %+v", id, n+1, s)
		}
	}
	return nil
}

// watch looks at the caps of one caller after the other while they are spent.
func (m *mass) watch() (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for caller := 0; ; caller++ {
			m.look(massScopes(caller, caller%m.callers))
			m.looks.Add(1)
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

func (m *mass) look(scopes []budget.Scope) []budget.CapState {
	states, err := m.ledger.Snapshot(context.Background(), scopes...)
	if err != nil {
		m.Error(err)
	}
	for _, s := range states {
		if s.Limit != budget.None && s.Settled+s.Held > s.Limit || s.Overrun != 0 {
			m.Errorf("%s for %s: %d settled and %d held of %d, overrun %d", s.Cap, s.Scope, s.Settled, s.Held, s.Limit, s.Overrun)
		}
	}
	return states
}

// sweep waits until the dead have been charged.
func (m *mass) sweep() {
	m.Helper()
	time.Sleep(2 * massLease)
	for {
		swept, err := m.ledger.Sweep(m.Context(), 1000)
		if err != nil {
			m.Fatal(err)
		}
		if len(swept.Expired) == 0 {
			return
		}
	}
}

// adds wants every count to be what the calls used.
func (m *mass) adds() {
	m.Helper()
	counted := map[string]int64{}
	once := map[string]bool{}
	for caller := range m.callers {
		for _, s := range m.look(massScopes(caller, caller)) {
			if place := s.Cap + " " + s.Scope.String(); !once[place] {
				once[place] = true
				counted[s.Cap] += s.Settled
			}
			if s.Held != 0 {
				m.Errorf("%s for %s holds %d when all is over", s.Cap, s.Scope, s.Held)
			}
		}
	}
	m.counted = counted[m.caps[0].ID()]
	money, tokens := m.bill.Load()+m.lost.Load(), massUsed*m.made.Load()+(massBound-massUsed)*(m.dead.Load()+m.forgotten.Load())
	for i, want := range []int64{money, money, m.made.Load(), tokens} {
		if id := m.caps[i].ID(); counted[id] != want {
			m.Errorf("%s: counted %d, the calls come to %d", id, counted[id], want)
		}
	}
	if m.bill.Load() > m.limit {
		m.Errorf("billed %d of %d", m.bill.Load(), m.limit)
	}
	if m.counted < m.limit-massMost {
		m.Errorf("only %d of %d was spent", m.counted, m.limit)
	}
	if m.dead.Load() == 0 || m.late.Load() == 0 || m.twice.Load() == 0 {
		m.Errorf("too little happened: %d dead, %d late, %d twice", m.dead.Load(), m.late.Load(), m.twice.Load())
	}
}
