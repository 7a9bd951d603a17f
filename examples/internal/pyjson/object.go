package pyjson

import "slices"

// Object is a JSON object in the order in which its keys were first set. It is not
// safe for concurrent use while somebody changes it. The zero Object is empty.
type Object struct {
	keys   []string
	values map[string]Value
}

// Len is the number of keys.
func (o *Object) Len() int { return len(o.keys) }

// Keys are the keys in their order. The slice must not be changed.
func (o *Object) Keys() []string { return o.keys }

// Has reports whether the key is there.
func (o *Object) Has(key string) bool {
	_, ok := o.values[key]
	return ok
}

// Get is the value of a key, nil if it is absent.
func (o *Object) Get(key string) Value { return o.values[key] }

// Set gives a key its value. A key that is there keeps its place.
func (o *Object) Set(key string, v Value) {
	if _, ok := o.values[key]; !ok {
		if o.values == nil {
			o.values = make(map[string]Value)
		}
		o.keys = append(o.keys, key)
	}
	o.values[key] = v
}

// With sets a key and returns the object, so that literals read as a chain.
func (o *Object) With(key string, v Value) *Object {
	o.Set(key, v)
	return o
}

// Delete removes a key.
func (o *Object) Delete(key string) {
	if _, ok := o.values[key]; ok {
		delete(o.values, key)
		o.keys = slices.DeleteFunc(o.keys, func(k string) bool { return k == key })
	}
}

// Str is the string at a key, "" if there is none.
func (o *Object) Str(key string) string {
	s, _ := o.values[key].(string)
	return s
}

// Num is the number at a key, the integer 0 if there is none.
func (o *Object) Num(key string) Number {
	n, _ := o.values[key].(Number)
	return n
}

// Obj is the object at a key. Where there is none it is an empty one that is not
// part of o.
func (o *Object) Obj(key string) *Object {
	if sub, ok := o.values[key].(*Object); ok {
		return sub
	}
	return &Object{}
}

// List is the array at a key, nil if there is none.
func (o *Object) List(key string) []Value {
	l, _ := o.values[key].([]Value)
	return l
}

// Objs are the objects in the array at a key.
func (o *Object) Objs(key string) []*Object {
	var all []*Object
	for _, v := range o.List(key) {
		if sub, ok := v.(*Object); ok {
			all = append(all, sub)
		}
	}
	return all
}

// Append adds values to the array at a key.
func (o *Object) Append(key string, values ...Value) {
	o.Set(key, append(slices.Clip(o.List(key)), values...))
}

// Clone is a copy that shares nothing that can change.
func (o *Object) Clone() *Object { return Clone(o).(*Object) }

// Clone is a deep copy of a value.
func Clone(v Value) Value {
	switch v := v.(type) {
	case *Object:
		c := &Object{keys: slices.Clone(v.keys), values: make(map[string]Value, len(v.values))}
		for k, sub := range v.values {
			c.values[k] = Clone(sub)
		}
		return c
	case []Value:
		c := make([]Value, len(v))
		for i, sub := range v {
			c[i] = Clone(sub)
		}
		return c
	}
	return v
}

// Strings are the values as an array.
func Strings(all []string) []Value {
	l := make([]Value, len(all))
	for i, s := range all {
		l[i] = s
	}
	return l
}
