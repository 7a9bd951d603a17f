package budget

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// EstimateMode says how the tokens of a prompt are bounded before anybody has counted them. Each mode is tighter than the
// one before, and rests on one assumption more. "True bill <= cap" holds as far as those of the mode in force do.
type EstimateMode string

// The modes.
const (
	// EstimateStrict takes a token for every byte of the request, and the chat template on top. It assumes that a tokenizer
	// makes no more tokens of a text than it has bytes, as byte-level ones do, and that the template is no larger than
	// Prompt.Template. About four times what English prompts come to.
	EstimateStrict EstimateMode = "strict"
	// EstimateIncremental takes what the market counted for the part of the prompt that it has seen before, times Spread and
	// at least Prompt.Template more, and the strict bound for the rest. It assumes, beside the above, that two suppliers
	// count the same request, with their templates, alike within that. It is the default.
	EstimateIncremental EstimateMode = "incremental"
	// EstimateCalibrated also takes the rest at the densest tokens-per-byte seen on the instrument within the last week,
	// and suppliers as far apart as they were seen to be, each times 1.10, once there are enough samples. It assumes,
	// beside the above, that no text is denser and no two suppliers are further apart than lately by more than that. A
	// model that is suddenly fed base64 breaks it: meant for caps that are goals.
	EstimateCalibrated EstimateMode = "calibrated"
)

// Spread is how much more than one supplier another one is taken to count for the same text, in parts per million, until
// an instrument was seen to differ by more.
const Spread = 1_500_000

const (
	ppm           = 1_000_000
	margin        = 1_100_000 // on top of what was learned
	enoughSamples = 32
	sampleBytes   = 512 // shorter prompts are mostly template and say little of the text
	memoryDays    = 7
	// leanest is the most bytes that a token is believed to stand for; a count below that is taken for a mistake.
	leanest = 8
	// apart is the least that the templates of two suppliers may differ by, whatever Prompt.Template says.
	apart = 128
	// sampleTokens is the least count that says how far apart suppliers are: below it that is their templates.
	sampleTokens = 1024
)

// Estimator bounds what calls can use, in tokens, and learns by instrument from what they did use. It reads no clock and
// does no I/O. It is safe for concurrent use; the zero value is the default mode and has learned nothing.
type Estimator struct {
	mode EstimateMode
	mu   sync.Mutex
	seen map[string]*learned
}

// NewEstimator makes an estimator; an empty mode is [EstimateIncremental].
func NewEstimator(mode EstimateMode) (*Estimator, error) {
	if mode != "" && !slices.Contains([]EstimateMode{EstimateStrict, EstimateIncremental, EstimateCalibrated}, mode) {
		return nil, &FieldError{Field: "Estimate", Problem: fmt.Sprintf("%q is no mode", clip(string(mode))), Fix: "write strict, incremental or calibrated"}
	}
	return &Estimator{mode: mode}, nil
}

// Mode is the mode in force.
func (e *Estimator) Mode() EstimateMode {
	if e.mode == "" {
		return EstimateIncremental
	}
	return e.mode
}

// Prompt is a request that is about to be sent.
type Prompt struct {
	Instrument string
	Bytes      int64 // of the whole request as it is sent
	Template   int64 // tokens that a chat template may add to it
	// Counted is what the market counted for an earlier request that this one goes on from, or begins like, in tokens; 0
	// when there is none. CountedBytes is how large that request was, or what of it is in this one. NewBytes is what
	// this one has beyond it.
	Counted, CountedBytes, NewBytes int64
}

// learned is what an instrument was seen to do. The factors are parts per million.
type learned struct {
	days [memoryDays]learnedDay
}

type learnedDay struct {
	day                             int64 // since 1970, UTC
	samples, pairs                  int64
	density, strict, spread, output int64
	apart                           int64 // tokens
	near                            int64 // what was counted, over what the count before and the density lead to expect
}

func dayOf(now time.Time) int64 { return now.Unix() / 86_400 }

// lately is the largest of each factor within the last days.
func (e *Estimator) lately(instrument string, now time.Time) learnedDay {
	all := learnedDay{strict: ppm, spread: Spread, output: ppm}
	l := e.seen[instrument]
	if l == nil {
		return all
	}
	for _, d := range l.days {
		if d.day > dayOf(now)-memoryDays {
			all.samples, all.pairs = plus(all.samples, d.samples), plus(all.pairs, d.pairs)
			all.density, all.strict = max(all.density, d.density), max(all.strict, d.strict)
			all.spread, all.output = max(all.spread, d.spread), max(all.output, d.output)
			all.apart, all.near = max(all.apart, d.apart), max(all.near, d.near)
		}
	}
	return all
}

// Prompt is the bound on the tokens of a prompt.
func (e *Estimator) Prompt(p Prompt, now time.Time) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.prompt(p, e.lately(p.Instrument, now))
}

func (e *Estimator) prompt(p Prompt, f learnedDay) int64 {
	bytes, template := max(p.Bytes, 0), max(p.Template, 0)
	bound := Cost(plus(bytes, template), f.strict)
	if e.mode == EstimateStrict {
		return bound
	}
	text := func(bytes int64) int64 { return Cost(bytes, f.strict) }
	if e.mode == EstimateCalibrated && f.samples >= enoughSamples {
		text = func(bytes int64) int64 { return min(Cost(bytes, f.strict), Cost(Cost(bytes, f.density), margin)) }
		bound = min(bound, plus(text(bytes), template))
	}
	if p.Counted > 0 {
		again := max(Cost(p.believed(), f.spread), plus(p.believed(), max(f.apart, template, apart)))
		bound = min(bound, plus(again, text(max(p.NewBytes, 0))))
	}
	if e.mode == EstimateCalibrated && f.pairs >= enoughSamples && p.Counted >= sampleTokens {
		bound = min(bound, Cost(Cost(p.expected(f.density), max(f.near, ppm)), margin))
	}
	return bound
}

// expected is what a prompt comes to if its supplier counts like the one before and its text is as dense as any.
func (p Prompt) expected(density int64) int64 {
	return plus(p.believed(), Cost(max(p.NewBytes, 0), density))
}

// believed is the count of the earlier request, unless it is too small to be one.
func (p Prompt) believed() int64 { return max(p.Counted, p.CountedBytes/leanest) }

// Output is the bound on what the model writes if it is asked for at most maxTokens: more than that on an instrument that
// was seen to exceed it.
func (e *Estimator) Output(instrument string, maxTokens int64, now time.Time) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return Cost(max(maxTokens, 0), e.lately(instrument, now).output)
}

// MaxTokens is the largest max_tokens whose Output is at most tokens.
func (e *Estimator) MaxTokens(instrument string, tokens int64, now time.Time) int64 {
	if tokens <= 0 {
		return 0
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	f := e.lately(instrument, now).output
	n := tokens
	if f > ppm {
		n = int64(float64(tokens) / float64(f) * ppm)
	}
	for n > 0 && Cost(n, f) > tokens {
		n--
	}
	return n
}

// Used is what a call came to.
type Used struct {
	Prompt           Prompt // what was sent
	MaxTokens        int64  // what was asked for at most
	PromptTokens     int64
	CompletionTokens int64
}

// Observe learns from a call. What exceeded its bound raises the bound from now on, and is forgotten after a week in which
// it did not happen again.
func (e *Estimator) Observe(u Used, now time.Time) {
	p := u.Prompt
	e.mu.Lock()
	defer e.mu.Unlock()
	f := e.lately(p.Instrument, now)
	if e.seen == nil {
		e.seen = map[string]*learned{}
	}
	l := e.seen[p.Instrument]
	if l == nil {
		l = &learned{}
		e.seen[p.Instrument] = l
	}
	d := &l.days[((dayOf(now)%memoryDays)+memoryDays)%memoryDays]
	if d.day != dayOf(now) {
		*d = learnedDay{day: dayOf(now)}
	}
	if p.Bytes >= sampleBytes && u.PromptTokens > 0 {
		d.samples++
		d.density = max(d.density, ratio(u.PromptTokens, p.Bytes))
	}
	if strict := plus(max(p.Bytes, 0), max(p.Template, 0)); u.PromptTokens > strict && strict > 0 {
		d.strict = max(d.strict, Cost(ratio(u.PromptTokens, strict), margin))
	}
	if p.Counted >= sampleTokens && u.PromptTokens > 0 && f.density > 0 {
		d.pairs++
		d.near = max(d.near, ratio(u.PromptTokens, p.expected(f.density)))
	}
	if rest := u.PromptTokens - max(p.NewBytes, 0); p.Counted > 0 && u.PromptTokens > e.prompt(p, f) {
		// Of a small prompt the template is most: what it has too much says nothing of large ones.
		if more := max(rest-p.believed(), 0); p.believed() < sampleTokens && more/4 <= max(p.Template, apart) {
			d.apart = max(d.apart, Cost(more, margin))
		} else {
			d.spread = max(d.spread, Cost(ratio(rest, p.believed()), margin))
		}
	}
	if u.CompletionTokens > u.MaxTokens && u.MaxTokens > 0 {
		d.output = max(d.output, Cost(ratio(u.CompletionTokens, u.MaxTokens), margin))
	}
}

// ratio is a/b in parts per million, rounded up.
func ratio(a, b int64) int64 {
	if a <= 0 || b <= 0 {
		return 0
	}
	r := math.Ceil(float64(a) / float64(b) * ppm)
	if r >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(r)
}
