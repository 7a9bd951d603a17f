package redisstore

import (
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
)

func TestCountsThatAreGoneBeginAnewUnderAnotherID(t *testing.T) {
	srv := startServer(t)
	store := New(srv.closing(t))
	defer store.Close()
	l := openLedger(t, store, rollingCap(100))
	take(t, l, "1", 60)
	settle(t, l, "1", 60)
	before := srv.closing(t).HVals(t.Context(), "gridloop:{a.acct}:ids").Val()
	store.ahead.Add((36 * time.Hour).Microseconds()) // ten hours, a bucket, and a day for late receipts
	if _, err := l.Sweep(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	take(t, l, "2", 100) // asked by an id that the books no longer know
	stands(t, l, 0, 100)
	after := srv.closing(t).HVals(t.Context(), "gridloop:{a.acct}:ids").Val()
	if len(before) != 1 || len(after) != 1 || after[0] <= before[0] {
		t.Errorf("ids %x, then %x", before, after)
	}
}

func TestWhoSettlesForAnotherProcessSeesItsCounts(t *testing.T) {
	srv := startServer(t)
	one, two := New(srv.closing(t)), New(srv.closing(t))
	defer one.Close()
	defer two.Close()
	take(t, openLedger(t, one, moneyCap(budget.Account(), 100)), "1", 60)
	s, err := openLedger(t, two).Settle(t.Context(), "1", budget.Amounts{NanoUSD: 55})
	if err != nil || len(s.Left) != 1 || s.Left[0].Cap != "account money day UTC" || s.Left[0].Settled != 55 || s.Left[0].Left != 45 {
		t.Fatalf("%+v, %v", s, err)
	}
}
