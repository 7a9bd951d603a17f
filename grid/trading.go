package grid

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// DefaultTradingURL is the market's Trading API, DefaultPlatformURL where an account's
	// settings are.
	DefaultTradingURL  = "https://trading.api.thegrid.ai/v1"
	DefaultPlatformURL = "https://platform.api.thegrid.ai/api/v1"
	// TradingKeyVariable and AccessTokenVariable are the environment variables for what
	// TradingConfig leaves out.
	TradingKeyVariable  = "THEGRID_TRADING_KEY"
	AccessTokenVariable = "THEGRID_ACCESS_TOKEN"
)

// TokensPerUnit is the size of a Unit, in which the market trades.
const TokensPerUnit = 1_000_000

// TradingConfig says how to read an account: what it has and how it is set. One of Key
// and AccessToken is enough; with none the environment is asked.
type TradingConfig struct {
	// Key is a trading key: an Ed25519 private key as base64 of its seed, or as PKCS #8 in
	// base64 or PEM. It signs requests and never leaves the process.
	Key string
	// AccessToken is an OAuth token with the scope account:read. Without Key it also reads
	// balances; the settings of the platform can only be read with it.
	AccessToken string
	// BaseURL is the Trading API, PlatformURL the one with the settings; "" means the
	// defaults.
	BaseURL, PlatformURL string
	// HTTPClient is used as Config.HTTPClient is.
	HTTPClient *http.Client
	Retry      Retry
	// InTokens says that consumption balances come in tokens. The market does not
	// document it; the zero value takes them for Units.
	InTokens bool
}

// Trading reads balances and settings of an account. It never trades. It is safe for
// concurrent use and starts no goroutine.
type Trading struct {
	account, platform *Client
	private           ed25519.PrivateKey
	fingerprint       string
	token             string
	inTokens          bool
}

// NewTrading checks the whole configuration. The error names every mistake. Nothing is
// sent.
func NewTrading(cfg TradingConfig) (*Trading, error) {
	t := &Trading{token: cfg.AccessToken, inTokens: cfg.InTokens}
	var mistakes []error
	if cfg.Key == "" && cfg.AccessToken == "" {
		cfg.Key, t.token = os.Getenv(TradingKeyVariable), os.Getenv(AccessTokenVariable)
	}
	if cfg.Key == "" && t.token == "" {
		mistakes = append(mistakes, fmt.Errorf("grid: TradingConfig.Key: there is no key: set it, or %s; or AccessToken, or %s", TradingKeyVariable, AccessTokenVariable))
	}
	if cfg.Key != "" {
		private, err := privateKey(cfg.Key)
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("grid: TradingConfig.Key: %w", err))
		} else {
			t.private, t.fingerprint = private, fingerprint(private)
		}
	}
	if t.token != "" {
		if fault := keyFault(t.token); fault != "" {
			mistakes = append(mistakes, fmt.Errorf("grid: TradingConfig.AccessToken: %s", fault))
		}
	}
	open := func(field, url, otherwise string) *Client {
		if url == "" {
			url = otherwise
		}
		// The key stands for nothing: requests are signed, or carry the access token.
		c, err := New(Config{APIKey: "signed", BaseURL: url, HTTPClient: cfg.HTTPClient, Retry: cfg.Retry})
		if err != nil {
			mistakes = append(mistakes, errors.New(strings.ReplaceAll(err.Error(), "Config.BaseURL", "TradingConfig."+field)))
			return nil
		}
		c.key = strings.TrimSpace(cfg.Key) // hidden, should a server repeat it
		if c.key == "" {
			c.key = t.token
		}
		return c
	}
	t.account = open("BaseURL", cfg.BaseURL, DefaultTradingURL)
	t.platform = open("PlatformURL", cfg.PlatformURL, DefaultPlatformURL)
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	if t.platform.key = t.token; t.token == "" {
		t.platform.key = t.account.key
	}
	return t, nil
}

// Close closes idle connections of our own transport. It is idempotent and never fails.
func (t *Trading) Close() error {
	_ = t.platform.Close()
	return t.account.Close()
}

// privateKey reads the forms in which a trading key is handed out. Its errors do not
// repeat it.
func privateKey(key string) (ed25519.PrivateKey, error) {
	const want = "use the base64 of the 32 byte seed, as the dashboard shows it"
	key = strings.TrimSpace(key)
	der := []byte(nil)
	if block, _ := pem.Decode([]byte(key)); block != nil {
		der = block.Bytes
	} else {
		b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(key, "="))
		switch {
		case err != nil:
			return nil, errors.New("this is not base64: " + want)
		case len(b) == ed25519.SeedSize:
			return ed25519.NewKeyFromSeed(b), nil
		case len(b) == ed25519.PrivateKeySize:
			private := ed25519.NewKeyFromSeed(b[:ed25519.SeedSize])
			if !private.Equal(ed25519.PrivateKey(b)) {
				return nil, errors.New("its seed and its public key do not belong together: " + want)
			}
			return private, nil
		}
		der = b
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	private, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, errors.New("this is no Ed25519 private key: " + want)
	}
	return private, nil
}

// fingerprint names a public key to the market.
func fingerprint(private ed25519.PrivateKey) string {
	sum := sha256.Sum256(private.Public().(ed25519.PublicKey))
	return base64.RawStdEncoding.EncodeToString(sum[:])
}

// sign proves who asks: the signature is over timestamp, method and path, without the
// query; a GET has no body.
func (t *Trading) sign(h http.Header, method, path string) {
	if t.private == nil {
		t.bear(h, method, path)
		return
	}
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	signature := ed25519.Sign(t.private, []byte(stamp+method+path))
	h.Set("X-Thegrid-Timestamp", stamp)
	h.Set("X-Thegrid-Fingerprint", t.fingerprint)
	h.Set("X-Thegrid-Signature", base64.StdEncoding.EncodeToString(signature))
}

func (t *Trading) bear(h http.Header, _, _ string) { h.Set("Authorization", "Bearer "+t.token) }

func (t *Trading) at(path ...string) source { return source{path: path, sign: t.sign} }

// explain gives a refusal the advice that fits a signature rather than a key.
func explain(err error) error {
	return advise(err, "check the trading key, and that this machine's clock is right to 30 seconds")
}

func advise(err error, advice string) error {
	var e *Error
	if errors.As(err, &e) && e.Class == ClassAuth {
		e.advice = advice
	}
	return err
}

// Credits is the USD balance of an account, in nano-USD, rounded down.
type Credits struct {
	AvailableNanoUSD int64
	// LockedNanoUSD is tied up in orders that are not filled yet.
	LockedNanoUSD, TotalNanoUSD int64
	// Status is the account's own, such as active; "" where it does not say.
	Status string
}

// Balance is what an account has of one instrument for inference, in tokens, rounded
// down. It can be negative.
type Balance struct {
	// Instrument is the name that requests use; the market's own id where the name is
	// not listed.
	Instrument, InstrumentID string
	Tokens                   int64 // available
	// CommittedTokens are set aside, for requests in flight presumably.
	CommittedTokens, TotalTokens int64
	Status                       string
	// Available is the balance as the market writes it, whatever its unit.
	Available string
}

type wireBalance struct {
	InstrumentID loose `json:"instrument_id"`
	Symbol       loose `json:"symbol"`
	Currency     loose `json:"currency"`
	Status       loose `json:"status"`
	Total        loose `json:"total_balance"`
	Available    loose `json:"available_balance"`
	Locked       loose `json:"locked_balance"`
	Committed    loose `json:"committed_balance"`
}

// Credits asks for the USD balance.
func (t *Trading) Credits(ctx context.Context) (Credits, error) {
	var sum Credits
	found := false
	for raw, err := range t.account.pages(ctx, t.at("currency-trading-accounts")) {
		if err != nil {
			return Credits{}, explain(err)
		}
		var w wireBalance
		if json.Unmarshal(raw, &w) != nil || w.Currency != "" && !strings.EqualFold(string(w.Currency), "USD") {
			continue
		}
		available, ok := signedDecimal(string(w.Available), nanoPerUSD)
		if !ok {
			continue
		}
		locked, _ := signedDecimal(string(w.Locked), nanoPerUSD)
		total, ok := signedDecimal(string(w.Total), nanoPerUSD)
		if !ok {
			total = plus(available, locked)
		}
		found = true
		sum.AvailableNanoUSD = plus(sum.AvailableNanoUSD, available)
		sum.LockedNanoUSD = plus(sum.LockedNanoUSD, locked)
		sum.TotalNanoUSD = plus(sum.TotalNanoUSD, total)
		if sum.Status == "" {
			sum.Status = string(w.Status)
		}
	}
	if !found {
		return Credits{}, &Error{Class: ClassMalformed, kind: ErrMalformed, cause: errors.New("no USD balance was listed")}
	}
	return sum, nil
}

// Balances asks for the tokens of every instrument that the account has a balance of.
func (t *Trading) Balances(ctx context.Context) ([]Balance, error) {
	scale := 6 // Units
	if t.inTokens {
		scale = 0
	}
	var balances []Balance
	named := true
	for raw, err := range t.account.pages(ctx, t.at("consumption-accounts")) {
		if err != nil {
			return nil, explain(err)
		}
		var w wireBalance
		if json.Unmarshal(raw, &w) != nil {
			continue
		}
		available, ok := signedDecimal(string(w.Available), scale)
		if !ok {
			continue
		}
		b := Balance{Instrument: string(w.Symbol), InstrumentID: string(w.InstrumentID), Tokens: available, Status: string(w.Status), Available: string(w.Available)}
		b.CommittedTokens, _ = signedDecimal(string(w.Committed), scale)
		if b.TotalTokens, ok = signedDecimal(string(w.Total), scale); !ok {
			b.TotalTokens = plus(b.Tokens, b.CommittedTokens)
		}
		named = named && b.Instrument != ""
		balances = append(balances, b)
	}
	if named {
		return balances, nil
	}
	names, err := t.names(ctx)
	if err != nil {
		return nil, err
	}
	for i := range balances {
		b := &balances[i]
		if b.Instrument != "" {
			continue
		}
		if b.Instrument = names[b.InstrumentID]; b.Instrument == "" {
			b.Instrument = b.InstrumentID
		}
	}
	return balances, nil
}

// names maps the market's ids to the names that requests use.
func (t *Trading) names(ctx context.Context) (map[string]string, error) {
	names := make(map[string]string)
	for raw, err := range t.account.pages(ctx, t.at("instruments")) {
		if err != nil {
			return nil, explain(err)
		}
		var w struct {
			ID     loose `json:"id"`
			Symbol loose `json:"symbol"`
		}
		if json.Unmarshal(raw, &w) == nil && w.Symbol != "" {
			names[string(w.ID)] = strings.ToLower(string(w.Symbol))
		}
	}
	return names, nil
}

// Balance asks for one instrument's tokens and the account's credits in nano-USD: what
// tells an instrument that is being filled from an account that has run out. An
// instrument without a balance has none.
func (t *Trading) Balance(ctx context.Context, instrument string) (tokens, creditsNanoUSD int64, err error) {
	credits, err := t.Credits(ctx)
	if err != nil {
		return 0, 0, err
	}
	balances, err := t.Balances(ctx)
	if err != nil {
		return 0, 0, err
	}
	for _, b := range balances {
		if b.Instrument == instrument {
			tokens = plus(tokens, b.Tokens)
		}
	}
	return tokens, credits.AvailableNanoUSD, nil
}

// Diagnostics asks the Trading API for its self check of the account.
func (t *Trading) Diagnostics(ctx context.Context) (*Diagnostics, error) {
	d, err := t.account.diagnostics(ctx, t.at("diagnostics"))
	return d, explain(err)
}
