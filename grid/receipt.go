package grid

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strconv"
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
	// PriceNanoUSDPerUnit is the average over the lots in nano-USD per 1,000,000 tokens,
	// rounded up; 0 until it is known. PolicyVersion is that of the market's metering.
	PriceNanoUSDPerUnit int64
	PolicyVersion       string
	// Lots are the balances drawn on, oldest first. A list leaves them out.
	Lots []Lot
	// TTFT and Duration are the market's own measure; TokensPerSecond is for people.
	TTFT, Duration  time.Duration
	TokensPerSecond float64
	// Supplier and Quality are who served and how well, as the receipt writes it; "" where
	// it does not say.
	Supplier, Quality string
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
	CreatedAt      loose  `json:"created_at"`
	Usage          struct {
		Input  loose `json:"input_tokens"`
		Output loose `json:"output_tokens"`
		Total  loose `json:"total_tokens"`
	} `json:"usage"`
	Cost struct {
		Amount        json.RawMessage `json:"amount"`
		Currency      string          `json:"currency"`
		Status        string          `json:"status"`
		Effective     json.RawMessage `json:"effective_price_per_token"`
		PolicyVersion loose           `json:"metering_policy_version"`
		ReconciledAt  loose           `json:"reconciled_at"`
		Breakdown     []struct {
			Price    json.RawMessage `json:"acquisition_price_per_token"`
			Tokens   loose           `json:"tokens"`
			Subtotal json.RawMessage `json:"subtotal"`
		} `json:"breakdown"`
	} `json:"cost"`
	Timing struct {
		TTFT            loose `json:"ttft_ms"`
		TokensPerSecond loose `json:"tokens_per_second"`
		Duration        loose `json:"duration_ms"`
	} `json:"timing"`
	// Nobody has shown these yet; they are kept where a receipt has them.
	Supplier   loose `json:"supplier"`
	SupplierID loose `json:"supplier_id"`
	Quality    loose `json:"quality_score"`
}

// loose is a value that may come as a string or bare: a receipt that writes a count
// otherwise than expected must not hide its bill. What is neither reads as "".
type loose string

func (l *loose) UnmarshalJSON(b []byte) error {
	switch {
	case isNull(b), len(b) > 0 && (b[0] == '{' || b[0] == '['):
	case isString(b):
		*l = loose(unquoted(b))
	default:
		*l = loose(b)
	}
	return nil
}

// count reads tokens and the like; what is no count is 0.
func (l loose) count() int64 {
	n, _, _ := scaled(string(l), 0)
	return n
}

func (l loose) float() float64 {
	f, err := strconv.ParseFloat(string(l), 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
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
	c.observe(r)
	return r, nil
}

// observe lets the catalogue know what lots had cost.
func (c *Client) observe(r *Receipt) {
	at := time.Now()
	if !r.CreatedAt.IsZero() && r.CreatedAt.Before(at) {
		at = r.CreatedAt
	}
	for _, lot := range r.Lots {
		c.catalogue.ObserveLot(r.RequestedModel, lot.PriceNanoUSDPerUnit, at)
	}
}

// readReceipt accepts a receipt as it is, or wrapped in data.
func readReceipt(b []byte) (*Receipt, bool) {
	b = unwrapped(b)
	var w wireReceipt
	if json.Unmarshal(b, &w) != nil || w.RequestID == "" {
		return nil, false
	}
	r := &Receipt{
		RequestID: w.RequestID, Status: w.Status, RequestedModel: w.RequestedModel, ServingModel: w.ServingModel,
		Endpoint: w.Endpoint, APIKeyID: w.APIKeyID, CreatedAt: instant(w.CreatedAt), ReconciledAt: instant(w.Cost.ReconciledAt),
		InputTokens: w.Usage.Input.count(), OutputTokens: w.Usage.Output.count(), TotalTokens: w.Usage.Total.count(),
		CostStatus: w.Cost.Status, Currency: w.Cost.Currency, PolicyVersion: string(w.Cost.PolicyVersion),
		TokensPerSecond: w.Timing.TokensPerSecond.float(), TTFT: milliseconds(w.Timing.TTFT.float()), Duration: milliseconds(w.Timing.Duration.float()),
		Supplier: string(w.Supplier), Quality: string(w.Quality), Raw: append(json.RawMessage(nil), b...),
	}
	if r.Supplier == "" {
		r.Supplier = string(w.SupplierID)
	}
	r.PriceNanoUSDPerUnit, _ = money(w.Cost.Effective, nanoPerUSDTimesUnit)
	if n, ok := money(w.Cost.Amount, nanoPerUSD); ok {
		r.CostNanoUSD = &n
	}
	for _, row := range w.Cost.Breakdown {
		lot := Lot{Tokens: row.Tokens.count()}
		lot.PriceNanoUSDPerUnit, _ = money(row.Price, nanoPerUSDTimesUnit)
		lot.CostNanoUSD, _ = money(row.Subtotal, nanoPerUSD)
		r.Lots = append(r.Lots, lot)
	}
	return r, true
}

// instant reads a time of RFC 3339, or seconds since 1970.
func instant(v loose) time.Time {
	if unix, err := strconv.ParseInt(string(v), 10, 64); err == nil && unix > 0 && unix < 1e11 {
		return time.Unix(unix, 0).UTC()
	}
	t, _ := time.Parse(time.RFC3339Nano, string(v))
	return t
}

func milliseconds(ms float64) time.Duration {
	if !(ms > 0 && ms < 1e12) {
		return 0
	}
	return time.Duration(ms * float64(time.Millisecond))
}
