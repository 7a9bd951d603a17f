package budgettest

import (
	"maps"
	"slices"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// The model is the ledger as one would write it without caring for speed, crashes or concurrency: it keeps every
// reservation for ever and sums them up whenever somebody asks.
type model struct {
	limits  map[string]int64
	peaks   map[string]int64 // the highest limit a cap ever had
	windows map[string]budget.Window
	res     map[string]*modelRes
	ids     []string
	now     func() time.Time
}

type modelCount struct {
	cap, scope string
	start      time.Time
}

type modelRes struct {
	bound, actual budget.Amounts
	drawn         budget.Amounts // from it, as long as it is open
	from          *modelRes      // the allowance it was taken from
	taken         budget.Amounts // of that, as long as it is open
	state         budget.State
	idle, said    bool
	usage         budget.Amounts
	heard         map[string]budget.Amounts
	admitted      time.Time
	expires       time.Time
	scopes        [3]string
	counts        []modelCount
	over          map[modelCount]int64
}

// The caps of the random histories, chosen so that caps replace, join and overlap.
type modelCaps struct{ each, one, account, run, pair, rolling budget.Cap }

func newModelCaps(virtual bool) modelCaps {
	window, rolling := budget.Lifetime(), lookBack
	if virtual {
		window, rolling = budget.Fixed(10*time.Minute, noTime), 12*time.Minute
	}
	return modelCaps{
		each:    moneyCap(budget.Each("tenant"), 1000),
		one:     moneyCap(budget.One("tenant", "t0"), 300),
		account: budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: 1500, Per: window},
		run:     budget.Cap{For: budget.Each("run"), Meter: budget.MeterTokens, Limit: 500, Per: budget.Lifetime()},
		pair:    moneyCap(budget.Each("tenant").And(budget.One("instrument", "max")), 400),
		rolling: budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 600, Per: budget.Rolling(rolling)},
	}
}

func (c modelCaps) list() []budget.Cap {
	return []budget.Cap{c.each, c.one, c.account, c.run, c.pair, c.rolling}
}

// counts are what a request touches, by hand.
func (c modelCaps) counts(tenant, run, instrument string, now time.Time) []modelCount {
	count := func(cap budget.Cap, scope string) modelCount {
		return modelCount{cap.ID(), scope, cap.Per.At(now).Start}
	}
	out := []modelCount{count(c.account, ""), count(c.run, run), count(c.rolling, tenant)}
	if tenant == "t0" {
		out = append(out, count(c.one, tenant))
	} else {
		out = append(out, count(c.each, tenant))
	}
	if instrument == "max" {
		out = append(out, count(c.pair, tenant))
	}
	return out
}

func (c modelCaps) meter(cap string) budget.Meter {
	if cap == c.run.ID() {
		return budget.MeterTokens
	}
	return budget.MeterMoney
}

// leaves is when a reservation's spending stops counting in a rolling window; zero is never.
func (m *model) leaves(c modelCount, r *modelRes) time.Time {
	length, width := m.windows[c.cap].Rolls()
	if length == 0 {
		return time.Time{}
	}
	n := r.admitted.UnixNano()
	return time.Unix(0, n-n%int64(width)).Add(width + length)
}

func (m *model) left(c modelCount, r *modelRes) bool {
	at := m.leaves(c, r)
	return !at.IsZero() && !m.now().Before(at)
}

// fits is when, and not before, a rolling count has room for what it refuses as spent, by trying every instant.
func (m *model) fits(c modelCount, meter budget.Meter, asked, held int64) time.Time {
	limit := m.limits[c.cap]
	if held+asked > limit {
		held = 0
	}
	best := time.Time{}
	for _, at := range m.leaving(c, meter) {
		rest := int64(0)
		for _, r := range m.res {
			if r.state != budget.StateOpen && slices.Contains(r.counts, c) && m.leaves(c, r).After(at) {
				rest += r.actual.Get(meter)
			}
		}
		if rest+held+asked <= limit && (best.IsZero() || at.Before(best)) {
			best = at
		}
	}
	return best
}

// leaving is when the spending of a rolling count leaves.
func (m *model) leaving(c modelCount, meter budget.Meter) []time.Time {
	var out []time.Time
	for _, r := range m.res {
		if r.state != budget.StateOpen && slices.Contains(r.counts, c) && r.actual.Get(meter) > 0 && !m.left(c, r) {
			out = append(out, m.leaves(c, r))
		}
	}
	slices.SortFunc(out, time.Time.Compare)
	return out
}

func (m *model) sum(c modelCount, meter budget.Meter) sums {
	var s sums
	for _, r := range m.res {
		if !slices.Contains(r.counts, c) {
			continue
		}
		switch {
		case r.state == budget.StateOpen:
			s.held += r.bound.Get(meter) - r.drawn.Get(meter)
		case !m.left(c, r):
			s.overrun += r.over[c]
			s.settled += r.actual.Get(meter)
			if r.state.Unconfirmed() {
				s.unconfirmed += r.actual.Get(meter)
			}
		}
	}
	return s
}

// move is the one rule about overrun: what no admission covers.
func (m *model) move(caps modelCaps, r *modelRes, state budget.State, actual budget.Amounts) {
	type before struct{ total, excess int64 }
	was := map[modelCount]before{}
	for _, c := range r.counts {
		meter := caps.meter(c.cap)
		s := m.sum(c, meter)
		was[c] = before{s.settled + s.held, max(r.actual.Get(meter)-r.bound.Get(meter), 0)}
	}
	if r.state == budget.StateOpen {
		used := actual
		if r.idle {
			used = r.drawn
		}
		m.back(r, used)
	}
	r.state, r.actual = state, actual
	for _, c := range r.counts {
		if m.left(c, r) {
			continue
		}
		meter := caps.meter(c.cap)
		s := m.sum(c, meter)
		change := s.settled + s.held - was[c].total
		delta := -min(-change, r.over[c])
		if change > 0 {
			excess := max(actual.Get(meter)-r.bound.Get(meter), 0) - was[c].excess
			unfit := max(s.settled+s.held-m.limits[c.cap]-s.overrun, 0)
			delta = min(change, max(excess, unfit))
		}
		r.over[c] += delta
	}
}

// each calls f with the amounts of the meters that the random histories have, and makes amounts of the answers.
func each(f func(meter budget.Meter) int64) budget.Amounts {
	return budget.Amounts{NanoUSD: f(budget.MeterMoney), Tokens: f(budget.MeterTokens)}
}

// back is what returns to the allowance when r ends with used.
func (m *model) back(r *modelRes, used budget.Amounts) {
	if a := r.from; a != nil && a.state == budget.StateOpen && m.now().Before(a.expires) {
		a.drawn = each(func(meter budget.Meter) int64 {
			return a.drawn.Get(meter) - min(r.taken.Get(meter), max(r.bound.Get(meter)-used.Get(meter), 0))
		})
	}
	r.taken = budget.Amounts{}
}

// mark remembers reservations that are about to change, and what they were taken from; the func that it answers sets them
// back.
func (m *model) mark(rs ...*modelRes) func() {
	was := map[*modelRes]modelRes{}
	for _, r := range rs {
		for ; r != nil; r = r.from {
			old := *r
			old.over = maps.Clone(r.over)
			was[r] = old
		}
	}
	return func() {
		for r, old := range was {
			*r = old
		}
	}
}

// draw takes what a request that touches counts can have from the allowance.
func (m *model) draw(caps modelCaps, a *modelRes, asked budget.Amounts, counts []modelCount) budget.Amounts {
	if a == nil || a.state != budget.StateOpen || !m.now().Before(a.expires) {
		return budget.Amounts{}
	}
	d := each(func(meter budget.Meter) int64 {
		for _, c := range a.counts {
			if caps.meter(c.cap) == meter && !slices.Contains(counts, c) {
				return 0
			}
		}
		return min(asked.Get(meter), a.bound.Get(meter)-a.drawn.Get(meter))
	})
	a.drawn = a.drawn.Add(d)
	return d
}
