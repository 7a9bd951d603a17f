package runview

import "strings"

// title is what a line says under the pointer: everything that has no room in it.
func (r *row) title() string {
	switch r.kind {
	case callRow:
		return "step " + r.number + ": " + r.call.title()
	case toolRow:
		return r.tool.title()
	case noteRow:
		return r.note.text
	case subRow:
		return r.sub.title()
	case foldRow:
		from, to := window(r.steps)
		s := sum(r.steps)
		return "steps " + r.number + ": " + mixOf(r.steps) + "\n" + duration(to.Sub(from)) + ", " + plural(s.tools, "tool call", "tool calls") + "\n" +
			count(s.input) + " tokens in, " + count(s.output) + " out, " + exact(s.cost)
	}
	return ""
}

func (k *call) title() string {
	var lines []string
	add := func(parts ...string) {
		for _, p := range parts {
			if p == "" {
				return
			}
		}
		lines = append(lines, strings.Join(parts, ""))
	}
	first := k.instrument
	if k.model != "" {
		first += ", served by " + clip(k.model)
	}
	add(first)
	add("why: ", k.why())
	add("wanted: ", k.requested)
	add("policy: ", clip(k.policy))
	if len(k.skipped) > 0 {
		add("could not: ", clip(strings.Join(k.skipped, ", ")))
	}
	add(duration(k.end.Sub(k.start)), ", ", plural(int64(len(k.attempts)), "attempt", "attempts"))
	if k.first > 0 {
		add("first words after ", duration(k.first))
	}
	for _, w := range k.waits {
		add(w.label())
	}
	if k.known {
		s := count(k.input) + " tokens in"
		if k.cached > 0 {
			s += " (" + count(k.cached) + " cached)"
		}
		s += ", " + count(k.output) + " out"
		if k.reasoning > 0 {
			s += " (" + count(k.reasoning) + " reasoning)"
		}
		add(s)
	}
	if k.priced {
		s := exact(k.cost)
		if k.source != "" {
			s += " (" + k.source + ")"
		}
		if k.reserved > 0 {
			s += ", reserved " + exact(k.reserved)
		}
		add(s)
	}
	if k.left >= 0 {
		add("the cap had ", exact(k.left), " left")
	}
	add("finish: ", clip(k.finish))
	add("failed: ", k.failed)
	add("request: ", clip(k.requests))
	return strings.Join(lines, "\n")
}

// clip keeps foreign words short under the pointer.
func clip(s string) string { return fit(s, 60, 1, false) }

func (t *tool) title() string {
	s := clip(t.name) + ": " + duration(t.end.Sub(t.start))
	if t.parallel {
		s += ", beside others"
	}
	if t.approval != "" {
		s += ", approval: " + t.approval
	}
	if t.failed != "" {
		s += "\nfailed: " + t.failed
	}
	if t.abandoned {
		s += "\nit ignored its end and was left running"
	}
	return s
}

func (r *run) title() string {
	return clip(r.label()) + ": " + r.stopped() + " after " + duration(r.end.Sub(r.start)) + "\n" +
		plural(int64(len(r.steps)), "step", "steps") + ", " + plural(r.toolCalls, "tool call", "tool calls") + "\n" +
		count(r.input) + " tokens in, " + count(r.output) + " out, " + exact(r.cost)
}
