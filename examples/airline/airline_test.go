package airline

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

// A day at a small airline: HAT1 to Denver, HAT2 on to Seattle, HAT3 arrives a day later.
const (
	someFlights = `{
"HAT1": {"flight_number": "HAT1", "origin": "SFO", "destination": "DEN", "scheduled_departure_time_est": "06:00:00", "scheduled_arrival_time_est": "09:00:00",
  "dates": {"2024-05-16": {"status": "available", "available_seats": {"economy": 2, "business": 0}, "prices": {"economy": 100, "business": 300}}, "2024-05-14": {"status": "landed"}}},
"HAT2": {"flight_number": "HAT2", "origin": "DEN", "destination": "SEA", "scheduled_departure_time_est": "10:00:00", "scheduled_arrival_time_est": "12:00:00",
  "dates": {"2024-05-16": {"status": "available", "available_seats": {"economy": 9}, "prices": {"economy": 50}}, "2024-05-17": {"status": "available", "available_seats": {"economy": 8}, "prices": {"economy": 55}}}},
"HAT3": {"flight_number": "HAT3", "origin": "LAX", "destination": "DEN", "scheduled_departure_time_est": "22:00:00", "scheduled_arrival_time_est": "01:00:00+1",
  "dates": {"2024-05-16": {"status": "available", "available_seats": {"economy": 1}, "prices": {"economy": 70}}, "2024-05-17": {"status": "available", "available_seats": {"economy": 1}, "prices": {"economy": 70}}}}
}`
	someReservations = `{
"R1": {"reservation_id": "R1", "user_id": "ann", "cabin": "economy", "flights": [{"origin": "SFO", "destination": "DEN", "flight_number": "HAT1", "date": "2024-05-16", "price": 90}],
  "passengers": [{"first_name": "Ann", "last_name": "Li", "dob": "1990-01-01"}], "payment_history": [{"payment_id": "card", "amount": 90}], "total_baggages": 1, "nonfree_baggages": 0}
}`
	someUsers = `{
"ann": {"name": "Ann", "payment_methods": {"card": {"source": "credit_card", "id": "card"}, "gift": {"source": "gift_card", "amount": 60, "id": "gift"}, "cert": {"source": "certificate", "amount": 80, "id": "cert"}}, "reservations": ["R1"]}
}`
)

func someDB(t testing.TB) *DB {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"flights": someFlights, "reservations": someReservations, "users": someUsers} {
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

// A row is one call on a fresh copy of the database.
type row struct {
	name, tool, args string
	want             string // the result
	user, trip       string // ann and reservation R1 afterwards; empty: as before
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
			if r.user == "" && r.trip == "" && db.Hash(tables.Norm) != before {
				t.Error("the database has changed")
			}
			if got := pyjson.Dumps(db.users.Get("ann")); r.user != "" && got != r.user {
				t.Errorf("ann is\n%s\nwant\n%s", got, r.user)
			}
			if got := pyjson.Dumps(db.reservations.Get("R1")); r.trip != "" && got != r.trip {
				t.Errorf("R1 is\n%s\nwant\n%s", got, r.trip)
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
	writes := map[string]bool{"book_reservation": true, "cancel_reservation": true, "send_certificate": true, "transfer_to_human_agents": true,
		"update_reservation_baggages": true, "update_reservation_flights": true, "update_reservation_passengers": true}
	if set.Len() != 14 {
		t.Errorf("there are %d tools", set.Len())
	}
	for _, tool := range set.All() {
		if tool.ReadOnly() == writes[tool.Name()] {
			t.Errorf("%s: ReadOnly is %t", tool.Name(), tool.ReadOnly())
		}
	}
}
