package grid

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
)

// The modes of an account.
const (
	ModeAuto     = "easy"     // the market buys by itself
	ModeAdvanced = "advanced" // the account's owner buys
)

// Settings is how an account is set, as far as the credentials let it be seen: what is
// nil, "" or 0 was not visible.
type Settings struct {
	// Mode is ModeAuto or ModeAdvanced.
	Mode string
	// AutoTopUp is whether tokens are bought when an instrument runs dry, which the auto
	// mode always does. TopUpTokens and TopUpTrigger are the size of a purchase and the
	// balance below which it is made, in tokens.
	AutoTopUp                 *bool
	TopUpTokens, TopUpTrigger *int64
	// AutoReload is whether a card is charged when the credits fall below a threshold.
	// All amounts are nano-USD; a nil ReloadLimit may also mean that there is none.
	AutoReload                                 *bool
	ReloadThreshold, ReloadAmount, ReloadLimit *int64
	// Raw is the platform's own answer; nil without an access token.
	Raw json.RawMessage
}

// Funding is what the settings say of how dry balances are filled: FundingUnknown where
// Auto Top Up was not visible.
func (s Settings) Funding() Funding {
	switch {
	case s.AutoTopUp == nil:
		return FundingUnknown
	case *s.AutoTopUp:
		return FundingAuto
	}
	return FundingAdvanced
}

type wireSettings struct {
	AccountMode     loose `json:"account_mode"`
	Mode            loose `json:"mode"`
	AutoBuy         *bool `json:"auto_buy_enabled"`
	AutoTopUp       *bool `json:"auto_top_up_enabled"` // its name until August 2026
	BuyQuantity     loose `json:"auto_buy_quantity"`
	BuyTrigger      loose `json:"auto_buy_trigger_threshold"`
	Reload          *bool `json:"auto_reload_enabled"`
	ReloadThreshold loose `json:"auto_reload_threshold_usd"`
	ReloadAmount    loose `json:"auto_reload_amount_usd"`
	ReloadLimit     loose `json:"auto_reload_monthly_limit_usd"`
}

// Settings asks how the account is set. With a trading key alone that is its mode; with
// an access token all of it. An error stands beside what could be read all the same.
func (t *Trading) Settings(ctx context.Context) (Settings, error) {
	var s Settings
	var errs []error
	read := func(c *Client, from source) {
		b, err := c.fetch(ctx, from)
		if err != nil {
			if c == t.platform {
				errs = append(errs, advise(err, "check the access token: it lives for an hour and needs the scope account:read"))
			} else {
				errs = append(errs, explain(err))
			}
			return
		}
		b = unwrapped(b)
		if !s.take(b) {
			errs = append(errs, &Error{Class: ClassMalformed, kind: ErrMalformed, cause: errJSON})
		} else if c == t.platform {
			s.Raw = append(json.RawMessage(nil), b...)
		}
	}
	if t.token != "" {
		read(t.platform, source{path: []string{"self", "system-settings"}, sign: t.bear})
	}
	if s.Mode == "" {
		read(t.account, t.at("me"))
	}
	if s.AutoTopUp == nil && s.Mode == ModeAuto {
		on := true
		s.AutoTopUp = &on
	}
	return s, errors.Join(errs...)
}

// take reads what is there and leaves the rest as it is.
func (s *Settings) take(b []byte) bool {
	var w wireSettings
	if json.Unmarshal(b, &w) != nil {
		return false
	}
	for _, mode := range []loose{w.AccountMode, w.Mode} {
		switch v := strings.ToLower(string(mode)); v {
		case "":
		case "auto":
			s.Mode = ModeAuto
		default:
			s.Mode = printable(v)
		}
		if s.Mode != "" {
			break
		}
	}
	for _, on := range []struct {
		to   **bool
		from *bool
	}{{&s.AutoTopUp, w.AutoTopUp}, {&s.AutoTopUp, w.AutoBuy}, {&s.AutoReload, w.Reload}} {
		if on.from != nil {
			*on.to = on.from
		}
	}
	for _, n := range []struct {
		to    **int64
		from  loose
		scale int
	}{
		{&s.TopUpTokens, w.BuyQuantity, 6}, {&s.TopUpTrigger, w.BuyTrigger, 6},
		{&s.ReloadThreshold, w.ReloadThreshold, nanoPerUSD}, {&s.ReloadAmount, w.ReloadAmount, nanoPerUSD}, {&s.ReloadLimit, w.ReloadLimit, nanoPerUSD},
	} {
		if v, ok := signedDecimal(string(n.from), n.scale); ok && n.from != "" {
			*n.to = &v
		}
	}
	return true
}
