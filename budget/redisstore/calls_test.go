package redisstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/redis/go-redis/v9"
)

// seen is a client that shows each call to a func before it is sent.
type seen struct {
	Client
	call func(sha string)
}

func (s seen) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	s.call(sha)
	return s.Client.EvalSha(ctx, sha, keys, args...)
}

func TestReservesAndSettlementsAreOfThePlainestForm(t *testing.T) {
	srv := startServer(t)
	var mu sync.Mutex
	calls := map[string]int{}
	store := New(seen{srv.closing(t), func(sha string) {
		mu.Lock()
		defer mu.Unlock()
		calls[sha]++
	}})
	defer store.Close()
	l := openLedger(t, store, moneyCap(budget.Account(), 100), moneyCap(budget.Each("run"), 50))
	pair := func(id string) {
		t.Helper()
		if _, err := l.Reserve(t.Context(), budget.Request{ID: id, Amounts: budget.Amounts{NanoUSD: 9}, Scopes: []budget.Scope{{Kind: "run", Name: "r"}}}); err != nil {
			t.Fatal(err)
		}
		settle(t, l, id, 4)
	}
	pair("first") // begins counts and looks at the server
	clear(calls)
	for i := range 9 {
		pair(fmt.Sprint(i))
	}
	if _, err := l.Reserve(t.Context(), budget.Request{ID: "more", Amounts: budget.Amounts{NanoUSD: 11}, Scopes: []budget.Scope{{Kind: "run", Name: "r"}}}); err == nil {
		t.Error("above the cap")
	}
	if calls[store.scripts[plain].sha] != 19 || len(calls) != 1 {
		t.Errorf("calls %v, want 19 of %s", calls, store.scripts[plain].sha)
	}
}

// A caller that has left goes on with the same reservation: its next operation must not come first.
func TestNothingOvertakesAnOperationThatItsCallerHasLeft(t *testing.T) {
	srv := startServer(t)
	var once sync.Once
	hold, held := make(chan struct{}), make(chan struct{})
	on := false
	store := New(seen{srv.closing(t), func(string) {
		if on {
			once.Do(func() {
				close(held)
				<-hold
			})
		}
	}})
	defer store.Close()
	l := openLedger(t, store, moneyCap(budget.Account(), 100))
	take(t, l, "0", 1)
	on = true
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := l.Reserve(ctx, budget.Request{ID: "left", Amounts: budget.Amounts{NanoUSD: 10}}); err == nil {
			t.Error("nobody knows, and no error")
		}
	})
	<-held
	cancel()
	wg.Wait()
	const later = 8
	var voided atomic.Int32
	for range later {
		wg.Go(func() {
			defer voided.Add(1)
			if err := l.Void(t.Context(), "left", budget.ProofNeverDispatched); err != nil {
				t.Error(err)
			}
		})
	}
	a := store.open("acct")
	for waits(a) < later && voided.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	close(hold)
	wg.Wait()
	stands(t, l, 0, 1)
}

func TestASecondCallGoesOutWhileOneIsUnderWay(t *testing.T) {
	const callers = 12
	var mu sync.Mutex
	under, on := 0, false
	var a *account
	store := New(seen{startServer(t).closing(t), func(string) {
		if !on {
			return
		}
		mu.Lock()
		under++
		mu.Unlock()
		for { // until there are two, or all others wait for the first
			mu.Lock()
			n := under
			mu.Unlock()
			if n > 1 || waits(a) == callers-1 {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}})
	defer store.Close()
	l := openLedger(t, store, moneyCap(budget.Account(), 100))
	take(t, l, "0", 1)
	a, on = store.open("acct"), true
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := reserveErr(t, l, "first", 1); err != nil {
			t.Error(err)
		}
	})
	for waits(a) > 0 || !busy(a) {
		time.Sleep(time.Millisecond)
	}
	for i := range callers - 1 {
		wg.Go(func() {
			if err := reserveErr(t, l, fmt.Sprint("r", i), 1); err != nil {
				t.Error(err)
			}
		})
	}
	for n := 0; n < 2; {
		mu.Lock()
		n = under
		mu.Unlock()
		if n == 1 && waits(a) == callers-1 {
			t.Error("all others wait for the first")
			break
		}
		time.Sleep(time.Millisecond)
	}
	wg.Wait()
	stands(t, l, 0, callers+1)
}

func waits(a *account) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.waiting)
}

func busy(a *account) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.size > 0
}

func TestNoMoreEndedReservationsAreKeptThanAskedFor(t *testing.T) {
	srv := startServer(t)
	store := New(srv.closing(t), Keep(20))
	defer store.Close()
	l := openLedger(t, store, moneyCap(budget.Account(), 1000))
	for i := range 100 {
		id := fmt.Sprint(i)
		take(t, l, id, 5)
		settle(t, l, id, 2)
		if n := srv.closing(t).HLen(t.Context(), "gridloop:{a.acct}:rows").Val(); n > 23 {
			t.Fatalf("%d are kept after %d", n, i+1)
		}
	}
	stands(t, l, 200, 0)
	if _, err := l.Settle(t.Context(), "0", budget.Amounts{NanoUSD: 2}); !errors.Is(err, budget.ErrUnknownReservation) {
		t.Errorf("the oldest: %v", err)
	}
}

// Another process has reserved when there was one cap only.
func TestADuplicateIsSettledOnTheCountsItWasReservedOn(t *testing.T) {
	srv := startServer(t)
	one, two := New(srv.closing(t)), New(srv.closing(t))
	defer one.Close()
	defer two.Close()
	take(t, openLedger(t, one, moneyCap(budget.Account(), 100)), "1", 10)
	l := openLedger(t, two, budget.Cap{For: budget.Account(), Meter: budget.MeterRequests, Limit: 9, Per: budget.Day(nil)})
	r, err := l.Reserve(t.Context(), budget.Request{ID: "1", Amounts: budget.Amounts{NanoUSD: 10}})
	if err != nil || !r.Duplicate {
		t.Fatalf("%+v, %v", r, err)
	}
	s, err := l.Settle(t.Context(), "1", budget.Amounts{NanoUSD: 4})
	if err != nil || len(s.Left) != 1 || s.Left[0].Meter != budget.MeterMoney || s.Left[0].Settled != 4 {
		t.Fatalf("%+v, %v", s, err)
	}
}

func TestThePlainestFormIsNotTriedWhileItIsTooPlain(t *testing.T) {
	srv := startServer(t)
	calls := map[string]int{}
	store := New(seen{srv.closing(t), func(sha string) { calls[sha]++ }})
	defer store.Close()
	l := openLedger(t, store, moneyCap(budget.Account(), 1000))
	take(t, l, "first", 1)
	if err := l.Freeze(t.Context(), budget.Scope{Kind: "tenant", Name: "t"}, "why", time.Time{}, "test"); err != nil {
		t.Fatal(err)
	}
	clear(calls)
	for i := range 10 {
		take(t, l, fmt.Sprint(i), 1)
	}
	if n := calls[store.scripts[plain].sha]; n != 1 || calls[store.scripts[reservations].sha] != 10 {
		t.Errorf("calls %v: the plainest form was tried %d times", calls, n)
	}
}
