// Package budgettest is what a [budget.Store] must do, as tests. A store that passes [Exercise] can be trusted with money
// as far as its own durability goes.
//
//	func TestStore(t *testing.T) {
//		budgettest.Exercise(t, func(t *testing.T) budget.Store { return open(t) })
//	}
//
// The suite asks through ledgers, as users do, and through the interface where a ledger would hide the answer. It never
// believes a store's own sums alone: random histories are compared with a model, and the histories with crashes with a
// bill that the store does not see.
package budgettest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// Option changes how [Exercise] runs.
type Option func(*suite)

// Virtual runs every test in virtual time. It is for stores whose clock is time.Now and that open no socket or file.
func Virtual() Option { return func(s *suite) { s.virtual = true } }

// Except leaves out tests, by their names in the suite, each with the reason why the store need not pass it. A name that
// the suite does not have fails it.
func Except(reasons map[string]string) Option { return func(s *suite) { s.except = reasons } }

type suite struct {
	open    func(t *testing.T) budget.Store
	virtual bool
	except  map[string]string
	advance func(budget.Store, time.Duration)
}

// Exercise runs the whole suite. open is called once per test and returns an empty store that accepts every cap; the test
// closes it.
func Exercise(t *testing.T, open func(t *testing.T) budget.Store, opts ...Option) {
	s := &suite{open: open}
	for _, o := range opts {
		o(s)
	}
	tests := []struct {
		name string
		run  func(*world)
	}{
		{"a chain is reserved whole or not at all", chainIsReservedWhole},
		{"every cap that refuses is named", everyViolatedCapIsNamed},
		{"a denial says held, spent or too big", denialKinds},
		{"a missing label is refused", missingLabelIsRefused},
		{"a cap for one replaces the cap for each", oneReplacesEach},
		{"joined conditions count combinations", joinedConditions},
		{"a name is only a name", namesAreOnlyNames},
		{"every meter counts, custom ones too", everyMeterCounts},
		{"accounts are apart", accountsAreApart},
		{"the same reserve twice is one reservation", duplicateReserve},
		{"settle gives the rest back", settleGivesBack},
		{"settle records an overrun in full", settleRecordsOverrun},
		{"usage of a meter nobody asked for is counted", unaskedMeterIsCounted},
		{"settle is idempotent", settleIsIdempotent},
		{"charge counts the bound, unconfirmed", chargeCountsTheBound},
		{"void needs proof", voidNeedsProof},
		{"true-up corrects once per source", trueUpCorrects},
		{"a true-up that takes a refund back keeps the books", trueUpTakesRefundBack},
		{"a receipt outranks late usage", receiptOutranksUsage},
		{"operations on an unknown id say so", unknownIDs},
		{"a settlement outlives its caller", settlementOutlivesCaller},
		{"a lease that runs out is charged, and a late settle refunds", expiredIsCharged},
		{"a reserve ends a bounded number of leases", reserveSweepsBounded},
		{"renewing keeps a lease", renewKeepsLease},
		{"an idle reservation is released", idleIsReleased},
		{"a swap is one step", swapIsOneStep},
		{"windows turn and holds stay with theirs", windowsTurn},
		{"a rolling window is as long as it says, never shorter", rollingLength},
		{"a rolling window has no edge", rollingHasNoEdge},
		{"what left a rolling window comes back by no settlement", rollingLateSettle},
		{"a rolling window counts by admission", rollingAttribution},
		{"the reset of a rolling window is that of the request", rollingResetIsForTheRequest},
		{"rolling windows of several lengths hold together", rollingTwice},
		{"thresholds of a rolling window are armed again", rollingThresholds},
		{"limits of rolling windows change", rollingLimitsChange},
		{"overrun leaves a rolling window with its bucket", rollingOverrun},
		{"what stays in a rolling window stands as it did", rollingRest},
		{"what left a rolling window is remembered for a day", rollingRemembers},
		{"parallel reserves never pass a rolling cap", rollingHoldsInParallel},
		{"an allowance is room for those who draw from it", allowanceIsRoom},
		{"an allowance goes as far as it goes", allowanceGoesAsFarAsItGoes},
		{"draws return what they do not use", drawsReturn},
		{"draws that run out are charged", expiredDrawsAreCharged},
		{"corrections of draws move the caps alone", correctionsMoveTheCapsAlone},
		{"a released allowance frees what is left of it", releasedAllowanceFreesTheRest},
		{"an allowance whose lease is over lends nothing", allowanceWhoseLeaseIsOver},
		{"allowances run out together", allowancesRunOutTogether},
		{"an allowance is taken from an allowance", allowanceWithinAnAllowance},
		{"every meter is drawn apart", drawnMetersAreApart},
		{"parallel draws never pass the allowance", parallelDrawsHold},
		{"an allowance has an id", allowanceOfAnID},
		{"a denied draw changes nothing", deniedDrawChangesNothing},
		{"a dry run draws nothing", dryRunDrawsNothing},
		{"a swap returns before the draw", swapReturnsBeforeTheDraw},
		{"an allowance serves its own counts", allowanceServesItsOwnCounts},
		{"an allowance stays in its window", allowanceStaysInItsWindow},
		{"an allowance of a rolling window", allowanceRolls},
		{"top shows what is left of allowances", topShowsWhatIsLeftOfAllowances},
		{"the store checks window and caps", storeAnswersStale},
		{"limits change for every ledger at once", limitsChangeEverywhere},
		{"a cap for one run reaches other ledgers", runCapReachesOthers},
		{"caps are learnt step by step", capsAreLearntIncrementally},
		{"changes are kept", changesAreKept},
		{"freeze stops and unfreeze goes on", freezeStops},
		{"thresholds fire once", thresholdsFireOnce},
		{"open reservations are found by prefix", openByPrefix},
		{"top shows who spends", topShowsSpenders},
		{"top looks at a given time", topLooksAtATime},
		{"a forgotten run is gone", forgottenRunIsGone},
		{"parallel reserves never pass the cap", parallelReservesHold},
		{"random histories match the model", randomHistoriesMatch},
		{"the bill stays within the cap through crashes", billStaysWithinCap},
	}
	excused := 0
	for _, test := range tests {
		if why := s.except[test.name]; why != "" {
			t.Logf("not asked: %s: %s", test.name, why)
			excused++
			continue
		}
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) {
			s.in(t, func(t *testing.T) { test.run(newWorld(t, s)) })
		})
	}
	if excused < len(s.except) {
		t.Errorf("%d of the tests that are left out are not in the suite, or have no reason: %v", len(s.except)-excused, s.except)
	}
}

func (s *suite) in(t *testing.T, f func(t *testing.T)) {
	if s.virtual {
		synctest.Test(t, f)
	} else {
		f(t)
	}
}

// world is one test's store.
type world struct {
	*testing.T
	ctx     context.Context
	store   budget.Store
	virtual bool
	advance func(budget.Store, time.Duration)
	moved   time.Duration // by advance
	serial  int
}

func newWorld(t *testing.T, s *suite) *world {
	store := s.open(t)
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &world{T: t, ctx: t.Context(), store: store, virtual: s.virtual, advance: s.advance}
}

// short is a lease that runs out in a test, but not between two operations on a busy disk; long one that does not.
const (
	short = 250 * time.Millisecond
	long  = time.Hour
)

// pass lets d pass on the store's clock. In real time it sleeps a little longer than d, so what is awaited has surely come.
func (w *world) pass(d time.Duration) {
	if !w.virtual {
		d += 30 * time.Millisecond
	}
	time.Sleep(d)
}

// ledger opens a ledger on the store; several are several replicas.
func (w *world) ledger(caps ...budget.Cap) *budget.Ledger {
	w.Helper()
	l, err := budget.Open(w.ctx, budget.Config{Store: w.store, Caps: caps, Account: "acct", Lease: long})
	if err != nil {
		w.Fatal(err)
	}
	return l
}

func (w *world) id() string {
	w.serial++
	return fmt.Sprintf("op/%d", w.serial)
}

// scopes makes scopes of "tenant=acme" words.
func scopes(words ...string) []budget.Scope {
	var out []budget.Scope
	for _, word := range words {
		kind, name, _ := strings.Cut(word, "=")
		out = append(out, budget.Scope{Kind: kind, Name: name})
	}
	return out
}

func money(nano int64) budget.Amounts { return budget.Amounts{NanoUSD: nano} }

func moneyCap(target budget.Target, limit int64) budget.Cap {
	return budget.Cap{For: target, Meter: budget.MeterMoney, Limit: limit, Per: budget.Lifetime()}
}

// take reserves money for scopes and fails the test when that is refused.
func (w *world) take(l *budget.Ledger, nano int64, words ...string) string {
	w.Helper()
	id := w.id()
	w.reserve(l, budget.Request{ID: id, Scopes: scopes(words...), Amounts: money(nano)})
	return id
}

func (w *world) reserve(l *budget.Ledger, r budget.Request) budget.Grant {
	w.Helper()
	g, err := l.Reserve(w.ctx, r)
	if err != nil {
		w.Fatalf("reserve %s: %v", r.ID, err)
	}
	return g
}

// denied reserves money for scopes and wants it refused for the reason.
func (w *world) denied(l *budget.Ledger, nano int64, reason error, words ...string) *budget.DeniedError {
	w.Helper()
	_, err := l.Reserve(w.ctx, budget.Request{ID: w.id(), Scopes: scopes(words...), Amounts: money(nano)})
	var d *budget.DeniedError
	if !errors.As(err, &d) || !errors.Is(err, budget.ErrDenied) || !errors.Is(err, reason) {
		w.Fatalf("reserve of %d for %v: got %v, want a denial as %v", nano, words, err, reason)
	}
	return d
}

func (w *world) settle(l *budget.Ledger, id string, nano int64) budget.Settlement {
	w.Helper()
	s, err := l.Settle(w.ctx, id, money(nano))
	if err != nil {
		w.Fatalf("settle %s: %v", id, err)
	}
	return s
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) wants(err, want error) {
	w.Helper()
	if !errors.Is(err, want) {
		w.Fatalf("got %v, want %v", err, want)
	}
}

// sums are what a test says about a count.
type sums struct{ settled, held, unconfirmed, overrun int64 }

// stands wants the only count of the cap that scopes touch to stand at want.
func (w *world) stands(l *budget.Ledger, cap budget.Cap, want sums, words ...string) budget.CapState {
	w.Helper()
	states, err := l.Snapshot(w.ctx, scopes(words...)...)
	w.ok(err)
	i := slices.IndexFunc(states, func(s budget.CapState) bool { return s.Cap == cap.ID() })
	if i < 0 {
		w.Fatalf("snapshot of %v has no %q: %v", words, cap.ID(), states)
	}
	s := states[i]
	if got := (sums{s.Settled, s.Held, s.Unconfirmed, s.Overrun}); got != want {
		w.Fatalf("%q for %v stands at %+v, want %+v", cap.ID(), words, got, want)
	}
	if left := max(s.Limit-s.Settled-s.Held, 0); s.Limit != budget.None && s.Left != left {
		w.Fatalf("%q has %d left, want %d", cap.ID(), s.Left, left)
	}
	return s
}
