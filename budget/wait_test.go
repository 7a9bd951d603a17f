package budget_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// counting counts what a store is asked.
type counting struct {
	budget.Store
	reserves atomic.Int64
	remote   bool
}

func (c *counting) Reserve(ctx context.Context, account string, op *budget.ReserveOp, ans *budget.Answer) error {
	c.reserves.Add(1)
	return c.Store.Reserve(ctx, account, op, ans)
}

func (c *counting) Traits() budget.Traits {
	t := c.Store.Traits()
	t.Local = t.Local && !c.remote
	return t
}

func accountCap(limit int64) budget.Cap {
	return budget.Cap{For: budget.Account(), Meter: budget.MeterTokens, Limit: limit, Per: budget.Lifetime(), Soft: []int{}}
}

func ledgerOn(t *testing.T, s budget.Store, caps ...budget.Cap) *budget.Ledger {
	t.Helper()
	l, err := budget.Open(t.Context(), budget.Config{Store: s, Caps: caps})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func tokensOf(id, tenant string, n int64) budget.Request {
	return budget.Request{ID: id, Scopes: []budget.Scope{{Kind: "tenant", Name: tenant}}, Amounts: budget.Amounts{Tokens: n}}
}

// waiters starts callers one after the other and records who is served when.
type waiters struct {
	t  *testing.T
	l  *budget.Ledger
	mu sync.Mutex
	in []string
	wg sync.WaitGroup
}

func (w *waiters) start(id, tenant string, n int64, hold time.Duration) {
	w.wg.Go(func() {
		if _, err := w.l.ReserveWait(w.t.Context(), tokensOf(id, tenant, n)); err != nil {
			w.t.Errorf("%s: %v", id, err)
			return
		}
		w.mu.Lock()
		w.in = append(w.in, id)
		w.mu.Unlock()
		time.Sleep(hold)
		if err := w.l.Void(w.t.Context(), id, budget.ProofNeverDispatched); err != nil {
			w.t.Error(err)
		}
	})
	synctest.Wait()
}

func TestWaitersAreServedInTurnAndTenantsFairly(t *testing.T) {
	for _, tc := range []struct {
		name  string
		start func(*waiters)
		want  string
	}{
		{"first come, first served", func(w *waiters) {
			for i := range 5 {
				w.start(fmt.Sprint("a", i), "a", 100, time.Second)
			}
		}, "a0 a1 a2 a3 a4"},
		{"tenants in turn", func(w *waiters) {
			for i := range 5 {
				w.start(fmt.Sprint("a", i), "a", 100, time.Second)
			}
			w.start("b0", "b", 100, time.Second)
			w.start("b1", "b", 100, time.Second)
			w.start("c0", "c", 100, time.Second)
		}, "a0 a1 b0 c0 a2 b1 a3 a4"},
		{"small ones do not overtake a large one", func(w *waiters) {
			w.start("a0", "a", 60, time.Second)
			w.start("large", "a", 100, time.Second)
			w.start("small", "a", 10, time.Second)
		}, "a0 large small"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &waiters{t: t, l: ledgerOn(t, budget.NewMemory(budget.Volatile()), accountCap(100))}
				tc.start(w)
				w.wg.Wait()
				if got := strings.Join(w.in, " "); got != tc.want {
					t.Errorf("served were %s, want %s", got, tc.want)
				}
			})
		})
	}
}

// A settlement wakes one waiter, not all of them.
func TestWaitersDoNotStampede(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &counting{Store: budget.NewMemory(budget.Volatile())}
		w := &waiters{t: t, l: ledgerOn(t, s, accountCap(100))}
		const n = 200
		for i := range n {
			w.start(fmt.Sprint("w", i), fmt.Sprint("t", i%7), 100, 50*time.Millisecond)
		}
		began := time.Now()
		w.wg.Wait()
		if took := time.Since(began); took > n*50*time.Millisecond {
			t.Errorf("%d waiters took %v: somebody was not woken by a settlement", n, took)
		}
		if asked := s.reserves.Load(); asked > 3*n {
			t.Errorf("the store was asked %d times for %d waiters", asked, n)
		}
		if len(w.in) != n {
			t.Errorf("%d of %d were served", len(w.in), n)
		}
	})
}

func TestWaitEndsWithItsContextAndPassesItsTurnOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ledgerOn(t, budget.NewMemory(budget.Volatile()), accountCap(100))
		if _, err := l.Reserve(t.Context(), tokensOf("held", "a", 100)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		left := make(chan error, 1)
		go func() { _, err := l.ReserveWait(ctx, tokensOf("gone", "a", 100)); left <- err }()
		synctest.Wait()
		w := &waiters{t: t, l: l}
		w.start("next", "a", 100, 0)
		if err := <-left; !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, budget.ErrHeld) {
			t.Errorf("it ended with %v", err)
		}
		if s, _ := l.Snapshot(t.Context()); s[0].Held != 100 {
			t.Errorf("who waited holds something: %+v", s)
		}
		if _, err := l.Settle(t.Context(), "held", budget.Amounts{}); err != nil {
			t.Fatal(err)
		}
		w.wg.Wait()
		if !slices.Equal(w.in, []string{"next"}) {
			t.Errorf("served were %v", w.in)
		}
	})
}

// Waiting is for held only: what is spent or can never fit is said at once.
func TestOnlyWhatIsHeldIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ledgerOn(t, budget.NewMemory(budget.Volatile()), accountCap(100))
		began := time.Now()
		if _, err := l.ReserveWait(t.Context(), tokensOf("big", "a", 101)); !errors.Is(err, budget.ErrTooBig) {
			t.Error(err)
		}
		if _, err := l.Reserve(t.Context(), tokensOf("r", "a", 60)); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { _, err := l.ReserveWait(t.Context(), tokensOf("w", "a", 50)); done <- err }()
		synctest.Wait()
		if _, err := l.Settle(t.Context(), "r", budget.Amounts{Tokens: 60}); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, budget.ErrSpent) || !time.Now().Equal(began) {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// What another process settles is found by asking now and then.
func TestWaitFindsWhatOthersSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := budget.NewMemory(budget.Volatile())
		here, there := ledgerOn(t, s, accountCap(100)), ledgerOn(t, s, accountCap(100))
		if _, err := there.Reserve(t.Context(), tokensOf("r", "a", 100)); err != nil {
			t.Fatal(err)
		}
		w := &waiters{t: t, l: here}
		w.start("w", "a", 100, 0)
		time.Sleep(time.Minute)
		began := time.Now()
		if _, err := there.Settle(t.Context(), "r", budget.Amounts{}); err != nil {
			t.Fatal(err)
		}
		w.wg.Wait()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("found after %v", took)
		}
	})
}

// A cap for several scopes together has one line for each set of them.
func TestWaitersOfAJoinedCapStandInItsLine(t *testing.T) {
	joined := budget.Cap{For: budget.Each("tenant").And(budget.Each("instrument")), Meter: budget.MeterTokens, Limit: 100, Per: budget.Lifetime()}
	request := func(id, instrument string, n int64) budget.Request {
		return budget.Request{ID: id, Scopes: []budget.Scope{{Kind: "tenant", Name: "acme"}, {Kind: "instrument", Name: instrument}}, Amounts: budget.Amounts{Tokens: n}}
	}
	synctest.Test(t, func(t *testing.T) {
		l := ledgerOn(t, budget.NewMemory(budget.Volatile()), joined)
		if _, err := l.Reserve(t.Context(), request("first", "max", 50)); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var in []string
		var wg sync.WaitGroup
		start := func(r budget.Request) {
			wg.Go(func() {
				if _, err := l.ReserveWait(t.Context(), r); err != nil {
					t.Errorf("%s: %v", r.ID, err)
				}
				mu.Lock()
				in = append(in, r.ID)
				mu.Unlock()
				if err := l.Void(t.Context(), r.ID, budget.ProofNeverDispatched); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		start(request("large", "max", 80))
		start(request("small", "max", 30))
		start(request("elsewhere", "fast", 30))
		if err := l.Void(t.Context(), "first", budget.ProofNeverDispatched); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		wg.Wait()
		if want := []string{"elsewhere", "large", "small"}; !slices.Equal(in, want) || time.Since(began) > 0 {
			t.Errorf("served were %v after %v, want %v at once", in, time.Since(began), want)
		}
	})
}

// Who has to wait for something else, too, comes there before those who came after it.
func TestWhoChangesLinesKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		per := func(kind string) budget.Cap {
			return budget.Cap{For: budget.Each(kind), Meter: budget.MeterTokens, Limit: 100, Per: budget.Lifetime()}
		}
		l := ledgerOn(t, budget.NewMemory(budget.Volatile()), per("instrument"), per("run"))
		request := func(id, run string) budget.Request {
			r := budget.Request{ID: id, Scopes: []budget.Scope{{Kind: "run", Name: run}}, Amounts: budget.Amounts{Tokens: 100}}
			if id != "run" {
				r.Scopes = append(r.Scopes, budget.Scope{Kind: "instrument", Name: "agent-prime"})
			}
			return r
		}
		take := func(id, run string) {
			t.Helper()
			if _, err := l.Reserve(t.Context(), request(id, run)); err != nil {
				t.Fatal(err)
			}
		}
		give := func(id string) {
			if err := l.Void(t.Context(), id, budget.ProofNeverDispatched); err != nil {
				t.Error(err)
			}
		}
		var mu sync.Mutex
		var in []string
		var wg sync.WaitGroup
		wait := func(id, run string) {
			wg.Go(func() {
				if _, err := l.ReserveWait(t.Context(), request(id, run)); err != nil {
					t.Errorf("%s: %v", id, err)
				}
				mu.Lock()
				in = append(in, id)
				mu.Unlock()
				give(id)
			})
			synctest.Wait()
		}
		take("run", "r1")
		wait("first", "r1") // for its run, which something else of it has taken
		take("instrument", "r2")
		wait("second", "r3") // for the instrument
		wait("third", "r4")
		give("run") // and now the first one waits for the instrument, too
		synctest.Wait()
		give("instrument")
		wg.Wait()
		if want := []string{"first", "second", "third"}; !slices.Equal(in, want) {
			t.Errorf("served were %v, want %v", in, want)
		}
	})
}

// Whoever draws from an allowance waits for those who draw from it, and for nobody else.
func TestWhoDrawsStandsInALineOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &counting{Store: budget.NewMemory(budget.Volatile())}
		l := ledgerOn(t, s, accountCap(100))
		began := time.Now()
		reserve := func(r budget.Request) {
			t.Helper()
			if _, err := l.Reserve(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		for _, allowance := range []string{"kept", "other"} {
			r := tokensOf(allowance, "a", 20)
			r.Idle = true
			reserve(r)
		}
		reserve(tokensOf("greedy", "b", 60))
		var mu sync.Mutex
		var in []string
		var wg sync.WaitGroup
		wait := func(id, tenant, from string, n int64) {
			wg.Go(func() {
				r := tokensOf(id, tenant, n)
				r.From = from
				if _, err := l.ReserveWait(t.Context(), r); err != nil {
					t.Errorf("%s: %v", id, err)
				}
				mu.Lock()
				in = append(in, id)
				mu.Unlock()
			})
			synctest.Wait()
		}
		wait("waits", "b", "", 30)
		wait("draws", "a", "kept", 20) // at once, though somebody waits for the cap
		wait("draws more", "a", "kept", 20)
		wait("and more", "a", "kept", 5) // not before the larger one
		wait("elsewhere", "a", "other", 20)
		if want := []string{"draws", "elsewhere"}; !slices.Equal(in, want) {
			t.Fatalf("served were %v, want %v", in, want)
		}
		asked := s.reserves.Load()
		if err := l.Void(t.Context(), "draws", budget.ProofDial); err != nil { // nothing falls but what the allowance has lent
			t.Fatal(err)
		}
		synctest.Wait()
		if want := []string{"draws", "elsewhere", "draws more"}; !slices.Equal(in, want) || time.Since(began) > 0 {
			t.Fatalf("served were %v after %v, want %v at once", in, time.Since(began), want)
		}
		if n := s.reserves.Load() - asked; n > 3 { // the head of each line, and who comes after the one that is served
			t.Errorf("the store was asked %d times", n)
		}
		for _, id := range []string{"draws more", "greedy"} {
			if err := l.Void(t.Context(), id, budget.ProofDial); err != nil {
				t.Fatal(err)
			}
		}
		wg.Wait()
		if time.Since(began) > 0 || len(in) != 5 {
			t.Errorf("served were %v after %v", in, time.Since(began))
		}
	})
}

// What was found out while somebody waited is said in the end, whatever that is.
func TestTheNewsOfAWaitAreInItsAnswer(t *testing.T) {
	for _, tc := range []struct {
		name string
		then func(ctx context.Context, l *budget.Ledger) error
		want error
	}{
		{"granted", func(ctx context.Context, l *budget.Ledger) error {
			return l.Void(ctx, "other", budget.ProofNeverDispatched)
		}, nil},
		{"spent", func(ctx context.Context, l *budget.Ledger) error { _, err := l.Charge(ctx, "other"); return err }, budget.ErrSpent},
		{"in vain", func(context.Context, *budget.Ledger) error { return nil }, context.DeadlineExceeded},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cap := accountCap(100)
				cap.Soft = []int{20}
				l := ledgerOn(t, budget.NewMemory(budget.Volatile()), cap)
				for id, lease := range map[string]time.Duration{"dead": 5 * time.Second, "other": time.Hour} {
					r := tokensOf(id, "a", map[string]int64{"dead": 20, "other": 80}[id])
					r.Lease = lease
					if _, err := l.Reserve(t.Context(), r); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				then := time.AfterFunc(10*time.Second, func() {
					if err := tc.then(context.Background(), l); err != nil {
						t.Error(err)
					}
				})
				defer then.Stop()
				g, err := l.ReserveWait(ctx, tokensOf("w", "a", 70))
				if !errors.Is(err, tc.want) {
					t.Fatal(err)
				}
				crossed, expired := g.Crossed, g.Expired
				if d := (*budget.DeniedError)(nil); errors.As(err, &d) {
					crossed, expired = d.Crossed, d.Expired
				}
				if len(crossed) != 1 || crossed[0].Percent != 20 || !slices.Equal(expired, []string{"dead"}) {
					t.Errorf("crossed is %+v, expired %q", crossed, expired)
				}
			})
		})
	}
}
