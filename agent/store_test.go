package agent_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// flaky is a store that is away at times. Some of what it is asked is done all the
// same, and only the answer is lost.
type flaky struct {
	budget.Store
	mu   sync.Mutex
	away func() bool // asked before each operation
	lost func() bool // the operation is done, its answer is lost

	forgets bool // runs are not forgotten, either, while it is away
}

var errAway = errors.New("connection refused")

func (f *flaky) do(op func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away == nil || !f.away() {
		return op()
	}
	if f.lost != nil && f.lost() {
		_ = op()
	}
	return errAway
}

func (f *flaky) set(away func() bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = away
}

func (f *flaky) Traits() budget.Traits {
	t := f.Store.Traits()
	t.Local = false
	return t
}

func (f *flaky) Define(ctx context.Context, account, by string, caps []budget.Cap) (v int64, err error) {
	err = f.do(func() (err error) { v, err = f.Store.Define(ctx, account, by, caps); return err })
	return v, err
}

func (f *flaky) Reserve(ctx context.Context, account string, op *budget.ReserveOp, ans *budget.Answer) error {
	return f.do(func() error { return f.Store.Reserve(ctx, account, op, ans) })
}

func (f *flaky) Settle(ctx context.Context, account, id string, actual budget.Amounts, ans *budget.Answer) error {
	return f.do(func() error { return f.Store.Settle(ctx, account, id, actual, ans) })
}

func (f *flaky) Charge(ctx context.Context, account, id string, ans *budget.Answer) error {
	return f.do(func() error { return f.Store.Charge(ctx, account, id, ans) })
}

func (f *flaky) Void(ctx context.Context, account, id string, p budget.Proof, ans *budget.Answer) error {
	return f.do(func() error { return f.Store.Void(ctx, account, id, p, ans) })
}

func (f *flaky) Release(ctx context.Context, account, id string, ans *budget.Answer) error {
	return f.do(func() error { return f.Store.Release(ctx, account, id, ans) })
}

func (f *flaky) Forget(ctx context.Context, account string, run budget.Scope) error {
	if !f.forgets {
		return f.Store.Forget(ctx, account, run)
	}
	return f.do(func() error { return f.Store.Forget(ctx, account, run) })
}

func (f *flaky) Open(ctx context.Context, account, prefix string) (rs []budget.Reservation, err error) {
	err = f.do(func() (err error) { rs, err = f.Store.Open(ctx, account, prefix); return err })
	return rs, err
}

func always() bool { return true }
func never() bool  { return false }

func flakyLedger(t *testing.T, caps ...budget.Cap) (*flaky, *budget.Ledger) {
	t.Helper()
	f := &flaky{Store: budget.NewMemory(budget.Volatile())}
	l, err := budget.Open(context.Background(), budget.Config{Store: f, Caps: append(caps, account())})
	if err != nil {
		t.Fatal(err)
	}
	return f, l
}

func TestRunPausesWhileTheStoreIsAway(t *testing.T) {
	for _, tc := range []struct {
		name string
		from int // the answer of the market from which on the store is away; 0: from the start
		opts []agent.Option
		cfg  agent.Config
		stop agent.Stop
		kid  bool
	}{
		{name: "from the start", stop: agent.StopCompleted},
		{name: "before a run's own caps are set", opts: []agent.Option{agent.Cap(budget.USD(0.50))}, stop: agent.StopCompleted},
		{name: "with a call in flight", from: 1, stop: agent.StopCompleted},
		{name: "at the answer at a limit", from: 2, cfg: agent.Config{Limits: agent.Limits{Steps: 2}}, stop: agent.StopSteps},
		{name: "in an agent that is called", from: 1, kid: true, stop: agent.StopCompleted},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{})
				f, l := flakyLedger(t)
				answers := 0
				m.Model(func(turn gridtest.Turn) gridtest.Reply {
					if answers++; answers == tc.from {
						f.set(always)
					}
					switch {
					case tc.kid && turn.N == 0 && len(turn.Tools) > 0:
						return calls(gridtest.Call("kid", `{"task":"look"}`))
					case len(turn.Tools) > 0 && turn.N < 3 && !tc.kid:
						return calls(lookCall())
					}
					return say("done")
				})
				cfg := tc.cfg
				cfg.Ledger, cfg.Tools = l, []tools.Tool{look()}
				if tc.kid {
					cfg.Agents = []*agent.Agent{open(t, m, agent.Config{Name: "kid", Ledger: l})}
				}
				a := open(t, m, cfg)
				if tc.from == 0 {
					f.set(always)
				}
				res, err := agent.Run[string](t.Context(), a, "go", tc.opts...)
				stands(t, res, err)
				p := paused(t, err)
				if p.Reason != agent.PauseStore || !errors.Is(err, budget.ErrUnavailable) || chats(m, 1) != tc.from {
					t.Fatalf("%+v after %d requests: %v", p, chats(m, 1), err)
				}
				again, err := agent.Resume[string](t.Context(), a, p.Token)
				stands(t, again, err)
				if p = paused(t, err); p.Reason != agent.PauseStore || chats(m, 1) != tc.from {
					t.Fatalf("still away, but: %v after %d requests", err, chats(m, 1))
				}
				time.Sleep(30 * time.Second)
				f.set(never)
				res, err = agent.Resume[string](t.Context(), a, p.Token)
				stands(t, res, err)
				if err != nil || res.Text != "done" || res.Stop != tc.stop {
					t.Errorf("%q, stopped by %s: %v", res.Text, res.Stop, err)
				}
				time.Sleep(10 * time.Second) // the settlements that waited
				if s := state(t, l, account().ID()); s.Held != 0 || s.Settled != res.Cost.NanoUSD || s.Unconfirmed != 0 || m.Bill("") > s.Settled {
					t.Errorf("the result says %v, the bill is %d: %+v", res.Cost, m.Bill(""), s)
				}
			})
		})
	}
}

// Whatever the store forgets to answer, nothing is spent beyond the cap, nothing is
// counted twice, nothing stays held, and the run comes to its end.
func TestRunsSurviveAStoreThatComesAndGoes(t *testing.T) {
	pauses := 0
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 11))
			m := newMarket(t, gridtest.Config{Seed: seed})
			f, l := flakyLedger(t)
			m.Model(func(turn gridtest.Turn) gridtest.Reply {
				if turn.N < 6 && len(turn.Tools) > 0 {
					return greedy(turn, calls(lookCall()))
				}
				return greedy(turn, say("done"))
			})
			if seed%3 == 0 {
				m.Fault(faultsOf(seed)...)
			}
			a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Ledger: l})
			f.lost = func() bool { return rnd.IntN(2) == 0 }
			f.set(func() bool { return rnd.IntN(5) == 0 })
			res, err := agent.Run[string](t.Context(), a, "go", agent.Cap(budget.USD(0.20)))
			res, err = resumeWhileAway(t, a, res, err, &pauses)
			f.set(never)
			time.Sleep(30 * time.Second)
			s := state(t, l, account().ID())
			if s.Held != 0 || s.Settled != res.Cost.NanoUSD || m.Bill("") > s.Settled || m.Bill("") > budget.USD(0.20) {
				t.Errorf("seed %d: the result says %v, the bill is %d: %+v: %v", seed, res.Cost, m.Bill(""), s, err)
			}
		})
	}
	if pauses < 60 {
		t.Errorf("only %d pauses: the store was hardly away", pauses)
	}
}

// What is owed to the store has a bound and an end: a shut-down agent leaves it to
// the leases.
func TestSettlementsThatAreOwedEndWithTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		f, l := flakyLedger(t)
		m.Model(func(gridtest.Turn) gridtest.Reply { f.set(always); return say("done") })
		a := open(t, m, agent.Config{Ledger: l})
		res, err := agent.Run[string](t.Context(), a, "go")
		if err != nil || res.Text != "done" {
			t.Fatal(res.Text, err)
		}
		shut(t, a)
		f.set(never)
		time.Sleep(time.Hour)
		if _, err := l.Sweep(t.Context(), 100); err != nil {
			t.Fatal(err)
		}
		if s := state(t, l, account().ID()); s.Held != 0 || s.Settled < m.Bill("") || s.Unconfirmed == 0 {
			t.Errorf("the bill is %d: %+v", m.Bill(""), s)
		}
	})
}

// The counts and the caps of a run whose last settlement is owed are dropped when that was paid.
func TestARunIsForgottenWhenTheStoreIsBack(t *testing.T) {
	for _, away := range []string{"all", "settlements"} {
		t.Run(away, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{})
				f, l := flakyLedger(t)
				f.forgets = away == "all"
				m.Model(func(gridtest.Turn) gridtest.Reply { f.set(always); return say("done") })
				a := open(t, m, agent.Config{Ledger: l})
				res, err := agent.Run[string](t.Context(), a, "go", agent.Cap(budget.USD(0.50)))
				if err != nil || res.Text != "done" {
					t.Fatal(res.Text, err)
				}
				time.Sleep(time.Minute)
				f.set(never)
				time.Sleep(time.Minute)
				caps, err := l.Caps(t.Context())
				if err != nil || len(caps) != 1 {
					t.Errorf("caps are left: %+v, %v", caps, err)
				}
				if s := state(t, l, account().ID()); s.Settled != res.Cost.NanoUSD || s.Held != 0 {
					t.Errorf("the result says %v: %+v", res.Cost, s)
				}
			})
		})
	}
}

// resumeWhileAway resumes a run for as long as the store is what it waits for, and counts how often it was.
func resumeWhileAway(t *testing.T, a *agent.Agent, res *agent.Result[string], err error, pauses *int) (*agent.Result[string], error) {
	t.Helper()
	for {
		stands(t, res, err)
		p, ok := errors.AsType[*agent.Paused](err)
		if !ok {
			return res, err
		}
		if *pauses++; p.Reason != agent.PauseStore {
			t.Fatal(p)
		}
		time.Sleep(time.Second)
		res, err = agent.Resume[string](t.Context(), a, p.Token)
	}
}
