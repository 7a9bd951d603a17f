package redisstore

import (
	"math"
	"testing"

	"github.com/gridloop/gridloop/budget"
)

func FuzzAnswersAreReadOrRefused(f *testing.F) {
	key := "money\naccount money lifetime\naccount\n0\n0"
	extra := packed(nil).array(5).array(5).text(key).int(50).int(5).int(9).int(0).array(1).text("id")
	extra = extra.array(2).text("tenant a%20b").text("0\n{\"reason\":\"x\"}\n5").array(7).text(key).text("held").int(9).int(1).int(2).int(8).int(0).array(1).int(3)
	amounts := amountsText(budget.Amounts{NanoUSD: 9}.With("custom:mails", 3))
	good := append(packed{answered}.short(1), 0, 1, 1).double(1_800_000_000_000_000).double(7).flat(amounts).flat("").flat(string(extra))
	good = append(good, "12345678"...).double(1).double(2).double(0).double(0).double(9).double(0)
	f.Add([]byte(good))
	f.Add([]byte(packed(nil).array(4).text("mismatch").int(1).text("id").text("open")))
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, said []byte) {
		a := New(nil).open("a")
		c, err := a.names.read([]byte(key))
		if err != nil {
			t.Fatal(err)
		}
		a.names.is(c, "12345678")
		var ans budget.Answer
		if unmet, err := a.answer("settle", string(said), nil, &ans); err == nil && ans.Stale == "" && said[0] != answered {
			t.Errorf("%x is read as %+v, %q", said, ans, unmet)
		}
	})
}

func TestWhatIsPackedIsUnpacked(t *testing.T) {
	long := string(make([]byte, 70_000))
	p := packed(nil).array(7).int(0).int(127).int(128).int(math.MaxInt64).text("").text("short").text(long)
	u := unpacked{rest: string(p)}
	if n := u.array(); n != 7 {
		t.Fatalf("%d elements", n)
	}
	for _, want := range []int64{0, 127, 128, math.MaxInt64} {
		if got := u.int(); got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
	for _, want := range []string{"", "short", long} {
		if got := u.text(); got != want {
			t.Errorf("%d bytes, want %d", len(got), len(want))
		}
	}
	if u.bad || u.rest != "" {
		t.Errorf("%d bytes too many, bad %v", len(u.rest), u.bad)
	}
	if u.int(); !u.bad {
		t.Error("read past the end")
	}
}

func TestCapsAreTakenApart(t *testing.T) {
	for _, target := range []budget.Target{budget.Account(), budget.Each("tenant"), budget.One("tool", "money"), budget.One("tool", "and"),
		budget.Each("tenant").And(budget.One("instrument", "a b")).And(budget.Each("tag:money"))} {
		c := budget.Cap{For: target, Meter: budget.Custom("mails"), Limit: 1, Per: budget.Month(nil)}
		if meter, window, ok := splitCap(c.ID()); !ok || meter != c.Meter || window != "month UTC" {
			t.Errorf("%q is %q, %q, %v", c.ID(), meter, window, ok)
		}
	}
	for _, text := range []string{"", "account", "tenant", "each tenant", "each tenant and"} {
		if _, _, ok := splitCap(text); ok {
			t.Errorf("%q is no cap", text)
		}
	}
}
