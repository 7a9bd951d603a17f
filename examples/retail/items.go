package retail

import (
	"slices"

	"github.com/gridloop/gridloop/examples/internal/desk"
	"github.com/gridloop/gridloop/examples/internal/pyjson"
)

type swapIn struct {
	OrderID         string   `json:"order_id" jsonschema_description:"such as #W0000000, with the # in front"`
	ItemIDs         []string `json:"item_ids" jsonschema_description:"items to give up; one that is meant twice is listed twice"`
	NewItemIDs      []string `json:"new_item_ids" jsonschema_description:"what comes in their place, in the same order, each a variant of the same product"`
	PaymentMethodID string   `json:"payment_method_id" jsonschema_description:"pays or receives the difference, such as gift_card_0000000"`
}

// swap checks that each item of an order can be had in its new variant, and returns
// the variants and the difference in price.
func (db *DB) swap(o *pyjson.Object, in swapIn) (variants []*pyjson.Object, difference pyjson.Number, err error) {
	if missing, ok := lacks(o, in.ItemIDs); ok {
		return nil, difference, desk.Refuse("%s not found", missing)
	}
	if len(in.ItemIDs) != len(in.NewItemIDs) {
		return nil, difference, desk.Refuse("the number of items to be exchanged should match")
	}
	for i, id := range in.ItemIDs {
		item := itemOf(o, id)
		v := db.variant(item.Str("product_id"), in.NewItemIDs[i])
		if v == nil {
			return nil, difference, desk.Refuse("new item %s not found or available", in.NewItemIDs[i])
		}
		variants = append(variants, v)
		difference = difference.Add(v.Num("price").Sub(item.Num("price")))
	}
	return variants, difference, nil
}

// lacks names an item that the order does not have so often.
func lacks(o *pyjson.Object, ids []string) (missing string, ok bool) {
	have := make(map[string]int)
	for _, item := range o.Objs("items") {
		have[item.Str("item_id")]++
	}
	want := make(map[string]int)
	for _, id := range ids {
		want[id]++
	}
	for _, id := range ids {
		if want[id] > have[id] {
			return id, true
		}
	}
	return "", false
}

// itemOf is the first item of that id.
func itemOf(o *pyjson.Object, id string) *pyjson.Object {
	for _, item := range o.Objs("items") {
		if item.Str("item_id") == id {
			return item
		}
	}
	return &pyjson.Object{}
}

func (db *DB) modifyItems(in swapIn) (pyjson.Value, error) {
	o, err := db.editIf(in.OrderID, "pending", "non-pending order cannot be modified")
	if err != nil {
		return nil, err
	}
	variants, difference, err := db.swap(o, in)
	if err != nil {
		return nil, err
	}
	method, err := db.method(o.Str("user_id"), in.PaymentMethodID)
	if err != nil {
		return nil, err
	}
	if short(method, difference) {
		return nil, desk.Refuse("insufficient gift card balance to pay for the new item")
	}
	kind := "refund"
	if difference.Sign() > 0 {
		kind = "payment"
	}
	o.Append("payment_history", transaction(kind, difference.Abs(), in.PaymentMethodID))
	if isGiftCard(method) {
		db.credit(o.Str("user_id"), in.PaymentMethodID, difference.Neg())
	}
	for i, id := range in.ItemIDs {
		itemOf(o, id).With("item_id", in.NewItemIDs[i]).With("price", variants[i].Get("price")).With("options", pyjson.Clone(variants[i].Get("options")))
	}
	return o.With("status", "pending (item modified)"), nil
}

func (db *DB) exchange(in swapIn) (pyjson.Value, error) {
	o, err := db.editIf(in.OrderID, "delivered", "non-delivered order cannot be exchanged")
	if err != nil {
		return nil, err
	}
	_, difference, err := db.swap(o, in)
	if err != nil {
		return nil, err
	}
	difference = difference.Round()
	method, err := db.method(o.Str("user_id"), in.PaymentMethodID)
	if err != nil {
		return nil, err
	}
	if short(method, difference) {
		return nil, desk.Refuse("insufficient gift card balance to pay for the price difference")
	}
	return o.With("status", "exchange requested").
		With("exchange_items", pyjson.Strings(slices.Sorted(slices.Values(in.ItemIDs)))).
		With("exchange_new_items", pyjson.Strings(slices.Sorted(slices.Values(in.NewItemIDs)))).
		With("exchange_payment_method_id", in.PaymentMethodID).
		With("exchange_price_difference", difference), nil
}

type returnIn struct {
	OrderID         string   `json:"order_id" jsonschema_description:"such as #W0000000, with the # in front"`
	ItemIDs         []string `json:"item_ids" jsonschema_description:"items to take back; one that is meant twice is listed twice"`
	PaymentMethodID string   `json:"payment_method_id" jsonschema_description:"receives the refund: the method that paid, or a gift card"`
}

func (db *DB) returnItems(in returnIn) (pyjson.Value, error) {
	o, err := db.editIf(in.OrderID, "delivered", "non-delivered order cannot be returned")
	if err != nil {
		return nil, err
	}
	if _, err := db.method(o.Str("user_id"), in.PaymentMethodID); err != nil {
		return nil, err
	}
	paid := o.Objs("payment_history")
	if !namesGiftCard(in.PaymentMethodID) && (len(paid) == 0 || paid[0].Str("payment_method_id") != in.PaymentMethodID) {
		return nil, desk.Refuse("payment method should be either the original payment method or a gift card")
	}
	if _, missing := lacks(o, in.ItemIDs); missing {
		return nil, desk.Refuse("some item not found")
	}
	return o.With("status", "return requested").
		With("return_items", pyjson.Strings(slices.Sorted(slices.Values(in.ItemIDs)))).
		With("return_payment_method_id", in.PaymentMethodID), nil
}
