package runview

import (
	"cmp"
	"slices"
	"strings"
	"time"

	oteltrace "go.opentelemetry.io/otel/trace"
)

// tree joins the spans of a trace again.
type tree struct {
	trace *trace
	spans map[oteltrace.SpanID]*span
	below map[oteltrace.SpanID][]*span // by the nearest span of ours above
}

// runs gives the runs of a trace that no other run called.
func (t *trace) runs() []*run {
	tr := &tree{trace: t, spans: make(map[oteltrace.SpanID]*span, len(t.spans)), below: map[oteltrace.SpanID][]*span{}}
	for _, s := range t.spans {
		tr.spans[s.id] = s
	}
	var tops []*span
	orphans := map[oteltrace.SpanID][]*span{} // parts of runs that have not ended, by the run
	for _, s := range t.spans {
		if s.kind == link {
			continue
		}
		above, missing := tr.above(s)
		switch {
		case above != nil:
			tr.below[above.id] = append(tr.below[above.id], s)
		case s.kind == agentRun:
			tops = append(tops, s)
		case s.kind == chat || s.kind == toolCall:
			orphans[missing] = append(orphans[missing], s)
		}
	}
	var roots []*span
	for _, s := range tops {
		_, missing := tr.above(s)
		if parts := orphans[missing]; parts != nil { // called by a run that is open
			orphans[missing] = append(parts, s)
		} else {
			roots = append(roots, s)
		}
	}
	for _, list := range tr.below {
		sortSpans(list)
	}
	var all []*run
	for _, s := range roots {
		all = append(all, tr.run(s, 0))
	}
	for id, list := range orphans {
		sortSpans(list)
		all = append(all, tr.open(id, list))
	}
	return all
}

// above finds the nearest span of ours over s. If there is none, it gives the id at which the way up ended.
func (t *tree) above(s *span) (*span, oteltrace.SpanID) {
	id := s.parent
	for range len(t.spans) + 1 { // ids are foreign: they may go in circles
		p := t.spans[id]
		if p == nil || p == s {
			return nil, id
		}
		if p.kind != link {
			return p, id
		}
		id = p.parent
	}
	return nil, oteltrace.SpanID{}
}

func sortSpans(list []*span) {
	slices.SortStableFunc(list, func(a, b *span) int {
		return cmp.Or(a.start.Compare(b.start), cmp.Compare(a.int("gridloop.step.index"), b.int("gridloop.step.index")),
			cmp.Compare(a.int("gridloop.tool.index"), b.int("gridloop.tool.index")), slices.Compare(a.id[:], b.id[:]))
	})
}

// deepest is how many runs may stand in each other; what is deeper is left out.
const deepest = 16

func (t *tree) run(s *span, depth int) *run {
	r := &run{
		trace: t.trace.id, id: s.id, agent: s.text("gen_ai.agent.name"), name: s.text("gridloop.run.id"), start: s.start, end: s.end,
		stop: s.text("gridloop.run.stop_reason"), failed: s.failed, resumes: s.resumes,
	}
	t.fill(r, t.below[s.id], depth)
	for _, e := range s.events {
		r.event(e)
	}
	if has(s.values, "gridloop.run.model_calls") {
		r.modelCalls, r.toolCalls, r.retries = s.int("gridloop.run.model_calls"), s.int("gridloop.run.tool_calls"), s.int("gridloop.run.retries")
		r.input, r.output = s.int("gridloop.run.usage.input_tokens"), s.int("gridloop.run.usage.output_tokens")
		r.cost = s.int("gridloop.run.cost.nano_usd")
	}
	return r
}

// open is a run of which only the parts are known that have ended.
func (t *tree) open(id oteltrace.SpanID, parts []*span) *run {
	r := &run{trace: t.trace.id, id: id, open: true, start: parts[0].start}
	for _, s := range parts {
		r.agent = cmp.Or(r.agent, s.text("gridloop.agent.name"))
		if s.kind == toolCall {
			r.agent = cmp.Or(r.agent, s.text("gen_ai.agent.name"))
		}
		if s.end.After(r.end) {
			r.end = s.end
		}
	}
	t.fill(r, parts, 0)
	return r
}

// fill sorts spans into steps and adds them up.
func (t *tree) fill(r *run, spans []*span, depth int) {
	r.left, r.receipts = -1, true
	byIndex := map[int64]*step{}
	at := func(s *span) *step {
		index := s.int("gridloop.step.index")
		if byIndex[index] == nil {
			byIndex[index] = &step{index: index}
			r.steps = append(r.steps, byIndex[index])
		}
		byIndex[index].cover(s.start, s.end)
		return byIndex[index]
	}
	for _, s := range spans {
		switch s.kind {
		case chat:
			c := t.call(s)
			at(s).calls = append(at(s).calls, c)
			r.modelCalls++
			r.retries += max(0, s.int("gridloop.retry.attempts")-1)
			r.input, r.output, r.cost = r.input+c.input, r.output+c.output, r.cost+c.cost
			r.receipts = r.receipts && c.source == "receipt"
			for _, w := range c.waits {
				r.waited += w.end.Sub(w.start)
			}
			if c.left >= 0 {
				r.left, r.most = c.left, max(r.most, c.left+c.cost)
			}
		case toolCall:
			at(s).tools = append(at(s).tools, t.tool(s, depth))
			r.toolCalls++
		}
	}
	slices.SortStableFunc(r.steps, func(a, b *step) int { return cmp.Compare(a.index, b.index) })
	for _, s := range spans {
		if s.kind == agentRun && depth < deepest {
			r.adopt(t.run(s, depth+1))
		}
	}
}

// adopt puts a run below the step that called it, which is the last one that had begun.
func (r *run) adopt(sub *run) {
	if len(r.steps) == 0 {
		r.steps = append(r.steps, &step{start: sub.start})
	}
	to := r.steps[0]
	for _, s := range r.steps {
		if !s.start.After(sub.start) {
			to = s
		}
	}
	to.runs = append(to.runs, sub)
	to.cover(sub.start, sub.end)
}

func (t *tree) call(s *span) *call {
	c := &call{
		start: s.start, end: s.end, instrument: cmp.Or(s.text("gridloop.instrument"), s.text("gen_ai.request.model"), "?"),
		family: s.text("gridloop.instrument.family"), tier: s.text("gridloop.instrument.tier"), kind: s.text("gridloop.step.kind"),
		reason: s.text("gridloop.route.reason"), rule: s.text("gridloop.route.rule"), requested: s.text("gridloop.route.requested"),
		policy: s.text("gridloop.route.policy"), model: s.text("gen_ai.response.model"), requests: s.text("gridloop.request.id"),
		finish: strings.Join(listOf(s.values, "gen_ai.response.finish_reasons"), ", "),
		final:  s.bool("gridloop.step.final"), escalated: s.bool("gridloop.route.escalated"), stream: s.bool("gen_ai.request.stream"),
		input: s.int("gen_ai.usage.input_tokens"), output: s.int("gen_ai.usage.output_tokens"), known: has(s.values, "gen_ai.usage.input_tokens"),
		cached: s.int("gen_ai.usage.cache_read.input_tokens"), reasoning: s.int("gen_ai.usage.reasoning.output_tokens"),
		cost: s.int("gridloop.cost.nano_usd"), priced: has(s.values, "gridloop.cost.nano_usd"), source: s.text("gridloop.cost.source"),
		reserved: s.int("gridloop.budget.reserved.nano_usd"), left: -1, failed: s.failed,
		asked: s.text("gen_ai.input.messages"), answered: s.text("gen_ai.output.messages"),
	}
	if has(s.values, "gridloop.budget.remaining.nano_usd") {
		c.left = s.int("gridloop.budget.remaining.nano_usd")
	}
	if seconds := s.values["gen_ai.response.time_to_first_chunk"].AsFloat64(); seconds > 0 && seconds < 1e6 {
		c.first = time.Duration(seconds * float64(time.Second))
	}
	for _, part := range t.below[s.id] {
		switch part.kind {
		case attempt:
			c.attempts = append(c.attempts, tried{part.start, part.end, part.int("http.request.resend_count") + 1, part.int("http.response.status_code"),
				part.failed, part.text("gridloop.billed"), part.text("gridloop.redirect.host")})
		case topUp:
			c.waits = append(c.waits, wait{part.start, part.end, part.text("gridloop.topup.outcome"), part.int("gridloop.topup.tries")})
		}
	}
	return c
}

func (t *tree) tool(s *span, depth int) *tool {
	out := &tool{
		start: s.start, end: s.end, name: cmp.Or(s.text("gen_ai.tool.name"), "?"), failed: s.failed, index: s.int("gridloop.tool.index"),
		parallel: s.bool("gridloop.tool.parallel"), abandoned: s.bool("gridloop.tool.abandoned"), approval: s.text("gridloop.tool.approval"),
		asked: s.text("gen_ai.tool.call.arguments"), answered: s.text("gen_ai.tool.call.result"),
	}
	for _, part := range t.below[s.id] {
		if part.kind == agentRun && depth < deepest {
			out.runs = append(out.runs, t.run(part, depth+1))
		}
	}
	return out
}

// event adds what the run announced, if events are mirrored on spans.
func (r *run) event(e event) {
	index := intOf(e.values, "gridloop.step.index")
	var n note
	switch e.name {
	case "gridloop.budget.denied":
		n = note{e.at, denial(e), true}
	case "gridloop.loop.detected":
		n = note{e.at, loop(e), true}
	case "gridloop.route.decision":
		for _, s := range r.steps {
			if s.index == index && len(s.calls) > 0 {
				s.calls[0].skipped = listOf(e.values, "gridloop.route.skipped")
			}
		}
		return
	default:
		return
	}
	at, found := slices.BinarySearchFunc(r.steps, index, func(s *step, i int64) int { return cmp.Compare(s.index, i) })
	if !found {
		r.steps = slices.Insert(r.steps, at, &step{index: index, start: e.at, end: e.at})
	}
	r.steps[at].notes = append(r.steps[at].notes, n)
	r.steps[at].cover(e.at, e.at)
}
