package grid

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"
)

// WatchProfile says which of the two balances matters more.
type WatchProfile string

// Who watches what: a batch drains an instrument long before the account's credits, an
// interactive service with little volume meets empty credits first.
const (
	WatchInteractive WatchProfile = "interactive"
	WatchBatch       WatchProfile = "batch"
)

// WatchConfig says when a balance is low. A threshold of 0 means the profile's default, a
// negative one that this balance is not watched.
type WatchConfig struct {
	// Profile decides the order of alerts and the defaults: interactive ("" too) tells of
	// credits first, below $10, and of instruments below 500,000 tokens; batch of
	// instruments first, below 5,000,000 tokens, and of credits below $2.
	Profile WatchProfile
	// CreditsNanoUSD is the threshold of the account's credits, in nano-USD.
	CreditsNanoUSD int64
	// Tokens are thresholds by instrument, AllTokens that of the others the account has a
	// balance of.
	Tokens    map[string]int64
	AllTokens int64
	// Every is the time between two looks; 0 means a minute.
	Every time.Duration
}

// AlertKind says what happened to a balance.
type AlertKind string

// What can happen to a balance.
const (
	AlertLow       AlertKind = "low"       // it fell below its threshold
	AlertEmpty     AlertKind = "empty"     // nothing is left
	AlertRecovered AlertKind = "recovered" // it is above its threshold again; after low, by a tenth
)

// Alert is a balance that changed its state. Each change is told once.
type Alert struct {
	Kind AlertKind
	// Instrument is whose tokens are told of; "" for the account's credits.
	Instrument string
	// Left and Threshold are tokens of an instrument, nano-USD of the credits.
	Left, Threshold int64
	At              time.Time
}

func (a Alert) String() string {
	what, left, threshold := a.Instrument, fmt.Sprintf("%d tokens", a.Left), fmt.Sprintf("%d", a.Threshold)
	if a.Instrument == "" {
		what, left, threshold = "credits", dollars(a.Left), dollars(a.Threshold)
	}
	switch a.Kind {
	case AlertEmpty:
		return fmt.Sprintf("%s: nothing is left (%s)", what, left)
	case AlertRecovered:
		return fmt.Sprintf("%s: %s again", what, left)
	}
	return fmt.Sprintf("%s: %s left, below %s", what, left, threshold)
}

// Watch looks at both balances of an account. It starts no goroutine: looking is Check,
// and Alerts looks as long as it is ranged over. It is not safe for concurrent use.
type Watch struct {
	account *Trading
	cfg     WatchConfig
	states  map[string]AlertKind // by instrument, "" for credits; none while all is well
}

// NewWatch checks the configuration. Nothing is asked.
func NewWatch(account *Trading, cfg WatchConfig) (*Watch, error) {
	var mistakes []error
	if account == nil {
		mistakes = append(mistakes, errors.New("grid: NewWatch: there is no account: balances are read with NewTrading"))
	}
	credits, tokens := int64(10_000_000_000), int64(500_000)
	switch cfg.Profile {
	case "":
		cfg.Profile = WatchInteractive
	case WatchInteractive:
	case WatchBatch:
		credits, tokens = 2_000_000_000, 5_000_000
	default:
		mistakes = append(mistakes, fmt.Errorf("grid: WatchConfig.Profile %q: use %s or %s", cfg.Profile, WatchInteractive, WatchBatch))
	}
	if cfg.CreditsNanoUSD == 0 {
		cfg.CreditsNanoUSD = credits
	}
	if cfg.AllTokens == 0 {
		cfg.AllTokens = tokens
	}
	if cfg.Every < 0 {
		mistakes = append(mistakes, fmt.Errorf("grid: WatchConfig.Every %v is negative: leave it 0 for a minute", cfg.Every))
	}
	cfg.Every = orDuration(cfg.Every, time.Minute)
	cfg.Tokens = maps.Clone(cfg.Tokens)
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	return &Watch{account: account, cfg: cfg, states: make(map[string]AlertKind)}, nil
}

// Check looks once and returns what changed since it last did: what the profile watches
// first, and the most urgent of it before the rest. When one of the balances cannot be
// read, what the other says is returned beside the error.
func (w *Watch) Check(ctx context.Context) ([]Alert, error) {
	now := time.Now()
	var credits, tokens []Alert
	var errs []error
	if w.cfg.CreditsNanoUSD > 0 {
		c, err := w.account.Credits(ctx)
		if err != nil {
			errs = append(errs, err)
		} else {
			credits = w.judge(credits, "", c.AvailableNanoUSD, w.cfg.CreditsNanoUSD, now)
		}
	}
	if w.watchesTokens() {
		all, err := w.account.Balances(ctx)
		if err != nil {
			errs = append(errs, err)
		} else {
			tokens = w.judgeAll(all, now)
		}
	}
	if w.cfg.Profile == WatchBatch {
		return append(tokens, credits...), errors.Join(errs...)
	}
	return append(credits, tokens...), errors.Join(errs...)
}

func (w *Watch) watchesTokens() bool {
	if w.cfg.AllTokens > 0 {
		return true
	}
	for _, threshold := range w.cfg.Tokens {
		if threshold > 0 {
			return true
		}
	}
	return false
}

// judgeAll looks at each instrument's tokens; one that has a threshold of its own but no
// balance has none.
func (w *Watch) judgeAll(all []Balance, now time.Time) (alerts []Alert) {
	left := make(map[string]int64, len(all))
	for _, b := range all {
		left[b.Instrument] = plus(left[b.Instrument], b.Tokens)
	}
	for id := range w.cfg.Tokens {
		left[id] += 0
	}
	for _, id := range slices.Sorted(maps.Keys(left)) {
		threshold, own := w.cfg.Tokens[id]
		if !own {
			threshold = w.cfg.AllTokens
		}
		if threshold > 0 {
			alerts = w.judge(alerts, id, left[id], threshold, now)
		}
	}
	slices.SortStableFunc(alerts, func(a, b Alert) int { return urgency(a.Kind) - urgency(b.Kind) })
	return alerts
}

func urgency(k AlertKind) int {
	return slices.Index([]AlertKind{AlertEmpty, AlertLow, AlertRecovered}, k)
}

func (w *Watch) judge(alerts []Alert, id string, left, threshold int64, now time.Time) []Alert {
	was := w.states[id]
	is := was
	switch {
	case left <= 0:
		is = AlertEmpty
	case left < threshold:
		is = AlertLow
	// A balance that hovers about its threshold is not told of each time.
	case left >= plus(threshold, threshold/10):
		is = ""
	case was == AlertEmpty:
		is = ""
	}
	if is == was {
		return alerts
	}
	w.states[id] = is
	a := Alert{Kind: is, Instrument: id, Left: left, Threshold: threshold, At: now}
	if is == "" {
		a.Kind = AlertRecovered
	}
	return append(alerts, a)
}

// Alerts looks now and then every WatchConfig.Every, on the goroutine that ranges, until
// the loop is left or ctx ends. What cannot be read is yielded as an error; going on
// looks again at the next time.
func (w *Watch) Alerts(ctx context.Context) iter.Seq2[Alert, error] {
	return func(yield func(Alert, error) bool) {
		tick := time.NewTicker(w.cfg.Every)
		defer tick.Stop()
		for ctx.Err() == nil {
			alerts, err := w.Check(ctx)
			for _, a := range alerts {
				if !yield(a, nil) {
					return
				}
			}
			if err != nil && ctx.Err() == nil && !yield(Alert{}, err) {
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}
}
