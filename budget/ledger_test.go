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
