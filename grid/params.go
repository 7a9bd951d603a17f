package grid

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
)

// Params are the optional fields of a request. A nil field is not sent, so that a
// zero can be. Ranges are the server's to check: it answers 422, which Chat returns
// as a caller's error. One answer is always asked for (n is 1).
type Params struct {
	Temperature, TopP                 *float64
	FrequencyPenalty, PresencePenalty *float64
	Seed                              *int64
	// Stop is at most 4 strings.
	Stop []string
	// ToolChoice is a JSON string ("auto", "none", "required") or an object.
	ToolChoice json.RawMessage
	// ResponseFormat is {"type":"text"}, {"type":"json_object"} or a json_schema.
	ResponseFormat         json.RawMessage
	ParallelToolCalls      *bool
	LogProbs               *bool
	TopLogProbs            *int
	ReasoningEffort        *string
	Verbosity              *string
	ServiceTier            *string
	Store                  *bool
	User, SafetyIdentifier *string
	PromptCacheKey         *string
	PromptCacheRetention   *string
	// Extra holds further fields, sent in the order of their names. A field that this
	// package writes itself is refused.
	Extra map[string]json.RawMessage
}

// Check says what of it could not be written: a number that is none, a value that is
// not JSON, a field in Extra that has a place of its own.
func (p *Params) Check() error {
	_, err := p.append(nil)
	return err
}

// append writes each field with a comma before it.
func (p *Params) append(dst []byte) ([]byte, error) {
	e := paramEncoder{dst: dst}
	e.float("temperature", p.Temperature)
	e.float("top_p", p.TopP)
	e.float("frequency_penalty", p.FrequencyPenalty)
	e.float("presence_penalty", p.PresencePenalty)
	if p.Seed != nil {
		e.name("seed")
		e.dst = strconv.AppendInt(e.dst, *p.Seed, 10)
	}
	if p.Stop != nil {
		e.name("stop")
		e.dst = append(e.dst, '[')
		for i, s := range p.Stop {
			if i > 0 {
				e.dst = append(e.dst, ',')
			}
			e.dst = appendQuoted(e.dst, s)
		}
		e.dst = append(e.dst, ']')
	}
	e.raw("tool_choice", p.ToolChoice)
	e.raw("response_format", p.ResponseFormat)
	e.bool("parallel_tool_calls", p.ParallelToolCalls)
	e.bool("logprobs", p.LogProbs)
	if p.TopLogProbs != nil {
		e.name("top_logprobs")
		e.dst = strconv.AppendInt(e.dst, int64(*p.TopLogProbs), 10)
	}
	e.string("reasoning_effort", p.ReasoningEffort)
	e.string("verbosity", p.Verbosity)
	e.string("service_tier", p.ServiceTier)
	e.bool("store", p.Store)
	e.string("user", p.User)
	e.string("safety_identifier", p.SafetyIdentifier)
	e.string("prompt_cache_key", p.PromptCacheKey)
	e.string("prompt_cache_retention", p.PromptCacheRetention)
	if len(p.Extra) == 0 {
		return e.dst, e.err
	}
	for _, name := range slices.Sorted(maps.Keys(p.Extra)) {
		if reserved(name) && e.err == nil {
			e.err = fmt.Errorf("grid: params field %q stands in Extra: it has a place of its own in Request or Params", name)
		}
		e.raw(name, p.Extra[name])
	}
	return e.dst, e.err
}

func reserved(name string) bool {
	switch name {
	case "model", "messages", "tools", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n",
		"temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "stop", "tool_choice",
		"response_format", "parallel_tool_calls", "logprobs", "top_logprobs", "reasoning_effort", "verbosity",
		"service_tier", "store", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention":
		return true
	}
	return false
}

type paramEncoder struct {
	dst []byte
	err error
}

func (e *paramEncoder) name(name string) {
	e.dst = append(e.dst, ',')
	e.dst = append(appendQuoted(e.dst, name), ':')
}

func (e *paramEncoder) float(name string, v *float64) {
	if v == nil {
		return
	}
	if math.IsNaN(*v) || math.IsInf(*v, 0) {
		if e.err == nil {
			e.err = fmt.Errorf("grid: params field %q is not a number: set a finite one", name)
		}
		return
	}
	e.name(name)
	e.dst = strconv.AppendFloat(e.dst, *v, 'g', -1, 64)
}

func (e *paramEncoder) bool(name string, v *bool) {
	if v != nil {
		e.name(name)
		e.dst = strconv.AppendBool(e.dst, *v)
	}
}

func (e *paramEncoder) string(name string, v *string) {
	if v != nil {
		e.name(name)
		e.dst = appendQuoted(e.dst, *v)
	}
}

func (e *paramEncoder) raw(name string, v json.RawMessage) {
	if v == nil {
		return
	}
	e.name(name)
	var ok bool
	if e.dst, ok = appendRaw(e.dst, v); !ok && e.err == nil {
		e.err = fmt.Errorf("grid: params field %q is not JSON: mend its value", name)
	}
}
