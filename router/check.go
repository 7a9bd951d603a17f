package router

import (
	"errors"
	"fmt"
	"slices"
)

// Check compares what the configuration names with the catalogue: every instrument of a written route, rule or fallback must
// be in it, and every pattern of Allow and Deny must mean something there. Routes left to their defaults are not checked: a
// market without the code family is served by the others. All mistakes come back at once, as joined [*FieldError] values.
// A table can be used unchecked; a name that is not in a snapshot is then passed over, with its reason in the decision.
func (t *Table) Check(catalogue []Instrument) error {
	m := &mistakes{}
	c := t.choice(Step{}, Snapshot{Instruments: catalogue})
	for _, kind := range kinds {
		r := t.routes[kind]
		field := string(kind)
		if r.instrument != "" {
			m.known(c, field+".instrument", r.instrument)
		} else if t.named[kind] && c.placed(r.family, r.tier) < 0 {
			m.add(field, "change family or tier", "%s is not in the catalogue", r.label())
		}
		m.knownFallback(c, field+".fallback", r.fallback)
	}
	for i, rule := range t.rules {
		field := fmt.Sprintf("rules[%d].use", i)
		if rule.use.Instrument != "" {
			m.known(c, field+".instrument", rule.use.Instrument)
		}
		m.knownFallback(c, field+".fallback", rule.use.Fallback)
		if rule.use.Family == "" && rule.use.Tier == "" {
			continue
		}
		for _, kind := range kinds {
			r := t.routes[kind].with(rule.use).clamped()
			if (len(rule.when.Kinds) == 0 || slices.Contains(rule.when.Kinds, kind)) && r.instrument == "" && c.placed(r.family, r.tier) < 0 {
				m.add(field, "change family or tier", "%s, where it sends %s steps, is not in the catalogue", r.label(), kind)
				break
			}
		}
	}
	m.meaning(c, "allow", t.allow)
	m.meaning(c, "deny", t.deny)
	return errors.Join(m.errs...)
}

func (m *mistakes) known(c *choice, field, id string) {
	if c.named(id) < 0 {
		m.add(field, "write an instrument of the catalogue", "%s is not in the catalogue", id)
	}
}

func (m *mistakes) knownFallback(c *choice, field string, f Fallback) {
	for i, entry := range f {
		if entry != NoFallback && entry != SameTier && entry != Down {
			m.known(c, fmt.Sprintf("%s[%d]", field, i), entry)
		}
	}
}

func (m *mistakes) meaning(c *choice, field string, patterns []string) {
	for i, pattern := range patterns {
		if !slices.ContainsFunc(c.market, func(in Instrument) bool { return matches(pattern, in.ID) }) {
			m.add(fmt.Sprintf("%s[%d]", field, i), "mend or delete it", "%q matches nothing in the catalogue", pattern)
		}
	}
}
