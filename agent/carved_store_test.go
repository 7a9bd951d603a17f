package agent_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// deaf is a store that does not hear renewals at times, or what is given back.
type deaf struct {
	budget.Store
	on, keeps atomic.Bool
	n         atomic.Int64
}

func (d *deaf) Release(ctx context.Context, account, id string, ans *budget.Answer) error {
	if d.keeps.Load() {
		return errAway
	}
	return d.Store.Release(ctx, account, id, ans)
}

func (d *deaf) Renew(ctx context.Context, account, id string, lease time.Duration, ans *budget.Answer) error {
	if d.on.Load() {
		return errAway
	}
	d.n.Add(1)
	return d.Store.Renew(ctx, account, id, lease, ans)
}

// A share is kept for as long as the run works, and is taken again if it was lost.
func TestAShareOutlastsItsLease(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("lost %t", lost), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{})
				store := &deaf{Store: budget.NewMemory(budget.Volatile())}
				l, err := budget.Open(t.Context(), budget.Config{Store: store, Caps: []budget.Cap{tenantDay(budget.USD(1)), account()}})
				if err != nil {
					t.Fatal(err)
				}
				ids := map[string]bool{}
				m.Model(func(turn gridtest.Turn) gridtest.Reply {
					if slices.Contains(turn.Tools, "digger") {
						if turn.N == 0 {
							return calls(gridtest.Call("digger", `{"task":"dig"}`))
						}
						return say("done")
					}
					sh := shares(t, l)
					if len(sh) != 1 {
						t.Errorf("%d shares at step %d", len(sh), turn.N)
					} else {
						ids[sh[0].ID] = true
					}
					if turn.N < 3 {
						return calls(gridtest.Call("dig", "{}"))
					}
					return say("dug")
				})
				dig := tools.New("dig", "Dig.", func(context.Context, empty) (string, error) {
					store.on.Store(lost)
					time.Sleep(20 * time.Minute)
					_, err := l.Sweep(context.Background(), 100)
					if n := len(shares(t, l)); (n == 0) != lost {
						t.Errorf("%d shares after 20 minutes", n)
					}
					store.on.Store(false)
					time.Sleep(time.Minute)
					return "dug", err
				}, tools.Timeout(time.Hour))
				client := clientOf(t, m)
				limits := kept(budget.USD(0.5))
				digger := open(t, m, agent.Config{Name: "digger", Market: client, Ledger: l, Limits: limits, Tools: []tools.Tool{dig}})
				boss := open(t, m, agent.Config{Name: "boss", Market: client, Ledger: l, Agents: []*agent.Agent{digger}, Limits: agent.Limits{Wall: agent.None}})
				res, err := agent.Run[string](t.Context(), boss, "go", agent.Tenant("acme"))
				stands(t, res, err)
				if want := map[bool]int{false: 1, true: 4}[lost]; err != nil || res.Text != "done" || len(ids) != want {
					t.Errorf("%q with %d shares: %v", res.Text, len(ids), err)
				}
				nothingHeld(t, l)
				n := store.n.Load()
				time.Sleep(time.Hour)
				if store.n.Load() != n {
					t.Error("something is renewed after the end")
				}
			})
		})
	}
}

// losing is a store that has lost what is taken from, or swapped, at times.
type losing struct {
	budget.Store
	from, swap atomic.Bool
}

func (f *losing) Reserve(ctx context.Context, account string, op *budget.ReserveOp, ans *budget.Answer) error {
	if op.From != "" && f.from.Load() || op.Swap != "" && f.swap.Load() {
		return budget.ErrUnknownReservation
	}
	return f.Store.Reserve(ctx, account, op, ans)
}

// A store that has lost a share, or an answer that was kept back, or both, does not stop a run, and the one does not cost the other.
func TestAShareThatTheStoreForgotIsDoneWithout(t *testing.T) {
	for _, tc := range []struct {
		name       string
		from, swap bool
	}{{"nothing", false, false}, {"the share", true, false}, {"the answer", false, true}, {"both", true, true}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{})
				store := &losing{Store: budget.NewMemory(budget.Volatile())}
				l, err := budget.Open(t.Context(), budget.Config{Store: store, Caps: []budget.Cap{tenantDay(budget.USD(1)), account()}})
				if err != nil {
					t.Fatal(err)
				}
				m.Model(func(turn gridtest.Turn) gridtest.Reply {
					if len(turn.Tools) > 0 {
						store.from.Store(tc.from)
						store.swap.Store(tc.swap)
						return calls(gridtest.Call("dig", "{}"))
					}
					drawn := int64(0)
					for _, r := range shares(t, l) {
						drawn += r.Actual.NanoUSD
					}
					answers, steps := openNow(t, l)
					want := state(t, l, tenantDay(0).ID(), acme).Settled
					for _, r := range append(answers, steps...) {
						if !strings.Contains(r.ID, "/carved/") {
							want += r.Reserved.NanoUSD
						}
					}
					// The answer is taken from the share, unless the ledger has lost that; what was kept back for it is gone, unless
					// the ledger has lost it.
					if (drawn == want) == tc.from || (len(answers) > 0) != tc.swap {
						t.Errorf("%d are drawn, %d are used or open, %d answers", drawn, want, len(answers))
					}
					return say("what I have")
				})
				limits := kept(budget.USD(0.5))
				limits.Steps = 1
				a := open(t, m, agent.Config{Ledger: l, Limits: limits, Tools: []tools.Tool{reads("dig")}})
				live := agent.Start[string](t.Context(), a, "go", agent.Tenant("acme"))
				warned := 0
				for e := range live.Events() {
					if w, ok := e.(agent.Warning); ok && strings.Contains(w.Text, "does not know the share any more") {
						warned++
					}
				}
				res, err := live.Result()
				stands(t, res, err)
				if err != nil || res.Text != "what I have" || (warned == 1) != tc.from {
					t.Errorf("%q after %d warnings: %v", res.Text, warned, err)
				}
				time.Sleep(25 * time.Hour) // until the lease of what was lost is over
				if _, err := l.Sweep(t.Context(), 100); err != nil {
					t.Error(err)
				}
				nothingHeld(t, l)
			})
		})
	}
}

// Whatever the store forgets to answer, shares are given back in the end, and the run comes to its end within its cap.
func TestSharesSurviveAStoreThatComesAndGoes(t *testing.T) {
	pauses, below := 0, atomic.Int64{}
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 13))
			m := newMarket(t, gridtest.Config{Seed: seed})
			f, l := flakyLedger(t, tenantDay(budget.USD(0.3)))
			m.Model(func(turn gridtest.Turn) gridtest.Reply {
				switch {
				case slices.Contains(turn.Tools, "digger") && turn.N < 3:
					return greedy(turn, calls(gridtest.Call("digger", `{"task":"a"}`), gridtest.Call("digger", `{"task":"b"}`)))
				case slices.Contains(turn.Tools, "dig") && turn.N < 3:
					below.Add(1)
					return greedy(turn, calls(gridtest.Call("dig", "{}")))
				}
				return greedy(turn, say("done"))
			})
			client := clientOf(t, m)
			digger := open(t, m, agent.Config{Name: "digger", Market: client, Ledger: l, Limits: kept(budget.USD(0.06)), Tools: []tools.Tool{reads("dig")}})
			boss := open(t, m, agent.Config{Name: "boss", Market: client, Ledger: l, Agents: []*agent.Agent{digger}})
			f.lost = func() bool { return rnd.IntN(2) == 0 }
			f.set(func() bool { return rnd.IntN(7) == 0 })
			res, err := agent.Run[string](t.Context(), boss, "go", agent.Tenant("acme"))
			res, err = resumeWhileAway(t, boss, res, err, &pauses)
			f.set(never)
			time.Sleep(30 * time.Second)
			s := state(t, l, account().ID())
			if s.Settled != res.Cost.NanoUSD || m.Bill("") > s.Settled || m.Bill("") > budget.USD(0.3) {
				t.Errorf("seed %d: the result says %v, the bill is %d: %+v: %v", seed, res.Cost, m.Bill(""), s, err)
			}
			nothingHeld(t, l)
		})
	}
	if pauses < 40 || below.Load() < 80 {
		t.Errorf("only %d pauses and %d steps below: nothing is proved", pauses, below.Load())
	}
}

// A share that the store has lost is taken again with the next step.
func TestAShareThatTheStoreForgotIsTakenAgain(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	store := &losing{Store: budget.NewMemory(budget.Volatile())}
	l, err := budget.Open(t.Context(), budget.Config{Store: store, Caps: []budget.Cap{tenantDay(budget.USD(1)), account()}})
	if err != nil {
		t.Fatal(err)
	}
	var held []int
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		store.from.Store(turn.N == 0)
		held = append(held, len(shares(t, l)))
		if turn.N < 2 {
			return calls(gridtest.Call("dig", "{}"))
		}
		return say("done")
	})
	a := open(t, m, agent.Config{Ledger: l, Limits: kept(budget.USD(0.3)), Tools: []tools.Tool{reads("dig")}})
	res, err := agent.Run[string](t.Context(), a, "go", agent.Tenant("acme"))
	stands(t, res, err)
	if err != nil || fmt.Sprint(held) != "[1 1 2]" { // this store has it all the same
		t.Errorf("%v shares were held: %v", held, err)
	}
}

// Of a process that died its calls in flight are charged, and its shares are free again, when their leases end.
func TestAShareOfAProcessThatDiedIsFreeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		inner := budget.NewMemory(budget.Volatile())
		f := &flaky{Store: inner}
		store := &deaf{Store: f}
		caps := []budget.Cap{tenantDay(budget.USD(1)), account()}
		l, err := budget.Open(t.Context(), budget.Config{Store: store, Caps: caps})
		if err != nil {
			t.Fatal(err)
		}
		others, err := budget.Open(t.Context(), budget.Config{Store: inner, Caps: caps})
		if err != nil {
			t.Fatal(err)
		}
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			if slices.Contains(turn.Tools, "digger") {
				return calls(gridtest.Call("digger", `{"task":"dig"}`))
			}
			store.on.Store(true) // from here on nothing of this process reaches the store
			f.set(always)
			return gridtest.Reply{Text: "too late", Delay: time.Hour}
		})
		client := clientOf(t, m)
		digger := open(t, m, agent.Config{Name: "digger", Market: client, Ledger: l, Limits: kept(budget.USD(0.5))})
		boss := open(t, m, agent.Config{Name: "boss", Market: client, Ledger: l, Agents: []*agent.Agent{digger}})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := agent.Run[string](ctx, boss, "go", agent.Tenant("acme"), agent.RunID("top"))
			ended <- err
		}()
		time.Sleep(time.Minute)
		_, rest := openNow(t, others)
		before := state(t, others, tenantDay(0).ID(), acme)
		if len(rest) != 2 || before.Held < budget.USD(0.49) {
			t.Errorf("%v are open: %+v", rest, before)
		}
		call := rest[slices.IndexFunc(rest, func(r budget.Reservation) bool { return !r.Idle })].Reserved.NanoUSD
		time.Sleep(2 * time.Minute)
		if _, err := others.Sweep(t.Context(), 100); err != nil {
			t.Error(err)
		}
		answers, rest := openNow(t, others)
		held := int64(0)
		for _, r := range answers {
			held += r.Reserved.NanoUSD
		}
		if s := state(t, others, tenantDay(0).ID(), acme); len(rest) != 0 || s.Settled != before.Settled+call || s.Unconfirmed != call || s.Held != held || held > budget.USD(0.05) {
			t.Errorf("%v are open, %d are held for answers: %+v", rest, held, s)
		}
		cancel()
		if err := <-ended; err == nil {
			t.Error("it did not die")
		}
	})
}

// A share that could not be given back when its run paused does not stand in the way of the one that is taken on Resume.
func TestAShareThatCouldNotBeGivenBackIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, calls(gridtest.Call("pay", "{}")), say("done"))
		store := &deaf{Store: budget.NewMemory(budget.Volatile())}
		l, err := budget.Open(t.Context(), budget.Config{Store: store, Caps: []budget.Cap{tenantDay(budget.USD(1)), account()}})
		if err != nil {
			t.Fatal(err)
		}
		pay := tools.New("pay", "Pay.", func(context.Context, empty) (string, error) { return "paid", nil }, tools.NeedsApproval())
		a := open(t, m, agent.Config{Ledger: l, Limits: kept(budget.USD(0.6)), Tools: []tools.Tool{pay}})
		store.keeps.Store(true)
		_, err = agent.Run[string](t.Context(), a, "go", agent.Tenant("acme"))
		p := paused(t, err)
		if n := len(shares(t, l)); n != 1 {
			t.Errorf("%d shares are held, which could not be given back", n)
		}
		res, err := agent.Resume[string](t.Context(), a, p.Token, agent.Approve(p.Calls[0]))
		stands(t, res, err)
		if n := len(shares(t, l)); err != nil || res.Steps[1].Uncarved || n != 1 {
			t.Errorf("without its share %t, %d are held at the end: %v", res.Steps[1].Uncarved, n, err)
		}
		store.keeps.Store(false)
		time.Sleep(time.Minute)
		nothingHeld(t, l)
	})
}

// While its tenant is frozen nobody is told that there is no room for a share.
func TestAFreezeIsNoWantOfRoomForAShare(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	turns(m, calls(gridtest.Call("dig", "{}")), say("done"))
	l := ledgerOf(t, tenantDay(budget.USD(1)))
	dig := tools.New("dig", "Dig.", func(ctx context.Context, _ empty) (string, error) {
		return "dug", l.Freeze(ctx, acme, "the bill looks odd", time.Time{}, "ann")
	})
	a := open(t, m, agent.Config{Ledger: l, Limits: kept(budget.USD(0.6)), Tools: []tools.Tool{dig}})
	_, err := agent.Run[string](t.Context(), a, "go", agent.Tenant("acme"))
	for range 2 {
		p := paused(t, err)
		nothingHeld(t, l)
		live := agent.Reopen[string](t.Context(), a, p.Token)
		for e := range live.Events() {
			if w, ok := e.(agent.Warning); ok {
				t.Errorf("%+v", w)
			}
		}
		_, err = live.Result()
	}
	if p := paused(t, err); p.Reason != agent.PauseFrozen {
		t.Errorf("%+v", p)
	}
}
