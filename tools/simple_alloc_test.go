//go:build !race

package tools

import (
	"encoding/json"
	"testing"
)

// The race detector drops a part of what sync.Pool is given back, and patterns are matched with pooled memory.
func TestTheShortWayAllocatesNothing(t *testing.T) {
	s, err := SchemaFor[struct {
		Order  string   `json:"order" jsonschema:"pattern=^[0-9]+$,minLength=1"`
		Cents  int64    `json:"cents" jsonschema:"minimum=1"`
		Fields []string `json:"fields" jsonschema:"enum=since,enum=notes"`
		Place  address  `json:"place"`
	}]()
	if err != nil {
		t.Fatal(err)
	}
	raw := json.RawMessage(`{"order":"42","cents":1,"fields":["since"],"place":{"city":"Köln"}}`)
	if n := testing.AllocsPerRun(100, func() {
		if err := s.Validate(raw); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
