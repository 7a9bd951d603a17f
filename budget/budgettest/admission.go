package budgettest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gridloop/gridloop/budget"
)

func chainIsReservedWhole(w *world) {
	tenant, account := moneyCap(budget.Each("tenant"), 100), moneyCap(budget.Account(), 150)
	l := w.ledger(tenant, account)
	w.take(l, 80, "tenant=a")
	w.denied(l, 80, budget.ErrHeld, "tenant=b")
	w.stands(l, tenant, sums{}, "tenant=b")
	w.stands(l, account, sums{held: 80})
	w.denied(l, 30, budget.ErrHeld, "tenant=a")
	w.stands(l, account, sums{held: 80})
	g := w.reserve(l, budget.Request{ID: w.id(), Scopes: scopes("tenant=b"), Amounts: money(70)})
	if len(g.Left) != 2 || g.Duplicate || g.Expires.IsZero() {
		w.Fatalf("grant does not tell both caps and its end: %+v", g)
	}
	w.stands(l, account, sums{held: 150})
}

func everyViolatedCapIsNamed(w *world) {
	tokens := budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterTokens, Limit: 10, Per: budget.Lifetime()}
	l := w.ledger(moneyCap(budget.Each("tenant"), 100), moneyCap(budget.Account(), 90), moneyCap(budget.One("instrument", "x"), 1000), tokens)
	asked := budget.Amounts{NanoUSD: 95, Tokens: 11}
	_, err := l.Reserve(w.ctx, budget.Request{ID: w.id(), Scopes: scopes("tenant=a", "instrument=x"), Amounts: asked})
	var d *budget.DeniedError
	if !errors.As(err, &d) {
		w.Fatalf("got %v, want a denial", err)
	}
	var named []string
	for _, v := range d.Violations {
		named = append(named, v.Cap)
		if v.Requested == 0 || v.Limit == 0 || v.Kind != budget.KindTooBig {
			w.Errorf("violation says too little: %+v", v)
		}
	}
	slices.Sort(named)
	if want := []string{moneyCap(budget.Account(), 1).ID(), tokens.ID()}; !slices.Equal(named, want) {
		w.Fatalf("named %q, want %q", named, want)
	}
	if len(d.Left) != 4 || !d.Requested.Equal(asked) {
		w.Fatalf("denial tells %d caps and %v, want 4 and %v", len(d.Left), d.Requested, asked)
	}
	for m, want := range map[budget.Meter]int64{budget.MeterMoney: 90, budget.MeterTokens: 10} {
		if got, ok := d.Available(m); !ok || got != want {
			w.Errorf("available %s: %d, %v, want %d", m, got, ok, want)
		}
	}
	if _, ok := d.Available(budget.MeterRequests); ok {
		w.Error("requests are said to be bounded, but no cap counts them")
	}
}

func denialKinds(w *world) {
	l := w.ledger(moneyCap(budget.Account(), 100))
	w.denied(l, 101, budget.ErrTooBig)
	a := w.take(l, 60)
	held := w.denied(l, 50, budget.ErrHeld)
	if v := held.Violations[0]; v.Settled != 0 || v.Held != 60 || v.Limit != 100 || v.Requested != 50 {
		w.Fatalf("violation %+v", v)
	}
	w.settle(l, a, 60)
	w.denied(l, 50, budget.ErrSpent)
	b := w.take(l, 40)
	w.denied(l, 1, budget.ErrHeld)
	w.settle(l, b, 40)
	spent := w.denied(l, 1, budget.ErrSpent)
	if !spent.ResetAt().IsZero() {
		w.Fatalf("a lifetime cap resets at %v", spent.ResetAt())
	}
}

func missingLabelIsRefused(w *world) {
	l := w.ledger(moneyCap(budget.Each("tenant"), 100), moneyCap(budget.Each("tag:team"), 100), moneyCap(budget.Each("run"), 100),
		moneyCap(budget.Each("instrument"), 100), moneyCap(budget.Account(), 10))
	d := w.denied(l, 20, budget.ErrNoLabel)
	kinds := map[budget.Kind]int{}
	for _, v := range d.Violations {
		kinds[v.Kind]++
	}
	if kinds[budget.KindNoLabel] != 3 || kinds[budget.KindTooBig] != 1 {
		w.Fatalf("violations %v, want tenant, team and run missing and the account too small", d.Violations)
	}
	if n, ok := d.Available(budget.MeterMoney); !ok || n != 0 {
		w.Fatalf("available %d, %v without a label", n, ok)
	}
	if _, err := l.Reserve(w.ctx, budget.Request{ID: w.id(), Amounts: budget.Amounts{ToolCalls: 1}}); err != nil {
		w.Fatalf("a request that asks for no money: %v", err)
	}
	w.take(l, 10, "tenant=a", "tag:team=x", "run=r")
	w.ok(l.Define(w.ctx, "test", moneyCap(budget.Each("user"), budget.None))) // refuses nobody, so it wants no label
	w.ok(l.Define(w.ctx, "test", moneyCap(budget.Account(), 20)))
	w.take(l, 10, "tenant=a", "tag:team=x", "run=r")
}

func oneReplacesEach(w *world) {
	each, big, free := moneyCap(budget.Each("tenant"), 10), moneyCap(budget.One("tenant", "big"), 1000), moneyCap(budget.One("tenant", "free"), budget.None)
	l := w.ledger(each, big, free)
	w.denied(l, 11, budget.ErrTooBig, "tenant=small")
	w.take(l, 1000, "tenant=big")
	w.take(l, 1_000_000, "tenant=free")
	w.stands(l, big, sums{held: 1000}, "tenant=big")
	if s := w.stands(l, free, sums{held: 1_000_000}, "tenant=free"); s.Left != budget.None || s.Limit != budget.None {
		w.Fatalf("a cap without a limit has %d of %d left", s.Left, s.Limit)
	}
	states, err := l.Snapshot(w.ctx, scopes("tenant=big")...)
	w.ok(err)
	if len(states) != 1 {
		w.Fatalf("both caps count tenant big: %v", states)
	}
}

func joinedConditions(w *world) {
	pair := budget.Each("tenant").And(budget.Each("instrument"))
	each, one := moneyCap(pair, 10), moneyCap(budget.One("tenant", "a").And(budget.Each("instrument")), 20)
	max := moneyCap(budget.Each("tenant").And(budget.One("instrument", "max")), 5)
	l := w.ledger(each, one, max)
	w.take(l, 10, "tenant=b", "instrument=std")
	w.take(l, 5, "tenant=b", "instrument=max")
	w.denied(l, 6, budget.ErrTooBig, "tenant=c", "instrument=max")
	w.take(l, 20, "tenant=a", "instrument=std")
	// Neither of these two is more particular than the other, so both hold.
	w.denied(l, 6, budget.ErrTooBig, "tenant=a", "instrument=max")
	w.take(l, 5, "tenant=a", "instrument=max")
	w.stands(l, one, sums{held: 5}, "tenant=a", "instrument=max")
	w.stands(l, max, sums{held: 5}, "tenant=a", "instrument=max")
	w.denied(l, 1, budget.ErrNoLabel, "instrument=std")
	w.take(l, 50, "tenant=a")
}

func namesAreOnlyNames(w *world) {
	odd := []string{"a", "a/instrument:x", "a money", "a%20", "a%2520", "*", "each", "ä", "a\n", "a and instrument x", "{x}", "'; drop"}
	caps := []budget.Cap{moneyCap(budget.One("instrument", "x"), 1), moneyCap(budget.Each("tenant"), 100)}
	l := w.ledger(caps...)
	for i, name := range odd {
		nano := int64(i + 1)
		w.reserve(l, budget.Request{ID: w.id(), Scopes: []budget.Scope{{Kind: "tenant", Name: name}}, Amounts: money(nano)})
		w.ok(l.Define(w.ctx, "test", moneyCap(budget.One("user", name), 1000+nano)))
	}
	for i, name := range odd {
		states, err := l.Snapshot(w.ctx, budget.Scope{Kind: "tenant", Name: name}, budget.Scope{Kind: "user", Name: name})
		w.ok(err)
		if len(states) != 2 {
			w.Fatalf("%q touches %v", name, states)
		}
		for _, s := range states {
			if s.Scope.Name != name || (s.Scope.Kind == "tenant" && s.Held != int64(i+1)) || (s.Scope.Kind == "user" && s.Limit != int64(1001+i)) {
				w.Fatalf("%q counts %+v", name, s)
			}
		}
	}
}

func everyMeterCounts(w *world) {
	mails := budget.Custom("mails")
	asked := budget.Amounts{NanoUSD: 1, Tokens: 2, Requests: 3, ToolCalls: 4}.With(mails, 5)
	var caps []budget.Cap
	for _, m := range []budget.Meter{budget.MeterMoney, budget.MeterTokens, budget.MeterRequests, budget.MeterToolCalls, mails} {
		caps = append(caps, budget.Cap{For: budget.Account(), Meter: m, Limit: asked.Get(m), Per: budget.Lifetime()})
	}
	l := w.ledger(caps...)
	id := w.id()
	w.reserve(l, budget.Request{ID: id, Amounts: asked})
	for _, c := range caps {
		w.stands(l, c, sums{held: c.Limit})
		_, err := l.Reserve(w.ctx, budget.Request{ID: w.id(), Amounts: budget.Amounts{}.With(c.Meter, 1)})
		w.wants(err, budget.ErrHeld)
	}
	s, err := l.Settle(w.ctx, id, asked.With(mails, 1))
	w.ok(err)
	if !s.Reserved.Equal(asked) || !s.Actual.Equal(asked.With(mails, 1)) || s.Overrun {
		w.Fatalf("settlement %+v", s)
	}
	w.stands(l, caps[4], sums{settled: 1})
	w.stands(l, caps[1], sums{settled: 2})
}

func accountsAreApart(w *world) {
	cap := moneyCap(budget.Account(), 10)
	a := w.ledger(cap)
	b, err := budget.Open(w.ctx, budget.Config{Store: w.store, Caps: []budget.Cap{cap}, Account: "other"})
	w.ok(err)
	id := w.take(a, 10)
	w.stands(b, cap, sums{})
	w.reserve(b, budget.Request{ID: id, Amounts: money(10)})
	w.settle(a, id, 1)
	w.stands(b, cap, sums{held: 10})
	w.ok(b.Freeze(w.ctx, budget.Scope{Kind: "account"}, "stop", noTime, "test"))
	w.take(a, 9)
}

func duplicateReserve(w *world) {
	cap := moneyCap(budget.Account(), 100)
	l := w.ledger(cap)
	r := budget.Request{ID: w.id(), Scopes: scopes("tenant=a", "run=r"), Amounts: money(60)}
	first := w.reserve(l, r)
	r.Scopes = scopes("run=r", "tenant=a", "run=r") // order and repetition are no difference
	again := w.reserve(l, r)
	if !again.Duplicate || first.Duplicate || !again.Expires.Equal(first.Expires) || len(again.Left) != 1 {
		w.Fatalf("first %+v, again %+v", first, again)
	}
	w.stands(l, cap, sums{held: 60})
	for name, other := range map[string]budget.Request{
		"amounts": {ID: r.ID, Scopes: r.Scopes, Amounts: money(61)},
		"scopes":  {ID: r.ID, Scopes: scopes("run=r"), Amounts: money(60)},
		"idle":    {ID: r.ID, Scopes: r.Scopes, Amounts: money(60), Idle: true},
	} {
		if _, err := l.Reserve(w.ctx, other); !errors.Is(err, budget.ErrMismatch) {
			w.Errorf("other %s: %v", name, err)
		}
	}
	w.settle(l, r.ID, 10)
	_, err := l.Reserve(w.ctx, r)
	w.wants(err, budget.ErrFinished)
	w.stands(l, cap, sums{settled: 10})
}

func parallelReservesHold(w *world) {
	const limit, amount, workers, each, replicas = 1000, 7, 16, 40, 4
	tenant, account := moneyCap(budget.Each("tenant"), limit), moneyCap(budget.Account(), budget.None)
	ledgers := make([]*budget.Ledger, replicas)
	for i := range ledgers {
		ledgers[i] = w.ledger(tenant, account)
	}
	var granted, refused atomic.Int64
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			l := ledgers[worker%replicas]
			for i := range each {
				g, err := l.Reserve(w.ctx, budget.Request{ID: fmt.Sprintf("w%d/%d", worker, i), Scopes: scopes("tenant=a"), Amounts: money(amount)})
				switch {
				case err == nil:
					granted.Add(1)
					for _, s := range g.Left {
						if s.Cap == tenant.ID() && s.Settled+s.Held > limit {
							w.Errorf("%d held of %d", s.Held, limit)
						}
					}
				case errors.Is(err, budget.ErrHeld):
					refused.Add(1)
				default:
					w.Errorf("reserve: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if got := granted.Load(); got != limit/amount || refused.Load() != workers*each-got {
		w.Fatalf("%d granted and %d refused, want %d granted", got, refused.Load(), limit/amount)
	}
	w.stands(ledgers[0], tenant, sums{held: limit / amount * amount}, "tenant=a")
	w.stands(ledgers[0], account, sums{held: limit / amount * amount})
}
