package airline

import (
	"github.com/gridloop/gridloop/examples/internal/desk"
	"github.com/gridloop/gridloop/examples/internal/pyjson"
	"github.com/gridloop/gridloop/examples/internal/verbatim"
)

type passenger struct {
	FirstName string `json:"first_name"`
	LastName  string `json:"last_name"`
	DOB       string `json:"dob" jsonschema_description:"date of birth, YYYY-MM-DD"`
}

type reservationIn struct {
	ReservationID string `json:"reservation_id" jsonschema_description:"such as ZFA04Y"`
}

func (db *DB) reservation(in reservationIn) (pyjson.Value, error) {
	r := db.reservations.Get(in.ReservationID)
	if r == nil {
		return nil, desk.Refuse("user not found") // the benchmark's words here, too
	}
	return r, nil
}

// edit is a reservation to change.
func (db *DB) edit(id string) (*pyjson.Object, error) {
	r := db.reservations.Edit(id)
	if r == nil {
		return nil, desk.Refuse("reservation not found")
	}
	return r, nil
}

type bookIn struct {
	UserID          string                       `json:"user_id" jsonschema_description:"such as sara_doe_496"`
	Origin          string                       `json:"origin" jsonschema_description:"IATA code, such as SFO"`
	Destination     string                       `json:"destination" jsonschema_description:"IATA code, such as JFK"`
	FlightType      string                       `json:"flight_type" jsonschema:"enum=one_way,enum=round_trip"`
	Cabin           string                       `json:"cabin" jsonschema:"enum=basic_economy,enum=economy,enum=business"`
	Flights         legs                         `json:"flights" jsonschema_description:"every flight of the trip"`
	Passengers      []verbatim.Object[passenger] `json:"passengers"`
	PaymentMethods  []verbatim.Object[payment]   `json:"payment_methods" jsonschema_description:"what is paid with which method"`
	TotalBaggages   int                          `json:"total_baggages" jsonschema_description:"bags in all"`
	NonfreeBaggages int                          `json:"nonfree_baggages" jsonschema_description:"those of them that are not free"`
	Insurance       string                       `json:"insurance" jsonschema:"enum=yes,enum=no"`
}

const (
	insurancePrice = 30 // dollars a passenger
	bagPrice       = 50 // dollars a bag that is not free
)

func (db *DB) book(in bookIn) (pyjson.Value, error) {
	user := db.users.Get(in.UserID)
	if user == nil {
		return nil, desk.Refuse("user not found")
	}
	flights, price, err := db.fly(in.Flights, in.Cabin, len(in.Passengers), nil)
	if err != nil {
		return nil, err
	}
	if in.Insurance == "yes" {
		price = price.Add(pyjson.Int(insurancePrice).Times(len(in.Passengers)))
	}
	price = price.Add(pyjson.Int(bagPrice).Times(in.NonfreeBaggages))
	payments := make([]payment, len(in.PaymentMethods))
	for i, p := range in.PaymentMethods {
		payments[i] = p.In
	}
	if err := db.pay(in.UserID, payments, price); err != nil {
		return nil, err
	}

	id := db.freeID()
	booked := (&pyjson.Object{}).
		With("reservation_id", id).
		With("user_id", in.UserID).
		With("origin", in.Origin).
		With("destination", in.Destination).
		With("flight_type", in.FlightType).
		With("cabin", in.Cabin).
		With("flights", flights).
		With("passengers", verbatim.Values(in.Passengers)).
		With("payment_history", verbatim.Values(in.PaymentMethods)).
		With("created_at", "2024-05-15T15:00:00").
		With("total_baggages", pyjson.Int(in.TotalBaggages)).
		With("nonfree_baggages", pyjson.Int(in.NonfreeBaggages)).
		With("insurance", in.Insurance)
	db.reservations.Put(id, booked)
	db.users.Edit(in.UserID).Append("reservations", id)
	return booked, nil
}

// freeID is the id of the next reservation: the benchmark knows three.
func (db *DB) freeID() string {
	for _, id := range []string{"HATHAT", "HATHAU"} {
		if db.reservations.Get(id) == nil {
			return id
		}
	}
	return "HATHAV"
}

// fly completes legs by price, origin and destination, and adds up what they cost
// for all passengers. A leg among those kept costs what it cost.
func (db *DB) fly(wanted legs, cabin string, passengers int, kept []*pyjson.Object) ([]pyjson.Value, pyjson.Number, error) {
	flights, price := verbatim.Values(wanted), pyjson.Number{}
	for i, l := range wanted {
		into := flights[i].(*pyjson.Object)
		if old := among(kept, l.In); old != nil {
			into.With("price", old.Get("price")).With("origin", old.Get("origin")).With("destination", old.Get("destination"))
			price = price.Add(old.Num("price").Times(passengers))
			continue
		}
		one, err := db.seats(into, l.In, cabin, passengers)
		if err != nil {
			return nil, price, err
		}
		price = price.Add(one.Times(passengers))
	}
	return flights, price, nil
}

func among(flights []*pyjson.Object, l leg) *pyjson.Object {
	for _, f := range flights {
		if f.Str("flight_number") == l.FlightNumber && f.Str("date") == l.Date {
			return f
		}
	}
	return nil
}

func (db *DB) cancel(in reservationIn) (pyjson.Value, error) {
	r, err := db.edit(in.ReservationID)
	if err != nil {
		return nil, err
	}
	for _, p := range r.Objs("payment_history") {
		r.Append("payment_history", (&pyjson.Object{}).With("payment_id", p.Get("payment_id")).With("amount", p.Num("amount").Neg()))
	}
	r.Set("status", "cancelled")
	return r, nil
}

type flightsIn struct {
	ReservationID string `json:"reservation_id" jsonschema_description:"such as ZFA04Y"`
	Cabin         string `json:"cabin" jsonschema:"enum=basic_economy,enum=economy,enum=business"`
	Flights       legs   `json:"flights" jsonschema_description:"every flight of the reservation, also those that stay"`
	PaymentID     string `json:"payment_id" jsonschema_description:"id of a payment method in the user's profile"`
}

func (db *DB) updateFlights(in flightsIn) (pyjson.Value, error) {
	r, err := db.edit(in.ReservationID)
	if err != nil {
		return nil, err
	}
	old, passengers := r.Objs("flights"), len(r.List("passengers"))
	kept := old
	if in.Cabin != r.Str("cabin") {
		kept = nil // another cabin has another price
	}
	flights, price, err := db.fly(in.Flights, in.Cabin, passengers, kept)
	if err != nil {
		return nil, err
	}
	for _, f := range old {
		price = price.Sub(f.Num("price").Times(passengers))
	}
	if err := db.charge(r.Str("user_id"), in.PaymentID, price); err != nil {
		return nil, err
	}
	r.Set("flights", flights)
	note(r, in.PaymentID, price)
	return r, nil // the cabin of the reservation stays: so does the benchmark
}

// note enters a payment in the history, unless there was nothing to pay.
func note(r *pyjson.Object, paymentID string, price pyjson.Number) {
	if price.Sign() != 0 {
		r.Append("payment_history", (&pyjson.Object{}).With("payment_id", paymentID).With("amount", price))
	}
}

type baggagesIn struct {
	ReservationID   string `json:"reservation_id" jsonschema_description:"such as ZFA04Y"`
	TotalBaggages   int    `json:"total_baggages" jsonschema_description:"bags in all, after the change"`
	NonfreeBaggages int    `json:"nonfree_baggages" jsonschema_description:"those of them that are not free"`
	PaymentID       string `json:"payment_id" jsonschema_description:"id of a payment method in the user's profile"`
}

func (db *DB) updateBaggages(in baggagesIn) (pyjson.Value, error) {
	r, err := db.edit(in.ReservationID)
	if err != nil {
		return nil, err
	}
	total, nonfree := pyjson.Int(in.TotalBaggages), pyjson.Int(in.NonfreeBaggages)
	price := nonfree.Sub(r.Num("nonfree_baggages"))
	if price.Sign() < 0 {
		price = pyjson.Int(0) // bags that are given up are not refunded
	}
	price = price.Times(bagPrice)
	if err := db.charge(r.Str("user_id"), in.PaymentID, price); err != nil {
		return nil, err
	}
	r.With("total_baggages", total).With("nonfree_baggages", nonfree)
	note(r, in.PaymentID, price)
	return r, nil
}

type passengersIn struct {
	ReservationID string                       `json:"reservation_id" jsonschema_description:"such as ZFA04Y"`
	Passengers    []verbatim.Object[passenger] `json:"passengers"`
}

func (db *DB) updatePassengers(in passengersIn) (pyjson.Value, error) {
	r, err := db.edit(in.ReservationID)
	if err != nil {
		return nil, err
	}
	if len(in.Passengers) != len(r.List("passengers")) {
		return nil, desk.Refuse("number of passengers does not match")
	}
	r.Set("passengers", verbatim.Values(in.Passengers))
	return r, nil
}
