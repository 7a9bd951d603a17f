package tools_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/gridloop/gridloop/tools"
)

type order struct {
	ID    string `json:"id"`
	Total int64  `json:"total_cents"`
}

func lookup(_ context.Context, in struct {
	Order string `json:"order" jsonschema:"pattern=^[0-9]+$" jsonschema_description:"the order number"`
}) (order, error) {
	if in.Order != "42" {
		return order{}, errors.New("no such order")
	}
	return order{ID: in.Order, Total: 1999}, nil
}

func Example() {
	set, err := tools.NewSet(
		tools.New("lookup_order", "Read one order.", lookup, tools.ReadOnly()),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := tools.WithCall(context.Background(), tools.Call{Tenant: "acme"})

	for _, args := range []string{`{"order":"42"}`, `{"order":42}`, `{"order":"43"}`} {
		res := set.Call(ctx, "lookup_order", json.RawMessage(args))
		fmt.Printf("[%s] %s\n", res.Status, res.Content)
	}
	// Output:
	// [ok] {"id":"42","total_cents":1999}
	// [invalid_arguments] error: the arguments do not fit, so lookup_order was not run.
	// - /order: expected string, found number 42
	// Mend this and call lookup_order again.
	// [error] error: no such order
	// Mend the arguments if they are the cause, take another way, or say that it cannot be done.
}

func ExampleCallFrom() {
	pay := tools.New("refund", "Pay money back.", func(ctx context.Context, in struct {
		Cents int64 `json:"cents" jsonschema:"minimum=1"`
	}) (string, error) {
		call := tools.CallFrom(ctx) // never from the model
		return fmt.Sprintf("paid %d cents for %s under the key %s", in.Cents, call.Tenant, call.Key), nil
	}, tools.NeedsApproval())

	ctx := tools.WithCall(context.Background(), tools.Call{Key: "run1/3/0", Tenant: "acme"})
	fmt.Println(pay.Call(ctx, json.RawMessage(`{"cents":500}`)).Content)
	// Output: paid 500 cents for acme under the key run1/3/0
}

func ExampleRaw() {
	add := tools.Raw("add", "Add numbers.", json.RawMessage(`{
		"type": "object",
		"properties": {"numbers": {"type": "array", "items": {"type": "integer"}}},
		"required": ["numbers"]
	}`), func(_ context.Context, args json.RawMessage) (any, error) {
		var in struct{ Numbers []int }
		if err := json.Unmarshal(args, &in); err != nil {
			return nil, err
		}
		sum := 0
		for _, n := range in.Numbers {
			sum += n
		}
		return sum, nil
	})
	fmt.Println(add.Call(context.Background(), json.RawMessage(`{"numbers":[1,2,3]}`)).Content)
	// Output: 6
}

func ExampleSchemaFor() {
	schema, err := tools.SchemaFor[[]string]()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(schema.JSON()))

	var names []string
	fmt.Println(schema.Decode(json.RawMessage(`{"value":["ann","bob"]}`), &names), names)
	// Output:
	// {"properties":{"value":{"items":{"type":"string"},"type":"array"}},"additionalProperties":false,"type":"object","required":["value"]}
	// <nil> [ann bob]
}
