package budget

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestTargetsAreReadAsWritten(t *testing.T) {
	for _, test := range []struct {
		text   string
		target Target
	}{
		{"account", Account()},
		{"each tenant", Each("tenant")},
		{"instrument agent-max", One("instrument", "agent-max")},
		{"instrument agent-max and each tenant", Each("tenant").And(One("instrument", "agent-max"))},
		{"each tag:team", Each(Tag("team"))},
		{"tenant a/instrument:x", One("tenant", "a/instrument:x")},
		{"tenant a%20and%20each%20tenant", One("tenant", "a and each tenant")},
		{"tenant 50%25", One("tenant", "50%")},
		{"tenant %C3%A4%0A", One("tenant", "ä\n")},
		{"tenant each", One("tenant", "each")},
	} {
		t.Run(test.text, func(t *testing.T) {
			got, err := ParseTarget(test.text)
			if err != nil || got.String() != test.text || test.target.String() != test.text {
				t.Fatalf("read as %q, %v; in Go %q", got, err, test.target)
			}
			if err := test.target.Validate(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestImpossibleTargetsAreRefused(t *testing.T) {
	for text, hint := range map[string]string{
		"": "nobody", "tenant": "stops short", "each": "stops short", "each galaxy": "no kind", "galaxy x": "no kind", "each tenant or each user": "not understood",
		"each tenant and": "not understood", "each tenant and each tenant": "twice", "account and each tenant": "everything", "each account": "everything",
		"tenant a b": "not understood", "tenant 100%": "escape", "tenant %zz": "escape", "each tag:": "no kind", "each tag:Team": "no kind",
		"each tenant and each user and each run and each tool": "at most 3", "tenant " + strings.Repeat("x", 600): "600 bytes",
	} {
		_, err := ParseTarget(text)
		var fe *FieldError
		if !errors.As(err, &fe) || !strings.Contains(err.Error(), hint) {
			t.Errorf("%q: %v, want a hint at %q", clip(text), err, hint)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"account", "each tenant", "instrument agent-max and tenant a%20b", "tag:x y", "tenant %"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, err := ParseTarget(s)
		if err != nil {
			return
		}
		again, err := ParseTarget(target.String())
		if err != nil || again.String() != target.String() || len(again.conditions) != len(target.conditions) {
			t.Fatalf("%q is %q, which is read as %q, %v", s, target, again, err)
		}
	})
}

func FuzzScopesAreDistinct(f *testing.F) {
	f.Add("tenant", "a", "tenant", "a%20")
	f.Add("tenant", "a", "user", "a")
	f.Fuzz(func(t *testing.T, kind1, name1, kind2, name2 string) {
		a, b := Scope{kind1, name1}, Scope{kind2, name2}
		if a.Validate() != nil || b.Validate() != nil {
			return
		}
		if (a == b) != (a.String() == b.String()) {
			t.Fatalf("%+v and %+v are written %q and %q", a, b, a, b)
		}
		if strings.Count(a.String(), " ") > 1 || strings.ContainsAny(a.String(), "\n\r\t\x1b") {
			t.Fatalf("%q is more than two words", a)
		}
	})
}

func TestCapsSayEverythingThatIsWrong(t *testing.T) {
	err := Cap{For: Each("galaxy"), Meter: "mony", Limit: -5, Soft: []int{0, 50, 50, 101}}.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"For: ", `"galaxy" is no kind`, "Meter: ", `"mony" is no meter`, "Limit: -5 is negative", "Per: the window is missing", "Soft: 0 is", "Soft: 101 is", "Soft: 50 stands twice"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		if !strings.HasPrefix(line, "budget: ") {
			t.Errorf("line %q does not say whose error it is", line)
		}
	}
}

func TestLimitsThatCannotBeAreRefused(t *testing.T) {
	for _, test := range []struct {
		name  string
		limit int64
		hint  string
	}{
		{"zero", 0, "budget.None"},
		{"negative", -1, "budget.None"},
		{"lowest", math.MinInt64, "budget.None"},
		{"overflowing", math.MaxInt64 - 1, "overflows"},
		{"one", 1, ""},
		{"largest", maxLimit, ""},
		{"none", None, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := Cap{For: Account(), Meter: MeterTokens, Limit: test.limit, Per: Lifetime()}.Validate()
			if (err == nil) != (test.hint == "") || err != nil && !strings.Contains(err.Error(), test.hint) {
				t.Fatalf("%d: %v", test.limit, err)
			}
		})
	}
}

func TestTheIDIsTargetMeterAndWindow(t *testing.T) {
	c := Cap{For: Each("tenant"), Meter: MeterMoney, Limit: 5, Per: Day(zone(t, "Europe/Berlin")), Soft: []int{1}}
	if c.ID() != "each tenant money day Europe/Berlin" {
		t.Fatalf("ID %q", c.ID())
	}
	d := c
	d.Limit, d.Soft = 6, nil
	if c.ID() != d.ID() {
		t.Fatal("the limit is part of the ID")
	}
	d.For = One("tenant", "tenant money day Europe/Berlin")
	if c.ID() == d.ID() {
		t.Fatal("a name makes another cap's ID")
	}
}

func TestMetersOfOnesOwnAreWrittenCustom(t *testing.T) {
	for m, ok := range map[Meter]bool{MeterMoney: true, MeterTokens: true, MeterRequests: true, MeterToolCalls: true, Custom("gpu_seconds"): true,
		"gpu_seconds": false, "Money": false, "": false, Custom(""): false, Custom("A"): false, Custom("a b"): false} {
		if (m.Validate() == nil) != ok {
			t.Errorf("%q: %v", m, m.Validate())
		}
	}
}

func TestAmountsAddAndCompare(t *testing.T) {
	mails := Custom("mails")
	a := Amounts{NanoUSD: 1, Tokens: 2}.With(mails, 3)
	b := a.With(mails, 4)
	if a.Get(mails) != 3 || b.Get(mails) != 4 || a.Equal(b) {
		t.Fatalf("a %v, b %v: they share a map", a, b)
	}
	if sum := a.Add(b); !sum.Equal(Amounts{NanoUSD: 2, Tokens: 4}.With(mails, 7)) || a.Get(mails) != 3 {
		t.Fatalf("sum %v of %v", sum, a)
	}
	if sum := (Amounts{Tokens: math.MaxInt64}).Add(a); sum.Tokens != math.MaxInt64 {
		t.Fatalf("sum %v wrapped", sum)
	}
	if !(Amounts{}.With(mails, 0)).IsZero() || !a.Equal(a.With(Custom("other"), 0)) {
		t.Fatal("a meter of 0 is not the same as none")
	}
	if s := (Amounts{NanoUSD: 13_200_000, Tokens: 900, ToolCalls: 1}).With(mails, 2).String(); s != "$0.0132, 900 tokens, 1 tool calls, 2 mails" {
		t.Fatalf("written %q", s)
	}
	if s := (Amounts{}).String(); s != "nothing" {
		t.Fatalf("nothing is written %q", s)
	}
	err := Amounts{NanoUSD: -1, Custom: map[Meter]int64{"money": 1, mails: -2}}.Validate()
	for _, want := range []string{"Amounts.NanoUSD: -1", `"money" is no meter of your own`, "-2 is negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
