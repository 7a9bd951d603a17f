package airline

import "testing"

func TestUsers(t *testing.T) {
	const ann = `{"name": "Ann", "payment_methods": {"card": {"source": "credit_card", "id": "card"}, "gift": {"source": "gift_card", "amount": 60, "id": "gift"}, "cert": {"source": "certificate", "amount": 80, "id": "cert"}`
	check(t, []row{
		{name: "details", tool: "get_user_details", args: `{"user_id":"ann"}`, want: ann + `}, "reservations": ["R1"]}`},
		{name: "nobody", tool: "get_user_details", args: `{"user_id":"bo"}`, want: "Error: user not found"},
		{name: "certificate", tool: "send_certificate", args: `{"user_id":"ann","amount":100}`,
			want: "Certificate certificate_3221322 added to user ann with amount 100.",
			user: ann + `, "certificate_3221322": {"source": "certificate", "amount": 100, "id": "certificate_3221322"}}, "reservations": ["R1"]}`},
		{name: "certificate of a float", tool: "send_certificate", args: `{"user_id":"ann","amount":99.50}`,
			want: "Certificate certificate_3221322 added to user ann with amount 99.5.",
			user: ann + `, "certificate_3221322": {"source": "certificate", "amount": 99.5, "id": "certificate_3221322"}}, "reservations": ["R1"]}`},
		{name: "certificate for nobody", tool: "send_certificate", args: `{"user_id":"bo","amount":1}`, want: "Error: user not found"},
	})
}
