package budgettest

import (
	"slices"
	"time"

	"github.com/gridloop/gridloop/budget"
)

func allowanceOfAnID(w *world) {
	cap := moneyCap(budget.Account(), 100)
	l := w.ledger(cap)
	ask := func(r budget.Request) error {
		r.Amounts = money(10)
		_, err := l.Reserve(w.ctx, r)
		return err
	}
	w.wants(ask(budget.Request{ID: "x", From: "nobody"}), budget.ErrUnknownReservation)
	w.wants(ask(budget.Request{ID: "x", From: "x"}), budget.ErrInvalid)
	busy := w.take(l, 40)
	err := ask(budget.Request{ID: "x", From: busy})
	w.wants(err, budget.ErrNotIdle)
	if e, ok := err.(*budget.StateError); !ok || e.Op != "from" || e.ID != busy || e.State != budget.StateOpen {
		w.Fatalf("from of a call: %#v", err)
	}
	w.settle(l, busy, 40)
	w.wants(ask(budget.Request{ID: "x", From: busy}), budget.ErrNotIdle)
	one, other := w.keep(l, 20, ""), w.keep(l, 20, "")
	w.ok(ask(budget.Request{ID: "x", From: one}))
	g, err := l.Reserve(w.ctx, budget.Request{ID: "x", Amounts: money(10), From: one})
	if err != nil || !g.Duplicate || len(g.Left) != 1 || g.Left[0].Held != 40 {
		w.Fatalf("again: %+v, %v", g, err)
	}
	w.lent(l, one, money(20), money(10)) // once
	w.wants(ask(budget.Request{ID: "x", From: other}), budget.ErrMismatch)
	w.wants(ask(budget.Request{ID: "x"}), budget.ErrMismatch)
	w.ok(ask(budget.Request{ID: "y"}))
	w.wants(ask(budget.Request{ID: "y", From: one}), budget.ErrMismatch)
	w.settle(l, "x", 3)
	w.wants(ask(budget.Request{ID: "x", From: one}), budget.ErrFinished)
	w.lent(l, one, money(20), money(3))
	w.lent(l, other, money(20), money(0))
	w.stands(l, cap, sums{settled: 43, held: 47})
}

func deniedDrawChangesNothing(w *world) {
	account, dear := moneyCap(budget.Account(), 100), moneyCap(budget.Each("instrument"), 30)
	l := w.ledger(account, dear)
	allowance := w.keep(l, 60, "")
	answer := w.keep(l, 10, allowance, "instrument=x")
	w.keep(l, 40, "")
	unchanged := func() {
		w.Helper()
		w.lent(l, allowance, money(60), money(10))
		w.stands(l, account, sums{held: 100})
		w.stands(l, dear, sums{held: 10}, "instrument=x")
	}
	w.drawless(l, budget.Request{Amounts: money(51), From: allowance}, budget.ErrHeld, 50)
	d := w.drawless(l, budget.Request{Scopes: scopes("instrument=x"), Amounts: money(25), From: allowance}, budget.ErrHeld, 20)
	if len(d.Violations) != 1 || d.Violations[0].Cap != dear.ID() { // a cap that the allowance does not have
		w.Fatalf("violations %+v", d.Violations)
	}
	w.drawless(l, budget.Request{Scopes: scopes("instrument=x"), Amounts: money(31), From: allowance, Swap: answer}, budget.ErrTooBig, 30)
	unchanged()
	w.ok(l.Freeze(w.ctx, budget.Scope{Kind: "instrument", Name: "x"}, "odd", noTime, "ann"))
	_, err := l.Reserve(w.ctx, budget.Request{ID: w.id(), Scopes: scopes("instrument=x"), Amounts: money(1), From: allowance})
	w.wants(err, budget.ErrFrozen)
	unchanged()
	w.ok(l.Unfreeze(w.ctx, budget.Scope{Kind: "instrument", Name: "x"}, "ann"))
	// A limit that falls below what is held stops who draws, too.
	account.Limit = 90
	w.ok(l.Define(w.ctx, "ann", account))
	w.drawless(l, budget.Request{Amounts: money(5), From: allowance}, budget.ErrHeld, 0)
	w.lent(l, allowance, money(60), money(10))
	account.Limit = 100
	w.ok(l.Define(w.ctx, "ann", account))
	// A cap that is defined later counts all of it.
	user := moneyCap(budget.One("user", "u"), 20)
	w.ok(l.Define(w.ctx, "ann", user))
	w.drawless(l, budget.Request{Scopes: scopes("user=u"), Amounts: money(21), From: allowance}, budget.ErrTooBig, 20)
	w.draw(l, 20, allowance, "user=u")
	w.stands(l, user, sums{held: 20}, "user=u")
	w.stands(l, account, sums{held: 100})
}

func dryRunDrawsNothing(w *world) {
	cap := moneyCap(budget.Account(), 100)
	l := w.ledger(cap)
	allowance := w.keep(l, 60, "")
	w.keep(l, 40, "")
	set, err := w.store.Caps(w.ctx, "acct", 0)
	w.ok(err)
	for _, test := range []struct {
		asked, left int64
		refused     int
	}{{50, 50, 0}, {60, 60, 0}, {61, 60, 1}} {
		op := budget.ReserveOp{ID: "dry", Scopes: scopes("account="), Amounts: money(test.asked), Lease: long, Version: set.Version, From: allowance,
			Links: []budget.Link{{Cap: cap.ID(), Scopes: scopes("account=")}}, DryRun: true}
		var ans budget.Answer
		w.ok(w.store.Reserve(w.ctx, "acct", &op, &ans))
		if len(ans.Violations) != test.refused || len(ans.Left) != 1 || ans.Left[0].Held != 100 || ans.Left[0].Left != test.left {
			w.Fatalf("dry run of %d: %+v", test.asked, ans)
		}
	}
	w.lent(l, allowance, money(60), money(0))
	w.stands(l, cap, sums{held: 100})
}

// A final answer that is kept back out of an allowance is swapped for the call that draws from it.
func swapReturnsBeforeTheDraw(w *world) {
	cap := moneyCap(budget.Account(), 100)
	l := w.ledger(cap)
	allowance := w.keep(l, 60, "")
	answer := w.keep(l, 20, allowance)
	w.keep(l, 40, "")
	call := func(nano int64) budget.Request {
		return budget.Request{ID: w.id(), Amounts: money(nano), From: allowance, Swap: answer}
	}
	w.drawless(l, budget.Request{Amounts: money(41), From: allowance}, budget.ErrHeld, 40)
	w.drawless(l, call(61), budget.ErrHeld, 60)
	w.lent(l, answer, money(20), money(0))
	w.lent(l, allowance, money(60), money(20))
	r := call(50)
	w.reserve(l, r)
	if g := w.reserve(l, r); !g.Duplicate {
		w.Fatalf("again: %+v", g)
	}
	w.lent(l, allowance, money(60), money(50))
	w.stands(l, cap, sums{held: 100})
	w.settle(l, r.ID, 30)
	w.lent(l, allowance, money(60), money(30))
	w.stands(l, cap, sums{settled: 30, held: 70})

	// What is swapped may be taken from another allowance, or be one itself.
	small := w.keep(l, 20, allowance) // 10 left in the first
	answer = w.keep(l, 15, small)
	w.drawless(l, call(26), budget.ErrHeld, 10)
	r = call(10)
	w.reserve(l, r)
	w.lent(l, allowance, money(60), money(60))
	w.lent(l, small, money(20), money(0))
	w.stands(l, cap, sums{settled: 30, held: 70})
	part := w.draw(l, 5, small)
	answer = small
	w.drawless(l, call(16), budget.ErrHeld, 15) // 5 of the 20 are in use
	r = call(15)
	w.reserve(l, r)
	w.lent(l, allowance, money(60), money(60))
	w.stands(l, cap, sums{settled: 30, held: 70})
	w.settle(l, part, 0) // small has ended
	w.stands(l, cap, sums{settled: 30, held: 65})
	w.settle(l, r.ID, 0)
	w.lent(l, allowance, money(60), money(45))
	w.stands(l, cap, sums{settled: 30, held: 65})

	// An allowance that is swapped away is not drawn from.
	answer = allowance
	w.drawless(l, call(21), budget.ErrHeld, 20)
	w.reserve(l, call(20))
	w.stands(l, cap, sums{settled: 30, held: 70})
}

func allowanceServesItsOwnCounts(w *world) {
	tenant, account := moneyCap(budget.Each("tenant"), 100), moneyCap(budget.Account(), 100)
	tokens := budget.Cap{For: budget.Account(), Meter: budget.MeterTokens, Limit: 100, Per: budget.Lifetime()}
	l := w.ledger(tenant, account, tokens)
	both := budget.Amounts{NanoUSD: 50, Tokens: 50}
	w.reserve(l, budget.Request{ID: "kept", Scopes: scopes("tenant=a"), Amounts: both, Idle: true})
	w.keep(l, 50, "", "tenant=b")
	// Of tenant b the allowance holds nothing, so it lends no money; tokens count for all tenants.
	w.drawless(l, budget.Request{Scopes: scopes("tenant=b"), Amounts: money(1), From: "kept"}, budget.ErrHeld, 0)
	w.reserve(l, budget.Request{ID: "b", Scopes: scopes("tenant=b"), Amounts: budget.Amounts{Tokens: 60}, From: "kept"})
	w.lent(l, "kept", both, budget.Amounts{Tokens: 50})
	w.stands(l, tokens, sums{held: 60})
	// More scopes than the allowance has are none too many.
	w.reserve(l, budget.Request{ID: "a", Scopes: scopes("tenant=a", "user=u", "instrument=x"), Amounts: money(50), From: "kept"})
	w.lent(l, "kept", both, both)
	w.stands(l, account, sums{held: 100})
	_, err := l.Settle(w.ctx, "b", budget.Amounts{Tokens: 45})
	w.ok(err)
	w.lent(l, "kept", both, budget.Amounts{NanoUSD: 50, Tokens: 35})
	w.stands(l, tokens, sums{settled: 45, held: 15})
}

func allowanceStaysInItsWindow(w *world) {
	const length = 2 * time.Second
	money := budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: 100, Per: budget.Fixed(length, noTime)}
	tokens := budget.Cap{For: budget.Account(), Meter: budget.MeterTokens, Limit: 100, Per: budget.Lifetime()}
	l := w.ledger(money, tokens)
	w.turn(w.stands(l, money, sums{}))
	both := func(n int64) budget.Amounts { return budget.Amounts{NanoUSD: n, Tokens: n} }
	w.reserve(l, budget.Request{ID: "kept", Amounts: both(60), Idle: true})
	w.reserve(l, budget.Request{ID: "early", Amounts: both(20), From: "kept"})
	before := w.stands(l, money, sums{held: 60})
	w.turn(before)
	w.reserve(l, budget.Request{ID: "late", Amounts: both(20), From: "kept"})
	w.lent(l, "kept", both(60), budget.Amounts{NanoUSD: 20, Tokens: 40}) // of the meter whose window has turned nothing is drawn
	w.stands(l, tokens, sums{held: 60})
	s, err := l.Settle(w.ctx, "early", both(5)) // what was drawn in the window before returns there
	w.ok(err)
	if i := slices.IndexFunc(s.Left, func(s budget.CapState) bool { return s.Cap == money.ID() }); i < 0 || s.Left[i].Held != 55 || s.Left[i].Settled != 5 || !s.Left[i].Reset.Equal(before.Reset) {
		w.Fatalf("settled in the window before: %+v", s.Left)
	}
	w.lent(l, "kept", both(60), budget.Amounts{NanoUSD: 5, Tokens: 25})
	_, err = l.Settle(w.ctx, "late", both(5))
	w.ok(err)
	w.lent(l, "kept", both(60), budget.Amounts{NanoUSD: 5, Tokens: 10})
	w.stands(l, tokens, sums{settled: 10, held: 50})
	w.ok(l.Release(w.ctx, "kept"))
	w.stands(l, tokens, sums{settled: 10})
}

func allowanceRolls(w *world) {
	cap := rollingCap(budget.Account(), 100)
	l := w.ledger(cap)
	reserve := func(id string, nano int64, idle bool, from string) {
		w.Helper()
		w.reserve(l, budget.Request{ID: id, Amounts: money(nano), Lease: 100 * lookBack, Idle: idle, From: from})
	}
	w.fresh()
	reserve("kept", 60, true, "")
	reserve("greedy", 40, true, "")
	reserve("old", 30, false, "kept")
	reserve("used", 10, false, "kept")
	w.settle(l, "used", 10)
	w.skip(lookBack + 2*bucket) // what was used has left the window; what is held has not
	reserve("new", 20, false, "kept")
	w.lent(l, "kept", money(60), money(60))
	w.stands(l, cap, sums{held: 90})
	s := w.settle(l, "old", 25) // counts in the bucket of its admission, which is gone; the rest returns
	if s.Left[0].Settled != 0 || s.Left[0].Held != 65 {
		w.Fatalf("the settlement says %+v", s.Left[0])
	}
	w.lent(l, "kept", money(60), money(55))
	w.settle(l, "new", 5)
	w.stands(l, cap, sums{settled: 5, held: 60})
	w.lent(l, "kept", money(60), money(40))
}

func topShowsWhatIsLeftOfAllowances(w *world) {
	l := w.ledger(moneyCap(budget.Account(), 1000))
	allowance := w.keep(l, 100, "", "tenant=a")
	w.draw(l, 30, allowance, "tenant=a", "run=r")
	w.settle(l, w.draw(l, 20, allowance, "tenant=a", "run=r"), 5)
	for by, want := range map[string]budget.TopRow{
		"tenant": {Settled: 5, Held: 95, Reservations: 3},
		"run":    {Settled: 5, Held: 30, Reservations: 2},
	} {
		rows, err := l.Top(w.ctx, budget.TopQuery{By: by})
		w.ok(err)
		if len(rows) != 1 || rows[0].Settled != want.Settled || rows[0].Held != want.Held || rows[0].Reservations != want.Reservations {
			w.Fatalf("by %s: %+v, want %+v", by, rows, want)
		}
	}
}
