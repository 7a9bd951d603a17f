package gridtest_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid/gridtest"
)

// signed asks the Trading API; change spoils the request after it was signed.
func signed(t *testing.T, client *http.Client, base, key, path string, at time.Time, change func(*http.Request)) (int, string) {
	t.Helper()
	seed, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	private := ed25519.NewKeyFromSeed(seed)
	req, err := http.NewRequest(http.MethodGet, base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	stamp := strconv.FormatInt(at.Unix(), 10)
	sum := sha256.Sum256(private.Public().(ed25519.PublicKey))
	req.Header.Set("x-thegrid-timestamp", stamp)
	req.Header.Set("x-thegrid-fingerprint", strings.TrimRight(base64.StdEncoding.EncodeToString(sum[:]), "="))
	req.Header.Set("x-thegrid-signature", base64.StdEncoding.EncodeToString(ed25519.Sign(private, []byte(stamp+"GET"+req.URL.Path))))
	if change != nil {
		change(req)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestTheTradingAPIWantsASignature(t *testing.T) {
	ways(t, gridtest.Config{}, func(t *testing.T, m *gridtest.Market, client *http.Client, base string) {
		key := m.TradingKey()
		stranger := gridtest.New(gridtest.Config{Seed: 7}).TradingKey()
		for _, row := range []struct {
			name, key string
			off       time.Duration
			change    func(*http.Request)
			want      int
		}{
			{"as documented", key, 0, nil, 200},
			{"the query is not signed", key, 0, func(r *http.Request) { r.URL.RawQuery = "limit=5" }, 200},
			{"29 s slow", key, -29 * time.Second, nil, 200},
			{"a minute slow", key, -time.Minute, nil, 401},
			{"a minute fast", key, time.Minute, nil, 401},
			{"somebody else's key", stranger, 0, nil, 401},
			{"another path", key, 0, func(r *http.Request) { r.URL.Path = strings.Replace(r.URL.Path, "consumption-accounts", "me", 1) }, 401},
			{"another timestamp", key, 0, func(r *http.Request) {
				r.Header.Set("x-thegrid-timestamp", strconv.FormatInt(time.Now().Unix()-3, 10))
			}, 401},
			{"no timestamp", key, 0, func(r *http.Request) { r.Header.Del("x-thegrid-timestamp") }, 401},
			{"no fingerprint", key, 0, func(r *http.Request) { r.Header.Del("x-thegrid-fingerprint") }, 401},
			{"a signature that is not base64", key, 0, func(r *http.Request) { r.Header.Set("x-thegrid-signature", "?") }, 401},
			{"the consumption key", key, 0, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+m.Key()) }, 401},
			{"an access token", key, time.Hour, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+m.AccessToken()) }, 200},
		} {
			status, body := signed(t, client, base, row.key, "/consumption-accounts", time.Now().Add(row.off), row.change)
			if status != row.want || status != 200 && !strings.HasPrefix(body, `{"errors":{"detail":"`) {
				t.Errorf("%s: %d %s, want %d", row.name, status, body, row.want)
			}
		}
		for _, r := range m.Requests() {
			if r.Header.Get("X-Thegrid-Signature") != "" {
				t.Error("a record holds a signature")
			}
		}
	})
}

func TestTheTradingAPITellsWhatTheAccountHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{
			Credits: 5_000_000_000, Balance: map[string]int64{"text-prime": 1_500_000, "text-max": 0, "agent-max": -7},
			TopUp: gridtest.TopUp{Quantity: 1_000_000}, Reload: gridtest.Reload{Threshold: 4_000_000_000, Amount: 20_000_000_000, Limit: 30_000_000_000},
		})
		defer m.Close()
		ask := func(path string) string {
			status, body := signed(t, memoryClient(m), m.BaseURL(), m.TradingKey(), path, time.Now(), func(r *http.Request) {
				r.URL.RawQuery = "limit=3"
			})
			if status != 200 {
				t.Fatalf("%s: %d %s", path, status, body)
			}
			return body
		}
		// $2.50 of the credits are locked while a Unit of text-max is bought.
		chat(t, memoryClient(m), m.BaseURL(), m.Key(), strings.Replace(hello, "text-prime", "text-max", 1))
		if body := ask("/currency-trading-accounts"); !strings.Contains(body, `"total_balance":"25","available_balance":"22.5","locked_balance":"2.5"`) {
			t.Errorf("credits after a reload: %s", body)
		}
		body := ask("/consumption-accounts")
		if !strings.Contains(body, `"available_balance":"1.5"`) || !strings.Contains(body, `"next_cursor":"3"`) || strings.Contains(body, "text-prime") {
			t.Errorf("balances: %s", body)
		}
		if body := ask("/instruments"); !strings.Contains(body, `"symbol":"text-prime"`) || !strings.Contains(body, `"tokens_per_unit":1000000`) {
			t.Errorf("instruments: %s", body)
		}
		if body := ask("/me"); !strings.Contains(body, `"account_mode":"easy"`) {
			t.Errorf("me: %s", body)
		}
		if body := ask("/diagnostics"); !strings.Contains(body, `"service":"trading"`) {
			t.Errorf("diagnostics: %s", body)
		}
		time.Sleep(2 * time.Second)
		if body := ask("/currency-trading-accounts"); !strings.Contains(body, `"locked_balance":"0"`) {
			t.Errorf("credits after the purchase: %s", body)
		}
		req, _ := http.NewRequest(http.MethodGet, "https://platform.api.thegrid.ai/api/v1/self/system-settings", nil)
		resp, err := memoryClient(m).Do(req)
		if err != nil || resp.StatusCode != 401 {
			t.Fatalf("settings without a token: %v", err)
		}
		resp.Body.Close()
		req.Header.Set("Authorization", "Bearer "+m.AccessToken())
		resp, err = memoryClient(m).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var settings map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&settings); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]any{"account_mode": "easy", "auto_buy_enabled": true, "auto_buy_quantity": "1", "auto_reload_enabled": true,
			"auto_reload_threshold_usd": "4", "auto_reload_amount_usd": "20", "auto_reload_monthly_limit_usd": "30"} {
			if settings[name] != want {
				t.Errorf("%s: %v, want %v", name, settings[name], want)
			}
		}
	})
}

func TestAutoReloadPaysUpToItsLimit(t *testing.T) {
	m := gridtest.New(gridtest.Config{Credits: -1, Reload: gridtest.Reload{Threshold: 1, Amount: 10, Limit: 15}})
	defer m.Close()
	ask := func() int {
		status, _, _ := chat(t, memoryClient(m), m.BaseURL(), m.Key(), hello)
		return status
	}
	if first, second := ask(), ask(); first != 402 || second != 200 || m.Credits() != 10 {
		t.Errorf("%d, then %d; credits %d", first, second, m.Credits())
	}
	m.SetCredits(0)
	if first, second := ask(), ask(); first != 402 || second != 402 {
		t.Errorf("beyond the limit: %d, then %d", first, second)
	}
}
