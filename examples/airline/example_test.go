package airline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gridloop/gridloop/examples/airline"
	"github.com/gridloop/gridloop/tools"
)

// One set of tools serves many customers: each call finds its own database by the
// tenant that the service, and not the model, gave to the run.
func Example() {
	dir, err := os.MkdirTemp("", "airline")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string]string{
		"flights": `{}`, "reservations": `{}`,
		"users": `{"ann": {"membership": "gold", "payment_methods": {}}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o600); err != nil {
			fmt.Println(err)
			return
		}
	}
	origin, err := airline.Load(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	desks := map[string]*airline.DB{"first": origin.Copy(), "second": origin.Copy()}
	set, err := tools.NewSet(airline.Tools(func(ctx context.Context) (*airline.DB, error) {
		return desks[tools.CallFrom(ctx).Tenant], nil
	})...)
	if err != nil {
		fmt.Println(err)
		return
	}

	first := tools.WithCall(context.Background(), tools.Call{Tenant: "first"})
	fmt.Println(set.Call(first, "send_certificate", json.RawMessage(`{"user_id": "ann", "amount": 50}`)).Content)
	for _, tenant := range []string{"first", "second"} {
		ctx := tools.WithCall(context.Background(), tools.Call{Tenant: tenant})
		fmt.Println(tenant, set.Call(ctx, "get_user_details", json.RawMessage(`{"user_id": "ann"}`)).Content)
	}
	// Output:
	// Certificate certificate_3221322 added to user ann with amount 50.
	// first {"membership": "gold", "payment_methods": {"certificate_3221322": {"source": "certificate", "amount": 50, "id": "certificate_3221322"}}}
	// second {"membership": "gold", "payment_methods": {}}
}
