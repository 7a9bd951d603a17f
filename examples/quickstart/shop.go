package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gridloop/gridloop/tools"
)

// shop is what the tools work on: plain Go, nothing of an agent in it.
type shop struct {
	mu      sync.Mutex
	refunds map[string]int // cents by order
	paid    map[string]bool
}

type orderQuery struct {
	Order string `json:"order" jsonschema:"pattern=^[0-9]+$" jsonschema_description:"order number"`
}

type order struct {
	Order string `json:"order"`
	Item  string `json:"item"`
	Cents int    `json:"cents"`
	Days  int    `json:"promised_days"`
}

// think is the time that a real service would take.
func think(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (s *shop) lookupOrder(ctx context.Context, in orderQuery) (order, error) {
	think(ctx, 120*time.Millisecond)
	if in.Order != "1042" {
		return order{}, fmt.Errorf("there is no order %s", in.Order)
	}
	return order{Order: "1042", Item: "desk lamp", Cents: 4900, Days: 3}, nil
}

type shipping struct {
	Status string `json:"status"`
	Days   int    `json:"days"`
}

func (s *shop) shippingStatus(ctx context.Context, _ orderQuery) (shipping, error) {
	think(ctx, 200*time.Millisecond)
	return shipping{Status: "delivered", Days: 9}, nil
}

type policyQuery struct {
	Topic string `json:"topic" jsonschema:"enum=late,enum=damaged,enum=lost"`
}

func (s *shop) refundPolicy(ctx context.Context, _ policyQuery) (string, error) {
	think(ctx, 60*time.Millisecond)
	return "Late by more than 5 days: refund a quarter of the price.", nil
}

type refundOrder struct {
	Order string `json:"order" jsonschema:"pattern=^[0-9]+$"`
	Cents int    `json:"cents" jsonschema:"minimum=1" jsonschema_description:"amount in US cents"`
	Why   string `json:"why,omitempty"`
}

type refundDone struct {
	Order string `json:"order"`
	Cents int    `json:"cents"`
}

// refund pays money back. The call's key makes it safe to ask twice.
func (s *shop) refund(ctx context.Context, in refundOrder) (refundDone, error) {
	call := tools.CallFrom(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.paid[call.Key] {
		s.paid[call.Key] = true
		s.refunds[in.Order] += in.Cents
	}
	return refundDone{in.Order, s.refunds[in.Order]}, nil
}

type noteQuery struct {
	Query string `json:"query"`
}

// searchNotes is a tool that never satisfies anybody: what a runaway loop calls.
func (s *shop) searchNotes(_ context.Context, in noteQuery) (string, error) {
	return "Nothing conclusive about " + in.Query + ". More may be found with other words. " +
		"The archive holds many notes on lamps, late parcels and customers who wrote twice.", nil
}

func newShop() *shop { return &shop{refunds: map[string]int{}, paid: map[string]bool{}} }

func (s *shop) refundTools() []tools.Tool {
	return []tools.Tool{
		tools.New("lookup_order", "Read one order.", s.lookupOrder, tools.ReadOnly()),
		tools.New("shipping_status", "Where an order is and how many days it took.", s.shippingStatus, tools.ReadOnly()),
		tools.New("refund_policy", "Read the rule for a kind of complaint.", s.refundPolicy, tools.ReadOnly()),
		tools.New("refund", "Pay money back on an order.", s.refund),
	}
}

func (s *shop) searchTools() []tools.Tool {
	return []tools.Tool{tools.New("search_notes", "Search the shop's notes.", s.searchNotes, tools.ReadOnly())}
}
