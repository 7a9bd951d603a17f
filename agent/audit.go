package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/tracing"
)

// AuditQuery says what [Agent.Audit] compares. Its zero value is the last 24 hours of
// the agent's own key.
type AuditQuery struct {
	// From and To bound when requests were made, To excluded. Zero: 24 hours before To,
	// and now. A ledger forgets what ended long ago: audit at least once a day.
	From, To time.Time
	// Keys are the market's ids of the API keys that spend through this ledger, and
	// through nothing else. Empty: the key of this agent, known from its receipts or
	// from being the only one that the market lists.
	Keys []string
	// Lag is how late the market may list a request. Hours that ended less than that
	// ago are shown as Open and are in no sum. Zero: 15 minutes. Negative: none.
	Lag time.Duration
}

// AuditReport is the ledger beside what the market has on record.
//
// The market's list does not say which reservation a request was, so sums are compared,
// hour by hour (of UTC) and instrument by instrument: a request that is only here and one
// that is only there cancel out within one of those, unless their tokens tell.
type AuditReport struct {
	From  time.Time   `json:"from"`
	To    time.Time   `json:"to"`
	Keys  []string    `json:"keys"`
	Total AuditSums   `json:"total"` // of the hours that are closed
	Hours []AuditHour `json:"hours"` // oldest first, by instrument; those with nothing in them are left out
	// Others counts the requests of keys that are not compared.
	Others int64 `json:"others"`
}

// OK reports whether nothing was billed that the ledger does not know.
func (r *AuditReport) OK() bool { return r.Total.Unexplained == (AuditGap{}) }

// AuditHour is one hour of one instrument.
type AuditHour struct {
	Start      time.Time `json:"start"`
	End        time.Time `json:"end"`
	Instrument string    `json:"instrument"`
	Open       bool      `json:"open"` // too young: the market may list more of it
	AuditSums
}

// AuditSums are the two sides and what separates them.
type AuditSums struct {
	// Ledger is what was settled or charged, UnconfirmedTokens the part of its tokens
	// that is a bound. Market is what is on record and not cancelled; Pending of those
	// have no price yet.
	Ledger            AuditCount `json:"ledger"`
	Market            AuditCount `json:"market"`
	UnconfirmedTokens int64      `json:"unconfirmed_tokens"`
	Pending           int64      `json:"pending"`
	// Unexplained was billed and is not ours: somebody else uses the key. Missing is
	// ours and was not billed: it was charged for safety, or its receipt is lost. Both
	// are lower bounds.
	Unexplained AuditGap `json:"unexplained"`
	Missing     AuditGap `json:"missing"`
	// EstimateErrorNanoUSD is what the ledger counts above what the market billed for
	// the same requests; what is unexplained is left out at the average price.
	EstimateErrorNanoUSD int64 `json:"estimate_error_nano_usd"`
}

// AuditCount is one side of a comparison.
type AuditCount struct {
	Requests int64 `json:"requests"`
	Tokens   int64 `json:"tokens"`
	NanoUSD  int64 `json:"nano_usd"`
}

// AuditGap is what one side has and the other does not.
type AuditGap struct {
	Requests int64 `json:"requests"`
	Tokens   int64 `json:"tokens"`
}

const (
	defaultLag = 15 * time.Minute
	maxAudit   = 31 * 24 * time.Hour
)

// Audit compares the ledger with the market's record of the same time, and tells the
// trace: what was billed and is not ours, what is ours and was not billed, and how far
// the estimates are off. It asks the ledger three times for each hour, and the market
// for its list.
func (a *Agent) Audit(ctx context.Context, q AuditQuery) (*AuditReport, error) {
	now := time.Now()
	q, err := q.filled(now)
	if err != nil {
		return nil, err
	}
	books, err := a.auditBooks(ctx, q, now)
	if err != nil {
		return nil, err
	}
	rep, err := a.auditMarket(ctx, q, books)
	if err != nil {
		return nil, err
	}
	books.settle()
	for _, b := range books.bins {
		if b.margin {
			continue
		}
		for _, instrument := range sortedKeys(b.sums) {
			s := b.sums[instrument]
			if *s == (AuditSums{}) {
				continue
			}
			s.compare()
			rep.Hours = append(rep.Hours, AuditHour{Start: b.start, End: b.end, Instrument: instrument, Open: b.end.Add(q.Lag).After(now), AuditSums: *s})
			if h := &rep.Hours[len(rep.Hours)-1]; !h.Open {
				rep.Total.add(&h.AuditSums)
			}
		}
	}
	t := &rep.Total
	a.tracing.Audited(ctx, tracing.Audit{
		From: rep.From, To: rep.To, Requests: t.Market.Requests, NanoUSD: t.Market.NanoUSD,
		UnexplainedRequests: t.Unexplained.Requests, UnexplainedTokens: t.Unexplained.Tokens,
		MissingRequests: t.Missing.Requests, MissingTokens: t.Missing.Tokens, EstimateErrorNanoUSD: t.EstimateErrorNanoUSD,
	})
	return rep, nil
}

// auditMistake is a query that makes no sense. It is [budget.ErrInvalid], as other mistakes
// of whoever asks are.
type auditMistake string

func (e auditMistake) Error() string        { return string(e) }
func (e auditMistake) Is(target error) bool { return target == budget.ErrInvalid }

func (q AuditQuery) filled(now time.Time) (AuditQuery, error) {
	switch q.Lag {
	case 0:
		q.Lag = defaultLag
	default:
		q.Lag = max(q.Lag, 0)
	}
	if q.To.IsZero() || q.To.After(now) {
		q.To = now
	}
	if q.From.IsZero() {
		q.From = q.To.Add(-24 * time.Hour)
	}
	q.From, q.To = q.From.UTC(), q.To.UTC()
	var errs []error
	if d := q.To.Sub(q.From); d <= 0 {
		errs = append(errs, auditMistake("agent: AuditQuery: To is not after From: give the time to look at, or leave both out"))
	} else if d > maxAudit {
		errs = append(errs, auditMistake(fmt.Sprintf("agent: AuditQuery: %v is more than 31 days: audit a part", d)))
	}
	if slices.Contains(q.Keys, "") {
		errs = append(errs, auditMistake("agent: AuditQuery.Keys has an empty id: give ids such as a receipt's APIKeyID"))
	}
	return q, errors.Join(errs...)
}

// auditBooks reads the ledger's side.
func (a *Agent) auditBooks(ctx context.Context, q AuditQuery, now time.Time) (*auditBooks, error) {
	edges := []time.Time{q.From.Add(-2 * clockSlack), q.From}
	for e := q.From.Truncate(time.Hour).Add(time.Hour); e.Before(q.To); e = e.Add(time.Hour) {
		if e.Sub(q.From) >= 2*clockSlack && q.To.Sub(e) >= 2*clockSlack { // seconds at an end join their neighbour
			edges = append(edges, e)
		}
	}
	edges = append(edges, q.To, q.To.Add(2*clockSlack))
	books := new(auditBooks)
	for i := range len(edges) - 1 {
		b := &auditBin{start: edges[i], end: edges[i+1], margin: i == 0 || i == len(edges)-2, sums: make(map[string]*AuditSums)}
		books.bins = append(books.bins, b)
		for _, meter := range []budget.Meter{budget.MeterRequests, budget.MeterTokens, budget.MeterMoney} {
			rows, err := a.ledger.Top(ctx, budget.TopQuery{By: scopeInstrument, Meter: meter, Since: b.start, Until: b.end, Limit: 10_000})
			if err != nil {
				return nil, err
			}
			for _, row := range rows {
				if row.Settled == 0 {
					continue // voided, or still under way
				}
				s := b.of(row.Scope.Name)
				switch meter {
				case budget.MeterRequests:
					s.Ledger.Requests = row.Settled
				case budget.MeterTokens:
					s.Ledger.Tokens, s.UnconfirmedTokens = row.Settled, row.Unconfirmed
				default:
					s.Ledger.NanoUSD = row.Settled
				}
			}
		}
	}
	return books, nil
}

// auditMarket reads the market's side into the books.
func (a *Agent) auditMarket(ctx context.Context, q AuditQuery, books *auditBooks) (*AuditReport, error) {
	first, last := books.bins[0].start, books.bins[len(books.bins)-1].end
	byKey := make(map[string][]*grid.Receipt)
	filter := grid.ReceiptFilter{From: first, To: last.Add(time.Second)} // the list knows whole seconds
	if len(q.Keys) == 0 {
		if id := a.keyID.Load(); id != nil {
			q.Keys = []string{*id}
		}
	}
	for r, err := range a.client.Receipts(ctx, filter) {
		if err != nil {
			return nil, fmt.Errorf("agent: Audit: the market's list: %w", err)
		}
		if !r.CreatedAt.Before(first) && r.CreatedAt.Before(last) && r.CostStatus != "cancelled" {
			byKey[r.APIKeyID] = append(byKey[r.APIKeyID], r)
		}
	}
	if len(q.Keys) == 0 {
		if q.Keys = sortedKeys(byKey); len(q.Keys) > 1 {
			return nil, fmt.Errorf("agent: Audit: the market lists requests of %d keys (%q), and none of ours has a receipt yet: say in AuditQuery.Keys which of them spend through this ledger", len(q.Keys), q.Keys)
		}
	}
	rep := &AuditReport{From: q.From, To: q.To, Keys: q.Keys, Hours: []AuditHour{}}
	for key, receipts := range byKey {
		if !slices.Contains(q.Keys, key) {
			rep.Others += int64(len(receipts))
			continue
		}
		for _, r := range receipts {
			books.enter(r)
		}
	}
	return rep, nil
}

func (c *AuditCount) plus(n AuditCount, sign int64) {
	c.Requests += sign * n.Requests
	c.Tokens += sign * n.Tokens
	c.NanoUSD += sign * n.NanoUSD
}

// compare says what separates the sides of one hour.
func (s *AuditSums) compare() {
	s.Unexplained = AuditGap{max(s.Market.Requests-s.Ledger.Requests, 0), max(s.Market.Tokens-s.Ledger.Tokens, 0)}
	s.Missing = AuditGap{max(s.Ledger.Requests-s.Market.Requests, 0), max(s.Ledger.Tokens-s.UnconfirmedTokens-s.Market.Tokens, 0)}
	billed := s.Market.NanoUSD
	if s.Market.Tokens > 0 && s.Unexplained.Tokens > 0 {
		billed -= int64(float64(billed) * float64(s.Unexplained.Tokens) / float64(s.Market.Tokens))
	}
	s.EstimateErrorNanoUSD = s.Ledger.NanoUSD - billed
}

func (s *AuditSums) add(n *AuditSums) {
	s.Ledger.plus(n.Ledger, 1)
	s.Market.plus(n.Market, 1)
	s.UnconfirmedTokens += n.UnconfirmedTokens
	s.Pending += n.Pending
	s.Unexplained.Requests += n.Unexplained.Requests
	s.Unexplained.Tokens += n.Unexplained.Tokens
	s.Missing.Requests += n.Missing.Requests
	s.Missing.Tokens += n.Missing.Tokens
	s.EstimateErrorNanoUSD += n.EstimateErrorNanoUSD
}

// learnKey keeps the market's name for our key.
func (a *Agent) learnKey(id string) {
	if known := a.keyID.Load(); id != "" && (known == nil || *known != id) {
		a.keyID.Store(&id)
	}
}
