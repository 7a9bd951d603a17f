package grid

import (
	"math"
	"time"
)

// Market is a catalogue as it stood at one moment: it never changes, and is made anew
// only when the catalogue or a price in it has changed, so that whoever keeps what it
// made of a Market can tell by the pointer whether that still holds.
type Market struct {
	// Offers are all instruments in the order they came in. They are shared: read them
	// only.
	Offers []Offer
	// Changes counts what the market's lists have changed so far: see Catalogue.Changes.
	Changes uint64

	byID  map[string]int
	until time.Time // when the first lot is forgotten; zero for never
}

// Offer is an instrument with the price to reckon with.
type Offer struct {
	Instrument
	Price Price
	// OverMax says that the last lot seen in the last 24 hours, or the live price, is
	// above the operator's ceiling: Price bounds nothing then.
	OverMax bool
}

// Find returns the offer of that name.
func (m *Market) Find(id string) (Offer, bool) {
	if i, ok := m.byID[id]; ok {
		return m.Offers[i], true
	}
	return Offer{Price: Price{Source: PriceNone}}, false
}

// Market returns the catalogue as it stands.
func (c *Catalogue) Market() *Market {
	if m := c.market.Load(); m != nil && (m.until.IsZero() || time.Now().Before(m.until)) {
		return m
	}
	// Who changes something takes the last Market away under the write lock, so that
	// none from before can come after.
	c.mu.RLock()
	defer c.mu.RUnlock()
	m := &Market{Changes: c.brought, Offers: make([]Offer, 0, len(c.order)), byID: make(map[string]int, len(c.order))}
	now := time.Now()
	for _, id := range c.order {
		l := c.byID[id]
		price, until := l.price(now)
		if !until.IsZero() && (m.until.IsZero() || until.Before(m.until)) {
			m.until = until
		}
		m.byID[id] = len(m.Offers)
		over, until := l.overMax(now)
		if !until.IsZero() && (m.until.IsZero() || until.Before(m.until)) {
			m.until = until
		}
		m.Offers = append(m.Offers, Offer{l.Instrument, price, over})
	}
	c.market.Store(m)
	return m
}

// change takes the lock for a change. The caller gives it back.
func (c *Catalogue) change() {
	c.mu.Lock()
	c.market.Store(nil)
}

// Price returns the price to reckon with: the operator's ceiling, else the dearest lot
// seen in the last 24 hours, else the live price and a quarter, else none.
func (c *Catalogue) Price(id string) Price {
	offer, _ := c.Market().Find(id)
	return offer.Price
}

// overMax tells whether the market was seen to be dearer than the operator's ceiling,
// and until when that holds if nothing is observed.
func (l *listed) overMax(now time.Time) (over bool, until time.Time) {
	if l.MaxPriceNanoUSD == 0 {
		return false, until
	}
	last := seenPrice{}
	for _, lot := range l.lots {
		if now.Sub(lot.at) < lotMemory && !lot.at.Before(last.at) {
			last = lot
		}
	}
	switch {
	case l.liveOK && l.live.nanoUSD > l.MaxPriceNanoUSD:
		return true, until
	case last.nanoUSD > l.MaxPriceNanoUSD:
		return true, last.at.Add(lotMemory)
	}
	return false, until
}

// price is the price at a moment, and until when it holds if nothing is observed; zero
// for ever.
func (l *listed) price(now time.Time) (_ Price, until time.Time) {
	if l.MaxPriceNanoUSD > 0 {
		return Price{NanoUSDPerUnit: l.MaxPriceNanoUSD, Source: PriceMax}, until
	}
	best := Price{Source: PriceReceipt}
	for _, lot := range l.lots {
		if now.Sub(lot.at) < lotMemory && lot.nanoUSD > best.NanoUSDPerUnit {
			best.NanoUSDPerUnit, best.At = lot.nanoUSD, lot.at
		}
	}
	if best.NanoUSDPerUnit > 0 {
		return best, best.At.Add(lotMemory)
	}
	if l.liveOK {
		quarter := l.live.nanoUSD/4 + min(l.live.nanoUSD%4, 1)
		price := l.live.nanoUSD + quarter
		if price < 0 {
			price = math.MaxInt64
		}
		return Price{NanoUSDPerUnit: price, Source: PriceLive, At: l.live.at}, until
	}
	return Price{Source: PriceNone}, until
}
