package budget_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/budget"
)

func openLedger(t testing.TB, cfg budget.Config) *budget.Ledger {
	t.Helper()
	if cfg.Store == nil {
		cfg.Store = budget.NewMemory(budget.Volatile())
	}
	l, err := budget.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestOpenReportsEveryMistake(t *testing.T) {
	good := budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 5, Per: budget.Day(nil)}
	free := good
	free.Limit = budget.None
	_, err := budget.Open(t.Context(), budget.Config{Lease: -1, Account: strings.Repeat("a", 1000), Caps: []budget.Cap{good, {}, free}})
	for _, want := range []string{
		"Config.Lease: a lease of -1ns", "Config.Account: a name of 1000 bytes",
		"Caps[0]: \"each tenant money day UTC\" outlives a run", "Caps[1].For: nobody is named", "Caps[1].Meter:", "Caps[1].Limit:", "Caps[1].Per:",
		"Caps[2]: \"each tenant money day UTC\" is the same cap as Caps[0]",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
	if !errors.Is(err, budget.ErrInvalid) {
		t.Error("the mistakes are not ErrInvalid")
	}
}

func TestBadRequestsNameFieldAndFix(t *testing.T) {
	l := openLedger(t, budget.Config{})
	good := budget.Request{ID: "a", Amounts: budget.Amounts{Tokens: 1}}
	for name, test := range map[string]struct {
		change func(*budget.Request)
		hint   string
	}{
		"no id":           {func(r *budget.Request) { r.ID = "" }, "Request.ID: the reservation has no id"},
		"long id":         {func(r *budget.Request) { r.ID = strings.Repeat("x", 2000) }, "Request.ID: an id of 2000 bytes"},
		"nothing asked":   {func(r *budget.Request) { r.Amounts = budget.Amounts{} }, "Request.Amounts: nothing is asked for"},
		"negative":        {func(r *budget.Request) { r.Amounts.NanoUSD = -1 }, "Request.Amounts.NanoUSD: -1 is negative"},
		"unknown kind":    {func(r *budget.Request) { r.Scopes = []budget.Scope{{Kind: "galaxy", Name: "x"}} }, `Request.Scope.Kind: "galaxy"`},
		"no name":         {func(r *budget.Request) { r.Scopes = []budget.Scope{{Kind: "tenant"}} }, "Request.Scope.Name: a tenant without a name"},
		"a named account": {func(r *budget.Request) { r.Scopes = []budget.Scope{{Kind: "account", Name: "x"}} }, "Config.Account"},
		"negative lease":  {func(r *budget.Request) { r.Lease = -1 }, "Request.Lease"},
		"endless lease":   {func(r *budget.Request) { r.Lease = 1 << 62 }, "Request.Lease"},
		"swapped itself":  {func(r *budget.Request) { r.Swap = "a" }, "Request.Swap"},
	} {
		r := good
		test.change(&r)
		_, err := l.Reserve(t.Context(), r)
		if !errors.Is(err, budget.ErrInvalid) || !strings.Contains(err.Error(), test.hint) {
			t.Errorf("%s: %v, want %q", name, err, test.hint)
		}
	}
	if _, err := l.Reserve(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	_, settle := l.Settle(t.Context(), "a", budget.Amounts{Tokens: -1})
	_, noID := l.Settle(t.Context(), "", budget.Amounts{})
	_, chargeNoID := l.Charge(t.Context(), "")
	_, source := l.TrueUp(t.Context(), "a", budget.Amounts{}, "")
	_, sweep := l.Sweep(t.Context(), 0)
	_, top := l.Top(t.Context(), budget.TopQuery{By: "run", For: -1})
	_, snapshot := l.Snapshot(t.Context(), budget.Scope{Kind: "galaxy", Name: "x"})
	for i, err := range []error{settle, noID, chargeNoID, source, sweep, top, snapshot, l.Renew(t.Context(), "a", -1), l.Release(t.Context(), ""), l.Define(t.Context(), ""),
		l.Freeze(t.Context(), budget.Scope{Kind: "tenant"}, "", time.Time{}, "ann"), l.Unfreeze(t.Context(), budget.Scope{Kind: "account"}, ""), l.Forget(t.Context(), budget.Scope{})} {
		if !errors.Is(err, budget.ErrInvalid) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestDenialsReadLikeAdvice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // begins on 2000-01-01
		l := openLedger(t, budget.Config{Caps: []budget.Cap{
			{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: budget.USD(1), Per: budget.Day(nil)},
			{For: budget.Each("tag:team"), Meter: budget.MeterTokens, Limit: 100, Per: budget.Lifetime()},
			{For: budget.Account(), Meter: budget.MeterToolCalls, Limit: 1, Per: budget.Lifetime()},
		}})
		acme := []budget.Scope{{Kind: "tenant", Name: "ac me"}}
		ask := func(id string, a budget.Amounts) string {
			_, err := l.Reserve(t.Context(), budget.Request{ID: id, Scopes: acme, Amounts: a})
			return fmt.Sprint(err)
		}
		if got := ask("a", budget.Amounts{NanoUSD: budget.USD(0.9)}); got != "<nil>" {
			t.Fatal(got)
		}
		for _, test := range []struct{ got, want string }{
			{ask("b", budget.Amounts{NanoUSD: budget.USD(0.2)}), `budget: denied (held): cap "each tenant money day UTC" for tenant ac%20me: $0.20 requested, $0.00 settled and $0.90 held of $1.00: ask again when calls in flight have settled`},
			{ask("c", budget.Amounts{NanoUSD: budget.USD(2)}), `budget: denied (too_big): cap "each tenant money day UTC" for tenant ac%20me: $2.00 requested, $0.00 settled and $0.90 held of $1.00: it can never fit, ask for less`},
			{ask("d", budget.Amounts{Tokens: 5}), `budget: denied (no_label): cap "each tag:team tokens lifetime": the request names no tag:team: label the run with one`},
		} {
			if test.got != test.want {
				t.Errorf("got\n%s, want\n%s", test.got, test.want)
			}
		}
		if _, err := l.Charge(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if got, want := ask("e", budget.Amounts{NanoUSD: budget.USD(0.2)}), "$0.90 settled and $0.00 held of $1.00: it resets at 2000-01-02T00:00:00Z"; !strings.HasSuffix(got, want) {
			t.Errorf("got\n%s, want\n%s", got, want)
		}
		if got := ask("once", budget.Amounts{ToolCalls: 1}); got != "<nil>" {
			t.Fatal(got)
		}
		if _, err := l.Charge(t.Context(), "once"); err != nil {
			t.Fatal(err)
		}
		if got, want := ask("twice", budget.Amounts{ToolCalls: 1}), "1 requested, 1 settled and 0 held of 1: this cap does not reset, raise it"; !strings.HasSuffix(got, want) {
			t.Errorf("got\n%s, want\n%s", got, want)
		}
		if err := l.Freeze(t.Context(), acme[0], "", time.Time{}, "ann"); err != nil {
			t.Fatal(err)
		}
		if got, want := ask("for ever", budget.Amounts{Requests: 1}), "budget: denied (frozen): tenant ac%20me is frozen"; got != want {
			t.Errorf("got\n%s, want\n%s", got, want)
		}
		if err := l.Freeze(t.Context(), acme[0], "too fast", time.Now().Add(time.Hour), "ann"); err != nil {
			t.Fatal(err)
		}
		_, err := l.Reserve(t.Context(), budget.Request{ID: "f", Scopes: acme, Amounts: budget.Amounts{NanoUSD: budget.USD(0.2)}})
		var d *budget.DeniedError
		if !errors.As(err, &d) || !strings.Contains(d.Error(), "budget: denied (frozen): tenant ac%20me is frozen (too fast) until 2000-01-01T01:00:00Z; cap") {
			t.Errorf("got %v", err)
		}
		if want := time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC); !d.ResetAt().Equal(want) {
			t.Errorf("resets at %v, want %v, when the later of the two has passed", d.ResetAt(), want)
		}
		matched := 0
		for _, target := range []error{budget.ErrHeld, budget.ErrSpent, budget.ErrTooBig, budget.ErrFrozen, budget.ErrNoLabel} {
			if errors.Is(err, target) {
				matched++
			}
		}
		if matched != 1 || !errors.Is(err, budget.ErrFrozen) {
			t.Errorf("%v matches %d kinds", err, matched)
		}
	})
}

// away is a store that cannot be reached, or whose clock is wrong, or that is slow to hear.
type away struct {
	budget.Store
	err     error
	offset  time.Duration
	stales  int
	settled context.Context
}

func (a *away) Traits() budget.Traits { return budget.Traits{} }

func (a *away) Reserve(ctx context.Context, account string, op *budget.ReserveOp, ans *budget.Answer) error {
	if a.err != nil {
		return a.err
	}
	if a.offset != 0 { // a store whose clock is ahead
		for _, l := range op.Links {
			if now := time.Now().Add(a.offset); !l.Window.Contains(now) {
				ans.Reset()
				ans.Now, ans.Stale = now, budget.StaleWindow
				a.stales++
				return nil
			}
		}
		ans.Reset()
		return nil
	}
	return a.Store.Reserve(ctx, account, op, ans)
}

func (a *away) Settle(ctx context.Context, account, id string, actual budget.Amounts, ans *budget.Answer) error {
	a.settled = ctx
	if err := ctx.Err(); err != nil {
		return err
	}
	return a.Store.Settle(ctx, account, id, actual, ans)
}

func TestAStoreThatIsAwayFailsClosed(t *testing.T) {
	a := &away{Store: budget.NewMemory(budget.Volatile())}
	l := openLedger(t, budget.Config{Store: a})
	r := budget.Request{ID: "a", Amounts: budget.Amounts{Tokens: 1}}
	if _, err := l.Reserve(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	a.err = io.ErrUnexpectedEOF
	r.ID = "b"
	_, err := l.Reserve(t.Context(), r)
	if !errors.Is(err, budget.ErrUnavailable) || !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, budget.ErrDenied) {
		t.Fatalf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Settle(ctx, "a", budget.Amounts{Tokens: 1}); err != nil {
		t.Fatalf("the settlement of a cancelled run is lost: %v", err)
	}
	if _, bounded := a.settled.Deadline(); !bounded {
		t.Fatal("a settlement may hang for ever")
	}
}

func TestAClockThatIsOffCostsOneQuestion(t *testing.T) {
	a := &away{Store: budget.NewMemory(budget.Volatile()), offset: 50 * time.Hour}
	l := openLedger(t, budget.Config{Store: a, Caps: []budget.Cap{{For: budget.Account(), Meter: budget.MeterTokens, Limit: 5, Per: budget.Day(nil)}}})
	for i := range 10 {
		if _, err := l.Reserve(t.Context(), budget.Request{ID: fmt.Sprint(i), Amounts: budget.Amounts{Tokens: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	if a.stales != 1 {
		t.Fatalf("%d questions were repeated, want 1", a.stales)
	}
}

func TestCapsThatNeverSettleEndInAnError(t *testing.T) {
	a := &away{Store: budget.NewMemory(budget.Volatile()), offset: time.Nanosecond}
	l := openLedger(t, budget.Config{Store: &moving{a}, Caps: []budget.Cap{{For: budget.Account(), Meter: budget.MeterTokens, Limit: 5, Per: budget.Day(nil)}}})
	_, err := l.Reserve(t.Context(), budget.Request{ID: "a", Amounts: budget.Amounts{Tokens: 1}})
	if !errors.Is(err, budget.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
}

// moving answers that the caps changed, always.
type moving struct{ *away }

func (*moving) Reserve(_ context.Context, _ string, _ *budget.ReserveOp, ans *budget.Answer) error {
	ans.Reset()
	ans.Stale = budget.StaleCaps
	return nil
}

func TestLimitsAboveWhatTheStoreCountsAreRefused(t *testing.T) {
	_, err := budget.Open(t.Context(), budget.Config{Store: small{budget.NewMemory(budget.Volatile())}, Caps: []budget.Cap{
		{For: budget.Account(), Meter: budget.MeterMoney, Limit: 1 << 54, Per: budget.Lifetime()},
		{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 1 << 53, Per: budget.Lifetime()},
		{For: budget.Each("user"), Meter: budget.MeterMoney, Limit: budget.None, Per: budget.Lifetime()},
	}})
	if err == nil || !strings.Contains(err.Error(), "Caps[0].Limit") || strings.Contains(err.Error(), "Caps[1]") || strings.Contains(err.Error(), "Caps[2]") {
		t.Fatalf("got %v", err)
	}
}

type small struct{ budget.Store }

func (small) Traits() budget.Traits { return budget.Traits{MaxLimit: 1 << 53} }

// mute is a store that can be reached for some things only.
type mute struct {
	budget.Store
	define, caps, top error
}

func (m *mute) Define(ctx context.Context, account, by string, caps []budget.Cap) (int64, error) {
	if m.define != nil {
		return 0, m.define
	}
	return m.Store.Define(ctx, account, by, caps)
}

func (m *mute) Caps(ctx context.Context, account string, since int64) (budget.CapSet, error) {
	if m.caps != nil {
		return budget.CapSet{}, m.caps
	}
	return m.Store.Caps(ctx, account, since)
}

func (m *mute) Top(ctx context.Context, account string, q budget.TopQuery) ([]budget.TopRow, error) {
	if m.top != nil {
		return nil, m.top
	}
	return m.Store.Top(ctx, account, q)
}

// A ledger whose caps could not be set, or heard of, is none.
func TestALedgerIsNotOpenedWithoutItsCaps(t *testing.T) {
	for name, m := range map[string]*mute{"set": {define: io.ErrUnexpectedEOF}, "heard of": {caps: io.ErrUnexpectedEOF}} {
		m.Store = budget.NewMemory(budget.Volatile())
		l, err := budget.Open(t.Context(), budget.Config{Store: m, Caps: []budget.Cap{eachTenant}})
		if l != nil || !errors.Is(err, budget.ErrUnavailable) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("caps could not be %s: %v", name, err)
		}
	}
}

// What the store could not do is never taken for done, whatever was asked.
func TestEveryAnswerThatDidNotComeIsAnError(t *testing.T) {
	m := &mute{Store: budget.NewMemory(budget.Volatile())}
	l := openLedger(t, budget.Config{Store: m, Caps: []budget.Cap{eachTenant}})
	m.define, m.caps, m.top = io.ErrUnexpectedEOF, io.ErrUnexpectedEOF, io.ErrUnexpectedEOF
	ctx, tool := t.Context(), budget.Scope{Kind: "tool", Name: "mail"}
	_, caps := l.Caps(ctx)
	_, snapshot := l.Snapshot(ctx)
	_, top := l.Top(ctx, budget.TopQuery{By: "tenant"})
	for name, err := range map[string]error{"caps": caps, "snapshot": snapshot, "top": top, "define": l.Define(ctx, "ann", eachTenant),
		"freeze of a tool": l.Freeze(ctx, tool, "", time.Time{}, "ann"), "forget": l.Forget(ctx, budget.Scope{Kind: "run", Name: "r"})} {
		if !errors.Is(err, budget.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if frozen, err := l.Freezes(ctx); err != nil || len(frozen) != 0 {
		t.Errorf("the tool is frozen, but nothing counts its calls: %+v, %v", frozen, err)
	}
}

// The largest of everything that is allowed is allowed.
func TestTheLargestThingsAreTaken(t *testing.T) {
	const longest = 366 * 24 * time.Hour
	l := openLedger(t, budget.Config{Account: strings.Repeat("a", 512), Lease: longest, Caps: []budget.Cap{accountCap(100)}})
	id := strings.Repeat("x", 1024)
	g, err := l.Reserve(t.Context(), budget.Request{ID: id, Amounts: budget.Amounts{Tokens: 1}, Lease: longest})
	if err != nil || time.Until(g.Expires) < longest-time.Hour {
		t.Fatalf("%+v, %v", g.Expires, err)
	}
	if err := l.Renew(t.Context(), id, longest); err != nil {
		t.Error(err)
	}
	if _, err := l.Charge(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := l.TrueUp(t.Context(), id, budget.Amounts{}, strings.Repeat("s", 512)); err != nil {
		t.Error(err)
	}
	if err := l.Define(t.Context(), strings.Repeat("b", 512), accountCap(200)); err != nil {
		t.Error(err)
	}
}

// A sign of life without a lease is for another one of the ledger's own.
func TestARenewalIsForTheLedgersLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for lease, want := range map[time.Duration]time.Duration{0: budget.DefaultLease, time.Hour: time.Hour} {
			l := openLedger(t, budget.Config{Lease: lease})
			if _, err := l.Reserve(t.Context(), tokensOf("r", "acme", 1)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			if err := l.Renew(t.Context(), "r", 0); err != nil {
				t.Fatal(err)
			}
			if open, err := l.OpenReservations(t.Context(), ""); err != nil || len(open) != 1 || !open[0].Expires.Equal(time.Now().Add(want)) {
				t.Errorf("%+v, %v, want %v from now", open, err, want)
			}
		}
	})
}

// Who corrects says who it is, and what of; both mistakes are named at once.
func TestABadCorrectionNamesAllItsMistakes(t *testing.T) {
	l := openLedger(t, budget.Config{})
	_, err := l.TrueUp(t.Context(), "", budget.Amounts{Tokens: -1}, strings.Repeat("s", 513))
	for _, want := range []string{"budget: ID: ", "Amounts.Tokens: -1 is negative", "budget: Source: "} {
		if !errors.Is(err, budget.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// Caps of one scope are caps of their own: raising one leaves the others as they were.
func TestOfSeveralCapsOfAScopeOneIsChanged(t *testing.T) {
	of := func(m budget.Meter, limit int64) budget.Cap {
		return budget.Cap{For: budget.One("tenant", "acme"), Meter: m, Limit: limit, Per: budget.Lifetime()}
	}
	l := openLedger(t, budget.Config{Caps: []budget.Cap{of(budget.MeterTokens, 10), of(budget.MeterRequests, 10), of(budget.MeterMoney, 10)}})
	if err := l.Define(t.Context(), "ann", of(budget.MeterTokens, 20)); err != nil {
		t.Fatal(err)
	}
	acme := []budget.Scope{{Kind: "tenant", Name: "acme"}}
	for name, tc := range map[string]struct {
		asked budget.Amounts
		fits  bool
	}{"tokens": {budget.Amounts{Tokens: 20}, true}, "requests": {budget.Amounts{Requests: 11}, false}, "money": {budget.Amounts{NanoUSD: 11}, false}} {
		g, err := l.Reserve(t.Context(), budget.Request{ID: name, Scopes: acme, Amounts: tc.asked})
		if (err == nil) != tc.fits || tc.fits && len(g.Left) != 3 {
			t.Errorf("%s: %+v, %v", name, g.Left, err)
		}
	}
}
