package runview

import (
	"slices"
	"time"
)

// scale maps time to the horizontal axis. Between breaks it is linear; a break is a stretch of time that is drawn shortened.
type scale struct {
	origin time.Time // zero of the labels
	parts  []part
}

type part struct {
	from, to time.Time
	x0, x1   float64
	broken   bool
}

type interval struct{ from, to time.Time }

// breakWidth is that of a shortened stretch, wide enough for a label.
const breakWidth = 104

// newScale maps from..to on x0..x1. The always list is shortened whatever it costs; the waits are if they would take up half
// of the axis.
func newScale(origin, from, to time.Time, x0, x1 float64, always, waits []interval) *scale {
	if !to.After(from) {
		to = from.Add(time.Millisecond)
	}
	s := &scale{origin: origin}
	cuts := merged(always, from, to)
	room := x1 - x0
	perSecond := room / to.Sub(from).Seconds()
	var waited time.Duration
	var long []interval
	for _, w := range merged(waits, from, to) {
		if d := w.to.Sub(w.from); d.Seconds()*perSecond > breakWidth*1.5 {
			long, waited = append(long, w), waited+d
		}
	}
	if waited > to.Sub(from)*45/100 {
		cuts = merged(append(cuts, long...), from, to)
	}
	width := float64(breakWidth)
	if n := float64(len(cuts)); n > 0 {
		width = min(width, room*0.4/n)
	}
	linear := to.Sub(from)
	for _, c := range cuts {
		linear -= c.to.Sub(c.from)
	}
	if n := len(cuts); n > 0 && linear < to.Sub(from)/20 { // nearly all of it was waiting: let it look so
		width = room / 2 / float64(n)
	}
	room -= width * float64(len(cuts))
	at, x := from, x0
	stretch := func(until time.Time) {
		if !until.After(at) {
			return
		}
		w := room
		if linear > 0 {
			w = room * float64(until.Sub(at)) / float64(linear)
		}
		s.parts = append(s.parts, part{at, until, x, x + w, false})
		at, x = until, x+w
	}
	for _, c := range cuts {
		stretch(c.from)
		s.parts = append(s.parts, part{c.from, c.to, x, x + width, true})
		at, x = c.to, x+width
	}
	stretch(to)
	if linear <= 0 { // nothing but breaks: they fill the axis
		factor := (x1 - x0) / (x - x0)
		for i := range s.parts {
			p := &s.parts[i]
			p.x0, p.x1 = x0+(p.x0-x0)*factor, x0+(p.x1-x0)*factor
		}
	}
	return s
}

// merged sorts intervals, joins those that touch, and clips them.
func merged(list []interval, from, to time.Time) []interval {
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, func(a, b interval) int { return a.from.Compare(b.from) })
	var out []interval
	for _, i := range sorted {
		if i.from.Before(from) {
			i.from = from
		}
		if i.to.After(to) {
			i.to = to
		}
		if !i.to.After(i.from) {
			continue
		}
		if n := len(out); n > 0 && !i.from.After(out[n-1].to) {
			if i.to.After(out[n-1].to) {
				out[n-1].to = i.to
			}
			continue
		}
		out = append(out, i)
	}
	return out
}

// x is where a moment is drawn; moments outside are drawn at the edge.
func (s *scale) x(t time.Time) float64 {
	for _, p := range s.parts {
		if t.After(p.to) {
			continue
		}
		if t.Before(p.from) {
			return p.x0
		}
		return p.x0 + (p.x1-p.x0)*float64(t.Sub(p.from))/float64(p.to.Sub(p.from))
	}
	return s.parts[len(s.parts)-1].x1
}

type tick struct {
	x     float64
	label string
}

// ticks are round moments, at least gap apart where the axis is linear.
func (s *scale) ticks(gap float64) []tick {
	var perSecond float64
	for _, p := range s.parts {
		if !p.broken {
			perSecond = (p.x1 - p.x0) / p.to.Sub(p.from).Seconds()
		}
	}
	if perSecond == 0 {
		return nil
	}
	every := roundStep(time.Duration(gap / perSecond * float64(time.Second)))
	var out []tick
	for _, p := range s.parts {
		if p.broken {
			continue
		}
		first := p.from.Sub(s.origin).Truncate(every)
		for at := first; at <= p.to.Sub(s.origin) && len(out) < 100; at += every {
			if t := s.origin.Add(at); !t.Before(p.from) {
				out = append(out, tick{s.x(t), tickLabel(at, every)})
			}
		}
	}
	return out
}

// roundStep is the first round stretch of time that is not below d.
func roundStep(d time.Duration) time.Duration {
	for unit := time.Microsecond; unit < 10*time.Second; unit *= 10 {
		for _, n := range []time.Duration{1, 2, 5} {
			if n*unit >= d {
				return n * unit
			}
		}
	}
	for _, step := range []time.Duration{10 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour} {
		if step >= d {
			return step
		}
	}
	day := 24 * time.Hour
	return (d + day - 1) / day * day
}

func tickLabel(at, every time.Duration) string {
	switch {
	case at == 0:
		return "0"
	case every < time.Millisecond:
		return number(float64(at.Microseconds())/1000) + " ms"
	case every < 100*time.Millisecond && at < time.Second:
		return count(at.Milliseconds()) + " ms"
	case every < 10*time.Millisecond:
		return trimmed(at.Seconds(), 3) + " s"
	case every < 100*time.Millisecond:
		return trimmed(at.Seconds(), 2) + " s"
	case every < time.Second:
		return trimmed(at.Seconds(), 1) + " s"
	case at < 2*time.Minute && every < time.Minute:
		return count(int64(at.Seconds())) + " s"
	case at < time.Hour:
		if rest := int(at.Seconds()) % 60; rest != 0 {
			return count(int64(at.Minutes())) + ":" + twoDigits(rest) + " min"
		}
		return count(int64(at.Minutes())) + " min"
	}
	return count(int64(at.Hours())) + ":" + twoDigits(int(at.Minutes())%60) + " h"
}
