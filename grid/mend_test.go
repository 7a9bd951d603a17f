package grid_test

import (
	"encoding/json"
	"testing"

	"github.com/gridloop/gridloop/grid"
)

func TestCallsThatStrictServersRefuseAreMendedWhenSent(t *testing.T) {
	for _, row := range []struct{ name, call, arguments, wantCall, wantArguments string }{
		{"good", "f", `{"x": 1}`, "f", `{"x": 1}`},
		{"no arguments", "f", "", "f", "{}"},
		{"white space", "f", " \n", "f", "{}"},
		{"null", "f", " null", "f", "{}"},
		{"cut", "f", `{"x":`, "f", `{"unreadable_arguments":"{\"x\":"}`},
		{"bad escape", "f", `{"x":"\d"}`, "f", `{"unreadable_arguments":"{\"x\":\"\\d\"}"}`},
		{"two objects", "f", `{}{"x":1}`, "f", `{"unreadable_arguments":"{}{\"x\":1}"}`},
		{"a list", "f", `[1]`, "f", `{"unreadable_arguments":"[1]"}`},
		{"encoded twice", "f", `"{}"`, "f", `{"unreadable_arguments":"\"{}\""}`},
		{"no name", "", "{}", "unnamed", "{}"},
		{"a name space", "default_api:view.é", "{}", "default_api_view__", "{}"},
	} {
		kept := grid.Message{Role: grid.RoleAssistant, ToolCalls: []grid.ToolCall{
			{ID: "a", Name: "ok", Arguments: "{}"}, {ID: "b", Name: row.call, Arguments: row.arguments},
		}}
		sent, changed := kept.Mended()
		if c := sent.ToolCalls[1]; c.Name != row.wantCall || c.Arguments != row.wantArguments || c.ID != "b" || !json.Valid([]byte(c.Arguments)) {
			t.Errorf("%s: %s(%s)", row.name, c.Name, c.Arguments)
		}
		if want := row.call != row.wantCall || row.arguments != row.wantArguments; changed != want {
			t.Errorf("%s: changed %v", row.name, changed)
		}
		if c := kept.ToolCalls[1]; c.Name != row.call || c.Arguments != row.arguments {
			t.Errorf("%s: the record was changed to %+v", row.name, c)
		}
		if p := kept.Portable(); p.ToolCalls[1].Arguments != row.wantArguments || kept.ToolCalls[1].Arguments != row.arguments {
			t.Errorf("%s: portable is %+v", row.name, p.ToolCalls[1])
		}
		if _, again := sent.Mended(); again {
			t.Errorf("%s: what was mended is mended again", row.name)
		}
	}
	custom := grid.Message{Role: grid.RoleAssistant, ToolCalls: []grid.ToolCall{{ID: "a", Type: "custom", Name: "calc", Arguments: "4 + 4"}}}
	if sent, changed := custom.Mended(); changed || sent.ToolCalls[0].Arguments != "4 + 4" {
		t.Errorf("free text was mended: %+v", sent.ToolCalls[0])
	}
}
