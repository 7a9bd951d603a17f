package grid

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The names that an instrument may have for the bound on its answer.
const (
	TokenFieldMax        = "max_tokens"
	TokenFieldCompletion = "max_completion_tokens"
)

// The states of an instrument.
const (
	StatusLive    = "live"
	StatusPreview = "preview"
)

// Instrument is what the market sells under one name. Limits are tokens, 0 where
// unknown.
type Instrument struct {
	ID string
	// Family is text, code or agent; Tier standard, prime or max; both may be "".
	Family, Tier string
	Status       string
	// Context, MaxInput and MaxOutput are enforced limits; MaxInput is not what is left
	// of Context, but a limit of its own.
	Context, MaxInput, MaxOutput int64
	// NoTools and NoSchema say what the instrument cannot do.
	NoTools, NoSchema bool
	// MaxPriceNanoUSD is the operator's ceiling in nano-USD per Unit of 1,000,000 tokens;
	// 0 is none. It comes before every price that was observed.
	MaxPriceNanoUSD int64
	// TemplateTokens is what a supplier's chat template may add to a prompt; 0 means 512.
	TemplateTokens int
	// TokenField is the name of the bound on the answer; "" means max_tokens.
	TokenField string
	// Echo says that fields a provider wrote for itself may be sent back, because one
	// model family stands behind the name. For the rest, see Message.Portable.
	Echo bool
}

// DefaultTemplateTokens is added to a prompt's bound where an instrument names none.
const DefaultTemplateTokens = 512

func (in Instrument) check() error {
	var mistakes []error
	wrong := func(field, format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("grid: instrument %q: %s: "+format, append([]any{in.ID, field}, args...)...))
	}
	if in.ID == "" || strings.ContainsAny(in.ID, " \t\r\n\"") {
		wrong("ID", "it is empty or holds white space: use the market's name, e.g. agent-prime")
	}
	for _, n := range []struct {
		field string
		v     int64
	}{
		{"Context", in.Context}, {"MaxInput", in.MaxInput}, {"MaxOutput", in.MaxOutput},
		{"MaxPriceNanoUSD", in.MaxPriceNanoUSD}, {"TemplateTokens", int64(in.TemplateTokens)},
	} {
		if n.v < 0 {
			wrong(n.field, "%d is negative: use 0 for unknown", n.v)
		}
	}
	switch in.TokenField {
	case "", TokenFieldMax, TokenFieldCompletion:
	default:
		wrong("TokenField", "%q: use %s or %s", in.TokenField, TokenFieldMax, TokenFieldCompletion)
	}
	return errors.Join(mistakes...)
}

// Catalogue holds instruments and what their tokens cost. It is safe for concurrent use.
type Catalogue struct {
	mu     sync.RWMutex
	order  []string
	byID   map[string]*listed
	market atomic.Pointer[Market] // the last one made, nil after a change
	// news are the last changes that the market's lists brought, brought how many in all.
	news    []Change
	brought uint64
}

// listed is an instrument with the prices seen for it.
type listed struct {
	Instrument
	lots   []seenPrice
	live   seenPrice
	liveOK bool
	// bound is what the operator allows at most; 0 is no word of his.
	bound struct{ context, maxInput, maxOutput int64 }
	// listed tells that the market's last list had it, gone that an earlier one did.
	listed, gone bool
}

type seenPrice struct {
	nanoUSD int64
	at      time.Time
}

// NewCatalogue returns a catalogue of the instruments, in their order. The error names
// every mistake.
func NewCatalogue(instruments ...Instrument) (*Catalogue, error) {
	c := &Catalogue{byID: make(map[string]*listed, len(instruments))}
	var mistakes []error
	for _, in := range instruments {
		if c.byID[in.ID] != nil {
			mistakes = append(mistakes, fmt.Errorf("grid: instrument %q is listed twice: keep one", in.ID))
			continue
		}
		if err := c.Put(in); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	return c, nil
}

// DefaultCatalogue returns the nine tier instruments with the limits the market
// enforced in July 2026, and no prices: Client.Refresh brings both up to date.
func DefaultCatalogue() *Catalogue {
	c := &Catalogue{byID: make(map[string]*listed, 9)}
	for _, family := range []string{"text", "code", "agent"} {
		status := StatusPreview
		if family == "text" {
			status = StatusLive
		}
		for _, in := range []Instrument{
			{Tier: "standard", Context: 128_000, MaxInput: 120_000, MaxOutput: 65_536},
			{Tier: "prime", Context: 196_608, MaxInput: 120_000, MaxOutput: 131_072},
			{Tier: "max", Context: 1_000_000, MaxInput: 922_000, MaxOutput: 128_000},
		} {
			in.ID, in.Family, in.Status = family+"-"+in.Tier, family, status
			c.order = append(c.order, in.ID)
			c.byID[in.ID] = &listed{Instrument: in}
		}
	}
	return c
}

// Get returns the instrument of that name.
func (c *Catalogue) Get(id string) (Instrument, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if l := c.byID[id]; l != nil {
		return l.Instrument, true
	}
	return Instrument{}, false
}

// List returns all instruments in the order they came in.
func (c *Catalogue) List() []Instrument {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]Instrument, 0, len(c.order))
	for _, id := range c.order {
		out = append(out, c.byID[id].Instrument)
	}
	return out
}

// Put adds an instrument or replaces the one of its name; observed prices stay. A
// limit that it changes is the operator's word from then on: what the market says
// later may lower it, but never raise it.
func (c *Catalogue) Put(in Instrument) error {
	if err := in.check(); err != nil {
		return err
	}
	c.change()
	defer c.mu.Unlock()
	l := c.byID[in.ID]
	if l == nil {
		c.order = append(c.order, in.ID)
		c.byID[in.ID] = &listed{Instrument: in}
		return nil
	}
	for _, n := range []struct{ was, now, bound *int64 }{
		{&l.Context, &in.Context, &l.bound.context}, {&l.MaxInput, &in.MaxInput, &l.bound.maxInput}, {&l.MaxOutput, &in.MaxOutput, &l.bound.maxOutput},
	} {
		if *n.now != *n.was {
			*n.bound = *n.now
		}
	}
	l.Instrument = in
	return nil
}

// ObserveModel takes over what the market says of an instrument: limits and status
// where it names them, and its live price. An instrument that was not there is added.
// The operator's ceiling and the other settings stay.
func (c *Catalogue) ObserveModel(m Model, at time.Time) {
	c.change()
	defer c.mu.Unlock()
	c.note(c.observe(m, at))
}

// newcomer is an instrument that only the market's list knows.
func newcomer(m Model) Instrument {
	in := Instrument{ID: m.ID, Status: m.Status, Context: m.Context, MaxInput: m.MaxInput, MaxOutput: m.MaxOutput}
	for _, tier := range []string{"standard", "prime", "max"} {
		if family, ok := strings.CutSuffix(m.ID, "-"+tier); ok && slices.Contains([]string{"text", "code", "agent"}, family) {
			in.Family, in.Tier = family, tier
		}
	}
	return in
}
