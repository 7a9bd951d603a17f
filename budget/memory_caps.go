package budget

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// capBook is a cap in force, with what Reserve needs of it at hand.
type capBook struct {
	record CapRecord
	limit  int64
	slot   slot // of its meter
	window string
	marks  []mark
	length int64 // of a rolling window, else 0
	width  int64 // of its buckets
}

// mark is a soft threshold.
type mark struct {
	percent int
	at      int64
}

// anchorBook are the caps that a scope's requests must know of, and since which version.
type anchorBook struct {
	version int64
	caps    []string
}

type capChange struct {
	version int64
	key     string
}

const (
	maxRecent  = 1024
	maxChanges = 1000
)

func (c *capBook) set(r CapRecord) {
	r.Soft = slices.Clone(r.Soft)
	c.record, c.limit, c.slot, c.window = r, r.Limit, slotOf(r.Meter), r.Per.String()
	length, width := r.Per.Rolls()
	c.length, c.width = int64(length), int64(width)
	c.marks = c.marks[:0]
	if r.Limit == None {
		return
	}
	for _, p := range r.Thresholds() {
		whole, rest := r.Limit/100, r.Limit%100
		c.marks = append(c.marks, mark{p, whole*int64(p) + (rest*int64(p)+99)/100})
	}
}

// Define implements [Store].
func (m *Memory) Define(_ context.Context, account, by string, caps []Cap) (int64, error) {
	b := m.open(account)
	defer b.mu.Unlock()
	now := b.now(m)
	for _, c := range caps {
		if anchor, ok := c.For.Anchor(); ok && anchor.Kind == ScopeRun && b.isClosed(anchor, now) {
			return b.version, closedRun(anchor)
		}
	}
	for _, c := range caps {
		b.define(by, c, now)
	}
	return b.version, nil
}

func (b *books) define(by string, c Cap, now int64) {
	key := c.ID()
	book := b.caps[key]
	if book != nil && book.record.Cap.same(c) {
		return
	}
	b.touch(key)
	change := Change{Version: b.version, At: at(now), By: by, What: "define", Cap: key, New: c.Limit}
	anchor, anchored := c.For.Anchor()
	private := anchored && anchor.Kind == ScopeRun
	if book == nil {
		book = &capBook{}
		b.caps[key] = book
		if anchored {
			if b.ones[anchor] == nil {
				b.ones[anchor] = &anchorBook{}
			}
			b.ones[anchor].caps = append(b.ones[anchor].caps, key)
		}
	} else {
		change.Old, private = book.limit, false
	}
	if anchored {
		b.ones[anchor].version = b.version
	} else {
		b.shared = b.version
	}
	book.set(CapRecord{Cap: c, Version: b.version, By: by, At: at(now), Key: key})
	if change.Old != 0 {
		b.relimit(book)
	}
	if !private { // every run may bring its own caps; only what somebody changed is worth keeping
		b.note(change)
	}
}

// relimit tells the counts of a cap that it was changed, also those that only reservations still know.
func (b *books) relimit(book *capBook) {
	set := func(c *count) {
		if c.book == book {
			c.limit, c.mark = book.limit, 0 // what is crossed next may stand elsewhere
		}
	}
	for _, c := range b.counts {
		set(c)
	}
	for _, t := range b.tabs.all {
		if t != nil {
			for _, c := range t.counts {
				set(c)
			}
		}
	}
}

// touch gives the account a new version because of one cap.
func (b *books) touch(key string) {
	b.version++
	b.recent = append(b.recent, capChange{b.version, key})
	if len(b.recent) > 2*maxRecent {
		b.recent = slices.Delete(b.recent, 0, len(b.recent)-maxRecent)
		b.floor = b.recent[0].version - 1
	}
}

func (b *books) note(c Change) {
	b.changes = append(b.changes, c)
	if len(b.changes) > 2*maxChanges {
		b.changes = slices.Delete(b.changes, 0, len(b.changes)-maxChanges)
	}
}

// Caps implements [Store].
func (m *Memory) Caps(_ context.Context, account string, since int64) (CapSet, error) {
	b := m.open(account)
	defer b.mu.Unlock()
	set := CapSet{Version: b.version}
	if since <= 0 || since < b.floor || since > b.version {
		set.Full = true
		for _, c := range b.caps {
			set.Caps = append(set.Caps, c.record)
		}
		slices.SortFunc(set.Caps, func(x, y CapRecord) int { return strings.Compare(x.Key, y.Key) })
		return set, nil
	}
	from, _ := slices.BinarySearchFunc(b.recent, since+1, func(c capChange, v int64) int { return int(c.version - v) })
	for _, c := range b.recent[from:] {
		if book := b.caps[c.key]; book != nil {
			if book.record.Version == c.version { // later changes of the same cap are listed once
				set.Caps = append(set.Caps, book.record)
			}
		} else {
			set.Caps = append(set.Caps, CapRecord{Key: c.key, Version: c.version, Removed: true})
		}
	}
	return set, nil
}

// Changes implements [Store].
func (m *Memory) Changes(_ context.Context, account string) ([]Change, error) {
	b := m.open(account)
	defer b.mu.Unlock()
	return slices.Clone(b.changes), nil
}

// Freeze implements [Store].
func (m *Memory) Freeze(_ context.Context, account string, f Freeze) error {
	b := m.open(account)
	defer b.mu.Unlock()
	f.At = at(b.now(m))
	b.freezes[f.Scope] = f
	b.note(Change{Version: b.version, At: f.At, By: f.By, What: "freeze", Scope: f.Scope, Reason: f.Reason, Until: f.Until})
	return nil
}

// Unfreeze implements [Store].
func (m *Memory) Unfreeze(_ context.Context, account string, scope Scope, by string) error {
	b := m.open(account)
	defer b.mu.Unlock()
	now := at(b.now(m))
	if _, ok := b.freezes[scope]; ok {
		delete(b.freezes, scope)
		b.note(Change{Version: b.version, At: now, By: by, What: "unfreeze", Scope: scope})
	}
	return nil
}

// Freezes implements [Store].
func (m *Memory) Freezes(_ context.Context, account string) ([]Freeze, error) {
	b := m.open(account)
	defer b.mu.Unlock()
	now := at(b.now(m))
	var out []Freeze
	for s, f := range b.freezes {
		if f.over(now) {
			delete(b.freezes, s)
			continue
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(x, y Freeze) int { return compareScopes(x.Scope, y.Scope) })
	return out, nil
}

func (f Freeze) over(now time.Time) bool { return !f.Until.IsZero() && !now.Before(f.Until) }

// Forget implements [Store].
func (m *Memory) Forget(_ context.Context, account string, run Scope) error {
	b := m.open(account)
	defer b.mu.Unlock()
	now := b.now(m)
	if b.isClosed(run, now) {
		return nil
	}
	if r := b.runs[run.Name]; r != nil {
		if n := r.open(); n > 0 {
			return fmt.Errorf("budget: forget %s: %d of its reservations: %w", run, n, ErrStillOpen)
		}
		for _, t := range r.tabs {
			t.gone = true
		}
		delete(b.runs, run.Name)
		for _, c := range r.counts {
			b.dropCount(c)
		}
	}
	if own := b.ones[run]; own != nil {
		for _, key := range own.caps {
			delete(b.caps, key)
			b.touch(key)
		}
		delete(b.ones, run)
	}
	delete(b.freezes, run)
	until := now + int64(dedup)
	b.closed[run] = until
	b.closing.push(closing{run, until})
	for b.closing.len() > b.keep || b.closing.len() > 0 && b.closing.first().until <= now {
		if c := b.closing.first(); b.closed[c.run] == c.until { // else it was forgotten again since
			delete(b.closed, c.run)
		}
		b.closing.pop()
	}
	return nil
}

func (b *books) isClosed(run Scope, now int64) bool {
	until, ok := b.closed[run]
	return ok && now < until
}

func closedRun(run Scope) error {
	return fmt.Errorf("%w: %s was forgotten: begin another run", ErrClosed, run)
}
