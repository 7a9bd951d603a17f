package redisstore

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// All that a month counts is to be forgotten at the same time. If it is too much, the latest are kept, whatever they are called.
func TestLatestEndedReservationsAreKept(t *testing.T) {
	const keep, calls = 16, 80
	s := New(startServer(t).closing(t), Keep(keep))
	defer s.Close()
	l := openLedger(t, s, budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: 1000, Per: budget.Month(nil)})
	settle := func(i int) (budget.Settlement, error) {
		return l.Settle(t.Context(), fmt.Sprint(1000-i), budget.Amounts{NanoUSD: 1})
	}
	for i := range calls {
		if _, err := l.Reserve(t.Context(), budget.Request{ID: fmt.Sprint(1000 - i), Amounts: budget.Amounts{NanoUSD: 1}}); err != nil {
			t.Fatal(err)
		}
		if _, err := settle(i); err != nil {
			t.Fatal(err)
		}
		s.ahead.Add(int64(2 * time.Second / time.Microsecond))
	}
	for i := calls - keep; i < calls; i++ {
		if again, err := settle(i); err != nil || !again.Duplicate {
			t.Errorf("call %d of %d: %+v, %v", i, calls, again, err)
		}
	}
	if _, err := settle(calls - 2*keep); !errors.Is(err, budget.ErrUnknownReservation) {
		t.Errorf("an old one: %v", err)
	}
}
