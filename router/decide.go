package router

import (
	"fmt"
	"slices"
	"strings"
)

// Decide implements [Router].
func (t *Table) Decide(s Step, m Snapshot) Decision {
	c := t.choice(s, m)
	if s.MinTier != "" && rankOf(s.MinTier) == rankNone {
		return c.none("the step's minimum tier is not standard, prime or max")
	}
	if s.Pin != "" {
		return c.pinned()
	}
	return c.routed()
}

// choice is one decision in the making.
type choice struct {
	table      *Table
	step       Step
	left       int
	market     []Instrument // by ID
	skipped    []string     // beside market: the hard limit that an instrument fails
	rule       string
	route      route
	reason     string
	requested  string
	why        string
	outOfRange func(Instrument) string // what else rules a candidate out, for the record
}

func (t *Table) choice(s Step, m Snapshot) *choice {
	c := &choice{table: t, step: s, left: min(m.LeftPercent, 100), market: tidy(m.Instruments)}
	c.skipped = make([]string, len(c.market))
	for i, in := range c.market {
		c.skipped[i] = c.hardLimit(in)
	}
	return c
}

// tidy returns the market by ID, each instrument once and with family and tier. A market that is so already, as the loop's
// is at every step, is not copied.
func tidy(market []Instrument) []Instrument {
	is := true
	for i := range market {
		in := &market[i]
		is = is && in.ID != "" && in.Family != "" && in.Tier != "" && (i == 0 || market[i-1].ID < in.ID)
	}
	if is {
		return market
	}
	market = slices.Clone(market)
	for i, in := range market {
		family, tier := splitID(in.ID)
		if in.Family == "" {
			market[i].Family = family
		}
		if in.Tier == "" {
			market[i].Tier = tier
		}
	}
	slices.SortStableFunc(market, func(a, b Instrument) int { return strings.Compare(a.ID, b.ID) })
	market = slices.CompactFunc(market, func(a, b Instrument) bool { return a.ID == b.ID })
	return slices.DeleteFunc(market, func(in Instrument) bool { return in.ID == "" })
}

// hardLimit says why an instrument cannot serve the step, whoever asks for it.
func (c *choice) hardLimit(in Instrument) string {
	s := &c.step
	prompt, output := s.promptTokens(), max(s.MaxTokens, 0)
	switch {
	case slices.Contains(s.Exclude, in.ID):
		return "excluded for this step"
	case !c.table.allowed(in.ID):
		return "not allowed by the table"
	case in.Preview && c.table.noPreview:
		return "in preview"
	case s.Tools && in.NoTools:
		return "no tool calls"
	case s.Schema && in.NoSchema:
		return "no structured output"
	case in.MaxInput > 0 && prompt > in.MaxInput:
		return "prompt too large"
	case in.MaxOutput > 0 && output > in.MaxOutput:
		return "output limit too small"
	case in.Context > 0 && addSaturating(prompt, output) > in.Context:
		return "context too small"
	}
	return ""
}

// named finds an instrument by ID, -1 if there is none.
func (c *choice) named(id string) int {
	at, found := slices.BinarySearchFunc(c.market, id, func(in Instrument, id string) int { return strings.Compare(in.ID, id) })
	if !found {
		return -1
	}
	return at
}

// placed finds the instrument of a family and tier, -1 if there is none. The one that carries both in its ID goes first.
func (c *choice) placed(family string, rank int) int {
	if rank < rankStandard || rank > rankMax {
		return -1
	}
	tier := tierNames[rank]
	if at := c.named(family + "-" + tier); at >= 0 && c.market[at].Family == family && c.market[at].Tier == tier {
		return at
	}
	return slices.IndexFunc(c.market, func(in Instrument) bool { return in.Family == family && in.Tier == tier })
}

// serving finds an instrument of a family and tier for which fits holds, -1 if there is none.
func (c *choice) serving(family string, rank int, fits func(at int) bool) int {
	if at := c.placed(family, rank); fits(at) {
		return at
	}
	for at, in := range c.market {
		if rank >= rankStandard && in.Family == family && in.Tier == tierNames[rank] && fits(at) {
			return at
		}
	}
	return -1
}

func (c *choice) able(at int) bool { return at >= 0 && c.skipped[at] == "" }

func (c *choice) ready(at int) bool {
	return c.able(at) && !c.market[at].Dry && !c.market[at].Down
}

// pinned serves the caller's instrument or nothing: another one would be a silent change of what the caller asked for.
func (c *choice) pinned() Decision {
	pin := c.step.Pin
	c.outOfRange = func(in Instrument) string {
		if in.ID != pin {
			return "not the pinned one"
		}
		return ""
	}
	at := c.named(pin)
	if at < 0 {
		c.requested = pin
		return c.none("the pinned instrument is not in the catalogue")
	}
	if !c.able(at) {
		c.requested = pin
		return c.none("the pinned instrument cannot serve this step: " + c.skipped[at])
	}
	c.reason, c.why = ReasonPinned, pin+" is pinned by the caller"
	return c.take(at)
}

func (c *choice) routed() Decision {
	c.rule, c.route = c.table.resolve(c.step)
	c.reason, c.why = ReasonDefault, string(c.step.kind())+" steps go to "+c.route.label()
	if c.rule != "" {
		c.reason, c.why = ReasonRule, "rule "+c.rule+" sends this step to "+c.route.label()
	}
	if c.route.instrument != "" {
		return c.exact()
	}
	minimum := rankOf(c.step.MinTier)
	floor, ceiling := max(c.route.floor, minimum), c.route.ceiling
	if floor > ceiling {
		c.outOfRange = c.bounds(floor, ceiling)
		return c.none("the step's minimum tier is above the ceiling of its route")
	}
	family, tier := c.route.family, c.route.tier
	if tier < floor {
		c.move(ReasonCapability, c.label(family, tier), "the step asks for "+tierNames[floor]+" at least")
		tier = floor
	}
	if up := min(max(c.step.Escalation, 0), ceiling-tier); up > 0 {
		c.move(ReasonEscalation, c.label(family, tier), fmt.Sprintf("escalated to %s", tierNames[tier+up]))
		tier += up
	}
	high := ceiling
	if band := c.table.band(c.step, c.left); band < ceiling {
		high = max(band, floor)
		if tier > high {
			c.move(ReasonBudget, c.label(family, tier), fmt.Sprintf("%d %% of the tightest cap is left, so %s is the limit", c.left, tierNames[high]))
			tier = high
		}
	}
	wanted := c.placed(family, tier)
	if kept := c.sticky(tier); kept >= 0 && c.market[kept].Family != family {
		if c.reason == ReasonDefault || c.reason == ReasonRule {
			c.requested, c.reason = c.label(family, tier), ReasonSticky
		}
		c.why += "; the run stays in the " + c.market[kept].Family + " family"
		wanted, family = kept, c.market[kept].Family
	}
	if !c.able(wanted) {
		asked, problem := c.label(family, tier), "not in the catalogue"
		if wanted >= 0 {
			asked, problem = c.market[wanted].ID, c.skipped[wanted]
		}
		found := c.replacement(family, tier, floor, high, ceiling)
		if found < 0 {
			c.requested, c.outOfRange = asked, c.bounds(floor, ceiling)
			return c.none(fmt.Sprintf("%s cannot serve this step (%s), nor can another one between %s and %s", asked, problem, tierNames[floor], tierNames[ceiling]))
		}
		c.move(ReasonCapability, asked, fmt.Sprintf("%s cannot serve this step (%s), %s can", asked, problem, c.market[found].ID))
		wanted = found
	}
	high = max(high, rankOf(c.market[wanted].Tier))
	c.outOfRange = c.bounds(floor, high)
	return c.available(wanted, floor, high)
}

// exact serves an instrument that the table names. Only hard limits and a declared fallback move it.
func (c *choice) exact() Decision {
	asked := c.route.instrument
	minimum := rankOf(c.step.MinTier)
	c.outOfRange = func(in Instrument) string {
		if in.ID != asked && !slices.Contains(c.route.fallback, in.ID) {
			return "not the one that the table names"
		}
		return ""
	}
	at := c.named(asked)
	problem := "not in the catalogue"
	if at >= 0 {
		if rank := rankOf(c.market[at].Tier); rank != rankNone && rank < minimum && c.skipped[at] == "" {
			c.skipped[at] = "below the step's minimum tier"
		}
		problem = c.skipped[at]
	}
	if c.able(at) {
		return c.available(at, max(minimum, rankStandard), rankMax)
	}
	found := -1
	if _, tier := splitID(asked); len(c.route.fallback) > 0 {
		family := strings.TrimSuffix(asked, "-"+tier)
		found = c.fallback(Instrument{ID: asked, Family: family, Tier: tier}, max(minimum, rankStandard), rankMax)
	}
	if found < 0 {
		c.requested = asked
		return c.none(fmt.Sprintf("%s cannot serve this step (%s), and no fallback can", asked, problem))
	}
	c.move(ReasonCapability, asked, fmt.Sprintf("%s cannot serve this step (%s), %s can", asked, problem, c.market[found].ID))
	c.outOfRange = nil
	return c.take(found)
}

// available goes to the fallback if the wanted instrument is dry or down, and stays if there is none: the call then waits.
func (c *choice) available(wanted, floor, high int) Decision {
	in := c.market[wanted]
	if !in.Dry && !in.Down {
		return c.take(wanted)
	}
	state := "is down"
	if in.Dry {
		state = "is being topped up"
	}
	found := c.fallback(in, floor, high)
	if found < 0 {
		c.why += fmt.Sprintf("; it %s and the call waits", state)
		return c.take(wanted)
	}
	c.move(ReasonFallback, in.ID, fmt.Sprintf("%s %s, %s stands in", in.ID, state, c.market[found].ID))
	within := c.outOfRange
	c.outOfRange = func(other Instrument) string {
		switch {
		case other.ID == c.market[found].ID:
			return ""
		case other.Dry:
			return "being topped up"
		case other.Down:
			return "down"
		case within != nil:
			return within(other)
		}
		return ""
	}
	return c.take(found)
}

// fallback finds the first declared stand-in that could be called at once, -1 if there is none.
func (c *choice) fallback(in Instrument, floor, high int) int {
	rank := rankOf(in.Tier)
	fits := func(at int) bool {
		if !c.ready(at) || c.market[at].ID == in.ID {
			return false
		}
		r := rankOf(c.market[at].Tier)
		return r == rankNone || r >= floor && r <= high
	}
	for _, entry := range c.route.fallback {
		switch entry {
		case NoFallback:
		case SameTier:
			for _, family := range families {
				if at := c.serving(family, rank, fits); at >= 0 {
					return at
				}
			}
		case Down:
			for r := rank - 1; r >= rankStandard; r-- {
				if at := c.serving(in.Family, r, fits); at >= 0 {
					return at
				}
			}
		default:
			if at := c.named(entry); fits(at) {
				return at
			}
		}
	}
	return -1
}

// sticky finds the run's instrument if the route keeps families and it has the tier that is wanted now.
func (c *choice) sticky(tier int) int {
	if !c.route.sticky || c.step.Sticky == "" {
		return -1
	}
	at := c.named(c.step.Sticky)
	if !c.ready(at) || rankOf(c.market[at].Tier) != tier {
		return -1
	}
	return at
}

// replacement looks for what can serve a step that its instrument cannot: first in the tier itself, then above, then below,
// and only then above what the budget band allows, since a band is advice and a limit is not.
func (c *choice) replacement(family string, tier, floor, high, ceiling int) int {
	order := make([]int, 0, len(tierNames))
	for r := tier; r <= high; r++ {
		order = append(order, r)
	}
	for r := tier - 1; r >= floor; r-- {
		order = append(order, r)
	}
	for r := max(high, tier) + 1; r <= ceiling; r++ {
		order = append(order, r)
	}
	for _, r := range order {
		if at := c.serving(family, r, c.able); at >= 0 {
			return at
		}
		for _, other := range families {
			if at := c.serving(other, r, c.able); at >= 0 {
				return at
			}
		}
	}
	return -1
}

// bounds describes candidates outside the tiers that were open to the step.
func (c *choice) bounds(floor, high int) func(Instrument) string {
	return func(in Instrument) string {
		switch rank := rankOf(in.Tier); {
		case rank == rankNone:
			return "serves only by name"
		case rank < floor:
			return "below the floor"
		case rank > high:
			return "above the ceiling"
		}
		return ""
	}
}

func (c *choice) move(reason, from, why string) {
	c.reason, c.requested = reason, from
	c.why += "; " + why
}

func (c *choice) label(family string, rank int) string {
	if at := c.placed(family, rank); at >= 0 {
		return c.market[at].ID
	}
	return family + "-" + tierNames[rank]
}

func (r route) label() string {
	if r.instrument != "" {
		return r.instrument
	}
	return r.family + "-" + tierNames[r.tier]
}

func (c *choice) take(at int) Decision {
	in := c.market[at]
	d := c.decision(in.ID)
	d.Instrument, d.Family, d.Tier = in.ID, in.Family, in.Tier
	d.Probability = 1
	if d.Requested == in.ID {
		d.Requested = "" // two moves that cancel each other changed nothing
	}
	return d
}

func (c *choice) none(why string) Decision {
	c.reason, c.why = ReasonNone, why
	return c.decision("")
}

func (c *choice) decision(chosen string) Decision {
	d := Decision{Reason: c.reason, Rule: c.rule, Requested: c.requested, Policy: c.table.policy, Why: c.why}
	if len(c.market) == 0 {
		return d
	}
	tokens := addSaturating(c.step.promptTokens(), max(c.step.MaxTokens, 0))
	d.Candidates = make([]Candidate, len(c.market))
	for i, in := range c.market {
		skipped := c.skipped[i]
		if skipped == "" && in.ID != chosen && c.outOfRange != nil {
			skipped = c.outOfRange(in)
		}
		d.Candidates[i] = Candidate{Instrument: in.ID, Skipped: skipped, Cost: costNanoUSD(tokens, in.PriceNanoUSD)}
	}
	return d
}
