package grid_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
)

// With Auto Top Up on a 402 is a top-up that has begun: nobody looks for credits until
// it has taken too long. Where that is not known, a look at the balance says so at once.
func TestAutoFundingTrustsA402UntilItTakesTooLong(t *testing.T) {
	for _, row := range []struct {
		name    string
		funding grid.Funding
		credits int64
		told    time.Duration // when the credits are known to be used up; 0 is never
		looks   [2]int        // at the balance, at least and at most
	}{
		{"unknown, no credits", grid.FundingUnknown, 0, 0, [2]int{1, 80}},
		{"auto, no credits", grid.FundingAuto, 0, 90 * time.Second, [2]int{1, 3}},
		{"unknown, credits", grid.FundingUnknown, 1e9, -1, [2]int{20, 80}},
		{"auto, credits", grid.FundingAuto, 1e9, -1, [2]int{1, 20}},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &purse{latency: 10 * time.Millisecond}
				looks := 0
				c := p.client(t, func(cfg *grid.Config) {
					cfg.Funding = row.funding
					cfg.Balance = func(context.Context, string) (int64, int64, error) { looks++; return 0, row.credits, nil }
				})
				began := time.Now()
				told := time.Duration(-1)
				req := ask("hi")
				req.Wait = 4 * time.Minute
				req.Notify = func(n grid.Notice) {
					if n.Kind == grid.NoticeExhausted {
						told = time.Since(began)
					}
				}
				_, err := c.Chat(t.Context(), req)
				if !errors.Is(err, grid.ErrDry) || errors.Is(err, grid.ErrCreditsExhausted) != (row.told >= 0) {
					t.Errorf("%v", err)
				}
				if row.told < 0 && told >= 0 || row.told >= 0 && (told < row.told || told > row.told+5*time.Second) {
					t.Errorf("told after %v, want %v", told, row.told)
				}
				if looks < row.looks[0] || looks > row.looks[1] {
					t.Errorf("%d looks at the balance, want %v", looks, row.looks)
				}
			})
		})
	}
}

// The platform documents 503 as the replenishment of an account whose Auto Top Up is on.
func TestAutoFundingTakesA503ForATopUp(t *testing.T) {
	for _, row := range []struct {
		funding grid.Funding
		body    string
		class   grid.Class
	}{
		{grid.FundingAuto, `{"errors":{"detail":"Please hold the line"}}`, grid.ClassTopUp},
		{grid.FundingAuto, "<html>a proxy is busy</html>", grid.ClassOverloaded},
		{grid.FundingUnknown, `{"errors":{"detail":"Please hold the line"}}`, grid.ClassOverloaded},
	} {
		c := client(t, "https://market.test", func(cfg *grid.Config) {
			noRetries(cfg)
			cfg.Funding, cfg.HTTPClient = row.funding, &http.Client{Transport: &served{status: 503, body: []byte(row.body)}}
		})
		_, err := c.Chat(t.Context(), ask("hi"))
		e, ok := errors.AsType[*grid.Error](err)
		if !ok || e.Class != row.class {
			t.Errorf("%q, %s: %v", row.funding, row.body, err)
		}
	}
}

// A 402 that does not say why is a top-up for 90 seconds, and used-up credits from then on.
func TestA402WithoutAReasonIsATopUpFor90Seconds(t *testing.T) {
	for _, row := range []struct {
		wait  time.Duration
		class grid.Class
	}{{80 * time.Second, grid.ClassTopUp}, {2 * time.Minute, grid.ClassExhausted}} {
		synctest.Test(t, func(t *testing.T) {
			c := (&purse{latency: 10 * time.Millisecond}).client(t)
			began := time.Now()
			told := time.Duration(0)
			req := ask("hi")
			req.Wait = row.wait
			req.Notify = func(n grid.Notice) {
				if n.Kind == grid.NoticeExhausted {
					told = time.Since(began)
				}
			}
			_, err := c.Chat(t.Context(), req)
			e, ok := errors.AsType[*grid.Error](err)
			if !ok || e.Class != row.class || errors.Is(err, grid.ErrCreditsExhausted) != (row.class == grid.ClassExhausted) {
				t.Errorf("%v: %v", row.wait, err)
			}
			if row.class == grid.ClassExhausted && (told < 90*time.Second || told > 96*time.Second) {
				t.Errorf("told after %v", told)
			}
		})
	}
}

func TestSettingsSayHowBalancesAreFilled(t *testing.T) {
	yes, no := true, false
	for _, row := range []struct {
		s    grid.Settings
		want grid.Funding
	}{
		{grid.Settings{}, grid.FundingUnknown},
		{grid.Settings{Mode: grid.ModeAuto, AutoTopUp: &yes}, grid.FundingAuto},
		{grid.Settings{Mode: grid.ModeAdvanced, AutoTopUp: &no}, grid.FundingAdvanced},
		{grid.Settings{Mode: grid.ModeAdvanced, AutoTopUp: &yes}, grid.FundingAuto},
		{grid.Settings{Mode: grid.ModeAdvanced}, grid.FundingUnknown},
	} {
		if got := row.s.Funding(); got != row.want {
			t.Errorf("%+v is %q, want %q", row.s, got, row.want)
		}
	}
}

// The words of a refusal that nobody knows are told once, short and without secrets.
func TestNewWordsOfARefusalAreToldOnce(t *testing.T) {
	say := func(status int, body string) func(*served) {
		return func(s *served) { s.status, s.body = status, []byte(body) }
	}
	long := `{"errors":{"detail":"` + strings.Repeat("é", 300) + `"}}`
	for _, row := range []struct {
		name    string
		answers []func(*served)
		want    []string
	}{
		{"new words, told once", []func(*served){say(402, `{"errors":{"detail":"Purse 17 is light"}}`), say(402, `{"errors":{"detail":"purse 4711 is LIGHT"}}`)}, []string{"Purse 17 is light"}},
		{"other words too", []func(*served){say(402, `{"errors":{"detail":"Purse is light"}}`), say(503, `{"errors":{"detail":"Come back"}}`)}, []string{"Purse is light", "Come back"}},
		{"long ones are cut", []func(*served){say(402, long)}, []string{strings.Repeat("é", 98) + "..."}},
		{"secrets are hidden", []func(*served){say(402, `{"errors":{"detail":"no money for consumption-key-1 at https://x.test/r?token=sesame"}}`)}, []string{"no money for [hidden] at https://x.test/r?token=[hidden]"}},
		{"known words are not told", []func(*served){say(402, `{"errors":{"detail":"Credits exhausted"}}`), say(503, `{"errors":{"detail":"Balance replenishment in progress."}}`),
			say(402, `{"errors":{"detail":"Insufficient USD balance, or no token capacity available for this instrument"}}`), say(402, `{"errors":{"detail":"The till is shut"}}`), say(402, "<html>"), say(402, "")}, nil},
		{"nor those of other failures", []func(*served){say(500, `{"errors":{"detail":"Purse is light"}}`), say(429, `{"errors":{"detail":"Purse is light"}}`)}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := &served{}
			c := client(t, "https://market.test", func(cfg *grid.Config) {
				noRetries(cfg)
				cfg.APIKey = "consumption-key-1"
				cfg.HTTPClient = &http.Client{Transport: s}
				cfg.DryTexts = []grid.DryText{{Contains: "till is shut", Class: grid.ClassTopUp}}
			})
			var got []string
			for i, answer := range append(row.answers, row.answers...) {
				answer(s)
				req := ask("hi")
				// Each on an instrument of its own, as the gate lets nobody ask twice.
				req.Instrument = "instrument-" + string(rune('a'+i))
				req.Notify = func(n grid.Notice) {
					if n.Kind == grid.NoticeUnknownDetail {
						got = append(got, n.Detail)
						if n.Status != s.status || n.Class == "" || n.Instrument != req.Instrument {
							t.Errorf("%+v", n)
						}
					}
				}
				if _, err := c.Chat(t.Context(), req); err == nil {
					t.Error("no error")
				}
			}
			if strings.Join(got, "|") != strings.Join(row.want, "|") {
				t.Errorf("told %q, want %q", got, row.want)
			}
		})
	}
	t.Run("at most 64 of them", func(t *testing.T) {
		s := &served{status: 402}
		c := client(t, "https://market.test", func(cfg *grid.Config) { cfg.HTTPClient = &http.Client{Transport: s} })
		told := 0
		for i := range 200 {
			name := strings.Repeat("x", i+1)
			s.body = []byte(`{"errors":{"detail":"` + name + `"}}`)
			req := ask("hi")
			req.Instrument = name
			req.Notify = func(n grid.Notice) {
				if n.Kind == grid.NoticeUnknownDetail {
					told++
				}
			}
			_, _ = c.Chat(t.Context(), req)
		}
		if told != 64 {
			t.Errorf("told of %d", told)
		}
	})
}

// Under every profile, the market's own words are known.
func TestTheMarketsOwnWordsAreKnownUnderEveryProfile(t *testing.T) {
	under(t, gridtest.Config{Balance: map[string]int64{"agent-prime": 0}}, func(t *testing.T, m *gridtest.Market, _ gridtest.Profile) {
		req := ask("hi")
		req.Wait = time.Minute
		req.Notify = func(n grid.Notice) {
			if n.Kind == grid.NoticeUnknownDetail {
				t.Errorf("%+v", n)
			}
		}
		if _, err := on(t, m, grid.Retry{}).Chat(t.Context(), req); err != nil {
			t.Error(err)
		}
	})
}
