package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/gridloop/gridloop/grid"
)

// StepInfo is what is known of a model step before it is asked.
type StepInfo struct {
	Run        string
	Step       int
	Kind       string // the router's
	Instrument string // that serves it
	Final      bool   // the answer at a limit
	Escalation int
	Labels     Labels
}

// StepTuning is what one step is asked with. It begins as the agent's own.
type StepTuning struct {
	// Params are a copy: a field that is set counts for this step alone.
	Params grid.Params
	// MaxTokens bounds the answer, in tokens; less than 1 leaves it as it is. The answer
	// at a limit has what was reserved for it, and can only be given less.
	MaxTokens int
}

// tune asks Config.Tune what this step is to be asked with.
func (c *modelCall) tune(ctx context.Context) {
	r := c.r
	c.params = r.a.params
	if r.a.cfg.Tune == nil {
		return
	}
	t := StepTuning{Params: copied(r.a.params), MaxTokens: c.maxTokens}
	r.a.cfg.Tune(ctx, StepInfo{Run: r.id, Step: c.in.Step, Kind: c.in.Kind, Instrument: c.instrument.ID, Final: c.in.Final, Escalation: c.in.Escalation, Labels: r.state.Labels}, &t)
	c.params = &t.Params
	if t.MaxTokens > 0 && (!c.in.Final || t.MaxTokens < c.maxTokens) {
		c.maxTokens = t.MaxTokens
	}
}

// copied is a copy of which all may be changed, also behind its pointers.
func copied(p *grid.Params) grid.Params {
	out := *p
	own(&out.Temperature)
	own(&out.TopP)
	own(&out.FrequencyPenalty)
	own(&out.PresencePenalty)
	own(&out.Seed)
	own(&out.ParallelToolCalls)
	own(&out.LogProbs)
	own(&out.TopLogProbs)
	own(&out.ReasoningEffort)
	own(&out.Verbosity)
	own(&out.ServiceTier)
	own(&out.Store)
	own(&out.User)
	own(&out.SafetyIdentifier)
	own(&out.PromptCacheKey)
	own(&out.PromptCacheRetention)
	out.Stop = slices.Clone(p.Stop)
	out.ToolChoice = slices.Clone(p.ToolChoice)
	out.ResponseFormat = slices.Clone(p.ResponseFormat)
	out.Extra = maps.Clone(p.Extra)
	for name, v := range out.Extra {
		out.Extra[name] = slices.Clone(v)
	}
	return out
}

// own puts a copy in place of what a pointer shares.
func own[T any](p **T) {
	if *p != nil {
		v := **p
		*p = &v
	}
}

// fileParams are what every model step is asked with, in the names of the wire. What
// is not written is not sent; a zero is.
type fileParams struct {
	Temperature          *float64       `yaml:"temperature"`
	TopP                 *float64       `yaml:"top_p"`
	FrequencyPenalty     *float64       `yaml:"frequency_penalty"`
	PresencePenalty      *float64       `yaml:"presence_penalty"`
	Seed                 *int64         `yaml:"seed"`
	Stop                 fileStrings    `yaml:"stop"`
	ToolChoice           fileJSON       `yaml:"tool_choice"`
	ResponseFormat       fileJSON       `yaml:"response_format"`
	ParallelToolCalls    *bool          `yaml:"parallel_tool_calls"`
	LogProbs             *bool          `yaml:"logprobs"`
	TopLogProbs          *int           `yaml:"top_logprobs"`
	ReasoningEffort      *string        `yaml:"reasoning_effort"`
	Verbosity            *string        `yaml:"verbosity"`
	ServiceTier          *string        `yaml:"service_tier"`
	Store                *bool          `yaml:"store"`
	User                 *string        `yaml:"user"`
	SafetyIdentifier     *string        `yaml:"safety_identifier"`
	PromptCacheKey       *string        `yaml:"prompt_cache_key"`
	PromptCacheRetention *string        `yaml:"prompt_cache_retention"`
	Extra                map[string]any `yaml:"extra"` // any other field of the wire, as it is
}

// fileStrings is one string or several.
type fileStrings []string

func (l *fileStrings) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*l = fileStrings{n.Value}
		return nil
	}
	*l = fileStrings{}
	return n.Decode((*[]string)(l))
}

// fileJSON is a value that goes to the wire as JSON.
type fileJSON json.RawMessage

func (j *fileJSON) UnmarshalYAML(n *yaml.Node) error {
	var v any
	if err := n.Decode(&v); err != nil {
		return err
	}
	b, err := json.Marshal(v)
	*j = b
	return err
}

func (f *fileParams) params() (p grid.Params, err error) {
	p = grid.Params{
		Temperature: f.Temperature, TopP: f.TopP, FrequencyPenalty: f.FrequencyPenalty, PresencePenalty: f.PresencePenalty,
		Seed: f.Seed, Stop: f.Stop, ToolChoice: json.RawMessage(f.ToolChoice), ResponseFormat: json.RawMessage(f.ResponseFormat),
		ParallelToolCalls: f.ParallelToolCalls, LogProbs: f.LogProbs, TopLogProbs: f.TopLogProbs, ReasoningEffort: f.ReasoningEffort,
		Verbosity: f.Verbosity, ServiceTier: f.ServiceTier, Store: f.Store, User: f.User, SafetyIdentifier: f.SafetyIdentifier,
		PromptCacheKey: f.PromptCacheKey, PromptCacheRetention: f.PromptCacheRetention,
	}
	for _, name := range sortedKeys(f.Extra) {
		b, err := json.Marshal(f.Extra[name])
		if err != nil {
			return p, fmt.Errorf("params.extra.%s: it cannot be written as JSON: give it a plain value", name)
		}
		if p.Extra == nil {
			p.Extra = make(map[string]json.RawMessage, len(f.Extra))
		}
		p.Extra[name] = b
	}
	return p, nil
}

// mergeParams takes each field from where it is set; one that is set twice, and
// differently, is an error.
func mergeParams(code, file grid.Params) (*grid.Params, error) {
	var errs []error
	out := code
	to, from := reflect.ValueOf(&out).Elem(), reflect.ValueOf(file)
	for i := range to.NumField() {
		switch f := from.Field(i); {
		case f.IsNil():
		case to.Field(i).IsNil():
			to.Field(i).Set(f)
		case !reflect.DeepEqual(to.Field(i).Interface(), f.Interface()):
			name := to.Type().Field(i).Name
			errs = append(errs, fmt.Errorf("agent: Params.%s and params of the file differ: set it in one of them", name))
		}
	}
	if err := out.Check(); err != nil {
		errs = append(errs, fmt.Errorf("agent: Params: %s", strings.TrimPrefix(err.Error(), "grid: ")))
	}
	return &out, errors.Join(errs...)
}

// paramsInWords names the fields that are sent, without values: user
// and cache keys may be somebody's.
func paramsInWords(p *grid.Params) string {
	var names []string
	v := reflect.ValueOf(p).Elem()
	for i := range v.NumField() {
		switch name := v.Type().Field(i).Name; {
		case v.Field(i).IsNil():
		case name == "Extra":
			names = append(names, sortedKeys(p.Extra)...)
		default:
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "none: the market's own defaults hold"
	}
	return strings.Join(names, ", ")
}
