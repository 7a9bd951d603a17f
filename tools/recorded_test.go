package tools

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// recorded reads a file of the test data that lies outside of the repository.
func recorded(t *testing.T, name string, into any) {
	t.Helper()
	dir := os.Getenv("GRIDLOOP_TESTDATA")
	if dir == "" {
		if os.Getenv("GRIDLOOP_REQUIRE") != "" {
			t.Fatal("GRIDLOOP_REQUIRE is set, but GRIDLOOP_TESTDATA is not")
		}
		t.Skip("GRIDLOOP_TESTDATA is not set")
	}
	text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// The calls that real providers made fit the schemas they were made for; the only
// ones that do not were recorded because they do not.
func TestRecordedCallsFitTheirSchemas(t *testing.T) {
	var loops []struct {
		File  string
		Chain []int
	}
	recorded(t, "recordings/loops.json", &loops)
	type message struct {
		ToolCalls []struct {
			Function struct{ Name, Arguments string }
		} `json:"tool_calls"`
	}
	calls, refused := 0, []string{}
	for _, loop := range loops {
		var interactions []struct{ Request struct{ Body string } }
		recorded(t, "recordings/"+loop.File, &interactions)
		schemas := make(map[string]json.RawMessage)
		var history []message
		for _, i := range loop.Chain {
			var request struct {
				Messages []message
				Tools    []struct {
					Function struct {
						Name       string
						Parameters json.RawMessage
					}
				}
			}
			if err := json.Unmarshal([]byte(interactions[i].Request.Body), &request); err != nil {
				t.Fatalf("%s: %v", loop.File, err)
			}
			history = request.Messages // the last request repeats what was called before
			for _, tool := range request.Tools {
				schemas[tool.Function.Name] = tool.Function.Parameters
			}
		}
		for _, m := range history {
			for _, call := range m.ToolCalls {
				calls++
				tool := Raw(call.Function.Name, "", schemas[call.Function.Name], echo)
				if err := tool.Err(); err != nil {
					t.Errorf("%s: %v", loop.File, err)
					continue
				}
				args := json.RawMessage(call.Function.Arguments)
				tool.def.schema.agree(t, args)
				res := tool.Call(t.Context(), args)
				switch {
				case res.Status == StatusInvalidArguments:
					refused = append(refused, loop.File)
				case !jsonEqual(t, []byte(res.Content), orEmptyObject(args)):
					t.Errorf("%s: %s became %s", loop.File, args, res.Content)
				}
			}
		}
	}
	if calls < 300 {
		t.Errorf("only %d calls found", calls)
	}
	for _, file := range refused {
		if !strings.Contains(file, "tool_use_failed_error") {
			t.Errorf("a call of %s is refused", file)
		}
	}
	if len(refused) == 0 {
		t.Error("the calls that are known to be bad are taken")
	}
}

// The functions of the Berkeley Function Calling Leaderboard take the answers that
// it holds for right, except where the answer breaks the function's own schema: the
// name of a variable for an object, a null or a value outside of the enum.
func TestBenchmarkAnswersFitTheirFunctions(t *testing.T) {
	taken, refused, short := 0, 0, 0
	for _, file := range []string{"simple_python", "multiple", "parallel", "parallel_multiple", "live_simple", "live_parallel", "live_parallel_multiple", "simple_java", "simple_javascript"} {
		var set struct {
			Items []struct {
				ID       string
				Function []struct {
					Name, Description string
					Parameters        any
				}
				Truth []map[string]map[string][]any `json:"ground_truth"`
			}
		}
		recorded(t, "bfcl/"+file+".json", &set)
		for _, item := range set.Items {
			byName := make(map[string]Tool)
			for _, f := range item.Function {
				schema, err := json.Marshal(plainTypes(f.Parameters))
				if err != nil {
					t.Fatal(err)
				}
				tool := Raw(strings.ReplaceAll(f.Name, ".", "_"), f.Description, schema, echo)
				if err := tool.Err(); err != nil {
					t.Errorf("%s: %v", item.ID, err)
				}
				byName[f.Name] = tool
			}
			for _, call := range item.Truth {
				for name, options := range call {
					args := make(map[string]any)
					for param, values := range options {
						if v, given := firstOf(values); given {
							args[param] = v
						}
					}
					text, err := json.Marshal(args)
					if err != nil {
						t.Fatal(err)
					}
					if byName[name].def.schema.agree(t, text) {
						short++
					}
					res := byName[name].Call(t.Context(), text)
					wrong, isWrong := errors.AsType[*ArgumentsError](res.Err)
					switch {
					case res.Status == StatusOK:
						taken++
					case isWrong && !slices.ContainsFunc(wrong.Problems, func(p Problem) bool {
						return p.Rule != "required" && p.Rule != "enum" && !(p.Rule == "type" && (p.Found == "null" || strings.HasPrefix(p.Found, "string ")))
					}):
						refused++
					default:
						t.Errorf("%s: %s: %s", item.ID, text, res.Content)
					}
				}
			}
		}
	}
	if taken != 1282 || refused != 46 {
		t.Errorf("%d answers are taken and %d refused, not 1282 and 46", taken, refused)
	}
	if short < 1100 {
		t.Errorf("only %d answers are checked the short way", short)
	}
}

// plainTypes writes the types of the benchmark, which are those of Python, Java and
// JavaScript, as those of JSON Schema.
func plainTypes(schema any) any {
	switch s := schema.(type) {
	case []any:
		for i := range s {
			s[i] = plainTypes(s[i])
		}
	case map[string]any:
		if name, ok := s["type"].(string); ok {
			switch name {
			case "dict", "HashMap":
				s["type"] = "object"
			case "float", "double":
				s["type"] = "number"
			case "long":
				s["type"] = "integer"
			case "String", "char":
				s["type"] = "string"
			case "Boolean":
				s["type"] = "boolean"
			case "tuple", "Array", "ArrayList":
				s["type"] = "array"
			case "any", "":
				delete(s, "type")
			}
		}
		for k := range s {
			s[k] = plainTypes(s[k])
		}
	}
	return schema
}

// firstOf is the first right value; "" among the values means that none is right as well.
func firstOf(values []any) (any, bool) {
	for _, v := range values {
		if v == "" {
			continue
		}
		return inner(v), true
	}
	return nil, false
}

func inner(v any) any {
	switch v := v.(type) {
	case map[string]any:
		object := make(map[string]any)
		for k, values := range v {
			list, ok := values.([]any)
			if !ok {
				object[k] = values
			} else if first, given := firstOf(list); given {
				object[k] = first
			}
		}
		return object
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = inner(v[i])
		}
		return list
	}
	return v
}

// The parser takes what RFC 8259 takes, but for the limits that it states.
func TestParserAgreesWithTheJSONTestSuite(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name, Expect, Text string
			Base64             []byte
			Generator          string
		}
	}
	recorded(t, "jsontestsuite/cases.json", &suite)
	stricter := map[string]bool{ // what this package refuses on purpose
		"y_object_duplicated_key.json":           true,
		"y_object_duplicated_key_and_value.json": true,
	}
	for _, c := range suite.Cases {
		text := append([]byte(c.Text), c.Base64...)
		if c.Generator != "" {
			text = bytes.Repeat([]byte(`[{"":`), 50_000)
		}
		_, wrong := parse(text)
		switch {
		case c.Expect == "accept" && !stricter[c.Name] && wrong != nil:
			t.Errorf("%s is refused: %+v", c.Name, wrong)
		case (c.Expect == "reject" || stricter[c.Name]) && wrong == nil:
			t.Errorf("%s is taken", c.Name)
		}
	}
}

// Schemas that are made by hand mean what the JSON Schema Test Suite says they mean.
func TestRawSchemasAgreeWithTheJSONSchemaTestSuite(t *testing.T) {
	var suite struct {
		Groups []struct {
			File, Description string
			Schema            json.RawMessage
			Tests             []struct {
				Description string
				Data        json.RawMessage
				Valid       bool
			}
		}
	}
	recorded(t, "jsonschema/draft2020-12.json", &suite)
	checked := 0
	for _, group := range suite.Groups {
		if strings.Contains(group.File, "/optional/") {
			continue // what formats and the regular expressions of Go mean is their library's
		}
		doc, wrong := parse(group.Schema)
		if wrong != nil {
			t.Errorf("%s: %+v", group.Description, wrong)
			continue
		}
		s, err := compile(group.Schema, doc)
		if err != nil {
			if !strings.Contains(err.Error(), "none is ever loaded") {
				t.Errorf("%s: %s: %v", group.File, group.Description, err)
			}
			continue
		}
		for _, test := range group.Tests {
			checked++
			s.agree(t, test.Data)
			if err := s.Validate(test.Data); (err == nil) != test.Valid {
				t.Errorf("%s: %s: %s: valid is %v: %v", group.File, group.Description, test.Description, test.Valid, err)
			}
		}
	}
	if checked < 400 {
		t.Errorf("only %d tests found", checked)
	}
}
