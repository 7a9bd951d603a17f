package budgettest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// twins are asked the same: a store through several handles that are closed and opened at random, and the memory store.
type twins struct {
	t       *testing.T
	rnd     *rand.Rand
	open    func() budget.Store
	stores  [twinHandles]budget.Store
	memory  *budget.Memory
	ledgers [2][twinHandles]*budget.Ledger // of the store, of the memory
	ids     []string
	idle    []budget.Request // to be drawn from
	serial  int
	log     []string
	epoch   string // of the names of runs
}

const twinHandles = 3

// AnswersAsMemoryDoes gives random histories of steps to a store and to the memory store, in virtual time, and wants the same
// answers, whichever of several handles on the store is asked, closed and opened. place makes an empty store's place and
// answers how a handle on it is opened; the handles' clock is time.Now.
func AnswersAsMemoryDoes(t *testing.T, histories, steps int, place func(t *testing.T) (open func() budget.Store)) {
	for seed := range histories {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &twins{t: t, rnd: rand.New(rand.NewPCG(uint64(seed), 3)), open: place(t), memory: budget.NewMemory(budget.Volatile())}
				for i := range p.stores {
					p.reopen(i)
				}
				for range steps {
					p.step()
				}
				for _, s := range p.stores {
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
				}
			})
		})
	}
}

func (p *twins) caps() []budget.Cap {
	hour := budget.Fixed(time.Hour, time.Time{})
	mails := budget.Custom("mails")
	return []budget.Cap{
		{For: budget.Account(), Meter: budget.MeterMoney, Limit: 6000, Per: hour},
		{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 3000, Per: budget.Lifetime()},
		{For: budget.One("tenant", "t 0/%ä"), Meter: budget.MeterMoney, Limit: 2000, Per: budget.Lifetime(), Soft: []int{10, 20, 90, 99}},
		{For: budget.Each("run"), Meter: budget.MeterTokens, Limit: 900, Per: budget.Lifetime()},
		{For: budget.Each("tenant").And(budget.One("instrument", "max")), Meter: budget.MeterMoney, Limit: 900, Per: hour},
		{For: budget.Each("tool"), Meter: mails, Limit: 40, Per: budget.Day(nil), Soft: []int{}},
		{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 1800, Per: budget.Rolling(10 * time.Minute)},
		{For: budget.Account(), Meter: budget.MeterTokens, Limit: 1500, Per: budget.Rolling(time.Hour), Soft: []int{25, 50, 75}},
		{For: budget.Each("instrument"), Meter: budget.MeterRequests, Limit: budget.None, Per: budget.Lifetime()},
	}
}

// reopen closes a handle and opens another on the same place, and a ledger on each store.
func (p *twins) reopen(i int) {
	if p.stores[i] != nil {
		if err := p.stores[i].Close(); err != nil {
			p.t.Fatal(err)
		}
	}
	p.stores[i] = p.open()
	for side, store := range []budget.Store{p.stores[i], p.memory} {
		l, err := budget.Open(p.t.Context(), budget.Config{Store: store, Caps: p.caps(), Account: "acct"})
		if err != nil {
			p.t.Fatal(err)
		}
		p.ledgers[side][i] = l
	}
}

func (p *twins) one(words ...string) string { return words[p.rnd.IntN(len(words))] }

func (p *twins) run(names ...string) string { return p.one(names...) + p.epoch }

// days go by, after which nobody asks for what was there before: how long a store remembers it is its own affair.
func (p *twins) days() {
	time.Sleep(time.Duration(p.rnd.IntN(60)) * time.Hour)
	p.ids, p.idle, p.epoch = nil, nil, fmt.Sprint(" ", p.serial)
}

func (p *twins) amounts() budget.Amounts {
	a := budget.Amounts{NanoUSD: p.rnd.Int64N(300), Tokens: 1 + p.rnd.Int64N(60), Requests: 1}
	if p.rnd.IntN(4) == 0 {
		a = a.With(budget.Custom("mails"), p.rnd.Int64N(5))
	}
	return a
}

func (p *twins) id() string {
	if len(p.ids) == 0 {
		return "nobody"
	}
	return p.ids[max(0, len(p.ids)-1-p.rnd.IntN(15))]
}

// both asks the same of both sides and wants the same said.
func (p *twins) both(did string, ask func(l *budget.Ledger) string) {
	p.t.Helper()
	i := p.rnd.IntN(twinHandles)
	store, memory := ask(p.ledgers[0][i]), ask(p.ledgers[1][i])
	p.log = append(p.log, did)
	if store != memory {
		p.t.Fatalf("%s\nstore:  %s\nmemory: %s\nafter %s", did, store, memory, strings.Join(p.log[max(0, len(p.log)-10):], "\n      "))
	}
}

// said writes an answer so that two can be compared. What errors say of foreign causes is left out.
func said(err error, answer any) string {
	var d *budget.DeniedError
	if errors.As(err, &d) {
		slices.Sort(d.Expired)
		sorted(d.Crossed)
		sorted(d.Left)
		sorted(d.Violations)
		return fmt.Sprintf("denied %+v", *d)
	}
	if err != nil {
		return "error " + err.Error()
	}
	switch a := answer.(type) {
	case *budget.Grant:
		slices.Sort(a.Expired)
		sorted(a.Crossed)
		sorted(a.Left)
	case *budget.Settlement:
		sorted(a.Crossed)
		sorted(a.Left)
	case *budget.Swept:
		slices.Sort(a.Expired)
		sorted(a.Crossed)
	case []budget.CapState:
		sorted(a)
	}
	return fmt.Sprintf("%+v", answer)
}

// sorted takes out the order in which a ledger learnt of caps.
func sorted[T any](list []T) {
	slices.SortFunc(list, func(x, y T) int { return strings.Compare(fmt.Sprint(x), fmt.Sprint(y)) })
}

func (p *twins) step() {
	ctx := p.t.Context()
	time.Sleep(time.Duration(1+p.rnd.Int64N(1e9)) * time.Nanosecond) // no two leases end at once
	amounts, id := p.amounts(), p.id()
	switch what := p.rnd.IntN(100); {
	case what < 35:
		p.reserve(amounts)
	case what < 50:
		p.both("settle "+id, func(l *budget.Ledger) string { s, err := l.Settle(ctx, id, amounts); return said(err, &s) })
		if p.rnd.IntN(4) == 0 {
			p.both("settle again "+id, func(l *budget.Ledger) string { s, err := l.Settle(ctx, id, amounts); return said(err, &s) })
		}
	case what < 55:
		p.both("charge "+id, func(l *budget.Ledger) string { s, err := l.Charge(ctx, id); return said(err, &s) })
	case what < 59:
		p.both("void "+id, func(l *budget.Ledger) string { return said(l.Void(ctx, id, budget.ProofDial), "") })
	case what < 63:
		p.both("release "+id, func(l *budget.Ledger) string { return said(l.Release(ctx, id), "") })
	case what < 66:
		lease := time.Duration(1+p.rnd.IntN(3)) * time.Minute
		p.both("renew "+id, func(l *budget.Ledger) string { return said(l.Renew(ctx, id, lease), "") })
	case what < 73:
		source := p.one("receipt", "an audit")
		p.both("true-up "+id, func(l *budget.Ledger) string { s, err := l.TrueUp(ctx, id, amounts, source); return said(err, &s) })
	case what < 77:
		c := p.caps()[p.rnd.IntN(len(p.caps()))]
		if c.Limit != budget.None {
			c.Limit = c.Limit/2 + p.rnd.Int64N(c.Limit)
		}
		p.both("define "+c.ID(), func(l *budget.Ledger) string { return said(l.Define(ctx, "ann", c), "") })
	case what < 80:
		run := p.run("a", "b", "c", "d")
		c := budget.Cap{For: budget.One("run", run), Meter: budget.MeterMoney, Limit: 100 + p.rnd.Int64N(2000), Per: budget.Lifetime()}
		p.both("define "+c.ID(), func(l *budget.Ledger) string { return said(l.Define(ctx, "agent", c), "") })
	case what < 82:
		p.both("sweep", func(l *budget.Ledger) string { s, err := l.Sweep(ctx, 3); return said(err, &s) })
	case what < 85:
		time.Sleep(time.Duration(p.rnd.IntN(4)) * time.Minute)
		if p.rnd.IntN(3) == 0 {
			p.days()
		}
	case what < 87:
		p.stopAndGo()
	case what < 88:
		run := budget.Scope{Kind: "run", Name: p.run("a", "b", "c", "d")}
		p.both("forget "+run.Name, func(l *budget.Ledger) string { return said(l.Forget(ctx, run), "") })
	case what < 90:
		p.reopen(p.rnd.IntN(twinHandles))
	default:
		p.compare()
	}
}

func (p *twins) reserve(amounts budget.Amounts) {
	p.serial++
	r := budget.Request{ID: fmt.Sprintf("%s/%d", p.one("x", "y"), p.serial), Amounts: amounts, Lease: time.Duration(1+p.rnd.IntN(5)) * time.Minute, Idle: p.rnd.IntN(4) == 0,
		Scopes: []budget.Scope{{Kind: "tenant", Name: p.one("t 0/%ä", "t1")}, {Kind: "run", Name: p.run("a", "b", "c", "d", "e")}, {Kind: "instrument", Name: p.one("std", "max")}}}
	if p.rnd.IntN(3) == 0 {
		r.Scopes = append(r.Scopes, budget.Scope{Kind: "tool", Name: "mail"}, budget.Scope{Kind: "run", Name: "parent" + p.epoch}, budget.Scope{Kind: "user", Name: "u"})
	}
	if p.rnd.IntN(3) == 0 {
		r.Swap = p.id()
	}
	switch {
	case p.rnd.IntN(20) == 0:
		r.From = p.id()
	case len(p.idle) > 0 && p.rnd.IntN(2) == 0:
		from := p.idle[max(0, len(p.idle)-1-p.rnd.IntN(4))]
		if r.From = from.ID; p.rnd.IntN(4) > 0 {
			r.Scopes = append(slices.Clone(from.Scopes), r.Scopes[3:]...)
		}
	}
	if r.Idle {
		p.idle = append(p.idle, r)
	}
	again := p.rnd.IntN(4) == 0
	ask := func(l *budget.Ledger) string { g, err := l.Reserve(p.t.Context(), r); return said(err, &g) }
	p.both(fmt.Sprintf("reserve %+v", r), ask)
	p.ids = append(p.ids, r.ID)
	if again {
		p.both("the same again", ask)
		r.Amounts.NanoUSD++
		p.both("other amounts", ask)
	}
}

func (p *twins) stopAndGo() {
	ctx := p.t.Context()
	tenant, user := budget.Scope{Kind: "tenant", Name: p.one("t 0/%ä", "t1")}, budget.Scope{Kind: "user", Name: "u"}
	switch p.rnd.IntN(3) {
	case 0:
		until := time.Now().Add(time.Duration(p.rnd.IntN(5)) * time.Minute)
		p.both("freeze user", func(l *budget.Ledger) string { return said(l.Freeze(ctx, user, "too fast", until, "ann"), "") })
	case 1:
		p.both("freeze tenant", func(l *budget.Ledger) string { return said(l.Freeze(ctx, tenant, "", time.Time{}, "ann"), "") })
		fallthrough
	default:
		p.both("unfreeze tenant", func(l *budget.Ledger) string { return said(l.Unfreeze(ctx, tenant, "bob"), "") })
	}
}

// compare asks for everything that can be asked.
func (p *twins) compare() {
	ctx := p.t.Context()
	p.both("open", func(l *budget.Ledger) string { r, err := l.OpenReservations(ctx, "x/"); return said(err, r) })
	p.both("freezes", func(l *budget.Ledger) string { f, err := l.Freezes(ctx); return said(err, f) })
	p.both("changes", func(l *budget.Ledger) string { c, err := l.Changes(ctx); return said(err, c) })
	p.both("caps", func(l *budget.Ledger) string { c, err := l.Caps(ctx); return said(err, c) })
	for _, by := range []string{"tenant", "run", "account"} {
		q := budget.TopQuery{By: by, For: time.Duration(1+p.rnd.IntN(20)) * time.Minute, Limit: 3}
		p.both("top "+by, func(l *budget.Ledger) string { r, err := l.Top(ctx, q); return said(err, r) })
	}
	for _, tenant := range []string{"t 0/%ä", "t1"} {
		for _, run := range []string{"a", "b", "parent"} {
			scopes := []budget.Scope{{Kind: "tenant", Name: tenant}, {Kind: "run", Name: run + p.epoch}, {Kind: "instrument", Name: "max"}, {Kind: "tool", Name: "mail"}}
			p.both("snapshot", func(l *budget.Ledger) string { s, err := l.Snapshot(ctx, scopes...); return said(err, s) })
		}
	}
}
