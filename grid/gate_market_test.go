package grid_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
)

// firstHops counts the requests at the market's own host, those that it refused for
// want of a balance, and the most of these that came within the time of one purchase.
func firstHops(m *gridtest.Market) (all, refused int) {
	for _, r := range m.Requests() {
		if r.Hop == 1 {
			all++
			if r.Status == http.StatusPaymentRequired || r.Status == http.StatusServiceUnavailable {
				refused++
			}
		}
	}
	return all, refused
}

func TestThousandRunsSitOutATopUpOfTheMarket(t *testing.T) {
	for _, dry := range []gridtest.Dry{gridtest.Dry402Then503, gridtest.Dry402, gridtest.Dry503} {
		for _, redirect := range []gridtest.Redirect{gridtest.SameHost, gridtest.OtherHost} {
			if grid.Raced && redirect == gridtest.OtherHost && dry != gridtest.Dry402 {
				continue
			}
			t.Run(fmt.Sprint("dry reading ", dry, ", redirect ", redirect), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := gridtest.New(gridtest.Config{
						Dry: dry, Redirect: redirect, Balance: map[string]int64{"agent-prime": 0}, Latency: 40 * time.Millisecond,
						TopUp: gridtest.TopUp{Delay: 6 * time.Second, Quantity: 40_000}, // it runs dry again and again
					})
					defer m.Close()
					m.Model(func(gridtest.Turn) gridtest.Reply {
						return gridtest.Reply{Text: "here", PromptTokens: 50, CompletionTokens: 50}
					})
					c := on(t, m, grid.Retry{})
					run(t.Context(), c, 1, 0, nil)
					errs := run(t.Context(), c, 1000, time.Hour, func(i int, r *grid.Request) { r.Tenant = fmt.Sprint(i % 7) })
					if k, err := failures(errs); k > 0 {
						t.Fatalf("%d of 1,000 were lost: %v", k, err)
					}
					all, refused := firstHops(m)
					// Two or three purchases. Nobody knows the size of the first: what is under
					// way when it is used up is refused, and where all answers come in one
					// moment, those that follow before one says so. Behind the others one asks
					// alone. Then come the probes.
					if all-refused != 1000 || refused > 2*256+3*(1+4) {
						t.Errorf("%d requests, %d refused", all, refused)
					}
					t.Logf("%d requests, %d refused", all, refused)
				})
			})
		}
	}
}

func TestNoRunIsLostWhileTheMarketsCreditsAreEmptyForTwoHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{Latency: 40 * time.Millisecond})
		defer m.Close()
		m.Model(func(gridtest.Turn) gridtest.Reply { return gridtest.Reply{Text: "here"} })
		m.Fault(gridtest.Fault{Kind: gridtest.CreditsEmpty})
		c := on(t, m, grid.Retry{})
		var mu sync.Mutex
		told := 0
		instruments := []string{"agent-prime", "text-standard"}
		var refilled time.Time
		time.AfterFunc(2*time.Hour, func() { refilled = time.Now(); m.SetCredits(1e12) })
		run(t.Context(), c, 2, 0, func(i int, r *grid.Request) { r.Instrument = instruments[i] })
		errs := run(t.Context(), c, 600, 3*time.Hour, func(i int, r *grid.Request) {
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
			t.Fatalf("%d of 600 were lost: %v", k, err)
		}
		_, refused := firstHops(m)
		// The words do not say that credits are used up: that is known after 90 s.
		if told != 1 || refused > 2*23+8+120 {
			t.Errorf("told %d times, %d refused", told, refused)
		}
		if late := time.Since(refilled); late > 90*time.Second {
			t.Errorf("the last came %v after the refill", late)
		}
		second, most := map[int64]int{}, 0
		for _, r := range m.Requests() {
			if r.Hop == 1 {
				at := r.Time.UnixMilli() / 10
				second[at]++
				most = max(most, second[at])
			}
		}
		t.Logf("%d refused, at most %d requests within 10 ms", refused, most)
	})
}
