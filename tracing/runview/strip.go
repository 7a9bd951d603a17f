package runview

import "strings"

const (
	stripHeight = 116
	stripLeft   = 92
)

// strip draws a whole run in a few lines: calls, tools, troubles and what was spent so far. The marks below it are the
// first steps of the parts that follow.
func strip(r *run, parts [][]*step, width float64) string {
	c := &canvas{}
	right := width - margin - 84
	from, to := window(r.steps)
	scale := newScale(r.start, from, to, stripLeft, right, nil, waitsOf(r.steps))
	c.open("svg", "viewBox", "0 0 "+number(width)+" "+number(stripHeight), "width", number(width), "height", number(stripHeight), "role", "img",
		"aria-label", "overview of "+plural(int64(len(r.steps)), "step", "steps"))
	const calls, tools, spent, base = 28.0, 48.0, 62.0, 98.0
	for _, l := range []struct {
		y    float64
		text string
	}{{calls + 11, "model calls"}, {tools + 8, "tools"}, {spent + 22, "spent"}} {
		c.text(margin, l.y, tinyFace, "dim", l.text)
	}
	for _, t := range scale.ticks(90) {
		c.line("grid", t.x, 18, t.x, base)
		c.place(13, stripLeft-8, right+20, tinyFace, "dim", t.label, max(t.x-tinyFace.width(t.label)/2, stripLeft-4))
	}
	for _, p := range scale.parts {
		if p.broken {
			c.rect("gap", p.x0, 18, p.x1-p.x0, base-18, 0)
			c.path("tear", zigzag(p.x0, 18, base))
			c.path("tear", zigzag(p.x1, 18, base))
			c.breakLabel(p, 13)
		}
	}
	c.stripBars(r, scale, calls, tools)
	c.stripCost(r, scale, spent, base)
	c.line("rule", stripLeft, base, right, base)
	c.text(right+8, base-2, flagFace, "", amount(r.cost))
	if r.left >= 0 {
		c.text(right+8, calls+11, tinyFace, "dim", "cap left")
		c.text(right+8, calls+24, flagFace, "", amount(r.left))
	}
	for _, part := range parts {
		x := scale.x(part[0].start)
		label := count(part[0].index)
		if c.place(base+13, stripLeft-8, right+10, tinyFace, "dim", label, x-tinyFace.width(label)/2) {
			c.line("tear", x, base, x, base+4)
		}
	}
	c.text(margin, base+13, tinyFace, "dim", "step")
	c.close("svg")
	return c.String()
}

func (c *canvas) stripBars(r *run, scale *scale, calls, tools float64) {
	var call, tool, mark lastDrawn
	class := ""
	for _, s := range r.steps {
		for _, k := range s.calls {
			x0 := scale.x(k.start)
			x1 := max(scale.x(k.end)-0.4, x0+1)
			if now := familyClass(k.family) + " " + tierClass(k.tier); now != class || !call.again(x0, x1) {
				class = now
				c.open("g", "class", familyClass(k.family))
				c.rect(tierClass(k.tier), x0, calls, x1-x0, 15, 1)
				c.close("g")
			}
			for _, w := range k.waits {
				x := scale.x(w.start)
				c.rect("wait", x, calls, max(scale.x(w.end)-x, 3), 15, 1)
			}
		}
		for _, t := range s.tools {
			x0 := scale.x(t.start)
			x1 := max(scale.x(t.end), x0+1)
			if t.failed == "" && tool.again(x0, x1) {
				continue
			}
			c.toolBar(t, x0, x1, tools)
		}
		if x := scale.x(s.start); s.troubles().any() && !mark.again(x-2, x+2) {
			c.hover("limit", "step "+count(s.index)+": "+s.troubles().String())
			c.path("solid", "M"+number(x-4)+" "+number(calls-8)+"H"+number(x+4)+"L"+number(x)+" "+number(calls-1.5)+"Z")
			c.close("g")
		}
	}
}

// stripCost draws what was spent up to each moment.
func (c *canvas) stripCost(r *run, scale *scale, top, base float64) {
	var total, most int64
	for _, s := range r.steps {
		most += sum([]*step{s}).cost
	}
	if most <= 0 {
		return
	}
	var b strings.Builder
	x, y := scale.x(r.steps[0].start), base
	begin, drawn := x, x
	b.WriteString("M" + number(x) + " " + number(y))
	for i, s := range r.steps {
		total += sum([]*step{s}).cost
		x, y = scale.x(s.end), base-(base-top)*float64(total)/float64(most)
		if x-drawn >= 1 || i == len(r.steps)-1 {
			b.WriteString("L" + number(x) + " " + number(y))
			drawn = x
		}
	}
	c.path("area", b.String()+"V"+number(base)+"H"+number(begin)+"Z")
	c.path("curve", b.String())
}

// String says what went wrong, in words.
func (t troubles) String() string {
	var words []string
	if t.refused > 0 {
		words = append(words, plural(int64(t.refused), "failed attempt", "failed attempts"))
	}
	if t.waited > 0 {
		words = append(words, duration(t.waited)+" waiting for a top-up")
	}
	if t.failedCalls > 0 {
		words = append(words, plural(int64(t.failedCalls), "failed call", "failed calls"))
	}
	if t.failedTools > 0 {
		words = append(words, plural(int64(t.failedTools), "failed tool", "failed tools"))
	}
	if t.notes > 0 {
		words = append(words, plural(int64(t.notes), "warning", "warnings"))
	}
	return strings.Join(words, ", ")
}
