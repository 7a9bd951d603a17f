package budgettest

import (
	"context"

	"github.com/gridloop/gridloop/budget"
)

func settleGivesBack(w *world) {
	tenant, account := moneyCap(budget.Each("tenant"), 100), moneyCap(budget.Account(), 100)
	l := w.ledger(tenant, account)
	id := w.take(l, 80, "tenant=a")
	s := w.settle(l, id, 30)
	if s.State != budget.StateSettled || s.Overrun || s.Unconfirmed || s.Late || s.Duplicate || len(s.Left) != 2 || s.ID != id {
		w.Fatalf("settlement %+v", s)
	}
	for _, left := range s.Left {
		if left.Left != 70 {
			w.Fatalf("%s has %d left, want 70", left.Cap, left.Left)
		}
	}
	w.stands(l, tenant, sums{settled: 30}, "tenant=a")
	w.take(l, 70, "tenant=a")
}

func settleRecordsOverrun(w *world) {
	cap := moneyCap(budget.Account(), 100)
	l := w.ledger(cap)
	id := w.take(l, 90)
	s := w.settle(l, id, 130)
	if !s.Overrun || s.Over.NanoUSD != 40 || s.Actual.NanoUSD != 130 {
		w.Fatalf("settlement %+v", s)
	}
	w.stands(l, cap, sums{settled: 130, overrun: 40})
	w.denied(l, 1, budget.ErrSpent)
}

func unaskedMeterIsCounted(w *world) {
	cap := moneyCap(budget.Each("tenant"), 100)
	l := w.ledger(cap)
	id := w.id()
	w.reserve(l, budget.Request{ID: id, Scopes: scopes("tenant=a"), Amounts: budget.Amounts{Tokens: 5}})
	s, err := l.Settle(w.ctx, id, budget.Amounts{Tokens: 5, NanoUSD: 30})
	w.ok(err)
	if !s.Overrun || s.Over.NanoUSD != 30 {
		w.Fatalf("settlement %+v", s)
	}
	w.stands(l, cap, sums{settled: 30, overrun: 30}, "tenant=a")
}

func settleIsIdempotent(w *world) {
	cap := moneyCap(budget.Account(), 100)
	l := w.ledger(cap)
	id := w.take(l, 80)
	w.settle(l, id, 30)
	again := w.settle(l, id, 30)
	if !again.Duplicate || again.Actual.NanoUSD != 30 {
		w.Fatalf("again %+v", again)
	}
	_, err := l.Settle(w.ctx, id, money(31))
	w.wants(err, budget.ErrMismatch)
	charged, err := l.Charge(w.ctx, id)
	w.ok(err)
	if !charged.Duplicate || charged.Actual.NanoUSD != 30 {
		w.Fatalf("charge after settle %+v", charged)
	}
	w.wants(l.Void(w.ctx, id, budget.ProofDial), budget.ErrFinished)
	w.wants(l.Renew(w.ctx, id, 0), budget.ErrFinished)
	w.stands(l, cap, sums{settled: 30})
}

func chargeCountsTheBound(w *world) {
	cap := moneyCap(budget.Account(), 100)
	l := w.ledger(cap)
	settled, voided, corrected := w.take(l, 30), w.take(l, 30), w.take(l, 30)
	for _, id := range []string{settled, voided, corrected, corrected} {
		s, err := l.Charge(w.ctx, id)
		w.ok(err)
		if s.State != budget.StateCharged || !s.Unconfirmed || s.Actual.NanoUSD != 30 {
			w.Fatalf("charge %+v", s)
		}
	}
	w.stands(l, cap, sums{settled: 90, unconfirmed: 90})
	if s := w.settle(l, settled, 5); !s.Late || s.Unconfirmed {
		w.Fatalf("settle after charge %+v", s)
	}
	w.ok(l.Void(w.ctx, voided, budget.ProofRouter5xx))
	w.stands(l, cap, sums{settled: 35, unconfirmed: 30})
	_, err := l.TrueUp(w.ctx, corrected, money(10), "receipt")
	w.ok(err)
	w.stands(l, cap, sums{settled: 15})
}

func voidNeedsProof(w *world) {
	cap := moneyCap(budget.Account(), 100)
	l := w.ledger(cap)
	id := w.take(l, 80)
	w.wants(l.Void(w.ctx, id, ""), budget.ErrNoProof)
	w.wants(l.Void(w.ctx, id, "cancelled"), budget.ErrNoProof)
	var ans budget.Answer
	w.wants(w.store.Void(w.ctx, "acct", id, "", &ans), budget.ErrNoProof)
	w.stands(l, cap, sums{held: 80})
	w.ok(l.Void(w.ctx, id, budget.ProofStatus402))
	w.ok(l.Void(w.ctx, id, budget.ProofStatus402))
	w.stands(l, cap, sums{})
	_, err := l.Settle(w.ctx, id, money(1))
	w.wants(err, budget.ErrFinished)
	_, err = l.Charge(w.ctx, id)
	w.wants(err, budget.ErrFinished)
	_, err = l.Reserve(w.ctx, budget.Request{ID: id, Amounts: money(80)})
	w.wants(err, budget.ErrFinished)
	for _, proof := range []budget.Proof{budget.ProofNeverDispatched, budget.ProofStatus429, budget.ProofStatus4xx, budget.ProofRouter5xx, budget.ProofDial} {
		w.ok(l.Void(w.ctx, w.take(l, 80), proof))
	}
	// A receipt for what was thought not to be billed is believed.
	s, err := l.TrueUp(w.ctx, id, money(7), "receipt")
	w.ok(err)
	if s.Actual.NanoUSD != 7 {
		w.Fatalf("true-up %+v", s)
	}
	w.stands(l, cap, sums{settled: 7})
}

func trueUpCorrects(w *world) {
	cap := moneyCap(budget.Account(), 100)
	l := w.ledger(cap)
	id := w.take(l, 50)
	_, err := l.TrueUp(w.ctx, id, money(40), "receipt")
	w.wants(err, budget.ErrStillOpen)
	w.settle(l, id, 40)
	for _, want := range []struct {
		source    string
		nano      int64
		duplicate bool
		sums      sums
	}{
		{"receipt", 20, false, sums{settled: 20}},
		{"receipt", 20, true, sums{settled: 20}},
		{"audit", 45, false, sums{settled: 45}},
		{"appeal", 70, false, sums{settled: 70, overrun: 20}},
		{"refund", 0, false, sums{}},
		{"audit", 45, true, sums{}},
	} {
		s, err := l.TrueUp(w.ctx, id, money(want.nano), want.source)
		w.ok(err)
		if s.Duplicate != want.duplicate {
			w.Fatalf("%+v: %+v", want, s)
		}
		w.stands(l, cap, want.sums)
	}
	_, err = l.TrueUp(w.ctx, id, money(21), "receipt")
	w.wants(err, budget.ErrMismatch)
	again, err := l.Settle(w.ctx, id, money(40))
	w.ok(err)
	if !again.Duplicate {
		w.Fatalf("settle after true-up %+v", again)
	}
	w.stands(l, cap, sums{})
}

func trueUpTakesRefundBack(w *world) {
	cap := moneyCap(budget.Account(), 100)
	l := w.ledger(cap)
	id := w.take(l, 100)
	w.settle(l, id, 10)
	w.take(l, 80)
	_, err := l.TrueUp(w.ctx, id, money(60), "receipt") // within its bound, but others have the refund
	w.ok(err)
	w.stands(l, cap, sums{settled: 60, held: 80, overrun: 40})
	_, err = l.TrueUp(w.ctx, id, money(15), "audit")
	w.ok(err)
	w.stands(l, cap, sums{settled: 15, held: 80})
}

func receiptOutranksUsage(w *world) {
	cap := moneyCap(budget.Account(), 100)
	l := w.ledger(cap)
	id := w.take(l, 50)
	_, err := l.Charge(w.ctx, id)
	w.ok(err)
	_, err = l.TrueUp(w.ctx, id, money(20), "receipt")
	w.ok(err)
	if s := w.settle(l, id, 30); s.Actual.NanoUSD != 20 {
		w.Fatalf("usage after the receipt %+v", s)
	}
	w.stands(l, cap, sums{settled: 20})
}

func unknownIDs(w *world) {
	l := w.ledger(moneyCap(budget.Account(), 100))
	_, settle := l.Settle(w.ctx, "nobody", money(1))
	_, charge := l.Charge(w.ctx, "nobody")
	_, trueUp := l.TrueUp(w.ctx, "nobody", money(1), "receipt")
	_, swap := l.Reserve(w.ctx, budget.Request{ID: w.id(), Amounts: money(1), Swap: "nobody"})
	for _, err := range []error{settle, charge, trueUp, swap, l.Void(w.ctx, "nobody", budget.ProofDial), l.Release(w.ctx, "nobody"), l.Renew(w.ctx, "nobody", 0)} {
		w.wants(err, budget.ErrUnknownReservation)
	}
}

func settlementOutlivesCaller(w *world) {
	cap := moneyCap(budget.Account(), 100)
	l := w.ledger(cap)
	a, b, c := w.take(l, 10), w.take(l, 20), w.take(l, 30)
	ctx, cancel := context.WithCancel(w.ctx)
	cancel()
	w.ok(l.Shutdown(ctx))
	_, err := l.Settle(ctx, a, money(1))
	w.ok(err)
	_, err = l.Charge(ctx, b)
	w.ok(err)
	w.ok(l.Void(ctx, c, budget.ProofDial))
	_, err = l.TrueUp(ctx, b, money(2), "receipt")
	w.ok(err)
	w.stands(l, cap, sums{settled: 3})
	_, err = l.Reserve(w.ctx, budget.Request{ID: w.id(), Amounts: money(1)})
	w.wants(err, budget.ErrClosed)
	w.wants(l.Define(w.ctx, "test", cap), budget.ErrClosed)
	_, err = w.ledger().Reserve(ctx, budget.Request{ID: w.id(), Amounts: money(1)})
	w.wants(err, context.Canceled)
}
