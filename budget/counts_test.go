package budget

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestALedgerKnowsWhichMetersAreCounted(t *testing.T) {
	ctx := t.Context()
	store := NewMemory(Volatile())
	l, err := Open(ctx, Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	other, err := Open(ctx, Config{Store: store, Caps: []Cap{{For: One(ScopeTool, "mail"), Meter: Custom("emails"), Limit: None, Per: Lifetime()}}})
	if err != nil {
		t.Fatal(err)
	}
	if l.Counts(Custom("emails")) || !other.Counts(Custom("emails")) || other.Counts(MeterToolCalls) {
		t.Error("what others define is known at once, or what it defined itself is not")
	}
	// A request that names no tool hears of the cap.
	if _, err := l.Reserve(ctx, Request{ID: "a", Amounts: Amounts{Tokens: 1}}); err != nil || !l.Counts(Custom("emails")) {
		t.Errorf("not heard of with the next reserve: %v", err)
	}
	run := Scope{Kind: ScopeRun, Name: "r1"}
	if err := l.Define(ctx, "ann", Cap{For: One(ScopeRun, "r1"), Meter: MeterToolCalls, Limit: 5, Per: Lifetime()}); err != nil || !l.Counts(MeterToolCalls) {
		t.Fatalf("a run's own cap is not counted: %v", err)
	}
	if err := l.Forget(ctx, run); err != nil || l.Counts(MeterToolCalls) {
		t.Errorf("a cap that is gone is counted: %v", err)
	}
}

func TestWhatCheckRefusesIsNoCap(t *testing.T) {
	refuse := errors.New("not here")
	check := func(c Cap) error {
		if c.Meter == MeterTokens {
			return refuse
		}
		return nil
	}
	tokens := Cap{For: Account(), Meter: MeterTokens, Limit: 1, Per: Day(nil)}
	if _, err := Open(t.Context(), Config{Store: NewMemory(Volatile()), Check: check, Caps: []Cap{tokens}}); !errors.Is(err, refuse) {
		t.Errorf("Open: %v", err)
	}
	l, err := Open(t.Context(), Config{Store: NewMemory(Volatile()), Check: check})
	if err != nil {
		t.Fatal(err)
	}
	money := tokens
	money.Meter = MeterMoney
	if err := l.Define(t.Context(), "ann", money, tokens); !errors.Is(err, refuse) {
		t.Errorf("Define: %v", err)
	}
	if caps, err := l.Caps(t.Context()); err != nil || len(caps) != 0 {
		t.Errorf("%v, %v", caps, err)
	}
}

// Who asks about tools only when they are counted meets the freeze of a tool.
func TestTheFreezeOfAToolMakesItsCallsCounted(t *testing.T) {
	ctx := context.Background()
	mail := Scope{Kind: ScopeTool, Name: "mail"}
	each := Cap{For: Each(ScopeTool), Meter: MeterToolCalls, Limit: 5, Per: Day(nil)}
	for name, caps := range map[string][]Cap{"nothing counts": nil, "a cap counts": {each}} {
		l, err := Open(ctx, Config{Store: NewMemory(Volatile()), Caps: caps})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Freeze(ctx, mail, "", time.Time{}, "ann"); err != nil || !l.Counts(MeterToolCalls) {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := l.Caps(ctx); err != nil || len(got) != 1 {
			t.Errorf("%s: %d caps, %v", name, len(got), err)
		}
		if _, err := l.Reserve(ctx, Request{ID: "a", Scopes: []Scope{mail}, Amounts: Amounts{ToolCalls: 1}}); !errors.Is(err, ErrFrozen) {
			t.Errorf("%s: %v", name, err)
		}
		if err := l.Unfreeze(ctx, mail, "ann"); err != nil {
			t.Error(err)
		}
		if _, err := l.Reserve(ctx, Request{ID: "b", Scopes: []Scope{mail}, Amounts: Amounts{ToolCalls: 1}}); err != nil {
			t.Errorf("%s, thawed: %v", name, err)
		}
	}
}

func TestATargetCoversTheScopesOfItsKinds(t *testing.T) {
	mail, acme := Scope{ScopeTool, "mail"}, Scope{ScopeTenant, "acme"}
	for text, want := range map[string][2]bool{"tool mail": {true, true}, "tool fax": {false, true}, "each tool and tenant beta": {true, false}, "account": {true, true}} {
		target, err := ParseTarget(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]bool{target.Covers(mail), target.Covers(acme)}; got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func TestOnlyIsTheOneScopeOfATarget(t *testing.T) {
	for text, want := range map[string]Scope{"tool mail": {ScopeTool, "mail"}, "account": {Kind: ScopeAccount}, "each tool": {}, "tool mail and tenant acme": {}} {
		target, err := ParseTarget(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := target.Only(); got != want || ok != (want != Scope{}) {
			t.Errorf("%s: %v, %t", text, got, ok)
		}
	}
}
