package runview

import (
	"strings"
	"time"
)

const (
	pictureWidth = 960 // of an SVG that stands alone
	mostSteps    = 14  // in it, before they are folded
	endHeight    = 46
)

// picture draws one run as an SVG document of its own.
func picture(r *run) string {
	c := newChart(r, fold(r.steps, mostSteps), pictureWidth, 228)
	const head = 62
	legend := r.legend()
	height := head + c.height() + endHeight + 30
	c.open("svg", "xmlns", "http://www.w3.org/2000/svg", "viewBox", "0 0 "+number(pictureWidth)+" "+number(height),
		"width", number(pictureWidth), "height", number(height), "role", "img", "aria-label", fit(r.label()+": "+r.stopped(), 200, 1, false))
	c.WriteString("<style>")
	c.WriteString(style()) // ours, and free of markup
	c.WriteString("</style>")
	c.patterns()
	c.rect("card", 0.5, 0.5, pictureWidth-1, height-1, 8)
	c.stateMark(margin+8, 25, r.state())
	name := headFace.fit(r.label(), pictureWidth/2)
	c.text(margin+24, 31, headFace, "", name)
	c.textEnd(pictureWidth-margin, 31, bodyFace, "dim", r.start.UTC().Format("2006-01-02 15:04:05")+" UTC")
	c.text(margin+24, 50, bodyFace, "dim", bodyFace.fit(r.summary(), pictureWidth-2*margin-24))
	c.draw(head)
	c.end(head + c.height())
	c.legend(legend, margin+6, head+c.height()+endHeight+10)
	c.close("svg")
	return c.String() + "\n"
}

// summary says in one line what a run came to.
func (r *run) summary() string {
	words := []string{r.stopped(), plural(int64(len(r.steps)), "step", "steps")}
	if r.toolCalls > 0 {
		words = append(words, plural(r.toolCalls, "tool call", "tool calls"))
	}
	if r.retries > 0 {
		words = append(words, plural(r.retries, "retry", "retries"))
	}
	t := duration(r.end.Sub(r.start))
	if r.waited > 0 {
		t += ", " + duration(r.waited) + " of it waiting for a top-up"
	}
	return strings.Join(append(words, t), " · ")
}

// end draws the last line of a run: why it stopped, and its sums.
func (c *chart) end(y float64) {
	r := c.run
	c.taken = c.taken[:0]
	c.line("rule", 1, y, c.width-1, y)
	c.hover("row", r.title())
	c.rect("hit", 1, y, c.width-2, endHeight, 0)
	c.stateMark(70, y+19, r.state())
	c.text(82, y+23, nameFace, "", nameFace.fit(r.stopped(), c.tokens-82-118))
	c.numbers(y+23, "strong", true, r.input, r.output, r.cost, true)
	source := "estimated"
	if r.receipts && r.cost > 0 {
		source = "by receipts"
	}
	c.textEnd(c.cost, y+37, noteFace, "dim", source)
	if all, _ := r.totals(); all != r.cost {
		c.textEnd(c.tokens, y+37, noteFace, "dim", "with its agents "+money(all, c.decimals))
	}
	c.capLeft(y+23, y+31, r.left, r.most, "strong")
	c.close("g")
}

// legend lists what a picture of the run has in it.
type legend struct {
	text, code, agent, other    bool
	standard, prime, max        bool
	refused, wait, tools, first bool
}

func (r *run) legend() legend {
	var l legend
	l.add(r)
	return l
}

func (l *legend) add(r *run) {
	for _, s := range r.steps {
		for _, c := range s.calls {
			switch c.family {
			case "text":
				l.text = true
			case "code":
				l.code = true
			case "agent":
				l.agent = true
			default:
				l.other = true
			}
			switch c.tier {
			case "prime":
				l.prime = true
			case "max":
				l.max = true
			default:
				l.standard = true
			}
			l.wait = l.wait || len(c.waits) > 0
			l.first = l.first || c.first > 0
			for _, a := range c.attempts {
				l.refused = l.refused || a.failed != ""
			}
		}
		for _, t := range s.tools {
			l.tools = true
			l.refused = l.refused || t.failed != ""
		}
		for _, sub := range s.subs() {
			l.add(sub)
		}
	}
}

// legend draws a line that explains the marks, and gives where it ends.
func (c *canvas) legend(l legend, x, y float64) float64 {
	c.taken = c.taken[:0]
	label := func(s string) {
		c.text(x, y+4, noteFace, "dim", s)
		x += noteFace.width(s) + 16
	}
	for _, f := range []struct {
		shown  bool
		family string
	}{{l.text, "text"}, {l.code, "code"}, {l.agent, "agent"}, {l.other, "other"}} {
		if f.shown {
			c.instrumentMark(x+6, y, f.family, "prime")
			x += 17
			label(f.family)
		}
	}
	for _, t := range []struct {
		shown bool
		tier  string
	}{{l.standard, "standard"}, {l.prime, "prime"}, {l.max, "max"}} {
		if t.shown {
			c.open("g", "class", "idle")
			c.rect(tierClass(t.tier), x, y-5, 18, 10, 2.5)
			c.close("g")
			x += 24
			label(t.tier)
		}
	}
	if l.tools {
		c.open("g", "class", "tools")
		c.rect("bar plain", x, y-4, 18, 8, 2)
		c.close("g")
		x += 24
		label("tool")
	}
	if l.refused {
		c.rect("refused", x, y-5, 18, 10, 1.5)
		x += 24
		label("failed")
	}
	if l.wait {
		c.rect("wait", x, y-5, 18, 10, 3)
		x += 24
		label("top-up wait")
	}
	if l.first {
		c.open("g", "class", "idle")
		c.rect("bar prime", x, y-5, 18, 10, 2.5)
		c.line("first", x+7, y-3, x+7, y+3)
		c.close("g")
		x += 24
		label("first words")
	}
	return x
}

// when is a moment of a run, for a heading.
func when(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
