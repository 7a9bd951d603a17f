package router

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// FieldError is one mistake in a [Config]. [Config.Validate] joins all of them.
type FieldError struct {
	Field   string // path, such as routes.extract.tier
	Problem string
	Fix     string
}

func (e *FieldError) Error() string { return "router: " + e.Field + ": " + e.Problem + ": " + e.Fix }

const fixTier = "write standard, prime or max"

type mistakes struct{ errs []error }

func (m *mistakes) add(field, fix, problem string, args ...any) {
	m.errs = append(m.errs, &FieldError{Field: "routes." + field, Problem: fmt.Sprintf(problem, args...), Fix: fix})
}

// Validate reports every mistake at once, as joined [*FieldError] values, or nil.
func (c Config) Validate() error {
	m := &mistakes{}
	m.word("name", c.Name)
	m.word("version", c.Version)
	m.bounds("", c.Floor, c.Ceiling)
	m.fallback("fallback", c.Fallback, c.floor(), c.ceiling())
	m.patterns("allow", c.Allow)
	m.patterns("deny", c.Deny)
	if c.Allow != nil && len(c.Allow) == 0 {
		m.add("allow", "name what may serve, or leave it out to allow all", "is empty, so nothing could serve")
	}
	for _, kind := range kinds {
		if written := c.written(kind); !written.empty() {
			m.route(string(kind), written, c)
		}
	}
	m.rules(c)
	m.bands(c.Bands)
	return errors.Join(m.errs...)
}

func (m *mistakes) rules(c Config) {
	seen := map[string]int{}
	for i, rule := range c.Rules {
		field := fmt.Sprintf("rules[%d]", i)
		if rule.ID == "" {
			m.add(field+".id", "give it a short name, it stands in every decision", "is missing")
		} else if first, twice := seen[rule.ID]; twice {
			m.add(field+".id", "rename one", "%q is also the id of rules[%d]", rule.ID, first)
		} else {
			seen[rule.ID] = i
			m.word(field+".id", rule.ID)
		}
		if rule.When.empty() && i < len(c.Rules)-1 {
			m.add(field+".when", "move it last or add a condition", "matches every step, so that the rules after it never match")
		}
		for j, kind := range rule.When.Kinds {
			if _, known := defaultRoutes[kind]; !known {
				m.add(fmt.Sprintf("%s.when.kinds[%d]", field, j), "write one of "+kindList(), "unknown kind %q", string(kind))
			}
		}
		if rule.When.PromptAtLeast < 0 {
			m.add(field+".when.prompt_at_least", "write tokens, 0 for no bound", "is negative")
		}
		if rule.When.StepAtLeast < 0 {
			m.add(field+".when.step_at_least", "write the index of a step, 0 for the first", "is negative")
		}
		if below := rule.When.StepBelow; below < 0 {
			m.add(field+".when.step_below", "write the index of a step, 0 for no bound", "is negative")
		} else if below > 0 && below <= rule.When.StepAtLeast {
			m.add(field+".when.step_below", "write an index above step_at_least", "no step is at least %d and below %d", rule.When.StepAtLeast, below)
		}
		if rule.Use.empty() {
			m.add(field+".use", "name an instrument, family, tier, floor, ceiling or fallback", "is empty, so that the rule changes nothing")
			continue
		}
		before := len(m.errs)
		m.route(field+".use", rule.Use, c)
		if len(m.errs) == before {
			m.fit(field+".use", rule, c)
		}
	}
}

// fit refuses a rule that contradicts what it inherits from the route of a kind that it can meet.
func (m *mistakes) fit(field string, rule Rule, c Config) {
	if rule.Use.Instrument != "" {
		return
	}
	for _, kind := range kinds {
		if len(rule.When.Kinds) > 0 && !slices.Contains(rule.When.Kinds, kind) {
			continue
		}
		whole := c.route(kind).with(rule.Use)
		if whole.floor > whole.ceiling {
			m.add(field, "write both bounds, or limit the rule to other kinds",
				"for %s steps the floor %s is above the ceiling %s", kind, tierNames[whole.floor], tierNames[whole.ceiling])
			return
		}
		if rule.Use.Tier != "" && (whole.tier < whole.floor || whole.tier > whole.ceiling) {
			m.add(field+".tier", "write the bound here too, or limit the rule to other kinds",
				"%s is outside %s..%s, which the route of %s steps allows", rule.Use.Tier, tierNames[whole.floor], tierNames[whole.ceiling], kind)
			return
		}
	}
}

func (m *mistakes) route(field string, r Route, c Config) {
	m.word(field+".instrument", r.Instrument)
	m.word(field+".family", r.Family)
	if r.Instrument != "" && (r.Family != "" || r.Tier != "" || r.Floor != "" || r.Ceiling != "" || r.Sticky) {
		m.add(field+".instrument", "write the instrument alone, or family and tier", "stands beside family, tier, floor, ceiling or sticky")
		return
	}
	if r.Tier != "" && rankOf(r.Tier) == rankNone {
		m.add(field+".tier", fixTier, "unknown tier %q", r.Tier)
	}
	if !m.bounds(field+".", r.Floor, r.Ceiling) {
		return
	}
	floor, ceiling := c.floor(), c.ceiling()
	if r.Floor != "" {
		floor = rankOf(r.Floor)
	}
	if r.Ceiling != "" {
		ceiling = rankOf(r.Ceiling)
	}
	if floor > ceiling && (r.Floor != "" || r.Ceiling != "") {
		m.add(field, "write the missing bound here too", "the floor %s is above the ceiling %s", tierNames[floor], tierNames[ceiling])
		return
	}
	if rank := rankOf(r.Tier); rank != rankNone && r.Instrument == "" {
		if rank < floor {
			m.add(field+".tier", "raise the tier or lower the floor", "%s is below the floor %s", r.Tier, tierNames[floor])
		}
		if rank > ceiling {
			m.add(field+".tier", "lower the tier or raise the ceiling", "%s is above the ceiling %s", r.Tier, tierNames[ceiling])
		}
	}
	m.fallback(field+".fallback", r.Fallback, floor, ceiling)
	if r.Instrument == "" {
		return
	}
	_, tier := splitID(r.Instrument)
	if rankOf(tier) == rankNone && (slices.Contains(r.Fallback, SameTier) || slices.Contains(r.Fallback, Down)) {
		m.add(field+".fallback", "list instruments by id", "%s is of no tier, so that neither same_tier nor down finds anything", r.Instrument)
	}
}

func (m *mistakes) bounds(prefix, floor, ceiling string) bool {
	ok := true
	if floor != "" && rankOf(floor) == rankNone {
		m.add(prefix+"floor", fixTier, "unknown tier %q", floor)
		ok = false
	}
	if ceiling != "" && rankOf(ceiling) == rankNone {
		m.add(prefix+"ceiling", fixTier, "unknown tier %q", ceiling)
		ok = false
	}
	if ok && floor != "" && ceiling != "" && rankOf(floor) > rankOf(ceiling) {
		m.add(prefix+"floor", "lower the floor or raise the ceiling", "%s is above the ceiling %s", floor, ceiling)
		ok = false
	}
	return ok
}

func (m *mistakes) fallback(field string, f Fallback, floor, ceiling int) {
	for i, entry := range f {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case entry == "":
			m.add(at, "write none, same_tier, down or an instrument", "is empty")
		case slices.Contains(f[:i], entry):
			m.add(at, "delete one", "%q is listed twice", entry)
		case entry == NoFallback && len(f) > 1:
			m.add(at, "write none alone, or delete it", "none stands beside other entries")
		case entry == NoFallback, entry == SameTier, entry == Down:
		case entry == "up":
			m.add(at, "list the dearer instruments by id", "a dearer tier is never taken by a word")
		case !strings.Contains(entry, "-"):
			m.add(at, "write none, same_tier, down or an instrument such as text-prime", "%q is neither a word nor an instrument", entry)
		default:
			m.word(at, entry)
			if _, tier := splitID(entry); rankOf(tier) != rankNone && (rankOf(tier) < floor || rankOf(tier) > ceiling) {
				m.add(at, "move the bound or delete the entry", "%s is outside %s..%s", entry, tierNames[floor], tierNames[ceiling])
			}
		}
	}
}

func (m *mistakes) bands(bands []Band) {
	seen := map[int]int{}
	for i, band := range bands {
		field := fmt.Sprintf("bands[%d]", i)
		if band.AtOrBelow < 0 || band.AtOrBelow > 100 {
			m.add(field+".at_or_below", "write a percentage from 0 to 100", "%d is no percentage", band.AtOrBelow)
		} else if first, twice := seen[band.AtOrBelow]; twice {
			m.add(field+".at_or_below", "delete one", "%d stands in bands[%d] too", band.AtOrBelow, first)
		} else {
			seen[band.AtOrBelow] = i
		}
		if rankOf(band.Ceiling) == rankNone {
			m.add(field+".ceiling", fixTier, "unknown tier %q", band.Ceiling)
		}
	}
}

func (m *mistakes) patterns(field string, patterns []string) {
	for i, pattern := range patterns {
		at := fmt.Sprintf("%s[%d]", field, i)
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			m.add(at, "write an instrument, or * for any part of one", "%q is no pattern", pattern)
		}
	}
}

// word refuses what would make a name ambiguous in a log line or in name@version.
func (m *mistakes) word(field, s string) {
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '@' || r == 0x7f }) {
		m.add(field, "use letters, digits, dots and dashes", "%q holds a space, a control character or @", s)
	}
}

func kindList() string {
	names := make([]string, len(kinds))
	for i, kind := range kinds {
		names[i] = string(kind)
	}
	return strings.Join(names, ", ")
}
