package runview

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
)

const (
	pageWidth = 1120 // of a chart on the page
	partSteps = 20   // of a long run in one chart
	shortRun  = 26   // steps that still fit into one
)

// policy forbids the page everything but the one style sheet that it brings. Should markup ever get through the escaping, it
// could neither run nor load anything.
func policy(sheet string) string {
	hash := sha256.Sum256([]byte(sheet))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'; base-uri 'none'; form-action 'none'"
}

// document is a page that is being written.
type document struct {
	markup
	number map[*run]int // of runs that have a section
	all    []*run
}

// page draws runs as one HTML document.
func page(title string, runs []*run, dropped int) string {
	d := &document{number: map[*run]int{}, all: runs}
	for i, r := range runs {
		d.number[r] = i + 1
	}
	sheet := pageShapes + style(pageLooks...) // colours last: they complete what the shapes begin
	d.WriteString("<!DOCTYPE html>\n")
	d.open("html", "lang", "en")
	d.open("head")
	d.leaf("meta", "charset", "utf-8")
	d.leaf("meta", "http-equiv", "Content-Security-Policy", "content", policy(sheet))
	d.leaf("meta", "name", "viewport", "content", "width=device-width, initial-scale=1")
	d.leaf("meta", "name", "color-scheme", "content", "light dark")
	d.leaf("meta", "name", "referrer", "content", "no-referrer")
	d.element("title", fit(title, 80, 1, false))
	d.WriteString("<style>" + sheet + "</style>")
	d.close("head")
	d.open("body")
	d.heading(title, runs, dropped)
	if len(runs) > 1 {
		d.index(runs)
	}
	for _, r := range runs {
		d.section(r)
	}
	d.close("body")
	d.close("html")
	return d.String() + "\n"
}

func (d *document) heading(title string, runs []*run, dropped int) {
	d.open("header")
	d.element("h1", fit(title, 80, 1, false))
	var cost, tokens int64
	var ends [openState + 1]int64
	var l legend
	for _, r := range runs {
		c, t := r.totals()
		cost, tokens = cost+c, tokens+t
		ends[r.state()]++
		l.add(r)
	}
	words := []string{plural(int64(len(runs)), "run", "runs")}
	if len(runs) == 0 {
		words = []string{"No run yet: the page shows runs once their spans were exported."}
	} else {
		for s, n := range ends {
			if n > 0 {
				words = append(words, count(n)+" "+state(s).String())
			}
		}
		words = append(words, amount(cost), plural(tokens, "token", "tokens"))
	}
	d.element("p", strings.Join(words, " · "), "class", "dim")
	if dropped > 0 {
		d.element("p", plural(int64(dropped), "span was", "spans were")+" dropped, because more is not kept.", "class", "dim")
	}
	c := &canvas{}
	c.patterns()
	end := margin + 0.0
	if len(runs) > 0 {
		end = c.legend(l, 2, 12)
	}
	d.open("svg", "class", "key", "width", number(end), "height", "24", "viewBox", "0 0 "+number(end)+" 24", "role", "img", "aria-label", "what the marks mean")
	d.WriteString(c.String())
	d.close("svg")
	d.close("header")
}

func (s state) String() string {
	return [...]string{"completed", "stopped at a limit", "paused", "failed", "canceled", "under way"}[s]
}

// index lists all runs, with links to them.
func (d *document) index(runs []*run) {
	d.open("nav")
	d.open("table")
	d.open("thead")
	d.columns("", "run", "ended", "began", "took>", "steps>", "tokens>", "cost>")
	d.close("thead")
	d.open("tbody")
	for _, r := range runs {
		cost, tokens := r.totals()
		d.open("tr")
		d.open("td")
		d.mark(r.state())
		d.close("td")
		d.open("td")
		d.element("a", fit(r.label(), 32, 1, false), "href", "#run-"+strconv.Itoa(d.number[r]))
		d.close("td")
		d.element("td", r.stopped())
		d.element("td", when(r.start))
		d.element("td", duration(r.end.Sub(r.start)), "class", "n")
		d.element("td", count(int64(len(r.steps))), "class", "n")
		d.element("td", count(tokens), "class", "n")
		d.element("td", exact(cost), "class", "n")
		d.close("tr")
	}
	d.close("tbody")
	d.close("table")
	d.close("nav")
}

// columns heads a table; names that end in > stand to the right, as their numbers do.
func (d *document) columns(names ...string) {
	d.open("tr")
	for _, name := range names {
		class := ""
		if bare, numeric := strings.CutSuffix(name, ">"); numeric {
			name, class = bare, "n"
		}
		d.element("th", name, "class", class)
	}
	d.close("tr")
}

func (d *document) mark(s state) {
	c := &canvas{}
	c.stateMark(8, 8, s)
	d.open("svg", "class", "mark", "width", "16", "height", "16", "viewBox", "0 0 16 16", "role", "img", "aria-label", s.String())
	d.WriteString(c.String())
	d.close("svg")
}

func (d *document) section(r *run) {
	d.WriteByte('\n')
	d.open("section", "id", "run-"+strconv.Itoa(d.number[r]))
	d.open("h2")
	d.mark(r.state())
	d.element("span", fit(r.label(), 60, 1, false))
	d.element("span", r.stopped(), "class", "pill "+r.state().class())
	d.close("h2")
	d.open("p", "class", "dim")
	words := []string{when(r.start)}
	if r.name != "" {
		words = append(words, "run "+fit(r.name, 48, 1, false))
	}
	words = append(words, "trace "+r.trace.String())
	d.WriteString(escape(strings.Join(words, " · ")))
	d.before(r)
	d.close("p")
	d.tiles(r)
	d.body(r)
	d.close("section")
}

// before links to the part of the run that came before a pause.
func (d *document) before(r *run) {
	if !r.resumes.IsValid() {
		return
	}
	i := slices.IndexFunc(d.all, func(o *run) bool { return o.trace == r.resumes.TraceID() && o.id == r.resumes.SpanID() })
	if i < 0 {
		d.WriteString(" · continues trace " + escape(r.resumes.TraceID().String()))
		return
	}
	d.WriteString(" · ")
	d.element("a", "continues run "+strconv.Itoa(i+1), "href", "#run-"+strconv.Itoa(i+1))
}

func (d *document) tiles(r *run) {
	d.open("dl")
	tile := func(name, value, more string) {
		d.open("div")
		d.element("dt", name)
		d.open("dd")
		d.element("b", value)
		if more != "" {
			d.element("span", more)
		}
		d.close("dd")
		d.close("div")
	}
	failures := 0
	for _, s := range r.steps {
		for _, t := range s.tools {
			if t.failed != "" {
				failures++
			}
		}
	}
	source := "estimated"
	if r.receipts && r.cost > 0 {
		source = "by receipts"
	}
	if all, _ := r.totals(); all != r.cost {
		source = amount(all) + " with its agents"
	}
	tile("cost", amount(r.cost), source)
	if r.left >= 0 {
		tile("cap left", amount(r.left), "")
	}
	tile("tokens", count(r.input+r.output), count(r.input)+" in, "+count(r.output)+" out")
	retries := ""
	if r.retries > 0 {
		retries = plural(r.retries, "retry", "retries")
	}
	tile("model calls", count(r.modelCalls), retries)
	failed := ""
	if failures > 0 {
		failed = count(int64(failures)) + " failed"
	}
	tile("tool calls", count(r.toolCalls), failed)
	waited := ""
	if r.waited > 0 {
		waited = duration(r.waited) + " for a top-up"
	}
	tile("time", duration(r.end.Sub(r.start)), waited)
	d.close("dl")
}

// body draws the charts of a run: one, or an overview and parts to unfold.
func (d *document) body(r *run) {
	var parts [][]*step
	if len(r.steps) <= shortRun {
		parts = [][]*step{r.steps}
	} else {
		parts = slices.Collect(slices.Chunk(r.steps, partSteps))
	}
	if len(parts) == 1 {
		d.figure(r, r.steps, true)
	} else {
		d.open("figure")
		d.WriteString(strip(r, parts, pageWidth))
		d.close("figure")
		for i, part := range parts {
			d.part(r, part, i == 0 || i == len(parts)-1)
		}
		d.figure(r, nil, true)
	}
	for _, sub := range r.subs() {
		if len(sub.steps) > mostSubSteps {
			d.open("details", "class", "sub")
			d.element("summary", "All "+count(int64(len(sub.steps)))+" steps of "+fit(sub.label(), 40, 1, false))
			d.body(sub)
			d.close("details")
		}
	}
	d.table(r)
}

// part is some steps of a long run, to unfold.
func (d *document) part(r *run, steps []*step, shown bool) {
	open := ""
	if shown {
		open = "open"
	}
	d.open("details", "class", "part", "open", open)
	d.open("summary")
	first, last := steps[0].index, steps[len(steps)-1].index
	from, to := window(steps)
	s := sum(steps)
	d.element("b", "Steps "+count(first)+"–"+count(last))
	d.element("span", strings.Join([]string{duration(to.Sub(from)), amount(s.cost), plural(s.tools, "tool call", "tool calls"), mixOf(steps)}, " · "))
	var t troubles
	for _, step := range steps {
		t = t.plus(step.troubles())
	}
	if t.any() {
		d.element("em", t.String())
	}
	d.close("summary")
	d.figure(r, steps, false)
	d.close("details")
}

// figure draws steps, and the end of the run if asked to.
func (d *document) figure(r *run, steps []*step, end bool) {
	pieces := make([]piece, len(steps))
	for i, s := range steps {
		pieces[i].one = s
	}
	c := newChart(r, pieces, pageWidth, 262)
	height := 0.0
	if len(steps) > 0 {
		height = c.height()
		c.draw(0)
	}
	if end {
		c.caps = c.caps || r.left >= 0
		c.columns()
		c.end(height)
		height += endHeight
	}
	d.open("figure")
	d.open("svg", "width", number(pageWidth), "height", number(height), "viewBox", "0 0 "+number(pageWidth)+" "+number(height), "role", "img",
		"aria-label", plural(int64(len(steps)), "step", "steps")+" of "+fit(r.label(), 60, 1, false)+"; the table below says the same in words")
	d.WriteString(c.String())
	d.close("svg")
	d.close("figure")
}
