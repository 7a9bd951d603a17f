package grid_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
)

// The balance runs dry again and again: nobody is lost, whatever the platform does where
// it documents nothing, and few are refused.
func TestRepeatedDroughtsAreSatOutUnderEveryProfile(t *testing.T) {
	const callers = 200
	under(t, gridtest.Config{
		Balance: map[string]int64{"agent-prime": 0}, Latency: 40 * time.Millisecond, TopUp: gridtest.TopUp{Delay: 6 * time.Second, Quantity: 8_000},
	}, func(t *testing.T, m *gridtest.Market, _ gridtest.Profile) {
		m.Model(func(gridtest.Turn) gridtest.Reply {
			return gridtest.Reply{Text: "here", PromptTokens: 50, CompletionTokens: 50}
		})
		c := on(t, m, grid.Retry{})
		run(t.Context(), c, 1, 0, nil)
		errs := run(t.Context(), c, callers, time.Hour, func(i int, r *grid.Request) { r.Tenant = fmt.Sprint(i % 7) })
		if k, err := failures(errs); k > 0 {
			t.Fatalf("%d of %d were lost: %v", k, callers, err)
		}
		// A lot serves eighty, or forty where it must cover the whole of max_tokens.
		if all, refused := firstHops(m); all-refused != callers || refused > 2*64+5*(1+4) {
			t.Errorf("%d requests, %d refused", all, refused)
		}
		if m.Bill("") == 0 {
			t.Error("nothing was billed")
		}
	})
}

// Credits that are empty for two hours cost a probe a minute, and no run that has the time.
func TestNoRunIsLostWithoutCreditsUnderEveryProfile(t *testing.T) {
	instruments := []string{"agent-prime", "text-standard"}
	under(t, gridtest.Config{Latency: 40 * time.Millisecond, Balance: map[string]int64{"agent-prime": 0, "text-standard": 0}}, func(t *testing.T, m *gridtest.Market, _ gridtest.Profile) {
		m.SetCredits(0)
		c := on(t, m, grid.Retry{})
		var refilled time.Time
		time.AfterFunc(2*time.Hour, func() { refilled = time.Now(); m.SetCredits(1e12) })
		var mu sync.Mutex
		told := 0
		errs := run(t.Context(), c, 60, 3*time.Hour, func(i int, r *grid.Request) {
			r.Instrument = instruments[i%2]
			r.Notify = func(n grid.Notice) {
				mu.Lock()
				defer mu.Unlock()
				if n.Kind == grid.NoticeExhausted {
					told++
				}
			}
		})
		if k, err := failures(errs); k > 0 {
			t.Fatalf("%d of 60 were lost: %v", k, err)
		}
		// All sixty ask before anybody knows; then the probes of 90 s, one a minute, and
		// those of the top-up in the end.
		if _, refused := firstHops(m); told != 1 || refused > 60+2*23+120+8 {
			t.Errorf("told %d times, %d refused", told, refused)
		}
		// The first probe of each instrument begins its purchase, the next finds it made; a
		// minute between probes is drawn out by up to a quarter.
		if late := time.Since(refilled); late > 3*75*time.Second+10*time.Second {
			t.Errorf("the last came %v after the refill", late)
		}
	})
}
