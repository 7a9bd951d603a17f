package gridtest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config describes a market. The zero value is a good one: the nine
// instruments, $100 of credits, 1,000 Units of each instrument, Auto Top Up on.
type Config struct {
	Instruments []Instrument // nil: Nine()

	// Credits is the account's money in nano-USD. Zero: $100. Negative: none.
	Credits int64

	// Balance is the tokens of each instrument at the start, as one lot at the
	// instrument's price. An instrument that is not named has 1e9; zero is dry.
	Balance map[string]int64

	TopUp TopUp

	// ReceiptDelay is how long after the answer a receipt stays pending.
	// Zero: 300 ms. Negative: none.
	ReceiptDelay time.Duration

	Redirect Redirect
	Dry      Dry

	// CutUnbilled makes answers that did not arrive whole free of charge. By
	// default they are billed in full.
	CutUnbilled bool

	// Profile says how the market behaves where the platform's behaviour is not
	// documented; Redirect, Dry and CutUnbilled come before it where they are set.
	Profile Profile

	// Reload refills the credits from a card. Zero: it is off.
	Reload Reload

	// Latency passes before the first byte of each model answer.
	Latency time.Duration

	// Seed makes keys, ids, redirect tokens and random faults repeatable.
	Seed uint64
}

// TopUp is how the market refills a dry instrument.
type TopUp struct {
	// Manual is Advanced Mode: nothing is bought by itself, and a dry
	// instrument answers 402 until AddLot or SetBalance.
	Manual bool

	// Delay is how long a purchase takes. Zero: 1.5 s. Negative: none.
	Delay time.Duration

	// Quantity is the tokens of one purchase. Zero: 10,000,000 (10 Units).
	// Less is bought when the credits do not suffice.
	Quantity int64

	// Price names the price of an instrument's nth purchase (from 1) in
	// nano-USD per Unit. Nil: the instrument's live price. It must not call
	// the market.
	Price func(instrument string, n int) int64

	// Window is how long bought lots last. Zero: for ever, or as the profile reads.
	Window time.Duration
}

// Reload is Auto-Reload: while the credits are below the threshold a request
// makes the card pay the amount into them. All are nano-USD.
type Reload struct {
	Threshold, Amount int64
	Limit             int64 // of all reloads together. Zero: none
}

// Redirect is where the first hop sends a request.
type Redirect int

const (
	SameHost  Redirect = iota // the same host, path /r/v1/...
	OtherHost                 // another host: localhost for 127.0.0.1, synapse.thegrid.ai in memory
)

// Dry is how an instrument answers while it has no tokens.
type Dry int

const (
	Dry402Then503 Dry = iota // the request that starts the purchase gets 402, those during it 503
	Dry402                   // 402 throughout
	Dry503                   // 503 throughout
)

// A Market is The Grid in this process: one account with its keys, balances,
// models and bill. All methods are safe for concurrent use.
//
// A market that is used inside a testing/synctest bubble must also be made
// there, and be reached by [Market.Transport].
type Market struct {
	config Config
	read   readings
	done   context.Context // ends with Close
	end    context.CancelFunc
	work   sync.WaitGroup // handlers and the server

	mu       sync.Mutex
	closed   bool
	server   *server
	keys     []key
	accounts map[string]*account
	order    []string // instrument ids as configured
	credits  int64
	reloaded int64                  // nano-USD that the card paid so far
	waiting  map[string]*dispatched // by redirect token
	entries  []*entry
	receipts map[string]*entry // by request id
	faults   []*armed
	model    func(Turn) Reply
	scripts  []*Script
	cursors  map[string]*cursor // by conversation
	failures []string
	ids      int // redirect tokens and request ids so far
}

type key struct {
	value, name, id string
	trading         bool
}

// New makes a market. It starts no goroutine. What is wrong with the Config is
// reported by [Market.AssertDone].
func New(config Config) *Market {
	if config.Instruments == nil {
		config.Instruments = Nine()
	}
	config.Credits = orDefault(config.Credits, 100_000_000_000)
	config.TopUp.Delay = orDefault(config.TopUp.Delay, 1500*time.Millisecond)
	config.TopUp.Quantity = orDefault(config.TopUp.Quantity, 10*tokensPerUnit)
	config.ReceiptDelay = orDefault(config.ReceiptDelay, 300*time.Millisecond)

	m := &Market{
		config:   config,
		read:     config.readings(),
		accounts: make(map[string]*account),
		credits:  config.Credits,
		waiting:  make(map[string]*dispatched),
		receipts: make(map[string]*entry),
		cursors:  make(map[string]*cursor),
	}
	if m.read.lotsExpire && config.TopUp.Window == 0 {
		m.config.TopUp.Window = lotWindow
	}
	m.done, m.end = context.WithCancel(context.Background())
	for _, in := range config.Instruments {
		if err := in.problem(); err != nil {
			m.failLocked("config: %v", err)
			continue
		}
		if m.accounts[in.ID] != nil {
			m.failLocked("config: instrument %q is there twice", in.ID)
			continue
		}
		a := &account{instrument: in.withDefaults()}
		a.set(1000 * tokensPerUnit)
		m.accounts[in.ID] = a
		m.order = append(m.order, in.ID)
	}
	if err := config.Profile.problem(); err != nil {
		m.failLocked("config: %v", err)
	}
	if r := config.Reload; r.Threshold < 0 || r.Amount < 0 || r.Limit < 0 {
		m.failLocked("config: reload: %+v: no amount may be negative", r)
	}
	for id, tokens := range config.Balance {
		if a := m.accountLocked("config: balance", id); a != nil {
			a.set(tokens)
		}
	}
	m.keys = []key{{value: m.secret("consumption", 0), name: "default", id: "key_0"}}
	return m
}

// lotWindow is how long bought lots last where they do.
const lotWindow = 4 * time.Hour

// orDefault is n, or the default for zero, or zero for a negative one.
func orDefault[T ~int64](n, otherwise T) T {
	if n == 0 {
		return otherwise
	}
	return max(n, 0)
}

// Key returns the account's first consumption key; its name is "default".
func (m *Market) Key() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keys[0].value
}

// NewKey makes one more consumption key. Names tell keys apart in records and
// bills; a name that is taken already gets the same key again.
func (m *Market) NewKey(name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.newKeyLocked(name, false)
}

// TradingKey returns a key that signs requests to the Trading API, an Ed25519
// seed in base64. It may not ask for inference: the platform answers that with
// 401.
func (m *Market) TradingKey() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.newKeyLocked("trading", true)
}

func (m *Market) newKeyLocked(name string, trading bool) string {
	for _, k := range m.keys {
		if k.name == name && k.trading == trading {
			return k.value
		}
	}
	kind := "consumption"
	if trading {
		kind = "trading"
	}
	n := len(m.keys)
	k := key{value: m.secret(kind, n), name: name, id: fmt.Sprintf("key_%d", n), trading: trading}
	m.keys = append(m.keys, k)
	return k.value
}

// Model sets the func that answers every turn which no script answers. It is
// called on the request's goroutine, in parallel for parallel requests. Without
// it a market without scripts answers each turn with a short greeting.
func (m *Market) Model(answer func(Turn) Reply) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.model = answer
}

// SetBalance replaces all lots of an instrument by one of so many tokens at the
// live price that never expires. A purchase under way stays under way.
func (m *Market) SetBalance(instrument string, tokens int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.accountLocked("SetBalance", instrument); a != nil {
		a.set(tokens)
	}
}

// AddLot adds a lot to an instrument's balance. It costs no credits.
func (m *Market) AddLot(instrument string, l Lot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.accountLocked("AddLot", instrument)
	switch {
	case a == nil:
	case l.Tokens < 0 || l.PriceNanoUSD < 0:
		m.failLocked("AddLot: %d tokens at %d: neither may be negative", l.Tokens, l.PriceNanoUSD)
	default:
		a.advance(time.Now(), m.config.TopUp.Window)
		a.add(l)
	}
}

// Balance returns the tokens left of an instrument. It is negative after an
// overdraft.
func (m *Market) Balance(instrument string) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.accountLocked("Balance", instrument)
	if a == nil {
		return 0
	}
	a.advance(time.Now(), m.config.TopUp.Window)
	return a.balance()
}

// SetPrice changes an instrument's live price, in nano-USD per Unit: the one
// of /v1/models and of the next purchase. Lots keep theirs.
func (m *Market) SetPrice(instrument string, nanoUSD int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.accountLocked("SetPrice", instrument)
	switch {
	case a == nil:
	case nanoUSD < 0:
		m.failLocked("SetPrice: %d is negative", nanoUSD)
	default:
		a.instrument.PriceNanoUSD = nanoUSD
	}
}

// SetCredits sets the account's money, in nano-USD. At zero or below nothing
// is bought and every instrument answers 402.
func (m *Market) SetCredits(nanoUSD int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.credits = nanoUSD
}

// Credits returns the account's money, in nano-USD.
func (m *Market) Credits() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.credits
}

// Bill returns the true bill of a key, named by its value or its name, or of
// the whole account for "": nano-USD, per request the ceiling of the exact sum
// over the lots that it drew, then added up.
func (m *Market) Bill(key string) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.keys {
		if k.value == key {
			key = k.name
		}
	}
	var sum int64
	for _, e := range m.entries {
		if e.Billed && (key == "" || e.Key == key) {
			sum = addSaturating(sum, e.CostNanoUSD)
		}
	}
	return sum
}

// BillByRequest returns what one request cost, in nano-USD; ok says whether a
// request of that id was billed.
func (m *Market) BillByRequest(requestID string) (nanoUSD int64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.receipts[requestID]
	if e == nil || !e.Billed {
		return 0, false
	}
	return e.CostNanoUSD, true
}

// Close ends the server, all requests under way and every goroutine of the
// market, and waits for them, also for a model func that is still thinking.
// Later requests fail.
func (m *Market) Close() {
	m.mu.Lock()
	m.closed = true
	s := m.server
	m.mu.Unlock()
	m.end()
	if s != nil {
		s.close()
	}
	m.work.Wait()
}

var errClosed = errors.New("gridtest: the market is closed: make the request before Close")

// begin admits one more goroutine of the market, unless it is closed.
func (m *Market) begin() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed
	}
	m.work.Add(1)
	return nil
}

// Handler returns the market as a handler for a server of one's own.
func (m *Market) Handler() http.Handler { return http.HandlerFunc(m.serveHTTP) }

func (m *Market) accountLocked(what, instrument string) *account {
	a := m.accounts[instrument]
	if a == nil {
		m.failLocked("%s: there is no instrument %q: it is one of %s", what, instrument, strings.Join(m.order, ", "))
	}
	return a
}

// failLocked notes, once each, what AssertDone reports.
func (m *Market) failLocked(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(m.failures, text) {
		m.failures = append(m.failures, text)
	}
}

// secret derives a repeatable key, 32 bytes in the form of its kind.
func (m *Market) secret(kind string, n int) string {
	if kind == "trading" {
		return m.bytes64(kind, n)
	}
	return "grid_test_" + m.hex(kind, n)
}

// admit decides whether the balance lets a request pass; 0 means yes.
func (m *Market) admitLocked(a *account, now time.Time, maxTokens int64) (status int, detail string) {
	const noCredits = "USD credits are empty"
	const empty = "Insufficient USD balance, or no token capacity available for this instrument"
	const buying = "Balance replenishment in progress. Retry the request after a short delay."
	a.advance(now, m.config.TopUp.Window)
	defer m.reloadLocked() // behind the answer: the request that finds no credits is refused
	least := int64(1)
	if m.read.coveredOnly {
		least = max(maxTokens, 1)
	}
	enough := a.balance() >= least
	if m.credits <= 0 && !(enough && m.read.creditsForDryOnly) {
		if m.read.creditsNamed {
			return http.StatusPaymentRequired, noCredits
		}
		return http.StatusPaymentRequired, empty
	}
	if enough {
		return 0, ""
	}
	first := a.buy == nil
	if first {
		if m.config.TopUp.Manual {
			return http.StatusPaymentRequired, empty
		}
		price := a.instrument.PriceNanoUSD
		if m.config.TopUp.Price != nil {
			price = m.config.TopUp.Price(a.instrument.ID, a.bought+1)
		}
		tokens, cost := a.order(m.config.TopUp.Quantity, price, m.credits, now.Add(m.config.TopUp.Delay))
		if tokens == 0 {
			return http.StatusPaymentRequired, empty
		}
		m.credits -= cost
	}
	if m.read.dry == Dry402 || first && m.read.dry == Dry402Then503 {
		return http.StatusPaymentRequired, empty
	}
	return http.StatusServiceUnavailable, buying
}

// reloadLocked lets the card pay, once, while the credits are too low.
func (m *Market) reloadLocked() {
	r := m.config.Reload
	if r.Amount <= 0 || m.credits >= r.Threshold || r.Limit > 0 && m.reloaded+r.Amount > r.Limit {
		return
	}
	m.credits = addSaturating(m.credits, r.Amount)
	m.reloaded = addSaturating(m.reloaded, r.Amount)
}
