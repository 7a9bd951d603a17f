package grid_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
)

func reader(t testing.TB, m *gridtest.Market, change func(*grid.TradingConfig)) *grid.Trading {
	t.Helper()
	cfg := grid.TradingConfig{Key: m.TradingKey(), HTTPClient: &http.Client{Transport: m.Transport()}, Retry: grid.Retry{Max: -1}}
	if change != nil {
		change(&cfg)
	}
	tr, err := grid.NewTrading(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Close() })
	return tr
}

func TestBothBalancesAreReadExactly(t *testing.T) {
	for _, p := range gridtest.Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var many []gridtest.Instrument
				balances := map[string]int64{"text-000": 1_234_567, "text-001": -42, "text-149": 0}
				for i := range 150 { // two pages
					many = append(many, gridtest.Instrument{ID: fmt.Sprintf("text-%03d", i), PriceNanoUSD: 1_000_000_000})
				}
				m := gridtest.New(gridtest.Config{Profile: p, Instruments: many, Credits: 12_345_678_901, Balance: balances, TopUp: gridtest.TopUp{Quantity: 1_000_000}})
				defer m.Close()
				tr := reader(t, m, func(cfg *grid.TradingConfig) { cfg.InTokens = p.Reading("balances") == "tokens" })
				_, _ = on(t, m, grid.Retry{Max: -1}).Chat(t.Context(), &grid.Request{Instrument: "text-149", Messages: []grid.Message{grid.UserMessage("x")}})
				credits, err := tr.Credits(t.Context())
				if want := (grid.Credits{AvailableNanoUSD: 11_345_678_901, LockedNanoUSD: 1_000_000_000, TotalNanoUSD: 12_345_678_901, Status: "active"}); err != nil || credits != want {
					t.Errorf("%+v, %v", credits, err)
				}
				all, err := tr.Balances(t.Context())
				if err != nil || len(all) != 150 {
					t.Fatalf("%d balances, %v", len(all), err)
				}
				got := make(map[string]int64)
				for _, b := range all {
					got[b.Instrument] = b.Tokens
				}
				for id, want := range balances {
					if got[id] != want {
						t.Errorf("%s: %d tokens, want %d", id, got[id], want)
					}
				}
				tokens, nano, err := tr.Balance(t.Context(), "text-000")
				if err != nil || tokens != 1_234_567 || nano != 11_345_678_901 {
					t.Errorf("%d tokens, %d nano-USD, %v", tokens, nano, err)
				}
				if tokens, _, err := tr.Balance(t.Context(), "nobody"); err != nil || tokens != 0 {
					t.Errorf("an instrument without a balance: %d, %v", tokens, err)
				}
				if d, err := tr.Diagnostics(t.Context()); err != nil || d.Service != "trading" || len(d.Checks) != 152 {
					t.Errorf("%+v, %v", d, err)
				}
			})
		})
	}
}

func TestSettingsAreSeenAsFarAsCredentialsReach(t *testing.T) {
	m := gridtest.New(gridtest.Config{TopUp: gridtest.TopUp{Quantity: 2_500_000}, Reload: gridtest.Reload{Threshold: 5, Amount: 1_000_000_007, Limit: 9_000_000_000}})
	defer m.Close()
	s, err := reader(t, m, nil).Settings(t.Context())
	if err != nil || s.Mode != grid.ModeAuto || s.AutoTopUp == nil || !*s.AutoTopUp || s.AutoReload != nil || s.TopUpTokens != nil || s.Raw != nil {
		t.Errorf("with a trading key: %+v, %v", s, err)
	}
	both := reader(t, m, func(cfg *grid.TradingConfig) { cfg.AccessToken = m.AccessToken() })
	s, err = both.Settings(t.Context())
	if err != nil || s.Mode != grid.ModeAuto || *s.TopUpTokens != 2_500_000 || *s.TopUpTrigger != 0 || !*s.AutoReload ||
		*s.ReloadThreshold != 5 || *s.ReloadAmount != 1_000_000_007 || *s.ReloadLimit != 9_000_000_000 || s.Raw == nil {
		t.Errorf("with an access token too: %+v, %v", s, err)
	}
	only := reader(t, m, func(cfg *grid.TradingConfig) { cfg.Key, cfg.AccessToken = "", m.AccessToken() })
	if _, err := only.Credits(t.Context()); err != nil {
		t.Errorf("an access token alone reads no balance: %v", err)
	}
	wrong := reader(t, m, func(cfg *grid.TradingConfig) { cfg.AccessToken = "nobody's" })
	if s, err := wrong.Settings(t.Context()); !errors.Is(err, grid.ErrAuth) || s.Mode != grid.ModeAuto {
		t.Errorf("what can be read stands beside the error: %+v, %v", s, err)
	}

	manual := gridtest.New(gridtest.Config{TopUp: gridtest.TopUp{Manual: true}})
	defer manual.Close()
	if s, err := reader(t, manual, nil).Settings(t.Context()); err != nil || s.Mode != grid.ModeAdvanced || s.AutoTopUp != nil {
		t.Errorf("advanced mode: %+v, %v", s, err)
	}
}

func TestARefusedSignatureIsExplained(t *testing.T) {
	m := gridtest.New(gridtest.Config{})
	defer m.Close()
	stranger := gridtest.New(gridtest.Config{Seed: 9}).TradingKey()
	tr := reader(t, m, func(cfg *grid.TradingConfig) { cfg.Key = stranger })
	_, err := tr.Credits(t.Context())
	if !errors.Is(err, grid.ErrAuth) || !strings.Contains(err.Error(), "clock") || strings.Contains(err.Error(), "consumption key, not") {
		t.Errorf("%v", err)
	}
}

// Signatures age: each retry needs its own.
func TestEachRetryIsSignedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{})
		defer m.Close()
		fails := 3
		busy := transport(func(r *http.Request) (*http.Response, error) {
			if fails > 0 {
				fails--
				return (&served{status: 429, header: http.Header{"X-Ratelimit-Retry-After": {"29"}}}).RoundTrip(r)
			}
			return m.Transport().RoundTrip(r)
		})
		tr := reader(t, m, func(cfg *grid.TradingConfig) { cfg.HTTPClient, cfg.Retry = &http.Client{Transport: busy}, grid.Retry{} })
		began := time.Now()
		if _, err := tr.Credits(t.Context()); err != nil || time.Since(began) < 87*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestTradingKeysInEveryFormTheyComeIn(t *testing.T) {
	m := gridtest.New(gridtest.Config{})
	defer m.Close()
	seed, err := base64.StdEncoding.DecodeString(m.TradingKey())
	if err != nil {
		t.Fatal(err)
	}
	private := ed25519.NewKeyFromSeed(seed)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]string{
		"seed": m.TradingKey(), "seed without padding": base64.RawStdEncoding.EncodeToString(seed), "with a line end": m.TradingKey() + "\n",
		"seed and public key": base64.StdEncoding.EncodeToString(private), "PKCS #8": base64.StdEncoding.EncodeToString(der),
		"PEM": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	} {
		tr := reader(t, m, func(cfg *grid.TradingConfig) { cfg.Key = key })
		if _, err := tr.Credits(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	swapped := append([]byte(nil), private...)
	swapped[40] ^= 1
	for name, key := range map[string]string{
		"a consumption key": m.Key(), "too short": "c2hvcnQ=", "half of another": base64.StdEncoding.EncodeToString(swapped),
	} {
		_, err := grid.NewTrading(grid.TradingConfig{Key: key})
		if err == nil || !strings.Contains(err.Error(), "TradingConfig.Key") || strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewTradingNamesEveryMistake(t *testing.T) {
	t.Setenv(grid.TradingKeyVariable, "")
	t.Setenv(grid.AccessTokenVariable, "")
	_, err := grid.NewTrading(grid.TradingConfig{BaseURL: "ftp://x", PlatformURL: "/v1"})
	for _, part := range []string{"TradingConfig.Key", "TradingConfig.BaseURL", "TradingConfig.PlatformURL"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s is missing in %v", part, err)
		}
	}
	m := gridtest.New(gridtest.Config{})
	defer m.Close()
	t.Setenv(grid.TradingKeyVariable, m.TradingKey())
	if tr, err := grid.NewTrading(grid.TradingConfig{}); err != nil {
		t.Errorf("with the environment's key: %v", err)
	} else {
		_ = tr.Close()
	}
}

func TestBalancesThatCannotBeReadAreNotGuessed(t *testing.T) {
	for _, row := range []struct {
		name, credits, balances string
		wantNano                int64
		wantTokens              string
	}{
		{"a bare list", `[{"available_balance":"1.0000000019"}]`, `[{"instrument_id":"i","available_balance":2}]`, 1_000_000_001, "[name 2000000]"},
		{"other currencies", `{"data":[{"currency":"EUR","available_balance":"5"},{"currency":"usd","available_balance":"-0.0000000001"}]}`, `{"data":[]}`, -1, "[]"},
		{"two accounts", `{"data":[{"available_balance":"1"},{"available_balance":"2"}]}`, `{"data":[{"symbol":"a","available_balance":"0.0000019"},{"symbol":"b","available_balance":"?"},7]}`, 3_000_000_000, "[a 1]"},
		{"nothing", `{"data":[{"available_balance":null}]}`, `{}`, -2, "[]"},
	} {
		t.Run(row.name, func(t *testing.T) {
			mux := http.NewServeMux()
			mux.HandleFunc("GET /v1/currency-trading-accounts", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, row.credits) })
			mux.HandleFunc("GET /v1/consumption-accounts", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, row.balances) })
			mux.HandleFunc("GET /v1/instruments", func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(w, `{"data":[{"id":"i","symbol":"Name"}]}`)
			})
			s := httptest.NewServer(mux)
			defer s.Close()
			tr, err := grid.NewTrading(grid.TradingConfig{AccessToken: "access-1", BaseURL: s.URL + "/v1"})
			if err != nil {
				t.Fatal(err)
			}
			defer tr.Close()
			credits, err := tr.Credits(t.Context())
			if row.wantNano == -2 {
				if !errors.Is(err, grid.ErrMalformed) {
					t.Errorf("%+v, %v", credits, err)
				}
			} else if err != nil || credits.AvailableNanoUSD != row.wantNano {
				t.Errorf("%+v, %v; want %d", credits, err, row.wantNano)
			}
			all, err := tr.Balances(t.Context())
			var got []any
			for _, b := range all {
				got = append(got, b.Instrument, b.Tokens)
			}
			if fmt.Sprint(got) != row.wantTokens || err != nil {
				t.Errorf("%v, %v; want %s", got, err, row.wantTokens)
			}
		})
	}
}
