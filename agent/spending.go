package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/tracing"
)

// Spending says how runs deal with what nobody knows before a call is made. The
// zero value holds the defaults.
type Spending struct {
	// Estimate is how the tokens of a prompt are bounded; empty is
	// budget.EstimateIncremental. Each mode names the assumption it rests on.
	Estimate budget.EstimateMode
	// Overrun is what happens when a call used more than was reserved for it; empty
	// is OverrunDefault. The use is counted in full and announced in any case.
	Overrun OverrunPolicy
	// Held is what a run does when a cap would have room once calls of others have
	// settled; empty is HeldRetry.
	Held HeldPolicy
	// Price is what a step does on an instrument without a price under an explicit
	// money cap, or dearer than its max_price; empty is PriceDeny.
	Price PricePolicy
}

// PricePolicy says what a step does on an instrument whose price cannot be bounded.
type PricePolicy string

// What a step does on an instrument whose price cannot be bounded.
const (
	// PriceDeny ends the run with [ErrPriceUnknown] or [ErrPriceOver].
	PriceDeny PricePolicy = ""
	// PriceReroute lets the router choose among the other instruments, and denies
	// when none can serve.
	PriceReroute PricePolicy = "reroute"
)

// mispriced are the instruments that a step of the run must not be served on.
func (r *run) mispriced() []string {
	m := r.market
	if r.a.spending.Price != PriceReroute || len(m.over) == 0 && (len(m.noPrice) == 0 || !r.strictMoney) {
		return nil
	}
	if !r.strictMoney {
		return m.over
	}
	return append(slices.Clone(m.over), m.noPrice...)
}

// priced refuses an instrument whose price cannot be bounded.
func (r *run) priced(o grid.Offer, step int) error {
	switch {
	case o.OverMax:
		return fmt.Errorf("%w: %s: raise instruments.%s.max_price, route to another, or wait", ErrPriceOver, o.ID, o.ID)
	case o.Price.NanoUSDPerUnit > 0:
	case r.strictMoney:
		return fmt.Errorf("%w: set instruments.%s.max_price in the file, or Instrument.MaxPriceNanoUSD in the catalogue", ErrPriceUnknown, o.ID)
	default:
		r.warn(step, "no price is known for "+o.ID+": only the token half of the run's cap holds; set instruments."+o.ID+".max_price")
	}
	return nil
}

// HeldPolicy says what a run does when a cap is held by calls of others.
type HeldPolicy string

// What a run does when a cap is held by calls of others.
const (
	// HeldRetry asks again a few times, for some twelve seconds, and then ends the
	// run with an answer. The run keeps back its answer meanwhile.
	HeldRetry HeldPolicy = ""
	// HeldLine stands in line for as long as Limits.Wait allows, fairly between
	// tenants, and holds nothing meanwhile: not even what is kept back for the
	// answer at a limit, so a run whose wait was in vain may end without one.
	HeldLine HeldPolicy = "wait"
)

// OverrunPolicy says what is stopped when a call used more than was reserved.
type OverrunPolicy string

// What is stopped. A halt is a freeze in the ledger, for every replica: runs that
// meet it pause. It ends after [HaltTime], or by [budget.Ledger.Unfreeze].
const (
	// OverrunDefault halts the instrument if the overrun is more than 5 % of the
	// reservation, or a cap is passed now.
	OverrunDefault OverrunPolicy = ""
	// OverrunContinue stops nothing.
	OverrunContinue OverrunPolicy = "continue"
	// OverrunHaltInstrument halts the instrument at any overrun.
	OverrunHaltInstrument OverrunPolicy = "halt_instrument"
	// OverrunHaltScope halts, at any overrun, what the passed caps are for: the
	// tenant, the account. If none is passed it halts the run.
	OverrunHaltScope OverrunPolicy = "halt_scope"
)

// HaltTime is how long a halt by an [OverrunPolicy] stands if nobody ends it.
const HaltTime = time.Hour

func (s Spending) validate() error {
	var errs []error
	if _, err := budget.NewEstimator(s.Estimate); err != nil {
		errs = append(errs, fmt.Errorf("agent: Spending: %w", err))
	}
	errs = append(errs, oneOf("Overrun", s.Overrun, OverrunDefault, OverrunContinue, OverrunHaltInstrument, OverrunHaltScope),
		oneOf("Price", s.Price, PriceDeny, PriceReroute),
		oneOf("Held", s.Held, HeldRetry, HeldLine))
	return errors.Join(errs...)
}

func oneOf[S ~string](field string, v S, allowed ...S) error {
	if slices.Contains(allowed, v) {
		return nil
	}
	var words []string
	for _, a := range allowed {
		if a != "" {
			words = append(words, string(a))
		}
	}
	return fmt.Errorf("agent: Spending.%s is %q: write one of %v, or nothing for the default", field, string(v), words)
}

// merge takes each setting from where it is set.
func (s Spending) merge(f Spending) (Spending, error) {
	var errs []error
	return Spending{
		Estimate: mergeWord("Estimate", "estimate", s.Estimate, f.Estimate, &errs),
		Overrun:  mergeWord("Overrun", "overrun", s.Overrun, f.Overrun, &errs),
		Price:    mergeWord("Price", "price", s.Price, f.Price, &errs),
		Held:     mergeWord("Held", "held", s.Held, f.Held, &errs),
	}, errors.Join(errs...)
}

func mergeWord[S ~string](field, key string, code, file S, errs *[]error) S {
	if code != "" && file != "" && code != file {
		*errs = append(*errs, fmt.Errorf("agent: Spending.%s and spending.%s of the file differ: set one of them", field, key))
	}
	return or(code, file)
}

// overrun announces that a call used more than was reserved for it, and halts what
// the policy says, in the ledger that the call was reserved in.
func (a *Agent) overrun(ctx context.Context, ledger *budget.Ledger, o BudgetOverrun, s budget.Settlement, run, instrument string) (BudgetOverrun, error) {
	o.Instrument, o.OverNanoUSD, o.OverTokens = instrument, s.Over.NanoUSD, s.Over.Tokens
	a.tracing.BudgetOverrun(ctx, tracing.Hold{Reservation: s.ID, Instrument: instrument, Step: o.Step, ReservedNanoUSD: s.Reserved.NanoUSD, SettledNanoUSD: s.Actual.NanoUSD, Overrun: true})
	var passed []budget.Scope
	for _, c := range s.Left {
		if c.Limit != budget.None && c.Settled+c.Held > c.Limit && !slices.Contains(passed, c.Scope) {
			passed = append(passed, c.Scope)
		}
	}
	var halt []budget.Scope
	switch a.spending.Overrun {
	case OverrunDefault:
		if len(passed) > 0 || large(s.Over.NanoUSD, s.Reserved.NanoUSD) || large(s.Over.Tokens, s.Reserved.Tokens) {
			halt = []budget.Scope{{Kind: scopeInstrument, Name: instrument}}
		}
	case OverrunHaltInstrument:
		halt = []budget.Scope{{Kind: scopeInstrument, Name: instrument}}
	case OverrunHaltScope:
		if halt = passed; len(halt) == 0 {
			halt = []budget.Scope{{Kind: scopeRun, Name: run}}
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	var errs []error
	var frozen []budget.Freeze
	if len(halt) > 0 {
		frozen, _ = ledger.Freezes(ctx) // if they cannot be read, a halt is better than none
	}
	until := time.Now().Add(HaltTime)
	for _, scope := range halt {
		if slices.ContainsFunc(frozen, func(f budget.Freeze) bool {
			return f.Scope == scope && (f.Until.IsZero() || f.Until.After(until))
		}) {
			o.Halted = append(o.Halted, scope.String()) // for longer, by somebody else
			continue
		}
		reason := fmt.Sprintf("a call on %s used %s more than was reserved for it", instrument, s.Over)
		err := ledger.Freeze(ctx, scope, reason, until, "agent "+a.cfg.Name)
		if err == nil {
			o.Halted = append(o.Halted, scope.String())
		}
		errs = append(errs, err)
	}
	return o, errors.Join(errs...)
}

// large is more than 5 % of what was reserved.
func large(over, reserved int64) bool { return over > reserved/20 }
