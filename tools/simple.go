package tools

import (
	"encoding/json"
	"math"
	"math/big"
	"reflect"
	"regexp"
	"strconv"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// A simple is what a schema asks of one value, where it asks only what most schemas do.
// It reads the text itself, without making values of it, and only ever says that a
// text fits: whatever it does not understand, or finds wrong, is left to the validator,
// which also explains. So it need not know every rule, but must not take what the
// validator refuses.
type simple struct {
	types      kinds // 0 for any
	properties map[string]int
	rules      []*simple // of the properties; nil where they are not
	required   uint64    // by the place in rules
	items      *simple   // nil if they are not simple
	minItems   int
	maxItems   int
	texts      map[string]bool // of an enum, nil for any
	shortest   int
	longest    int
	pattern    *regexp.Regexp
	format     func(any) error
	min, max   int64
}

// kinds are the types of JSON Schema, as bits.
type kinds uint8

const (
	kindNull kinds = 1 << iota
	kindBoolean
	kindNumber
	kindInteger
	kindString
	kindArray
	kindObject
)

func kindOf(name string) kinds {
	switch name {
	case "null":
		return kindNull
	case "boolean":
		return kindBoolean
	case "number":
		return kindNumber
	case "integer":
		return kindInteger
	case "string":
		return kindString
	case "array":
		return kindArray
	default:
		return kindObject
	}
}

// simpleOf is nil if the schema has a rule that a simple does not know.
func simpleOf(s *jsonschema.Schema) *simple {
	if s == nil || !onlySimpleRules(s) || len(s.Properties) > 64 || s.Bool != nil && !*s.Bool {
		return nil
	}
	p := anyScalar()
	p.types = 0
	if s.Types != nil {
		for _, name := range s.Types.ToStrings() {
			p.types |= kindOf(name)
		}
	}
	for _, bound := range []struct {
		from *int
		to   *int
	}{{s.MinItems, &p.minItems}, {s.MaxItems, &p.maxItems}, {s.MinLength, &p.shortest}, {s.MaxLength, &p.longest}} {
		if bound.from != nil {
			*bound.to = *bound.from
		}
	}
	for _, bound := range []struct {
		from *big.Rat
		to   *int64
	}{{s.Minimum, &p.min}, {s.Maximum, &p.max}} {
		if bound.from == nil {
			continue
		}
		if !bound.from.IsInt() || !bound.from.Num().IsInt64() {
			return nil
		}
		*bound.to = bound.from.Num().Int64()
	}
	if s.Pattern != nil {
		known, ok := s.Pattern.(*regexp.Regexp)
		if !ok {
			return nil
		}
		p.pattern = known
	}
	if s.Format != nil {
		p.format = s.Format.Validate
	}
	if s.Enum != nil {
		p.texts = make(map[string]bool, len(s.Enum.Values))
		for _, v := range s.Enum.Values {
			if text, ok := v.(string); ok {
				p.texts[text] = true
			}
		}
	}
	if p.items = anyScalar(); s.Items2020 != nil {
		p.items = simpleOf(s.Items2020)
	}
	p.properties = make(map[string]int, len(s.Properties))
	for _, name := range sortedKeys(s.Properties) {
		p.properties[name] = len(p.rules)
		p.rules = append(p.rules, simpleOf(s.Properties[name]))
	}
	for _, name := range s.Required {
		at, ok := p.properties[name]
		if !ok {
			return nil
		}
		p.required |= 1 << at
	}
	return p
}

// anyScalar asks nothing but that the value is neither an array nor an object, within
// which the names of objects would have to be told apart.
func anyScalar() *simple {
	return &simple{
		types:    kindNull | kindBoolean | kindNumber | kindInteger | kindString,
		maxItems: math.MaxInt, longest: math.MaxInt, min: math.MinInt64, max: math.MaxInt64,
	}
}

// onlySimpleRules reports whether the schema has no rule but those that simpleOf looks
// at. Rules that the library may learn later are among those it must not have.
func onlySimpleRules(s *jsonschema.Schema) bool {
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		switch field.Name {
		case "Bool", "Types", "Enum", "Format", "Properties", "Required", "Items2020", "MinItems", "MaxItems",
			"MinLength", "MaxLength", "Pattern", "Minimum", "Maximum":
		case "AdditionalProperties": // names that are not listed are left to the validator
		case "DraftVersion", "Location", "Title", "Description", "Default", "Comment", "ReadOnly", "WriteOnly", "Examples", "Deprecated":
		default:
			if !v.Field(i).IsZero() {
				return false
			}
		}
	}
	return true
}

// fits reports whether a text surely fits.
func (p *simple) fits(raw []byte) bool {
	if !utf8.Valid(raw) || !json.Valid(raw) {
		return false
	}
	at := parser{raw: raw}
	return p.value(&at)
}

// value reads one value of a text that is valid JSON. After a false the parser stands
// anywhere.
func (p *simple) value(at *parser) bool {
	switch c := at.next(); c {
	case '{':
		return p.allows(kindObject) && p.object(at)
	case '[':
		return p.allows(kindArray) && p.array(at)
	case '"':
		return p.allows(kindString) && p.string(at)
	case 't':
		at.pos += len("true")
		return p.allows(kindBoolean) && p.texts == nil && p.formless(true)
	case 'f':
		at.pos += len("false")
		return p.allows(kindBoolean) && p.texts == nil && p.formless(false)
	case 'n':
		at.pos += len("null")
		return p.allows(kindNull) && p.texts == nil && p.formless(nil)
	default:
		return p.number(at)
	}
}

func (p *simple) allows(k kinds) bool { return p.types == 0 || p.types&k != 0 }

// formless reports that a format, if there is one, takes a value that is no string.
func (p *simple) formless(v any) bool { return p.format == nil || p.format(v) == nil }

func (p *simple) object(at *parser) bool {
	if p.texts != nil || p.format != nil {
		return false
	}
	var seen uint64
	for at.pos++; ; at.pos++ { // over { and each comma
		if at.next() == '}' {
			break
		}
		key, escaped := at.text()
		i, known := p.properties[string(key)]
		if escaped || !known || p.rules[i] == nil || seen&(1<<i) != 0 {
			return false
		}
		seen |= 1 << i
		at.next()
		at.pos++ // the colon
		if !p.rules[i].value(at) {
			return false
		}
		if at.next() == '}' {
			break
		}
	}
	at.pos++
	return p.required&^seen == 0
}

func (p *simple) array(at *parser) bool {
	if p.texts != nil || p.format != nil {
		return false
	}
	n := 0
	for at.pos++; ; at.pos++ { // over [ and each comma
		if at.next() == ']' {
			break
		}
		if n++; p.items == nil || !p.items.value(at) {
			return false
		}
		if at.next() == ']' {
			break
		}
	}
	at.pos++
	return n >= p.minItems && n <= p.maxItems
}

func (p *simple) string(at *parser) bool {
	text, escaped := at.text()
	if escaped {
		// What it stands for would have to be worked out, if anything were asked of it.
		return p.texts == nil && p.format == nil && p.pattern == nil && p.shortest == 0 && p.longest == math.MaxInt
	}
	if p.texts != nil && !p.texts[string(text)] {
		return false
	}
	if p.shortest > 0 || p.longest < len(text) {
		if n := utf8.RuneCount(text); n < p.shortest || n > p.longest {
			return false
		}
	}
	if p.pattern != nil && !p.pattern.Match(text) {
		return false
	}
	return p.format == nil || p.format(string(text)) == nil
}

// number takes integers in plain digits; of others only what nothing is asked of.
func (p *simple) number(at *parser) bool {
	literal := at.raw[at.pos : at.pos+numberLen(at.raw[at.pos:])]
	at.pos += len(literal)
	if p.texts != nil || p.format != nil {
		return false
	}
	n, err := strconv.ParseInt(string(literal), 10, 64)
	if err != nil {
		return p.allows(kindNumber) && p.min == math.MinInt64 && p.max == math.MaxInt64 && computable(string(literal))
	}
	return p.allows(kindNumber|kindInteger) && n >= p.min && n <= p.max
}
