package airline

import "testing"

func TestFlights(t *testing.T) {
	const (
		first  = `{"flight_number": "HAT1", "origin": "SFO", "destination": "DEN", "scheduled_departure_time_est": "06:00:00", "scheduled_arrival_time_est": "09:00:00", "status": "available", "available_seats": {"economy": 2, "business": 0}, "prices": {"economy": 100, "business": 300}`
		second = `{"flight_number": "HAT2", "origin": "DEN", "destination": "SEA", "scheduled_departure_time_est": "10:00:00", "scheduled_arrival_time_est": "12:00:00", "status": "available", "available_seats": {"economy": 9}, "prices": {"economy": 50}`
		late   = `{"flight_number": "HAT3", "origin": "LAX", "destination": "DEN", "scheduled_departure_time_est": "22:00:00", "scheduled_arrival_time_est": "01:00:00+1", "status": "available", "available_seats": {"economy": 1}, "prices": {"economy": 70}`
	)
	check(t, []row{
		{name: "direct", tool: "search_direct_flight", args: `{"origin":"SFO","destination":"DEN","date":"2024-05-16"}`, want: "[" + first + "}]"},
		{name: "direct, landed", tool: "search_direct_flight", args: `{"origin":"SFO","destination":"DEN","date":"2024-05-14"}`, want: "[]"},
		{name: "direct, not flown", tool: "search_direct_flight", args: `{"origin":"SFO","destination":"DEN","date":"2024-06-01"}`, want: "[]"},
		{name: "one stop", tool: "search_onestop_flight", args: `{"origin":"SFO","destination":"SEA","date":"2024-05-16"}`,
			want: "[[" + first + `, "date": "2024-05-16"}, ` + second + `, "date": "2024-05-16"}]]`},
		{name: "one stop over night: the fields are those of the first day", tool: "search_onestop_flight", args: `{"origin":"LAX","destination":"SEA","date":"2024-05-16"}`,
			want: "[[" + late + `, "date": "2024-05-16"}, ` + second + `, "date": "2024-05-17"}]]`},
		{name: "one stop over night, no seats on the next day", tool: "search_onestop_flight", args: `{"origin":"LAX","destination":"SEA","date":"2024-05-17"}`, want: "[]"},
		{name: "no such date", tool: "search_onestop_flight", args: `{"origin":"LAX","destination":"SEA","date":"today"}`,
			want: "Error: invalid literal for int() with base 10: 'ay'"},
		{name: "an empty date", tool: "search_onestop_flight", args: `{"origin":"LAX","destination":"SEA","date":""}`,
			want: "Error: invalid literal for int() with base 10: ''"},
	})
}
