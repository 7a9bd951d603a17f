package redisstore

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gridloop/gridloop/budget"
)

// Every twentieth settlement is said twice; the caps run out in the last tenth. The bill is what the callers used.
func TestManyCallersNeverPassACap(t *testing.T) {
	pairs := int64(5_000)
	if os.Getenv("GRIDLOOP_LONG") != "" {
		pairs = 5_000_000
		if n, err := strconv.ParseInt(os.Getenv("GRIDLOOP_PAIRS"), 10, 64); err == nil {
			pairs = n
		}
	}
	const callers, most = 64, 1000
	limit := pairs * most / 4 * 9 / 10
	srv := startServer(t)
	store := New(srv.closing(t))
	defer store.Close()
	caps := []budget.Cap{{For: budget.Account(), Meter: budget.MeterMoney, Limit: limit, Per: budget.Lifetime()},
		{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: limit, Per: budget.Lifetime()},
		{For: budget.Each("run"), Meter: budget.MeterRequests, Limit: MaxLimit, Per: budget.Lifetime()},
		{For: budget.One("instrument", "text-prime"), Meter: budget.MeterTokens, Limit: MaxLimit, Per: budget.Rolling(24 * 300 * 3600e9)}}
	l := openLedger(t, store, caps...)
	var next, bill, operations, denied atomic.Int64
	var wg sync.WaitGroup
	for caller := range callers {
		scopes := []budget.Scope{{Kind: "tenant", Name: "acme"}, {Kind: "run", Name: strconv.Itoa(caller)}, {Kind: "instrument", Name: "text-prime"}}
		wg.Go(func() {
			for i := next.Add(1); i <= pairs; i = next.Add(1) {
				id, bound := strconv.FormatInt(i, 10), 1+rand.Int64N(most)
				_, err := l.Reserve(t.Context(), budget.Request{ID: id, Scopes: scopes, Amounts: budget.Amounts{NanoUSD: bound, Tokens: 9, Requests: 1}})
				operations.Add(1)
				if errors.Is(err, budget.ErrDenied) {
					denied.Add(1)
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				used := budget.Amounts{NanoUSD: 1 + rand.Int64N(bound), Tokens: 8, Requests: 1}
				bill.Add(used.NanoUSD)
				for said := int64(0); said == 0 || said == 1 && i%20 == 0; said++ {
					s, err := l.Settle(t.Context(), id, used)
					operations.Add(1)
					if err != nil || s.Duplicate != (said == 1) {
						t.Errorf("settle: %+v, %v", s, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	states, err := l.Snapshot(t.Context(), budget.Scope{Kind: "tenant", Name: "acme"})
	if err != nil || len(states) < 2 {
		t.Fatalf("%+v, %v", states, err)
	}
	t.Logf("%d operations, %d denied: billed %d of %d", operations.Load(), denied.Load(), bill.Load(), limit)
	for _, s := range states {
		if s.Meter == budget.MeterMoney && (s.Settled != bill.Load() || s.Held != 0 || s.Overrun != 0) {
			t.Errorf("%s stands at %+v, the bill is %d", s.Cap, s, bill.Load())
		}
	}
	if bill.Load() > limit || denied.Load() == 0 || bill.Load() < limit*995/1000 {
		t.Errorf("billed %d of %d, %d denied", bill.Load(), limit, denied.Load())
	}
}
