package runview

import (
	"slices"
	"strings"
	"time"
)

func (c *chart) waits(k *call, y, thick float64) {
	for _, w := range k.waits {
		x0, x1 := c.scale.x(w.start), c.scale.x(w.end)
		c.hover("", "waited "+duration(w.end.Sub(w.start))+" for a top-up of "+k.instrument+": "+w.word())
		c.rect("wait", x0, y, max(x1-x0, 3), thick, 3)
		c.close("g")
	}
}

func (c *chart) attempts(k *call, y, thick float64) {
	var before time.Time
	for i, a := range k.attempts {
		x0, x1 := c.scale.x(a.start), c.scale.x(a.end)
		if i > 0 && a.start.After(before) {
			if from := c.scale.x(before); x0-from > 6 && !k.waiting(before, a.start) {
				c.line("pause", from+1, y+thick/2, x0-1, y+thick/2)
			}
		}
		before = a.end
		c.hover(familyClass(k.family), "attempt "+count(a.number)+": "+a.word()+", "+duration(a.end.Sub(a.start))+a.more())
		if a.failed != "" {
			c.rect("refused", x0, y, max(x1-x0, 4), thick, 1.5)
		} else {
			c.rect(tierClass(k.tier), x0, y, max(x1-x0, 2), thick, 3)
		}
		c.close("g")
	}
}

func (a tried) more() string {
	s := ""
	if a.billed != "" {
		s += ", billed: " + a.billed
	}
	if a.where != "" {
		s += ", answered by " + a.where
	}
	return s
}

// waiting says whether a stretch of time is part of a wait for a top-up, which is drawn as such.
func (k *call) waiting(from, to time.Time) bool {
	return slices.ContainsFunc(k.waits, func(w wait) bool { return w.start.Before(to) && from.Before(w.end) })
}

// flags writes above the bar what went wrong: one flag for attempts that failed alike, and one for all that a wait was for.
func (c *chart) flags(k *call, y float64) {
	waits := k.waits
	for i := 0; i < len(k.attempts); {
		if k.attempts[i].failed == "" {
			i++
			continue
		}
		j, tone := i+1, "bad"
		for j < len(k.attempts) && k.attempts[j].failed != "" && k.attempts[j].word() == k.attempts[i].word() {
			j++
		}
		after := ""
		if len(waits) > 0 && (j == len(k.attempts) || waits[0].start.Before(k.attempts[j].start)) {
			for j < len(k.attempts) && k.attempts[j].failed != "" && k.attempts[j].start.Before(waits[0].end) {
				j++
			}
			after, tone = ", "+waits[0].label(), "late"
			waits = waits[1:]
		}
		c.flag(y, c.scale.x(k.attempts[i].start), failures(k.attempts[i:j])+after, tone)
		i = j
	}
	for _, w := range waits {
		c.flag(y, c.scale.x(w.start), w.label(), "late")
	}
}

// failures names how attempts failed, those of one kind that follow each other once.
func failures(attempts []tried) string {
	var words []string
	for i := 0; i < len(attempts); {
		j := i + 1
		for j < len(attempts) && attempts[j].word() == attempts[i].word() {
			j++
		}
		word := attempts[i].word()
		if j-i > 1 {
			word += " ×" + count(int64(j-i))
		}
		words = append(words, word)
		i = j
	}
	if len(words) > 3 {
		return count(int64(len(attempts))) + " failed"
	}
	return strings.Join(words, ", ")
}

func (w wait) label() string { return w.word() + " after " + duration(w.end.Sub(w.start)) }

func (c *chart) flag(y, x float64, label, tone string) {
	w := flagFace.width(label)
	c.place(y, c.left-4, c.right, flagFace, tone, label, x, min(x, c.right-w), x-w)
}
