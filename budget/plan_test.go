package budget_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/budget"
)

func spend(t *testing.T, l *budget.Ledger, id string, nano int64, scopes ...budget.Scope) error {
	t.Helper()
	if _, err := l.Reserve(t.Context(), budget.Request{ID: id, Scopes: scopes, Amounts: budget.Amounts{NanoUSD: nano}}); err != nil {
		return err
	}
	if _, err := l.Settle(t.Context(), id, budget.Amounts{NanoUSD: nano}); err != nil {
		t.Fatal(err)
	}
	return nil
}

// What a ledger has looked up once it uses again, and must not when it is not so any more.
func TestWhatWasLookedUpBeforeIsLookedUpAgainWhenItChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := budget.NewMemory(budget.Volatile())
		day := budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 100, Per: budget.Day(nil)}
		l := openLedger(t, budget.Config{Store: store, Caps: []budget.Cap{day}})
		other := openLedger(t, budget.Config{Store: store})
		acme := budget.Scope{Kind: "tenant", Name: "acme"}
		n := 0
		ask := func(nano int64, want error, scopes ...budget.Scope) {
			t.Helper()
			n++
			if err := spend(t, l, fmt.Sprint(n), nano, scopes...); !errors.Is(err, want) {
				t.Fatalf("spend %d: %v, want %v", nano, err, want)
			}
		}
		ask(60, nil, acme)
		ask(41, budget.ErrSpent, acme)
		if err := other.Define(t.Context(), "ann", budget.Cap{For: budget.One("run", "another"), Meter: budget.MeterMoney, Limit: 5, Per: budget.Lifetime()}); err != nil {
			t.Fatal(err)
		}
		ask(1, nil, acme) // that is nothing to it
		own := budget.Cap{For: budget.One("tenant", "acme"), Meter: budget.MeterMoney, Limit: 1000, Per: budget.Day(nil)}
		if err := other.Define(t.Context(), "ann", own); err != nil {
			t.Fatal(err)
		}
		ask(900, nil, acme) // the cap for one has a count of its own
		ask(101, budget.ErrSpent, acme)
		run := budget.Scope{Kind: "run", Name: "r1"}
		ask(1, nil, acme, run)
		if err := other.Define(t.Context(), "ann", budget.Cap{For: budget.One("run", "r1"), Meter: budget.MeterMoney, Limit: 5, Per: budget.Lifetime()}); err != nil {
			t.Fatal(err)
		}
		ask(6, budget.ErrTooBig, acme, run)
		ask(5, nil, acme, run)
		time.Sleep(24 * time.Hour) // everything begins anew, but the run's cap
		ask(1000, nil, acme)
		ask(1, budget.ErrSpent, acme)
		ask(1, budget.ErrSpent, acme, run)
		if err := l.Forget(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		ask(1, budget.ErrClosed, acme, run)
		if err := l.Freeze(t.Context(), acme, "", time.Time{}, "ann"); err != nil {
			t.Fatal(err)
		}
		ask(1, budget.ErrFrozen, acme)
	})
}

func TestScopesMayBeChangedInPlaceBetweenRequests(t *testing.T) {
	l := openLedger(t, budget.Config{Caps: []budget.Cap{{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 10, Per: budget.Lifetime()}}})
	scopes := []budget.Scope{{Kind: "tenant"}, {Kind: "instrument", Name: "x"}}
	for i := range 10_000 { // more than the ledger remembers
		scopes[0].Name = fmt.Sprint("t", i%5000)
		err := spend(t, l, fmt.Sprint(i), 6, scopes...)
		if again := i >= 5000; again != errors.Is(err, budget.ErrSpent) || !again && err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	for _, s := range [][]budget.Scope{{{Kind: "tenant"}}, {{Kind: "galaxy", Name: "x"}}, {{Kind: "account", Name: "t1"}}} {
		if err := spend(t, l, "bad", 1, s...); !errors.Is(err, budget.ErrInvalid) {
			t.Fatalf("%v: %v", s, err)
		}
	}
}

// A missing label refuses only who asks for some of the cap's meter, whoever came before.
func TestAMissingLabelIsLookedForEachTime(t *testing.T) {
	l := openLedger(t, budget.Config{Caps: []budget.Cap{{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 10, Per: budget.Lifetime()}}})
	run := []budget.Scope{{Kind: "run", Name: "r"}}
	for i, a := range []budget.Amounts{{Tokens: 1}, {NanoUSD: 1}, {Tokens: 1}, {NanoUSD: 1, Tokens: 1}} {
		_, err := l.Reserve(t.Context(), budget.Request{ID: fmt.Sprint(i), Scopes: run, Amounts: a})
		if errors.Is(err, budget.ErrNoLabel) != (a.NanoUSD > 0) || a.NanoUSD == 0 && err != nil {
			t.Fatalf("%v: %v", a, err)
		}
	}
}

// detour is a store that asks another one for less than it was asked, every second time.
type detour struct {
	budget.Store
	asked int
}

func (d *detour) Reserve(ctx context.Context, account string, op *budget.ReserveOp, ans *budget.Answer) error {
	less := *op
	if d.asked++; d.asked%2 == 0 {
		less.Links = op.Links[:1:1]
	}
	return d.Store.Reserve(ctx, account, &less, ans)
}

func TestAStoreInBetweenMayAskForOtherCounts(t *testing.T) {
	tenant := budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 100, Per: budget.Lifetime()}
	account := budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: 100, Per: budget.Lifetime()}
	l := openLedger(t, budget.Config{Store: &detour{Store: budget.NewMemory(budget.Volatile())}, Caps: []budget.Cap{account, tenant}})
	acme := budget.Scope{Kind: "tenant", Name: "acme"}
	for i := range 8 {
		if err := spend(t, l, fmt.Sprint(i), 2, acme); err != nil {
			t.Fatal(err)
		}
	}
	states, err := l.Snapshot(t.Context(), acme)
	if err != nil || len(states) != 2 {
		t.Fatal(states, err)
	}
	if states[0].Settled+states[1].Settled != 16+8 {
		t.Fatalf("%d and %d settled, want 16 on one and 8 on the other", states[0].Settled, states[1].Settled)
	}
}

func TestAnswersAreTheirReadersToKeep(t *testing.T) {
	l := openLedger(t, budget.Config{Caps: benchCaps})
	var wg sync.WaitGroup
	for caller := range 4 {
		wg.Go(func() {
			scopes := scopesOf(caller)
			var grants []budget.Grant
			var settlements []budget.Settlement
			for i := range 50 {
				r := budget.Request{ID: fmt.Sprint(caller, " ", i), Scopes: scopes, Amounts: budget.Amounts{NanoUSD: 9}}
				g, err := l.Reserve(t.Context(), r)
				if err != nil {
					t.Error(err)
					return
				}
				s, err := l.Settle(t.Context(), r.ID, budget.Amounts{NanoUSD: 3})
				if err != nil {
					t.Error(err)
					return
				}
				grants, settlements = append(grants, g), append(settlements, s)
			}
			for i := range grants {
				for j, g := range grants[i].Left {
					s := settlements[i].Left[j]
					if g.Cap != s.Cap || g.Scope.Kind != "run" {
						continue
					}
					if g.Held != 9 || g.Settled != int64(3*i) || s.Held != 0 || s.Settled != int64(3*i+3) || g.Scope.Name != scopes[1].Name {
						t.Errorf("call %d: granted at %+v, settled at %+v", i, g, s)
					}
				}
			}
		})
	}
	wg.Wait()
}

// The memory of an answer is used again, for another chain, too.
func TestAnswersInUsedMemorySayWhatFreshOnesSay(t *testing.T) {
	l := openLedger(t, budget.Config{Caps: benchCaps})
	var g budget.Grant
	var s budget.Settlement
	for i := range 60 {
		scopes := scopesOf(i % 3)
		if i%4 == 3 {
			scopes = scopes[:1+i%2]
		}
		r := budget.Request{ID: fmt.Sprint("into ", i), Scopes: append(scopes, budget.Scope{Kind: "run", Name: "top"}), Amounts: budget.Amounts{NanoUSD: 9}}
		if err := l.ReserveInto(t.Context(), &r, &g); err != nil {
			t.Fatal(err)
		}
		again, err := l.Reserve(t.Context(), r)
		if err != nil || !again.Duplicate || g.Duplicate {
			t.Fatal(again, err)
		}
		again.Duplicate = false
		if fmt.Sprint(g) != fmt.Sprint(again) {
			t.Fatalf("in used memory\n%+v\nafresh\n%+v", g, again)
		}
		if err := l.SettleInto(t.Context(), r.ID, budget.Amounts{NanoUSD: int64(i % 12)}, &s); err != nil {
			t.Fatal(err)
		}
		anew, err := l.Settle(t.Context(), r.ID, budget.Amounts{NanoUSD: int64(i % 12)})
		if err != nil || !anew.Duplicate || s.Duplicate {
			t.Fatal(anew, err)
		}
		anew.Duplicate = false
		if fmt.Sprint(s) != fmt.Sprint(anew) {
			t.Fatalf("in used memory\n%+v\nafresh\n%+v", s, anew)
		}
	}
	r := budget.Request{ID: "none", Scopes: scopesOf(0), Amounts: budget.Amounts{NanoUSD: -1}}
	if err := l.ReserveInto(t.Context(), &r, &g); !errors.Is(err, budget.ErrInvalid) {
		t.Fatal(err)
	}
}
