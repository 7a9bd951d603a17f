package airline

import (
	"strconv"
	"strings"

	"github.com/gridloop/gridloop/examples/internal/desk"
	"github.com/gridloop/gridloop/examples/internal/pyjson"
	"github.com/gridloop/gridloop/examples/internal/verbatim"
)

// The airports, in the order in which they are listed.
var served = []struct{ code, city string }{
	{"SFO", "San Francisco"}, {"JFK", "New York"}, {"LAX", "Los Angeles"}, {"ORD", "Chicago"}, {"DFW", "Dallas"},
	{"DEN", "Denver"}, {"SEA", "Seattle"}, {"ATL", "Atlanta"}, {"MIA", "Miami"}, {"BOS", "Boston"},
	{"PHX", "Phoenix"}, {"IAH", "Houston"}, {"LAS", "Las Vegas"}, {"MCO", "Orlando"}, {"EWR", "Newark"},
	{"CLT", "Charlotte"}, {"MSP", "Minneapolis"}, {"DTW", "Detroit"}, {"PHL", "Philadelphia"}, {"LGA", "LaGuardia"},
}

func (db *DB) airports(struct{}) (pyjson.Value, error) {
	all := &pyjson.Object{}
	for _, a := range served {
		all.Set(a.code, a.city)
	}
	return all, nil
}

type searchIn struct {
	Origin      string `json:"origin" jsonschema_description:"IATA code, such as JFK"`
	Destination string `json:"destination" jsonschema_description:"IATA code, such as LAX"`
	Date        string `json:"date" jsonschema_description:"day of departure, YYYY-MM-DD"`
}

func (db *DB) direct(in searchIn) (pyjson.Value, error) {
	found := []pyjson.Value{}
	for _, f := range db.flights.All {
		if f.Str("origin") == in.Origin && f.Str("destination") == in.Destination && sells(f, in.Date) {
			found = append(found, offer(f, in.Date))
		}
	}
	return found, nil
}

func (db *DB) oneStop(in searchIn) (pyjson.Value, error) {
	found := []pyjson.Value{}
	for _, first := range db.flights.All {
		if first.Str("origin") != in.Origin {
			continue
		}
		for _, second := range db.flights.All {
			if second.Str("destination") != in.Destination || second.Str("origin") != first.Str("destination") {
				continue
			}
			arrival, onward := first.Str("scheduled_arrival_time_est"), in.Date
			if strings.Contains(arrival, "+1") {
				var err error
				if onward, err = dayAfter(in.Date); err != nil {
					return nil, err
				}
			}
			// The times are compared as text, as the benchmark does: an arrival on the
			// next day, "01:00:00+1", is early in the day that the second flight leaves.
			if arrival > second.Str("scheduled_departure_time_est") || !sells(first, in.Date) || !sells(second, onward) {
				continue
			}
			// The fields of the second leg are those of the first day, and only its date
			// is the next one. That is a slip of the benchmark, which the recordings keep.
			if !second.Obj("dates").Has(in.Date) {
				return nil, desk.Refuse("'%s'", in.Date)
			}
			found = append(found, []pyjson.Value{
				offer(first, in.Date).With("date", in.Date),
				offer(second, in.Date).With("date", onward),
			})
		}
	}
	return found, nil
}

// dayAfter is the next day in May 2024, the month of the benchmark, in its own
// spelling without a leading zero.
func dayAfter(date string) (string, error) {
	last := date[max(len(date)-2, 0):]
	day, err := strconv.Atoi(strings.TrimSpace(last))
	if err != nil {
		return "", desk.Refuse("invalid literal for int() with base 10: %s", pyjson.Repr(last))
	}
	return "2024-05-" + strconv.Itoa(day+1), nil
}

// sells says whether seats of a flight can be bought for a day.
func sells(flight *pyjson.Object, date string) bool {
	return flight.Obj("dates").Obj(date).Str("status") == "available"
}

// offer is a flight with what it costs on a day in place of its calendar.
func offer(flight *pyjson.Object, date string) *pyjson.Object {
	o := &pyjson.Object{}
	for _, key := range flight.Keys() {
		if key != "dates" {
			o.Set(key, flight.Get(key))
		}
	}
	day := flight.Obj("dates").Obj(date)
	for _, key := range day.Keys() {
		o.Set(key, day.Get(key))
	}
	return o
}

type leg struct {
	FlightNumber string `json:"flight_number" jsonschema_description:"such as HAT001"`
	Date         string `json:"date" jsonschema_description:"day of departure, YYYY-MM-DD"`
}

// seats adds price, origin and destination to a leg, if there are seats for so
// many in the cabin, and returns the price of one.
func (db *DB) seats(into *pyjson.Object, l leg, cabin string, passengers int) (pyjson.Number, error) {
	flight := db.flights.Get(l.FlightNumber)
	if flight == nil {
		return pyjson.Number{}, desk.Refuse("flight %s not found", l.FlightNumber)
	}
	if !flight.Obj("dates").Has(l.Date) {
		return pyjson.Number{}, desk.Refuse("flight %s not found on date %s", l.FlightNumber, l.Date)
	}
	if !sells(flight, l.Date) {
		return pyjson.Number{}, desk.Refuse("flight %s not available on date %s", l.FlightNumber, l.Date)
	}
	day := flight.Obj("dates").Obj(l.Date)
	if day.Obj("available_seats").Num(cabin).Cmp(pyjson.Int(passengers)) < 0 {
		return pyjson.Number{}, desk.Refuse("not enough seats on flight %s", l.FlightNumber)
	}
	price := day.Obj("prices").Num(cabin)
	into.With("price", price).With("origin", flight.Get("origin")).With("destination", flight.Get("destination"))
	return price, nil
}

// Flights that a model names are stored as it wrote them.
type legs = []verbatim.Object[leg]
