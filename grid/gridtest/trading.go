package gridtest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// signedFor is how far a request's timestamp may be from the market's clock.
const signedFor = 30 * time.Second

// tradingPath tells whether a path belongs to the Trading API. /v1/diagnostics
// is in both APIs: there the signature decides.
func tradingPath(r *http.Request) bool {
	switch r.URL.Path {
	case "/v1/me", "/v1/currency-trading-accounts", "/v1/consumption-accounts", "/v1/instruments":
		return true
	case "/v1/diagnostics":
		return r.Header.Get("X-Thegrid-Signature") != ""
	}
	return false
}

// settingsPath is where the platform keeps an account's settings.
func settingsPath(path string) bool {
	return path == "/v1/self/system-settings" || path == "/api/v1/self/system-settings"
}

// AccessToken returns an OAuth access token of the account: it reads the
// platform's settings and, in place of a signature, the Trading API.
func (m *Market) AccessToken() string { return "oauth_" + m.hex("access", 0) }

// verify checks who reads the account: an access token, or a signature of
// {timestamp}{METHOD}{path}{body} with a trading key of the account.
func (m *Market) verify(r *http.Request, body []byte, now time.Time) *refusal {
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		if bearer == m.AccessToken() {
			return nil
		}
		return refuse(http.StatusUnauthorized, "This API takes signed requests")
	}
	stamp := r.Header.Get("X-Thegrid-Timestamp")
	unix, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return refuse(http.StatusUnauthorized, "Missing or invalid timestamp")
	}
	if off := now.Sub(time.Unix(unix, 0)); off > signedFor || off < -signedFor {
		return refuse(http.StatusUnauthorized, "Request timestamp is too old or too far in the future")
	}
	signature, err := base64.StdEncoding.DecodeString(r.Header.Get("X-Thegrid-Signature"))
	if err != nil {
		return refuse(http.StatusUnauthorized, "Invalid signature")
	}
	public := m.tradingKey(r.Header.Get("X-Thegrid-Fingerprint"))
	if public == nil {
		return refuse(http.StatusUnauthorized, "Unknown key fingerprint")
	}
	message := stamp + r.Method + r.URL.Path + string(body)
	if !ed25519.Verify(public, []byte(message), signature) {
		return refuse(http.StatusUnauthorized, "Invalid signature")
	}
	return nil
}

// tradingKey finds a public key by its fingerprint.
func (m *Market) tradingKey(fingerprint string) ed25519.PublicKey {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.keys {
		if !k.trading {
			continue
		}
		seed, err := base64.StdEncoding.DecodeString(k.value)
		if err != nil || len(seed) != ed25519.SeedSize {
			continue
		}
		public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
		if sum := sha256.Sum256(public); base64.RawStdEncoding.EncodeToString(sum[:]) == fingerprint {
			return public
		}
	}
	return nil
}

type currencyAccountJSON struct {
	AccountID string `json:"account_id"`
	Currency  string `json:"currency"`
	Status    string `json:"status"`
	Total     string `json:"total_balance"`
	Available string `json:"available_balance"`
	Locked    string `json:"locked_balance"`
}

type consumptionAccountJSON struct {
	AccountID    string `json:"account_id"`
	InstrumentID string `json:"instrument_id"`
	Status       string `json:"status"`
	Available    string `json:"available_balance"`
	Committed    string `json:"committed_balance"`
	Total        string `json:"total_balance"`
}

type tradedJSON struct {
	ID     string `json:"id"`
	Symbol string `json:"symbol"`
	Status string `json:"status"`
	Specs  struct {
		Context       int64 `json:"context_window"`
		TokensPerUnit int64 `json:"tokens_per_unit"`
	} `json:"ai_specs"`
}

// serveTrading answers the part of the Trading API that tells what an account
// has. Its shape is an assumption.
func (m *Market) serveTrading(w http.ResponseWriter, r *http.Request) {
	body, no := readBody(r)
	now := time.Now()
	if no == nil {
		no = m.verify(r, body, now)
	}
	if no != nil {
		sendRefusal(w, 0, no, 0)
		return
	}
	switch r.URL.Path {
	case "/v1/me":
		var me struct {
			Data struct {
				ID   string `json:"id"`
				Mode string `json:"account_mode"`
			} `json:"data"`
		}
		me.Data.ID, me.Data.Mode = "usr_"+m.hex("user", 0), m.mode()
		sendJSON(w, http.StatusOK, me)
	case "/v1/currency-trading-accounts":
		sendPage(w, r, m.currencyAccounts(now))
	case "/v1/consumption-accounts":
		sendPage(w, r, m.consumptionAccounts(now))
	case "/v1/instruments":
		sendPage(w, r, m.traded())
	default:
		m.sendDiagnostics(w, "trading", now)
	}
}

func sendPage[T any](w http.ResponseWriter, r *http.Request, all []T) {
	page, no := pageOf(r.URL.Query(), all)
	if no != nil {
		sendRefusal(w, 0, no, 0)
		return
	}
	sendJSON(w, http.StatusOK, page)
}

func (m *Market) mode() string {
	if m.config.TopUp.Manual {
		return "advanced"
	}
	return "easy"
}

func (m *Market) currencyAccounts(now time.Time) []currencyAccountJSON {
	m.mu.Lock()
	defer m.mu.Unlock()
	locked := exact{}
	for _, id := range m.order {
		a := m.accounts[id]
		a.advance(now, m.config.TopUp.Window)
		if a.buy != nil {
			locked = locked.plus(a.buy.Tokens, a.buy.PriceNanoUSD)
		}
	}
	return []currencyAccountJSON{{
		AccountID: "acc_" + m.hex("currency", 0), Currency: "USD", Status: "active",
		Total: decimalOf(addSaturating(m.credits, locked.nano()), 9), Available: decimalOf(m.credits, 9), Locked: decimalOf(locked.nano(), 9),
	}}
}

func (m *Market) consumptionAccounts(now time.Time) []consumptionAccountJSON {
	m.mu.Lock()
	defer m.mu.Unlock()
	places := 6 // Units of 1,000,000 tokens
	if m.read.balancesInTokens {
		places = 0
	}
	var all []consumptionAccountJSON
	for i, id := range m.order {
		a := m.accounts[id]
		a.advance(now, m.config.TopUp.Window)
		left := decimalOf(a.balance(), places)
		all = append(all, consumptionAccountJSON{
			AccountID: "acc_" + m.hex("consumption", i), InstrumentID: m.instrumentID(i), Status: "active",
			Available: left, Committed: "0", Total: left,
		})
	}
	return all
}

// instrumentID is what the Trading API calls an instrument: not by its symbol.
func (m *Market) instrumentID(i int) string { return "ins_" + m.hex("instrument", i) }

func (m *Market) traded() []tradedJSON {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []tradedJSON
	for i, id := range m.order {
		in := m.accounts[id].instrument
		t := tradedJSON{ID: m.instrumentID(i), Symbol: in.ID, Status: in.Status}
		t.Specs.Context, t.Specs.TokensPerUnit = in.Context, tokensPerUnit
		all = append(all, t)
	}
	return all
}

// decimalOf writes n x 10^-places exactly.
func decimalOf(n int64, places int) string {
	if n < 0 {
		return "-" + decimal(strconv.FormatUint(-uint64(n), 10), places, 0)
	}
	return decimal(strconv.FormatInt(n, 10), places, 0)
}

type settingsJSON struct {
	Mode            string   `json:"account_mode"`
	AutoBuy         bool     `json:"auto_buy_enabled"`
	BuyQuantity     string   `json:"auto_buy_quantity"`
	BuyTrigger      string   `json:"auto_buy_trigger_threshold"`
	Reload          bool     `json:"auto_reload_enabled"`
	ReloadThreshold string   `json:"auto_reload_threshold_usd"`
	ReloadAmount    string   `json:"auto_reload_amount_usd"`
	ReloadLimit     *string  `json:"auto_reload_monthly_limit_usd"`
	Managed         []string `json:"mode_managed_fields"`
}

// serveSettings answers what the platform says about an account's settings.
func (m *Market) serveSettings(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+m.AccessToken() {
		sendRefusal(w, 0, refuse(http.StatusUnauthorized, "Missing or invalid access token"), 0)
		return
	}
	c := m.config
	s := settingsJSON{
		Mode: m.mode(), AutoBuy: !c.TopUp.Manual, BuyQuantity: decimalOf(c.TopUp.Quantity, 6), BuyTrigger: "0",
		Reload: c.Reload.Amount > 0, ReloadThreshold: decimalOf(c.Reload.Threshold, 9), ReloadAmount: decimalOf(c.Reload.Amount, 9),
		Managed: []string{"auto_buy_enabled"},
	}
	if c.Reload.Limit > 0 {
		limit := decimalOf(c.Reload.Limit, 9)
		s.ReloadLimit = &limit
	}
	sendJSON(w, http.StatusOK, s)
}
