package agent

import (
	"math"
	"slices"
	"time"

	"github.com/gridloop/gridloop/grid"
)

const (
	// The ledger's clock and the market's differ a little, and a request is admitted a
	// moment before it arrives: this close to an edge it may be counted on either side.
	clockSlack = 5 * time.Second
	// mostNear bounds the work at one edge.
	mostNear = 64
)

// auditBin is a time in which ledger and market are compared. The first and the last
// lie outside of what was asked for, to hold what belongs there.
type auditBin struct {
	start, end time.Time
	margin     bool
	sums       map[string]*AuditSums // by instrument
}

func (b *auditBin) of(instrument string) *AuditSums {
	s := b.sums[instrument]
	if s == nil {
		s = new(AuditSums)
		b.sums[instrument] = s
	}
	return s
}

// auditBooks are the bins, and what is near the edges between them.
type auditBooks struct {
	bins []*auditBin
	near map[string][]auditEdge // by instrument: edge i is between bins i and i+1
}

// auditEdge holds the receipts close to an edge, nearest first.
type auditEdge struct{ before, behind []nearReceipt }

type nearReceipt struct {
	away  time.Duration
	count AuditCount
}

func (k *auditBooks) enter(r *grid.Receipt) {
	i := slices.IndexFunc(k.bins, func(b *auditBin) bool { return r.CreatedAt.Before(b.end) })
	b, instrument := k.bins[i], r.RequestedModel
	s := b.of(instrument)
	n := AuditCount{Requests: 1, Tokens: r.TotalTokens}
	if r.CostNanoUSD != nil && r.CostStatus != "pending" {
		n.NanoUSD = *r.CostNanoUSD
	} else {
		s.Pending++
	}
	s.Market.plus(n, 1)
	if k.near == nil {
		k.near = make(map[string][]auditEdge)
	}
	if k.near[instrument] == nil {
		k.near[instrument] = make([]auditEdge, len(k.bins)-1)
	}
	edges := k.near[instrument]
	if away := r.CreatedAt.Sub(b.start); i > 0 && away <= clockSlack {
		edges[i-1].behind = append(edges[i-1].behind, nearReceipt{away, n})
	} else if away := b.end.Sub(r.CreatedAt); i < len(edges) && away <= clockSlack {
		edges[i].before = append(edges[i].before, nearReceipt{away, n})
	}
}

// settle puts receipts that are near an edge on the side where the counts of both
// sides fit best over all bins, moving as few as that needs. Sums over all do not
// change by it.
func (k *auditBooks) settle() {
	for instrument, edges := range k.near {
		for i, moved := range k.moves(instrument, edges) {
			from, to, which := k.bins[i].of(instrument), k.bins[i+1].of(instrument), edges[i].before
			if moved < 0 {
				from, to, which, moved = to, from, edges[i].behind, -moved
			}
			slices.SortFunc(which, func(a, b nearReceipt) int { return int(a.away - b.away) })
			for _, r := range which[:moved] {
				from.Market.plus(r.count, -1)
				to.Market.plus(r.count, 1)
			}
		}
	}
}

// moves is how many receipts cross each edge: forward if positive. Going from edge to
// edge it keeps, for every number that may cross one, the cheapest way to get there.
func (k *auditBooks) moves(instrument string, edges []auditEdge) []int {
	const weight = 1 << 20 // a request that does not fit costs more than any number of moves
	type way struct{ cost, came int }
	surplus := func(i int) int {
		s := k.bins[i].of(instrument)
		return int(s.Market.Requests - s.Ledger.Requests)
	}
	ways := make([][]way, len(edges)+1)
	low := make([]int, len(edges)+1) // the least number at each edge; nothing crosses the last
	last, lastLow := []way{{}}, 0
	for i := range ways {
		high := 0
		if i < len(edges) {
			low[i], high = -min(len(edges[i].behind), mostNear), min(len(edges[i].before), mostNear)
		}
		ways[i] = make([]way, high-low[i]+1)
		d := surplus(i)
		for n := range ways[i] {
			out := low[i] + n
			best := way{cost: math.MaxInt}
			for c, w := range last {
				misfit := d + lastLow + c - out
				if cost := w.cost + weight*max(misfit, -misfit) + max(out, -out); cost < best.cost {
					best = way{cost, c}
				}
			}
			ways[i][n] = best
		}
		last, lastLow = ways[i], low[i]
	}
	out := make([]int, len(edges))
	at := 0
	for i := len(edges); i > 0; i-- {
		at = ways[i][at].came
		out[i-1] = low[i-1] + at
	}
	return out
}
