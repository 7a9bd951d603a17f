package tools

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sort"
)

// possible finds rules that no value can keep. A schema validator takes them
// without a word, and the model would try for ever.
func possible(doc any) error {
	var c contradictions
	c.schema(doc, nil)
	return errors.Join(c.found...)
}

type contradictions struct{ found []error }

func (c *contradictions) report(path []string, format string, args ...any) {
	place := "at its root"
	if len(path) > 0 {
		place = "at " + pointer(path)
	}
	c.found = append(c.found, fmt.Errorf("the schema cannot be kept %s: %s", place, fmt.Sprintf(format, args...)))
}

func (c *contradictions) schema(doc any, path []string) {
	s, ok := doc.(map[string]any)
	if !ok {
		return
	}
	for _, pair := range [][2]string{
		{"minimum", "maximum"}, {"minLength", "maxLength"}, {"minItems", "maxItems"}, {"minProperties", "maxProperties"},
	} {
		low, high := rational(s[pair[0]]), rational(s[pair[1]])
		if low != nil && high != nil && low.Cmp(high) > 0 {
			c.report(path, "%s %s is above %s %s: swap them", pair[0], s[pair[0]], pair[1], s[pair[1]])
		}
	}
	if allowed, ok := s["enum"].([]any); ok && len(allowed) == 0 {
		c.report(path, "enum is empty: list the values, or leave it out")
	}
	c.required(s, path)

	for _, keyword := range sortedKeys(s) {
		at := append(slices.Clone(path), keyword)
		switch keyword {
		case "properties", "patternProperties", "$defs", "definitions", "dependentSchemas":
			if named, ok := s[keyword].(map[string]any); ok {
				for _, name := range sortedKeys(named) {
					c.schema(named[name], append(slices.Clone(at), name))
				}
			}
		case "allOf", "anyOf", "oneOf", "prefixItems":
			if list, ok := s[keyword].([]any); ok {
				for i, sub := range list {
					c.schema(sub, append(slices.Clone(at), fmt.Sprint(i)))
				}
			}
		case "items", "additionalProperties", "contains":
			c.schema(s[keyword], at)
		}
	}
}

// required finds names that must be there and may not.
func (c *contradictions) required(s map[string]any, path []string) {
	names, _ := s["required"].([]any)
	properties, _ := s["properties"].(map[string]any)
	_, patterns := s["patternProperties"]
	for _, name := range names {
		name, ok := name.(string)
		if !ok {
			continue // the compiler says so
		}
		rule, listed := properties[name]
		if listed && rule == false {
			c.report(path, "%q is required, but its schema is false", name)
		}
		if !listed && !patterns && s["additionalProperties"] == false {
			c.report(path, "%q is required, but not among the properties, and others are forbidden: add it to properties", name)
		}
	}
}

func rational(v any) *big.Rat {
	n, ok := v.(json.Number)
	if !ok {
		return nil
	}
	r, ok := new(big.Rat).SetString(string(n))
	if !ok {
		return nil
	}
	return r
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
