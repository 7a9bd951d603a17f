package tools

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// An ArgumentsError says why a JSON text does not fit a schema: the arguments of
// a call, or the structured output of a run. Its text names only the rules that
// were broken, so that it can be logged; [ArgumentsError.Explain] tells the model.
type ArgumentsError struct {
	// Problems are in the order of their paths; never empty.
	Problems []Problem
}

// A Problem is one place where a JSON text does not fit. All but Rule may hold content.
type Problem struct {
	// Path is a JSON Pointer (RFC 6901) to the place, empty for the whole text.
	Path string
	// Rule is the keyword of JSON Schema that was broken; "json" if the text is no
	// JSON that can be read, "go" if the Go type does not take it.
	Rule string
	// Want says what was expected there.
	Want string
	// Found says what was there instead, shortened.
	Found string
}

const (
	ruleJSON = "json"
	ruleGo   = "go"
)

const (
	maxProblems = 10  // a model mends a few at a time; the rest would only cost tokens
	maxShort    = 60  // runes of a found value
	maxLiteral  = 200 // runes of an allowed value
	maxEnum     = 40  // allowed values listed
)

func (e *ArgumentsError) Error() string {
	var rules []string
	for _, p := range e.Problems {
		if !slices.Contains(rules, p.Rule) {
			rules = append(rules, p.Rule)
		}
	}
	return fmt.Sprintf("tools: the JSON does not fit its schema (%s): send Explain to the model", strings.Join(rules, ", "))
}

// Explain lists, path by path, what to mend, one line each, in words for a model.
func (e *ArgumentsError) Explain() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		if i == maxProblems {
			fmt.Fprintf(&b, "- and %d more", len(e.Problems)-i)
			break
		}
		b.WriteString("- ")
		if p.Path != "" {
			b.WriteString(p.Path + ": ")
		}
		b.WriteString("expected " + p.Want)
		if p.Found != "" {
			b.WriteString(", found " + p.Found)
		}
	}
	return b.String()
}

// explain turns the validator's tree of errors into problems.
func explain(err error, instance any) error {
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return &ArgumentsError{Problems: []Problem{{Rule: ruleJSON, Want: "JSON that can be checked", Found: err.Error()}}}
	}
	problems := problemsOf(invalid, instance)
	// The validator walks maps, so its order is not stable; the model's text must be.
	slices.SortFunc(problems, func(a, b Problem) int {
		return cmpStrings(a.Path, b.Path, a.Rule, b.Rule, a.Want, b.Want, a.Found, b.Found)
	})
	return &ArgumentsError{Problems: slices.Compact(problems)}
}

func cmpStrings(pairs ...string) int {
	for i := 0; i < len(pairs); i += 2 {
		if c := strings.Compare(pairs[i], pairs[i+1]); c != 0 {
			return c
		}
	}
	return 0
}

func problemsOf(e *jsonschema.ValidationError, instance any) []Problem {
	switch k := e.ErrorKind.(type) {
	case *kind.Schema, *kind.Group, *kind.Reference, *kind.AllOf:
		return problemsOfAll(e.Causes, instance)
	case *kind.AnyOf:
		return []Problem{alternatives(e, "anyOf", instance)}
	case *kind.OneOf:
		if len(k.Subschemas) == 0 {
			return []Problem{alternatives(e, "oneOf", instance)}
		}
		return []Problem{problem(e, "oneOf", "a value that fits exactly one of the allowed forms", "one that fits several")}
	case *kind.Not:
		return []Problem{problem(e, "not", "a value that does not fit the form that the schema forbids", short(at(instance, e.InstanceLocation)))}
	case *kind.Contains:
		return []Problem{problem(e, "contains", "an item of the form that the schema asks for", short(at(instance, e.InstanceLocation)))}
	case *kind.PropertyNames:
		return []Problem{problem(e, "propertyNames", "names that the schema allows", "the name "+literal(k.Property, maxShort))}
	}
	if len(e.Causes) > 0 {
		return problemsOfAll(e.Causes, instance)
	}
	return leaf(e, instance)
}

func problemsOfAll(causes []*jsonschema.ValidationError, instance any) []Problem {
	var all []Problem
	for _, cause := range causes {
		all = append(all, problemsOf(cause, instance)...)
	}
	return all
}

func problem(e *jsonschema.ValidationError, rule, want, found string) Problem {
	return Problem{Path: pointer(e.InstanceLocation), Rule: rule, Want: want, Found: found}
}

// alternatives says in one problem what each of the allowed forms would have wanted.
func alternatives(e *jsonschema.ValidationError, rule string, instance any) Problem {
	here := pointer(e.InstanceLocation)
	var wants []string
	for _, p := range problemsOfAll(e.Causes, instance) {
		want := p.Want
		if sub := strings.TrimPrefix(p.Path, here); sub != "" {
			want += " at " + sub
		}
		if !slices.Contains(wants, want) {
			wants = append(wants, want)
		}
	}
	// The causes are in the schema's order, but the problems within one come from maps.
	slices.Sort(wants)
	if len(wants) > maxProblems {
		wants = append(wants[:maxProblems], "…")
	}
	return problem(e, rule, strings.Join(wants, ", or "), short(at(instance, e.InstanceLocation)))
}

// leaf puts one broken keyword in words.
func leaf(e *jsonschema.ValidationError, instance any) []Problem {
	found := func() string { return short(at(instance, e.InstanceLocation)) }
	one := func(rule, want string) []Problem { return []Problem{problem(e, rule, want, found())} }
	number := func(r *big.Rat) string {
		if r.IsInt() {
			return r.Num().String()
		}
		f, _ := r.Float64()
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Type:
		return one("type", strings.Join(k.Want, " or "))
	case *kind.Required:
		return missing(e, "required", k.Missing)
	case *kind.DependentRequired:
		return missing(e, "dependentRequired", k.Missing)
	case *kind.Dependency:
		return missing(e, "dependencies", k.Missing)
	case *kind.AdditionalProperties:
		var all []Problem
		for _, name := range k.Properties {
			all = append(all, Problem{Path: pointer(append(slices.Clone(e.InstanceLocation), name)), Rule: "additionalProperties",
				Want: "nothing", Found: "a name that the schema does not have: leave it out"})
		}
		return all
	case *kind.Enum:
		want := make([]string, 0, len(k.Want))
		for _, v := range k.Want {
			want = append(want, literal(v, maxLiteral))
		}
		if len(want) > maxEnum {
			want = append(want[:maxEnum], "…")
		}
		return one("enum", "one of "+strings.Join(want, ", "))
	case *kind.Const:
		return one("const", "exactly "+literal(k.Want, maxLiteral))
	case *kind.Format:
		if k.Want == "date-time" {
			return one("format", "a date-time like 2006-01-02T15:04:05Z")
		}
		return one("format", "text in the format "+k.Want)
	case *kind.Pattern:
		return one("pattern", "text that matches "+k.Want)
	case *kind.ContentEncoding:
		return one("contentEncoding", "text in "+k.Want)
	case *kind.ContentMediaType:
		return one("contentMediaType", "text that holds "+k.Want)
	case *kind.MinLength:
		return one("minLength", fmt.Sprintf("at least %d characters", k.Want))
	case *kind.MaxLength:
		return one("maxLength", fmt.Sprintf("at most %d characters", k.Want))
	case *kind.MinItems:
		return one("minItems", fmt.Sprintf("at least %d items", k.Want))
	case *kind.MaxItems:
		return one("maxItems", fmt.Sprintf("at most %d items", k.Want))
	case *kind.UniqueItems:
		return one("uniqueItems", "items that all differ")
	case *kind.MinProperties:
		return one("minProperties", fmt.Sprintf("at least %d properties", k.Want))
	case *kind.MaxProperties:
		return one("maxProperties", fmt.Sprintf("at most %d properties", k.Want))
	case *kind.Minimum:
		return one("minimum", "at least "+number(k.Want))
	case *kind.Maximum:
		return one("maximum", "at most "+number(k.Want))
	case *kind.ExclusiveMinimum:
		return one("exclusiveMinimum", "more than "+number(k.Want))
	case *kind.ExclusiveMaximum:
		return one("exclusiveMaximum", "less than "+number(k.Want))
	case *kind.MultipleOf:
		return one("multipleOf", "a multiple of "+number(k.Want))
	case *kind.FalseSchema:
		return one("false", "nothing here")
	}
	rule := "schema"
	if path := e.ErrorKind.KeywordPath(); len(path) > 0 {
		rule = path[0]
	}
	return one(rule, fmt.Sprintf("a value that fits the rule %q of the schema", rule))
}

func missing(e *jsonschema.ValidationError, rule string, names []string) []Problem {
	var all []Problem
	for _, name := range names {
		all = append(all, Problem{Path: pointer(append(slices.Clone(e.InstanceLocation), name)), Rule: rule, Want: "a value", Found: "nothing: it is required"})
	}
	return all
}

// pointer writes a location as a JSON Pointer.
func pointer(location []string) string {
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	var b strings.Builder
	for _, token := range location {
		b.WriteString("/" + escape.Replace(token))
	}
	return b.String()
}

// at finds the value at a location.
func at(v any, location []string) any {
	for _, token := range location {
		switch in := v.(type) {
		case map[string]any:
			v = in[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(in) {
				return nil
			}
			v = in[i]
		}
	}
	return v
}

// short shows a value to the model, by its type and without repeating much of it.
func short(v any) string {
	json := literal(v, maxShort)
	if name := typeName(v); name != "" {
		return name + " " + json
	}
	return json
}

func typeName(v any) string {
	switch v.(type) {
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case string:
		return "string"
	case json.Number:
		return "number"
	case bool:
		return "boolean"
	default:
		return ""
	}
}

// literal writes a value as JSON of at most limit runes.
func literal(v any, limit int) string {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "a value"
	}
	runes := []rune(strings.TrimSuffix(buf.String(), "\n"))
	if len(runes) > limit {
		runes = append(runes[:limit], '…')
	}
	return string(runes)
}

// refused says why the Go type does not take a text that the schema allows.
func refused(err error) error {
	p := Problem{Rule: ruleGo, Want: "a value that the tool can read", Found: err.Error()}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		if wrong.Field != "" {
			p.Path = "/" + strings.ReplaceAll(wrong.Field, ".", "/")
		}
		p.Want, p.Found = wordsFor(wrong.Type), wrong.Value
	}
	return &ArgumentsError{Problems: []Problem{p}}
}

// wordsFor says what JSON a Go type takes, without the names of Go.
func wordsFor(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return fmt.Sprintf("an integer of at most %d bits", t.Bits())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return fmt.Sprintf("an integer of at most %d bits, not negative", t.Bits())
	case reflect.Float32, reflect.Float64:
		return fmt.Sprintf("a number that fits a float of %d bits", t.Bits())
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Slice, reflect.Array:
		return "array"
	default:
		return "object"
	}
}
