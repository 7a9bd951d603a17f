package redisstore

import (
	"math"
	"testing"

	"github.com/gridloop/gridloop/budget"
)

func FuzzAnswersAreReadOrRefused(f *testing.F) {
	key := "money\naccount money lifetime\naccount\n0\n0"
	good := packed(nil).array(14).text("answer").int(1_800_000_000_000_000).int(0).int(1).text("open").text("money=9").text("").int(7)
	good = good.array(7).text(key).int(1).int(2).int(0).int(0).int(9).int(0).array(5).text(key).int(50).int(5).int(9).int(0).array(1).text("id")
	good = good.array(2).text("tenant a%20b").text("0\n{\"reason\":\"x\"}\n5").array(7).text(key).text("held").int(9).int(1).int(2).int(8).int(0).array(1).int(3)
	f.Add([]byte(good))
	f.Add([]byte(packed(nil).array(4).text("mismatch").int(1).text("id").text("open")))
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff})
	s := New(nil)
	f.Fuzz(func(t *testing.T, said []byte) {
		var ans budget.Answer
		err := s.answer(newMemory(), "settle", &unpacked{rest: string(said)}, &ans)
		if err == nil && ans.Stale == "" && said[0] != 0x9e && said[0] != 0xdc && said[0] != 0xdd {
			t.Errorf("%x is read as %+v", said, ans)
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
