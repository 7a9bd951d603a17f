package retail

import (
	"strings"

	"github.com/gridloop/gridloop/examples/internal/desk"
	"github.com/gridloop/gridloop/examples/internal/pyjson"
)

type emailIn struct {
	Email string `json:"email" jsonschema_description:"in any case"`
}

func (db *DB) byEmail(in emailIn) (pyjson.Value, error) {
	return db.findUser(func(u *pyjson.Object) bool { return strings.EqualFold(u.Str("email"), in.Email) })
}

type nameIn struct {
	FirstName string `json:"first_name"`
	LastName  string `json:"last_name"`
	Zip       string `json:"zip" jsonschema_description:"such as 12345"`
}

func (db *DB) byName(in nameIn) (pyjson.Value, error) {
	return db.findUser(func(u *pyjson.Object) bool {
		name := u.Obj("name")
		return strings.EqualFold(name.Str("first_name"), in.FirstName) &&
			strings.EqualFold(name.Str("last_name"), in.LastName) && u.Obj("address").Str("zip") == in.Zip
	})
}

func (db *DB) findUser(is func(*pyjson.Object) bool) (pyjson.Value, error) {
	for id, u := range db.users.All {
		if is(u) {
			return id, nil
		}
	}
	return nil, desk.Refuse("user not found")
}

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

type address struct {
	Address1 string `json:"address1" jsonschema_description:"first line, such as 123 Main St"`
	Address2 string `json:"address2" jsonschema_description:"second line, may be empty"`
	City     string `json:"city"`
	State    string `json:"state" jsonschema_description:"such as CA"`
	Country  string `json:"country" jsonschema_description:"such as USA"`
	Zip      string `json:"zip" jsonschema_description:"such as 12345"`
}

func (a address) document() *pyjson.Object {
	return (&pyjson.Object{}).With("address1", a.Address1).With("address2", a.Address2).With("city", a.City).
		With("state", a.State).With("country", a.Country).With("zip", a.Zip)
}

type userAddressIn struct {
	UserID string `json:"user_id" jsonschema_description:"such as sara_doe_496"`
	address
}

func (db *DB) modifyUserAddress(in userAddressIn) (pyjson.Value, error) {
	u := db.users.Edit(in.UserID)
	if u == nil {
		return nil, desk.Refuse("user not found")
	}
	u.Set("address", in.document())
	return u, nil
}

// method is a payment method of a user to read.
func (db *DB) method(userID, methodID string) (*pyjson.Object, error) {
	u := db.users.Get(userID)
	if u == nil || !u.Obj("payment_methods").Has(methodID) {
		return nil, desk.Refuse("payment method not found")
	}
	return u.Obj("payment_methods").Obj(methodID), nil
}

// credit adds to the balance of a payment method, or takes from it if the amount
// is negative.
func (db *DB) credit(userID, methodID string, amount pyjson.Number) {
	u := db.users.Edit(userID)
	if u == nil {
		return
	}
	card := u.Obj("payment_methods").Obj(methodID)
	card.Set("balance", card.Num("balance").Add(amount).Round())
}

// short says whether a payment method is a gift card that does not cover an amount.
func short(method *pyjson.Object, amount pyjson.Number) bool {
	return isGiftCard(method) && method.Num("balance").Cmp(amount) < 0
}

func isGiftCard(method *pyjson.Object) bool { return method.Str("source") == "gift_card" }

// namesGiftCard goes by the id alone, as the benchmark does for refunds.
func namesGiftCard(methodID string) bool { return strings.Contains(methodID, "gift_card") }
