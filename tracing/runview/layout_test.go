package runview

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
)

// label is a text of a picture, as it was written.
type label struct {
	box
	text string
}

// drawing is one SVG, read back.
type drawing struct {
	width, height float64
	labels        []label
}

// read parses SVG or the page, strictly, and gives the drawings in it. Sizes come from the classes alone, so that nothing of
// what the layout believed is believed here.
func drawings(t testing.TB, text []byte) []drawing {
	t.Helper()
	var all []drawing
	var inside *xml.StartElement
	d := xml.NewDecoder(bytes.NewReader(text))
	for {
		token, err := d.Token()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			switch token.Name.Local {
			case "svg":
				all = append(all, drawing{width: float(t, token, "width"), height: float(t, token, "height")})
			case "text":
				start := token.Copy()
				inside = &start
			}
		case xml.EndElement:
			inside = nil
		case xml.CharData:
			if inside == nil {
				break
			}
			f := faceOf(t, *inside)
			x, s := float(t, *inside, "x"), string(token)
			if value(*inside, "text-anchor") == "end" {
				x -= f.width(s)
			}
			last := &all[len(all)-1]
			last.labels = append(last.labels, label{f.box(x, float(t, *inside, "y"), s), s})
		}
	}
}

func value(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func float(t testing.TB, e xml.StartElement, name string) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(value(e, name), 64)
	if err != nil {
		t.Fatalf("<%s>: %s: %v", e.Name.Local, name, err)
	}
	return f
}

func faceOf(t testing.TB, e xml.StartElement) face {
	t.Helper()
	for _, class := range strings.Fields(value(e, "class")) {
		for _, f := range faces {
			if f.class == class {
				return f
			}
		}
	}
	t.Fatalf("a text has no face: %v", e)
	return face{}
}

// apart checks that labels lie in their drawing and not on each other.
func apart(t testing.TB, d drawing) {
	t.Helper()
	for i, a := range d.labels {
		if a.x0 < 0 || a.x1 > d.width || a.y0 < 0 || a.y1 > d.height {
			t.Errorf("%q leaves the picture: %+v", a.text, a.box)
		}
		for _, b := range d.labels[i+1:] {
			if a.meets(b.box) {
				t.Errorf("%q and %q overlap: %+v, %+v", a.text, b.text, a.box, b.box)
			}
		}
	}
}

func TestLabelsDoNotOverlap(t *testing.T) {
	for _, row := range []struct {
		name   string
		record func(*testing.T) *Exporter
		least  int
	}{
		{"5 steps", func(t *testing.T) *Exporter { return recordedDesk(t) }, 40},
		{"40 steps", func(t *testing.T) *Exporter { return recordedLong(t, 40) }, 200},
		{"200 steps", func(t *testing.T) *Exporter { return recordedLong(t, 200) }, 1000},
		{"runs of every kind", recordedFamily, 150},
		{"hostile names", func(t *testing.T) *Exporter { return recordedHostile(t, nasty) }, 10},
		{"many failures", recordedStorm, 30},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := row.record(t)
			labels := 0
			for _, d := range drawings(t, html(t, e)) {
				labels += len(d.labels)
				apart(t, d)
			}
			if labels < row.least {
				t.Errorf("%d labels were checked, want at least %d", labels, row.least)
			}
			for i := range countRuns(e) {
				for _, d := range drawings(t, svg(t, e, i)) {
					apart(t, d)
				}
			}
		})
	}
}

func countRuns(e *Exporter) int {
	runs, _ := e.runs()
	return len(runs)
}

// recordedStorm has more to say above one bar than there is room for.
func recordedStorm(t *testing.T) *Exporter {
	e := New()
	r := newRecorder(t, e, testConfig)
	ctx, run := r.Run(t.Context(), startOf(r, "storm"))
	for step := range 4 {
		m := model{step: step, instrument: "agent-prime", family: "agent", tier: "prime", from: step * 1000, to: step*1000 + 999, in: 999_999_999, out: 99_999, cached: 888_888, reasoning: 77_777, cost: 987_654_321_000, left: 9_876_543_210_000}
		for i := range 20 {
			m.attempts = append(m.attempts, request{step*1000 + i*40, step*1000 + i*40 + 20, []int{429, 500, 402, 503, 0}[(i+step)%5]})
		}
		m.wait = [2]int{step*1000 + 100, step*1000 + 300}
		r.call(ctx, m)
		for i := range 30 {
			r.tool(ctx, use{step: step, index: i, name: fmt.Sprintf("a_tool_with_a_long_name_%d", i), from: step*1000 + 999, to: step*1000 + 999 + i%3, parallel: i%7 != 0, status: []string{"", "timeout", "panic"}[i%3], approval: "granted"})
		}
	}
	run.End(endOf(r, 4000, "max_steps"))
	return e
}
