package runview

import "strings"

// table says in words what the charts draw, for readers who cannot see them and for copying. Recorded content stands here.
func (d *document) table(r *run) {
	d.open("details", "class", "words")
	d.element("summary", "As a table")
	d.open("div", "class", "scroll")
	d.open("table")
	d.open("thead")
	d.columns("step>", "what", "why", "attempts", "began>", "took>", "in>", "cached>", "out>", "cost>", "cap left>")
	d.close("thead")
	d.open("tbody")
	for _, s := range r.steps {
		for _, c := range s.calls {
			d.callCells(r, s, c)
		}
		for _, n := range s.notes {
			d.open("tr")
			d.element("td", count(s.index), "class", "n")
			d.element("td", n.text, "colspan", "10")
			d.close("tr")
		}
		for _, t := range s.tools {
			d.toolCells(r, s, t)
		}
		for _, sub := range s.subs() {
			d.subCells(r, s, sub)
		}
	}
	d.close("tbody")
	d.close("table")
	d.close("div")
	d.close("details")
}

func (d *document) callCells(r *run, s *step, c *call) {
	d.WriteByte('\n')
	d.open("tr")
	d.element("td", count(s.index), "class", "n")
	d.open("td")
	d.WriteString(escape(fit(c.instrument, 40, 1, false)))
	d.content("asked", c.asked)
	d.content("answered", c.answered)
	d.close("td")
	d.element("td", c.why())
	var tries []string
	for _, a := range c.attempts {
		tries = append(tries, a.word())
	}
	for _, w := range c.waits {
		tries = append(tries, w.label())
	}
	d.element("td", strings.Join(tries, ", "))
	d.element("td", duration(c.start.Sub(r.start)), "class", "n")
	d.element("td", duration(c.end.Sub(c.start)), "class", "n")
	in, cached, out := "", "", ""
	if c.known {
		in, out = count(c.input), count(c.output)
		if c.cached > 0 {
			cached = count(c.cached)
		}
	}
	d.element("td", in, "class", "n")
	d.element("td", cached, "class", "n")
	d.element("td", out, "class", "n")
	cost, left := "", ""
	if c.priced {
		cost = exact(c.cost)
	}
	if c.left >= 0 {
		left = exact(c.left)
	}
	d.element("td", cost, "class", "n")
	d.element("td", left, "class", "n")
	d.close("tr")
}

func (d *document) toolCells(r *run, s *step, t *tool) {
	d.WriteByte('\n')
	d.open("tr")
	d.element("td", count(s.index), "class", "n")
	d.open("td", "class", "inner")
	d.WriteString(escape(fit(t.name, 40, 1, false)))
	d.content("arguments", t.asked)
	d.content("result", t.answered)
	d.close("td")
	words := []string{}
	if t.parallel {
		words = append(words, "beside others")
	}
	if t.approval != "" && t.approval != "auto" {
		words = append(words, t.approval)
	}
	if t.abandoned {
		words = append(words, "abandoned")
	}
	d.element("td", strings.Join(words, ", "))
	d.element("td", strings.ReplaceAll(t.failed, "_", " "))
	d.element("td", duration(t.start.Sub(r.start)), "class", "n")
	d.element("td", duration(t.end.Sub(t.start)), "class", "n")
	d.element("td", "", "colspan", "5")
	d.close("tr")
}

func (d *document) subCells(r *run, s *step, sub *run) {
	cost, tokens := sub.totals()
	d.open("tr")
	d.element("td", count(s.index), "class", "n")
	d.element("td", "agent "+fit(sub.label(), 40, 1, false), "class", "inner")
	d.element("td", sub.stopped(), "colspan", "2")
	d.element("td", duration(sub.start.Sub(r.start)), "class", "n")
	d.element("td", duration(sub.end.Sub(sub.start)), "class", "n")
	d.element("td", plural(tokens, "token", "tokens"), "class", "n", "colspan", "3")
	d.element("td", exact(cost), "class", "n")
	d.element("td", "")
	d.close("tr")
}

// content is what was recorded of prompts, answers, arguments and results: text, whatever it looks like.
func (d *document) content(name, text string) {
	if text == "" {
		return
	}
	d.open("details")
	d.element("summary", name)
	d.element("pre", text)
	d.close("details")
}
