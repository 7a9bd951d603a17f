package retail

import "testing"

const (
	lamp     = `{"name": "Lamp", "product_id": "p1", "item_id": "i1", "price": 10.5, "options": {"color": "red"}}`
	blueLamp = `{"name": "Lamp", "product_id": "p1", "item_id": "i2", "price": 15.25, "options": {"color": "blue"}}`
	firstPay = `{"transaction_type": "payment", "amount": 10.5, "payment_method_id": "card_1"}`
)

// first is order #W1 with what may change in it.
func first(address, items, status, history, more string) string {
	return `{"order_id": "#W1", "user_id": "ann", "address": ` + address + `, "items": [` + items + `], "status": "` + status + `", "payment_history": [` + history + `]` + more + `}`
}

func TestOrders(t *testing.T) {
	const (
		home  = `{"zip": "1"}`
		moved = `{"address1": "1 Way", "address2": "", "city": "K", "state": "NW", "country": "DE", "zip": "5"}`
		to    = `"address1":"1 Way","address2":"","city":"K","state":"NW","country":"DE","zip":"5"`
	)
	check(t, []row{
		{name: "details", tool: "get_order_details", args: `{"order_id":"#W1"}`, want: first(home, lamp, "pending", firstPay, "")},
		{name: "without #", tool: "get_order_details", args: `{"order_id":"W1"}`, want: "Error: order not found"},

		{name: "cancel", tool: "cancel_pending_order", args: `{"order_id":"#W1","reason":"ordered by mistake"}`, changes: true,
			want: first(home, lamp, "cancelled", firstPay+`, {"transaction_type": "refund", "amount": 10.5, "payment_method_id": "card_1"}`, `, "cancel_reason": "ordered by mistake"`)},
		{name: "cancel what a gift card paid", tool: "cancel_pending_order", args: `{"order_id":"#W3","reason":"no longer needed"}`, changes: true, balances: [2]string{"6.1"},
			want: `{"order_id": "#W3", "user_id": "ann", "items": [], "status": "cancelled", "payment_history": [{"transaction_type": "payment", "amount": 2.1, "payment_method_id": "gift_card_1"}, {"transaction_type": "refund", "amount": 2.1, "payment_method_id": "gift_card_1"}], "cancel_reason": "no longer needed"}`},
		{name: "cancel too late", tool: "cancel_pending_order", args: `{"order_id":"#W2","reason":"no longer needed"}`, want: "Error: non-pending order cannot be cancelled"},
		{name: "cancel nothing", tool: "cancel_pending_order", args: `{"order_id":"#W9","reason":"no longer needed"}`, want: "Error: order not found"},

		{name: "another address", tool: "modify_pending_order_address", args: `{"order_id":"#W1",` + to + `}`, changes: true, want: first(moved, lamp, "pending", firstPay, "")},
		{name: "another address too late", tool: "modify_pending_order_address", args: `{"order_id":"#W2",` + to + `}`, want: "Error: non-pending order cannot be modified"},

		{name: "paid by gift card", tool: "modify_pending_order_payment", args: `{"order_id":"#W1","payment_method_id":"gift_card_2"}`, changes: true, balances: [2]string{"", "69.5"},
			want: first(home, lamp, "pending", firstPay+`, {"transaction_type": "payment", "amount": 10.5, "payment_method_id": "gift_card_2"}, {"transaction_type": "refund", "amount": 10.5, "payment_method_id": "card_1"}`, "")},
		{name: "paid by too small a gift card", tool: "modify_pending_order_payment", args: `{"order_id":"#W1","payment_method_id":"gift_card_1"}`, want: "Error: insufficient gift card balance to pay for the order"},
		{name: "paid by card instead of gift card", tool: "modify_pending_order_payment", args: `{"order_id":"#W3","payment_method_id":"card_1"}`, changes: true, balances: [2]string{"6.1"},
			want: `{"order_id": "#W3", "user_id": "ann", "items": [], "status": "pending", "payment_history": [{"transaction_type": "payment", "amount": 2.1, "payment_method_id": "gift_card_1"}, {"transaction_type": "payment", "amount": 2.1, "payment_method_id": "card_1"}, {"transaction_type": "refund", "amount": 2.1, "payment_method_id": "gift_card_1"}]}`},
		{name: "paid as before", tool: "modify_pending_order_payment", args: `{"order_id":"#W1","payment_method_id":"card_1"}`, want: "Error: the new payment method should be different from the current one"},
		{name: "paid by nothing", tool: "modify_pending_order_payment", args: `{"order_id":"#W1","payment_method_id":"cash"}`, want: "Error: payment method not found"},
	})
}
