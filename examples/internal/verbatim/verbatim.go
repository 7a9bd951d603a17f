// Package verbatim is for tool arguments that are stored as they came.
//
// A typed struct would drop fields it does not know and forget the order of keys.
// An [Object] is checked and read like the struct, and kept like the text.
package verbatim

import (
	"encoding/json"
	"reflect"

	"github.com/invopop/jsonschema"

	"github.com/gridloop/gridloop/examples/internal/pyjson"
)

// Object is an object in the arguments of a tool: In is its typed view, and Object
// what the model wrote. Its schema is that of T, with further fields allowed.
type Object[T any] struct {
	In T
	*pyjson.Object
}

// UnmarshalJSON reads both forms.
func (o *Object[T]) UnmarshalJSON(b []byte) (err error) {
	if err := json.Unmarshal(b, &o.In); err != nil {
		return err
	}
	o.Object, err = pyjson.DecodeObject(b)
	return err
}

// JSONSchema is the schema of T, with further fields allowed.
func (Object[T]) JSONSchema() *jsonschema.Schema {
	r := jsonschema.Reflector{Anonymous: true, DoNotReference: true}
	s := r.ReflectFromType(reflect.TypeFor[T]())
	s.Version, s.AdditionalProperties = "", nil
	return s
}

// Values are copies of what the model wrote, as an array to store.
func Values[T any](all []Object[T]) []pyjson.Value {
	l := make([]pyjson.Value, len(all))
	for i, o := range all {
		l[i] = o.Clone()
	}
	return l
}
