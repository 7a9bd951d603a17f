package runview

import "strings"

// canvas draws SVG. Everything it draws stays inside of it, and texts it places by itself never touch each other.
type canvas struct {
	markup
	taken []box // texts of the row that is being drawn
}

type box struct{ x0, y0, x1, y1 float64 }

func (b box) meets(o box) bool { return b.x0 < o.x1 && o.x0 < b.x1 && b.y0 < o.y1 && o.y0 < b.y1 }

// face is a class of texts.
type face struct {
	class string
	size  float64
	bold  bool
}

var (
	headFace = face{"head", 17, true}
	nameFace = face{"name", 12.5, true}
	bodyFace = face{"body", 12, false}
	noteFace = face{"note", 10.5, false}
	tinyFace = face{"tiny", 10, false}
	flagFace = face{"flag", 10, true}
	faces    = []face{headFace, nameFace, bodyFace, noteFace, tinyFace, flagFace}
)

func (f face) width(s string) float64             { return textWidth(s, f.size, f.bold) }
func (f face) fit(s string, width float64) string { return fit(s, width, f.size, f.bold) }

func (f face) box(x, y float64, s string) box {
	return box{x, y - f.size*0.95, x + f.width(s), y + f.size*0.3}
}

// text draws at a baseline, from x on. Tone is a further class, "" for none.
func (c *canvas) text(x, y float64, f face, tone, s string) {
	if s == "" {
		return
	}
	c.taken = append(c.taken, f.box(x, y, s))
	c.element("text", s, "class", strings.TrimSpace(f.class+" "+tone), "x", number(x), "y", number(y))
}

// textEnd draws so that the text ends at x.
func (c *canvas) textEnd(x, y float64, f face, tone, s string) {
	if s == "" {
		return
	}
	c.taken = append(c.taken, f.box(x-f.width(s), y, s))
	c.element("text", s, "class", strings.TrimSpace(f.class+" "+tone), "x", number(x), "y", number(y), "text-anchor", "end")
}

const gap = 3 // between texts

// place draws a text at the first of some places where it is between x0 and x1 and free of others. It says whether there was one.
func (c *canvas) place(y, x0, x1 float64, f face, tone, s string, at ...float64) bool {
	w := f.width(s)
	for _, x := range at {
		b := f.box(x, y, s)
		b.x0, b.x1 = b.x0-gap, b.x1+gap
		if s == "" || x < x0 || x+w > x1 || c.covered(b) {
			continue
		}
		c.text(x, y, f, tone, s)
		return true
	}
	return false
}

func (c *canvas) covered(b box) bool {
	for _, t := range c.taken {
		if b.meets(t) {
			return true
		}
	}
	return false
}

func (c *canvas) rect(class string, x, y, w, h, radius float64, more ...string) {
	r := ""
	if radius = min(radius, w/3); radius > 0.2 {
		r = number(radius)
	}
	c.leaf("rect", append([]string{"class", class, "x", number(x), "y", number(y), "width", number(max(w, 0)), "height", number(h), "rx", r}, more...)...)
}

func (c *canvas) line(class string, x0, y0, x1, y1 float64) {
	c.path(class, "M"+number(x0)+" "+number(y0)+"L"+number(x1)+" "+number(y1))
}

func (c *canvas) path(class, d string, more ...string) {
	c.leaf("path", append([]string{"class", class, "d", d}, more...)...)
}

// hover gives what follows, up to close("g"), a text that shows under the pointer.
func (c *canvas) hover(class, title string) {
	c.open("g", "class", class)
	if title != "" {
		c.element("title", title)
	}
}

func move(x, y float64) string { return "translate(" + number(x) + " " + number(y) + ")" }

// instrumentMark draws family by shape and tier by filling, about 11 units wide around x, y. Neither needs its colour.
func (c *canvas) instrumentMark(x, y float64, family, tier string) {
	whole, half := "M-4.4 -4.4H4.4V4.4H-4.4Z", "M0 -4.4H4.4V4.4H0Z"
	switch family {
	case "text":
		whole, half = "M0 -5A5 5 0 0 1 0 5A5 5 0 0 1 0 -5Z", "M0 -5A5 5 0 0 1 0 5Z"
	case "code":
		whole, half = "M0 -6L6 0L0 6L-6 0Z", "M0 -6L6 0L0 6Z"
	case "agent":
		whole, half = "M0 -5.6L4.9 -2.8V2.8L0 5.6L-4.9 2.8V-2.8Z", "M0 -5.6L4.9 -2.8V2.8L0 5.6Z"
	}
	c.open("g", "class", familyClass(family), "transform", move(x, y))
	switch tier {
	case "max":
		c.path("solid", whole)
	case "prime":
		c.path("outline", whole)
		c.path("solid", half)
	default:
		c.path("outline", whole)
	}
	c.close("g")
}

func familyClass(family string) string {
	switch family {
	case "text", "code", "agent":
		return family
	}
	return "other"
}

// stateMark draws how a run ended, 14 units wide around x, y.
func (c *canvas) stateMark(x, y float64, s state) {
	c.open("g", "class", s.class(), "transform", move(x, y))
	c.leaf("circle", "class", "solid", "r", "7")
	switch s {
	case doneState:
		c.path("cut", "M-3.2 0.2L-0.9 2.6L3.3 -2.4")
	case limitState:
		c.path("hole", "M-2.6 -2.6H2.6V2.6H-2.6Z")
	case pausedState:
		c.path("cut", "M-1.8 -3V3M1.8 -3V3")
	case openState:
		c.path("cut", "M-3.4 0H-3.2M-0.1 0H0.1M3.2 0H3.4")
	case canceledState:
		c.path("cut", "M-3.2 0H3.2")
	default:
		c.path("cut", "M-2.6 -2.6L2.6 2.6M2.6 -2.6L-2.6 2.6")
	}
	c.close("g")
}

func (s state) class() string {
	return [...]string{"done", "limit", "paused", "failed", "idle", "idle"}[s]
}
