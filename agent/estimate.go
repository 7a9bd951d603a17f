package agent

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
)

// counted is a request that the market has counted. A prompt only grows, so what was
// counted once bounds that part of every later prompt.
type counted struct {
	refs    []*MessageRef
	echo    bool
	setting setting
	body    int64 // bytes of the request, or of what later ones have of it
	tokens  int64 // the market's count; 0: nothing was counted
}

// beyond says how many bytes refs have beyond what was counted, if they go on from
// it.
func (k *counted) beyond(refs []*MessageRef, echo bool) (int64, bool) {
	// A transcript with the model's own fields is another text.
	if k.tokens == 0 || k.echo != echo || !startsWith(refs, k.refs) {
		return 0, false
	}
	return int64(bytesOf(refs[len(k.refs):])), true
}

// setting is the part of a request's params that a supplier may write into the prompt.
type setting struct {
	format, choice json.RawMessage
	extra          map[string]json.RawMessage
}

func settingOf(p *grid.Params) setting {
	return setting{format: p.ResponseFormat, choice: p.ToolChoice, extra: p.Extra}
}

// beyond is how many bytes s has that were not in then.
func (s setting) beyond(then setting) int64 {
	n := 0
	if !bytes.Equal(s.format, then.format) {
		n += len(s.format)
	}
	if !bytes.Equal(s.choice, then.choice) {
		n += len(s.choice)
	}
	for name, v := range s.extra {
		if !bytes.Equal(v, then.extra[name]) {
			n += len(name) + len(v)
		}
	}
	return int64(n)
}

// known is what the market has counted that the run's next prompt may go on from: of the
// run itself, else of the conversation that it continues, else of how other runs of the
// agent began on that instrument.
func (r *run) known(instrument string) *counted {
	if r.counted.tokens > 0 {
		return &r.counted
	}
	if r.began.on != instrument {
		r.began.on, r.began.counted = instrument, r.estimator.begins(r.beginning(instrument), time.Now())
	}
	return &r.began.counted
}

// promptOf describes the attempt's prompt for the estimator. A prompt that leaves
// out old messages is no larger than one that has them all.
func (c *modelCall) promptOf(at *grid.Attempt) budget.Prompt {
	p := budget.Prompt{Instrument: at.Instrument, Bytes: int64(at.MessageBytes), Template: templateOf(c.instrument)}
	k := c.r.known(at.Instrument)
	if beyond, ok := k.beyond(c.in.Messages, c.instrument.Echo); ok {
		p.Counted, p.CountedBytes = k.tokens, k.body
		// Tools may have been left out since, or something else put in.
		p.NewBytes = max(beyond+c.setting.beyond(k.setting), p.Bytes-k.body)
	}
	return p
}

// counted learns from what the market counted.
func (c *modelCall) counted(at *grid.Attempt, p budget.Prompt, u *grid.Usage) {
	r := c.r
	r.estimator.Observe(budget.Used{Prompt: p, MaxTokens: int64(at.MaxTokens), PromptTokens: u.PromptTokens, CompletionTokens: u.CompletionTokens}, at.Start)
	if u.PromptTokens <= 0 || c.rec.Trimmed > 0 || c.in.Final {
		return // what comes after the answer at a limit has tools again
	}
	k := counted{refs: c.in.Messages, echo: c.instrument.Echo, setting: c.setting, body: int64(at.MessageBytes), tokens: u.PromptTokens}
	if !c.in.NoTools {
		r.share(at, k)
	}
	// A supplier that counts little bounds those that count more, also some steps later.
	again := budget.Prompt{Instrument: p.Instrument, Bytes: p.Bytes, Template: p.Template, Counted: k.tokens, CountedBytes: k.body}
	if p.Counted == 0 || r.estimator.Prompt(again, at.Start) <= r.estimator.Prompt(p, at.Start) {
		r.counted = k
	}
}

func templateOf(in grid.Instrument) int64 { return int64(or(in.TemplateTokens, templateTokens)) }
