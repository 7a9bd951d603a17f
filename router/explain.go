package router

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Policy returns the table's name@version, as it stands in every decision.
func (t *Table) Policy() string { return t.policy }

// Explain describes the table in force, in lines for people.
func (t *Table) Explain() []string {
	return append([]string{"routes " + t.policy}, t.lines()...)
}

func (t *Table) lines() []string {
	var lines []string
	for _, kind := range kinds {
		lines = append(lines, fmt.Sprintf("%-9s -> %s", kind, t.routes[kind].describe()))
	}
	for _, rule := range t.rules {
		lines = append(lines, fmt.Sprintf("rule %s: %s -> %s", rule.id, rule.when.describe(), rule.use.describe()))
	}
	for _, band := range t.bands {
		line := fmt.Sprintf("at %d %% left or less: %s at most", band.AtOrBelow, band.Ceiling)
		if band.SpareFinal {
			line += ", save the final answer"
		}
		lines = append(lines, line)
	}
	if t.allow != nil {
		lines = append(lines, "only "+strings.Join(t.allow, ", "))
	}
	if len(t.deny) > 0 {
		lines = append(lines, "never "+strings.Join(t.deny, ", "))
	}
	if t.noPreview {
		lines = append(lines, "never an instrument in preview")
	}
	return lines
}

func (r route) describe() string {
	text := r.label()
	if r.instrument == "" {
		text += fmt.Sprintf(" (%s..%s)", tierNames[r.floor], tierNames[r.ceiling])
	} else {
		text += " (exactly)"
	}
	if r.sticky {
		text += ", keeps the family of the run"
	}
	return text + ", while dry or down: " + r.fallback.describe()
}

func (r Route) describe() string {
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+" "+value)
		}
	}
	add("instrument", r.Instrument)
	add("family", r.Family)
	add("tier", r.Tier)
	add("floor", r.Floor)
	add("ceiling", r.Ceiling)
	if r.Sticky {
		parts = append(parts, "keeps the family of the run")
	}
	if r.Fallback != nil {
		parts = append(parts, "while dry or down: "+r.Fallback.describe())
	}
	return strings.Join(parts, ", ")
}

func (f Fallback) describe() string {
	if len(f) == 0 || f[0] == NoFallback {
		return "wait"
	}
	return strings.Join(f, ", ")
}

func (m Match) describe() string {
	var parts []string
	if len(m.Kinds) > 0 {
		names := make([]string, len(m.Kinds))
		for i, kind := range m.Kinds {
			names[i] = string(kind)
		}
		parts = append(parts, strings.Join(names, " or ")+" steps")
	}
	for _, flag := range []struct {
		name string
		want *bool
	}{{"tools", m.Tools}, {"schema", m.Schema}, {"final", m.Final}} {
		if flag.want != nil {
			parts = append(parts, fmt.Sprintf("%s %t", flag.name, *flag.want))
		}
	}
	if m.PromptAtLeast > 0 {
		parts = append(parts, fmt.Sprintf("prompt of %d tokens or more", m.PromptAtLeast))
	}
	if m.StepAtLeast > 0 {
		parts = append(parts, fmt.Sprintf("step %d or later", m.StepAtLeast))
	}
	if m.StepBelow > 0 {
		parts = append(parts, fmt.Sprintf("before step %d", m.StepBelow))
	}
	for _, name := range slices.Sorted(maps.Keys(m.Labels)) {
		parts = append(parts, fmt.Sprintf("label %s=%q", name, m.Labels[name]))
	}
	if len(parts) == 0 {
		return "every step"
	}
	return strings.Join(parts, ", ")
}
