package runview

import (
	"cmp"
	"slices"
	"time"

	oteltrace "go.opentelemetry.io/otel/trace"
)

// run is one invoke_agent span with everything below it.
type run struct {
	trace       oteltrace.TraceID
	id          oteltrace.SpanID
	agent, name string // name is the run's own id
	start, end  time.Time
	stop        string // "" = not known
	failed      string
	open        bool // its span has not ended
	steps       []*step
	resumes     oteltrace.SpanContext

	modelCalls, toolCalls, retries int64
	input, output, cost            int64
	waited                         time.Duration // for top-ups
	left                           int64         // nano-USD after the last step; -1 = not known
	most                           int64         // the largest amount that the cap is known to have had; 0 = not known
	receipts                       bool          // all costs are from receipts
}

// step is one turn of the loop.
type step struct {
	index      int64
	start, end time.Time
	calls      []*call // one, but for oddities
	notes      []note
	tools      []*tool
	runs       []*run // agents that the step called
}

// call is one chat span.
type call struct {
	start, end                      time.Time
	instrument, family, tier        string
	kind, reason, rule, requested   string
	policy, model, finish, requests string
	final, escalated, stream        bool
	input, output                   int64
	cached, reasoning               int64
	known                           bool // tokens are
	cost, reserved, left            int64
	priced                          bool // a cost was recorded
	source                          string
	first                           time.Duration // until the first chunk; 0 = not known
	failed                          string
	skipped                         []string
	attempts                        []tried
	waits                           []wait
	asked, answered                 string // content, if recorded
}

type tried struct {
	start, end    time.Time
	number        int64
	status        int64
	failed        string
	billed, where string
}

type wait struct {
	start, end time.Time
	outcome    string
	tries      int64
}

type tool struct {
	start, end          time.Time
	name, failed        string
	index               int64
	parallel, abandoned bool
	approval            string
	asked, answered     string // content, if recorded
	runs                []*run
}

// note is something that happened to the run at one moment: a cap said no, a loop was found.
type note struct {
	at   time.Time
	text string
	bad  bool
}

// cost of everything below, sub-agents included.
func (r *run) totals() (cost, tokens int64) {
	cost, tokens = r.cost, r.input+r.output
	for _, sub := range r.subs() {
		c, t := sub.totals()
		cost, tokens = cost+c, tokens+t
	}
	return cost, tokens
}

// subs are the runs of agents that this run called.
func (r *run) subs() []*run {
	var all []*run
	for _, s := range r.steps {
		all = append(all, s.subs()...)
	}
	return all
}

func (s *step) subs() []*run {
	all := slices.Clone(s.runs)
	for _, t := range s.tools {
		all = append(all, t.runs...)
	}
	return all
}

// span widens the step until it covers from and to.
func (s *step) cover(from, to time.Time) {
	if s.start.IsZero() || from.Before(s.start) {
		s.start = from
	}
	if to.After(s.end) {
		s.end = to
	}
}

// troubles counts what a reader would look for first.
type troubles struct {
	refused, failedCalls, failedTools, notes int
	waited                                   time.Duration
}

func (t troubles) any() bool {
	return t.refused+t.failedCalls+t.failedTools+t.notes > 0 || t.waited > 0
}

func (t troubles) plus(o troubles) troubles {
	return troubles{t.refused + o.refused, t.failedCalls + o.failedCalls, t.failedTools + o.failedTools, t.notes + o.notes, t.waited + o.waited}
}

func (s *step) troubles() troubles {
	var t troubles
	for _, c := range s.calls {
		for _, a := range c.attempts {
			if a.failed != "" {
				t.refused++
			}
		}
		if c.failed != "" {
			t.failedCalls++
		}
		for _, w := range c.waits {
			t.waited += w.end.Sub(w.start)
		}
	}
	for _, tool := range s.tools {
		if tool.failed != "" {
			t.failedTools++
		}
	}
	for _, n := range s.notes {
		if n.bad {
			t.notes++
		}
	}
	for _, sub := range s.subs() {
		for _, below := range sub.steps {
			t = t.plus(below.troubles())
		}
		if sub.state() == failedState {
			t.notes++
		}
	}
	return t
}

// state is how a run ended, for the eye.
type state int

const (
	doneState state = iota
	limitState
	pausedState
	failedState
	canceledState
	openState
)

func (r *run) state() state {
	switch r.stop {
	case "completed", "tool":
		return doneState
	case "paused":
		return pausedState
	case "canceled":
		return canceledState
	case "error", "invalid_output":
		return failedState
	case "":
		if r.open {
			return openState
		}
		if r.failed != "" {
			return failedState
		}
		return doneState
	}
	return limitState
}

// inOrder sorts runs by time; those of one moment by their ids, so that the order is always the same.
func inOrder(runs []*run) []*run {
	slices.SortFunc(runs, func(a, b *run) int {
		return cmp.Or(a.start.Compare(b.start), slices.Compare(a.trace[:], b.trace[:]), slices.Compare(a.id[:], b.id[:]))
	})
	return runs
}
