package retail

import (
	"github.com/gridloop/gridloop/examples/internal/desk"
	"github.com/gridloop/gridloop/examples/internal/pyjson"
)

type orderIn struct {
	OrderID string `json:"order_id" jsonschema_description:"such as #W0000000, with the # in front"`
}

func (db *DB) order(in orderIn) (pyjson.Value, error) {
	o := db.orders.Get(in.OrderID)
	if o == nil {
		return nil, desk.Refuse("order not found")
	}
	return o, nil
}

// editIf is an order to change, if it has the status.
func (db *DB) editIf(id, status, otherwise string) (*pyjson.Object, error) {
	o := db.orders.Get(id)
	if o == nil {
		return nil, desk.Refuse("order not found")
	}
	if o.Str("status") != status {
		return nil, desk.Refuse("%s", otherwise)
	}
	return db.orders.Edit(id), nil
}

// transaction is an entry of an order's payment history.
func transaction(kind string, amount pyjson.Value, methodID string) *pyjson.Object {
	return (&pyjson.Object{}).With("transaction_type", kind).With("amount", amount).With("payment_method_id", methodID)
}

type cancelIn struct {
	OrderID string `json:"order_id" jsonschema_description:"such as #W0000000, with the # in front"`
	Reason  string `json:"reason" jsonschema:"enum=no longer needed,enum=ordered by mistake"`
}

func (db *DB) cancel(in cancelIn) (pyjson.Value, error) {
	o, err := db.editIf(in.OrderID, "pending", "non-pending order cannot be cancelled")
	if err != nil {
		return nil, err
	}
	for _, paid := range o.Objs("payment_history") {
		methodID := paid.Str("payment_method_id")
		o.Append("payment_history", transaction("refund", paid.Get("amount"), methodID))
		if namesGiftCard(methodID) {
			db.credit(o.Str("user_id"), methodID, paid.Num("amount"))
		}
	}
	return o.With("status", "cancelled").With("cancel_reason", in.Reason), nil
}

type addressIn struct {
	OrderID string `json:"order_id" jsonschema_description:"such as #W0000000, with the # in front"`
	address
}

func (db *DB) modifyAddress(in addressIn) (pyjson.Value, error) {
	o, err := db.editIf(in.OrderID, "pending", "non-pending order cannot be modified")
	if err != nil {
		return nil, err
	}
	return o.With("address", in.document()), nil
}

type paymentIn struct {
	OrderID         string `json:"order_id" jsonschema_description:"such as #W0000000, with the # in front"`
	PaymentMethodID string `json:"payment_method_id" jsonschema_description:"a payment method of the user, such as gift_card_0000000"`
}

func (db *DB) modifyPayment(in paymentIn) (pyjson.Value, error) {
	o, err := db.editIf(in.OrderID, "pending", "non-pending order cannot be modified")
	if err != nil {
		return nil, err
	}
	user, history := o.Str("user_id"), o.Objs("payment_history")
	method, err := db.method(user, in.PaymentMethodID)
	if err != nil {
		return nil, err
	}
	if len(history) != 1 || history[0].Str("transaction_type") != "payment" {
		return nil, desk.Refuse("there should be exactly one payment for a pending order")
	}
	former, amount := history[0].Str("payment_method_id"), history[0].Num("amount")
	if former == in.PaymentMethodID {
		return nil, desk.Refuse("the new payment method should be different from the current one")
	}
	if short(method, amount) {
		return nil, desk.Refuse("insufficient gift card balance to pay for the order")
	}
	o.Append("payment_history", transaction("payment", amount, in.PaymentMethodID), transaction("refund", amount, former))
	if isGiftCard(method) {
		db.credit(user, in.PaymentMethodID, amount.Neg())
	}
	if namesGiftCard(former) {
		db.credit(user, former, amount)
	}
	return o, nil
}
