package grid_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid"
)

// purse is a market of one account whose balances a test fills and empties. It answers
// hop 1 with the redirect, and counts.
type purse struct {
	mu       sync.Mutex
	tokens   map[string]int // requests that an instrument still serves; -1 is no end
	filled   time.Time      // from when on every instrument serves, if set
	text     string         // of a 402
	latency  time.Duration  // of hop 1
	back     time.Duration  // how much of it is the way back, behind the decision
	thinking time.Duration  // of hop 2

	requests, refused int
	probes            []time.Time // of refused requests
	admitted          []string    // the texts asked, in order
	underWay, most    int         // first hops without an answer
	alone             int         // of the refused: with no other under way
	caught            int         // first hops without an answer when tokens ran out
	times             []time.Time // of admissions
}

func (p *purse) RoundTrip(r *http.Request) (*http.Response, error) {
	b, _ := io.ReadAll(r.Body)
	ctx := r.Context()
	if strings.HasPrefix(r.URL.Path, "/r/") {
		if err := rest(ctx, p.thinking); err != nil {
			return nil, err
		}
		return (&served{status: 200, body: []byte(answerJSON)}).RoundTrip(r)
	}
	p.mu.Lock()
	p.requests++
	p.underWay++
	p.most = max(p.most, p.underWay)
	latency, back, alone := p.latency, p.back, p.underWay == 1
	p.mu.Unlock()
	defer func() {
		_ = rest(ctx, back)
		p.mu.Lock()
		p.underWay--
		p.mu.Unlock()
	}()
	if err := rest(ctx, latency-back); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, rest, _ := strings.Cut(string(b), `"model":"`)
	instrument, rest, _ := strings.Cut(rest, `"`)
	_, rest, _ = strings.Cut(rest, `"content":"`)
	text, _, _ := strings.Cut(rest, `"`)
	full := !p.filled.IsZero() && !time.Now().Before(p.filled)
	if n := p.tokens[instrument]; !full && n == 0 {
		p.refused++
		if alone {
			p.alone++
		}
		p.probes = append(p.probes, time.Now())
		text := p.text
		if text == "" {
			text = "Insufficient USD balance, or no token capacity available for this instrument"
		}
		return (&served{status: 402, body: []byte(`{"errors":{"detail":"` + text + `"}}`)}).RoundTrip(r)
	} else if n > 0 && !full {
		if p.tokens[instrument]--; p.tokens[instrument] == 0 {
			p.caught += p.underWay - 1
		}
	}
	p.admitted = append(p.admitted, text)
	p.times = append(p.times, time.Now())
	return (&served{status: 307, header: http.Header{"Location": {"/r/v1/chat/completions?token=sesame-open"}}}).RoundTrip(r)
}

func rest(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *purse) client(t testing.TB, change ...func(*grid.Config)) *grid.Client {
	return client(t, "https://market.test", func(cfg *grid.Config) {
		cfg.HTTPClient = &http.Client{Transport: p}
		for _, f := range change {
			f(cfg)
		}
	})
}

// run asks n times at once, each call with its own number as text.
func run(ctx context.Context, c *grid.Client, n int, wait time.Duration, change func(int, *grid.Request)) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			req := ask(fmt.Sprint(i))
			req.Wait = wait
			if change != nil {
				change(i, req)
			}
			_, errs[i] = c.Chat(ctx, req)
		})
	}
	wg.Wait()
	return errs
}

func failures(errs []error) (n int, first error) {
	for _, err := range errs {
		if err != nil {
			if n == 0 {
				first = err
			}
			n++
		}
	}
	return n, first
}

func TestTopUpLetsEverybodyThroughWithOneProber(t *testing.T) {
	for _, n := range []int{1, 1000, 10000} {
		if grid.Raced && n > 1000 {
			continue
		}
		for _, topUp := range []time.Duration{500 * time.Millisecond, 6 * time.Second, 25 * time.Second, 120 * time.Second} {
			t.Run(fmt.Sprintf("%d callers, %v", n, topUp), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := &purse{latency: 10 * time.Millisecond, thinking: 40 * time.Millisecond, filled: time.Now().Add(topUp)}
					c := p.client(t)
					began := time.Now()
					const inFlight = 27
					var errs []error
					var wg sync.WaitGroup
					wg.Go(func() { errs = run(t.Context(), c, min(n, inFlight), 10*time.Minute, nil) })
					time.Sleep(11 * time.Millisecond) // those that are asked before anybody knows
					errs2 := run(t.Context(), c, n-min(n, inFlight), 10*time.Minute, nil)
					wg.Wait()
					if k, err := failures(append(errs, errs2...)); k > 0 {
						t.Fatalf("%d failed: %v", k, err)
					}
					took := time.Since(began)
					probes := len(p.probes) - min(n, inFlight)
					if limit := n + min(n, inFlight) + max(probes, 0); p.requests > limit {
						t.Errorf("%d requests, want at most %d", p.requests, limit)
					}
					// After doubt has come the delay doubles, from 4 to at most 60 s.
					if limit := topUp + min(max(5*time.Second, topUp/2), time.Minute) + 3*time.Second; took > limit {
						t.Errorf("it took %v, want at most %v", took, limit)
					}
					if probes > 30 {
						t.Errorf("%d probes", probes)
					}
					t.Logf("%d requests, %d refused, %v", p.requests, p.refused, took)
				})
			})
		}
	}
}

func TestReleaseIsStaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &purse{latency: 10 * time.Millisecond, thinking: 30 * time.Second, filled: time.Now().Add(6 * time.Second)}
		c := p.client(t)
		errs := run(t.Context(), c, 1, 0, nil) // it runs dry
		if !errors.Is(errs[0], grid.ErrDry) {
			t.Fatal(errs[0])
		}
		p.most = 0
		if k, err := failures(run(t.Context(), c, 255, time.Hour, nil)); k > 0 {
			t.Fatal(k, err)
		}
		if took := p.times[len(p.times)-1].Sub(p.times[0]); took > time.Second {
			t.Errorf("the release took %v", took)
		}
		var stages []int
		for i, at := range p.times {
			if i == 0 || at.Sub(p.times[i-1]) > 5*time.Millisecond {
				stages = append(stages, 0)
			}
			stages[len(stages)-1]++
		}
		// That each answer takes 30 s must not matter: admission counts.
		if want := []int{1, 2, 4, 8, 16, 32, 64, 128}; !slices.Equal(stages, want) {
			t.Errorf("released %v, want %v", stages, want)
		}
	})
}

func TestLineIsServedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &purse{latency: 10 * time.Millisecond, filled: time.Now().Add(6 * time.Second)}
		c := p.client(t)
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				req := ask(fmt.Sprint(i))
				req.Wait = time.Hour
				if _, err := c.Chat(t.Context(), req); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(15 * time.Millisecond)
		}
		wg.Wait()
		rank := 0
		for i, text := range p.admitted {
			var n int
			_, _ = fmt.Sscan(text, &n)
			// Those of one stage go out together.
			if d := n - i; d > 64 || d < -64 || i < 3 && n > 3 {
				t.Errorf("number %d was served as %d", n, i)
			}
			rank += n
		}
		if rank != 99*100/2 {
			t.Errorf("served %v", p.admitted)
		}
	})
}

// The 50 are out within the first 101 that are let in. Those of one stage go together:
// where one stage is one call, the order at the socket is that of the release.
func TestOneTenantDoesNotKeepOutTheOthers(t *testing.T) {
	large := 5000
	if grid.Raced {
		large = 1000
	}
	for _, row := range []struct {
		name   string
		tenant func(i int) string
		most   int // in a stage
		last   int
	}{
		{"50 runs of one other tenant", func(int) string { return "small" }, 1, 101},
		{"50 tenants with one run", func(i int) string { return fmt.Sprint("small-", i) }, 1, 52},
		{"50 runs of one other tenant in stages", func(int) string { return "small" }, 0, 127},
		{"50 tenants with one run in stages", func(i int) string { return fmt.Sprint("small-", i) }, 0, 63},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &purse{latency: 10 * time.Millisecond, filled: time.Now().Add(6 * time.Second)}
				c := p.client(t, func(cfg *grid.Config) { cfg.Retry.ReleaseMax = row.most })
				var wg sync.WaitGroup
				wg.Go(func() {
					run(t.Context(), c, large, time.Hour, func(_ int, r *grid.Request) { r.Tenant = "large" })
				})
				time.Sleep(time.Second)
				wg.Go(func() {
					run(t.Context(), c, 50, time.Hour, func(i int, r *grid.Request) {
						r.Tenant = row.tenant(i)
						r.Messages = []grid.Message{grid.UserMessage(fmt.Sprint("small ", i))}
					})
				})
				wg.Wait()
				small, last := 0, 0
				for i, text := range p.admitted {
					if strings.HasPrefix(text, "small") {
						small, last = small+1, i+1
					}
				}
				if small != 50 || last > row.last || len(p.admitted) != large+50 {
					t.Errorf("%d of 50, the last as number %d of %d", small, last, len(p.admitted))
				}
				t.Logf("the last as number %d", last)
			})
		})
	}
}

func TestCreditsThatAreUsedUpAreProbedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &purse{latency: 10 * time.Millisecond, text: "Credits exhausted.", filled: time.Now().Add(2 * time.Hour)}
		c := p.client(t)
		var mu sync.Mutex
		told := 0
		instruments := []string{"agent-prime", "text-prime", "code-max"}
		first, _ := failures(run(t.Context(), c, 3, 0, func(i int, r *grid.Request) { r.Instrument = instruments[i] }))
		if first != 3 {
			t.Fatalf("%d failed", first)
		}
		errs := run(t.Context(), c, 900, 3*time.Hour, func(i int, r *grid.Request) {
			r.Instrument = instruments[i%3]
			r.Notify = func(n grid.Notice) {
				if n.Kind == grid.NoticeExhausted {
					mu.Lock()
					defer mu.Unlock()
					told++
				}
			}
		})
		if k, err := failures(errs); k > 0 {
			t.Fatalf("%d of 900 were lost: %v", k, err)
		}
		if told != 1 {
			t.Errorf("told %d times", told)
		}
		for i := 3; i < len(p.probes); i++ {
			if i > 3 && p.probes[i].Sub(p.probes[i-1]) < time.Minute {
				t.Errorf("probes %v apart", p.probes[i].Sub(p.probes[i-1]))
			}
		}
		if len(p.probes) < 90 || len(p.probes) > 123 || p.requests > 903+len(p.probes) {
			t.Errorf("%d probes, %d requests", len(p.probes), p.requests)
		}
		last := p.times[len(p.times)-1].Sub(p.times[0])
		if p.most > 3*256 || last > 10*time.Second {
			t.Errorf("%d at once, all within %v", p.most, last)
		}
		t.Logf("%d probes in two hours, then all within %v, at most %d at once", len(p.probes), last, p.most)
	})
}

func TestCallersWithoutTimeAreToldThatCreditsAreUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &purse{text: "Credits exhausted."}
		c := p.client(t)
		errs := run(t.Context(), c, 20, 30*time.Second, nil)
		for _, err := range errs {
			if !errors.Is(err, grid.ErrDry) || !errors.Is(err, grid.ErrCreditsExhausted) {
				t.Errorf("%v", err)
			}
		}
		// Another instrument is on the same account.
		err := run(t.Context(), c, 1, 0, func(_ int, r *grid.Request) { r.Instrument = "text-max" })[0]
		later, ok := errors.AsType[*grid.TryLaterError](err)
		if !ok || !errors.Is(err, grid.ErrCreditsExhausted) || later.After < 20*time.Second || p.requests > 20 {
			t.Errorf("%v, %d requests", err, p.requests)
		}
	})
}

func TestLeavingProberPassesTheBatonOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &purse{latency: 100 * time.Millisecond, filled: time.Now().Add(6 * time.Second)}
		c := p.client(t, func(cfg *grid.Config) { cfg.Rand = func() float64 { return 0 } })
		ctx, cancel := context.WithCancel(t.Context())
		var errs []error
		var wg sync.WaitGroup
		wg.Go(func() { errs = run(ctx, c, 1, time.Hour, nil) })
		time.Sleep(time.Second)
		var rest []error
		wg.Go(func() { rest = run(t.Context(), c, 50, time.Hour, nil) })
		time.Sleep(250 * time.Millisecond) // its probe is on the wire
		p.mu.Lock()
		if p.underWay != 1 {
			t.Errorf("%d on the wire", p.underWay)
		}
		p.mu.Unlock()
		cancel()
		wg.Wait()
		if !errors.Is(errs[0], context.Canceled) {
			t.Error(errs[0])
		}
		if k, err := failures(rest); k > 0 {
			t.Errorf("%d lost: %v", k, err)
		}
		if len(p.probes) < 2 || p.probes[1].Sub(p.probes[0]) > 2500*time.Millisecond {
			t.Errorf("after the one that left the next asked late: %v", p.probes)
		}
		if p.requests > 50+1+len(p.probes)+1 {
			t.Errorf("%d requests, %d refused", p.requests, p.refused)
		}
	})
}

func TestLeavingHeadOfTheLinePassesTheBatonOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &purse{latency: 10 * time.Millisecond, filled: time.Now().Add(6 * time.Second)}
		c := p.client(t)
		run(t.Context(), c, 1, 0, nil)
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { run(ctx, c, 10, time.Hour, nil) })
		time.Sleep(time.Millisecond)
		wg.Go(func() {
			if k, err := failures(run(t.Context(), c, 50, time.Hour, nil)); k > 0 {
				t.Errorf("%d lost: %v", k, err)
			}
		})
		time.Sleep(500 * time.Millisecond) // nobody is asking
		cancel()
		wg.Wait()
		if took := time.Since(began); took > 12*time.Second || p.requests > 60 {
			t.Errorf("%d requests, after %v", p.requests, took)
		}
	})
}

func TestProbeWithoutAnAnswerHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &purse{latency: 10 * time.Millisecond}
		c := p.client(t, func(cfg *grid.Config) { cfg.Rand = func() float64 { return 0 } })
		run(t.Context(), c, 1, 0, nil)
		p.latency, p.filled = 10*time.Minute, time.Now()
		var wg sync.WaitGroup
		began := time.Now()
		wg.Go(func() { run(t.Context(), c, 1, time.Hour, nil) })
		time.Sleep(time.Second)
		wg.Go(func() {
			if k, err := failures(run(t.Context(), c, 50, time.Hour, nil)); k > 0 {
				t.Errorf("%d lost: %v", k, err)
			}
			if took := time.Since(began); took > time.Minute {
				t.Errorf("they waited %v for one that got no answer", took)
			}
		})
		time.Sleep(time.Second)
		p.mu.Lock()
		p.latency = 10 * time.Millisecond // for all that follow
		p.mu.Unlock()
		wg.Wait()
	})
}

func TestRefusedAndPanickingProbersPassTheBatonOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &purse{latency: 10 * time.Millisecond, filled: time.Now().Add(6 * time.Second)}
		c := p.client(t, func(cfg *grid.Config) { cfg.Rand = func() float64 { return 0 } })
		dry := run(t.Context(), c, 1, 0, nil)
		if !errors.Is(dry[0], grid.ErrDry) {
			t.Fatal(dry)
		}
		began := time.Now()
		errs := run(t.Context(), c, 60, time.Hour, func(i int, r *grid.Request) {
			o := &watch{}
			r.Observer = o
			switch i % 3 {
			case 0:
				o.begin = func(*grid.Attempt) error { return errors.New("no money") }
			case 1:
				o.begin = func(*grid.Attempt) error { panic("at the disco") }
			}
		})
		k, _ := failures(errs)
		if k != 40 || time.Since(began) > 8*time.Second {
			t.Errorf("%d failed in %v", k, time.Since(began))
		}
	})
}

// Each top-up serves some of those that wait, then the balance is dry again. What is
// sent in vain was under way at such a moment, or asked alone; but for one, where the
// first lot, whose size nobody knows, serves the probe and not the stage of two behind it.
func TestTokensForSomeOnly(t *testing.T) {
	for _, row := range []struct{ lot, callers, most int }{
		{1, 100, 2 * 100}, {5, 300, 2 * 60}, {50, 1000, 2*20 + 20}, {300, 1000, 3*3 + 256}, {700, 2000, 3*3 + 256},
	} {
		for _, back := range []time.Duration{time.Millisecond, 40 * time.Millisecond} {
			t.Run(fmt.Sprintf("lots for %d, %v on the way back", row.lot, back), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := &purse{latency: 50 * time.Millisecond, back: back, tokens: map[string]int{}}
					c := p.client(t)
					lots := 0
					done := make(chan struct{})
					var buys sync.WaitGroup
					buys.Go(func() {
						for {
							select {
							case <-done:
								return
							case <-time.After(6 * time.Second):
							}
							p.mu.Lock()
							if p.tokens["agent-prime"] == 0 {
								lots++
								p.tokens["agent-prime"] = row.lot
							}
							p.mu.Unlock()
						}
					})
					if first := run(t.Context(), c, 1, 0, nil)[0]; !errors.Is(first, grid.ErrDry) {
						t.Error(first)
					}
					if k, err := failures(run(t.Context(), c, row.callers, 3*time.Hour, nil)); k > 0 {
						t.Errorf("%d lost: %v", k, err)
					}
					close(done)
					buys.Wait()
					if p.requests > row.callers+p.caught+p.alone+1 {
						t.Errorf("%d requests for %d callers, %d under way at dry moments, %d alone", p.requests, row.callers, p.caught, p.alone)
					}
					// Waiting for a top-up of 6 s takes three or four probes.
					if vain := p.refused - 1 - 4*lots; vain > row.most {
						t.Errorf("%d beside the probes were refused, want at most %d", vain, row.most)
					}
					t.Logf("%d lots, %d requests, %d refused: %d under way at dry moments, %d alone", lots, p.requests, p.refused, p.caught, p.alone)
				})
			})
		}
	}
}

func TestWaitOfNothingIsSpreadByPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &purse{latency: 10 * time.Millisecond, filled: time.Now().Add(10 * time.Second)}
		c := p.client(t)
		left := 300
		var mu sync.Mutex
		for i := range left {
			go func() {
				for {
					_, err := c.Chat(t.Context(), ask(fmt.Sprint(i)))
					if err == nil {
						break
					}
					later, ok := errors.AsType[*grid.TryLaterError](err)
					if !ok || later.After <= 0 {
						t.Errorf("%v", err)
						break
					}
					time.Sleep(later.After)
				}
				mu.Lock()
				defer mu.Unlock()
				left--
			}()
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(20 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if left != 0 || p.requests > 300+1+10 || p.most > 80 {
			t.Errorf("%d left, %d requests, %d at once", left, p.requests, p.most)
		}
	})
}

func TestReplicasProbeEachForThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &purse{latency: 10 * time.Millisecond, filled: time.Now().Add(25 * time.Second)}
		var wg sync.WaitGroup
		for range 3 {
			c := p.client(t)
			wg.Go(func() {
				wg.Go(func() { _, _ = failures(run(t.Context(), c, 1, time.Hour, nil)) })
				time.Sleep(20 * time.Millisecond)
				if k, err := failures(run(t.Context(), c, 999, time.Hour, nil)); k > 0 {
					t.Errorf("%d lost: %v", k, err)
				}
			})
		}
		wg.Wait()
		if p.requests > 3000+3*30 {
			t.Errorf("%d requests", p.requests)
		}
	})
}

func TestAdvancedFundingSaysSoAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &purse{}
		c := p.client(t, func(cfg *grid.Config) { cfg.Funding = grid.FundingAdvanced })
		began := time.Now()
		for _, err := range run(t.Context(), c, 10, time.Hour, nil) {
			if !errors.Is(err, grid.ErrInstrumentDry) || !errors.Is(err, grid.ErrDry) {
				t.Errorf("%v", err)
			}
		}
		if time.Since(began) != 0 {
			t.Errorf("after %v", time.Since(began))
		}
	})
}

func TestOneCallBuysForAll(t *testing.T) {
	for _, broke := range []bool{false, true} {
		t.Run(fmt.Sprint("broke ", broke), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &purse{latency: 10 * time.Millisecond, tokens: map[string]int{}}
				bought := 0
				c := p.client(t, func(cfg *grid.Config) {
					cfg.Funding = grid.FundingAdvanced
					cfg.OnDry = func(_ context.Context, instrument string) error {
						time.Sleep(30 * time.Second) // longer than Retry.Patience
						bought++
						if broke {
							return errors.New("the card was declined")
						}
						p.mu.Lock()
						defer p.mu.Unlock()
						p.tokens[instrument] = -1
						return nil
					}
				})
				errs := run(t.Context(), c, 200, time.Hour, nil)
				k, err := failures(errs)
				if broke {
					if k != 200 || !errors.Is(err, grid.ErrInstrumentDry) || !strings.Contains(err.Error(), "declined") {
						t.Errorf("%d failed: %v", k, err)
					}
				} else if k != 0 {
					t.Errorf("%d failed: %v", k, err)
				}
				if bought != 1 {
					t.Errorf("bought %d times", bought)
				}
			})
		})
	}
}

func TestBalanceTellsWhatA402Means(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &purse{}
		c := p.client(t, func(cfg *grid.Config) {
			cfg.Balance = func(context.Context, string) (int64, int64, error) { return 0, 0, nil }
		})
		if err := run(t.Context(), c, 1, time.Second, nil)[0]; !errors.Is(err, grid.ErrCreditsExhausted) {
			t.Errorf("%v", err)
		}
	})
}

func TestWordsOfARefusalCanBeSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &purse{text: "Geldbeutel leer"}
		c := p.client(t, func(cfg *grid.Config) {
			cfg.DryTexts = []grid.DryText{{Contains: "geldbeutel LEER", Class: grid.ClassExhausted}}
		})
		if err := run(t.Context(), c, 1, time.Second, nil)[0]; !errors.Is(err, grid.ErrCreditsExhausted) {
			t.Errorf("%v", err)
		}
	})
}

func TestLongSilenceOfA402IsTakenForUsedUpCredits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &purse{filled: time.Now().Add(2 * time.Hour), latency: 10 * time.Millisecond}
		c := p.client(t)
		if k, err := failures(run(t.Context(), c, 100, 3*time.Hour, nil)); k > 0 {
			t.Errorf("%d lost: %v", k, err)
		}
		if probes := len(p.probes) - 100; probes > 23+6+120 {
			t.Errorf("%d probes", probes)
		}
	})
}
