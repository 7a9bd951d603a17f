package router

import (
	"math"
	"math/bits"
	"strings"
)

// Kind says what a step is for. An empty or unknown kind is treated as [KindTools] if the step offers tools, else as [KindText].
type Kind string

// The kinds of step that a route can be written for.
const (
	KindTools     Kind = "tools"     // plan, choose tools
	KindCode      Kind = "code"      // write or change code
	KindText      Kind = "text"      // final answer, prose
	KindExtract   Kind = "extract"   // structured output
	KindSummarize Kind = "summarize" // shorten, compact
	KindJudge     Kind = "judge"     // accept or reject another answer
)

// Values of [Decision].Reason. When several things moved a step, the reason names the last to do so in the order
// default, rule, sticky, escalation, budget, capability, fallback.
const (
	ReasonDefault    = "default"    // the route of the step's kind
	ReasonRule       = "rule"       // a rule matched
	ReasonSticky     = "sticky"     // the run stays in the family it was in
	ReasonEscalation = "escalation" // evidence asked for a stronger tier
	ReasonBudget     = "budget"     // a budget band lowered the tier
	ReasonCapability = "capability" // a hard limit or the step's MinTier ruled the wanted instrument out
	ReasonFallback   = "fallback"   // the wanted instrument is dry or down, and a fallback is declared
	ReasonPinned     = "pinned"     // the caller named the instrument
	ReasonNone       = "none"       // nothing can serve this step
)

// Instrument is what the router has to know about one instrument. IDs are unique within a snapshot; of two with the same
// ID the first counts. Family and Tier may be left empty when the ID is family-tier. Limits are tokens, zero means unknown
// and rules nothing out.
type Instrument struct {
	ID, Family, Tier string
	Preview          bool
	Dry              bool // its balance is being bought: calls wait
	Down             bool // breaker open, cap held, frozen
	Context          int64
	MaxInput         int64
	MaxOutput        int64
	PriceNanoUSD     int64 // nano-USD per Unit of 1,000,000 tokens; 0 = unknown
	NoTools          bool
	NoSchema         bool
}

// Snapshot is the market and the purse at the moment of a decision. The order of Instruments has no influence.
type Snapshot struct {
	Instruments []Instrument
	LeftPercent int // of the tightest cap, 0..100; -1 = unknown. Zero means that nothing is left
}

// Step is one model call to be placed.
type Step struct {
	Run          string
	Index        int // 0-based step of the run
	Kind         Kind
	PromptBytes  int64             // encoded size; used when PromptTokens is zero, at three bytes a token
	PromptTokens int64             // estimate
	MaxTokens    int64             // output asked for; 0 = not limited by the step
	Tools        bool              // tools are offered
	Schema       bool              // a structured output is asked for
	Final        bool              // the run's last answer
	Pin          string            // the caller's instrument: this one or none
	Sticky       string            // instrument of the run so far
	Escalation   int               // tiers to go up, by evidence
	Exclude      []string          // instruments that must not serve this step
	MinTier      string            // "standard", "prime", "max"; empty = none
	Seed         uint64            // for routers that explore; Table does not
	Labels       map[string]string // set by Go code, matched by rules
}

// Candidate is an instrument that was looked at.
type Candidate struct {
	Instrument string
	Skipped    string // why it cannot serve this step; "" = it could
	Cost       int64  // nano-USD for prompt and MaxTokens; 0 = unknown
}

// Decision is the answer of a [Router] with everything that led to it.
type Decision struct {
	Instrument  string // "" = nothing can serve this step
	Family      string
	Tier        string
	Reason      string // one of the Reason constants
	Rule        string // id of the matched rule
	Requested   string // what was wanted before Reason changed it; "" = nothing changed
	Policy      string // name@version of the table
	Why         string // one sentence for people; holds no label, prompt or other text of users
	Candidates  []Candidate
	Probability float64 // with which this instrument was chosen: 1 unless a router explores; 0 for none
}

// Router chooses an instrument for a step. Decide must be pure (same arguments, same answer), must not keep or change
// its arguments, and is called concurrently.
type Router interface {
	Decide(Step, Snapshot) Decision
}

// Func makes a plain func a [Router].
type Func func(Step, Snapshot) Decision

// Decide calls f.
func (f Func) Decide(s Step, m Snapshot) Decision { return f(s, m) }

// The ranks of the three tiers; an instrument of another tier has no rank and serves only when it is named.
var tierNames = [...]string{"standard", "prime", "max"}

const (
	rankNone     = -1
	rankStandard = 0
	rankMax      = 2
)

func rankOf(tier string) int {
	for rank, name := range tierNames {
		if tier == name {
			return rank
		}
	}
	return rankNone
}

// families in the order in which they stand in for each other: the broadest in tool use first.
var families = [...]string{"agent", "code", "text"}

// splitID reads family-tier. The last dash counts, since families of single labs hold dashes themselves.
func splitID(id string) (family, tier string) {
	cut := strings.LastIndexByte(id, '-')
	if cut < 0 {
		return id, ""
	}
	return id[:cut], id[cut+1:]
}

// bytesPerToken is low for English prose and about right for JSON and code: an estimate that errs towards too many tokens
// finds out before the call that a prompt does not fit.
const bytesPerToken = 3

func (s Step) promptTokens() int64 {
	if s.PromptTokens > 0 {
		return s.PromptTokens
	}
	if s.PromptBytes <= 0 {
		return 0
	}
	return (s.PromptBytes-1)/bytesPerToken + 1
}

func (s Step) kind() Kind {
	if _, known := defaultRoutes[s.Kind]; known {
		return s.Kind
	}
	if s.Tools {
		return KindTools
	}
	return KindText
}

func addSaturating(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// costNanoUSD is ceil(tokens*price/1e6) without overflow on the way.
func costNanoUSD(tokens, price int64) int64 {
	const unit = 1_000_000
	if tokens <= 0 || price <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(tokens), uint64(price))
	lo, carry := bits.Add64(lo, unit-1, 0)
	hi += carry
	if hi >= unit {
		return math.MaxInt64
	}
	cost, _ := bits.Div64(hi, lo, unit)
	return int64(min(cost, math.MaxInt64))
}
