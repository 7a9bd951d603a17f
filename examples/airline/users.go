package airline

import (
	"fmt"

	"github.com/gridloop/gridloop/examples/internal/desk"
	"github.com/gridloop/gridloop/examples/internal/pyjson"
)

type userIn struct {
	UserID string `json:"user_id" jsonschema_description:"such as sara_doe_496"`
}

func (db *DB) user(in userIn) (pyjson.Value, error) {
	u := db.users.Get(in.UserID)
	if u == nil {
		return nil, desk.Refuse("user not found")
	}
	return u, nil
}

type certificateIn struct {
	UserID string        `json:"user_id" jsonschema_description:"such as sara_doe_496"`
	Amount pyjson.Number `json:"amount" jsonschema_description:"dollars"`
}

func (db *DB) sendCertificate(in certificateIn) (pyjson.Value, error) {
	u := db.users.Edit(in.UserID)
	if u == nil {
		return nil, desk.Refuse("user not found")
	}
	methods := u.Obj("payment_methods")
	for _, id := range []string{"certificate_3221322", "certificate_3221323", "certificate_3221324"} {
		if methods.Has(id) {
			continue
		}
		methods.Set(id, (&pyjson.Object{}).With("source", "certificate").With("amount", in.Amount).With("id", id))
		return fmt.Sprintf("Certificate %s added to user %s with amount %s.", id, in.UserID, in.Amount), nil
	}
	return nil, desk.Refuse("no more certificates can be sent to user %s", in.UserID)
}

// charge takes the price of a change from a payment method of the user, or gives
// it back if it is negative, after checking that this can be done.
func (db *DB) charge(userID, paymentID string, price pyjson.Number) error {
	methods := db.users.Get(userID)
	if methods == nil || !methods.Obj("payment_methods").Has(paymentID) {
		return desk.Refuse("payment method not found")
	}
	switch method := methods.Obj("payment_methods").Obj(paymentID); method.Str("source") {
	case "certificate":
		return desk.Refuse("certificate cannot be used to update reservation")
	case "gift_card":
		left := method.Num("amount").Sub(price)
		if left.Sign() < 0 {
			return desk.Refuse("gift card balance is not enough")
		}
		db.users.Edit(userID).Obj("payment_methods").Obj(paymentID).Set("amount", left)
	}
	return nil
}

type payment struct {
	PaymentID string        `json:"payment_id" jsonschema_description:"id of a payment method in the user's profile"`
	Amount    pyjson.Number `json:"amount" jsonschema_description:"dollars"`
}

// pay checks that the payments are good and come to the price, and takes them.
func (db *DB) pay(userID string, payments []payment, price pyjson.Number) error {
	methods := db.users.Get(userID).Obj("payment_methods")
	var sum pyjson.Number
	for _, p := range payments {
		if !methods.Has(p.PaymentID) {
			return desk.Refuse("payment method %s not found", p.PaymentID)
		}
		method := methods.Obj(p.PaymentID)
		if s := method.Str("source"); (s == "gift_card" || s == "certificate") && method.Num("amount").Cmp(p.Amount) < 0 {
			return desk.Refuse("not enough balance in payment method %s", p.PaymentID)
		}
		sum = sum.Add(p.Amount)
	}
	if sum.Cmp(price) != 0 {
		return desk.Refuse("payment amount does not add up, total price is %s, but paid %s", price, sum)
	}
	methods = db.users.Edit(userID).Obj("payment_methods")
	for _, p := range payments {
		switch method := methods.Obj(p.PaymentID); method.Str("source") {
		case "gift_card":
			method.Set("amount", method.Num("amount").Sub(p.Amount))
		case "certificate":
			methods.Delete(p.PaymentID)
		}
	}
	return nil
}
