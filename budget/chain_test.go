package budget

import (
	"testing"
	"time"
)

// Answers to Caps may overtake each other on the way.
func TestAnOlderAnswerDoesNotUndoANewerOne(t *testing.T) {
	record := func(version, limit int64) CapRecord {
		c := Cap{For: Account(), Meter: MeterMoney, Limit: limit, Per: Lifetime()}
		return CapRecord{Cap: c, Key: c.ID(), Version: version}
	}
	c := newChain()
	c.apply(CapSet{Version: 2, Caps: []CapRecord{record(2, 20)}})
	c.apply(CapSet{Version: 1, Full: true, Caps: []CapRecord{record(1, 10)}})
	if got := c.records(); len(got) != 1 || got[0].Limit != 20 || c.known() != 2 {
		t.Fatalf("version %d, caps %v", c.known(), got)
	}
}

func TestTheClockOfAnAccountNeverRunsBackwards(t *testing.T) {
	m := NewMemory()
	b := m.open("a")
	defer b.mu.Unlock()
	ahead := time.Now().Add(time.Hour).UnixNano()
	b.last = ahead
	if now := b.now(m); now < ahead {
		t.Fatalf("the clock went back by %v", time.Duration(ahead-now))
	}
}

func TestSaturatedCountsStaySaturated(t *testing.T) {
	m := NewMemory(Volatile())
	l, err := Open(t.Context(), Config{Store: m, Caps: []Cap{{For: Account(), Meter: MeterMoney, Limit: 100, Per: Lifetime()}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b"} {
		if _, err := l.Reserve(t.Context(), Request{ID: id, Amounts: Amounts{NanoUSD: 50}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"a", "b"} {
		if _, err := l.Settle(t.Context(), id, Amounts{NanoUSD: Cost(-1, 1)}); err != nil {
			t.Fatal(err)
		}
	}
	// What was lost to saturation is unknown, so giving one back must not make the cap look free.
	if _, err := l.TrueUp(t.Context(), "a", Amounts{}, "receipt"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Reserve(t.Context(), Request{ID: "c", Amounts: Amounts{NanoUSD: 1}}); err == nil {
		t.Fatal("a cap with an immeasurable debt admits")
	}
}
