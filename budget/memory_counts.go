package budget

import (
	"math"
	"slices"
	"time"
)

// count is what one cap has counted for its scopes in one turn of its window; under a rolling window there is one for all
// times. What every call touches stands in front.
type count struct {
	slot        slot
	limit       int64
	settled     int64
	held        int64
	unconfirmed int64
	overrun     int64
	mark        int64  // no threshold is crossed before settled reaches this
	scopes      *Scope // the first of shape.Scopes
	freed       int64  // scratch: what a swap would give back
	rolling     *rolling

	book    *capBook
	end     int64     // 0 never
	fired   [2]uint64 // thresholds announced, by percent
	shape   CapState  // what readers see, without the numbers
	tabs    int       // of reservations that are kept
	over    bool      // the window has ended
	dropped bool      // the run was forgotten
	look    int64     // when to look whether it can be dropped
	pos     int
}

// countKey finds a count without building a string.
type countKey struct {
	cap    string
	scopes [maxConditions]Scope
	start  int64
}

func keyOf(l *Link) countKey {
	k := countKey{cap: l.Cap}
	copy(k.scopes[:], l.Scopes)
	if !l.Window.Start.IsZero() {
		k.start = l.Window.Start.UnixNano()
	}
	return k
}

func (c *count) due() int64    { return c.look }
func (c *count) setPos(i int)  { c.pos = i }
func (c *count) room() int64   { return c.limit - plus(c.settled, c.held) + c.freed }
func (c *count) bounded() bool { return c.limit != None }

func newCount(l *Link, book *capBook) *count {
	c := &count{book: book, slot: book.slot, limit: book.limit, pos: -1}
	scopes := slices.Clone(l.Scopes)
	c.shape = CapState{Cap: book.record.Key, Scope: foremost(scopes), Scopes: scopes, Meter: book.record.Meter, Window: book.window,
		Start: l.Window.Start, Reset: l.Window.End}
	c.scopes = first(scopes)
	if book.length > 0 {
		c.rolling = &rolling{}
	}
	if !l.Window.End.IsZero() {
		c.end = l.Window.End.UnixNano()
	}
	return c
}

// of is what the quantities, or the custom ones, have of the count's meter.
func (c *count) of(q *quantities, custom map[Meter]int64) int64 {
	if c.slot == customSlot {
		return custom[c.book.record.Meter]
	}
	return q[c.slot]
}

// show writes where the count stands.
func (c *count) show(s *CapState) {
	if !s.of(c) {
		*s = c.shape
	}
	s.Limit, s.Settled, s.Held, s.Unconfirmed, s.Overrun, s.Left = c.limit, c.settled, c.held, c.unconfirmed, c.overrun, None
	if c.bounded() {
		s.Left = max(c.room(), 0)
	}
	if c.rolling != nil {
		s.Reset = c.reset()
	}
}

func (c *count) violation(asked int64) Violation {
	v := Violation{Cap: c.shape.Cap, Scope: c.shape.Scope, Meter: c.shape.Meter, Window: c.shape.Window, ResetAt: c.shape.Reset,
		Kind: KindSpent, Limit: c.limit, Settled: c.settled, Held: c.held - c.freed, Requested: asked}
	switch {
	case asked > c.limit:
		v.Kind = KindTooBig
	case plus(c.settled, asked) <= c.limit:
		v.Kind = KindHeld
	}
	if c.rolling != nil {
		v.ResetAt = c.fits(v.Kind, asked)
	}
	return v
}

// cross announces thresholds that settled spending has reached, once each.
func (c *count) cross(ans *Answer) {
	c.mark = math.MaxInt64
	for _, m := range c.book.marks {
		if c.settled < m.at {
			c.mark = m.at
			return
		}
		word, bit := m.percent/64, uint64(1)<<(m.percent%64)
		if c.fired[word]&bit == 0 {
			c.fired[word] |= bit
			ans.Crossed = append(ans.Crossed, Crossing{Cap: c.shape.Cap, Scope: c.shape.Scope, Meter: c.shape.Meter,
				Percent: m.percent, Settled: c.settled, Limit: c.limit, Reset: c.reset()})
		}
	}
}

// reset is when the count has less: at the end of its window or, rolling, when the oldest spending leaves.
func (c *count) reset() time.Time {
	switch {
	case c.rolling == nil:
		return c.shape.Reset
	case len(c.rolling.buckets) == 0:
		return time.Time{}
	}
	return at(c.book.leaves(c.rolling.buckets[0].start))
}

// find returns the count of a link, made if it is new.
func (b *books) find(l *Link, book *capBook) *count {
	key := keyOf(l)
	if c := b.counts[key]; c != nil {
		return c
	}
	c := newCount(l, book)
	b.counts[keyOf(&Link{Cap: c.shape.Cap, Scopes: c.shape.Scopes, Window: l.Window})] = c
	if c.end != 0 {
		c.look = c.end
		b.turns.push(c)
	}
	for _, s := range c.shape.Scopes {
		if s.Kind == ScopeRun {
			r := b.run(s.Name)
			r.counts = append(r.counts, c)
		}
	}
	return c
}

// lookAt has a rolling count looked at when all that it counts will have left.
func (b *books) lookAt(c *count) {
	c.look = b.last
	if n := len(c.rolling.buckets); n > 0 {
		c.look = c.book.leaves(c.rolling.buckets[n-1].start)
	}
	if c.pos >= 0 {
		b.turns.fix(c.pos)
	} else {
		b.turns.push(c)
	}
}

// turn drops counts that count nothing any more, a little at a time.
func (b *books) turn(now int64) {
	for n := 0; n < sweepEach && len(b.turns.items) > 0 && b.turns.items[0].look <= now; n++ {
		c := b.turns.items[0]
		b.turns.remove(0)
		c.roll(now)
		c.over = c.rolling == nil
		if c.tabs == 0 && (c.over || len(c.rolling.buckets) == 0) {
			b.dropCount(c)
		}
	}
}

// unused is told when no reservation that is kept has the count any more.
func (b *books) unused(c *count) {
	switch {
	case c.dropped:
	case c.over:
		b.dropCount(c)
	case c.rolling != nil:
		b.lookAt(c)
	}
}

// dropCount takes a count out of the books: its window is over or its run was forgotten. Reservations of a forgotten run
// may still point to it, so that what they count elsewhere can be corrected.
func (b *books) dropCount(c *count) {
	if c.dropped {
		return
	}
	c.dropped = true
	if c.pos >= 0 {
		b.turns.remove(c.pos)
	}
	delete(b.counts, keyOf(&Link{Cap: c.shape.Cap, Scopes: c.shape.Scopes, Window: Span{Start: c.shape.Start}}))
	for _, s := range c.shape.Scopes {
		if r := b.runs[s.Name]; s.Kind == ScopeRun && r != nil {
			r.counts = slices.DeleteFunc(r.counts, func(x *count) bool { return x == c })
			b.dropRun(r)
		}
	}
}
