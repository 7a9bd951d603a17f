package tools

import (
	"encoding/json"
	"errors"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	invopop "github.com/invopop/jsonschema"
)

// jsonEqual compares JSON texts by value.
func jsonEqual(t *testing.T, got, want []byte) bool {
	t.Helper()
	g, wrong := parse(got)
	if wrong != nil {
		t.Fatalf("not JSON: %s: %+v", got, wrong)
	}
	w, wrong := parse(want)
	if wrong != nil {
		t.Fatalf("not JSON: %s: %+v", want, wrong)
	}
	a, _ := json.Marshal(g)
	b, _ := json.Marshal(w)
	return string(a) == string(b)
}

type address struct {
	City string `json:"city"`
	Zip  string `json:"zip,omitempty"`
}

type stamp struct {
	Made time.Time `json:"made"`
}

type level string

type celsius float64

type hex struct{ n int }

func (h *hex) UnmarshalText(text []byte) error {
	if string(text) != "ff" {
		return errors.New("only ff is known")
	}
	h.n = 255
	return nil
}

type anything struct{ raw string }

func (a *anything) UnmarshalJSON(raw []byte) error { a.raw = string(raw); return nil }

type described struct{ kind string }

func (d *described) UnmarshalJSON(raw []byte) error { return json.Unmarshal(raw, &d.kind) }
func (d *described) JSONSchema() *invopop.Schema {
	return &invopop.Schema{Type: "string", Enum: []any{"a", "b"}}
}

func schemaJSON[T any](t *testing.T) string {
	t.Helper()
	s, err := SchemaFor[T]()
	if err != nil {
		t.Fatal(err)
	}
	return string(s.JSON())
}

// rootOf is the schema of an object with one required field "x".
func rootOf(field string) string {
	return `{"type":"object","properties":{"x":` + field + `},"additionalProperties":false,"required":["x"]}`
}

func TestSchemasOfGoTypes(t *testing.T) {
	const addressSchema = `{"type":"object","properties":{"city":{"type":"string"},"zip":{"type":"string"}},"additionalProperties":false,"required":["city"]}`
	for _, row := range []struct{ name, got, want string }{
		{"no parameters", schemaJSON[struct{}](t), `{"type":"object","properties":{},"additionalProperties":false}`},
		{"string", schemaJSON[struct {
			X string `json:"x"`
		}](t), rootOf(`{"type":"string"}`)},
		{"field without a tag keeps its Go name", schemaJSON[struct{ City string }](t), `{"type":"object","properties":{"City":{"type":"string"}},"additionalProperties":false,"required":["City"]}`},
		{"omitempty is optional", schemaJSON[struct {
			X string `json:"x,omitempty"`
		}](t), `{"type":"object","properties":{"x":{"type":"string"}},"additionalProperties":false}`},
		{"omitzero is optional", schemaJSON[struct {
			X time.Time `json:"x,omitzero"`
		}](t), `{"type":"object","properties":{"x":{"type":"string","format":"date-time"}},"additionalProperties":false}`},
		{"hidden fields", schemaJSON[struct {
			X string `json:"-"`
			Y string `json:"y" jsonschema:"-"`
			z string
		}](t), `{"type":"object","properties":{},"additionalProperties":false}`},
		{"integers", schemaJSON[struct {
			X int64 `json:"x" jsonschema:"minimum=1,maximum=9"`
		}](t), rootOf(`{"type":"integer","minimum":1,"maximum":9}`)},
		{"unsigned integers are not negative", schemaJSON[struct {
			X uint16 `json:"x"`
		}](t), rootOf(`{"type":"integer","minimum":0}`)},
		{"floats", schemaJSON[struct {
			X celsius `json:"x"`
		}](t), rootOf(`{"type":"number"}`)},
		{"booleans", schemaJSON[struct {
			X bool `json:"x"`
		}](t), rootOf(`{"type":"boolean"}`)},
		{"integers in strings", schemaJSON[struct {
			X int `json:"x,string"`
		}](t), rootOf(`{"type":"string"}`)},
		{"enum", schemaJSON[struct {
			X level `json:"x" jsonschema:"enum=low,enum=high"`
		}](t), rootOf(`{"type":"string","enum":["low","high"]}`)},
		{"enum of integers", schemaJSON[struct {
			X int `json:"x" jsonschema:"enum=1,enum=2"`
		}](t), rootOf(`{"type":"integer","enum":[1,2]}`)},
		{"enum of items", schemaJSON[struct {
			X []string `json:"x" jsonschema:"enum=a,enum=b,minItems=1"`
		}](t), rootOf(`{"type":"array","items":{"type":"string","enum":["a","b"]},"minItems":1}`)},
		{"description", schemaJSON[struct {
			X string `json:"x" jsonschema_description:"the city, not the country"`
		}](t), rootOf(`{"type":"string","description":"the city, not the country"}`)},
		{"pattern with a comma", schemaJSON[struct {
			X string `json:"x" jsonschema:"pattern=^[0-9]{1\\,3}$"`
		}](t), rootOf(`{"type":"string","pattern":"^[0-9]{1,3}$"}`)},
		{"time", schemaJSON[stamp](t), `{"type":"object","properties":{"made":{"type":"string","format":"date-time"}},"additionalProperties":false,"required":["made"]}`},
		{"duration says its unit", schemaJSON[struct {
			X time.Duration `json:"x"`
		}](t), rootOf(`{"type":"integer","description":"duration in nanoseconds"}`)},
		{"duration with a description of its own", schemaJSON[struct {
			X time.Duration `json:"x" jsonschema_description:"pause in ns"`
		}](t), rootOf(`{"type":"integer","description":"pause in ns"}`)},
		{"raw JSON is any value", schemaJSON[struct {
			X json.RawMessage `json:"x"`
		}](t), rootOf(`{}`)},
		{"interface is any value", schemaJSON[struct {
			X any `json:"x"`
		}](t), rootOf(`{}`)},
		{"items of any value", schemaJSON[struct {
			X []any `json:"x"`
		}](t), rootOf(`{"type":"array","items":{}}`)},
		{"json.Number", schemaJSON[struct {
			X json.Number `json:"x"`
		}](t), rootOf(`{"type":"number"}`)},
		{"bytes", schemaJSON[struct {
			X []byte `json:"x"`
		}](t), rootOf(`{"type":"string","contentEncoding":"base64"}`)},
		{"array of fixed length", schemaJSON[struct {
			X [2]int `json:"x"`
		}](t), rootOf(`{"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":2}`)},
		{"map", schemaJSON[struct {
			X map[string]int `json:"x"`
		}](t), rootOf(`{"type":"object","additionalProperties":{"type":"integer"}}`)},
		{"map of any value", schemaJSON[struct {
			X map[string]any `json:"x"`
		}](t), rootOf(`{"type":"object"}`)},
		{"map by integers, also negative ones", schemaJSON[struct {
			X map[int]string `json:"x"`
		}](t), rootOf(`{"type":"object","patternProperties":{"^-?[0-9]+$":{"type":"string"}},"additionalProperties":false}`)},
		{"pointer stands for its element", schemaJSON[struct {
			X **int `json:"x"`
		}](t), rootOf(`{"type":"integer"}`)},
		{"nullable", schemaJSON[struct {
			X *int `json:"x" jsonschema:"nullable,minimum=1"`
		}](t), rootOf(`{"oneOf":[{"type":"integer","minimum":1},{"type":"null"}]}`)},
		{"struct, twice, inlined", schemaJSON[struct {
			X []address `json:"x"`
			Y *address  `json:"y,omitempty"`
		}](t), `{"type":"object","properties":{"x":{"type":"array","items":` + addressSchema + `},"y":` + addressSchema + `},"additionalProperties":false,"required":["x"]}`},
		{"embedded struct", schemaJSON[struct {
			address
			X int `json:"x"`
		}](t), `{"type":"object","properties":{"city":{"type":"string"},"zip":{"type":"string"},"x":{"type":"integer"}},"additionalProperties":false,"required":["city","x"]}`},
		{"embedded struct with a name", schemaJSON[struct {
			stamp `json:"x"`
		}](t), rootOf(`{"type":"object","properties":{"made":{"type":"string","format":"date-time"}},"additionalProperties":false,"required":["made"]}`)},
		{"text unmarshaler", schemaJSON[struct {
			X hex `json:"x"`
		}](t), rootOf(`{"type":"string"}`)},
		{"IP addresses of both kinds", schemaJSON[struct {
			X net.IP     `json:"x"`
			Y netip.Addr `json:"y,omitzero"`
		}](t), `{"type":"object","properties":{"x":{"type":"string"},"y":{"type":"string"}},"additionalProperties":false,"required":["x"]}`},
		{"JSON unmarshaler", schemaJSON[struct {
			X anything `json:"x"`
			Y *big.Int `json:"y,omitempty"`
		}](t), `{"type":"object","properties":{"x":{},"y":{}},"additionalProperties":false,"required":["x"]}`},
		{"schema of its own, by pointer", schemaJSON[struct {
			X described `json:"x"`
		}](t), rootOf(`{"type":"string","enum":["a","b"]}`)},
		{"map at the root", schemaJSON[map[string]int](t), `{"type":"object","properties":{},"additionalProperties":{"type":"integer"}}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			if !jsonEqual(t, []byte(row.got), []byte(row.want)) {
				t.Errorf("got  %s\nwant %s", row.got, row.want)
			}
		})
	}
}

type tree struct {
	Left *tree `json:"left,omitempty"`
}
type ping struct {
	Pongs []pong `json:"pongs"`
}
type pong struct {
	Ping map[string]*ping `json:"ping"`
}
type list []list
type endless *endless
type selfish struct{ *selfish }

type circle struct{}

func (circle) JSONSchema() *invopop.Schema {
	s := &invopop.Schema{Type: "array"}
	s.Items = s
	return s
}

type referring struct{}

func (referring) JSONSchema() *invopop.Schema { return invopop.Reflect(address{}) }

type absent struct{}

func (absent) JSONSchema() *invopop.Schema { return nil }

type bursting struct{}

func (bursting) JSONSchema() *invopop.Schema { panic("boom") }

type unseen struct{}

func (*unseen) JSONSchemaExtend(s *invopop.Schema) { s.Title = "never" }

func TestTypesWithoutASchemaAreNamedWithTheFix(t *testing.T) {
	fail := func(_ *Schema, err error) error { return err }
	for _, row := range []struct {
		name string
		err  error
		want []string
	}{
		{"recursion", fail(SchemaFor[tree]()), []string{"tools.tree -> tools.tree", "json.RawMessage"}},
		{"recursion below the root", fail(SchemaFor[struct{ T tree }]()), []string{"tools.tree -> tools.tree"}},
		{"mutual recursion", fail(SchemaFor[ping]()), []string{"tools.ping -> tools.pong -> tools.ping"}},
		{"slice of itself", fail(SchemaFor[list]()), []string{"tools.list -> tools.list"}},
		{"pointer to itself", fail(SchemaFor[endless]()), []string{"holds itself"}},
		{"pointer to itself in a field", fail(SchemaFor[struct{ X endless }]()), []string{"holds itself"}},
		{"embedding itself", fail(SchemaFor[selfish]()), []string{"embeds itself"}},
		{"channel", fail(SchemaFor[struct {
			X chan int `json:"x"`
		}]()), []string{`"x"`, "chan int has no JSON form"}},
		{"func in a slice", fail(SchemaFor[struct {
			X []func() `json:"x"`
		}]()), []string{`"x"`, "func() has no JSON form"}},
		{"complex", fail(SchemaFor[complex128]()), []string{"complex128 has no JSON form"}},
		{"interface with methods", fail(SchemaFor[struct{ X error }]()), []string{"error cannot be read"}},
		{"map key", fail(SchemaFor[map[bool]int]()), []string{"map key bool"}},
		{"url.URL", fail(SchemaFor[struct{ X url.URL }]()), []string{"use a string"}},
		{"two fields of one name", fail(SchemaFor[struct {
			address
			Town string `json:"city"`
		}]()), []string{`"city"`, "tools.address.City", "rename one"}},
		{"comma in a description", fail(SchemaFor[struct {
			X string `jsonschema:"description=the city, not the country"`
		}]()), []string{`" not the country"`, "jsonschema_description"}},
		{"misspelled rule", fail(SchemaFor[struct {
			X int `jsonschema:"minimun=3"`
		}]()), []string{`"minimun"`}},
		{"rule with a bad number", fail(SchemaFor[struct {
			X string `jsonschema:"minLength=three"`
		}]()), []string{"minLength=three"}},
		{"rule of another type", fail(SchemaFor[struct {
			X string `jsonschema:"minimum=3"`
		}]()), []string{"minimum", "string"}},
		{"enum that is no number", fail(SchemaFor[struct {
			X int `jsonschema:"enum=low"`
		}]()), []string{"enum=low"}},
		{"pattern that does not compile", fail(SchemaFor[struct {
			X string `jsonschema:"pattern=["`
		}]()), []string{"does not compile"}},
		{"minimum above maximum", fail(SchemaFor[struct {
			X int `json:"x" jsonschema:"minimum=3,maximum=2"`
		}]()), []string{"/properties/x", "above maximum"}},
		{"inline option", fail(SchemaFor[struct {
			X address `json:",inline"`
		}]()), []string{"inline"}},
		{"own schema in a circle", fail(SchemaFor[struct{ X circle }]()), []string{"too many parts"}},
		{"own schema with references", fail(SchemaFor[struct{ X referring }]()), []string{"DoNotReference"}},
		{"own schema that is nil", fail(SchemaFor[absent]()), []string{"returns nil"}},
		{"own schema that panics", fail(SchemaFor[struct{ X bursting }]()), []string{"boom"}},
		{"method that is not seen", fail(SchemaFor[struct{ X unseen }]()), []string{"JSONSchemaExtend", "value receiver"}},
		{"reference in a tag", fail(SchemaFor[struct {
			X string `jsonschema:"oneof_ref=#/a;#/b"`
		}]()), []string{"no references"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.err == nil {
				t.Fatal("no error")
			}
			for _, want := range row.want {
				if !strings.Contains(row.err.Error(), want) {
					t.Errorf("%q does not say %q", row.err, want)
				}
			}
		})
	}
}

func TestEmbeddedFieldsThatCannotBeFilledAreNamed(t *testing.T) {
	_, text := SchemaFor[struct{ level }]()
	_, pointer := SchemaFor[struct{ *address }]()
	for want, err := range map[string]error{"tools.level": text, "pointer to the unexported tools.address": pointer} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestAllMistakesOfATypeAreSaidAtOnce(t *testing.T) {
	_, err := SchemaFor[struct {
		A chan int `json:"a"`
		B func()   `json:"b"`
		C int      `json:"c" jsonschema:"minimun=3"`
		D tree     `json:"d"`
	}]()
	for _, want := range []string{"chan int", "func()", "minimun", "tools.tree -> tools.tree"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestTypesOfOneNameAreToldApart(t *testing.T) {
	one := func() any {
		type x struct{ A int }
		return x{}
	}
	_ = one
	type x struct{ B string }
	type outer struct {
		In  x `json:"in"`
		Adr address
	}
	if got := schemaJSON[outer](t); !strings.Contains(got, `"B"`) {
		t.Error(got)
	}
}

func TestDecodeUnwrapsWhatIsNoObject(t *testing.T) {
	check := func(name string, raw, want string, wrapped bool, decode func(json.RawMessage) (any, *Schema, error)) {
		t.Run(name, func(t *testing.T) {
			got, s, err := decode(json.RawMessage(raw))
			if err != nil {
				t.Fatal(err)
			}
			if s.Wrapped() != wrapped {
				t.Errorf("wrapped is %v", s.Wrapped())
			}
			if text, _ := json.Marshal(got); string(text) != want {
				t.Errorf("got %s, want %s", text, want)
			}
		})
	}
	check("string", `{"value":"yes"}`, `"yes"`, true, decodeAs[string])
	check("integer", `{"value":9007199254740993}`, `9007199254740993`, true, decodeAs[int])
	check("slice", `{"value":[{"city":"Oslo"}]}`, `[{"city":"Oslo"}]`, true, decodeAs[[]address])
	check("any", `{"value":9007199254740993}`, `9007199254740993`, true, decodeAs[any])
	check("time", `{"value":"2026-01-02T03:04:05Z"}`, `"2026-01-02T03:04:05Z"`, true, decodeAs[time.Time])
	check("raw", `{"value":[1]}`, `[1]`, true, decodeAs[json.RawMessage])
	check("struct", `{"city":"Oslo"}`, `{"city":"Oslo"}`, false, decodeAs[address])
	check("pointer", `{"city":"Oslo"}`, `{"city":"Oslo"}`, false, decodeAs[*address])
	check("map", `{"a":1}`, `{"a":1}`, false, decodeAs[map[string]int])
}

func decodeAs[T any](raw json.RawMessage) (any, *Schema, error) {
	s, err := SchemaFor[T]()
	if err != nil {
		return nil, nil, err
	}
	var v T
	err = s.Decode(raw, &v)
	return v, s, err
}

func TestDecodeTakesOnlyItsOwnType(t *testing.T) {
	s, err := SchemaFor[address]()
	if err != nil {
		t.Fatal(err)
	}
	for name, into := range map[string]any{"other type": new(int), "no pointer": address{}, "nil": nil, "nil pointer": (*address)(nil)} {
		if err := s.Decode(json.RawMessage(`{"city":"Oslo"}`), into); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestZeroSchemaIsAnError(t *testing.T) {
	var s Schema
	if s.Validate(json.RawMessage(`{}`)) == nil || s.Decode(json.RawMessage(`{}`), new(int)) == nil {
		t.Error("no error")
	}
}

func TestOutputIsNotTakenForAnObjectWhenItIsEmpty(t *testing.T) {
	s, err := SchemaFor[struct {
		A int `json:"a,omitempty"`
	}]()
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{"", " ", "null"} {
		if _, ok := errors.AsType[*ArgumentsError](s.Validate(json.RawMessage(raw))); !ok {
			t.Errorf("%q is valid", raw)
		}
	}
}

func TestRawSchemasThatCannotBeUsed(t *testing.T) {
	for _, row := range []struct{ name, schema, want string }{
		{"absent", ``, `{"type":"object","properties":{}}`},
		{"null", `null`, `{"type":"object","properties":{}}`},
		{"true", `true`, `{"type":"object","properties":{}}`},
		{"empty object", `{}`, `{"type":"object","properties":{}}`},
		{"no type", `{"properties":{"a":{"type":"string"}}}`, `add "type":"object"`},
		{"type of a list", `{"type":"array"}`, `write "type":"object"`},
		{"several types", `{"type":["object","null"]}`, `write "type":"object"`},
		{"no JSON", `{"type":}`, "cannot be read"},
		{"name twice", `{"type":"object","type":"object"}`, "twice"},
		{"unknown type", `{"type":"object","properties":{"a":{"type":"dict"}}}`, "does not compile: mend it: /properties/a/type: expected array"},
		{"bad pattern", `{"type":"object","properties":{"a":{"pattern":"("}}}`, "does not compile"},
		{"reference to the network", `{"type":"object","properties":{"a":{"$ref":"https://example.com/a.json"}}}`, "under $defs"},
		{"reference to a file", `{"type":"object","properties":{"a":{"$ref":"file:///etc/passwd"}}}`, "under $defs"},
		{"reference to nothing", `{"type":"object","properties":{"a":{"$ref":"#/$defs/b"}}}`, "does not compile"},
		{"reference to itself", `{"type":"object","$ref":"#"}`, "without end"},
		{"unknown metaschema", `{"$schema":"https://example.com/meta","type":"object"}`, "none is ever loaded"},
		{"required, but forbidden", `{"type":"object","properties":{},"required":["a"],"additionalProperties":false}`, `"a" is required`},
		{"required, but false", `{"type":"object","properties":{"a":false},"required":["a"]}`, `"a" is required`},
		{"empty enum", `{"type":"object","properties":{"a":{"items":{"enum":[]}}}}`, "/properties/a/items: enum is empty"},
		{"lengths crossed", `{"type":"object","properties":{"a":{"anyOf":[{"minLength":2,"maxLength":1}]}}}`, "/properties/a/anyOf/0"},
		{"huge number", `{"type":"object","properties":{"a":{"minimum":1e999999}}}`, "fits in 64 bits"},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := Raw("x", "", json.RawMessage(row.schema), echo).Err()
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v does not say %q", err, row.want)
			}
		})
	}
}

func TestSchemaNeverReadsAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "there.json")
	if err := os.WriteFile(file, []byte(`{"type":"string"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	place := (&url.URL{Scheme: "file", Path: filepath.ToSlash(file)}).String()
	err := Raw("x", "", json.RawMessage(`{"type":"object","properties":{"a":{"$ref":"`+place+`"}}}`), echo).Err()
	if err == nil || !strings.Contains(err.Error(), "none is ever loaded") {
		t.Errorf("the file was read: %v", err)
	}
}

func TestRawSchemaWithoutPropertiesIsGivenNone(t *testing.T) {
	tool := Raw("x", "", json.RawMessage(`{"type": "object", "additionalProperties": true}`), echo)
	if got, want := string(tool.Schema()), `{"type":"object","additionalProperties":true,"properties":{}}`; got != want {
		t.Errorf("got %s", got)
	}
}

func TestRawSchemaIsSentCompactAndInItsOwnOrder(t *testing.T) {
	tool := Raw("x", "", json.RawMessage(` { "type" : "object", "properties": {"b": {}, "a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}} } `), echo)
	if err := tool.Err(); err != nil {
		t.Fatal(err)
	}
	if got, want := string(tool.Schema()), `{"type":"object","properties":{"b":{},"a":{"$ref":"#/$defs/n"}},"$defs":{"n":{"type":"integer"}}}`; got != want {
		t.Errorf("got %s", got)
	}
	if tool.Check(json.RawMessage(`{"a":"x"}`)) == nil {
		t.Error("the reference is not followed")
	}
}
