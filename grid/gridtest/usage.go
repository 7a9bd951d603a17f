package gridtest

import (
	"cmp"
	"math/big"
	"net/http"
	"slices"
	"time"
)

// The JSON of receipts. Money is a decimal string in USD, exact: an amount may
// have more than nine decimals, the bill is its ceiling in nano-USD.
type receiptJSON struct {
	RequestID      string           `json:"request_id"`
	Status         string           `json:"status"`
	RequestedModel string           `json:"requested_model"`
	ServingModel   string           `json:"serving_model"`
	Endpoint       string           `json:"endpoint"`
	APIKeyID       string           `json:"api_key_id"`
	CreatedAt      string           `json:"created_at"`
	Usage          receiptUsageJSON `json:"usage"`
	Cost           receiptCostJSON  `json:"cost"`
	Timing         receiptTimeJSON  `json:"timing"`
}

type receiptUsageJSON struct {
	InputTokens  int64 `json:"input_tokens"`
	OutputTokens int64 `json:"output_tokens"`
	TotalTokens  int64 `json:"total_tokens"`
}

type receiptCostJSON struct {
	Amount        *string          `json:"amount"`
	Currency      string           `json:"currency"`
	Status        string           `json:"status"`
	PricePerToken *string          `json:"effective_price_per_token"`
	PolicyVersion string           `json:"metering_policy_version"`
	ReconciledAt  *string          `json:"reconciled_at"`
	Breakdown     []receiptLotJSON `json:"breakdown,omitempty"`
}

type receiptLotJSON struct {
	PricePerToken string `json:"acquisition_price_per_token"`
	Tokens        int64  `json:"tokens"`
	Subtotal      string `json:"subtotal"`
}

type receiptTimeJSON struct {
	TTFTMillis      int64   `json:"ttft_ms"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	DurationMillis  int64   `json:"duration_ms"`
}

// receiptLocked is the receipt as it reads at a time; only single ones have the
// lots.
func (m *Market) receiptLocked(e *entry, now time.Time, withLots bool) receiptJSON {
	r := receiptJSON{
		RequestID: e.RequestID, RequestedModel: e.Instrument, ServingModel: e.serving,
		Endpoint: chatPath, APIKeyID: e.keyID, CreatedAt: stamp(e.Time),
		Usage: receiptUsageJSON{e.PromptTokens, e.CompletionTokens, addSaturating(e.PromptTokens, e.CompletionTokens)},
		Cost:  receiptCostJSON{Currency: "USD", PolicyVersion: "1"},
	}
	settled := e.ended.Add(m.config.ReceiptDelay)
	if !e.closed || now.Before(settled) {
		r.Status, r.Cost.Status = "pending", "pending"
		return r
	}
	at := stamp(settled)
	r.Cost.ReconciledAt = &at
	took := e.ended.Sub(e.Time)
	r.Timing.DurationMillis = took.Milliseconds()
	if !e.first.IsZero() {
		r.Timing.TTFTMillis = e.first.Sub(e.Time).Milliseconds()
	}
	if took > 0 {
		r.Timing.TokensPerSecond = float64(int64(float64(e.CompletionTokens)/took.Seconds()*10)) / 10
	}
	if e.failed {
		zero := "0"
		r.Status, r.Cost.Status, r.Cost.Amount = "error", "cancelled", &zero
		return r
	}
	amount, each := e.exact.usd(), perToken(e.exact, r.Usage.TotalTokens)
	r.Status, r.Cost.Status, r.Cost.Amount, r.Cost.PricePerToken = "reconciled", "reconciled", &amount, &each
	if withLots {
		for _, d := range e.Lots {
			r.Cost.Breakdown = append(r.Cost.Breakdown, receiptLotJSON{
				PricePerToken: exact{}.plus(1, d.PriceNanoUSD).usd(), Tokens: d.Tokens, Subtotal: exact{}.plus(d.Tokens, d.PriceNanoUSD).usd(),
			})
		}
	}
	return r
}

// perToken is an average and for show; it may be rounded.
func perToken(sum exact, tokens int64) string {
	total, ok := new(big.Rat).SetString(sum.usd())
	if !ok || tokens <= 0 {
		return "0"
	}
	return total.Quo(total, new(big.Rat).SetInt64(tokens)).FloatString(18)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func (m *Market) serveReceipt(w http.ResponseWriter, r *http.Request, e *entry, id string) {
	if _, no := m.authorize(r, e); no != nil {
		sendRefusal(w, 0, no, 0)
		return
	}
	m.mu.Lock()
	found := m.receipts[id]
	var receipt receiptJSON
	if found != nil {
		receipt = m.receiptLocked(found, time.Now(), true)
	}
	m.mu.Unlock()
	if found == nil {
		sendRefusal(w, 0, refuse(http.StatusNotFound, "Usage record not found"), 0)
		return
	}
	if m.read.receiptInData {
		sendJSON(w, http.StatusOK, struct {
			Data receiptJSON `json:"data"`
		}{receipt})
		return
	}
	sendJSON(w, http.StatusOK, receipt)
}

// receiptsLocked lists the receipts that a query asks for, oldest first.
func (m *Market) receiptsLocked(q map[string][]string, now time.Time) ([]receiptJSON, *refusal) {
	get := func(name string) string {
		if v := q[name]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	var from, to time.Time
	for name, at := range map[string]*time.Time{"from": &from, "to": &to} {
		if v := get(name); v != "" {
			t, err := time.Parse(time.RFC3339, v)
			if err != nil {
				return nil, refuse(http.StatusUnprocessableEntity, "%s must be a time of RFC 3339", name)
			}
			*at = t
		}
	}
	var all []receiptJSON
	for _, e := range m.entries {
		if e.RequestID == "" || e.Time.Before(from) || !to.IsZero() && !e.Time.Before(to) {
			continue
		}
		r := m.receiptLocked(e, now, false)
		fits := func(name, value string) bool { v := get(name); return v == "" || v == value }
		if fits("status", r.Status) && fits("cost_status", r.Cost.Status) && fits("model", r.RequestedModel) && fits("api_key_id", r.APIKeyID) {
			all = append(all, r)
		}
	}
	return all, nil
}

// serveUsageList lists receipts, newest first.
func (m *Market) serveUsageList(w http.ResponseWriter, r *http.Request, e *entry) {
	if _, no := m.authorize(r, e); no != nil {
		sendRefusal(w, 0, no, 0)
		return
	}
	q := r.URL.Query()
	m.mu.Lock()
	all, refused := m.receiptsLocked(q, time.Now())
	m.mu.Unlock()
	if refused != nil {
		sendRefusal(w, 0, refused, 0)
		return
	}
	slices.Reverse(all)
	switch q.Get("order_by") {
	case "", "inserted_at":
	case "total_tokens":
		slices.SortStableFunc(all, func(a, b receiptJSON) int { return cmp.Compare(b.Usage.TotalTokens, a.Usage.TotalTokens) })
	default:
		sendRefusal(w, 0, refuse(http.StatusUnprocessableEntity, "order_by must be inserted_at or total_tokens"), 0)
		return
	}
	sendPage(w, r, all)
}

type totalsJSON struct {
	Key          string `json:"key,omitempty"`
	RequestCount int64  `json:"request_count"`
	Tokens       int64  `json:"tokens"`
	Cost         struct {
		Reconciled       string `json:"reconciled_amount"`
		Pending          int64  `json:"pending_requests"`
		Unpriced         int64  `json:"unpriced_requests"`
		Cancelled        int64  `json:"cancelled_requests"`
		UnpricedTokens   int64  `json:"unpriced_tokens"`
		reconciledAmount *big.Rat
	} `json:"cost"`
}

func (t *totalsJSON) add(r receiptJSON) {
	t.RequestCount++
	t.Tokens = addSaturating(t.Tokens, r.Usage.TotalTokens)
	if t.Cost.reconciledAmount == nil {
		t.Cost.reconciledAmount = new(big.Rat)
	}
	switch r.Cost.Status {
	case "pending":
		t.Cost.Pending++
	case "cancelled":
		t.Cost.Cancelled++
	default:
		if amount, ok := new(big.Rat).SetString(*r.Cost.Amount); ok {
			t.Cost.reconciledAmount.Add(t.Cost.reconciledAmount, amount)
		}
	}
}

func (t *totalsJSON) write() {
	t.Cost.Reconciled = "0"
	if t.Cost.reconciledAmount != nil {
		t.Cost.Reconciled = t.Cost.reconciledAmount.FloatString(15)
	}
}

// serveUsageSummary adds receipts up, of the last 30 days unless told otherwise.
func (m *Market) serveUsageSummary(w http.ResponseWriter, r *http.Request, e *entry) {
	if _, no := m.authorize(r, e); no != nil {
		sendRefusal(w, 0, no, 0)
		return
	}
	q, now := r.URL.Query(), time.Now()
	if !q.Has("from") {
		q.Set("from", stamp(now.AddDate(0, 0, -30)))
	}
	group := q.Get("group_by")
	if group != "" && group != "day" && group != "model" && group != "api_key" {
		sendRefusal(w, 0, refuse(http.StatusUnprocessableEntity, "group_by must be day, model or api_key"), 0)
		return
	}
	m.mu.Lock()
	all, no := m.receiptsLocked(q, now)
	m.mu.Unlock()
	if no != nil {
		sendRefusal(w, 0, no, 0)
		return
	}
	var summary struct {
		Data struct {
			Totals totalsJSON    `json:"totals"`
			Groups []*totalsJSON `json:"groups"`
		} `json:"data"`
	}
	summary.Data.Groups = []*totalsJSON{}
	for _, receipt := range all {
		summary.Data.Totals.add(receipt)
		if group == "" {
			continue
		}
		name := map[string]string{"day": receipt.CreatedAt[:len("2006-01-02")], "model": receipt.RequestedModel, "api_key": receipt.APIKeyID}[group]
		at := slices.IndexFunc(summary.Data.Groups, func(t *totalsJSON) bool { return t.Key == name })
		if at < 0 {
			at = len(summary.Data.Groups)
			summary.Data.Groups = append(summary.Data.Groups, &totalsJSON{Key: name})
		}
		summary.Data.Groups[at].add(receipt)
	}
	summary.Data.Totals.write()
	for _, t := range summary.Data.Groups {
		t.write()
	}
	sendJSON(w, http.StatusOK, summary)
}
