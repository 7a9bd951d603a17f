package runview

import (
	"strings"
)

// chart is a table with a time axis in it: a line for each call, tool and folded stretch.
type chart struct {
	*canvas
	run   *run
	rows  []*row
	scale *scale
	width float64

	left, right  float64 // of the axis
	tokens, cost float64 // right edges of columns; what the cap has left ends at the margin
	caps         bool    // there is such a column
	decimals     int
	top, bottom  float64 // of the rows
}

const (
	margin     = 16
	axisHeight = 30
	labelRoom  = 52 // behind the last bar
	indent     = 14
)

// newChart lays out some steps of a run. Room is left for total, which says how it ended.
func newChart(r *run, pieces []piece, width, left float64) *chart {
	c := &chart{canvas: &canvas{}, run: r, rows: rowsOf(r, pieces, 0), width: width, left: left}
	var steps []*step
	for _, p := range pieces {
		if p.one != nil {
			steps = append(steps, p.one)
		}
		steps = append(steps, p.folded...)
	}
	from, to := window(steps)
	switch {
	case len(steps) == 0:
		from, to = r.start, r.end
	case steps[0] == r.steps[0] && r.start.Before(from):
		from = r.start
	}
	for _, row := range c.rows {
		c.caps = c.caps || row.of.left >= 0
	}
	c.columns()
	c.decimals = decimals(r.costs()...)
	c.scale = newScale(r.start, from, to, c.left, c.right-labelRoom, squeezed(pieces), waitsOf(steps))
	return c
}

// columns says where the columns on the right end.
func (c *chart) columns() {
	edge := c.width - margin
	if c.caps {
		edge -= 88
	}
	c.cost, c.tokens = edge, edge-86
	c.right = c.tokens - 116
}

// costs are all amounts that stand in a chart of the run.
func (r *run) costs() []int64 {
	all := []int64{r.cost}
	for _, s := range r.steps {
		for _, c := range s.calls {
			all = append(all, c.cost)
		}
		for _, sub := range s.subs() {
			all = append(all, sub.costs()...)
		}
	}
	return all
}

func (c *chart) height() float64 {
	h := float64(axisHeight)
	for _, row := range c.rows {
		h += row.height()
	}
	return h
}

// draw draws the chart with its upper edge at y.
func (c *chart) draw(y float64) {
	c.top, c.bottom = y+axisHeight, y+c.height()
	at := c.top
	for _, row := range c.rows {
		if row.stripe {
			c.rect("stripe", 1, at, c.width-2, row.height(), 0)
		}
		at += row.height()
	}
	c.axis(y)
	at = c.top
	for i, row := range c.rows {
		c.taken = c.taken[:0]
		c.drawRow(row, at, c.rows[i:])
		at += row.height()
	}
}

func (c *chart) axis(y float64) {
	c.taken = c.taken[:0]
	base := y + 19
	c.textEnd(54, base, tinyFace, "dim", "step")
	c.text(64, base, tinyFace, "dim", "instrument, and why")
	c.textEnd(c.tokens, base, tinyFace, "dim", "tokens in → out")
	c.textEnd(c.cost, base, tinyFace, "dim", "cost")
	if c.caps {
		c.textEnd(c.width-margin, base, tinyFace, "dim", "cap left")
	}
	for _, t := range c.scale.ticks(58) {
		c.line("grid", t.x, c.top, t.x, c.bottom)
		w := tinyFace.width(t.label)
		x := max(t.x-w/2, c.left-4)
		c.place(base, c.left-4, c.right, tinyFace, "dim", t.label, x)
	}
	for _, p := range c.scale.parts {
		if !p.broken {
			continue
		}
		c.rect("gap", p.x0, c.top, p.x1-p.x0, c.bottom-c.top, 0)
		for _, x := range []float64{p.x0, p.x1} {
			c.path("tear", zigzag(x, c.top, c.bottom))
		}
		c.breakLabel(p, base)
	}
	c.line("rule", 1, c.top, c.width-1, c.top)
}

// breakLabel says how much time a break stands for, if it is wide enough.
func (c *canvas) breakLabel(p part, y float64) {
	label := "… " + duration(p.to.Sub(p.from)) + " …"
	c.place(y, p.x0, p.x1, tinyFace, "dim", label, (p.x0+p.x1-tinyFace.width(label))/2)
}

// zigzag is a line downwards that looks torn.
func zigzag(x, y0, y1 float64) string {
	var b strings.Builder
	b.WriteString("M" + number(x) + " " + number(y0))
	side := 1.5
	for y := y0 + 4; y < y1; y += 8 {
		b.WriteString("L" + number(x+side) + " " + number(y))
		side = -side
	}
	b.WriteString("L" + number(x) + " " + number(y1))
	return b.String()
}

func (c *chart) drawRow(row *row, y float64, rest []*row) {
	h := row.height()
	c.WriteByte('\n') // a line of text for each line of the picture: pictures are compared, too
	c.hover("row", row.title())
	c.rect("hit", 1, y, c.width-2, h, 0)
	for d := 1; d <= row.depth; d++ {
		x := 58 + float64(d-1)*indent + 4
		c.line("guide", x, y, x, y+h)
	}
	x := 64 + float64(row.depth)*indent
	if row.depth == 0 {
		base := 18.0
		if h <= 20 {
			base = 14
		}
		f := bodyFace
		if row.kind == foldRow {
			f, base = noteFace, 14
		}
		c.textEnd(54, y+base, f, "dim", f.fit(row.number, 50))
	}
	switch row.kind {
	case callRow:
		c.call(row, x, y)
	case emptyRow:
		said := "no call was recorded"
		if row.of.resumes.IsValid() {
			said = "continued after a pause"
		}
		c.text(x, y+14, noteFace, "dim", noteFace.fit(said, c.left-x-12))
	case noteRow:
		c.note(row, x, y)
	case toolRow:
		c.tool(row, x, y, rest)
	case toolsRow:
		c.moreTools(row, x, y)
	case subRow:
		c.sub(row, x, y)
	case foldRow:
		c.folded(row, x, y)
	}
	c.close("g")
}

// numbers fills the columns on the right.
func (c *chart) numbers(y float64, tone string, known bool, input, output, cost int64, priced bool) {
	if known {
		c.textEnd(c.tokens, y, bodyFace, tone, tokens(input)+" → "+tokens(output))
	}
	if priced {
		c.textEnd(c.cost, y, bodyFace, tone, money(cost, c.decimals))
	}
}

// capLeft shows an amount, and below it how much of the cap that is.
func (c *chart) capLeft(y, left float64, amount, most int64, tone string) {
	if !c.caps || amount < 0 {
		return
	}
	edge := c.width - margin
	c.textEnd(edge, y, bodyFace, tone, money(amount, min(c.decimals, 4)))
	if most > 0 {
		const full = 64
		share := min(1, max(0, float64(amount)/float64(most)))
		class := "gauge"
		if share < 0.2 {
			class = "gauge low"
		}
		c.rect("trough", edge-full, left, full, 4, 2)
		c.rect(class, edge-full, left, max(full*share, 1), 4, 1.5)
	}
}

func (c *chart) call(row *row, x, y float64) {
	k := row.call
	c.instrumentMark(x+6, y+14, k.family, k.tier)
	name := nameFace.fit(k.instrument, c.left-x-30)
	c.text(x+18, y+18, nameFace, "", name)
	c.text(x+18, y+32, noteFace, "dim", noteFace.fit(k.why(), c.left-x-30))

	x0, x1 := c.scale.x(k.start), c.scale.x(k.end)
	x1 = max(x1, x0+2)
	const top, thick = 17, 13
	c.open("g", "class", familyClass(k.family))
	c.rect("track", x0, y+top, x1-x0, thick, 3)
	if len(k.attempts) == 0 {
		c.rect(tierClass(k.tier), x0, y+top, x1-x0, thick, 3)
	}
	c.close("g")
	c.waits(k, y+top, thick)
	c.attempts(k, y+top, thick)
	if at := c.scale.x(k.start.Add(k.first)); k.first > 0 && k.failed == "" && at > x0+4 && at < x1-4 {
		c.line("first", at, y+top+2.5, at, y+top+thick-2.5)
	}
	c.flags(k, y+12)
	tone := ""
	if k.failed != "" {
		tone = "bad"
		if n := len(k.attempts); n == 0 || k.attempts[n-1].word() != k.failure() {
			c.flag(y+12, x0, "failed: "+k.failure(), tone)
		}
	}
	c.besides(y+top+10, x0, x1, duration(k.end.Sub(k.start)), tone)

	c.numbers(y+18, "", k.known, k.input, k.output, k.cost, k.priced)
	if k.source == "receipt" {
		c.textEnd(c.cost, y+32, noteFace, "dim", "receipt")
	}
	c.textEnd(c.tokens, y+32, noteFace, "dim", k.small())
	c.capLeft(y+18, y+26, k.left, row.of.most, "")
}

// small is what is said of tokens below their number; the rest shows under the pointer.
func (k *call) small() string {
	switch {
	case k.cached > 0:
		return tokens(k.cached) + " cached"
	case k.reasoning > 0:
		return tokens(k.reasoning) + " reasoning"
	}
	return ""
}

func tierClass(tier string) string {
	switch tier {
	case "max":
		return "bar max"
	case "prime":
		return "bar prime"
	}
	return "bar standard"
}

// besides writes a label next to a bar: behind it, before it, or in it.
func (c *chart) besides(y, x0, x1 float64, label, tone string) {
	w := tinyFace.width(label)
	tone = strings.TrimSpace("dim halo " + tone)
	c.place(y, c.left-4, c.right, tinyFace, tone, label, x1+5, x0-5-w, x1-w-4)
}

func (c *chart) tool(row *row, x, y float64, rest []*row) {
	t := row.tool
	if row.lanes > 1 {
		h := 0.0
		for _, r := range rest[:min(row.lanes, len(rest))] {
			h += r.height()
		}
		c.path("bracket", "M"+number(x+9)+" "+number(y+4)+"H"+number(x+5)+"V"+number(y+h-4)+"H"+number(x+9))
	}
	c.open("g", "class", t.class(), "transform", move(x+18, y+10))
	c.path("outline", "M-3 -3H3V3H-3Z")
	c.close("g")
	c.text(x+28, y+14, noteFace, "", noteFace.fit(t.name, c.left-x-40))
	x0, x1 := c.scale.x(t.start), c.scale.x(t.end)
	x1 = max(x1, x0+2)
	c.toolBar(t, x0, x1, y+6)
	label, tone := duration(t.end.Sub(t.start)), ""
	if t.approval != "" && t.approval != "auto" {
		label += " · " + t.approval
	}
	if t.failed != "" {
		label, tone = strings.ReplaceAll(t.failed, "_", " ")+" · "+label, "bad"
	}
	if t.abandoned {
		label += " · abandoned"
	}
	c.besides(y+14, x0, x1, label, tone)
}

func (t *tool) class() string {
	if t.failed != "" {
		return "failed"
	}
	return "tools"
}

func (c *canvas) toolBar(t *tool, x0, x1, y float64) {
	if t.failed != "" {
		c.rect("refused", x0, y, max(x1-x0, 4), 8, 1.5)
		return
	}
	c.open("g", "class", "tools")
	c.rect("bar plain", x0, y, x1-x0, 8, 2)
	c.close("g")
}

func (c *chart) moreTools(row *row, x, y float64) {
	c.text(x+28, y+14, noteFace, "dim", noteFace.fit(plural(int64(len(row.tools)), "more call", "more calls"), c.left-x-40))
	var seen lastDrawn
	for _, t := range row.tools {
		x0 := c.scale.x(t.start)
		x1 := max(c.scale.x(t.end), x0+2)
		if seen.again(x0, x1) {
			continue
		}
		c.toolBar(t, x0, x1, y+6)
	}
}

// lastDrawn keeps bars that fall on each other from being drawn again and again.
type lastDrawn struct{ x0, x1 float64 }

func (l *lastDrawn) again(x0, x1 float64) bool {
	if x0 >= l.x0-0.25 && x1 <= l.x1+0.25 && l.x1 > 0 {
		return true
	}
	*l = lastDrawn{x0, x1}
	return false
}

func (c *chart) note(row *row, x, y float64) {
	at := c.scale.x(row.note.at)
	c.open("g", "class", "limit", "transform", move(x+6, y+10))
	c.path("solid", "M-4 -4H4V4H-4Z")
	c.close("g")
	c.line("limitline", at, y+3, at, y+17)
	c.text(x+18, y+14, noteFace, "late", noteFace.fit(row.note.text, c.tokens-x-18))
}

func (c *chart) sub(row *row, x, y float64) {
	s := row.sub
	c.stateMark(x+6, y+13, s.state())
	c.text(x+18, y+17, nameFace, "", nameFace.fit(s.label(), c.left-x-30))
	x0, x1 := c.scale.x(s.start), c.scale.x(s.end)
	x1 = max(x1, x0+2)
	c.path("bracket", "M"+number(x0)+" "+number(y+19)+"V"+number(y+13)+"H"+number(x1)+"V"+number(y+19))
	label := s.stopped() + " · " + duration(s.end.Sub(s.start))
	w := tinyFace.width(label)
	c.place(y+10, c.left-4, c.right, tinyFace, "dim", label, x0, max(c.left, x1-w), c.left)
	c.numbers(y+17, "dim", true, s.input, s.output, s.cost, true)
}

// label is the name of a run's agent.
func (r *run) label() string {
	if r.agent == "" {
		return "unnamed agent"
	}
	return r.agent
}

func (c *chart) folded(row *row, x, y float64) {
	s := sum(row.steps)
	c.text(x+18, y+14, noteFace, "", noteFace.fit(count(int64(len(row.steps)))+" more steps", c.left-x-30))
	c.text(x+18, y+28, noteFace, "dim", noteFace.fit(mixOf(row.steps), c.left-x-30))
	var calls, tools lastDrawn
	for _, step := range row.steps {
		for _, k := range step.calls {
			x0 := c.scale.x(k.start)
			x1 := max(c.scale.x(k.end), x0+1)
			if !calls.again(x0, x1) {
				c.open("g", "class", familyClass(k.family))
				c.rect(tierClass(k.tier), x0, y+9, x1-x0, 9, 1)
				c.close("g")
			}
		}
		for _, t := range step.tools {
			x0 := c.scale.x(t.start)
			x1 := max(c.scale.x(t.end), x0+1)
			if t.failed != "" || !tools.again(x0, x1) {
				c.toolBar(t, x0, x1, y+20)
			}
		}
	}
	c.numbers(y+18, "dim", s.input+s.output > 0, s.input, s.output, s.cost, true)
	c.capLeft(y+18, y+24, leftAfter(row.steps), row.of.most, "dim")
}
