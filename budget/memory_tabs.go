package budget

import (
	"hash/maphash"
	"slices"
)

// tab is what the reservations of the same scopes in the same windows have in common: a run asks for one instrument many
// times, and only the numbers differ. It lives as long as one of them is kept.
type tab struct {
	of         *books
	no         uint32
	key        uint64
	scopes     []Scope
	runs       []*runBook
	counts     []*count // in the order of the links
	plain      bool     // no count rolls or has a custom meter
	start, end int64    // of the time in which all windows are present; an end of 0 is never
	last       int64    // when the last window ends
	longest    int64    // how long the slowest rolling window counts, at most
	rows, open int
	gone       bool // one of its runs was forgotten
	// known is the version of the caps for which need is the least that a request must know.
	known, need int64
}

// tabs are all tabs that have a row, by number and by the hash of their scopes.
type tabs struct {
	all  []*tab
	free []uint32
	by   map[uint64]*tab
	used int
}

func newTabs() tabs { return tabs{by: map[uint64]*tab{}} }

// runBook is what a run has open and has counted, so that it can be forgotten whole.
type runBook struct {
	name   string
	tabs   []*tab
	counts []*count
}

func (r *runBook) open() int {
	n := 0
	for _, t := range r.tabs {
		n += t.open
	}
	return n
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
	if len(r.tabs) == 0 && len(r.counts) == 0 && b.runs[r.name] == r {
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

func (t *tab) live() bool { return t.rows > 0 && !t.gone }

// tab finds the tab of a request, nil if it has none yet.
func (b *books) tab(op *ReserveOp) *tab {
	noted := op.memo.good(op)
	if noted {
		if t := op.memo.tab.Load(); t != nil && t.of == b && t.live() {
			return t
		}
	}
	t := b.tabs.by[b.keyOfTab(op.Scopes)]
	if t == nil || !t.live() || len(t.counts) != len(op.Links) || !slices.Equal(t.scopes, op.Scopes) {
		return nil
	}
	for i, c := range t.counts {
		s, l := &c.shape, &op.Links[i]
		if s.Cap != l.Cap || !s.Start.Equal(l.Window.Start) || !s.Reset.Equal(l.Window.End) || !slices.Equal(s.Scopes, l.Scopes) {
			return nil
		}
	}
	if noted {
		op.memo.tab.Store(t)
	}
	return t
}

// present reports whether now is in every window of the tab.
func (t *tab) present(now int64) bool { return now >= t.start && (t.end == 0 || now < t.end) }

// newTab makes the tab of a request that was checked.
func (b *books) newTab(op *ReserveOp) *tab {
	t := &tab{of: b, key: b.keyOfTab(op.Scopes), counts: make([]*count, 0, len(op.Links)), plain: true, start: -1 << 63, known: -1}
	if old := b.tabs.by[t.key]; old != nil && slices.Equal(old.scopes, op.Scopes) {
		t.scopes = old.scopes
	} else {
		t.scopes = slices.Clone(op.Scopes)
	}
	for i := range op.Links {
		book := b.caps[op.Links[i].Cap]
		c := b.find(&op.Links[i], book)
		c.tabs++
		t.counts = append(t.counts, c)
		t.plain = t.plain && c.rolling == nil && book.slot != customSlot
		if c.rolling != nil {
			t.longest = max(t.longest, book.length+book.width)
		}
		if start := c.shape.Start; !start.IsZero() {
			t.start = max(t.start, start.UnixNano())
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
			r.tabs = append(r.tabs, t)
			t.runs = append(t.runs, r)
		}
	}
	b.tabs.by[t.key] = t
	b.tabs.used++
	if n := len(b.tabs.free); n > 0 {
		t.no, b.tabs.free = b.tabs.free[n-1], b.tabs.free[:n-1]
		b.tabs.all[t.no] = t
	} else {
		t.no = uint32(len(b.tabs.all))
		b.tabs.all = append(b.tabs.all, t)
	}
	if op.memo.good(op) {
		op.memo.tab.Store(t)
	}
	return t
}

// leave takes a reservation that is forgotten off the tab.
func (b *books) leave(t *tab) {
	if t.rows--; t.rows > 0 {
		return
	}
	if b.tabs.by[t.key] == t {
		delete(b.tabs.by, t.key)
	}
	b.tabs.all[t.no] = nil
	b.tabs.free = append(b.tabs.free, t.no)
	b.tabs.used--
	for _, c := range t.counts {
		if c.tabs--; c.tabs == 0 {
			b.unused(c)
		}
	}
	for _, r := range t.runs {
		r.tabs = slices.DeleteFunc(r.tabs, func(x *tab) bool { return x == t })
		b.dropRun(r)
	}
}
