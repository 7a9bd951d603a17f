package grid

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"
)

// What a summary can be grouped by.
const (
	GroupByDay        = "day"
	GroupByInstrument = "model"
	GroupByAPIKey     = "api_key"
)

// SummaryQuery says what Summary adds up. Its zero value is the last 30 days in one sum.
type SummaryQuery struct {
	// From and To bound the time, at most 31 days; zero leaves them to the market.
	From, To time.Time
	// GroupBy is "" for totals only, or one of the constants above.
	GroupBy  string
	APIKeyID string
}

// maxSummary is the longest time that the market adds up.
const maxSummary = 31 * 24 * time.Hour

// Summary is what was used and paid in a time.
type Summary struct {
	Totals
	Groups []SummaryGroup
	// Raw is the summary as received.
	Raw json.RawMessage
}

// SummaryGroup is the part of a summary that one day, instrument or key has.
type SummaryGroup struct {
	Key string
	Totals
}

// Totals are sums over requests.
type Totals struct {
	Requests, Tokens int64
	// CostNanoUSD is what is settled, in nano-USD, rounded up.
	CostNanoUSD int64
	// Pending, Unpriced and Cancelled count requests that are not in the cost.
	Pending, Unpriced, Cancelled int64
	UnpricedTokens               int64
}

type wireTotals struct {
	Requests loose `json:"request_count"`
	Tokens   loose `json:"tokens"`
	Cost     struct {
		Reconciled     json.RawMessage `json:"reconciled_amount"`
		Pending        loose           `json:"pending_requests"`
		Unpriced       loose           `json:"unpriced_requests"`
		Cancelled      loose           `json:"cancelled_requests"`
		UnpricedTokens loose           `json:"unpriced_tokens"`
	} `json:"cost"`
	// A group's name stands under one of these.
	Key      loose `json:"key"`
	Day      loose `json:"day"`
	Date     loose `json:"date"`
	Model    loose `json:"model"`
	APIKeyID loose `json:"api_key_id"`
}

func (w *wireTotals) totals() Totals {
	cost, _ := money(w.Cost.Reconciled, nanoPerUSD)
	return Totals{
		Requests: w.Requests.count(), Tokens: w.Tokens.count(), CostNanoUSD: cost, Pending: w.Cost.Pending.count(),
		Unpriced: w.Cost.Unpriced.count(), Cancelled: w.Cost.Cancelled.count(), UnpricedTokens: w.Cost.UnpricedTokens.count(),
	}
}

func (w *wireTotals) name() string {
	for _, n := range []loose{w.Key, w.Day, w.Date, w.Model, w.APIKeyID} {
		if n != "" {
			return string(n)
		}
	}
	return ""
}

// Summary asks the market for sums over the receipts of the key's account.
func (c *Client) Summary(ctx context.Context, query SummaryQuery) (*Summary, error) {
	switch query.GroupBy {
	case "", GroupByDay, GroupByInstrument, GroupByAPIKey:
	default:
		return nil, &Error{Class: ClassCaller, cause: fmt.Errorf("SummaryQuery.GroupBy %q: use %s, %s or %s", query.GroupBy, GroupByDay, GroupByInstrument, GroupByAPIKey)}
	}
	if !query.From.IsZero() && !query.To.IsZero() {
		if span := query.To.Sub(query.From); span <= 0 || span > maxSummary {
			return nil, &Error{Class: ClassCaller, cause: fmt.Errorf("SummaryQuery from %s to %s: To must be after From, by 31 days at most", moment(query.From), moment(query.To))}
		}
	}
	q := url.Values{}
	for name, v := range map[string]string{"from": moment(query.From), "to": moment(query.To), "group_by": query.GroupBy, "api_key_id": query.APIKeyID} {
		if v != "" {
			q.Set(name, v)
		}
	}
	b, err := c.fetch(ctx, source{path: []string{"usage", "summary"}, query: q})
	if err != nil {
		return nil, err
	}
	b = unwrapped(b)
	var w struct {
		Totals  *wireTotals  `json:"totals"`
		Groups  []wireTotals `json:"groups"`
		Buckets []wireTotals `json:"buckets"`
	}
	if json.Unmarshal(b, &w) != nil || w.Totals == nil {
		return nil, &Error{Class: ClassMalformed, kind: ErrMalformed, cause: fmt.Errorf("the summary has no totals")}
	}
	s := &Summary{Totals: w.Totals.totals(), Raw: append(json.RawMessage(nil), b...)}
	for _, g := range append(w.Groups, w.Buckets...) {
		s.Groups = append(s.Groups, SummaryGroup{Key: g.name(), Totals: g.totals()})
	}
	return s, nil
}

// unwrapped takes an object out of data, where the market put it there.
func unwrapped(b []byte) []byte {
	var wrapped struct {
		Data json.RawMessage `json:"data"`
	}
	if json.Unmarshal(b, &wrapped) == nil && isObject(wrapped.Data) {
		return wrapped.Data
	}
	return b
}
