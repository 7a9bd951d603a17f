package tools

import (
	"math/big"
)

// plainIntegers rewrites the integers that a valid JSON text writes with a fraction
// or an exponent, such as 5.0 or 1e3, in plain digits. Other numbers stay as they are.
func plainIntegers(raw []byte) []byte {
	plain := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		n := 1
		switch c := raw[i]; {
		case c == '"':
			for raw[i+n] != '"' {
				if raw[i+n] == '\\' {
					n++
				}
				n++
			}
			n++
		case c == '-' || c >= '0' && c <= '9':
			n = numberLen(raw[i:])
			if digits, ok := integer(string(raw[i : i+n])); ok {
				plain = append(plain, digits...)
				i += n
				continue
			}
		}
		plain = append(plain, raw[i:i+n]...)
		i += n
	}
	return plain
}

// integer writes a number literal in plain digits if it is an integer.
func integer(literal string) (string, bool) {
	if !computable(literal) {
		return "", false
	}
	r, ok := new(big.Rat).SetString(literal)
	if !ok || !r.IsInt() {
		return "", false
	}
	return r.Num().String(), true
}
