package agent

import (
	"maps"
	"slices"
	"strings"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/router"
)

// This file is the mapping between the rooms, which know nothing of each other.

// The kinds of scopes that a run's spending belongs to.
const (
	scopeTenant     = "tenant"
	scopeUser       = "user"
	scopeRun        = "run"
	scopeAgent      = "agent"
	scopeInstrument = "instrument"
	scopeFamily     = "family"
	scopeTier       = "tier"
	scopeTag        = "tag:"
)

// runScopes are the scopes of every reservation of a run.
func runScopes(s *State) []budget.Scope {
	scopes := make([]budget.Scope, 0, 8+len(s.Parents)+len(s.Labels.Tags))
	for _, p := range s.Parents {
		scopes = append(scopes, budget.Scope{Kind: scopeRun, Name: p})
	}
	scopes = append(scopes, budget.Scope{Kind: scopeRun, Name: s.Run}, budget.Scope{Kind: scopeAgent, Name: s.Agent})
	if s.Labels.Tenant != "" {
		scopes = append(scopes, budget.Scope{Kind: scopeTenant, Name: s.Labels.Tenant})
	}
	if s.Labels.User != "" {
		scopes = append(scopes, budget.Scope{Kind: scopeUser, Name: s.Labels.User})
	}
	for _, k := range sortedKeys(s.Labels.Tags) {
		scopes = append(scopes, budget.Scope{Kind: scopeTag + k, Name: s.Labels.Tags[k]})
	}
	return scopes
}

// scopesOn are the scopes of a reservation on an instrument. They are made once
// for each instrument of a run and never changed.
func (r *run) scopesOn(in grid.Instrument) []budget.Scope {
	if s, ok := r.scopesBy[in.ID]; ok {
		return s
	}
	if r.scopesBy == nil {
		r.scopesBy = make(map[string][]budget.Scope, 2)
	}
	s := onInstrument(r.scopes, in)
	r.scopesBy[in.ID] = s
	return s
}

// onInstrument adds the scopes of an instrument, without touching scopes.
func onInstrument(scopes []budget.Scope, in grid.Instrument) []budget.Scope {
	out := make([]budget.Scope, 0, len(scopes)+3)
	out = append(append(out, scopes...), budget.Scope{Kind: scopeInstrument, Name: in.ID})
	if in.Family != "" {
		out = append(out, budget.Scope{Kind: scopeFamily, Name: in.Family})
	}
	if in.Tier != "" {
		out = append(out, budget.Scope{Kind: scopeTier, Name: in.Tier})
	}
	return out
}

// runCaps are the caps that every run has.
func runCaps(l Limits) []budget.Cap {
	var caps []budget.Cap
	if l.RunNanoUSD > 0 {
		caps = append(caps, budget.Cap{For: budget.Each(scopeRun), Meter: budget.MeterMoney, Limit: l.RunNanoUSD, Per: budget.Lifetime()})
	}
	if l.RunTokens > 0 {
		caps = append(caps, budget.Cap{For: budget.Each(scopeRun), Meter: budget.MeterTokens, Limit: l.RunTokens, Per: budget.Lifetime()})
	}
	return caps
}

// ownCaps are the caps of one run that was given its own.
func ownCaps(run string, nanoUSD, tokens int64) []budget.Cap {
	var caps []budget.Cap
	if nanoUSD > 0 {
		caps = append(caps, budget.Cap{For: budget.One(scopeRun, run), Meter: budget.MeterMoney, Limit: nanoUSD, Per: budget.Lifetime()})
	}
	if tokens > 0 {
		caps = append(caps, budget.Cap{For: budget.One(scopeRun, run), Meter: budget.MeterTokens, Limit: tokens, Per: budget.Lifetime()})
	}
	return caps
}

// amounts are what tokens cost at a price, as the ledger counts it.
func amounts(tokens, nanoUSDPerUnit int64) budget.Amounts {
	return budget.Amounts{NanoUSD: budget.Cost(tokens, nanoUSDPerUnit), Tokens: tokens, Requests: 1}
}

// left is what the tightest caps of an answer of the ledger have left: nano-USD
// of the tightest money cap, -1 without one, and the percentage of the tightest
// cap of any kind, -1 without one.
func left(caps []budget.CapState) (nanoUSD int64, percent int) {
	nanoUSD, percent = -1, -1
	for _, c := range caps {
		if c.Meter == budget.MeterMoney && (nanoUSD < 0 || c.Left < nanoUSD) {
			nanoUSD = max(c.Left, 0)
		}
		if c.Limit <= 0 {
			continue
		}
		p := int(float64(max(c.Left, 0)) / float64(c.Limit) * 100)
		if percent < 0 || p < percent {
			percent = p
		}
	}
	return nanoUSD, percent
}

// market is the catalogue as the router sees it.
type market struct {
	*grid.Market
	instruments []router.Instrument // by ID
	unpriced    bool                // some have no price
	over        []string            // dearer than their max_price
	noPrice     []string
}

func newMarket(from *grid.Market) *market {
	m := &market{Market: from, instruments: make([]router.Instrument, 0, len(from.Offers))}
	for i := range from.Offers {
		in := &from.Offers[i]
		m.instruments = append(m.instruments, router.Instrument{
			ID: in.ID, Family: in.Family, Tier: in.Tier, Preview: in.Status == "preview",
			Context: in.Context, MaxInput: in.MaxInput, MaxOutput: in.MaxOutput,
			PriceNanoUSD: in.Price.NanoUSDPerUnit, NoTools: in.NoTools, NoSchema: in.NoSchema,
		})
		m.unpriced = m.unpriced || in.Price.NanoUSDPerUnit == 0
		switch {
		case in.Price.NanoUSDPerUnit == 0:
			m.noPrice = append(m.noPrice, in.ID)
		case in.OverMax:
			m.over = append(m.over, in.ID)
		}
	}
	slices.SortFunc(m.instruments, func(a, b router.Instrument) int { return strings.Compare(a.ID, b.ID) })
	return m
}

// look takes the market as it stands. What was made of it holds until it changes, for
// all runs of the agent.
func (a *Agent) look() *market {
	now := a.client.Catalogue().Market()
	if m := a.seen.Load(); m != nil && m.Market == now {
		return m
	}
	m := newMarket(now)
	a.seen.Store(m)
	return m
}

func catalogueIDs(c *grid.Catalogue) []string {
	var ids []string
	for _, in := range c.List() {
		ids = append(ids, in.ID)
	}
	return ids
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// private reports whether an instrument of many models is sent the message in
// another form than it is kept in.
func private(m grid.Message) bool {
	if m.Role != grid.RoleAssistant {
		return false
	}
	if _, mended := m.Mended(); mended {
		return true
	}
	return len(m.Extra) > 0 || len(m.Parts) > 0 || m.Refusal != nil || m.Content == nil && len(m.ToolCalls) == 0 ||
		slices.ContainsFunc(m.ToolCalls, func(c grid.ToolCall) bool { return len(c.Extra) > 0 })
}
