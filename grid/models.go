package grid

import (
	"bytes"
	"context"
	"encoding/json"
	"time"
)

// Model is an instrument as GET /v1/models lists it.
type Model struct {
	ID, Name, OwnedBy, Status string
	Created                   time.Time
	// Limits in tokens; 0 where the list does not say.
	Context, MaxInput, MaxOutput int64
	// PriceNanoUSDPerUnit is the live price in nano-USD per 1,000,000 tokens, rounded
	// up; 0 where the list has none.
	PriceNanoUSDPerUnit int64
	// Raw is the entry as received.
	Raw json.RawMessage
}

type wireModel struct {
	ID            string          `json:"id"`
	DisplayName   string          `json:"display_name"`
	OwnedBy       string          `json:"owned_by"`
	Status        string          `json:"status"`
	Created       json.Number     `json:"created"`
	ContextWindow int64           `json:"context_window"`
	ContextLength int64           `json:"context_length"`
	MaxInput      int64           `json:"max_input_tokens"`
	MaxOutput     int64           `json:"max_output_tokens"`
	UnitPrice     json.RawMessage `json:"unit_price_usd"`
	Pricing       json.RawMessage `json:"pricing"`
}

// Models asks the market which instruments it has. Entries that cannot be read are
// left out.
func (c *Client) Models(ctx context.Context) ([]Model, error) {
	b, err := c.get(ctx, "models")
	if err != nil {
		return nil, err
	}
	var list struct {
		Data []json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, &Error{Class: ClassMalformed, kind: ErrMalformed, cause: errJSON}
	}
	models := make([]Model, 0, len(list.Data))
	for _, raw := range list.Data {
		var w wireModel
		if json.Unmarshal(raw, &w) != nil || w.ID == "" {
			continue
		}
		m := Model{
			ID: w.ID, Name: w.DisplayName, OwnedBy: w.OwnedBy, Status: w.Status,
			Context: max(w.ContextWindow, w.ContextLength), MaxInput: w.MaxInput, MaxOutput: w.MaxOutput, Raw: raw,
		}
		if unix, err := w.Created.Int64(); err == nil && unix > 0 {
			m.Created = time.Unix(unix, 0).UTC()
		}
		m.PriceNanoUSDPerUnit = w.price()
		models = append(models, m)
	}
	return models, nil
}

// price reads dollars per Unit.
func (w *wireModel) price() int64 {
	var inner struct {
		UnitPrice json.RawMessage `json:"unit_price_usd"`
	}
	_ = json.Unmarshal(w.Pricing, &inner)
	for _, raw := range []json.RawMessage{inner.UnitPrice, w.UnitPrice} {
		if n, ok := money(raw, nanoPerUSD); ok {
			return n
		}
	}
	return 0
}

// The powers of ten between what the market writes and nano-USD.
const (
	nanoPerUSD          = 9  // dollars
	nanoPerUSDTimesUnit = 15 // dollars per token, to nano-USD per Unit
)

// money reads an amount that is written as a decimal string or as a number.
func money(raw json.RawMessage, scale int) (int64, bool) {
	raw = bytes.TrimSpace(raw)
	if isNull(raw) {
		return 0, false
	}
	if isString(raw) {
		return decimal(unquoted(raw), scale)
	}
	return decimal(string(raw), scale)
}

// Refresh brings the catalogue up to date with the market's list, and tells
// Config.OnChange what that changed.
func (c *Client) Refresh(ctx context.Context) error {
	models, err := c.Models(ctx)
	if err != nil {
		return err
	}
	if changes := c.catalogue.observeList(models, time.Now()); len(changes) > 0 && c.onChange != nil {
		c.onChange(changes)
	}
	return nil
}
