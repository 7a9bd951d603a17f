package redisstore

import (
	"errors"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
)

func rollingCap(limit int64) budget.Cap {
	return budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: limit, Per: budget.Rolling(10 * time.Hour)}
}

func TestLookingRollsAndWritesNothing(t *testing.T) {
	srv := startServer(t)
	c := srv.closing(t)
	store := New(c)
	defer store.Close()
	l := openLedger(t, store, rollingCap(100))
	take(t, l, "1", 60)
	settle(t, l, "1", 60)
	books := func() string {
		t.Helper()
		all := c.HGetAll(t.Context(), "gridloop:{a.acct}:counts").Val()
		seq := c.HGet(t.Context(), "gridloop:{a.acct}:meta", "seq").Val()
		if len(all) != 1 {
			t.Fatalf("counts %q", all)
		}
		for _, v := range all {
			seq += v
		}
		return seq
	}
	before := books()
	store.ahead.Add((11 * time.Hour).Microseconds())
	stands(t, l, 0, 0)
	if books() != before {
		t.Fatal("a snapshot changed the books")
	}
	store.ahead.Store(0)
	stands(t, l, 60, 0)
}

// What is not touched any more goes with the last reservation that is kept of it.
func TestRollingCountsDoNotPileUp(t *testing.T) {
	srv := startServer(t)
	c := srv.closing(t)
	store := New(c)
	defer store.Close()
	cap := rollingCap(100)
	cap.For = budget.Each("tenant")
	l := openLedger(t, store, cap)
	for _, tenant := range []string{"a", "b", "c"} {
		r := budget.Request{ID: tenant, Scopes: []budget.Scope{{Kind: "tenant", Name: tenant}}, Amounts: budget.Amounts{NanoUSD: 30}}
		if _, err := l.Reserve(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		settle(t, l, tenant, 20)
	}
	for _, step := range []struct {
		wait time.Duration
		left int64
	}{{11 * time.Hour, 3}, {23 * time.Hour, 3}, {2 * time.Hour, 0}} { // ten hours, a bucket, and a day for late receipts
		store.ahead.Add(step.wait.Microseconds())
		if _, err := l.Sweep(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		if n := c.HLen(t.Context(), "gridloop:{a.acct}:counts").Val(); n != step.left {
			t.Fatalf("%v later there are %d counts, want %d", step.wait, n, step.left)
		}
	}
}

func TestBooksThatForgotRollingCountsAreToldNoLess(t *testing.T) {
	srv := startServer(t)
	c := srv.closing(t)
	one, two := New(srv.closing(t), Learning(learnFor)), New(srv.closing(t), Learning(learnFor))
	defer one.Close()
	defer two.Close()
	pass := func(d time.Duration) {
		one.ahead.Add(d.Microseconds())
		two.ahead.Add(d.Microseconds())
	}
	a, b := openLedger(t, one, rollingCap(100)), openLedger(t, two)
	take(t, a, "a1", 40)
	settle(t, a, "a1", 40) // the last that one hears
	pass(5 * time.Hour)
	take(t, b, "b1", 30)
	settle(t, b, "b1", 30)
	stands(t, b, 70, 0)
	pass(time.Hour)
	if err := c.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if err := reserveErr(t, a, "a2", 1); !errors.Is(err, ErrLearning) {
		t.Fatalf("reserve after the flush: %v", err)
	}
	stands(t, a, 40, 0)
	stands(t, b, 70, 0) // not 110: what one knew is part of what two knew
	stands(t, a, 70, 0)
	if err := waitLearnt(t, b, "b2", 31); !errors.Is(err, budget.ErrSpent) {
		t.Fatalf("reserve of more than is left: %v", err)
	}
	take(t, a, "a3", 30)
	settle(t, a, "a3", 30)
	pass(8 * time.Hour) // 14 hours after the first, 9 after the second: nobody knows that the first has left, so it counts
	stands(t, a, 100, 0)
	pass(75 * time.Minute)
	stands(t, a, 30, 0)
	pass(10 * time.Hour)
	stands(t, a, 0, 0)
}
