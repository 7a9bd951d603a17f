package router

import (
	"fmt"
	"hash/fnv"
	"maps"
	"path"
	"slices"
	"strings"
)

// kinds in the order in which people read them.
var kinds = [...]Kind{KindTools, KindCode, KindText, KindExtract, KindSummarize, KindJudge}

var defaultRoutes = map[Kind]Route{
	KindTools:     {Family: "agent", Tier: "prime"},
	KindCode:      {Family: "code", Tier: "prime"},
	KindText:      {Family: "text", Tier: "prime"},
	KindExtract:   {Family: "text", Tier: "standard"},
	KindSummarize: {Family: "text", Tier: "standard"},
	KindJudge:     {Family: "text", Tier: "prime"},
}

var defaultBands = []Band{{AtOrBelow: 20, Ceiling: "standard", SpareFinal: true}, {AtOrBelow: 50, Ceiling: "prime"}}

// Table is a [Router] that follows a [Config]. It never changes and may be used concurrently.
type Table struct {
	policy    string
	routes    map[Kind]route
	named     map[Kind]bool // the configuration says where this kind goes
	rules     []compiledRule
	bands     []Band // lowest first
	allow     []string
	deny      []string
	noPreview bool
}

type compiledRule struct {
	id   string
	when Match
	use  Route
}

// route is a [Route] with every field filled in.
type route struct {
	instrument           string
	family               string
	tier, floor, ceiling int
	fallback             Fallback
	sticky               bool
}

// New makes a table. The error joins every mistake of the configuration, as [Config.Validate] does.
// The table keeps nothing of c: changing it later has no effect.
func New(c Config) (*Table, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	t := &Table{
		routes:    make(map[Kind]route, len(kinds)),
		named:     make(map[Kind]bool, len(kinds)),
		bands:     slices.Clone(c.Bands),
		allow:     slices.Clone(c.Allow),
		deny:      slices.Clone(c.Deny),
		noPreview: c.NoPreview,
	}
	if c.Bands == nil {
		t.bands = slices.Clone(defaultBands)
	}
	slices.SortFunc(t.bands, func(a, b Band) int { return a.AtOrBelow - b.AtOrBelow })
	for _, kind := range kinds {
		t.routes[kind] = c.route(kind)
		if w := c.written(kind); w.Instrument != "" || w.Family != "" || w.Tier != "" {
			t.named[kind] = true
		}
	}
	for _, rule := range c.Rules {
		when, use := rule.When, rule.Use
		when.Kinds = slices.Clone(when.Kinds)
		when.Tools, when.Schema, when.Final = cloneBool(when.Tools), cloneBool(when.Schema), cloneBool(when.Final)
		when.Labels = maps.Clone(when.Labels)
		use.Fallback = slices.Clone(use.Fallback)
		t.rules = append(t.rules, compiledRule{rule.ID, when, use})
	}
	t.policy = t.name(c)
	return t, nil
}

// Default returns the table of the package comment. It needs no configuration and cannot fail.
func Default() *Table {
	t, err := New(Config{})
	if err != nil { // unreachable: TestDefaultIsValid
		return &Table{policy: "default@1"}
	}
	return t
}

// name falls back to a version made of the content, so that no two tables share a name by neglect.
func (t *Table) name(c Config) string {
	name, version := c.Name, c.Version
	if name == "" && version == "" && c.isDefault() {
		return "default@1"
	}
	if name == "" {
		name = "routes"
	}
	if version == "" {
		sum := fnv.New64a()
		fmt.Fprintln(sum, c.Floor, c.Ceiling, strings.Join(t.lines(), "\n"))
		version = fmt.Sprintf("%016x", sum.Sum64())
	}
	return name + "@" + version
}

func (c Config) isDefault() bool {
	for _, kind := range kinds {
		if !c.written(kind).empty() {
			return false
		}
	}
	return len(c.Rules) == 0 && c.Floor == "" && c.Ceiling == "" && c.Bands == nil &&
		len(c.Fallback) == 0 && len(c.Allow) == 0 && len(c.Deny) == 0 && !c.NoPreview
}

func cloneBool(b *bool) *bool {
	if b == nil {
		return nil
	}
	v := *b
	return &v
}

// route resolves the route of a kind. A tier that nobody wrote moves into the bounds; one that was written has been checked.
func (c Config) route(kind Kind) route {
	written := c.written(kind)
	base := defaultRoutes[kind]
	r := route{
		family:   base.Family,
		tier:     rankOf(base.Tier),
		floor:    c.floor(),
		ceiling:  c.ceiling(),
		fallback: c.Fallback,
	}
	r = r.with(written)
	r.fallback = slices.Clone(r.fallback)
	return r.clamped()
}

// with lays the written fields of w over r.
func (r route) with(w Route) route {
	if w.Instrument != "" {
		r.instrument = w.Instrument
	} else if w.Family != "" || w.Tier != "" {
		r.instrument = ""
	}
	if w.Family != "" {
		r.family = w.Family
	}
	r.tier = rankOr(w.Tier, r.tier)
	r.floor = rankOr(w.Floor, r.floor)
	r.ceiling = rankOr(w.Ceiling, r.ceiling)
	if w.Fallback != nil {
		r.fallback = w.Fallback
	}
	r.sticky = r.sticky || w.Sticky
	return r
}

func (r route) clamped() route {
	r.tier = max(r.floor, min(r.tier, r.ceiling))
	return r
}

// resolve finds the rule and the route of a step.
func (t *Table) resolve(s Step) (rule string, r route) {
	kind := s.kind()
	r = t.routes[kind]
	for _, rule := range t.rules {
		if rule.when.meets(s, kind) {
			return rule.id, r.with(rule.use).clamped()
		}
	}
	return "", r
}

// band returns the highest rank that the money left allows.
func (t *Table) band(s Step, left int) int {
	if left < 0 {
		return rankMax
	}
	for _, b := range t.bands {
		if left <= b.AtOrBelow && !(b.SpareFinal && s.Final) {
			return rankOf(b.Ceiling)
		}
	}
	return rankMax
}

// allowed says whether the table lets an instrument serve at all.
func (t *Table) allowed(id string) bool {
	means := func(pattern string) bool { return matches(pattern, id) }
	return !slices.ContainsFunc(t.deny, means) && (t.allow == nil || slices.ContainsFunc(t.allow, means))
}

func matches(pattern, id string) bool {
	ok, _ := path.Match(pattern, id) // the pattern was checked by New
	return ok
}
