package grid

import (
	"encoding/json"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// scan walks one JSON text once, without building values. Raw spans point into b.
// It accepts exactly what encoding/json accepts; the first mistake sets bad and
// ends every loop, so callers check bad once, at the end.
type scan struct {
	b   []byte
	i   int
	bad bool
}

// maxDepth is encoding/json's own limit of nesting.
const maxDepth = 10000

func (s *scan) fail() { s.bad = true }

func (s *scan) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\n', '\r', '\t':
			s.i++
		default:
			return
		}
	}
}

// peek returns the first byte of the next value, 0 at the end.
func (s *scan) peek() byte {
	s.space()
	if s.bad || s.i >= len(s.b) {
		return 0
	}
	return s.b[s.i]
}

// enter consumes an opening bracket and tells whether a member follows.
func (s *scan) enter(open, end byte) bool {
	if s.peek() != open {
		s.fail()
		return false
	}
	s.i++
	switch s.peek() {
	case end:
		s.i++
		return false
	case 0:
		s.fail()
		return false
	}
	return true
}

// more consumes what stands behind a member and tells whether another follows.
func (s *scan) more(end byte) bool {
	switch s.peek() {
	case end:
		s.i++
		return false
	case ',':
		s.i++
		if c := s.peek(); c != 0 && c != end {
			return true
		}
	}
	s.fail()
	return false
}

// key reads a member's name and its colon. A name with escapes, or with bytes that are
// no text, is decoded.
func (s *scan) key() []byte {
	if s.peek() != '"' {
		s.fail()
		return nil
	}
	raw, plain := s.str()
	if s.peek() != ':' {
		s.fail()
		return nil
	}
	s.i++
	if name := raw[1 : len(raw)-1]; plain && utf8.Valid(name) {
		return name
	}
	return appendUnquoted(nil, raw)
}

// str reads a string with its quotes; plain tells that it has no escape.
func (s *scan) str() (raw []byte, plain bool) {
	start := s.i
	plain = true
	i := s.i + 1
	for i < len(s.b) {
		c := s.b[i]
		if c == '"' {
			s.i = i + 1
			return s.b[start:s.i], plain
		}
		if c < 0x20 {
			break
		}
		if c != '\\' {
			i++
			continue
		}
		plain = false
		if i+1 >= len(s.b) {
			break
		}
		switch s.b[i+1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			i += 2
			continue
		case 'u':
			if i+5 < len(s.b) && hex4(s.b[i+2:]) >= 0 {
				i += 6
				continue
			}
		}
		break
	}
	s.fail()
	s.i = len(s.b)
	return quotes(), true
}

// quotes is the empty string, returned where a string could not be read.
func quotes() []byte { return []byte(`""`) }

func hex4(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// value reads any value and returns its bytes, nil after a mistake.
func (s *scan) value() []byte {
	c := s.peek()
	start := s.i
	if c == '"' {
		s.str()
	} else {
		s.skip(0)
	}
	if s.bad {
		return nil
	}
	return s.b[start:s.i]
}

func (s *scan) skip(depth int) {
	if depth > maxDepth {
		s.fail()
		return
	}
	switch c := s.peek(); c {
	case '"':
		s.str()
	case '{':
		for ok := s.enter('{', '}'); ok && !s.bad; ok = s.more('}') {
			s.key()
			s.skip(depth + 1)
		}
	case '[':
		for ok := s.enter('[', ']'); ok && !s.bad; ok = s.more(']') {
			s.skip(depth + 1)
		}
	case 't':
		s.literal("true")
	case 'f':
		s.literal("false")
	case 'n':
		s.literal("null")
	default:
		s.number()
	}
}

func (s *scan) literal(word string) {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		s.fail()
		return
	}
	s.i += len(word)
}

func (s *scan) digits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}

func (s *scan) at(c byte) bool { return s.i < len(s.b) && s.b[s.i] == c }

func (s *scan) number() {
	if s.at('-') {
		s.i++
	}
	if s.at('0') {
		s.i++
	} else if !s.digits() {
		s.fail()
		return
	}
	if s.at('.') {
		s.i++
		if !s.digits() {
			s.fail()
			return
		}
	}
	if s.at('e') || s.at('E') {
		s.i++
		if s.at('+') || s.at('-') {
			s.i++
		}
		if !s.digits() {
			s.fail()
		}
	}
}

// end tells whether the text was one whole value and nothing else.
func (s *scan) end() bool {
	s.space()
	return !s.bad && s.i == len(s.b)
}

// validJSON tells whether b is one JSON value.
func validJSON(b []byte) bool {
	s := scan{b: b}
	s.skip(0)
	return s.end()
}

func isNull(raw []byte) bool { return len(raw) == 0 || string(raw) == "null" }

func isString(raw []byte) bool { return len(raw) >= 2 && raw[0] == '"' }

// appendUnquoted appends the meaning of a string token that scan has checked.
// Invalid UTF-8 and lone surrogates become U+FFFD, as encoding/json has it.
func appendUnquoted(dst, raw []byte) []byte {
	if !isString(raw) {
		return dst
	}
	in := raw[1 : len(raw)-1]
	for i := 0; i < len(in); {
		c := in[i]
		switch {
		case c == '\\':
			if in[i+1] != 'u' {
				dst = append(dst, unescape(in[i+1]))
				i += 2
				continue
			}
			r := hex4(in[i+2:])
			i += 6
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if i+5 < len(in) && in[i] == '\\' && in[i+1] == 'u' {
					pair = utf16.DecodeRune(r, hex4(in[i+2:]))
				}
				if pair != utf8.RuneError {
					i += 6
				}
				r = pair
			}
			dst = utf8.AppendRune(dst, r)
		case c < utf8.RuneSelf:
			j := i + 1
			for j < len(in) && in[j] < utf8.RuneSelf && in[j] != '\\' {
				j++
			}
			dst = append(dst, in[i:j]...)
			i = j
		default:
			r, n := utf8.DecodeRune(in[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
		}
	}
	return dst
}

func unescape(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// unquoted returns the meaning of a string token, "" for anything else.
func unquoted(raw []byte) string {
	if !isString(raw) {
		return ""
	}
	in := raw[1 : len(raw)-1]
	for _, c := range in {
		if c == '\\' || c >= utf8.RuneSelf {
			return string(appendUnquoted(make([]byte, 0, len(in)), raw))
		}
	}
	return string(in)
}

// count reads a token count: a whole number, or a float that some servers write
// for one. Anything else, and what is negative, is not a count.
func count(raw []byte) (int64, bool) {
	if len(raw) == 0 || raw[0] < '0' || raw[0] > '9' {
		return 0, false
	}
	var n int64
	for _, c := range raw {
		if c < '0' || c > '9' || n > 1<<53 {
			f, err := strconv.ParseFloat(string(raw), 64)
			if err != nil || f < 0 || f > 1<<53 {
				return 0, false
			}
			return int64(f), true
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// appendQuoted appends s as a JSON string. It means what encoding/json means, but
// leaves <, > and & as they are: the model reads fewer bytes.
func appendQuoted(dst []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(append(dst, s[start:i]...), `\ufffd`...)
				i++
				start = i
				continue
			}
			i += n
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

// appendRaw appends a JSON value without its insignificant white space.
func appendRaw(dst []byte, raw json.RawMessage) ([]byte, bool) {
	s := scan{b: raw}
	s.skip(0)
	if !s.end() {
		return dst, false
	}
	inside := false
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if inside {
			dst = append(dst, c)
			if c == '\\' {
				i++
				dst = append(dst, raw[i])
			} else if c == '"' {
				inside = false
			}
			continue
		}
		switch c {
		case ' ', '\n', '\r', '\t':
		default:
			inside = c == '"'
			dst = append(dst, c)
		}
	}
	return dst, true
}
