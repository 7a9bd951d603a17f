package grid

import (
	"fmt"
	"time"
)

// ChangeKind says what of an instrument changed.
type ChangeKind string

// What can change.
const (
	ChangeAdded  ChangeKind = "added"  // an instrument that was not known
	ChangeGone   ChangeKind = "gone"   // the market lists it no longer
	ChangeBack   ChangeKind = "back"   // and lists it again
	ChangeStatus ChangeKind = "status" // preview to live, for example
	ChangeLimit  ChangeKind = "limit"
	ChangePrice  ChangeKind = "price"
)

// Change is a difference between what was known of an instrument and what the market
// lists now.
type Change struct {
	Kind       ChangeKind
	Instrument string
	// Field is context, max_input or max_output of a changed limit.
	Field string
	// Was and Now are tokens of a limit, or a live price in nano-USD per Unit.
	Was, Now int64
	// WasStatus and NowStatus are those of a changed status; NowStatus also that of an
	// instrument that was added.
	WasStatus, NowStatus string
}

func (c Change) String() string {
	switch c.Kind {
	case ChangeAdded:
		return fmt.Sprintf("%s is new (%s)", c.Instrument, orUnknown(c.NowStatus))
	case ChangeGone:
		return c.Instrument + " is no longer listed"
	case ChangeBack:
		return c.Instrument + " is listed again"
	case ChangeStatus:
		return fmt.Sprintf("%s went from %s to %s", c.Instrument, orUnknown(c.WasStatus), c.NowStatus)
	case ChangeLimit:
		return fmt.Sprintf("%s: %s went from %d to %d tokens", c.Instrument, c.Field, c.Was, c.Now)
	}
	return fmt.Sprintf("%s: the live price went from %s to %s a Unit", c.Instrument, dollars(c.Was), dollars(c.Now))
}

func orUnknown(s string) string {
	if s == "" {
		return "status unknown"
	}
	return s
}

// dollars writes nano-USD for people: whole cents where that is exact, else all digits.
func dollars(nano int64) string {
	sign := ""
	n := uint64(nano)
	if nano < 0 {
		sign, n = "-", -n
	}
	s := fmt.Sprintf("%09d", n%1e9)
	for len(s) > 2 && s[len(s)-1] == '0' {
		s = s[:len(s)-1]
	}
	return fmt.Sprintf("%s$%d.%s", sign, n/1e9, s)
}

// observeList takes over a whole list and tells what it changed.
func (c *Catalogue) observeList(models []Model, at time.Time) []Change {
	c.change()
	defer c.mu.Unlock()
	var changes []Change
	now := make(map[string]bool, len(models))
	for _, m := range models {
		now[m.ID] = true
		changes = append(changes, c.observe(m, at)...)
	}
	for _, id := range c.order {
		l := c.byID[id]
		switch {
		case now[id] && l.gone:
			changes = append(changes, Change{Kind: ChangeBack, Instrument: id})
		case !now[id] && l.listed:
			changes = append(changes, Change{Kind: ChangeGone, Instrument: id})
		}
		l.gone = !now[id] && (l.listed || l.gone)
		l.listed = now[id]
	}
	c.note(changes)
	return changes
}

// maxNews bounds the changes that a catalogue keeps.
const maxNews = 256

// note keeps changes for those that ask later. The caller holds the lock.
func (c *Catalogue) note(changes []Change) {
	c.brought += uint64(len(changes))
	c.news = append(c.news, changes...)
	if over := len(c.news) - maxNews; over > 0 {
		c.news = append([]Change(nil), c.news[over:]...)
	}
}

// Changes returns what the market's lists have changed since there were seen changes,
// which Market.Changes counts: the last 256 of it at most.
func (c *Catalogue) Changes(seen uint64) []Change {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if seen >= c.brought {
		return nil
	}
	n := min(c.brought-seen, uint64(len(c.news)))
	return append([]Change(nil), c.news[uint64(len(c.news))-n:]...)
}

// observe takes over what the market says of one instrument. The caller holds the lock.
func (c *Catalogue) observe(m Model, at time.Time) (changes []Change) {
	if (Instrument{ID: m.ID}).check() != nil {
		return nil
	}
	l := c.byID[m.ID]
	if l == nil {
		l = &listed{Instrument: newcomer(m)}
		c.order = append(c.order, m.ID)
		c.byID[m.ID] = l
		changes = append(changes, Change{Kind: ChangeAdded, Instrument: m.ID, NowStatus: m.Status})
	} else if m.Status != "" && m.Status != l.Status {
		changes = append(changes, Change{Kind: ChangeStatus, Instrument: m.ID, WasStatus: l.Status, NowStatus: m.Status})
		l.Status = m.Status
	}
	for _, n := range []struct {
		field string
		to    *int64
		v     int64
		bound int64
	}{
		{"context", &l.Context, m.Context, l.bound.context}, {"max_input", &l.MaxInput, m.MaxInput, l.bound.maxInput},
		{"max_output", &l.MaxOutput, m.MaxOutput, l.bound.maxOutput},
	} {
		if n.bound > 0 {
			n.v = min(n.v, n.bound)
		}
		if n.v <= 0 || n.v == *n.to {
			continue
		}
		changes = append(changes, Change{Kind: ChangeLimit, Instrument: m.ID, Field: n.field, Was: *n.to, Now: n.v})
		*n.to = n.v
	}
	if m.PriceNanoUSDPerUnit > 0 {
		if l.liveOK && l.live.nanoUSD != m.PriceNanoUSDPerUnit {
			changes = append(changes, Change{Kind: ChangePrice, Instrument: m.ID, Was: l.live.nanoUSD, Now: m.PriceNanoUSDPerUnit})
		}
		l.live, l.liveOK = seenPrice{m.PriceNanoUSDPerUnit, at}, true
	}
	return changes
}
