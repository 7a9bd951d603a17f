package tools

import (
	"encoding/json"
	"testing"
)

// agree fails the test if the short way takes a text that the validator refuses. It
// reports whether it took it.
func (s *Schema) agree(t *testing.T, raw json.RawMessage) bool {
	t.Helper()
	if s.simple == nil || !s.simple.fits(raw) {
		return false
	}
	instance, wrong := parse(raw)
	if wrong != nil {
		t.Errorf("%s: %s is taken, but cannot be read: %+v", s.text, raw, *wrong)
	} else if err := s.rules.Validate(instance); err != nil {
		t.Errorf("%s: %s is taken, but %v", s.text, raw, err)
	}
	return true
}

func TestSimpleRulesAreCheckedTheShortWay(t *testing.T) {
	const (
		short = "the short way" // fits, and is seen to
		long  = "the long way"  // is left to the validator, which may take it
	)
	for _, c := range []struct{ name, rule, value, way string }{
		{"text", `{"type":"string"}`, `"a\nb"`, short},
		{"number for text", `{"type":"string"}`, `1`, long},
		{"integer", `{"type":"integer"}`, `-7`, short},
		{"integer with a fraction", `{"type":"integer"}`, `7.0`, long},
		{"integer beyond 64 bits", `{"type":"integer"}`, `92233720368547758070`, long},
		{"number", `{"type":"number"}`, `-1.5e3`, short},
		{"number too large to compute with", `{"type":"number"}`, `1e999`, long},
		{"at the minimum", `{"type":"integer","minimum":-2}`, `-2`, short},
		{"below the minimum", `{"type":"integer","minimum":-2}`, `-3`, long},
		{"at the maximum", `{"maximum":9223372036854775807}`, `9223372036854775807`, short},
		{"above the maximum", `{"maximum":2}`, `3`, long},
		{"fraction between bounds", `{"minimum":1,"maximum":2}`, `1.5`, long},
		{"bound that is no integer", `{"minimum":1.5}`, `2`, long},
		{"true", `{"type":"boolean"}`, `true`, short},
		{"false", `{"type":"boolean"}`, `false`, short},
		{"null", `{"type":["string","null"]}`, `null`, short},
		{"null that is not allowed", `{"type":"string"}`, `null`, long},
		{"one of an enum", `{"enum":["a","b"]}`, `"b"`, short},
		{"none of an enum", `{"enum":["a","b"]}`, `"c"`, long},
		{"number of an enum", `{"enum":["a",1]}`, `1`, long},
		{"null of an enum", `{"enum":["a",null]}`, `null`, long},
		{"escaped word of an enum", `{"enum":["a"]}`, `"\u0061"`, long},
		{"as short as may be, in runes", `{"minLength":2}`, `"éé"`, short},
		{"too short, in runes", `{"minLength":3}`, `"éé"`, long},
		{"as long as may be, in runes", `{"maxLength":2}`, `"éé"`, short},
		{"too long", `{"maxLength":2}`, `"abc"`, long},
		{"matching", `{"pattern":"^[A-Z]{2}$"}`, `"DE"`, short},
		{"not matching", `{"pattern":"^[A-Z]{2}$"}`, `"de"`, long},
		{"format", `{"type":"string","format":"date-time"}`, `"2026-01-02T03:04:05Z"`, short},
		{"broken format", `{"type":"string","format":"date-time"}`, `"yesterday"`, long},
		{"list", `{"type":"array","items":{"type":"string"}}`, `["a", "b"]`, short},
		{"empty list", `{"type":"array","items":{"type":"string"}}`, `[ ]`, short},
		{"list with another item", `{"type":"array","items":{"type":"string"}}`, `["a",1]`, long},
		{"list of anything", `{"type":"array"}`, `["a",1,null,true]`, short},
		{"list of lists of anything", `{"type":"array"}`, `[["a"]]`, long},
		{"too few items", `{"minItems":2}`, `[1]`, long},
		{"too many items", `{"maxItems":2}`, `[1,2,3]`, long},
		{"object", `{"type":"object","properties":{"a":{},"b":{}},"required":["b"]}`, `{ "b" : 1 , "a" : "x" }`, short},
		{"object that lacks a name", `{"type":"object","properties":{"a":{},"b":{}},"required":["b"]}`, `{"a":1}`, long},
		{"name that is not listed", `{"type":"object","properties":{"a":{}}}`, `{"b":1}`, long},
		{"name twice", `{"type":"object","properties":{"a":{}}}`, `{"a":1,"a":2}`, long},
		{"escaped name", `{"type":"object","properties":{"a":{}}}`, `{"\u0061":1}`, long},
		{"required name that is not listed", `{"type":"object","required":["a"]}`, `{"a":1}`, long},
		{"anything", `{}`, `"x"`, short},
		{"object under no rule", `{}`, `{"a":{"b":1,"b":2}}`, long},
		{"rule that is not simple", `{"anyOf":[{"type":"string"}]}`, `"a"`, long},
		{"no JSON", `{}`, `nul`, long},
		{"no UTF-8", `{}`, "\"\xff\"", long},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := schemaFromJSON(json.RawMessage(rootOf(c.rule)))
			if err != nil {
				t.Fatal(err)
			}
			raw := json.RawMessage(`{"x":` + c.value + `}`)
			if took := s.agree(t, raw); took != (c.way == short) {
				t.Errorf("the short way takes it: %t, want %s", took, c.way)
			}
		})
	}
}
