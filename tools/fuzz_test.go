package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"testing"
	"time"
	"unicode/utf8"
)

type everything struct {
	Order string           `json:"order" jsonschema:"pattern=^[0-9]+$,minLength=1"`
	Cents int64            `json:"cents" jsonschema:"minimum=1,multipleOf=1"`
	Ratio float64          `json:"ratio,omitempty" jsonschema:"exclusiveMaximum=1"`
	Level string           `json:"level,omitempty" jsonschema:"enum=low,enum=high"`
	At    time.Time        `json:"at,omitzero"`
	Blob  []byte           `json:"blob,omitempty"`
	Tiny  uint8            `json:"tiny,omitempty"`
	Quote int              `json:"quote,omitempty,string"`
	Items []address        `json:"items,omitempty" jsonschema:"maxItems=3"`
	Maybe *int             `json:"maybe,omitempty" jsonschema:"nullable"`
	Map   map[int]float32  `json:"map,omitempty"`
	Any   map[string]any   `json:"any,omitempty"`
	Raw   json.RawMessage  `json:"raw,omitempty"`
	Code  *hex             `json:"code,omitempty"`
	Pair  [2]bool          `json:"pair,omitzero"`
	Num   json.Number      `json:"num,omitempty"`
	Span  time.Duration    `json:"span,omitempty"`
	More  map[string][]int `json:"more,omitempty"`
}

var argumentSeeds = []string{
	``, ` `, `null`, `{}`, `[]`, `"{}"`, `{"order":"42","cents":1}`, `{"order":"42","cents":1.0,"ratio":-1e-3,"tiny":255}`,
	`{"order":"42","cents":9223372036854775808}`, `{"order":"42","cents":1,"at":"2026-01-02T03:04:05Z","blob":"aGk=","pair":[true,false]}`,
	`{"order":"42","cents":1,"items":[{"city":"Oslo"}],"maybe":null,"map":{"-1":2},"any":{"a":[1,{"b":null}]},"raw":[1,"\u00e9\ud83d\ude00"]}`,
	`{"order":"1","order":"2","cents":1}`, `{"order":"1","cents":1e400,"num":1e-400}`, "```json\n{}\n```", `{'order':'1'}`, `{"order":"1"`,
	`{"order":"1","cents":1}{"order":"1","cents":1}`, `{"order":"42","cents":1,"quote":"7","code":"ff","span":1e9,"more":{"x":[1,2.0]}}`, "{\"order\":\"\xff\"}",
}

func FuzzCall(f *testing.F) {
	for _, seed := range argumentSeeds {
		f.Add([]byte(seed))
	}
	ran := false
	var got everything
	typed := New("x", "X.", func(_ context.Context, in everything) (everything, error) {
		ran, got = true, in
		return in, nil
	})
	raw := Raw("x", "X.", typed.Schema(), echo)
	if err := typed.Err(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, args []byte) {
		before := bytes.Clone(args)
		ran = false
		res := typed.Call(t.Context(), args)
		if !utf8.ValidString(res.Content) {
			t.Errorf("content is no UTF-8: %q", res.Content)
		}
		if !bytes.Equal(before, args) {
			t.Error("the arguments were changed")
		}
		typed.def.schema.agree(t, args)
		if err := typed.Check(args); (err == nil) != ran {
			t.Errorf("ran is %v, Check says %v", ran, err)
		}
		byHand := raw.Call(t.Context(), args)
		switch res.Status {
		case StatusOK:
			if byHand.Status != StatusOK {
				t.Errorf("the same schema by hand gives %s", byHand.Status)
			}
			var want everything
			dec := json.NewDecoder(bytes.NewReader(plainIntegers(orEmptyObject(args))))
			dec.UseNumber()
			dec.DisallowUnknownFields()
			if err := dec.Decode(&want); err != nil {
				t.Errorf("encoding/json refuses what was run: %v", err)
			}
			if want.Any, got.Any = nil, nil; !reflect.DeepEqual(want.Items, got.Items) || want.Cents != got.Cents || want.Order != got.Order {
				t.Errorf("got %+v, want %+v", got, want)
			}
		case StatusInvalidArguments:
			if ran {
				t.Error("the func ran")
			}
		default:
			t.Errorf("status %s: %v", res.Status, res.Err)
		}
		if byHand.Status != StatusOK && byHand.Status != StatusInvalidArguments {
			t.Errorf("by hand: status %s: %v", byHand.Status, byHand.Err)
		}
	})
}

func FuzzParseAgreesWithEncodingJSON(f *testing.F) {
	for _, seed := range argumentSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, wrong := parse(raw)
		if wrong != nil {
			if json.Valid(raw) && utf8.Valid(raw) && wrong.Want == "one JSON object" {
				t.Errorf("%q is refused: %+v", raw, wrong)
			}
			return
		}
		var want any
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		if err := dec.Decode(&want); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %#v, want %#v, %v", raw, got, want, err)
		}
	})
}

func FuzzRawSchema(f *testing.F) {
	for _, seed := range []string{
		`{"type":"object"}`, `{"type":"object","properties":{"a":{"$ref":"#/$defs/b"}},"$defs":{"b":{"type":["string","null"],"enum":["x",null]}}}`,
		`{"type":"object","$ref":"#"}`, `{"type":"object","properties":{"a":{"allOf":[{"minimum":1},{"maximum":2.5}],"not":{"const":2}}},"required":["a"]}`,
		`{"type":"object","properties":{"a":{"$ref":"#"}},"additionalProperties":{"$ref":"https://example.com"}}`, `{"type":"object","propertyNames":{"pattern":"^a"},"minProperties":1}`,
		`{"type":"object","$dynamicRef":"#a","$defs":{"x":{"$dynamicAnchor":"a"}}}`, `{"$schema":"http://json-schema.org/draft-04/schema#","type":"object","id":"x"}`,
		`{"type":"object","unevaluatedProperties":false,"patternProperties":{"[":{}}}`,
	} {
		f.Add([]byte(seed), []byte(`{"a":1}`))
	}
	f.Fuzz(func(t *testing.T, schema, args []byte) {
		tool := Raw("x", "", schema, echo)
		if tool.Err() != nil {
			return
		}
		if !json.Valid(tool.Schema()) {
			t.Errorf("%q is no JSON", tool.Schema())
		}
		tool.def.schema.agree(t, args)
		if res := tool.Call(t.Context(), args); res.Status != StatusOK && res.Status != StatusInvalidArguments {
			t.Errorf("status %s: %v", res.Status, res.Err)
		}
	})
}

func BenchmarkCall(b *testing.B) {
	args := json.RawMessage(`{"order":"42","cents":1999,"note":"came late"}`)
	typed := refundTool()
	raw := Raw("refund", "Pay money back.", typed.Schema(), echo)
	for name, tool := range map[string]Tool{"typed": typed, "raw": raw} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if res := tool.Call(b.Context(), args); res.Status != StatusOK {
					b.Fatal(res)
				}
			}
		})
	}
}
