package budget

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// chain is what the ledger knows of the account's caps: which counts does a request touch?
type chain struct {
	mu      sync.RWMutex
	version int64
	byKey   map[string]*capEntry
	each    []*capEntry           // caps without an anchor: any request may touch them
	ones    map[Scope][]*capEntry // caps by the scope that a request must name
	meters  map[Meter]int         // how many caps count each
}

type capEntry struct {
	record CapRecord
	family string // kinds, meter and window: among caps of one family the more particular replaces the other
	ones   uint8  // which conditions name one scope
	span   atomic.Pointer[Span]
}

func newChain() *chain {
	return &chain{byKey: map[string]*capEntry{}, ones: map[Scope][]*capEntry{}, meters: map[Meter]int{}}
}

func newEntry(r CapRecord) *capEntry {
	e := &capEntry{record: r}
	var kinds strings.Builder
	for i, c := range r.For.conditions {
		kinds.WriteString(c.scope.Kind + " ")
		if !c.each {
			e.ones |= 1 << i
		}
	}
	e.family = kinds.String() + string(r.Meter) + " " + r.Per.String()
	return e
}

// apply takes over what the store answered. Answers may arrive in any order.
func (c *chain) apply(set CapSet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if set.Version < c.version {
		return
	}
	c.version = set.Version
	if set.Full {
		c.byKey, c.each, c.ones = make(map[string]*capEntry, len(set.Caps)), nil, map[Scope][]*capEntry{}
		clear(c.meters)
	}
	for _, r := range set.Caps {
		c.drop(r.Key)
		if !r.Removed {
			c.insert(r)
		}
	}
}

func (c *chain) insert(r CapRecord) {
	e := newEntry(r)
	c.byKey[r.Key] = e
	c.meters[r.Meter]++
	if anchor, ok := r.For.Anchor(); ok {
		c.ones[anchor] = append(c.ones[anchor], e)
	} else {
		c.each = append(c.each, e)
	}
}

func (c *chain) drop(key string) {
	e, ok := c.byKey[key]
	if !ok {
		return
	}
	delete(c.byKey, key)
	c.meters[e.record.Meter]--
	anchor, ok := e.record.For.Anchor()
	if !ok {
		c.each = slices.DeleteFunc(c.each, func(x *capEntry) bool { return x == e })
		return
	}
	rest := slices.DeleteFunc(c.ones[anchor], func(x *capEntry) bool { return x == e })
	if len(rest) == 0 {
		delete(c.ones, anchor)
	} else {
		c.ones[anchor] = rest
	}
}

// records are all caps in force, by ID.
func (c *chain) records() []CapRecord {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]CapRecord, 0, len(c.byKey))
	for _, e := range c.byKey {
		out = append(out, e.record)
	}
	slices.SortFunc(out, func(a, b CapRecord) int { return strings.Compare(a.Key, b.Key) })
	return out
}

func (c *chain) counts(m Meter) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.meters[m] > 0
}

func (c *chain) known() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.version
}

// lookup is the memory of one request, reused.
type lookup struct {
	scopes  []Scope
	matches []match
	links   []Link
	unnamed []Violation
	// unlabelled says that a cap wants a label which the request lacks, whether it is asked for anything or not.
	unlabelled bool

	op   ReserveOp
	ans  Answer
	left []CapState // for answers that nobody reads
}

// match is a cap that applies, for the scopes it counts.
type match struct {
	entry  *capEntry
	scopes []Scope
}

func (k *lookup) reset() {
	clear(k.scopes)
	clear(k.matches)
	clear(k.links)
	clear(k.unnamed)
	k.scopes, k.matches, k.links, k.unnamed = k.scopes[:0], k.matches[:0], k.links[:0], k.unnamed[:0]
	k.op, k.unlabelled = ReserveOp{}, false
	k.ans.Reset()
}

// resolve finds the counts that k.scopes touch at now, in k.links, and the caps that want a label the request does not
// have, in k.unnamed. It returns the version it went by.
func (c *chain) resolve(k *lookup, amounts Amounts, now time.Time) int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	clear(k.matches)
	clear(k.links)
	k.matches, k.links, k.unnamed = k.matches[:0], k.links[:0], k.unnamed[:0]
	for _, e := range c.each {
		k.match(e, amounts)
	}
	for _, s := range k.scopes {
		for _, e := range c.ones[s] {
			k.match(e, amounts)
		}
	}
	for i := range k.matches {
		if m := &k.matches[i]; !k.replaced(m) {
			k.links = append(k.links, Link{Cap: m.entry.record.Key, Scopes: m.scopes, Window: m.entry.at(now)})
		}
	}
	return c.version
}

// match adds the cap once for every combination of the request's scopes that it counts.
func (k *lookup) match(e *capEntry, amounts Amounts) {
	conditions := e.record.For.conditions
	var missing Scope
	for _, cond := range conditions {
		switch {
		case !cond.each && !slices.Contains(k.scopes, cond.scope):
			return
		case cond.each && !slices.ContainsFunc(k.scopes, func(s Scope) bool { return s.Kind == cond.scope.Kind }):
			if !labels(cond.scope.Kind) {
				return
			}
			missing = cond.scope
		}
	}
	if missing.Kind != "" {
		k.unlabelled = true
		if asked := amounts.Get(e.record.Meter); asked > 0 && e.record.Limit != None {
			k.unnamed = append(k.unnamed, Violation{Cap: e.record.Key, Scope: missing, Meter: e.record.Meter,
				Window: e.record.Per.String(), Kind: KindNoLabel, Limit: e.record.Limit, Requested: asked})
		}
		return
	}
	if len(conditions) == 1 {
		for i := range k.scopes {
			if conditions[0].matches(k.scopes[i]) {
				k.matches = append(k.matches, match{e, k.scopes[i : i+1 : i+1]})
			}
		}
		return
	}
	k.combine(e, conditions, nil)
}

func (k *lookup) combine(e *capEntry, conditions []condition, chosen []Scope) {
	if len(conditions) == 0 {
		k.matches = append(k.matches, match{e, slices.Clone(chosen)})
		return
	}
	for _, s := range k.scopes {
		if conditions[0].matches(s) {
			k.combine(e, conditions[1:], append(chosen, s))
		}
	}
}

func (c condition) matches(s Scope) bool {
	if c.each {
		return s.Kind == c.scope.Kind
	}
	return s == c.scope
}

// replaced reports whether a more particular cap of the family counts the same scopes.
func (k *lookup) replaced(m *match) bool {
	for i := range k.matches {
		o := &k.matches[i]
		if o.entry != m.entry && m.entry.ones&^o.entry.ones == 0 && m.entry.ones != o.entry.ones &&
			o.entry.family == m.entry.family && slices.Equal(o.scopes, m.scopes) {
			return true
		}
	}
	return false
}

// at is the turn of the cap's window at now. Zone rules are slow, so the last answer is kept.
func (e *capEntry) at(now time.Time) Span {
	if s := e.span.Load(); s != nil && s.Contains(now) {
		return *s
	}
	s := e.record.Per.At(now)
	e.span.Store(&s)
	return s
}
