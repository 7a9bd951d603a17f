package tools

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// structFields looks for what invopop/jsonschema would read otherwise than
// encoding/json, or would drop without a word: a schema that says less than its
// author wrote is a mistake.
func (r *reflection) structFields(t reflect.Type) {
	outer := r.field
	defer func() { r.field = outer }()
	r.embedded(t, make(map[string]string), []reflect.Type{t})
}

func (r *reflection) embedded(t reflect.Type, owners map[string]string, within []reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || f.Tag.Get("jsonschema") == "-" {
			continue
		}
		r.field = f.Name
		if slices.Contains(strings.Split(options, ","), "inline") {
			r.mistake(`encoding/json does not know the option inline: embed the struct`)
		}
		if f.Anonymous && name == "" {
			in := f.Type
			if in.Kind() == reflect.Pointer {
				in = in.Elem()
			}
			if in.Kind() == reflect.Struct {
				if slices.Contains(within, in) {
					r.mistake("%v embeds itself: name the field", in)
					panic(errTooLarge)
				}
				if f.PkgPath != "" && f.Type.Kind() == reflect.Pointer {
					r.mistake("encoding/json cannot fill a pointer to the unexported %v: embed the struct itself", in)
				}
				r.embedded(in, owners, append(slices.Clone(within), in))
				continue
			}
		}
		if f.PkgPath != "" && !f.Anonymous {
			continue
		}
		if f.PkgPath != "" && f.Type.Kind() != reflect.Struct {
			r.mistake("encoding/json ignores an embedded %v: name the field", f.Type)
			continue
		}
		if name == "" {
			name = f.Name
		}
		place := fmt.Sprintf("%v.%s", t, f.Name)
		if first, twice := owners[name]; twice {
			r.mistake("the JSON name %q is also that of %s: rename one", name, first)
		}
		owners[name] = place
		r.tag(f)
	}
}

// tag checks the jsonschema tag of one field.
func (r *reflection) tag(f reflect.StructField) {
	tag, ok := f.Tag.Lookup("jsonschema")
	if !ok {
		return
	}
	const escape = `if it belongs to the text before, write the comma as \\, or use the tag jsonschema_description`
	for _, rule := range splitTag(tag) {
		keyword, value, hasValue := strings.Cut(rule, "=")
		switch keyword {
		case "required", "nullable", "uniqueItems":
		case "title", "description", "type", "anchor", "pattern", "format",
			"oneof_required", "anyof_required", "oneof_ref", "oneof_type", "anyof_ref", "anyof_type",
			"readOnly", "writeOnly":
			if !hasValue {
				r.mistake("the jsonschema tag has %q without a value: write %s=...", keyword, keyword)
			}
		case "default", "example", "enum":
			if isNumber(f) {
				r.number(keyword, value)
			}
		case "minLength", "maxLength", "minItems", "maxItems":
			if _, err := strconv.ParseUint(value, 10, 64); err != nil {
				r.mistake("the jsonschema tag has %s=%s: write a whole number", keyword, value)
			}
			want := "string"
			if strings.HasSuffix(keyword, "Items") {
				want = "array"
			}
			if is := jsonKind(f); is != "" && is != want && (want == "array" || is != "array") {
				r.mistake("the jsonschema tag has %s, which says nothing about a %s: take it out", keyword, is)
			}
		case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf":
			r.number(keyword, value)
			if is := jsonKind(f); is != "" && is != "number" && is != "array" {
				r.mistake("the jsonschema tag has %s, which says nothing about a %s: take it out", keyword, is)
			}
		case "":
			if rule != "" || tag != "" {
				r.mistake("the jsonschema tag has an empty rule: %s", escape)
			}
		default:
			r.mistake("the jsonschema tag has %q, which is no rule: %s", keyword, escape)
		}
	}
}

func (r *reflection) number(keyword, value string) {
	if _, err := strconv.ParseFloat(value, 64); err != nil {
		r.mistake("the jsonschema tag has %s=%s: write a number", keyword, value)
	}
}

// isNumber reports whether the field, or the items of it, are written as numbers.
func isNumber(f reflect.StructField) bool {
	if stringOption(f) {
		return false
	}
	t := plain(f.Type)
	if t.Kind() == reflect.Slice || t.Kind() == reflect.Array {
		t = plain(t.Elem())
	}
	return t.Kind() >= reflect.Int && t.Kind() <= reflect.Float64
}

// jsonKind is what a field of a basic type is in JSON, "" for any other.
func jsonKind(f reflect.StructField) string {
	if stringOption(f) {
		return "string"
	}
	switch t := plain(f.Type); t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return ""
		}
		return "array"
	default:
		if t.Kind() >= reflect.Int && t.Kind() <= reflect.Float64 {
			return "number"
		}
		return ""
	}
}

// plain is the type behind pointers, and a struct if the type reads itself.
func plain(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer && t.Elem() != t {
		t = t.Elem()
	}
	if t.NumMethod() > 0 || reflect.PointerTo(t).NumMethod() > 0 {
		return reflect.TypeFor[struct{}]()
	}
	return t
}

func stringOption(f reflect.StructField) bool {
	_, options, _ := strings.Cut(f.Tag.Get("json"), ",")
	return slices.Contains(strings.Split(options, ","), "string")
}

// splitTag splits at commas that no backslash stands before, as invopop/jsonschema does.
func splitTag(tag string) []string {
	rules := []string{""}
	for i, part := range strings.Split(tag, ",") {
		last := len(rules) - 1
		switch {
		case i == 0:
			rules[0] = part
		case strings.HasSuffix(rules[last], `\`):
			rules[last] = strings.TrimSuffix(rules[last], `\`) + "," + part
		default:
			rules = append(rules, part)
		}
	}
	return rules
}
