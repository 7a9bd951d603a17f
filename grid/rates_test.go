package grid_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
)

func TestRatesAreSharedByAllCalls(t *testing.T) {
	for _, row := range []struct {
		name     string
		rate     grid.Rate
		min, max time.Duration
		most     int
	}{
		{"requests", grid.Rate{Requests: 10}, 8900 * time.Millisecond, 9200 * time.Millisecond, 11},
		{"half a request", grid.Rate{Requests: 0.5}, 198 * time.Second, 199 * time.Second, 1},
		{"concurrency", grid.Rate{Concurrency: 4}, 2500 * time.Millisecond, 2600 * time.Millisecond, 4},
		// A prompt counts about a quarter of its bytes, here 24.
		{"tokens", grid.Rate{Tokens: 100}, 17 * time.Second, 24 * time.Second, 100},
		{"none", grid.Rate{}, 100 * time.Millisecond, 100 * time.Millisecond, 100},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &purse{latency: 100 * time.Millisecond, filled: time.Now()}
				c := p.client(t, func(cfg *grid.Config) { cfg.Rates = map[string]grid.Rate{"agent-prime": row.rate} })
				began := time.Now()
				var mu sync.Mutex
				told := 0
				errs := run(t.Context(), c, 100, 0, func(_ int, r *grid.Request) {
					r.Notify = func(n grid.Notice) {
						mu.Lock()
						defer mu.Unlock()
						if n.Kind == grid.NoticeRateWait {
							told++
						}
					}
				})
				if k, err := failures(errs); k > 0 {
					t.Fatalf("%d failed: %v", k, err)
				}
				if took := time.Since(began); took < row.min || took > row.max || p.most > row.most {
					t.Errorf("it took %v with %d at once, want %v to %v with %d", took, p.most, row.min, row.max, row.most)
				}
				if row.rate != (grid.Rate{}) && told < 80 {
					t.Errorf("told of %d waits", told)
				}
			})
		})
	}
}

func TestTokensOfAnswersCountAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{})
		defer m.Close()
		m.Model(func(gridtest.Turn) gridtest.Reply {
			return gridtest.Reply{Text: "here", PromptTokens: 30, CompletionTokens: 470}
		})
		c, err := grid.New(grid.Config{APIKey: m.Key(), HTTPClient: &http.Client{Transport: m.Transport()},
			Rates: map[string]grid.Rate{"": {Tokens: 100}}})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for range 10 {
			if _, err := c.Chat(t.Context(), ask("hi")); err != nil {
				t.Fatal(err)
			}
		}
		// The last answer is not made up for yet.
		if took := time.Since(began); took < 43*time.Second || took > 46*time.Second {
			t.Errorf("5,000 tokens at 100 a second took %v", took)
		}
	})
}

func TestRateGivesBackWhatACancelledWaitBooked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &purse{filled: time.Now()}
		c := p.client(t, func(cfg *grid.Config) { cfg.Rates = map[string]grid.Rate{"": {Requests: 1, Concurrency: 5}} })
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		k, err := failures(run(ctx, c, 50, 0, nil))
		if k != 49 || !errors.As(err, new(*grid.Error)) {
			t.Fatalf("%d failed: %v", k, err) // nothing begins in the last 2 s
		}
		time.Sleep(time.Second)
		began := time.Now()
		if err := run(t.Context(), c, 1, 0, nil)[0]; err != nil || time.Since(began) > 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestRetryAfterPausesTheInstrumentForEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{})
		defer m.Close()
		m.Model(func(gridtest.Turn) gridtest.Reply { return gridtest.Reply{Text: "here"} })
		m.Fault(gridtest.Fault{Kind: gridtest.Status, Status: 429, RetryAfter: 20 * time.Second})
		c := on(t, m, grid.Retry{})
		began := time.Now()
		if k, err := failures(run(t.Context(), c, 1, 0, nil)); k > 0 {
			t.Fatal(err)
		}
		m.Fault(gridtest.Fault{Kind: gridtest.Status, Status: 429, RetryAfter: 20 * time.Second})
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := run(t.Context(), c, 1, 0, nil)[0]; err != nil {
				t.Error(err)
			}
		})
		time.Sleep(time.Second)
		before := len(m.Requests())
		mid := time.Now()
		wg.Go(func() {
			res, err := c.Chat(t.Context(), ask("while it is paused"))
			if err != nil || res.RateWait < 19*time.Second {
				t.Errorf("%+v, %v", res, err)
			}
			if since := time.Since(mid); since < 19*time.Second || since > 21*time.Second {
				t.Errorf("after %v", since)
			}
		})
		time.Sleep(10 * time.Second)
		if n := len(m.Requests()); n != before {
			t.Errorf("%d requests in a pause", n-before)
		}
		other := ask("elsewhere")
		other.Instrument = "text-prime"
		if _, err := c.Chat(t.Context(), other); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if time.Since(began) > 45*time.Second {
			t.Errorf("after %v", time.Since(began))
		}
	})
}

func TestBrokenInstrumentIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{})
		defer m.Close()
		m.Model(func(gridtest.Turn) gridtest.Reply { return gridtest.Reply{Text: "here"} })
		m.Fault(gridtest.Fault{Kind: gridtest.Status, Status: 500, Times: -1, Instrument: "agent-prime"})
		c := on(t, m, grid.Retry{Max: -1})
		for range 20 {
			_, err := c.Chat(t.Context(), ask("hi"))
			if errors.Is(err, grid.ErrBroken) {
				t.Fatal("too early")
			}
		}
		o := &watch{}
		req := ask("hi")
		req.Observer = o
		_, err := c.Chat(t.Context(), req)
		var e *grid.Error
		if !errors.Is(err, grid.ErrBroken) || !errors.As(err, &e) || e.Class != grid.ClassBroken || e.RetryAfter != 5*time.Second || o.begins != 0 || len(m.Requests()) != 20 {
			t.Errorf("%v, %d requests", err, len(m.Requests()))
		}
		other := ask("hi")
		other.Instrument = "text-prime"
		if _, err := c.Chat(t.Context(), other); err != nil {
			t.Errorf("another instrument: %v", err)
		}
		before := len(m.Requests())
		time.Sleep(5 * time.Second)
		failed, _ := failures(run(t.Context(), c, 30, 0, nil))
		if n := len(m.Requests()) - before; n != 1 || failed != 30 {
			t.Errorf("%d requests tried, %d calls failed", n, failed)
		}
	})
}

func TestRetriesOfAnOutageAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{})
		defer m.Close()
		m.Fault(gridtest.Fault{Kind: gridtest.Status, Status: 500, Times: -1})
		c := on(t, m, grid.Retry{BreakerCalls: -1})
		errs := run(t.Context(), c, 200, 0, nil)
		spent := 0
		for _, err := range errs {
			if errors.Is(err, grid.ErrRetryBudget) {
				spent++
			}
		}
		if n := len(m.Requests()); n > 200+20+10+6 || spent < 170 {
			t.Errorf("%d requests for 200 calls, %d said that the budget is spent", n, spent)
		}
	})
}

func TestWaitersHoldNoReservationAndEndIsToldAtAdmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &purse{latency: 10 * time.Millisecond, thinking: 30 * time.Second, filled: time.Now().Add(10 * time.Second)}
		c := p.client(t)
		run(t.Context(), c, 1, 0, nil) // it runs dry
		var mu sync.Mutex
		open, most := 0, 0
		began := time.Now()
		var ends []time.Duration
		errs := run(t.Context(), c, 20, time.Hour, func(_ int, r *grid.Request) {
			r.Observer = &held{mu: &mu, open: &open, most: &most}
			r.Notify = func(n grid.Notice) {
				mu.Lock()
				defer mu.Unlock()
				switch n.Kind {
				case grid.NoticeTopUpWait:
					if open != 0 && n.Position > 1 || n.Position < 1 || n.Position > 20 || n.Delay <= 0 || n.Estimate <= 0 {
						t.Errorf("%+v with %d open", n, open)
					}
				case grid.NoticeTopUpEnd:
					if n.Class != "" || n.Waited < 9*time.Second {
						t.Errorf("%+v", n)
					}
					ends = append(ends, time.Since(began))
				}
			}
		})
		if k, err := failures(errs); k > 0 {
			t.Fatal(err)
		}
		for _, d := range ends {
			if d > 20*time.Second {
				t.Errorf("the end of the wait was told after %v", d)
			}
		}
		if len(ends) != 20 {
			t.Errorf("%d ends", len(ends))
		}
	})
	t.Run("and a wait for nothing says so", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := (&purse{}).client(t)
			req := ask("hi")
			req.Wait = 10 * time.Second
			var last grid.Notice
			req.Notify = func(n grid.Notice) { last = n }
			_, err := c.Chat(t.Context(), req)
			if !errors.Is(err, grid.ErrDry) || last.Kind != grid.NoticeTopUpEnd || last.Class != grid.ClassTopUp || last.Waited != 10*time.Second {
				t.Errorf("%v, %+v", err, last)
			}
		})
	})
}

// held counts the attempts between Begin and End.
type held struct {
	mu         *sync.Mutex
	open, most *int
}

func (h *held) Begin(ctx context.Context, _ *grid.Attempt) (context.Context, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*h.open++
	*h.most = max(*h.most, *h.open)
	return ctx, nil
}

func (h *held) End(context.Context, *grid.Attempt, grid.Verdict) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*h.open--
}

func TestDoerWaitsInTheSameLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &purse{latency: 10 * time.Millisecond, filled: time.Now().Add(6 * time.Second)}
		c := p.client(t, func(cfg *grid.Config) { cfg.Rates = map[string]grid.Rate{"": {Concurrency: 40}} })
		run(t.Context(), c, 1, 0, nil)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				res, err := c.DoerWith(grid.DoerOptions{Tenant: "old code"}).Do(chatRequest(t, `{"model":"agent-prime","messages":[{"role":"user","content":"hi"}]}`))
				if err != nil || res.StatusCode != http.StatusOK {
					t.Errorf("%v, %v", res, err)
					return
				}
				_ = res.Body.Close()
			})
		}
		wg.Wait()
		if p.requests > 101+5 {
			t.Errorf("%d requests", p.requests)
		}
		dry := &purse{}
		c = dry.client(t)
		res, err := c.DoerWith(grid.DoerOptions{Wait: 5 * time.Second}).Do(chatRequest(t, `{"model":"agent-prime","messages":[]}`))
		if err != nil || res.StatusCode != http.StatusPaymentRequired {
			t.Errorf("%v, %v: want the market's own answer", res, err)
		}
	})
}

func chatRequest(t *testing.T, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://market.test/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}
