package runview

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// row is one line of a chart.
type row struct {
	kind   rowKind
	depth  int // of the run it belongs to
	number string
	of     *run // it belongs to
	stripe bool

	call  *call
	tool  *tool
	note  note
	sub   *run
	steps []*step // folded
	tools []*tool // folded

	lanes int // tools side by side: how many lines from here on; 0 = not the first
}

type rowKind int

const (
	callRow rowKind = iota
	emptyRow
	toolRow
	toolsRow
	noteRow
	subRow
	foldRow
)

func (r *row) height() float64 {
	switch r.kind {
	case callRow:
		return 40
	case foldRow:
		return 34
	case subRow:
		return 26
	}
	return 20
}

// piece is either one step or several that are folded.
type piece struct {
	one    *step
	folded []*step
}

// fold leaves about most steps of a list: the first, the last, and those with troubles. What is folded is never a single step.
func fold(steps []*step, most int) []piece {
	keep := make([]bool, len(steps))
	if len(steps) <= most {
		for i := range keep {
			keep[i] = true
		}
	} else {
		first, last := most/2, most/4
		for i := range steps {
			keep[i] = i < first || i >= len(steps)-last
		}
		for _, i := range worst(steps[first:len(steps)-last], most-first-last) {
			keep[first+i] = true
		}
		for i := 0; i < len(steps); i++ { // what saves no room is not worth folding
			end := i
			for end < len(steps) && !keep[end] {
				end++
			}
			if end-i <= 4 {
				for ; i < end; i++ {
					keep[i] = true
				}
			}
			i = end
		}
	}
	var out []piece
	for i, s := range steps {
		switch n := len(out); {
		case keep[i]:
			out = append(out, piece{one: s})
		case n > 0 && out[n-1].one == nil:
			out[n-1].folded = append(out[n-1].folded, s)
		default:
			out = append(out, piece{folded: []*step{s}})
		}
	}
	return out
}

// worst gives the places of those steps that a reader would look for first.
func worst(steps []*step, most int) []int {
	weight := func(i int) int {
		t := steps[i].troubles()
		w := 8*t.notes + 4*t.failedCalls + 2*t.failedTools + t.refused
		if t.waited > 0 {
			w += 6
		}
		return w
	}
	var places []int
	for i := range steps {
		if weight(i) > 0 {
			places = append(places, i)
		}
	}
	slices.SortStableFunc(places, func(a, b int) int { return cmp.Compare(weight(b), weight(a)) })
	return places[:min(len(places), most)]
}

const (
	mostSubSteps = 12 // of a run inside of another, before they are folded
	mostTools    = 10 // of one step
	mostDepth    = 3  // that is shown by indentation
)

// rowsOf lists the lines of some steps of a run.
func rowsOf(r *run, pieces []piece, depth int) []*row {
	var out []*row
	for i, p := range pieces {
		from := len(out)
		if p.one == nil {
			first, last := p.folded[0].index, p.folded[len(p.folded)-1].index
			out = append(out, &row{kind: foldRow, depth: depth, of: r, number: strconv.FormatInt(first, 10) + "–" + strconv.FormatInt(last, 10), steps: p.folded})
		} else {
			out = append(out, rowsOfStep(r, p.one, depth)...)
		}
		if depth == 0 && i%2 == 1 {
			for _, row := range out[from:] {
				row.stripe = true
			}
		}
	}
	return out
}

func rowsOfStep(r *run, s *step, depth int) []*row {
	var out []*row
	add := func(row *row) {
		row.depth, row.of = depth, r
		if len(out) == 0 {
			row.number = strconv.FormatInt(s.index, 10)
		}
		out = append(out, row)
	}
	for _, c := range s.calls {
		add(&row{kind: callRow, call: c})
	}
	if len(s.calls) == 0 && len(s.notes) == 0 {
		add(&row{kind: emptyRow})
	}
	for _, n := range s.notes {
		add(&row{kind: noteRow, note: n})
	}
	shown, rest := s.tools, []*tool(nil)
	if len(shown) > mostTools {
		shown, rest = chosen(shown)
	}
	for i, t := range shown {
		row := &row{kind: toolRow, tool: t}
		if t.parallel && (i == 0 || !shown[i-1].parallel) {
			for j := i; j < len(shown) && shown[j].parallel && len(shown[j].runs) == 0; j++ {
				row.lanes++
			}
		}
		add(row)
		for _, sub := range t.runs {
			out = append(out, rowsOfRun(sub, r, depth)...)
		}
	}
	if len(rest) > 0 {
		add(&row{kind: toolsRow, tools: rest})
	}
	for _, sub := range s.runs {
		out = append(out, rowsOfRun(sub, r, depth)...)
	}
	return out
}

// chosen takes the calls that are shown one by one: what failed or called an agent first, then the first ones.
func chosen(all []*tool) (shown, rest []*tool) {
	left := mostTools - 1
	take := make([]bool, len(all))
	for _, plain := range []bool{false, true} {
		for i, t := range all {
			if left > 0 && !take[i] && (plain || t.failed != "" || len(t.runs) > 0) {
				take[i] = true
				left--
			}
		}
	}
	for i, t := range all {
		if take[i] {
			shown = append(shown, t)
		} else {
			rest = append(rest, t)
		}
	}
	return shown, rest
}

func rowsOfRun(sub, of *run, depth int) []*row {
	head := &row{kind: subRow, depth: min(depth+1, mostDepth), of: of, sub: sub}
	return append([]*row{head}, rowsOf(sub, fold(sub.steps, mostSubSteps), min(depth+1, mostDepth))...)
}

// window is the time that some steps cover.
func window(steps []*step) (from, to time.Time) {
	for _, s := range steps {
		if from.IsZero() || s.start.Before(from) {
			from = s.start
		}
		if s.end.After(to) {
			to = s.end
		}
	}
	return from, to
}

// squeezed are the stretches of time that only folded steps fill.
func squeezed(pieces []piece) []interval {
	var out []interval
	for _, p := range pieces {
		if p.one == nil {
			from, to := window(p.folded)
			out = append(out, interval{from, to})
		}
	}
	return out
}

// waitsOf are the waits for top-ups below some steps.
func waitsOf(steps []*step) []interval {
	var out []interval
	for _, s := range steps {
		for _, c := range s.calls {
			for _, w := range c.waits {
				out = append(out, interval{w.start, w.end})
			}
		}
		for _, sub := range s.subs() {
			out = append(out, waitsOf(sub.steps)...)
		}
	}
	return out
}

// mixOf says which instruments steps used, the most used first.
func mixOf(steps []*step) string {
	type use struct {
		name  string
		times int
	}
	var uses []use
	for _, s := range steps {
		for _, c := range s.calls {
			i := slices.IndexFunc(uses, func(u use) bool { return u.name == c.instrument })
			if i < 0 {
				i = len(uses)
				uses = append(uses, use{name: c.instrument})
			}
			uses[i].times++
		}
	}
	slices.SortStableFunc(uses, func(a, b use) int { return cmp.Compare(b.times, a.times) })
	var words []string
	for i, u := range uses {
		if i == 3 {
			words = append(words, plural(int64(len(uses)-3), "other", "others"))
			break
		}
		words = append(words, u.name+" ×"+count(int64(u.times)))
	}
	return strings.Join(words, ", ")
}

// sums of some steps, without the agents that they called.
type sums struct{ input, output, cost, tools int64 }

func sum(steps []*step) (s sums) {
	for _, step := range steps {
		for _, c := range step.calls {
			s.input, s.output, s.cost = s.input+c.input, s.output+c.output, s.cost+c.cost
		}
		s.tools += int64(len(step.tools))
	}
	return s
}

// leftAfter is what the cap had left after the last of some steps, -1 if that is not known.
func leftAfter(steps []*step) int64 {
	left := int64(-1)
	for _, s := range steps {
		for _, c := range s.calls {
			if c.left >= 0 {
				left = c.left
			}
		}
	}
	return left
}
