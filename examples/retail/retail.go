// Package retail is the desk of an online shop as 16 tools over its database: the
// retail domain of tau-bench (github.com/sierra-research/tau-bench, MIT), ported
// so that every result is the same text byte for byte.
//
// It is built like package airline, which says more about how such tools are
// written. Each file is one table of the database: orders.go with items.go for what
// happens to the items of an order, products.go, users.go.
package retail

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/gridloop/gridloop/examples/internal/desk"
	"github.com/gridloop/gridloop/examples/internal/tables"
	"github.com/gridloop/gridloop/tools"
)

// DB is the shop's database. A copy may be read by any number of calls at once, or
// changed by one, which is how the loop runs read-only tools and the others.
type DB struct {
	all                     *tables.DB
	orders, products, users *tables.Table
}

// Load reads orders.json, products.json and users.json in a directory. Files given
// besides stand in for the table of their name.
func Load(dir string, instead ...string) (*DB, error) {
	files := []string{filepath.Join(dir, "orders.json"), filepath.Join(dir, "products.json"), filepath.Join(dir, "users.json")}
	all, err := tables.Load(append(files, instead...)...)
	if err != nil {
		return nil, fmt.Errorf("retail: %w", err)
	}
	return open(all), nil
}

func open(all *tables.DB) *DB {
	return &DB{all, all.Table("orders"), all.Table("products"), all.Table("users")}
}

// Copy is the same database for another conversation. It costs next to nothing
// until something is changed. Any number of goroutines may copy what nobody changes.
func (db *DB) Copy() *DB { return open(db.all.Copy()) }

// Hash is the SHA-256 of the whole database: two databases with the same hash hold
// the same documents.
func (db *DB) Hash(form tables.Form) string { return db.all.Hash(form) }

// Tools are the 16 tools in the order in which the benchmark offers them. find is
// asked on each call which database it works on.
func Tools(find func(context.Context) (*DB, error)) []tools.Tool {
	return []tools.Tool{
		desk.Calculate(),
		tools.New("cancel_pending_order", "Cancel a pending order and refund what was paid, once the customer has agreed. Gift cards get their money at once.", desk.On(find, (*DB).cancel)),
		tools.New("exchange_delivered_order_items", "Exchange items of a delivered order for other variants of the same products, once the customer has agreed. Possible once for an order.", desk.On(find, (*DB).exchange)),
		tools.New("find_user_id_by_email", "Find a user's id by email. Try this first.", desk.On(find, (*DB).byEmail), tools.ReadOnly()),
		tools.New("find_user_id_by_name_zip", "Find a user's id by name and zip code, when the email does not lead anywhere.", desk.On(find, (*DB).byName), tools.ReadOnly()),
		tools.New("get_order_details", "Read one order.", desk.On(find, (*DB).order), tools.ReadOnly()),
		tools.New("get_product_details", "Read a product with all its variants, their prices and what is in stock.", desk.On(find, (*DB).product), tools.ReadOnly()),
		tools.New("get_user_details", "Read a user's profile: address, payment methods, orders.", desk.On(find, (*DB).user), tools.ReadOnly()),
		tools.New("list_all_product_types", "List the names of all products with their ids.", desk.On(find, (*DB).catalogue), tools.ReadOnly()),
		tools.New("modify_pending_order_address", "Change where a pending order is sent, once the customer has agreed.", desk.On(find, (*DB).modifyAddress)),
		tools.New("modify_pending_order_items", "Replace items of a pending order by other variants of the same products, once the customer has agreed. Possible once for an order.", desk.On(find, (*DB).modifyItems)),
		tools.New("modify_pending_order_payment", "Pay a pending order with another method, once the customer has agreed.", desk.On(find, (*DB).modifyPayment)),
		tools.New("modify_user_address", "Change a user's own address, once the customer has agreed.", desk.On(find, (*DB).modifyUserAddress)),
		tools.New("return_delivered_order_items", "Take back items of a delivered order, once the customer has agreed.", desk.On(find, (*DB).returnItems)),
		desk.Think(),
		desk.Transfer(),
	}
}
