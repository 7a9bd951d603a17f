// Package airline is the desk of an airline as 14 tools over its database: the
// airline domain of tau-bench (github.com/sierra-research/tau-bench, MIT), ported
// so that every result is the same text byte for byte.
//
//	model's arguments -> typed struct -> func over a DB -> document -> json.dumps
//
// Read it as a model of how tools are written. Arguments are structs whose tags
// become the schema; what only reads says so with tools.ReadOnly, so that the loop
// may run it beside others; the tool that hands over to a person ends the run; and
// one set of tools serves every conversation, because each call looks up whose
// database it is about instead of having it built in.
//
// Each file is one table of the database: flights.go, reservations.go, users.go.
package airline

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/gridloop/gridloop/examples/internal/desk"
	"github.com/gridloop/gridloop/examples/internal/tables"
	"github.com/gridloop/gridloop/tools"
)

// DB is the airline's database. A copy may be read by any number of calls at once,
// or changed by one, which is how the loop runs read-only tools and the others.
type DB struct {
	all                          *tables.DB
	flights, reservations, users *tables.Table
}

// Load reads flights.json, reservations.json and users.json in a directory. Files
// given besides stand in for the table of their name.
func Load(dir string, instead ...string) (*DB, error) {
	files := []string{filepath.Join(dir, "flights.json"), filepath.Join(dir, "reservations.json"), filepath.Join(dir, "users.json")}
	all, err := tables.Load(append(files, instead...)...)
	if err != nil {
		return nil, fmt.Errorf("airline: %w", err)
	}
	return open(all), nil
}

func open(all *tables.DB) *DB {
	return &DB{all, all.Table("flights"), all.Table("reservations"), all.Table("users")}
}

// Copy is the same database for another conversation. It costs next to nothing
// until something is changed. Any number of goroutines may copy what nobody changes.
func (db *DB) Copy() *DB { return open(db.all.Copy()) }

// Hash is the SHA-256 of the whole database: two databases with the same hash hold
// the same documents.
func (db *DB) Hash(form tables.Form) string { return db.all.Hash(form) }

// Tools are the 14 tools in the order in which the benchmark offers them. find is
// asked on each call which database it works on.
func Tools(find func(context.Context) (*DB, error)) []tools.Tool {
	return []tools.Tool{
		tools.New("book_reservation", "Book a trip for a user and pay for it. All amounts together must be the exact price.", desk.On(find, (*DB).book)),
		desk.Calculate(),
		tools.New("cancel_reservation", "Cancel a whole reservation and refund every payment.", desk.On(find, (*DB).cancel)),
		tools.New("get_reservation_details", "Read one reservation.", desk.On(find, (*DB).reservation), tools.ReadOnly()),
		tools.New("get_user_details", "Read a user's profile: payment methods, membership, reservations.", desk.On(find, (*DB).user), tools.ReadOnly()),
		tools.New("list_all_airports", "List the airports served, by IATA code.", desk.On(find, (*DB).airports), tools.ReadOnly()),
		tools.New("search_direct_flight", "Find the flights between two airports on a day that have seats to sell.", desk.On(find, (*DB).direct), tools.ReadOnly()),
		tools.New("search_onestop_flight", "Find connections with one stop between two airports, leaving on a day.", desk.On(find, (*DB).oneStop), tools.ReadOnly()),
		tools.New("send_certificate", "Give a user a travel certificate. It cannot be taken back.", desk.On(find, (*DB).sendCertificate)),
		desk.Think(),
		desk.Transfer(),
		tools.New("update_reservation_baggages", "Change how many bags a reservation has. Added bags that are not free are paid for.", desk.On(find, (*DB).updateBaggages)),
		tools.New("update_reservation_flights", "Replace all flights of a reservation. The difference in price is paid or refunded.", desk.On(find, (*DB).updateFlights)),
		tools.New("update_reservation_passengers", "Replace the passengers of a reservation. Their number stays.", desk.On(find, (*DB).updatePassengers)),
	}
}
