package retail

import "testing"

func TestItems(t *testing.T) {
	const (
		home     = `{"zip": "1"}`
		modified = "pending (item modified)"
		second   = `{"order_id": "#W2", "user_id": "ann", "items": [` + lamp + `, ` + blueLamp + `], "status": "`
		paid     = `", "payment_history": [{"transaction_type": "payment", "amount": 25.75, "payment_method_id": "card_1"}]`
	)
	swap := func(order, items, instead, method string) string {
		return `{"order_id":"` + order + `","item_ids":` + items + `,"new_item_ids":` + instead + `,"payment_method_id":"` + method + `"}`
	}
	give := func(items, method string) string {
		return `{"order_id":"#W2","item_ids":` + items + `,"payment_method_id":"` + method + `"}`
	}
	check(t, []row{
		{name: "a dearer variant", tool: "modify_pending_order_items", args: swap("#W1", `["i1"]`, `["i2"]`, "gift_card_2"), changes: true, balances: [2]string{"", "75.25"},
			want: first(home, blueLamp, modified, firstPay+`, {"transaction_type": "payment", "amount": 4.75, "payment_method_id": "gift_card_2"}`, "")},
		{name: "the same variant", tool: "modify_pending_order_items", args: swap("#W1", `["i1"]`, `["i1"]`, "card_1"), changes: true,
			want: first(home, lamp, modified, firstPay+`, {"transaction_type": "refund", "amount": 0.0, "payment_method_id": "card_1"}`, "")},
		{name: "dearer than the gift card", tool: "modify_pending_order_items", args: swap("#W1", `["i1"]`, `["i2"]`, "gift_card_1"), want: "Error: insufficient gift card balance to pay for the new item"},
		{name: "out of stock", tool: "modify_pending_order_items", args: swap("#W1", `["i1"]`, `["i3"]`, "card_1"), want: "Error: new item i3 not found or available"},
		{name: "no such variant", tool: "modify_pending_order_items", args: swap("#W1", `["i1"]`, `["i9"]`, "card_1"), want: "Error: new item i9 not found or available"},
		{name: "not in the order", tool: "modify_pending_order_items", args: swap("#W1", `["i2"]`, `["i1"]`, "card_1"), want: "Error: i2 not found"},
		{name: "once in the order, named twice", tool: "modify_pending_order_items", args: swap("#W1", `["i1","i1"]`, `["i2","i2"]`, "card_1"), want: "Error: i1 not found"},
		{name: "one for none", tool: "modify_pending_order_items", args: swap("#W1", `["i1"]`, `[]`, "card_1"), want: "Error: the number of items to be exchanged should match"},
		{name: "paid by nothing", tool: "modify_pending_order_items", args: swap("#W1", `["i1"]`, `["i2"]`, "cash"), want: "Error: payment method not found"},
		{name: "too late", tool: "modify_pending_order_items", args: swap("#W2", `["i1"]`, `["i2"]`, "card_1"), want: "Error: non-pending order cannot be modified"},

		{name: "exchange two", tool: "exchange_delivered_order_items", args: swap("#W2", `["i2","i1"]`, `["i2","i2"]`, "card_1"), changes: true,
			want: second + "exchange requested" + paid + `, "exchange_items": ["i1", "i2"], "exchange_new_items": ["i2", "i2"], "exchange_payment_method_id": "card_1", "exchange_price_difference": 4.75}`},
		{name: "exchange too early", tool: "exchange_delivered_order_items", args: swap("#W1", `["i1"]`, `["i2"]`, "card_1"), want: "Error: non-delivered order cannot be exchanged"},
		{name: "exchange beyond the gift card", tool: "exchange_delivered_order_items", args: swap("#W2", `["i1"]`, `["i2"]`, "gift_card_1"), want: "Error: insufficient gift card balance to pay for the price difference"},

		{name: "return one", tool: "return_delivered_order_items", args: give(`["i2"]`, "card_1"), changes: true,
			want: second + "return requested" + paid + `, "return_items": ["i2"], "return_payment_method_id": "card_1"}`},
		{name: "return to a gift card", tool: "return_delivered_order_items", args: give(`["i2","i1"]`, "gift_card_1"), changes: true,
			want: second + "return requested" + paid + `, "return_items": ["i1", "i2"], "return_payment_method_id": "gift_card_1"}`},
		{name: "return to another card", tool: "return_delivered_order_items", args: give(`["i2"]`, "card_2"), want: "Error: payment method should be either the original payment method or a gift card"},
		{name: "return what was not bought", tool: "return_delivered_order_items", args: give(`["i9"]`, "card_1"), want: "Error: some item not found"},
	})
}
