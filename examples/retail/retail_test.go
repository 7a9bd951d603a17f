package retail

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/gridloop/gridloop/examples/internal/pyjson"
	"github.com/gridloop/gridloop/examples/internal/tables"
	"github.com/gridloop/gridloop/tools"
)

const (
	someProducts = `{
"p1": {"name": "Lamp", "product_id": "p1", "variants": {
  "i1": {"item_id": "i1", "options": {"color": "red"}, "available": true, "price": 10.5},
  "i2": {"item_id": "i2", "options": {"color": "blue"}, "available": true, "price": 15.25},
  "i3": {"item_id": "i3", "options": {"color": "green"}, "available": false, "price": 1.0}}},
"p0": {"name": "Desk", "product_id": "p0", "variants": {}}
}`
	someOrders = `{
"#W1": {"order_id": "#W1", "user_id": "ann", "address": {"zip": "1"}, "items": [{"name": "Lamp", "product_id": "p1", "item_id": "i1", "price": 10.5, "options": {"color": "red"}}],
  "status": "pending", "payment_history": [{"transaction_type": "payment", "amount": 10.5, "payment_method_id": "card_1"}]},
"#W2": {"order_id": "#W2", "user_id": "ann", "items": [{"name": "Lamp", "product_id": "p1", "item_id": "i1", "price": 10.5, "options": {"color": "red"}}, {"name": "Lamp", "product_id": "p1", "item_id": "i2", "price": 15.25, "options": {"color": "blue"}}],
  "status": "delivered", "payment_history": [{"transaction_type": "payment", "amount": 25.75, "payment_method_id": "card_1"}]},
"#W3": {"order_id": "#W3", "user_id": "ann", "items": [], "status": "pending", "payment_history": [{"transaction_type": "payment", "amount": 2.1, "payment_method_id": "gift_card_1"}]}
}`
	someUsers = `{
"ann": {"name": {"first_name": "Ann", "last_name": "Li"}, "address": {"zip": "1"}, "email": "ann@example.com",
  "payment_methods": {"card_1": {"source": "credit_card", "id": "card_1"}, "card_2": {"source": "paypal", "id": "card_2"}, "gift_card_1": {"source": "gift_card", "balance": 4, "id": "gift_card_1"}, "gift_card_2": {"source": "gift_card", "balance": 80, "id": "gift_card_2"}}, "orders": ["#W1"]}
}`
)

func someDB(t testing.TB) *DB {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"products": someProducts, "orders": someOrders, "users": someUsers} {
		if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	db, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// A row is one call on a fresh copy of the database. A call that changes an order
// returns the order as it then is.
type row struct {
	name, tool, args, want string
	changes                bool
	balances               [2]string // of ann's gift cards afterwards; empty: as before
}

func check(t *testing.T, rows []row) {
	t.Helper()
	origin := someDB(t)
	before := origin.Hash(tables.Norm)
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			db := origin.Copy()
			set, err := tools.NewSet(Tools(func(context.Context) (*DB, error) { return db, nil })...)
			if err != nil {
				t.Fatal(err)
			}
			res := set.Call(t.Context(), r.tool, json.RawMessage(r.args))
			if res.Status != tools.StatusOK || res.Content != r.want {
				t.Errorf("%s: got\n%s\nwant\n%s", res.Status, res.Content, r.want)
			}
			if changed := db.Hash(tables.Norm) != before; changed != r.changes {
				t.Errorf("the database has changed: %t", changed)
			}
			if r.changes {
				stored, _ := pyjson.DecodeObject([]byte(res.Content))
				if id := stored.Str("order_id"); id != "" && pyjson.Dumps(db.orders.Get(id)) != res.Content {
					t.Errorf("the order is stored as %s", pyjson.Dumps(db.orders.Get(id)))
				}
			}
			for i, card := range []string{"gift_card_1", "gift_card_2"} {
				want := r.balances[i]
				if want == "" {
					want = []string{"4", "80"}[i]
				}
				if got := db.users.Get("ann").Obj("payment_methods").Obj(card).Num("balance").String(); got != want {
					t.Errorf("%s holds %s, want %s", card, got, want)
				}
			}
			if origin.Hash(tables.Norm) != before {
				t.Error("the origin has changed")
			}
		})
	}
}

func TestToolsAreSoundAndSayWhatTheyChange(t *testing.T) {
	set, err := tools.NewSet(Tools(func(context.Context) (*DB, error) { return someDB(t), nil })...)
	if err != nil {
		t.Fatal(err)
	}
	writes := map[string]bool{"cancel_pending_order": true, "exchange_delivered_order_items": true, "modify_pending_order_address": true, "modify_pending_order_items": true,
		"modify_pending_order_payment": true, "modify_user_address": true, "return_delivered_order_items": true, "transfer_to_human_agents": true}
	if set.Len() != 16 {
		t.Errorf("there are %d tools", set.Len())
	}
	for _, tool := range set.All() {
		if tool.ReadOnly() == writes[tool.Name()] {
			t.Errorf("%s: ReadOnly is %t", tool.Name(), tool.ReadOnly())
		}
	}
}
