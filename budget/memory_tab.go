package budget

import (
	"hash/maphash"
	"slices"
)

// tab is what the reservations of the same scopes in the same windows have in common: a run asks for one instrument many
// times, and only the numbers differ. It lives as long as one of them is kept.
type tab struct {
	key        uint64
	scopes     []Scope
	runs       []*runBook
	counts     []*count // in the order of the links
	start, end int64    // of the time in which all windows are present; an end of 0 is never
	last       int64    // when the last window ends
	rows       int
}

// runBook is what a run has open and has counted, so that it can be forgotten whole.
type runBook struct {
	name   string
	open   int
	tabs   int
	counts []*count
	gone   bool // forgotten
}

func (b *books) run(name string) *runBook {
	r := b.runs[name]
	if r == nil {
		r = &runBook{name: name}
		b.runs[name] = r
	}
	return r
}

// dropRun forgets a run of which nothing is open, counted or kept.
func (b *books) dropRun(r *runBook) {
	if r.open == 0 && r.tabs == 0 && len(r.counts) == 0 && b.runs[r.name] == r {
		delete(b.runs, r.name)
	}
}

// keyOfTab is a hash of the scopes. Of two that collide only one is kept at hand.
func (b *books) keyOfTab(scopes []Scope) uint64 {
	var h maphash.Hash
	h.SetSeed(b.seed)
	for i := range scopes {
		h.WriteString(scopes[i].Kind)
		h.WriteByte(0)
		h.WriteString(scopes[i].Name)
		h.WriteByte(0)
	}
	return h.Sum64()
}

// tab finds the tab of a request, nil if it has none yet.
func (b *books) tab(op *ReserveOp, key uint64) *tab {
	t := b.tabs[key]
	if t == nil || len(t.counts) != len(op.Links) || !slices.Equal(t.scopes, op.Scopes) {
		return nil
	}
	for _, r := range t.runs {
		if r.gone {
			return nil
		}
	}
	for i, c := range t.counts {
		l := &op.Links[i]
		if c.dropped || c.book.record.Key != l.Cap || !c.span.Start.Equal(l.Window.Start) || !c.span.End.Equal(l.Window.End) || !slices.Equal(c.scopes, l.Scopes) {
			return nil
		}
	}
	return t
}

// present reports whether now is in every window of the tab.
func (t *tab) present(now int64) bool { return now >= t.start && (t.end == 0 || now < t.end) }

// newTab makes the tab of a request that was checked.
func (b *books) newTab(op *ReserveOp, key uint64) *tab {
	t := &tab{key: key, counts: make([]*count, 0, len(op.Links)), start: -1 << 63}
	if old := b.tabs[key]; old != nil && slices.Equal(old.scopes, op.Scopes) {
		t.scopes = old.scopes
	} else {
		t.scopes = slices.Clone(op.Scopes)
	}
	for i := range op.Links {
		c := b.find(&op.Links[i], b.caps[op.Links[i].Cap])
		c.tabs++
		t.counts = append(t.counts, c)
		if !c.span.Start.IsZero() {
			t.start = max(t.start, c.span.Start.UnixNano())
		}
		if c.end != 0 {
			t.last = max(t.last, c.end)
			if t.end == 0 || c.end < t.end {
				t.end = c.end
			}
		}
	}
	for _, s := range t.scopes {
		if s.Kind == ScopeRun {
			r := b.run(s.Name)
			r.tabs++
			t.runs = append(t.runs, r)
		}
	}
	b.tabs[key] = t
	return t
}

// leave takes a reservation that is forgotten off the tab.
func (b *books) leave(t *tab) {
	if t.rows--; t.rows > 0 {
		return
	}
	if b.tabs[t.key] == t {
		delete(b.tabs, t.key)
	}
	for _, c := range t.counts {
		if c.tabs--; c.tabs == 0 && c.over {
			b.dropCount(c)
		}
	}
	for _, r := range t.runs {
		r.tabs--
		b.dropRun(r)
	}
}
