package grid

import (
	"bytes"
	"context"
	"encoding/json"
	"iter"
	"net/url"
	"strconv"
	"time"
)

// ReceiptFilter says which receipts Receipts lists; its zero value is all of them.
type ReceiptFilter struct {
	// From and To bound when a request was made; To is excluded.
	From, To time.Time
	// Status and CostStatus are those of Receipt, Instrument is what was asked for.
	Status, CostStatus, Instrument, APIKeyID string
	// LargestFirst orders by tokens rather than by time, newest first.
	LargestFirst bool
}

func (f ReceiptFilter) query() url.Values {
	q := url.Values{"limit": {strconv.Itoa(pageSize)}}
	set := func(name, v string) {
		if v != "" {
			q.Set(name, v)
		}
	}
	set("from", moment(f.From))
	set("to", moment(f.To))
	set("status", f.Status)
	set("cost_status", f.CostStatus)
	set("model", f.Instrument)
	set("api_key_id", f.APIKeyID)
	if f.LargestFirst {
		q.Set("order_by", "total_tokens")
	}
	return q
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// Receipts lists what the market has on record, page by page as the loop goes on:
// breaking off asks for no more. Receipts of a list have no lots; see Receipt. Entries
// that cannot be read are left out. An error is the last thing that is yielded.
func (c *Client) Receipts(ctx context.Context, filter ReceiptFilter) iter.Seq2[*Receipt, error] {
	return func(yield func(*Receipt, error) bool) {
		for raw, err := range c.pages(ctx, source{path: []string{"usage"}, query: filter.query()}) {
			if err != nil {
				yield(nil, err)
				return
			}
			r, ok := readReceipt(raw)
			if !ok {
				continue
			}
			c.observe(r)
			if !yield(r, nil) {
				return
			}
		}
	}
}

// pageSize is the most that the market puts on a page.
const pageSize = 100

// pages yields the entries of a list across its pages.
func (c *Client) pages(ctx context.Context, from source) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		query := url.Values{}
		for name, v := range from.query {
			query[name] = v
		}
		from.query = query
		for {
			b, err := c.fetch(ctx, from)
			if err != nil {
				yield(nil, err)
				return
			}
			var page struct {
				Data   []json.RawMessage `json:"data"`
				Paging struct {
					Next loose `json:"next_cursor"`
					More *bool `json:"has_more"`
				} `json:"paging"`
			}
			into := any(&page)
			if b = bytes.TrimSpace(b); len(b) > 0 && b[0] == '[' {
				into = &page.Data
			}
			if json.Unmarshal(b, into) != nil {
				yield(nil, &Error{Class: ClassMalformed, kind: ErrMalformed, cause: errJSON})
				return
			}
			for _, raw := range page.Data {
				if !yield(raw, nil) {
					return
				}
			}
			next := string(page.Paging.Next)
			// A cursor that stays where it is would go on for ever.
			if next == "" || next == query.Get("next") || page.Paging.More != nil && !*page.Paging.More {
				return
			}
			query.Set("next", next)
		}
	}
}
