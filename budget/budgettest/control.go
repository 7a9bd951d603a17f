package budgettest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gridloop/gridloop/budget"
)

func storeAnswersStale(w *world) {
	cap := budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: 100, Per: budget.Fixed(time.Hour, noTime)}
	version, err := w.store.Define(w.ctx, "acct", "test", []budget.Cap{cap})
	w.ok(err)
	now := time.Now()
	link := budget.Link{Cap: cap.ID(), Scopes: scopes("account="), Window: cap.Per.At(now)}
	ask := func(id string, version int64, link budget.Link) budget.Answer {
		var ans budget.Answer
		op := budget.ReserveOp{ID: id, Scopes: scopes("account="), Amounts: money(10), Lease: long, Version: version, Links: []budget.Link{link}}
		w.ok(w.store.Reserve(w.ctx, "acct", &op, &ans))
		return ans
	}
	past, gone := link, link
	past.Window = cap.Per.At(now.Add(-2 * time.Hour))
	gone.Cap = "account tokens lifetime"
	for _, test := range []struct {
		name    string
		version int64
		link    budget.Link
		want    budget.Stale
	}{
		{"an old window", version, past, budget.StaleWindow},
		{"caps before the change", version - 1, link, budget.StaleCaps},
		{"a cap that is not there", version, gone, budget.StaleCaps},
	} {
		ans := ask("stale", test.version, test.link)
		if ans.Stale != test.want || ans.Now.IsZero() || ans.State != "" {
			w.Errorf("%s: %+v", test.name, ans)
		}
	}
	if ans := ask("fresh", version, link); ans.Stale != "" || ans.State != budget.StateOpen || !ans.Reserved.Equal(money(10)) {
		w.Fatalf("fresh: %+v", ans)
	}
	// A dry run answers like a real one and changes nothing.
	var ans budget.Answer
	op := budget.ReserveOp{ID: "dry", Scopes: scopes("account="), Amounts: money(91), Lease: long, Version: version, Links: []budget.Link{link}, DryRun: true}
	w.ok(w.store.Reserve(w.ctx, "acct", &op, &ans))
	if len(ans.Violations) != 1 || len(ans.Left) != 1 || ans.Left[0].Held != 10 {
		w.Fatalf("dry run: %+v", ans)
	}
	op.Amounts = money(90)
	w.ok(w.store.Reserve(w.ctx, "acct", &op, &ans))
	if len(ans.Violations) != 0 || len(ans.Left) != 1 || ans.Left[0].Held != 10 {
		w.Fatalf("dry run that fits: %+v", ans)
	}
}

func limitsChangeEverywhere(w *world) {
	cap := moneyCap(budget.Each("tenant"), 100)
	a, b := w.ledger(cap), w.ledger()
	id := w.take(b, 80, "tenant=x")
	cap.Limit = 50 // below what is held: legal, and nothing more is admitted
	w.ok(a.Define(w.ctx, "ann", cap))
	w.denied(b, 1, budget.ErrHeld, "tenant=x")
	w.settle(b, id, 70)
	if s := w.stands(b, cap, sums{settled: 70}, "tenant=x"); s.Limit != 50 || s.Left != 0 {
		w.Fatalf("lowered: %+v", s)
	}
	w.denied(b, 1, budget.ErrSpent, "tenant=x")
	cap.Limit = 90
	w.ok(a.Define(w.ctx, "ann", cap))
	w.take(b, 20, "tenant=x")
	account := moneyCap(budget.Account(), 30)
	w.ok(a.Define(w.ctx, "ann", account))
	w.denied(b, 31, budget.ErrTooBig, "tenant=y")
	account.Limit = budget.None
	w.ok(a.Define(w.ctx, "ann", account))
	w.take(b, 31, "tenant=y")
}

func runCapReachesOthers(w *world) {
	each := moneyCap(budget.Each("run"), 100)
	a, b := w.ledger(each), w.ledger()
	w.take(b, 100, "run=1")
	small, large := moneyCap(budget.One("run", "2"), 10), moneyCap(budget.One("run", "3"), 500)
	w.ok(a.Define(w.ctx, "agent", small, large))
	w.denied(b, 11, budget.ErrTooBig, "run=2")
	w.take(b, 500, "run=3")
	w.denied(b, 11, budget.ErrTooBig, "run=2", "run=4") // a child is bounded by the run above it
	w.take(b, 10, "run=2", "run=4")
	w.stands(b, each, sums{held: 10}, "run=4")
	w.stands(b, small, sums{held: 10}, "run=2")
}

func capsAreLearntIncrementally(w *world) {
	define := func(caps ...budget.Cap) int64 {
		v, err := w.store.Define(w.ctx, "acct", "test", caps)
		w.ok(err)
		return v
	}
	first := define(moneyCap(budget.Each("tenant"), 1), moneyCap(budget.One("run", "r"), 2))
	if same := define(moneyCap(budget.Each("tenant"), 1)); same != first {
		w.Fatalf("defining the same again went from version %d to %d", first, same)
	}
	second := define(moneyCap(budget.Each("tenant"), 3), moneyCap(budget.Account(), 4))
	if second <= first {
		w.Fatalf("version %d after %d", second, first)
	}
	w.ok(w.store.Forget(w.ctx, "acct", budget.Scope{Kind: "run", Name: "r"}))
	read := func(since int64) map[string]int64 {
		set, err := w.store.Caps(w.ctx, "acct", since)
		w.ok(err)
		got := map[string]int64{}
		for _, c := range set.Caps {
			if c.Removed {
				got[c.Key] = -1
				continue
			}
			if c.Key != c.ID() || c.By != "test" || c.At.IsZero() || c.Version <= 0 || c.Version > set.Version {
				w.Errorf("record %+v", c)
			}
			got[c.Key] = c.Limit
		}
		if since == 0 && !set.Full {
			w.Error("everything was asked for and is not said to be all")
		}
		if set.Full {
			got["full"] = 1
		}
		return got
	}
	tenant, account, run := moneyCap(budget.Each("tenant"), 1).ID(), moneyCap(budget.Account(), 1).ID(), moneyCap(budget.One("run", "r"), 1).ID()
	check := func(since int64, want map[string]int64) {
		got := read(since)
		if got["full"] == 1 { // a store may always answer everything
			want = map[string]int64{"full": 1, tenant: 3, account: 4}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			w.Errorf("since %d: %v, want %v", since, got, want)
		}
	}
	check(0, map[string]int64{"full": 1, tenant: 3, account: 4})
	check(first, map[string]int64{tenant: 3, account: 4, run: -1})
	check(second, map[string]int64{run: -1})
}

func changesAreKept(w *world) {
	cap := moneyCap(budget.Each("tenant"), 100)
	l := w.ledger(cap)
	cap.Limit = 70
	w.ok(l.Define(w.ctx, "ann", cap))
	w.ok(l.Define(w.ctx, "bob", cap)) // the same again is no change
	cap.Soft = []int{10}
	w.ok(l.Define(w.ctx, "cid", cap))
	tenant := budget.Scope{Kind: "tenant", Name: "a"}
	w.ok(l.Freeze(w.ctx, tenant, "too fast", noTime, "dan"))
	w.ok(l.Unfreeze(w.ctx, tenant, "eve"))
	changes, err := l.Changes(w.ctx)
	w.ok(err)
	var got []string
	for _, c := range changes {
		if c.At.IsZero() {
			w.Errorf("no time: %+v", c)
		}
		got = append(got, fmt.Sprintf("%s %s %s %d>%d %s %s", c.By, c.What, c.Cap, c.Old, c.New, c.Scope.Name, c.Reason))
	}
	want := []string{
		"config define each tenant money lifetime 0>100  ",
		"ann define each tenant money lifetime 100>70  ",
		"cid define each tenant money lifetime 70>70  ",
		"dan freeze  0>0 a too fast",
		"eve unfreeze  0>0 a ",
	}
	if !slices.Equal(got, want) {
		w.Fatalf("changes\n%q, want\n%q", got, want)
	}
	records, err := l.Caps(w.ctx)
	w.ok(err)
	if len(records) != 1 || records[0].By != "cid" || records[0].Limit != 70 || !slices.Equal(records[0].Thresholds(), []int{10}) {
		w.Fatalf("caps %+v", records)
	}
}

func freezeStops(w *world) {
	a, b := w.ledger(moneyCap(budget.Account(), 1000)), w.ledger()
	tenant := budget.Scope{Kind: "tenant", Name: "a"}
	id := w.take(b, 10, "tenant=a")
	w.ok(a.Freeze(w.ctx, tenant, "too fast", noTime, "ann"))
	d := w.denied(b, 10, budget.ErrFrozen, "tenant=a")
	if v := d.Violations[0]; v.Scope != tenant || v.Reason != "too fast" || v.Cap != "" {
		w.Fatalf("violation %+v", v)
	}
	if n, ok := d.Available(budget.MeterMoney); n != 0 || !ok {
		w.Fatalf("available %d, %v while frozen", n, ok)
	}
	w.take(b, 10, "tenant=b")
	w.settle(b, id, 5)
	freezes, err := b.Freezes(w.ctx)
	w.ok(err)
	if len(freezes) != 1 || freezes[0].Scope != tenant || freezes[0].By != "ann" || freezes[0].At.IsZero() {
		w.Fatalf("freezes %+v", freezes)
	}
	w.ok(a.Unfreeze(w.ctx, tenant, "ann"))
	w.ok(a.Unfreeze(w.ctx, tenant, "ann"))
	w.take(b, 10, "tenant=a")

	until := time.Now().Add(short)
	w.ok(a.Freeze(w.ctx, budget.Scope{Kind: "account"}, "", until, "ann"))
	if d := w.denied(b, 1, budget.ErrFrozen, "tenant=b"); d.ResetAt().Sub(until).Abs() > time.Millisecond {
		w.Fatalf("frozen until %v, want %v", d.ResetAt(), until)
	}
	w.pass(short)
	w.take(b, 1, "tenant=b")
	if freezes, err = b.Freezes(w.ctx); err != nil || len(freezes) != 0 {
		w.Fatalf("freezes %+v, %v after their end", freezes, err)
	}
}

func thresholdsFireOnce(w *world) {
	cap := moneyCap(budget.Each("tenant"), 1000)
	quiet := budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: 1000, Per: budget.Lifetime(), Soft: []int{}}
	ledgers := []*budget.Ledger{w.ledger(cap, quiet), w.ledger(), w.ledger(), w.ledger()}
	var mu sync.Mutex
	fired := map[int]int{}
	var wg sync.WaitGroup
	for i, l := range ledgers {
		wg.Go(func() {
			for j := range 25 {
				id := fmt.Sprintf("t%d/%d", i, j)
				if _, err := l.Reserve(w.ctx, budget.Request{ID: id, Scopes: scopes("tenant=a"), Amounts: money(10)}); err != nil {
					w.Error(err)
					return
				}
				s, err := l.Settle(w.ctx, id, money(10))
				if err != nil {
					w.Error(err)
					return
				}
				mu.Lock()
				for _, c := range s.Crossed {
					fired[c.Percent]++
					if c.Cap != cap.ID() || c.Scope.Name != "a" || c.Settled*100 < c.Limit*int64(c.Percent) {
						w.Errorf("crossing %+v", c)
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if want := map[int]int{50: 1, 80: 1, 95: 1}; fmt.Sprint(fired) != fmt.Sprint(want) {
		w.Fatalf("fired %v, want %v", fired, want)
	}
	// Going down and up again announces nothing.
	l := ledgers[0]
	_, err := l.TrueUp(w.ctx, "t0/0", money(0), "receipt")
	w.ok(err)
	cap.Limit = 2000
	w.ok(l.Define(w.ctx, "ann", cap, budget.Cap{For: quiet.For, Meter: quiet.Meter, Per: quiet.Per, Limit: 2000, Soft: []int{}}))
	id := w.take(l, 700, "tenant=a")
	if s := w.settle(l, id, 700); len(s.Crossed) != 0 {
		w.Fatalf("announced again: %+v", s.Crossed)
	}
}

func openByPrefix(w *world) {
	l := w.ledger()
	for _, id := range []string{"run1/a/2", "run1/a/1", "run10/a/1", "run1/b/1", "run1_/a/1"} {
		w.reserve(l, budget.Request{ID: id, Scopes: scopes("run=1"), Amounts: budget.Amounts{Tokens: 3}, Idle: id == "run1/b/1"})
	}
	w.ok(l.Void(w.ctx, "run1/a/2", budget.ProofDial))
	list := func(prefix string) []string {
		rs, err := l.OpenReservations(w.ctx, prefix)
		w.ok(err)
		ids := []string{}
		for _, r := range rs {
			ids = append(ids, r.ID)
			if r.State != budget.StateOpen || r.Reserved.Tokens != 3 || r.Idle != (r.ID == "run1/b/1") || !r.Expires.After(r.Admitted) || !slices.Contains(r.Scopes, budget.Scope{Kind: "run", Name: "1"}) {
				w.Errorf("reservation %+v", r)
			}
		}
		return ids
	}
	for prefix, want := range map[string][]string{
		"run1/":   {"run1/a/1", "run1/b/1"},
		"run1/a/": {"run1/a/1"},
		"run1_":   {"run1_/a/1"},
		"run2/":   {},
		"":        {"run1/a/1", "run1/b/1", "run10/a/1", "run1_/a/1"},
	} {
		if got := list(prefix); !slices.Equal(got, want) {
			w.Errorf("%q lists %q, want %q", prefix, got, want)
		}
	}
}

func forgottenRunIsGone(w *world) {
	account, each := moneyCap(budget.Account(), 1000), moneyCap(budget.Each("run"), 100)
	a, b := w.ledger(account, each), w.ledger()
	own := moneyCap(budget.One("run", "r"), 50)
	w.ok(a.Define(w.ctx, "agent", own))
	run := budget.Scope{Kind: "run", Name: "r"}
	open, done := w.take(a, 20, "run=r", "run=parent"), w.take(b, 30, "run=r", "run=parent")
	w.settle(a, done, 30)
	w.wants(a.Forget(w.ctx, run), budget.ErrStillOpen)
	w.settle(a, open, 20)
	w.ok(a.Forget(w.ctx, run))
	w.ok(a.Forget(w.ctx, run))
	caps, err := b.Caps(w.ctx)
	w.ok(err)
	if slices.ContainsFunc(caps, func(c budget.CapRecord) bool { return c.Key == own.ID() }) {
		w.Fatal("the run's own cap is still there")
	}
	for _, l := range []*budget.Ledger{a, b} {
		_, err := l.Reserve(w.ctx, budget.Request{ID: w.id(), Scopes: scopes("run=r"), Amounts: money(1)})
		w.wants(err, budget.ErrClosed)
	}
	w.wants(a.Define(w.ctx, "agent", own), budget.ErrClosed)
	// What it spent stays spent, and its receipts still arrive.
	w.stands(b, account, sums{settled: 50})
	_, err = b.TrueUp(w.ctx, done, money(10), "receipt")
	w.ok(err)
	w.stands(b, account, sums{settled: 30})
	w.stands(b, each, sums{settled: 30}, "run=parent")
	var fe *budget.FieldError
	if err := a.Forget(w.ctx, budget.Scope{Kind: "tenant", Name: "a"}); !errors.As(err, &fe) {
		w.Fatalf("forgetting a tenant: %v", err)
	}
}
