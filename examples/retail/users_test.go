package retail

import "testing"

func TestUsers(t *testing.T) {
	const (
		head    = `{"name": {"first_name": "Ann", "last_name": "Li"}, "address": `
		tail    = `, "email": "ann@example.com", "payment_methods": {"card_1": {"source": "credit_card", "id": "card_1"}, "card_2": {"source": "paypal", "id": "card_2"}, "gift_card_1": {"source": "gift_card", "balance": 4, "id": "gift_card_1"}, "gift_card_2": {"source": "gift_card", "balance": 80, "id": "gift_card_2"}}, "orders": ["#W1"]}`
		newHome = `"address1":"1 Way","address2":"","city":"Köln","state":"NW","country":"DE","zip":"50667"`
	)
	check(t, []row{
		{name: "by email in any case", tool: "find_user_id_by_email", args: `{"email":"Ann@Example.com"}`, want: "ann"},
		{name: "by no email", tool: "find_user_id_by_email", args: `{"email":"bo@example.com"}`, want: "Error: user not found"},
		{name: "by name and zip", tool: "find_user_id_by_name_zip", args: `{"first_name":"ann","last_name":"LI","zip":"1"}`, want: "ann"},
		{name: "by name and another zip", tool: "find_user_id_by_name_zip", args: `{"first_name":"Ann","last_name":"Li","zip":"01"}`, want: "Error: user not found"},
		{name: "details", tool: "get_user_details", args: `{"user_id":"ann"}`, want: head + `{"zip": "1"}` + tail},
		{name: "nobody", tool: "get_user_details", args: `{"user_id":"bo"}`, want: "Error: user not found"},
		{name: "moves", tool: "modify_user_address", args: `{"user_id":"ann",` + newHome + `}`, changes: true,
			want: head + `{"address1": "1 Way", "address2": "", "city": "K\u00f6ln", "state": "NW", "country": "DE", "zip": "50667"}` + tail},
		{name: "nobody moves", tool: "modify_user_address", args: `{"user_id":"bo",` + newHome + `}`, want: "Error: user not found"},
	})
}
