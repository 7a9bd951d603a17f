package tools

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	invopop "github.com/invopop/jsonschema"
)

// maxTypes bounds how many types one schema may visit, so that a type that grows
// without end is an error and not the end of the process.
const maxTypes = 10_000

// schemaOf reflects a Go type into a compiled schema.
func schemaOf(t reflect.Type) (*Schema, error) {
	// With references the reflection ends even if a type holds itself, which shows
	// the cycle; the schema that is sent is then made without references.
	named := newReflection(t, false)
	tree, err := named.reflect(t)
	if tree != nil {
		err = errors.Join(err, cycle(tree))
	}
	if err != nil {
		return nil, err
	}
	inlined := newReflection(t, true)
	tree, err = inlined.reflect(t)
	if err != nil {
		return nil, err
	}
	tree.Definitions = nil
	if err := tidy(tree, 0); err != nil {
		return nil, err
	}
	wrapped := tree.Type != "object"
	if tree.Properties == nil && !wrapped {
		tree.Properties = invopop.NewProperties() // providers refuse a root without
	}
	if wrapped {
		value := tree
		tree = &invopop.Schema{Type: "object", Properties: invopop.NewProperties(), AdditionalProperties: invopop.FalseSchema, Required: []string{"value"}}
		tree.Properties.Set("value", value)
	}
	text, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("the schema has no JSON form: check JSONSchema and JSONSchemaExtend of the types in it: %w", err)
	}
	doc, wrong := parse(text)
	if wrong != nil {
		return nil, fmt.Errorf("the schema cannot be read: expected %s, found %s", wrong.Want, wrong.Found)
	}
	s, err := compile(text, doc)
	if err != nil {
		return nil, err
	}
	s.of, s.wrapped, s.loose = t, wrapped, inlined.loose
	return s, nil
}

// A reflection is one walk of invopop/jsonschema over a type. That library reads
// tags well, but follows encoding/json only in part; the rest is here.
type reflection struct {
	reflector invopop.Reflector
	names     map[reflect.Type]string
	field     string // the JSON name of the field that is being reflected
	visited   int
	loose     bool
	mistakes  []error
}

func newReflection(root reflect.Type, inline bool) *reflection {
	r := &reflection{names: make(map[reflect.Type]string)}
	r.reflector = invopop.Reflector{
		Anonymous:      true,
		DoNotReference: inline,
		Namer:          r.name,
		KeyNamer:       func(name string) string { r.field = name; return name },
		Lookup:         r.visit,
		LookupComment:  comment,
		Mapper:         r.schema,
	}
	return r
}

// errTooLarge ends a walk from within.
var errTooLarge = errors.New("the type has too many parts, or holds itself without end: make it smaller")

func (r *reflection) reflect(t reflect.Type) (tree *invopop.Schema, err error) {
	defer func() {
		switch v := recover(); v {
		case nil:
		case errTooLarge:
			tree, err = nil, errTooLarge
		default:
			tree, err = nil, fmt.Errorf("the type cannot be reflected (%v): check its JSONSchema methods", v)
		}
		err = errors.Join(append(r.mistakes, err)...)
	}()
	for t.Kind() == reflect.Pointer {
		r.visit(t)
		t = t.Elem()
	}
	return r.reflector.ReflectFromType(t), nil
}

func (r *reflection) mistake(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	if r.field != "" {
		err = fmt.Errorf("field %q: %w", r.field, err)
	}
	r.mistakes = append(r.mistakes, err)
}

func (r *reflection) visit(reflect.Type) invopop.ID {
	if r.visited++; r.visited > maxTypes {
		panic(errTooLarge)
	}
	return invopop.EmptyID
}

// name tells types apart that have the same name in different packages or scopes.
func (r *reflection) name(t reflect.Type) string {
	if t.Name() == "" {
		return ""
	}
	name, ok := r.names[t]
	if !ok {
		name = fmt.Sprintf("%d:%v", len(r.names), t)
		r.names[t] = name
	}
	return name
}

// comment tells the model the unit of a duration, unless the field says more.
func comment(t reflect.Type, field string) string {
	if field == "" || t.Kind() != reflect.Struct {
		return ""
	}
	f, ok := t.FieldByName(field)
	if ok && (f.Type == reflect.TypeFor[time.Duration]() || f.Type == reflect.TypeFor[*time.Duration]()) {
		return "duration in nanoseconds"
	}
	return ""
}

// schema returns the schema of a type that invopop/jsonschema gets wrong, nil for
// the others.
func (r *reflection) schema(t reflect.Type) *invopop.Schema {
	pointer := reflect.PointerTo(t)
	for _, method := range []string{"JSONSchemaExtend", "JSONSchemaAlias", "JSONSchemaProperty"} {
		_, reached := t.MethodByName(method)
		if _, there := pointer.MethodByName(method); there && !reached {
			r.mistake("%s of %v is not seen, since it has a pointer receiver: give it a value receiver", method, t)
		}
	}
	if own, ok := reflect.New(t).Interface().(interface{ JSONSchema() *invopop.Schema }); ok {
		r.loose = true
		s := own.JSONSchema()
		if s == nil {
			r.mistake("JSONSchema of %v returns nil: return a schema", t)
			return &invopop.Schema{}
		}
		copied := *s // tags of the field are written into it
		return &copied
	}
	switch t {
	case reflect.TypeFor[time.Time](), reflect.TypeFor[json.RawMessage]():
		return nil
	case reflect.TypeFor[json.Number]():
		return &invopop.Schema{Type: "number"}
	case reflect.TypeFor[url.URL]():
		r.mistake("url.URL cannot be read from JSON: use a string")
		return &invopop.Schema{}
	}
	if pointer.Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return &invopop.Schema{} // only its own UnmarshalJSON knows
	}
	if pointer.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return &invopop.Schema{Type: "string"}
	}
	switch t.Kind() {
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return &invopop.Schema{Type: "integer", Minimum: "0"}
	case reflect.Interface:
		r.loose = true
		if t.NumMethod() > 0 {
			r.mistake("interface %v cannot be read from JSON: use a struct, or any", t)
		}
	case reflect.Map:
		r.mapKey(t)
	case reflect.Struct:
		r.structFields(t)
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		r.mistake(`%v has no JSON form: use another type, or hide the field with json:"-"`, t)
		return &invopop.Schema{}
	}
	return nil
}

func (r *reflection) mapKey(t reflect.Type) {
	if t.Elem().Kind() == reflect.Interface {
		r.loose = true // the library does not visit it
	}
	switch key := t.Key(); key.Kind() {
	case reflect.String,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
	default:
		if !reflect.PointerTo(key).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
			r.mistake("map key %v has no JSON form: use a string", key)
		}
	}
}

// cycle says which types hold each other, if any do.
func cycle(root *invopop.Schema) error {
	done := make(map[string]bool)
	var through []string
	var walk func(*invopop.Schema, int) error
	walk = func(s *invopop.Schema, depth int) error {
		if depth > maxDepth {
			return errTooLarge
		}
		if name, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok && root.Definitions[name] != nil && !done[name] {
			if i := slices.Index(through, name); i >= 0 {
				return recursive(append(through[i:], name))
			}
			through = append(through, name)
			if err := walk(root.Definitions[name], depth+1); err != nil {
				return err
			}
			through = through[:len(through)-1]
			done[name] = true
		}
		for _, sub := range subschemas(s) {
			if err := walk(sub, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return walk(root, 0)
}

func recursive(cycle []string) error {
	for i, name := range cycle {
		_, cycle[i], _ = strings.Cut(name, ":")
	}
	return fmt.Errorf("the type holds itself (%s), which a schema without references cannot say: end it with json.RawMessage, or use tools.Raw", strings.Join(cycle, " -> "))
}

// tidy brings the tree into the form the market takes.
//
// It writes only where it must: a schema that a type's own method returned may be shared.
func tidy(s *invopop.Schema, depth int) error {
	if depth > maxDepth {
		return errTooLarge
	}
	if s == invopop.TrueSchema || s == invopop.FalseSchema {
		return nil
	}
	if s.Version != "" || s.ID != "" || s.Anchor != "" {
		s.Version, s.ID, s.Anchor = "", "", ""
	}
	if s.Ref != "" || s.DynamicRef != "" || len(s.Definitions) > 0 {
		return fmt.Errorf("the schema refers to %q: no references are allowed, so set DoNotReference where it is made", s.Ref+s.DynamicRef)
	}
	if every, ok := s.PatternProperties["^[0-9]+$"]; ok && s.Type == "object" {
		// The keys of a map by integers may be negative.
		delete(s.PatternProperties, "^[0-9]+$")
		s.PatternProperties["^-?[0-9]+$"] = every
	}
	for _, sub := range subschemas(s) {
		if err := tidy(sub, depth+1); err != nil {
			return err
		}
	}
	if reflect.DeepEqual(s, &invopop.Schema{}) {
		s.Extras = map[string]any{} // written as {} instead of true, which not every provider takes
	}
	return nil
}

// subschemas are the schemas directly within s.
func subschemas(s *invopop.Schema) []*invopop.Schema {
	subs := slices.Concat(s.AllOf, s.AnyOf, s.OneOf, s.PrefixItems,
		[]*invopop.Schema{s.Not, s.If, s.Then, s.Else, s.Items, s.Contains, s.AdditionalProperties, s.PropertyNames, s.ContentSchema})
	for _, named := range []map[string]*invopop.Schema{s.DependentSchemas, s.PatternProperties} {
		for _, sub := range named {
			subs = append(subs, sub)
		}
	}
	if s.Properties != nil {
		for p := s.Properties.Oldest(); p != nil; p = p.Next() {
			subs = append(subs, p.Value)
		}
	}
	return slices.DeleteFunc(subs, func(sub *invopop.Schema) bool { return sub == nil })
}
