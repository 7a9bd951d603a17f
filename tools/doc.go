// Package tools makes a plain Go func into a tool that a model can call: it
// derives the schema the model is shown, checks what the model sends, and runs
// one call so that nothing the func does can hurt its caller.
//
// A call passes these stations, and each failure on the way becomes a [Result]
// that tells the model what to mend:
//
//	args -> one JSON object? -> fits the schema? -> fits the Go type?   invalid_arguments
//	     -> func in its own goroutine, with a timeout                   error, panic, timeout, canceled
//	     -> text: a string as it is, all else as JSON, cut at a limit   ok
//
// The package runs one call. Which calls run beside each other, and in which
// order, is for the loop to decide; [Tool.ReadOnly] is what it decides by.
//
//	lookup := tools.New("lookup_order", "Read one order.",
//		func(ctx context.Context, in struct {
//			Order string `json:"order" jsonschema:"pattern=^[0-9]+$"`
//		}) (Order, error) {
//			return db.Order(ctx, in.Order)
//		}, tools.ReadOnly())
//
// # Schemas
//
// The schema of In follows encoding/json and the tags of
// github.com/invopop/jsonschema: a field is required unless it is omitempty or
// omitzero; `jsonschema:"enum=a,enum=b,minimum=1"` constrains it;
// `jsonschema_description:"..."` explains it. Everything is inlined, an unknown
// property is an error, and a type that refers to itself is refused. A pointer
// stands for what it points to; `jsonschema:"nullable"` lets null through as well.
// A type with an UnmarshalText is a string; one with an UnmarshalJSON may be any
// value, unless its method JSONSchema() *jsonschema.Schema says more.
// Formats and base64 are checked, not only described.
//
// # Arguments
//
// Absent, empty, blank and null arguments are the empty object. Two equal keys in
// one object are refused, since readers of JSON disagree on which one counts.
// Integers keep all 64 bits; a field of an interface type receives numbers
// as [encoding/json.Number] for the same reason. 5.0 is taken for an integer 5.
package tools
