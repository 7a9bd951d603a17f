package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// TestRandomOperationsAreAnsweredLikeTheMemoryStore gives both the same operations and wants the same answers.
func TestRandomOperationsAreAnsweredLikeTheMemoryStore(t *testing.T) {
	srv := startServer(t)
	histories, steps := 8, 250
	if os.Getenv("GRIDLOOP_LONG") != "" {
		histories, steps = 60, 1000
	}
	for seed := range histories {
		ours, reference := New(srv.closing(t), prefix()), budget.NewMemory(budget.Volatile())
		m := machine{T: t, rnd: rand.New(rand.NewPCG(uint64(seed), 5)), stores: [2]budget.Store{ours, reference}, caps: machineCaps}
		if seed%2 == 1 { // without the rolling cap most calls are of the plainest form
			m.caps = m.caps[:4]
		}
		m.run(steps)
		if err := ours.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

type machine struct {
	*testing.T
	rnd      *rand.Rand
	stores   [2]budget.Store
	versions [2]int64
	caps     []budget.Cap
	ids      []string
	trace    []string
}

var machineCaps = []budget.Cap{
	{For: budget.Account(), Meter: budget.MeterMoney, Limit: 5000, Per: budget.Lifetime()},
	{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 1500, Per: budget.Month(nil), Soft: []int{10, 100}},
	{For: budget.Each("run"), Meter: budget.Custom("mails"), Limit: 60, Per: budget.Lifetime()},
	{For: budget.Each("tenant").And(budget.Each("run")), Meter: budget.MeterTokens, Limit: budget.None, Per: budget.Lifetime()},
	{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 1300, Per: budget.Rolling(300 * 24 * time.Hour)}, // buckets of days: the two clocks are not one
}

func (m *machine) one(words ...string) string { return words[m.rnd.IntN(len(words))] }

func (m *machine) amounts() budget.Amounts {
	return budget.Amounts{NanoUSD: m.rnd.Int64N(300), Tokens: m.rnd.Int64N(2) * 7}.With(budget.Custom("mails"), m.rnd.Int64N(5))
}

func (m *machine) run(steps int) {
	m.both("define", func(s budget.Store, i int) (any, error) {
		v, err := s.Define(m.Context(), "a", "test", m.caps)
		m.versions[i] = v
		return nil, err
	})
	for n := range steps {
		m.step(n)
	}
}

// both does one thing to both stores and compares what they say.
func (m *machine) both(what string, f func(s budget.Store, i int) (any, error)) {
	m.Helper()
	m.trace = append(m.trace, what)
	var said [2]any
	var errs [2]error
	for i, s := range m.stores {
		said[i], errs[i] = f(s, i)
	}
	if !sameError(errs[0], errs[1]) || !reflect.DeepEqual(said[0], said[1]) {
		m.Fatalf("after %q:\n   redis %+v, %v\nmemory %+v, %v", m.trace[max(0, len(m.trace)-8):], said[0], errs[0], said[1], errs[1])
	}
}

func sameError(a, b error) bool {
	for _, kind := range []error{budget.ErrMismatch, budget.ErrUnknownReservation, budget.ErrFinished, budget.ErrStillOpen, budget.ErrNotIdle, budget.ErrNoProof, budget.ErrClosed} {
		if errors.Is(a, kind) != errors.Is(b, kind) {
			return false
		}
	}
	return (a == nil) == (b == nil)
}

// plainAnswer is an answer without what depends on the clock.
func plainAnswer(a *budget.Answer) any {
	c := *a
	c.Now, c.Expires = time.Time{}, time.Time{}
	for _, x := range []*budget.Amounts{&c.Reserved, &c.Actual, &c.Over} {
		if len(x.Custom) == 0 {
			x.Custom = nil
			continue
		}
		kept := map[budget.Meter]int64{}
		for k, v := range x.Custom {
			if v != 0 {
				kept[k] = v
			}
		}
		if x.Custom = kept; len(kept) == 0 {
			x.Custom = nil
		}
	}
	return fmt.Sprintf("%+v", c)
}

func (m *machine) step(n int) {
	if what := m.rnd.IntN(100); what < 42 || len(m.ids) == 0 {
		m.reserve(n)
		return
	} else if what < 55 {
		m.rare()
		return
	}
	id := m.ids[max(0, len(m.ids)-1-m.rnd.IntN(15))]
	if m.rnd.IntN(20) == 0 {
		id = "nobody"
	}
	amounts, source, lease := m.amounts(), m.one("receipt", "audit"), time.Duration(1+m.rnd.IntN(9))*time.Hour
	if m.rnd.IntN(3) == 0 {
		amounts = budget.Amounts{NanoUSD: 30}
	}
	op := m.one("settle", "settle", "settle", "charge", "void", "release", "renew", "true-up")
	m.both(fmt.Sprint(op, " ", id, " ", amounts, " ", source), func(s budget.Store, _ int) (any, error) {
		var ans budget.Answer
		var err error
		ctx := context.Background()
		switch op {
		case "settle":
			err = s.Settle(ctx, "a", id, amounts, &ans)
		case "charge":
			err = s.Charge(ctx, "a", id, &ans)
		case "void":
			err = s.Void(ctx, "a", id, budget.ProofDial, &ans)
		case "release":
			err = s.Release(ctx, "a", id, &ans)
		case "renew":
			err = s.Renew(ctx, "a", id, lease, &ans)
		case "true-up":
			err = s.TrueUp(ctx, "a", id, amounts, source, &ans)
		}
		if err != nil {
			return nil, err
		}
		return plainAnswer(&ans), nil
	})
}

func (m *machine) reserve(n int) {
	tenant, run := budget.Scope{Kind: "tenant", Name: m.one("a", "b {}", "c")}, budget.Scope{Kind: "run", Name: m.one("1", "2", "3")}
	account := budget.Scope{Kind: "account"}
	id := fmt.Sprintf("r%d", n)
	if m.rnd.IntN(10) == 0 && len(m.ids) > 0 {
		id = m.ids[m.rnd.IntN(len(m.ids))]
	}
	swap := ""
	if m.rnd.IntN(4) == 0 && len(m.ids) > 0 {
		if swap = m.ids[max(0, len(m.ids)-1-m.rnd.IntN(8))]; swap == id {
			swap = ""
		}
	}
	from := ""
	if m.rnd.IntN(3) == 0 && len(m.ids) > 0 {
		from = m.ids[max(0, len(m.ids)-1-m.rnd.IntN(8))]
	}
	now := time.Now()
	op := budget.ReserveOp{ID: id, Scopes: []budget.Scope{account, run, tenant}, Amounts: m.amounts(), Lease: time.Hour, Idle: m.rnd.IntN(3) == 0, Swap: swap,
		From: from, DryRun: m.rnd.IntN(15) == 0}
	if op.Idle && m.rnd.IntN(2) == 0 {
		op.Amounts.NanoUSD *= 4
	}
	for i, scopes := range [][]budget.Scope{{account}, {tenant}, {run}, {run, tenant}, {tenant}}[:len(m.caps)] {
		op.Links = append(op.Links, budget.Link{Cap: machineCaps[i].ID(), Scopes: scopes, Window: machineCaps[i].Per.At(now)})
	}
	old := m.rnd.IntN(30) == 0
	granted := false
	m.both(fmt.Sprintf("reserve %+v", op), func(s budget.Store, i int) (any, error) {
		mine := op
		if mine.Version = m.versions[i]; old {
			mine.Version = 0
		}
		var ans budget.Answer
		if err := s.Reserve(m.Context(), "a", &mine, &ans); err != nil {
			return nil, err
		}
		granted = ans.State == budget.StateOpen
		return plainAnswer(&ans), nil
	})
	if granted && !slices.Contains(m.ids, id) {
		m.ids = append(m.ids, id)
	}
}

// rare is what happens around the calls.
func (m *machine) rare() {
	tenant, run := budget.Scope{Kind: "tenant", Name: m.one("a", "b {}")}, budget.Scope{Kind: "run", Name: m.one("1", "2", "3", "4")}
	switch m.rnd.IntN(7) {
	case 0:
		m.both("freeze", func(s budget.Store, _ int) (any, error) {
			return nil, s.Freeze(m.Context(), "a", budget.Freeze{Scope: tenant, Reason: "why\nnot", By: "test"})
		})
	case 1, 2:
		m.both("unfreeze", func(s budget.Store, _ int) (any, error) { return nil, s.Unfreeze(m.Context(), "a", tenant, "test") })
	case 3:
		i, more := m.rnd.IntN(2), m.rnd.Int64N(3000)+1
		m.both("define", func(s budget.Store, k int) (any, error) {
			c := machineCaps[i]
			c.Limit = more
			v, err := s.Define(m.Context(), "a", "test", []budget.Cap{c})
			m.versions[k] = v
			return nil, err
		})
	case 4:
		if m.rnd.IntN(8) == 0 {
			m.both("forget "+run.Name, func(s budget.Store, _ int) (any, error) { return nil, s.Forget(m.Context(), "a", run) })
		}
	case 5:
		m.both("open", func(s budget.Store, _ int) (any, error) {
			open, err := s.Open(m.Context(), "a", "r1")
			ids := []string{}
			for _, r := range open {
				ids = append(ids, fmt.Sprint(r.ID, r.Scopes, r.Idle, r.Reserved.NanoUSD, r.Actual.NanoUSD))
			}
			return ids, err
		})
	case 6:
		m.both("top and changes", func(s budget.Store, _ int) (any, error) {
			top, err := s.Top(m.Context(), "a", budget.TopQuery{By: "tenant", Meter: budget.MeterMoney, For: time.Hour, Limit: 5})
			if err != nil {
				return nil, err
			}
			changes, err := s.Changes(m.Context(), "a")
			for i := range changes {
				changes[i].At, changes[i].Version = time.Time{}, 0
			}
			return fmt.Sprintf("%+v %+v", top, changes), err
		})
	}
}
