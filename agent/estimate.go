package agent

import (
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
)

// counted is the part of a run's transcript that the market has counted. A prompt
// only grows, so what was counted once bounds that part of every later prompt.
type counted struct {
	refs   []*MessageRef
	echo   bool
	body   int64 // bytes of the request
	tokens int64 // the market's count
}

// beyond says how many bytes refs have beyond what was counted, if they go on from
// it.
func (k *counted) beyond(refs []*MessageRef) (int64, bool) {
	if k.tokens == 0 || !startsWith(refs, k.refs) {
		return 0, false
	}
	return int64(bytesOf(refs[len(k.refs):])), true
}

// promptOf describes the attempt's prompt for the estimator. A prompt that leaves
// out old messages is no larger than one that has them all.
func (c *modelCall) promptOf(at *grid.Attempt) budget.Prompt {
	p := budget.Prompt{Instrument: at.Instrument, Bytes: int64(at.MessageBytes), Template: templateOf(c.instrument)}
	k := &c.r.counted
	// A transcript with the model's own fields is another text.
	if beyond, ok := k.beyond(c.in.Messages); ok && k.echo == c.instrument.Echo {
		p.Counted, p.CountedBytes = k.tokens, k.body
		// Tools may have been left out since, or something else put in.
		p.NewBytes = max(beyond, p.Bytes-k.body)
	}
	return p
}

// counted learns from what the market counted.
func (c *modelCall) counted(at *grid.Attempt, p budget.Prompt, u *grid.Usage) {
	c.r.estimator.Observe(budget.Used{Prompt: p, MaxTokens: int64(at.MaxTokens), PromptTokens: u.PromptTokens, CompletionTokens: u.CompletionTokens}, at.Start)
	if u.PromptTokens > 0 && c.rec.Trimmed == 0 {
		c.r.counted = counted{refs: c.in.Messages, echo: c.instrument.Echo, body: int64(at.MessageBytes), tokens: u.PromptTokens}
	}
}

func templateOf(in grid.Instrument) int64 { return int64(or(in.TemplateTokens, templateTokens)) }
