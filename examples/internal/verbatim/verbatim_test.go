package verbatim

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/gridloop/gridloop/examples/internal/pyjson"
	"github.com/gridloop/gridloop/tools"
)

type guest struct {
	Name string        `json:"name"`
	Age  pyjson.Number `json:"age"`
}

type in struct {
	Guests []Object[guest] `json:"guests"`
}

func TestWhatTheModelWroteIsKept(t *testing.T) {
	var got in
	if err := json.Unmarshal([]byte(`{"guests":[{"age":30.0,"note":"é","name":"Ann"}]}`), &got); err != nil {
		t.Fatal(err)
	}
	g := got.Guests[0]
	if g.In.Name != "Ann" || g.In.Age.Cmp(pyjson.Int(30)) != 0 {
		t.Errorf("the typed view is %+v", g.In)
	}
	kept := Values(got.Guests)
	g.Object.Set("name", "changed")
	if text, want := pyjson.Dumps(kept), `[{"age": 30.0, "note": "\u00e9", "name": "Ann"}]`; text != want {
		t.Errorf("kept is %s, want %s", text, want)
	}
}

func TestTheSchemaIsTheTypesAndTakesMoreFields(t *testing.T) {
	tool := tools.New("t", "A test.", func(context.Context, in) (string, error) { return "", nil })
	if err := tool.Err(); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, args string
		fits       bool
	}{
		{"all fields", `{"guests":[{"name":"Ann","age":3}]}`, true},
		{"one more field", `{"guests":[{"name":"Ann","age":3.5,"note":1}]}`, true},
		{"a field is missing", `{"guests":[{"name":"Ann"}]}`, false},
		{"another type", `{"guests":[{"name":"Ann","age":"3"}]}`, false},
		{"no object", `{"guests":["Ann"]}`, false},
		{"null", `{"guests":[null]}`, false},
		{"one more field around it", `{"guests":[],"note":1}`, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := tool.Check(json.RawMessage(row.args)); (err == nil) != row.fits {
				t.Errorf("%s: %v", row.args, err)
			}
		})
	}
}
