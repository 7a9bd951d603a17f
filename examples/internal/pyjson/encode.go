package pyjson

import (
	"slices"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Dumps is the text of json.dumps: ", " and ": " between the parts, ASCII only,
// keys in their order.
func Dumps(v Value) string { return string(appendDumps(nil, v)) }

func appendDumps(b []byte, v Value) []byte {
	switch v := v.(type) {
	case *Object:
		b = append(b, '{')
		for i, k := range v.keys {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = append(appendASCII(b, k), ": "...)
			b = appendDumps(b, v.values[k])
		}
		return append(b, '}')
	case []Value:
		b = append(b, '[')
		for i, sub := range v {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = appendDumps(b, sub)
		}
		return append(b, ']')
	case string:
		return appendASCII(b, v)
	}
	return appendScalar(b, v, "null", "true", "false")
}

// Norm is the text of the first kind of hash: keys sorted by code point, no
// blanks, UTF-8, floats that are whole written as ints.
func Norm(v Value) string { return string(AppendNorm(nil, v)) }

// AppendNorm appends [Norm].
func AppendNorm(b []byte, v Value) []byte {
	switch v := v.(type) {
	case *Object:
		b = append(b, '{')
		for i, k := range slices.Sorted(slices.Values(v.keys)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendUTF8(b, k), ':')
			b = AppendNorm(b, v.values[k])
		}
		return append(b, '}')
	case []Value:
		b = append(b, '[')
		for i, sub := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = AppendNorm(b, sub)
		}
		return append(b, ']')
	case string:
		return appendUTF8(b, v)
	case Number:
		return append(b, v.norm()...)
	}
	return appendScalar(b, v, "null", "true", "false")
}

// Repr is the text of the second kind of hash: Python's str of the value in
// which each dict is a tuple of (key, value) sorted by key, and each list a tuple.
func Repr(v Value) string { return string(AppendRepr(nil, v)) }

// AppendRepr appends [Repr].
func AppendRepr(b []byte, v Value) []byte {
	switch v := v.(type) {
	case *Object:
		keys := slices.Sorted(slices.Values(v.keys))
		return appendTuple(b, len(keys), func(b []byte, i int) []byte {
			b = append(appendQuoted(append(b, '('), keys[i]), ", "...)
			return append(AppendRepr(b, v.values[keys[i]]), ')')
		})
	case []Value:
		return appendTuple(b, len(v), func(b []byte, i int) []byte { return AppendRepr(b, v[i]) })
	case string:
		return appendQuoted(b, v)
	}
	return appendScalar(b, v, "None", "True", "False")
}

func appendTuple(b []byte, n int, part func([]byte, int) []byte) []byte {
	b = append(b, '(')
	for i := range n {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = part(b, i)
	}
	if n == 1 {
		b = append(b, ',')
	}
	return append(b, ')')
}

func appendScalar(b []byte, v Value, null, yes, no string) []byte {
	switch v := v.(type) {
	case bool:
		if v {
			return append(b, yes...)
		}
		return append(b, no...)
	case Number:
		return append(b, v.String()...)
	}
	return append(b, null...)
}

// short are the escapes that JSON has a letter for.
var short = map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\b': `\b`, '\f': `\f`}

func appendASCII(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch e, ok := short[r]; {
		case ok:
			b = append(b, e...)
		case r >= ' ' && r < 0x80:
			b = append(b, byte(r))
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			b = appendHex(appendHex(b, high, 'u', 4), low, 'u', 4)
		default:
			b = appendHex(b, r, 'u', 4)
		}
	}
	return append(b, '"')
}

func appendUTF8(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch e, ok := short[r]; {
		case ok:
			b = append(b, e...)
		case r >= ' ':
			b = utf8.AppendRune(b, r)
		default:
			b = appendHex(b, r, 'u', 4)
		}
	}
	return append(b, '"')
}

// appendQuoted writes a string as Python's repr does.
func appendQuoted(b []byte, s string) []byte {
	quote := byte('\'')
	for i := range len(s) {
		if s[i] == '"' {
			quote = '\''
			break
		}
		if s[i] == '\'' {
			quote = '"'
		}
	}
	b = append(b, quote)
	for _, r := range s {
		switch {
		case r == rune(quote) || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == ' ' || unicode.IsPrint(r):
			b = utf8.AppendRune(b, r)
		case r < 0x100:
			b = appendHex(b, r, 'x', 2)
		case r < 0x10000:
			b = appendHex(b, r, 'u', 4)
		default:
			b = appendHex(b, r, 'U', 8)
		}
	}
	return append(b, quote)
}

func appendHex(b []byte, r rune, kind byte, digits int) []byte {
	b = append(b, '\\', kind)
	hex := strconv.FormatInt(int64(r), 16)
	for range digits - len(hex) {
		b = append(b, '0')
	}
	return append(b, hex...)
}
