package tools

import (
	"encoding/json"
	"strings"
	"testing"
)

// Each keyword is explained in words that say what to write instead.
func TestEveryKeywordIsExplained(t *testing.T) {
	for _, row := range []struct{ name, schema, value, rule, want string }{
		{"const", `{"const":{"a":1}}`, `2`, "const", `/x: expected exactly {"a":1}, found number 2`},
		{"not", `{"not":{"type":"string"}}`, `"a"`, "not", "/x: expected a value that does not fit the form"},
		{"false", `false`, `1`, "false", "/x: expected nothing here, found number 1"},
		{"minLength", `{"minLength":3}`, `"ab"`, "minLength", "at least 3 characters"},
		{"maxLength", `{"maxLength":1}`, `"ab"`, "maxLength", "at most 1 characters"},
		{"minItems", `{"minItems":2}`, `[1]`, "minItems", "at least 2 items, found array [1]"},
		{"uniqueItems", `{"uniqueItems":true}`, `[1,1]`, "uniqueItems", "items that all differ"},
		{"minProperties", `{"minProperties":1}`, `{}`, "minProperties", "at least 1 properties, found object {}"},
		{"maxProperties", `{"maxProperties":0}`, `{"a":1}`, "maxProperties", "at most 0 properties"},
		{"maximum", `{"maximum":0.5}`, `1`, "maximum", "at most 0.5, found number 1"},
		{"exclusiveMinimum", `{"exclusiveMinimum":0}`, `0`, "exclusiveMinimum", "more than 0"},
		{"exclusiveMaximum", `{"exclusiveMaximum":9007199254740993}`, `9007199254740993`, "exclusiveMaximum", "less than 9007199254740993"},
		{"multipleOf", `{"multipleOf":5}`, `7`, "multipleOf", "a multiple of 5"},
		{"format", `{"format":"email"}`, `"x"`, "format", "text in the format email"},
		{"contentMediaType", `{"contentMediaType":"application/json"}`, `"{"`, "contentMediaType", "text that holds application/json"},
		{"dependentRequired", `{"dependentRequired":{"a":["b"]}}`, `{"a":1}`, "dependentRequired", "/x/b: expected a value"},
		{"contains", `{"contains":{"const":1}}`, `[2]`, "contains", "/x: expected an item of the form that the schema asks for, found array [2]"},
		{"propertyNames", `{"propertyNames":{"pattern":"^[a-z]$"}}`, `{"A":1}`, "propertyNames", `/x: expected names that the schema allows, found the name "A"`},
		{"several of oneOf", `{"oneOf":[{"type":"integer"},{"minimum":0}]}`, `1`, "oneOf", "exactly one of the allowed forms"},
		{"none of anyOf", `{"anyOf":[{"type":"integer"},{"properties":{"a":{"type":"string"}},"type":"object"}]}`, `{"a":1}`, "anyOf", "expected integer, or string at /a, found object"},
		{"all of allOf", `{"allOf":[{"minimum":2},{"multipleOf":2}]}`, `1`, "minimum", "at least 2"},
		{"reference", `{"$ref":"#/$defs/n"}`, `"a"`, "type", "/x: expected integer, found string \"a\""},
		{"long value", `{"type":"integer"}`, `"` + strings.Repeat("é", 500) + `"`, "type", "é…"},
		{"names that need escapes", `{"type":"object","additionalProperties":false}`, `{"a/b~c":1}`, "additionalProperties", "/x/a~1b~0c: expected nothing"},
	} {
		t.Run(row.name, func(t *testing.T) {
			tool := Raw("t", "", json.RawMessage(`{"type":"object","properties":{"x":`+row.schema+`},"$defs":{"n":{"type":"integer"}}}`), echo)
			if err := tool.Err(); err != nil {
				t.Fatal(err)
			}
			err := tool.Check(json.RawMessage(`{"x":` + row.value + `}`))
			wrong, ok := err.(*ArgumentsError)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if wrong.Problems[0].Rule != row.rule {
				t.Errorf("rule %q, want %q", wrong.Problems[0].Rule, row.rule)
			}
			if said := wrong.Explain(); !strings.Contains(said, row.want) || len(said) > 300 {
				t.Errorf("%q does not say %q", said, row.want)
			}
		})
	}
}

func TestValuesBeyondTheGoTypeAreExplainedWithoutWordsOfGo(t *testing.T) {
	for _, row := range []struct {
		name string
		err  error
		want string
	}{
		{"unsigned", decodeErr[struct{ X uint8 }](`{"X":256}`), "/X: expected an integer of at most 8 bits, not negative, found number 256"},
		{"float", decodeErr[struct{ X float32 }](`{"X":1e300}`), "/X: expected a number that fits a float of 32 bits"},
		{"key of a map", decodeErr[struct{ X map[int8]string }](`{"X":{"300":"a"}}`), "at most 8 bits"},
		{"integer in a string", decodeErr[struct {
			X int `json:",string"`
		}](`{"X":"seven"}`), "expected a value that the tool can read"},
		{"value that is wrapped", decodeErr[int8](`{"value":300}`), "at most 8 bits"},
	} {
		t.Run(row.name, func(t *testing.T) {
			wrong, ok := row.err.(*ArgumentsError)
			if !ok {
				t.Fatalf("got %v", row.err)
			}
			if said := wrong.Explain(); !strings.Contains(said, row.want) || strings.Contains(said, "Go ") {
				t.Errorf("%q does not say %q", said, row.want)
			}
		})
	}
}

func decodeErr[T any](raw string) error {
	_, _, err := decodeAs[T](json.RawMessage(raw))
	return err
}
