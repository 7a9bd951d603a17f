package router

import "slices"

// Config describes a [Table]. The zero value is [Default]. Its field tags are the keys of the routes section of a
// configuration file.
type Config struct {
	Name      string   `yaml:"name"`    // "" = "routes"
	Version   string   `yaml:"version"` // "" = derived from the content, so that a changed table never keeps its version
	Tools     Route    `yaml:"tools"`   // a route that is not written keeps its default; so does an empty field
	Code      Route    `yaml:"code"`
	Text      Route    `yaml:"text"`
	Extract   Route    `yaml:"extract"`
	Summarize Route    `yaml:"summarize"`
	Judge     Route    `yaml:"judge"`
	Rules     []Rule   `yaml:"rules"`      // the first that matches wins
	Floor     string   `yaml:"floor"`      // for routes that name none; "" = standard
	Ceiling   string   `yaml:"ceiling"`    // for routes that name none; "" = max
	Bands     []Band   `yaml:"bands"`      // nil = the default bands; empty but not nil = none
	Fallback  Fallback `yaml:"fallback"`   // for routes that name none; nil = none
	Allow     []string `yaml:"allow"`      // ids or patterns such as "*-standard"; nil = all
	Deny      []string `yaml:"deny"`       // ids or patterns; stands above Allow
	NoPreview bool     `yaml:"no_preview"` // instruments in preview serve no step
}

// written returns what the configuration says about steps of a kind.
func (c Config) written(kind Kind) Route {
	switch kind {
	case KindTools:
		return c.Tools
	case KindCode:
		return c.Code
	case KindText:
		return c.Text
	case KindExtract:
		return c.Extract
	case KindSummarize:
		return c.Summarize
	case KindJudge:
		return c.Judge
	}
	return Route{}
}

// Route says where steps go. Empty fields of a written route are taken from the default route of the kind,
// those of a rule from the route of the step's kind.
type Route struct {
	Instrument string   `yaml:"instrument"` // exactly this one, by name: tier, bands, escalation and stickiness don't apply
	Family     string   `yaml:"family"`
	Tier       string   `yaml:"tier"`
	Floor      string   `yaml:"floor"`   // never below, whatever the budget
	Ceiling    string   `yaml:"ceiling"` // never above, whatever the evidence
	Fallback   Fallback `yaml:"fallback"`
	Sticky     bool     `yaml:"sticky"` // stay in the family of Step.Sticky while its tier is the wanted one
}

func (r Route) empty() bool {
	return r.Instrument == "" && r.Family == "" && r.Tier == "" && r.Floor == "" && r.Ceiling == "" && r.Fallback == nil && !r.Sticky
}

// Rule sends the steps that it matches elsewhere.
type Rule struct {
	ID   string `yaml:"id"`
	When Match  `yaml:"when"`
	Use  Route  `yaml:"use"`
}

// Match holds conditions that must all be met. The zero Match meets every step.
type Match struct {
	Kinds         []Kind            `yaml:"kinds"`
	Tools         *bool             `yaml:"tools"`
	Schema        *bool             `yaml:"schema"`
	Final         *bool             `yaml:"final"`
	PromptAtLeast int64             `yaml:"prompt_at_least"` // tokens
	StepAtLeast   int               `yaml:"step_at_least"`
	StepBelow     int               `yaml:"step_below"` // 0 = no bound
	Labels        map[string]string `yaml:"labels"`
}

func (m Match) empty() bool {
	return len(m.Kinds) == 0 && m.Tools == nil && m.Schema == nil && m.Final == nil &&
		m.PromptAtLeast == 0 && m.StepAtLeast == 0 && m.StepBelow == 0 && len(m.Labels) == 0
}

func (m Match) meets(s Step, kind Kind) bool {
	if len(m.Kinds) > 0 && !slices.Contains(m.Kinds, kind) {
		return false
	}
	if m.Tools != nil && *m.Tools != s.Tools || m.Schema != nil && *m.Schema != s.Schema || m.Final != nil && *m.Final != s.Final {
		return false
	}
	if s.promptTokens() < m.PromptAtLeast || s.Index < m.StepAtLeast || m.StepBelow > 0 && s.Index >= m.StepBelow {
		return false
	}
	for name, want := range m.Labels {
		if got, ok := s.Labels[name]; !ok || got != want {
			return false
		}
	}
	return true
}

// Band lowers the ceiling as the tightest cap empties. The band with the lowest AtOrBelow that applies counts.
type Band struct {
	AtOrBelow  int    `yaml:"at_or_below"` // percent left, 0..100
	Ceiling    string `yaml:"ceiling"`
	SpareFinal bool   `yaml:"spare_final"` // does not apply to the final answer
}

// Fallback lists what may serve a step while its instrument is dry or down, in order: [SameTier], [Down], or instrument
// IDs. A dearer tier serves only if its ID is listed. Nil takes the value of the level above; [NoFallback] alone means none.
// The exhaustion of credits is no reason for a fallback: all instruments share them.
type Fallback []string

// The words of a [Fallback].
const (
	NoFallback = "none"      // wait for the top-up
	SameTier   = "same_tier" // the tier in the other families: agent, code, text
	Down       = "down"      // lower tiers of the family, not below the floor
)

// UnmarshalYAML reads one word as well as a list, so that a file may say "fallback: down".
func (f *Fallback) UnmarshalYAML(construct func(any) error) error {
	var word string
	if construct(&word) == nil {
		*f = Fallback{word}
		return nil
	}
	return construct((*[]string)(f))
}

func (c Config) floor() int   { return rankOr(c.Floor, rankStandard) }
func (c Config) ceiling() int { return rankOr(c.Ceiling, rankMax) }

func rankOr(tier string, otherwise int) int {
	if rank := rankOf(tier); rank != rankNone {
		return rank
	}
	return otherwise
}
