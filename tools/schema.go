package tools

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// A Schema is a JSON Schema with an object at its root, compiled once, and bound to
// the Go type it was made from. It serves the arguments of tools and the structured
// output of a run alike. It is immutable and safe for concurrent use.
type Schema struct {
	text    json.RawMessage
	rules   *jsonschema.Schema
	simple  *simple      // nil where the root has other rules
	of      reflect.Type // nil if made by hand
	wrapped bool
	// loose is true when the type has places of an interface type, where plain
	// decoding would push 64-bit integers through a float64.
	loose bool
}

// SchemaFor makes the schema of T. T may be any type that encoding/json can read.
// The market takes only objects at the root, so that a T that is none (a string,
// a number, a slice) becomes {"value": T}, see [Schema.Wrapped]. The error holds
// every mistake of the type, with the fix.
func SchemaFor[T any]() (*Schema, error) {
	s, err := schemaOf(reflect.TypeFor[T]())
	if err != nil {
		return nil, fmt.Errorf("tools: schema of %v: %w", reflect.TypeFor[T](), err)
	}
	return s, nil
}

// JSON is the schema, compact, always the same bytes. They are shared and must not
// be changed.
func (s *Schema) JSON() json.RawMessage { return s.text }

// Wrapped reports whether the value stands under "value" in an object, because its
// type is no object. [Schema.Decode] unwraps it.
func (s *Schema) Wrapped() bool { return s.wrapped }

// Validate checks a JSON text against the schema. The error is an [*ArgumentsError].
// Unlike [Tool.Call] it does not take an empty text for an object.
func (s *Schema) Validate(raw json.RawMessage) error {
	if s.rules == nil {
		return errors.New("tools: not a schema: make it with tools.SchemaFor")
	}
	if s.simple != nil && s.simple.fits(raw) {
		return nil
	}
	instance, wrong := parse(raw)
	if wrong != nil {
		return &ArgumentsError{Problems: []Problem{*wrong}}
	}
	if err := s.rules.Validate(instance); err != nil {
		return explain(err, instance)
	}
	return nil
}

// Decode validates a JSON text and stores it in what into points to, which must
// have the type the schema was made from. The error is an [*ArgumentsError] if the
// text is at fault.
func (s *Schema) Decode(raw json.RawMessage, into any) error {
	if s.of == nil {
		return s.Validate(raw)
	}
	if reflect.TypeOf(into) != reflect.PointerTo(s.of) || reflect.ValueOf(into).IsNil() {
		return fmt.Errorf("tools: decode into %T: give a pointer to a %v, of which the schema is", into, s.of)
	}
	if err := s.Validate(raw); err != nil {
		return err
	}
	if !s.wrapped {
		return s.unmarshal(raw, into)
	}
	var wrapper struct {
		Value json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(raw, &wrapper); err != nil {
		return refused(err)
	}
	return s.unmarshal(wrapper.Value, into)
}

// unmarshal stores a valid text in what into points to.
func (s *Schema) unmarshal(raw []byte, into any) error {
	err := s.read(raw, into)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && strings.HasPrefix(wrong.Value, "number") {
		// To JSON Schema 5.0 is an integer, and models do write it; to encoding/json it is none.
		reflect.ValueOf(into).Elem().SetZero()
		err = s.read(plainIntegers(raw), into)
	}
	if err != nil {
		return refused(err)
	}
	return nil
}

func (s *Schema) read(raw []byte, into any) error {
	if !s.loose {
		return json.Unmarshal(raw, into)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	return dec.Decode(into)
}

// schemaFromJSON compiles a hand-made schema.
func schemaFromJSON(text json.RawMessage) (*Schema, error) {
	const minimal = `{"type":"object","properties":{}}`
	if len(bytes.Trim(text, blank)) == 0 {
		return nil, errors.New("the schema is empty: for a tool without arguments write " + minimal)
	}
	doc, wrong := parse(text)
	if wrong != nil {
		return nil, fmt.Errorf("the schema cannot be read: %s", strings.TrimPrefix((&ArgumentsError{Problems: []Problem{*wrong}}).Explain(), "- "))
	}
	root, ok := doc.(map[string]any)
	switch {
	case !ok:
		return nil, errors.New("the schema is not a JSON object: for a tool without arguments write " + minimal)
	case len(root) == 0:
		return nil, errors.New("the schema {} has no type: for a tool without arguments write " + minimal)
	case root["type"] == nil:
		return nil, errors.New(`the schema has no type at its root: add "type":"object"`)
	case root["type"] != "object":
		return nil, fmt.Errorf(`the schema has the type %s at its root: arguments are one object, so write "type":"object" and make the value a property of it`, literal(root["type"], maxShort))
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return nil, fmt.Errorf("the schema cannot be read: %w", err)
	}
	plain := compact.Bytes()
	if _, has := root["properties"]; !has {
		// It changes nothing, and providers refuse a root without.
		plain = append(plain[:len(plain)-1], `,"properties":{}}`...)
	}
	return compile(plain, doc)
}

// compile makes a Schema of a text and the same text parsed.
func compile(text json.RawMessage, doc any) (s *Schema, err error) {
	defer func() {
		// The compiler trusts the numbers and references it is given.
		if v := recover(); v != nil {
			s, err = nil, fmt.Errorf("the schema breaks its compiler (%v): simplify it", v)
		}
	}()
	if err := possible(doc); err != nil {
		return nil, err
	}
	const place = "schema:///root"
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.AssertContent()
	c.UseLoader(noLoader{})
	if err := c.AddResource(place, doc); err != nil {
		return nil, fmt.Errorf("the schema cannot be used: %w", err)
	}
	rules, err := c.Compile(place)
	if err != nil {
		if _, elsewhere := errors.AsType[*jsonschema.LoadURLError](err); elsewhere {
			return nil, fmt.Errorf("the schema refers to another document, and none is ever loaded: put it under $defs: %w", err)
		}
		return nil, fmt.Errorf("the schema does not compile: mend it: %s", whyNot(err, doc, place))
	}
	if circular(rules.Validate(map[string]any{})) {
		return nil, errors.New("the schema cannot be kept: it refers to itself without end: let the $ref stand within a property")
	}
	return &Schema{text: text, rules: rules, simple: simpleOf(rules)}, nil
}

// whyNot says in which places a schema is none.
func whyNot(err error, doc any, place string) string {
	if broken, ok := errors.AsType[*jsonschema.SchemaValidationError](err); ok {
		if wrong, ok := errors.AsType[*ArgumentsError](explain(broken.Err, doc)); ok {
			return strings.ReplaceAll(strings.TrimPrefix(wrong.Explain(), "- "), "\n- ", "; ")
		}
	}
	return strings.ReplaceAll(err.Error(), place, "")
}

// circular reports whether a validation went in circles.
func circular(err error) bool {
	invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return false
	}
	if _, circle := invalid.ErrorKind.(*kind.RefCycle); circle {
		return true
	}
	return slices.ContainsFunc(invalid.Causes, func(cause *jsonschema.ValidationError) bool { return circular(cause) })
}

// noLoader keeps a schema from reaching into the network or the file system.
type noLoader struct{}

func (noLoader) Load(string) (any, error) {
	return nil, errors.New("schemas are not loaded from files or the network")
}
