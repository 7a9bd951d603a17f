package grid

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// CheckConfig says what Check looks at.
type CheckConfig struct {
	// Config is the client's, mistakes and all.
	Config Config
	// Trading reads balances and settings; nil leaves both to what the consumption key
	// shows.
	Trading *TradingConfig
	// Instrument, unless "", is asked for with one small request that goes to the first
	// hop only. The redirect is looked at and not followed, so nothing is generated. A
	// dry instrument may start to be topped up by that.
	Instrument string
}

// Check looks at everything that must be right before an agent can spend: key, base URL,
// redirect, instruments, balances, top-up settings. It takes what the credentials let it
// see and says what they do not. Nothing is generated and nothing is changed.
//
// Every failure is a finding: Check itself does not fail.
func Check(ctx context.Context, cfg CheckConfig) *Report {
	r := &Report{}
	client, err := New(cfg.Config)
	if err != nil {
		r.mistakes(err, "configuration")
	} else {
		defer client.Close()
		r.checkBase(client)
		r.checkKey(ctx, client)
		r.checkModels(ctx, client)
		r.checkRedirect(ctx, client, cfg.Instrument)
	}
	r.checkAccount(ctx, cfg, client)
	return r
}

// mistakes turns an error of a constructor into findings: its lines name the field, what
// is wrong, and what to write instead.
func (r *Report) mistakes(err error, subject string) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		text, mend := strings.TrimPrefix(line, "grid: "), ""
		if at := strings.LastIndex(text, ": "); strings.Count(text, ": ") > 1 && at > 0 {
			text, mend = text[:at], text[at+2:]
		}
		r.add(LevelFail, subject, mend, "%s", text)
	}
}

// blame turns an error of a request into a finding.
func (r *Report) blame(err error, subject string) {
	var e *Error
	if !errors.As(err, &e) {
		r.add(LevelFail, subject, "", "%s", strings.TrimPrefix(err.Error(), "grid: "))
		return
	}
	mend := e.hint()
	if e.Class == ClassTransport || e.Class == ClassAmbiguous || e.Class == ClassDeadline {
		mend = "check the base URL, the network and the proxy"
	}
	r.add(LevelFail, subject, mend, "%s", strings.TrimPrefix(e.text(), "grid: "))
}

func (r *Report) checkBase(c *Client) {
	base := c.base.String()
	switch {
	case base == DefaultBaseURL:
		r.add(LevelOK, "base url", "", "%s, the market's consumption API", base)
	case strings.HasPrefix(c.base.Hostname(), "messages"):
		r.add(LevelFail, "base url", "use "+DefaultBaseURL, "%s speaks another protocol than chat completions", base)
	case strings.HasPrefix(c.base.Hostname(), "trading."), strings.HasPrefix(c.base.Hostname(), "platform."):
		r.add(LevelFail, "base url", "use "+DefaultBaseURL, "%s serves accounts, not inference", base)
	case loopback(c.base.Hostname()):
		r.add(LevelNote, "base url", "", "%s is on this machine", base)
	case thegrid(c.base.Hostname()):
		r.add(LevelNote, "base url", "for real traffic use "+DefaultBaseURL, "%s is not the market's production API", base)
	default:
		r.add(LevelNote, "base url", "", "%s is not the market's own: a gateway, presumably; the key goes there", base)
	}
}

// skewed is how wrong a clock may be before signatures are refused, with room to spare.
const skewed = 20 * time.Second

func (r *Report) checkKey(ctx context.Context, c *Client) {
	began := time.Now()
	d, err := c.Diagnostics(ctx)
	var e *Error
	switch {
	case err == nil:
		r.add(LevelOK, "key", "", "the market takes it for inference")
		r.checkClock(d.ServerTime, began)
		r.diagnosed(d)
		return
	case errors.As(err, &e) && e.Class == ClassAuth:
		r.add(LevelFail, "key", "make a consumption key under Profile > API Keys; a trading key is not one", "the market refuses it: %s", e.Message)
		return
	case !errors.As(err, &e) || e.Class != ClassNotFound:
		r.blame(err, "key")
		return
	}
	// No diagnostics here: a list of one receipt tells as much of the key.
	for _, err := range c.Receipts(ctx, ReceiptFilter{}) {
		if err == nil {
			break
		}
		if !errors.As(err, &e) || e.Class != ClassNotFound {
			r.blame(err, "key")
			return
		}
		r.add(LevelNote, "key", "name an instrument to ask for", "its form is right; this server has nothing that tells more without a request for inference")
		return
	}
	r.add(LevelOK, "key", "", "the market takes it")
}

// checkClock compares clocks: a signature is good for 30 seconds.
func (r *Report) checkClock(server, began time.Time) {
	if server.IsZero() {
		return
	}
	// The answer was written at some time between began and now.
	off := time.Duration(0)
	if now := time.Now(); server.Before(began) {
		off = server.Sub(began)
	} else if server.After(now) {
		off = server.Sub(now)
	}
	if off.Abs() > skewed {
		r.add(LevelWarn, "clock", "set it by a time server: signed requests are refused from 30 seconds on", "this machine's clock is %v off the market's", off.Abs().Round(time.Second))
	}
}

// diagnosed passes on what the market itself finds.
func (r *Report) diagnosed(d *Diagnostics) {
	for _, check := range d.Checks {
		level := LevelNote
		switch check.Status {
		case "ok":
			continue
		case "warn":
			level = LevelWarn
		case "fail":
			level = LevelFail
		}
		r.add(level, "market: "+check.Name, check.NextAction, "%s (%s)", check.Detail, check.Code)
	}
}

func (r *Report) checkModels(ctx context.Context, c *Client) {
	models, err := c.Models(ctx)
	if err != nil {
		r.blame(err, "instruments")
		return
	}
	r.Models = models
	live, priced := 0, 0
	listed := make(map[string]bool, len(models))
	for _, m := range models {
		listed[m.ID] = true
		if m.Status == StatusLive {
			live++
		}
		if m.PriceNanoUSDPerUnit > 0 {
			priced++
		}
	}
	if len(models) == 0 {
		r.add(LevelFail, "instruments", "add credits or switch on Auto Top Up: the market may list only what the account can consume", "the market lists none")
		return
	}
	r.add(LevelOK, "instruments", "", "%d are listed, %d of them live, %d with a price", len(models), live, priced)
	if priced < len(models) {
		r.add(LevelWarn, "prices", "set MaxPriceNanoUSD (max_price in the file) of the instruments you use: without a price a money cap cannot hold", "%d of the listed instruments have none", len(models)-priced)
	}
	var missing []string
	for _, in := range c.catalogue.List() {
		if !listed[in.ID] {
			missing = append(missing, in.ID)
		}
	}
	if len(missing) > 0 {
		r.add(LevelWarn, "instruments", "leave them out of the routes, or fund them", "the market does not list %s", strings.Join(missing, ", "))
	}
}

// checkRedirect sends one request to the first hop and does not follow it.
func (r *Report) checkRedirect(ctx context.Context, c *Client, instrument string) {
	const subject = "redirect"
	if instrument == "" {
		r.add(LevelNote, subject, "name an instrument to ask for", "not looked at")
		return
	}
	status, location, text, err := c.knock(ctx, instrument)
	switch {
	case err != nil:
		r.blame(err, subject)
	case status == http.StatusTemporaryRedirect || status == http.StatusPermanentRedirect:
		r.redirected(c, location)
	case status < 300:
		r.add(LevelNote, subject, "", "%s was answered without one; that answer was paid for", instrument)
	case status == http.StatusPaymentRequired:
		r.add(LevelWarn, subject, "wait for the top-up, or add credits and switch on Auto Top Up", "%s is dry, or the credits are used up: %s", instrument, text)
	case status == http.StatusServiceUnavailable:
		r.add(LevelNote, subject, "", "%s is being topped up or overloaded: %s", instrument, text)
	case status == http.StatusNotFound:
		r.add(LevelFail, subject, "take a name from the market's list", "there is no instrument %s here: %s", instrument, text)
	default:
		r.add(LevelFail, subject, "", "%s was refused with status %d: %s", instrument, status, text)
	}
}

func (r *Report) redirected(c *Client, location string) {
	x := exchange{client: c, first: c.chat, hops: 1}
	res := &http.Response{StatusCode: http.StatusTemporaryRedirect, Header: http.Header{"Location": {location}}}
	next, err := x.follow(res, c.chat)
	switch {
	case err != nil:
		r.add(LevelFail, "redirect", "check RedirectHosts", "it would not be followed: %v", err)
	case x.own(next):
		r.add(LevelOK, "redirect", "", "requests go on at the same host")
	case len(c.hosts) == 0:
		r.add(LevelOK, "redirect", "let the firewall pass "+next.Host+", where there is one", "requests go on at %s, without the key", next.Host)
	default:
		r.add(LevelOK, "redirect", "", "requests go on at %s, which is in RedirectHosts", next.Host)
	}
}

// knock asks the first hop for the smallest answer there is.
func (c *Client) knock(ctx context.Context, instrument string) (status int, location, text string, err error) {
	k := call{client: c, req: &Request{Instrument: instrument, Messages: []Message{UserMessage("ping")}, MaxTokens: 1}, began: time.Now()}
	if err := k.prepare(); err != nil {
		return 0, "", "", err
	}
	x := exchange{client: c, method: http.MethodPost, first: c.chat, header: c.header(make(http.Header, 5), false), body: k.render(1)}
	res, err := x.hop(ctx, c.chat, x.header)
	if err != nil {
		sig, _ := x.signalOf(err)
		return 0, "", "", k.fail(lookup(sig, 0, 1).class, safeCause(err, c.key))
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorBytes))
	if res.StatusCode >= 400 {
		text = hideKey(readFault(b).message, c.key)
	}
	return res.StatusCode, res.Header.Get("Location"), text, nil
}

// checkAccount looks at what pays.
func (r *Report) checkAccount(ctx context.Context, cfg CheckConfig, client *Client) {
	if cfg.Trading == nil {
		mend := fmt.Sprintf("set %s (a trading key) or %s (an access token)", TradingKeyVariable, AccessTokenVariable)
		r.add(LevelNote, "balances", mend, "not visible with a consumption key")
		r.add(LevelNote, "auto top up", mend, "not visible with a consumption key")
		r.add(LevelNote, "auto-reload", "set "+AccessTokenVariable+", or look at the dashboard", "not visible with a consumption key")
		return
	}
	t, err := NewTrading(*cfg.Trading)
	if err != nil {
		r.mistakes(err, "trading key")
		return
	}
	defer t.Close()
	credits, err := t.Credits(ctx)
	if err != nil {
		r.blame(err, "credits")
	} else {
		r.Credits = &credits
	}
	if balances, err := t.Balances(ctx); err != nil {
		r.blame(err, "balances")
	} else {
		r.Balances = balances
	}
	settings, err := t.Settings(ctx)
	if err != nil {
		r.blame(err, "settings")
	}
	r.Settings = &settings
	r.judgeCredits()
	r.judgeBalances(client)
	r.judgeSettings()
}

func (r *Report) judgeCredits() {
	if r.Credits == nil {
		return
	}
	reload := r.Settings.AutoReload != nil && *r.Settings.AutoReload
	switch n := r.Credits.AvailableNanoUSD; {
	case n <= 0 && reload:
		r.add(LevelWarn, "credits", "see whether the card was declined, or the monthly limit is reached", "%s: nothing can be bought until the card pays", dollars(n))
	case n <= 0:
		r.add(LevelFail, "credits", "add credits, or switch on Auto-Reload", "%s: nothing can be bought, and requests are answered with 402", dollars(n))
	default:
		r.add(LevelOK, "credits", "", "%s available, %s locked in orders", dollars(n), dollars(r.Credits.LockedNanoUSD))
	}
}

func (r *Report) judgeBalances(client *Client) {
	fed := r.Settings.AutoTopUp != nil && *r.Settings.AutoTopUp
	var known []string
	if client != nil {
		for _, in := range client.catalogue.List() {
			known = append(known, in.ID)
		}
	}
	held := 0
	for _, b := range r.Balances {
		if b.Tokens > 0 {
			held++
			r.add(LevelOK, "balance "+b.Instrument, "", "%d tokens", b.Tokens)
			continue
		}
		if !fed && slices.Contains(known, b.Instrument) {
			r.add(LevelWarn, "balance "+b.Instrument, "buy some, or switch on Auto Top Up", "%d tokens: requests are answered with 402", b.Tokens)
		}
	}
	if r.Balances != nil && held == 0 && fed {
		r.add(LevelNote, "balances", "", "no instrument has tokens; the first request of each starts a purchase and waits for it")
	}
}

func (r *Report) judgeSettings() {
	s := r.Settings
	const see = "look at the dashboard, or set " + AccessTokenVariable
	switch {
	case s.AutoTopUp == nil && s.Mode == ModeAdvanced:
		r.add(LevelWarn, "auto top up", see, "advanced mode; whether it is on cannot be seen, and without it a dry instrument stays dry until you buy")
	case s.AutoTopUp == nil:
		r.add(LevelNote, "auto top up", see, "not visible with these credentials")
	case !*s.AutoTopUp:
		r.add(LevelWarn, "auto top up", "switch it on, or buy in OnDry with Funding set to advanced", "off: a dry instrument stays dry until you buy")
	case s.TopUpTokens != nil && s.TopUpTrigger != nil:
		r.add(LevelOK, "auto top up", "", "on: %d tokens at a time, below %d left", *s.TopUpTokens, *s.TopUpTrigger)
	default:
		r.add(LevelOK, "auto top up", "", "on; its size and trigger are not visible with these credentials")
	}
	switch {
	case s.AutoReload == nil:
		r.add(LevelNote, "auto-reload", see, "not visible with these credentials")
	case !*s.AutoReload:
		r.add(LevelWarn, "auto-reload", "switch it on with a monthly limit, or watch the credits", "off: when the credits are used up everything stops")
	default:
		limit := "no monthly limit"
		mend := "set a monthly limit: a loop that runs away is paid by the card"
		if s.ReloadLimit != nil {
			limit, mend = dollars(*s.ReloadLimit)+" a month at most", ""
		}
		level := LevelOK
		if mend != "" {
			level = LevelWarn
		}
		r.add(level, "auto-reload", mend, "on: %s when the credits fall below %s, %s", dollarsOr(s.ReloadAmount), dollarsOr(s.ReloadThreshold), limit)
	}
}

func dollarsOr(n *int64) string {
	if n == nil {
		return "an unknown amount"
	}
	return dollars(*n)
}
