package redisstore

import (
	"errors"
	"testing"

	"github.com/gridloop/gridloop/budget"
)

func draw(t testing.TB, l *budget.Ledger, from, id string, nano int64) {
	t.Helper()
	if _, err := l.Reserve(t.Context(), budget.Request{ID: id, From: from, Amounts: budget.Amounts{NanoUSD: nano}}); err != nil {
		t.Fatalf("reserve %s from %s: %v", id, from, err)
	}
}

// What was drawn is known to who drew it and to who holds the allowance, whoever of them is the first to notice.
func TestBooksThatForgotLearnWhatWasDrawn(t *testing.T) {
	for _, test := range []struct {
		name  string
		first int
	}{{"the parent is first", 0}, {"the child is first", 1}} {
		t.Run(test.name, func(t *testing.T) {
			srv := startServer(t)
			parent, child := New(srv.closing(t), Learning(learnFor)), New(srv.closing(t), Learning(learnFor))
			defer parent.Close()
			defer child.Close()
			ledgers := []*budget.Ledger{openLedger(t, parent, moneyCap(budget.Account(), 100)), openLedger(t, child)}
			p, c := ledgers[0], ledgers[1]
			if _, err := p.Reserve(t.Context(), budget.Request{ID: "share", Idle: true, Amounts: budget.Amounts{NanoUSD: 80}}); err != nil {
				t.Fatal(err)
			}
			draw(t, c, "share", "used", 30)
			settle(t, c, "used", 20)
			draw(t, c, "share", "open", 25)
			stands(t, p, 20, 60) // 35 of the share and the 25
			if err := srv.closing(t).FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			for _, i := range []int{test.first, 1 - test.first} {
				if err := reserveErr(t, ledgers[i], "new", 1); !errors.Is(err, ErrLearning) {
					t.Fatalf("reserve after the flush: %v", err)
				}
			}
			stands(t, p, 20, 60)
			settle(t, c, "open", 5) // gives 20 back to the share
			stands(t, p, 25, 55)
			if err := waitLearnt(t, p, "too much", 21); !errors.Is(err, budget.ErrHeld) {
				t.Fatalf("reserve of what the share holds: %v", err)
			}
			draw(t, c, "share", "rest", 55)
			stands(t, p, 25, 55)
			if err := p.Release(t.Context(), "share"); err != nil {
				t.Fatal(err)
			}
			stands(t, p, 25, 55)
			settle(t, c, "rest", 1)
			stands(t, p, 26, 0)
		})
	}
}

// Older books do not have what was drawn since.
func TestBooksThatWentBackInTimeLearnWhatWasDrawn(t *testing.T) {
	srv := startServer(t)
	c := srv.closing(t)
	store := New(c, Learning(learnFor))
	defer store.Close()
	l := openLedger(t, store, moneyCap(budget.Account(), 100))
	if _, err := l.Reserve(t.Context(), budget.Request{ID: "share", Idle: true, Amounts: budget.Amounts{NanoUSD: 80}}); err != nil {
		t.Fatal(err)
	}
	if err := c.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	draw(t, l, "share", "used", 50)
	settle(t, l, "used", 50)
	srv.kill()
	srv.start()
	if err := reserveErr(t, l, "new", 1); !errors.Is(err, ErrLearning) {
		t.Fatalf("reserve on older books: %v", err)
	}
	stands(t, l, 50, 30)
	if err := waitLearnt(t, l, "new", 21); !errors.Is(err, budget.ErrHeld) {
		t.Fatalf("reserve of what the share holds: %v", err)
	}
}

// What was drawn from an allowance that is forgotten is not another's of that name.
func TestDrawsReturnToTheAllowanceTheyCameFromOnly(t *testing.T) {
	store := New(startServer(t).closing(t), Keep(1))
	defer store.Close()
	l := openLedger(t, store, moneyCap(budget.Account(), 100))
	share := func(nano int64) {
		t.Helper()
		if _, err := l.Reserve(t.Context(), budget.Request{ID: "share", Idle: true, Amounts: budget.Amounts{NanoUSD: nano}}); err != nil {
			t.Fatal(err)
		}
	}
	share(50)
	draw(t, l, "share", "first", 20)
	if err := l.Release(t.Context(), "share"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"t1", "t2", "t3", "t4"} { // of the same end, and later in the alphabet, so that it is the first to go
		take(t, l, id, 1)
		settle(t, l, id, 0)
	}
	share(40)
	draw(t, l, "share", "second", 10)
	stands(t, l, 0, 60)
	settle(t, l, "first", 5)
	stands(t, l, 5, 40)
	settle(t, l, "second", 5)
	stands(t, l, 10, 35)
}
