package budget

import (
	"context"
	"slices"
	"sync/atomic"
	"time"
)

// plan is what the scopes of a request come to: in order, each once, with the counts they touch. A run asks with the same
// scopes at every step, so the ledger keeps plans as long as the store does not answer that they are stale.
type plan struct {
	asked   []Scope // as the request names them
	scopes  []Scope
	links   []Link
	version int64
	span    Span // the time in which all windows are present
	memo    memo
}

// plans are the latest plans, each in the place that its scopes give it or in the one beside that, to which it goes when
// another comes. They need no lock and never grow.
type plans [4096]atomic.Pointer[plan]

// placeOf is cheap, and right often enough: what differs between requests is mostly the end of a name.
func placeOf(scopes []Scope) uint64 {
	const prime = 0x9E3779B97F4A7C15
	h := uint64(len(scopes))
	for i := range scopes {
		name := scopes[i].Name
		x := uint64(len(scopes[i].Kind)) << 56
		if n := len(name); n >= 8 {
			e := name[n-8:]
			x ^= uint64(e[0]) | uint64(e[1])<<8 | uint64(e[2])<<16 | uint64(e[3])<<24 | uint64(e[4])<<32 | uint64(e[5])<<40 | uint64(e[6])<<48 | uint64(e[7])<<56
		} else {
			for j := range n {
				x = x<<8 | uint64(name[j])
			}
		}
		h = (h ^ x) * prime
	}
	return h >> 52
}

// sameScopes is quick where they are the same strings in memory, too.
func sameScopes(a, b []Scope) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name || a[i].Kind != b[i].Kind {
			return false
		}
	}
	return true
}

// plan is the one for scopes that were asked for before, nil if there is none that can still be right. A store that
// answers at once is asked with the plan there is, and says whether it is stale; to another that costs a journey.
func (l *Ledger) plan(scopes []Scope) *plan {
	place := placeOf(scopes)
	p := l.plans[place].Load()
	if p == nil || !sameScopes(p.asked, scopes) {
		if p = l.plans[place^1].Load(); p == nil || !sameScopes(p.asked, scopes) {
			return nil
		}
	}
	if !l.traits.Local && (p.version != l.caps.known() || !p.span.Contains(l.now())) {
		return nil
	}
	return p
}

// keepPlan keeps what a request was resolved to, for the next with the same scopes. (Whether a
// label that a cap wants is missed depends on what is asked for; such requests are resolved each time.)
func (l *Ledger) keepPlan(scopes []Scope, now time.Time) {
	k := &lookup{scopes: canonical(nil, scopes)}
	version := l.caps.resolve(k, Amounts{}, now)
	p := &plan{asked: slices.Clone(scopes), scopes: k.scopes, links: k.links, version: version}
	for i := range p.links {
		w := p.links[i].Window
		if w.Start.After(p.span.Start) {
			p.span.Start = w.Start
		}
		if p.span.End.IsZero() || !w.End.IsZero() && w.End.Before(p.span.End) {
			p.span.End = w.End
		}
	}
	p.memo.of(p.scopes, p.links)
	place := placeOf(scopes)
	if old := l.plans[place].Swap(p); old != nil && !slices.Equal(old.asked, scopes) {
		l.plans[place^1].Store(old)
	}
}

// reserveBy asks the store with a plan; false says that the plan is not good any more.
func (l *Ledger) reserveBy(ctx context.Context, p *plan, k *lookup, r *Request, lease time.Duration) (bool, error) {
	op := &k.op
	op.ID, op.Scopes, op.Amounts, op.Lease, op.Idle, op.Swap, op.From = r.ID, p.scopes, r.Amounts, lease, r.Idle, r.Swap, r.From
	op.Version, op.Links, op.DryRun, op.memo = p.version, p.links, false, &p.memo
	if err := l.fail("reserve", l.store.Reserve(ctx, l.account, &k.op, &k.ans)); err != nil {
		return true, err
	}
	return k.ans.Stale == "", nil
}

// memo is a place beside one resolution of scopes into links, where a store in this process remembers what it has made of
// them. It is good for those very slices only: somebody between ledger and store may ask for others.
type memo struct {
	tab     atomic.Pointer[tab]
	scopes  *Scope
	links   *Link
	nScopes int
	nLinks  int
}

func (m *memo) of(scopes []Scope, links []Link) {
	m.scopes, m.nScopes, m.links, m.nLinks = first(scopes), len(scopes), first(links), len(links)
}

// good reports whether the memo is of what op asks for.
func (m *memo) good(op *ReserveOp) bool {
	return m != nil && m.nScopes == len(op.Scopes) && m.nLinks == len(op.Links) && m.scopes == first(op.Scopes) && m.links == first(op.Links)
}

func first[T any](s []T) *T {
	if len(s) == 0 {
		return nil
	}
	return &s[0]
}
