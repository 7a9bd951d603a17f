package grid

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	openai "github.com/sashabaranov/go-openai"
)

const (
	// DefaultBaseURL is the market's consumption API.
	DefaultBaseURL = "https://api.thegrid.ai/v1"
	// KeyVariable is the environment variable that holds the key where Config has none.
	KeyVariable = "THEGRID_API_KEY"

	defaultMaxResponse = 64 << 20
	defaultMaxHops     = 3
)

// Config says how to reach the market. Its zero value asks DefaultBaseURL with the key
// in THEGRID_API_KEY.
type Config struct {
	// APIKey is a consumption key; "" takes OpenAI's, or else that of the environment.
	APIKey string
	// BaseURL is https, or http on the own machine, and ends in /v1; "" means OpenAI's,
	// or else DefaultBaseURL. A slash at its end is dropped.
	BaseURL string
	// HTTPClient is used as given, with its timeout, jar and transport; only redirects
	// are followed by this package instead, on a copy. nil means a client of our own
	// whose transport holds thousands of runs.
	HTTPClient *http.Client
	// OpenAI configures the client from go-openai's value: key, base URL, organisation
	// and HTTP client, each unless it is set above.
	OpenAI *openai.ClientConfig
	// RedirectHosts are the hosts (with port where it is not the scheme's) that a
	// redirect may lead to besides the base URL's own, and that may see the key. Empty
	// means any https host, and without TLS any of this machine, without the key.
	RedirectHosts []string
	Retry         Retry
	// Rates bounds what is asked of each instrument, by its name; "" is for those that
	// are not named. None is no bound.
	Rates map[string]Rate
	// Funding says how dry balances are filled.
	Funding Funding
	// OnDry buys tokens of an instrument with FundingAdvanced. One call at a time is
	// made for each instrument, on the goroutine and with the context of the call that
	// found it dry; the others wait for it within their Request.Wait. After nil the
	// instrument is asked again; an error ends all calls that wait.
	OnDry func(ctx context.Context, instrument string) error
	// Balance tells a top-up under way from credits that are used up, where a 402 does
	// not say: tokens of the instrument and the account's credits in nano-USD. It has
	// 5 s. nil is not to ask.
	Balance func(ctx context.Context, instrument string) (tokens, credits int64, err error)
	// DryTexts are asked before the built-in words, the first that fits holds.
	DryTexts []DryText
	// Catalogue is shared, not copied; nil means DefaultCatalogue.
	Catalogue *Catalogue
	// OnChange is told what a Refresh changed in the catalogue, on the goroutine that
	// refreshes: new and vanished instruments, status, limits, live prices. nil for nobody.
	OnChange func([]Change)
	// MaxResponseBytes bounds an answer; 0 means 64 MiB.
	MaxResponseBytes int64
	// MaxHops bounds the redirects that one attempt follows; 0 means 3.
	MaxHops int
	// Rand returns numbers in [0, 1) for jitter; nil means math/rand. It must be safe
	// for concurrent use.
	Rand func() float64
}

// settings is a Config that was found to be right.
type settings struct {
	key       string
	org       string
	base      *url.URL
	chat      *url.URL
	chatURL   string // the same
	doer      openai.HTTPDoer
	transport ownTransport // else nil
	rates     map[string]Rate
	funding   Funding
	onDry     func(ctx context.Context, instrument string) error
	balance   func(ctx context.Context, instrument string) (tokens, credits int64, err error)
	dryTexts  []DryText
	hosts     map[string]bool
	onChange  func([]Change)
}

func (c Config) settle() (settings, error) {
	var s settings
	var mistakes []error
	wrong := func(field, format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("grid: Config.%s: "+format, append([]any{field}, args...)...))
	}
	base, keyField := c.BaseURL, "APIKey"
	s.key = c.APIKey
	var given openai.HTTPDoer
	if c.OpenAI != nil {
		if t := c.OpenAI.APIType; t != openai.APITypeOpenAI && t != "" {
			wrong("OpenAI", "API type %s is not supported: use openai.DefaultConfig", t)
		}
		token, org := credentials(*c.OpenAI)
		if s.key == "" && token != "" {
			s.key, keyField = token, "OpenAI"
		}
		s.org = org
		given = c.OpenAI.HTTPClient
		if base == "" {
			base = c.OpenAI.BaseURL
			if base == openai.DefaultConfig("").BaseURL {
				wrong("OpenAI", "BaseURL is go-openai's default: set it to %s, or name another in Config.BaseURL", DefaultBaseURL)
			}
		}
	}
	if s.key == "" {
		s.key, keyField = os.Getenv(KeyVariable), "APIKey (from "+KeyVariable+")"
	}
	if fault := keyFault(s.key); fault != "" {
		wrong(keyField, "%s", fault)
	}
	if base == "" {
		base = DefaultBaseURL
	}
	if u, err := baseURL(base); err != nil {
		wrong("BaseURL", "%v", err)
	} else {
		s.base = u
		s.chat = u.JoinPath("chat", "completions")
		s.chatURL = s.chat.String()
	}
	s.onChange = c.OnChange
	s.hosts = make(map[string]bool, len(c.RedirectHosts))
	for _, h := range c.RedirectHosts {
		if h == "" || strings.ContainsAny(h, "/?#@ *") {
			wrong("RedirectHosts", "%q is not a host: write it as synapse.thegrid.ai or localhost:8080", h)
		}
		s.hosts[strings.ToLower(h)] = true
	}
	if c.MaxResponseBytes < 0 {
		wrong("MaxResponseBytes", "%d is negative: leave it 0 for 64 MiB", c.MaxResponseBytes)
	}
	if c.MaxHops < 0 {
		wrong("MaxHops", "%d is negative: leave it 0 for %d", c.MaxHops, defaultMaxHops)
	}
	if r := c.Retry; r.JitterMin < 0 || r.JitterMax < r.JitterMin {
		wrong("Retry", "jitter from %v to %v: set 0 <= JitterMin <= JitterMax", r.JitterMin, r.JitterMax)
	}
	for _, d := range c.Retry.TopUpDelays {
		if d <= 0 {
			wrong("Retry", "top-up delay %v: each must be more than 0", d)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Rates)) {
		if fault := c.Rates[name].fault(); fault != "" {
			wrong("Rates", "%q: %s", name, fault)
		}
	}
	switch {
	case c.Funding != FundingUnknown && c.Funding != FundingAuto && c.Funding != FundingAdvanced:
		wrong("Funding", "%q is unknown: write auto, advanced or nothing", c.Funding)
	case c.OnDry != nil && c.Funding != FundingAdvanced:
		wrong("OnDry", "nobody would call it: set Funding to advanced")
	}
	for _, t := range c.DryTexts {
		if t.Contains == "" || t.Class != ClassTopUp && t.Class != ClassExhausted {
			wrong("DryTexts", "%q means %q: name a text, and topup or exhausted", t.Contains, t.Class)
		}
	}
	s.rates, s.funding, s.onDry, s.balance = maps.Clone(c.Rates), c.Funding, c.OnDry, c.Balance
	s.dryTexts = slices.Clone(c.DryTexts)
	if len(mistakes) > 0 {
		return s, errors.Join(mistakes...)
	}
	switch {
	case c.HTTPClient != nil:
		s.doer = withoutRedirects(c.HTTPClient)
	case given != nil && !plain(given):
		if hc, ok := given.(*http.Client); ok {
			s.doer = withoutRedirects(hc)
		} else {
			s.doer = given
		}
	default:
		s.transport = newTransport()
		s.doer = withoutRedirects(&http.Client{Transport: s.transport})
	}
	return s, nil
}

// plain tells whether a client is the empty one that go-openai puts into each config.
func plain(d openai.HTTPDoer) bool {
	hc, ok := d.(*http.Client)
	return ok && (hc == nil || hc.Transport == nil && hc.Timeout == 0 && hc.Jar == nil && hc.CheckRedirect == nil)
}

// withoutRedirects sends one request at a time. A client without timeout and jar adds
// nothing to its transport, which is then asked directly.
func withoutRedirects(c *http.Client) openai.HTTPDoer {
	if c.Timeout == 0 && c.Jar == nil {
		if c.Transport == nil {
			return roundTripper{http.DefaultTransport}
		}
		return roundTripper{c.Transport}
	}
	own := *c
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own
}

type roundTripper struct{ http.RoundTripper }

func (r roundTripper) Do(req *http.Request) (*http.Response, error) { return r.RoundTrip(req) }

func baseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(raw, "/"))
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("not an absolute URL: write it as %s", DefaultBaseURL)
	}
	switch {
	case u.User != nil:
		return nil, errors.New("it carries a user or password: take them out and set APIKey")
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return nil, errors.New("it has a query or a fragment: end it at /v1")
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return nil, fmt.Errorf("scheme %q would send the key in the clear: use https", u.Scheme)
	case strings.HasSuffix(u.Path, "/v1/v1"):
		return nil, errors.New("it ends in /v1/v1: write /v1 once")
	case strings.HasSuffix(u.Path, "/chat/completions"):
		return nil, errors.New("it names the endpoint: end it at /v1")
	case thegrid(u.Hostname()) && !strings.HasSuffix(u.Path, "/v1"):
		return nil, errors.New("its path is not /v1: end it at /v1")
	}
	return u, nil
}

func thegrid(host string) bool {
	return host == "thegrid.ai" || strings.HasSuffix(host, ".thegrid.ai")
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// keyFault says what is wrong with a key without repeating it.
func keyFault(key string) string {
	switch {
	case key == "":
		return "there is no key: set it, or " + KeyVariable
	case strings.HasPrefix(key, "-----BEGIN") || ed25519Key(key):
		return "this is a trading key (an Ed25519 private key); inference takes a consumption key: make one under Profile > API Keys"
	case strings.HasPrefix(strings.ToLower(key), "bearer "):
		return "it begins with Bearer: give the key alone"
	}
	for _, c := range key {
		if c <= ' ' || c > '~' {
			return "it holds white space or a character no key has: copy it again"
		}
	}
	return ""
}

// ed25519Key knows the base64 of a seed (32 bytes), of seed and public key (64), and
// of the PKCS #8 form. A consumption key is not padded base64 of these lengths.
func ed25519Key(key string) bool {
	b, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		return false
	}
	return strings.HasSuffix(key, "=") && (len(b) == 32 || len(b) == 64) || strings.HasPrefix(key, "MC4CAQAwBQYDK2Vw")
}

// credentials reads the token and organisation that a go-openai config would send.
// The token has no accessor, so a client is built on a copy whose requests end here;
// nothing leaves the process.
func credentials(cfg openai.ClientConfig) (token, org string) {
	var caught capture
	cfg.HTTPClient = &caught
	if cfg.BaseURL == "" {
		cfg.BaseURL = DefaultBaseURL
	}
	_, _ = openai.NewClientWithConfig(cfg).ListModels(context.Background())
	token = strings.TrimPrefix(caught.header.Get("Authorization"), "Bearer ")
	return token, caught.header.Get("OpenAI-Organization")
}

type capture struct{ header http.Header }

func (c *capture) Do(req *http.Request) (*http.Response, error) {
	c.header = req.Header
	return nil, errors.New("nothing is sent")
}
