package grid_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
)

// checked runs Check on a market with everything that opens it.
func checked(t *testing.T, m *gridtest.Market, change func(*grid.CheckConfig)) *grid.Report {
	t.Helper()
	hc := &http.Client{Transport: m.Transport()}
	cfg := grid.CheckConfig{
		Config:     grid.Config{APIKey: m.Key(), HTTPClient: hc, Retry: grid.Retry{Max: -1}},
		Trading:    &grid.TradingConfig{Key: m.TradingKey(), AccessToken: m.AccessToken(), HTTPClient: hc, Retry: grid.Retry{Max: -1}},
		Instrument: "agent-prime",
	}
	if change != nil {
		change(&cfg)
	}
	r := grid.Check(t.Context(), cfg)
	for _, secret := range []string{m.Key(), m.TradingKey(), m.AccessToken(), "token="} {
		if strings.Contains(r.String(), secret) {
			t.Errorf("the report holds a secret: %s", r)
		}
	}
	return r
}

// says finds a finding by subject and a part of its text or mend.
func says(r *grid.Report, level grid.Level, subject, part string) bool {
	for _, f := range r.Findings {
		if f.Subject == subject && f.Level == level && strings.Contains(f.Text+" -> "+f.Mend, part) {
			return true
		}
	}
	return false
}

func TestACheckOfAHealthyAccountFindsNothingAndSpendsNothing(t *testing.T) {
	reload := gridtest.Reload{Threshold: 10_000_000_000, Amount: 50_000_000_000, Limit: 500_000_000_000}
	for _, p := range gridtest.Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			m := gridtest.New(gridtest.Config{Reload: reload, Profile: p})
			defer m.Close()
			r := checked(t, m, nil)
			if r.Worst() != grid.LevelOK {
				t.Errorf("worst is %s:\n%s", r.Worst(), r)
			}
			for subject, part := range map[string]string{
				"key": "takes it", "base url": "consumption API", "redirect": "go on at", "instruments": "9 are listed, 3 of them live, 9 with a price",
				"credits": "$100.00 available", "auto top up": "on: 10000000 tokens at a time", "auto-reload": "on: $50.00 when the credits fall below $10.00, $500.00 a month",
			} {
				if !says(r, grid.LevelOK, subject, part) {
					t.Errorf("%s does not say %q:\n%s", subject, part, r)
				}
			}
			if m.Bill("") != 0 || len(r.Models) != 9 || len(r.Balances) != 9 || r.Credits == nil || r.Settings == nil {
				t.Errorf("bill %d, %+v", m.Bill(""), r)
			}
			if n := hops(m); n[2] != 0 {
				t.Errorf("%d requests reached a supplier", n[2])
			}
		})
	}
}

func TestACheckNamesWhatIsWrongAndItsMend(t *testing.T) {
	for _, row := range []struct {
		name          string
		market        gridtest.Config
		change        func(*grid.CheckConfig)
		level         grid.Level
		subject, part string
	}{
		{"a trading key for inference", gridtest.Config{}, func(c *grid.CheckConfig) { c.Config.APIKey = c.Trading.Key }, grid.LevelFail, "configuration", "consumption key"},
		{"two mistakes at once", gridtest.Config{}, func(c *grid.CheckConfig) {
			c.Config.APIKey, c.Config.BaseURL = c.Trading.Key, "https://api.thegrid.ai/v1/v1"
		}, grid.LevelFail, "configuration", "write /v1 once"},
		{"a revoked key", gridtest.Config{}, func(c *grid.CheckConfig) { c.Config.APIKey = "grid_test_revoked" }, grid.LevelFail, "key", "Profile > API Keys"},
		{"an account's host", gridtest.Config{}, func(c *grid.CheckConfig) { c.Config.BaseURL = grid.DefaultTradingURL }, grid.LevelFail, "base url", "not inference"},
		{"another protocol's host", gridtest.Config{}, func(c *grid.CheckConfig) { c.Config.BaseURL = "https://messages-beta.api.thegrid.ai/v1" }, grid.LevelFail, "base url", "another protocol"},
		{"staging", gridtest.Config{}, func(c *grid.CheckConfig) { c.Config.BaseURL = "https://api.staging.thegrid.ai/v1" }, grid.LevelNote, "base url", "not the market's production API"},
		{"a gateway", gridtest.Config{}, func(c *grid.CheckConfig) { c.Config.BaseURL = "https://llm.example.com/v1" }, grid.LevelNote, "base url", "a gateway"},
		{"a redirect to a stranger", gridtest.Config{Redirect: gridtest.OtherHost}, func(c *grid.CheckConfig) { c.Config.RedirectHosts = []string{"elsewhere.thegrid.ai"} }, grid.LevelFail, "redirect", "RedirectHosts"},
		{"a redirect for the firewall", gridtest.Config{Redirect: gridtest.OtherHost}, nil, grid.LevelOK, "redirect", "let the firewall pass synapse.thegrid.ai"},
		{"an unknown instrument", gridtest.Config{}, func(c *grid.CheckConfig) { c.Instrument = "gpt-5.2" }, grid.LevelFail, "redirect", "take a name from the market's list"},
		{"a dry instrument", gridtest.Config{Balance: map[string]int64{"agent-prime": 0}}, nil, grid.LevelWarn, "redirect", "agent-prime is dry"},
		{"no instrument named", gridtest.Config{}, func(c *grid.CheckConfig) { c.Instrument = "" }, grid.LevelNote, "redirect", "name an instrument"},
		{"an instrument that is gone", gridtest.Config{Instruments: []gridtest.Instrument{{ID: "agent-prime", PriceNanoUSD: 1}}}, nil, grid.LevelWarn, "instruments", "does not list text-standard"},
		{"an instrument without a price", gridtest.Config{Instruments: []gridtest.Instrument{{ID: "agent-prime"}}}, nil, grid.LevelWarn, "prices", "max_price"},
		{"empty credits", gridtest.Config{Credits: -1}, nil, grid.LevelFail, "credits", "add credits"},
		{"the market says so itself", gridtest.Config{Credits: -1}, nil, grid.LevelFail, "market: credits", "Auto-Reload"},
		{"a declined card", gridtest.Config{Credits: -1, Reload: gridtest.Reload{Amount: 1, Threshold: 0}}, nil, grid.LevelWarn, "credits", "card was declined"},
		{"advanced mode", gridtest.Config{TopUp: gridtest.TopUp{Manual: true}, Balance: map[string]int64{"text-max": 0}}, nil, grid.LevelWarn, "balance text-max", "buy some"},
		{"auto top up is off", gridtest.Config{TopUp: gridtest.TopUp{Manual: true}}, nil, grid.LevelWarn, "auto top up", "OnDry"},
		{"auto top up cannot be seen", gridtest.Config{TopUp: gridtest.TopUp{Manual: true}}, func(c *grid.CheckConfig) { c.Trading.AccessToken = "" }, grid.LevelWarn, "auto top up", "cannot be seen"},
		{"auto-reload cannot be seen", gridtest.Config{}, func(c *grid.CheckConfig) { c.Trading.AccessToken = "" }, grid.LevelNote, "auto-reload", grid.AccessTokenVariable},
		{"auto-reload is off", gridtest.Config{}, nil, grid.LevelWarn, "auto-reload", "switch it on"},
		{"a card without a limit", gridtest.Config{Reload: gridtest.Reload{Amount: 1}}, nil, grid.LevelWarn, "auto-reload", "paid by the card"},
		{"no trading credentials", gridtest.Config{}, func(c *grid.CheckConfig) { c.Trading = nil }, grid.LevelNote, "balances", grid.TradingKeyVariable},
		{"a trading key that is none", gridtest.Config{}, func(c *grid.CheckConfig) { c.Trading.Key = "no" }, grid.LevelFail, "trading key", "base64"},
		{"a stranger's trading key", gridtest.Config{}, func(c *grid.CheckConfig) { c.Trading.Key = gridtest.New(gridtest.Config{Seed: 8}).TradingKey() }, grid.LevelFail, "credits", "clock"},
		{"an old access token", gridtest.Config{}, func(c *grid.CheckConfig) { c.Trading.AccessToken = "old" }, grid.LevelFail, "settings", "account:read"},
		{"nobody answers", gridtest.Config{}, func(c *grid.CheckConfig) {
			c.Config.HTTPClient = &http.Client{Transport: transport(func(*http.Request) (*http.Response, error) { return nil, errors.New("no route") })}
		}, grid.LevelFail, "instruments", "the network and the proxy"},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := gridtest.New(row.market)
			defer m.Close()
			if r := checked(t, m, row.change); !says(r, row.level, row.subject, row.part) {
				t.Errorf("no %s of %s says %q:\n%s", row.level, row.subject, row.part, r)
			}
		})
	}
}

func TestAWrongClockIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{})
		defer m.Close()
		real := time.Now().UTC().Format(time.RFC3339Nano)
		slow := transport(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/diagnostics") {
				body := `{"data":{"status":"ok","server_time":"` + real + `","checks":[]}}`
				return (&served{status: 200, body: []byte(body)}).RoundTrip(r)
			}
			return m.Transport().RoundTrip(r)
		})
		time.Sleep(45 * time.Second)
		r := checked(t, m, func(c *grid.CheckConfig) { c.Config.HTTPClient = &http.Client{Transport: slow} })
		if !says(r, grid.LevelWarn, "clock", "45s off") {
			t.Errorf("%s", r)
		}
	})
}
