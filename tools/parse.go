package tools

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// maxDepth and maxNumber bound what a model can make the validator do: it walks
	// recursively, and it computes with exact rationals, whose size grows with the exponent.
	maxDepth    = 500
	maxNumber   = 500
	maxExponent = 400
)

const blank = " \t\r\n"

// orEmptyObject reads the ways in which providers write "no arguments" as {}.
func orEmptyObject(args json.RawMessage) json.RawMessage {
	trimmed := bytes.Trim(args, blank)
	if len(trimmed) == 0 || string(trimmed) == "null" {
		return json.RawMessage("{}")
	}
	return args
}

// parse reads one JSON text into the values that the validator takes, with numbers
// as json.Number. The error is written for the model.
func parse(raw []byte) (any, *Problem) {
	if !utf8.Valid(raw) {
		return nil, &Problem{Rule: ruleJSON, Want: "JSON in UTF-8", Found: "bytes that are no UTF-8"}
	}
	if !json.Valid(raw) {
		return nil, notJSON(raw)
	}
	p := parser{raw: raw}
	v := p.value(0)
	if p.problem != nil {
		return nil, p.problem
	}
	return v, nil
}

// notJSON says where the text stops being JSON and, for the slips that models
// really make, what to do about it.
func notJSON(raw []byte) *Problem {
	p := &Problem{Rule: ruleJSON, Want: "one JSON object"}
	var syntax *json.SyntaxError
	if err := json.Unmarshal(raw, new(json.RawMessage)); errors.As(err, &syntax) {
		p.Found = fmt.Sprintf("a mistake at byte %d: %s", syntax.Offset, syntax.Error())
	}
	trimmed := strings.Trim(string(raw), blank)
	dec := json.NewDecoder(strings.NewReader(trimmed))
	switch err := dec.Decode(new(json.RawMessage)); {
	case trimmed == "":
		p.Found = "nothing"
	case strings.HasPrefix(trimmed, "```"):
		p.Want = "one JSON object without a code fence around it"
	case strings.HasPrefix(trimmed, "{'"):
		p.Want = "one JSON object, with double quotes around names and texts"
	case err == nil:
		p.Found = fmt.Sprintf("more text behind it, from byte %d on (to do several things, make several calls)", dec.InputOffset()+1)
	case errors.Is(err, io.ErrUnexpectedEOF):
		p.Found = "a text that ends too early: send it whole"
	}
	return p
}

// A parser walks a text that is known to be valid JSON.
type parser struct {
	raw     []byte
	pos     int
	path    []string
	problem *Problem // the first one; the walk stops there
}

func (p *parser) fail(want, found string) any {
	if p.problem == nil {
		p.problem = &Problem{Path: pointer(p.path), Rule: ruleJSON, Want: want, Found: found}
	}
	p.pos = len(p.raw)
	return nil
}

// next skips blanks and returns the byte there, 0 at the end.
func (p *parser) next() byte {
	for p.pos < len(p.raw) && strings.IndexByte(blank, p.raw[p.pos]) >= 0 {
		p.pos++
	}
	if p.pos == len(p.raw) {
		return 0
	}
	return p.raw[p.pos]
}

func (p *parser) value(depth int) any {
	if depth > maxDepth {
		return p.fail(fmt.Sprintf("at most %d levels of nesting", maxDepth), "more")
	}
	switch p.next() {
	case '{':
		return p.object(depth)
	case '[':
		return p.array(depth)
	case '"':
		return p.string()
	case 't':
		p.pos += len("true")
		return true
	case 'f':
		p.pos += len("false")
		return false
	case 'n':
		p.pos += len("null")
		return nil
	case 0:
		return nil
	default:
		return p.number()
	}
}

func (p *parser) object(depth int) any {
	object := make(map[string]any, 4)
	for p.pos++; ; p.pos++ { // over { and each comma
		switch p.next() {
		case '}':
			p.pos++
			return object
		case 0:
			return nil
		}
		key := p.string()
		if _, twice := object[key]; twice {
			return p.fail("each name once in an object", literal(key, maxShort)+" twice")
		}
		p.next()
		p.pos++ // the colon
		p.path = append(p.path, key)
		object[key] = p.value(depth + 1)
		if p.problem != nil {
			return nil
		}
		p.path = p.path[:len(p.path)-1]
		if p.next() == '}' {
			p.pos++
			return object
		}
	}
}

func (p *parser) array(depth int) any {
	array := []any{}
	for p.pos++; ; p.pos++ { // over [ and each comma
		switch p.next() {
		case ']':
			p.pos++
			return array
		case 0:
			return nil
		}
		p.path = append(p.path, strconv.Itoa(len(array)))
		array = append(array, p.value(depth+1))
		if p.problem != nil {
			return nil
		}
		p.path = p.path[:len(p.path)-1]
		if p.next() == ']' {
			p.pos++
			return array
		}
	}
}

func (p *parser) string() string {
	start := p.pos
	plain, escaped := p.text()
	if !escaped {
		return string(plain)
	}
	var s string
	if err := json.Unmarshal(p.raw[start:p.pos], &s); err != nil {
		p.fail("a JSON string", err.Error())
	}
	return s
}

// text skips a string and returns what is between its quotes, as it is written.
func (p *parser) text() (written []byte, escaped bool) {
	start := p.pos + 1
	for p.pos++; p.raw[p.pos] != '"'; p.pos++ {
		if p.raw[p.pos] == '\\' {
			escaped = true
			p.pos++
		}
	}
	p.pos++
	return p.raw[start : p.pos-1], escaped
}

func (p *parser) number() any {
	literal := p.raw[p.pos : p.pos+numberLen(p.raw[p.pos:])]
	p.pos += len(literal)
	if !computable(string(literal)) {
		return p.fail("a number that fits in 64 bits", "number "+string(literal[:min(len(literal), maxShort)]))
	}
	return json.Number(literal)
}

// numberLen is how long the number literal is that raw starts with.
func numberLen(raw []byte) int {
	for i, c := range raw {
		if strings.IndexByte("+-.eE0123456789", c) < 0 {
			return i
		}
	}
	return len(raw)
}

// computable reports whether a valid number literal is small enough to compute with.
func computable(literal string) bool {
	if len(literal) > maxNumber {
		return false
	}
	if i := strings.IndexAny(literal, "eE"); i >= 0 {
		exponent, err := strconv.Atoi(literal[i+1:])
		if err != nil || exponent > maxExponent || exponent < -maxExponent {
			return false
		}
	}
	return true
}
