package main

import (
	"context"
	"encoding/json"
	"math/big"
	"net/http"
	"slices"
	"time"

	"github.com/gridloop/gridloop/grid"
)

// receipts looks up what the first request and the one that was left cost.
func (p *probe) receipts(ctx context.Context) {
	first, cut := p.first.id(), p.cut.id()
	if first == "" || cut == "" && p.cut.status != 0 {
		// Without ids, time tells: the list has the newest first.
		var ids []string
		for r, err := range p.client.Receipts(ctx, grid.ReceiptFilter{From: p.began.Add(-time.Second)}) {
			if err != nil {
				break
			}
			ids = append(ids, r.RequestID)
		}
		slices.Reverse(ids)
		if first == "" && len(ids) > 0 {
			first = ids[0]
		}
		if cut == "" && p.cut.status != 0 {
			p.byList(ids)
			cut = p.cut.id()
		}
	}
	p.receiptForm(ctx, first)
	if p.cut.status == 0 {
		return // why was said before
	}
	if cut == "" {
		p.unseen("A-08", "the request that was left has no receipt", "cut")
		return
	}
	r, err := p.client.Receipt(ctx, cut)
	switch {
	case err != nil:
		p.unseen("A-08", err.Error(), "cut")
	case !r.Settled() && r.Status != "error":
		p.unseen("A-08", "its receipt is still pending", "cut")
	case r.CostNanoUSD != nil && *r.CostNanoUSD > 0:
		p.read("cut", "billed", "a stream that was left after its first bytes cost %s for %d tokens", usd(*r.CostNanoUSD), r.TotalTokens)
	default:
		p.read("cut", "unbilled", "a stream that was left after its first bytes cost nothing")
	}
}

// byList finds the request that was left: the one after those that were followed.
func (p *probe) byList(ids []string) {
	at := 1
	for _, f := range p.findings {
		if f.Question == "redirect_token" && f.Reading == "again" {
			at = 2
		}
	}
	if at < len(ids) {
		p.cut.header = http.Header{"X-Grid-Request-Id": {ids[at]}}
	}
}

func (p *probe) receiptForm(ctx context.Context, id string) {
	if id == "" {
		p.unseen("A-14", "no request has an id to look up", "receipt")
		return
	}
	a, err := p.get(ctx, "/usage/"+id, p.key)
	if err != nil || a.status != http.StatusOK {
		p.unseen("A-14", whyNot(a, err), "receipt")
		return
	}
	var w struct {
		Data      json.RawMessage `json:"data"`
		RequestID string          `json:"request_id"`
	}
	switch err := json.Unmarshal(a.body, &w); {
	case err != nil:
		p.unseen("A-14", "the receipt is not JSON", "receipt")
	case w.RequestID != "":
		p.read("receipt", "bare", "a receipt stands by itself")
	case len(w.Data) > 0:
		p.read("receipt", "data", "a receipt is wrapped in data")
	default:
		p.unseen("A-14", "the receipt has another form", "receipt")
	}
}

// balance is the instrument's balance as the Trading API writes it; nil without.
func (p *probe) balance(ctx context.Context) *big.Rat {
	if p.trading == nil {
		return nil
	}
	all, err := p.trading.Balances(ctx)
	if err != nil {
		return nil
	}
	for _, b := range all {
		if b.Instrument == p.instrument && len(b.Available) < 40 {
			if r, ok := new(big.Rat).SetString(b.Available); ok {
				return r
			}
		}
	}
	return nil
}

// units compares what a balance lost with what was used: the two readings are a factor
// of a million apart.
func (p *probe) units(ctx context.Context, before *big.Rat) {
	after := p.balance(ctx)
	if before == nil || after == nil || p.totalTokens == 0 {
		p.unseen("A-16", "no balance was visible before and after: set "+grid.TradingKeyVariable, "balances")
		return
	}
	lost, _ := new(big.Rat).Sub(before, after).Float64()
	used := float64(p.totalTokens)
	switch {
	case lost >= used/2:
		p.read("balances", "tokens", "%d tokens or more were used, the balance lost %v", p.totalTokens, lost)
	case lost > 0 && lost*grid.TokensPerUnit >= used/2:
		p.read("balances", "units", "%d tokens or more were used, the balance lost %v", p.totalTokens, lost)
	default:
		p.unseen("A-16", "the balance did not follow in time", "balances")
	}
}
