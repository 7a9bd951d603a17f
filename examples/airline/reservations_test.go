package airline

import (
	"strings"
	"testing"
)

const (
	tripHead = `{"reservation_id": "R1", "user_id": "ann", "cabin": "economy", "flights": [`
	tripLeg  = `{"origin": "SFO", "destination": "DEN", "flight_number": "HAT1", "date": "2024-05-16", "price": 90}`
	tripWho  = `], "passengers": [{"first_name": "Ann", "last_name": "Li", "dob": "1990-01-01"}], "payment_history": [{"payment_id": "card", "amount": 90}`
	tripBags = `], "total_baggages": 1, "nonfree_baggages": 0`
	trip     = tripHead + tripLeg + tripWho + tripBags + `}`
	annGift  = `{"name": "Ann", "payment_methods": {"card": {"source": "credit_card", "id": "card"}, "gift": {"source": "gift_card", "amount": GIFT, "id": "gift"}, "cert": {"source": "certificate", "amount": 80, "id": "cert"}}, "reservations": ["R1"]}`
)

func TestReservations(t *testing.T) {
	refunded := tripHead + tripLeg + tripWho + `, {"payment_id": "card", "amount": -90}` + tripBags + `, "status": "cancelled"}`
	fewerLegs := func(legs, paid string) string { return tripHead + legs + tripWho + paid + tripBags + `}` }
	const newLeg = `{"date": "2024-05-16", "flight_number": "HAT2", "seat": "4A", "price": 50, "origin": "DEN", "destination": "SEA"}`
	const keptLeg = `{"flight_number": "HAT1", "date": "2024-05-16", "price": 90, "origin": "SFO", "destination": "DEN"}`
	bags := strings.Replace(fewerLegs(tripLeg, `, {"payment_id": "gift", "amount": 50}`), `"total_baggages": 1, "nonfree_baggages": 0`, `"total_baggages": 2, "nonfree_baggages": 1`, 1)
	others := strings.Replace(trip, `"first_name": "Ann"`, `"first_name": "Bo"`, 1)
	gift := func(left string) string { return strings.Replace(annGift, "GIFT", left, 1) }

	check(t, []row{
		{name: "details", tool: "get_reservation_details", args: `{"reservation_id":"R1"}`, want: trip},
		{name: "no such reservation", tool: "get_reservation_details", args: `{"reservation_id":"R2"}`, want: "Error: user not found"},
		{name: "cancel", tool: "cancel_reservation", args: `{"reservation_id":"R1"}`, want: refunded, trip: refunded},
		{name: "cancel nothing", tool: "cancel_reservation", args: `{"reservation_id":"R2"}`, want: "Error: reservation not found"},

		{name: "another flight: the difference is refunded", tool: "update_reservation_flights",
			args: `{"reservation_id":"R1","cabin":"economy","flights":[{"date":"2024-05-16","flight_number":"HAT2","seat":"4A"}],"payment_id":"gift"}`,
			want: fewerLegs(newLeg, `, {"payment_id": "gift", "amount": -40}`), trip: fewerLegs(newLeg, `, {"payment_id": "gift", "amount": -40}`), user: gift("100")},
		{name: "a flight that stays keeps its price", tool: "update_reservation_flights",
			args: `{"reservation_id":"R1","cabin":"economy","flights":[{"flight_number":"HAT1","date":"2024-05-16"}],"payment_id":"card"}`,
			want: fewerLegs(keptLeg, ""), trip: fewerLegs(keptLeg, ""), user: gift("60")},
		{name: "no seats", tool: "update_reservation_flights", args: `{"reservation_id":"R1","cabin":"business","flights":[{"flight_number":"HAT1","date":"2024-05-16"}],"payment_id":"card"}`,
			want: "Error: not enough seats on flight HAT1"},
		{name: "landed", tool: "update_reservation_flights", args: `{"reservation_id":"R1","cabin":"economy","flights":[{"flight_number":"HAT1","date":"2024-05-14"}],"payment_id":"card"}`,
			want: "Error: flight HAT1 not available on date 2024-05-14"},
		{name: "not flown", tool: "update_reservation_flights", args: `{"reservation_id":"R1","cabin":"economy","flights":[{"flight_number":"HAT1","date":"2025-01-01"}],"payment_id":"card"}`,
			want: "Error: flight HAT1 not found on date 2025-01-01"},
		{name: "no such flight", tool: "update_reservation_flights", args: `{"reservation_id":"R1","cabin":"economy","flights":[{"flight_number":"HAT9","date":"2024-05-16"}],"payment_id":"card"}`,
			want: "Error: flight HAT9 not found"},
		{name: "paid by certificate", tool: "update_reservation_flights", args: `{"reservation_id":"R1","cabin":"economy","flights":[{"flight_number":"HAT2","date":"2024-05-16"}],"payment_id":"cert"}`,
			want: "Error: certificate cannot be used to update reservation"},
		{name: "paid by nothing", tool: "update_reservation_flights", args: `{"reservation_id":"R1","cabin":"economy","flights":[{"flight_number":"HAT2","date":"2024-05-16"}],"payment_id":"cash"}`,
			want: "Error: payment method not found"},
		{name: "flights of no reservation", tool: "update_reservation_flights", args: `{"reservation_id":"R2","cabin":"economy","flights":[],"payment_id":"card"}`, want: "Error: reservation not found"},

		{name: "a bag more", tool: "update_reservation_baggages", args: `{"reservation_id":"R1","total_baggages":2,"nonfree_baggages":1,"payment_id":"gift"}`, want: bags, trip: bags, user: gift("10")},
		{name: "more bags than the gift card pays", tool: "update_reservation_baggages", args: `{"reservation_id":"R1","total_baggages":3,"nonfree_baggages":2,"payment_id":"gift"}`,
			want: "Error: gift card balance is not enough"},

		{name: "another passenger", tool: "update_reservation_passengers", args: `{"reservation_id":"R1","passengers":[{"first_name":"Bo","last_name":"Li","dob":"1990-01-01"}]}`, want: others, trip: others},
		{name: "one passenger too few", tool: "update_reservation_passengers", args: `{"reservation_id":"R1","passengers":[]}`, want: "Error: number of passengers does not match"},
	})
}

func TestBooking(t *testing.T) {
	args := func(user, payments string) string {
		return `{"user_id":"` + user + `","origin":"SFO","destination":"SEA","flight_type":"one_way","cabin":"economy",` +
			`"flights":[{"flight_number":"HAT1","date":"2024-05-16"},{"flight_number":"HAT2","date":"2024-05-16"}],` +
			`"passengers":[{"first_name":"Ann","last_name":"Li","dob":"1990-01-01"}],"payment_methods":` + payments +
			`,"total_baggages":1,"nonfree_baggages":1,"insurance":"yes"}` // 100 + 50 + 30 + 50
	}
	check(t, []row{
		{name: "paid by all means", tool: "book_reservation", args: args("ann", `[{"payment_id":"cert","amount":80},{"amount":60,"payment_id":"gift"},{"payment_id":"card","amount":90.0}]`),
			want: `{"reservation_id": "HATHAT", "user_id": "ann", "origin": "SFO", "destination": "SEA", "flight_type": "one_way", "cabin": "economy", ` +
				`"flights": [{"flight_number": "HAT1", "date": "2024-05-16", "price": 100, "origin": "SFO", "destination": "DEN"}, {"flight_number": "HAT2", "date": "2024-05-16", "price": 50, "origin": "DEN", "destination": "SEA"}], ` +
				`"passengers": [{"first_name": "Ann", "last_name": "Li", "dob": "1990-01-01"}], ` +
				`"payment_history": [{"payment_id": "cert", "amount": 80}, {"amount": 60, "payment_id": "gift"}, {"payment_id": "card", "amount": 90.0}], ` +
				`"created_at": "2024-05-15T15:00:00", "total_baggages": 1, "nonfree_baggages": 1, "insurance": "yes"}`,
			user: `{"name": "Ann", "payment_methods": {"card": {"source": "credit_card", "id": "card"}, "gift": {"source": "gift_card", "amount": 0, "id": "gift"}}, "reservations": ["R1", "HATHAT"]}`},
		{name: "too little", tool: "book_reservation", args: args("ann", `[{"payment_id":"card","amount":229.5}]`),
			want: "Error: payment amount does not add up, total price is 230, but paid 229.5"},
		{name: "more than the card holds", tool: "book_reservation", args: args("ann", `[{"payment_id":"gift","amount":230}]`),
			want: "Error: not enough balance in payment method gift"},
		{name: "somebody else's card", tool: "book_reservation", args: args("ann", `[{"payment_id":"bo","amount":230}]`), want: "Error: payment method bo not found"},
		{name: "nobody", tool: "book_reservation", args: args("bo", `[]`), want: "Error: user not found"},
	})
}
