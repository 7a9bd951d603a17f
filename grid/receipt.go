package grid

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// Receipt is what the market has on record for a request.
type Receipt struct {
	RequestID string
	// Status is pending, reconciled or error.
	Status string
	// RequestedModel is the instrument, ServingModel what served it.
	RequestedModel, ServingModel string
	Endpoint, APIKeyID           string
	CreatedAt, ReconciledAt      time.Time
	InputTokens, OutputTokens    int64
	TotalTokens                  int64
	// CostNanoUSD is the bill in nano-USD, rounded up; nil until it is known.
	CostNanoUSD *int64
	// CostStatus is pending, reconciled, unpriced or cancelled.
	CostStatus, Currency string
	// Lots are the balances drawn on, oldest first.
	Lots []Lot
	// TTFT and Duration are the market's own measure; TokensPerSecond is for people.
	TTFT, Duration  time.Duration
	TokensPerSecond float64
	// Raw is the receipt as received.
	Raw json.RawMessage
}

// Lot is a part of a request that was paid from one purchase.
type Lot struct {
	// PriceNanoUSDPerUnit is nano-USD per 1,000,000 tokens, rounded up.
	PriceNanoUSDPerUnit int64
	Tokens              int64
	CostNanoUSD         int64
}

// Settled tells whether the bill is final: reconciled, or cancelled and thus nothing.
func (r *Receipt) Settled() bool {
	return r.CostStatus == "cancelled" || r.CostStatus == "reconciled" && r.CostNanoUSD != nil
}

type wireReceipt struct {
	RequestID      string `json:"request_id"`
	Status         string `json:"status"`
	RequestedModel string `json:"requested_model"`
	ServingModel   string `json:"serving_model"`
	Endpoint       string `json:"endpoint"`
	APIKeyID       string `json:"api_key_id"`
	CreatedAt      string `json:"created_at"`
	Usage          struct {
		Input  int64 `json:"input_tokens"`
		Output int64 `json:"output_tokens"`
		Total  int64 `json:"total_tokens"`
	} `json:"usage"`
	Cost struct {
		Amount       json.RawMessage `json:"amount"`
		Currency     string          `json:"currency"`
		Status       string          `json:"status"`
		ReconciledAt string          `json:"reconciled_at"`
		Breakdown    []struct {
			Price    json.RawMessage `json:"acquisition_price_per_token"`
			Tokens   int64           `json:"tokens"`
			Subtotal json.RawMessage `json:"subtotal"`
		} `json:"breakdown"`
	} `json:"cost"`
	Timing struct {
		TTFT            float64 `json:"ttft_ms"`
		TokensPerSecond float64 `json:"tokens_per_second"`
		Duration        float64 `json:"duration_ms"`
	} `json:"timing"`
}

// Receipt looks up what a request cost, by the id in Response.RequestID. The bill
// settles after the answer: until then CostNanoUSD is nil. What its lots had cost is
// taken over by the catalogue. A request that is not on record (yet) is an *Error of
// ClassNotFound.
func (c *Client) Receipt(ctx context.Context, requestID string) (*Receipt, error) {
	if requestID == "" {
		return nil, &Error{Class: ClassCaller, cause: errors.New("no request id: the answer carried none, so it has no receipt")}
	}
	if strings.Trim(requestID, ".") == "" || strings.ContainsAny(requestID, "/\\?#% ") {
		return nil, &Error{Class: ClassCaller, cause: errors.New("this is not a request id: take it from Response.RequestID")}
	}
	b, err := c.get(ctx, "usage", requestID)
	if err != nil {
		return nil, err
	}
	r, ok := readReceipt(b)
	if !ok {
		return nil, &Error{Class: ClassMalformed, RequestID: requestID, kind: ErrMalformed, cause: errors.New("the receipt cannot be read")}
	}
	now := time.Now()
	for _, lot := range r.Lots {
		at := now
		if !r.CreatedAt.IsZero() && r.CreatedAt.Before(now) {
			at = r.CreatedAt
		}
		c.catalogue.ObserveLot(r.RequestedModel, lot.PriceNanoUSDPerUnit, at)
	}
	return r, nil
}

// readReceipt accepts a receipt as it is, or wrapped in data.
func readReceipt(b []byte) (*Receipt, bool) {
	var wrapped struct {
		Data json.RawMessage `json:"data"`
	}
	if json.Unmarshal(b, &wrapped) == nil && isObject(wrapped.Data) {
		b = wrapped.Data
	}
	var w wireReceipt
	if json.Unmarshal(b, &w) != nil || w.RequestID == "" {
		return nil, false
	}
	r := &Receipt{
		RequestID: w.RequestID, Status: w.Status, RequestedModel: w.RequestedModel, ServingModel: w.ServingModel,
		Endpoint: w.Endpoint, APIKeyID: w.APIKeyID, CreatedAt: instant(w.CreatedAt), ReconciledAt: instant(w.Cost.ReconciledAt),
		InputTokens: w.Usage.Input, OutputTokens: w.Usage.Output, TotalTokens: w.Usage.Total,
		CostStatus: w.Cost.Status, Currency: w.Cost.Currency, TokensPerSecond: w.Timing.TokensPerSecond,
		TTFT: milliseconds(w.Timing.TTFT), Duration: milliseconds(w.Timing.Duration), Raw: append(json.RawMessage(nil), b...),
	}
	if n, ok := money(w.Cost.Amount, nanoPerUSD); ok {
		r.CostNanoUSD = &n
	}
	for _, row := range w.Cost.Breakdown {
		lot := Lot{Tokens: row.Tokens}
		lot.PriceNanoUSDPerUnit, _ = money(row.Price, nanoPerUSDTimesUnit)
		lot.CostNanoUSD, _ = money(row.Subtotal, nanoPerUSD)
		r.Lots = append(r.Lots, lot)
	}
	return r, true
}

func instant(s string) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, s)
	return t
}

func milliseconds(ms float64) time.Duration {
	if !(ms > 0 && ms < 1e12) {
		return 0
	}
	return time.Duration(ms * float64(time.Millisecond))
}
