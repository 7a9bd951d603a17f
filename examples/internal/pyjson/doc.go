// Package pyjson is JSON as a Python program keeps and prints it: objects remember
// the order of their keys, an integer stays apart from a float, and text comes
// out byte for byte as json.dumps writes it.
//
// The tools of the benchmark examples answer in this form, because their
// conversations were recorded with tools written in Python.
//
//	Decode -> Value -> Dumps   the text of json.dumps
//	                -> Norm    keys sorted, compact: what one hash is taken of
//	                -> Repr    nested tuples as Python prints them: the other hash
//
// A Value is nil, a bool, a string, a [Number], a []Value or an [*Object].
package pyjson

// Value is nil, bool, string, Number, []Value or *Object.
type Value = any
