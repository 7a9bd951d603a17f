package pyjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxDepth bounds nesting, so that hostile text ends in an error.
const maxDepth = 1000

var errDeep = errors.New("pyjson: nested too deeply")

// Decode reads one JSON text. Of two equal keys in an object the last value
// counts, at the place of the first, as in a Python dict.
func Decode(b []byte) (Value, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := value(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("pyjson: text behind the value")
	}
	return v, nil
}

// DecodeObject reads one JSON object.
func DecodeObject(b []byte) (*Object, error) {
	v, err := Decode(b)
	if err != nil {
		return nil, err
	}
	o, ok := v.(*Object)
	if !ok {
		return nil, errors.New("pyjson: expected an object")
	}
	return o, nil
}

func value(d *json.Decoder, depth int) (Value, error) {
	if depth > maxDepth {
		return nil, errDeep
	}
	t, err := d.Token()
	if err != nil {
		return nil, fmt.Errorf("pyjson: %w", err)
	}
	switch t := t.(type) {
	case json.Number:
		return ParseNumber(t.String())
	case json.Delim:
		if t == '{' {
			return object(d, depth)
		}
		return array(d, depth)
	}
	return t, nil // nil, bool, string
}

func object(d *json.Decoder, depth int) (Value, error) {
	o := &Object{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("pyjson: %w", err)
		}
		key, ok := t.(string)
		if !ok {
			return nil, errors.New("pyjson: a key is no string")
		}
		v, err := value(d, depth+1)
		if err != nil {
			return nil, err
		}
		o.Set(key, v)
	}
	_, err := d.Token()
	return o, err
}

func array(d *json.Decoder, depth int) (Value, error) {
	l := []Value{}
	for d.More() {
		v, err := value(d, depth+1)
		if err != nil {
			return nil, err
		}
		l = append(l, v)
	}
	_, err := d.Token()
	return l, err
}
