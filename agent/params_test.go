package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

func to[T any](v T) *T { return &v }

// wireFields are the fields of a request that are the user's to set: how in Go, how in
// the file, and what of it is at the socket. Zeros are values.
var wireFields = []struct {
	name string
	set  func(*grid.Params)
	yaml string
	want string
}{
	{"temperature", func(p *grid.Params) { p.Temperature = to(0.0) }, "0", "0"},
	{"temperature", func(p *grid.Params) { p.Temperature = to(0.3) }, "0.3", "0.3"},
	{"top_p", func(p *grid.Params) { p.TopP = to(0.0) }, "0", "0"},
	{"frequency_penalty", func(p *grid.Params) { p.FrequencyPenalty = to(0.0) }, "0", "0"},
	{"frequency_penalty", func(p *grid.Params) { p.FrequencyPenalty = to(-1.5) }, "-1.5", "-1.5"},
	{"presence_penalty", func(p *grid.Params) { p.PresencePenalty = to(0.0) }, "0", "0"},
	{"seed", func(p *grid.Params) { p.Seed = to(int64(0)) }, "0", "0"},
	{"stop", func(p *grid.Params) { p.Stop = []string{"END"} }, "END", `["END"]`},
	{"stop", func(p *grid.Params) { p.Stop = []string{"a", "b"} }, "[a, b]", `["a","b"]`},
	{"stop", func(p *grid.Params) { p.Stop = []string{} }, "[]", `[]`},
	{"tool_choice", func(p *grid.Params) { p.ToolChoice = json.RawMessage(`"auto"`) }, "auto", `"auto"`},
	{"tool_choice", func(p *grid.Params) {
		p.ToolChoice = json.RawMessage(`{"function":{"name":"look"},"type":"function"}`)
	}, "{type: function, function: {name: look}}", `{"function":{"name":"look"},"type":"function"}`},
	{"response_format", func(p *grid.Params) { p.ResponseFormat = json.RawMessage(`{"type":"text"}`) }, "{type: text}", `{"type":"text"}`},
	{"parallel_tool_calls", func(p *grid.Params) { p.ParallelToolCalls = to(false) }, "false", "false"},
	{"parallel_tool_calls", func(p *grid.Params) { p.ParallelToolCalls = to(true) }, "true", "true"},
	{"logprobs", func(p *grid.Params) { p.LogProbs = to(false) }, "false", "false"},
	{"top_logprobs", func(p *grid.Params) { p.TopLogProbs = to(0) }, "0", "0"},
	{"reasoning_effort", func(p *grid.Params) { p.ReasoningEffort = to("low") }, "low", `"low"`},
	{"verbosity", func(p *grid.Params) { p.Verbosity = to("low") }, "low", `"low"`},
	{"service_tier", func(p *grid.Params) { p.ServiceTier = to("flex") }, "flex", `"flex"`},
	{"store", func(p *grid.Params) { p.Store = to(false) }, "false", "false"},
	{"user", func(p *grid.Params) { p.User = to("") }, `""`, `""`},
	{"safety_identifier", func(p *grid.Params) { p.SafetyIdentifier = to("u-1") }, "u-1", `"u-1"`},
	{"prompt_cache_key", func(p *grid.Params) { p.PromptCacheKey = to("") }, `""`, `""`},
	{"prompt_cache_retention", func(p *grid.Params) { p.PromptCacheRetention = to("24h") }, "24h", `"24h"`},
	{"route", extra("route", `"fallback"`), "", `"fallback"`},
	{"provider", extra("provider", `{"allow_fallbacks":false}`), "", `{"allow_fallbacks":false}`},
	{"web_search_options", extra("web_search_options", `{}`), "", `{}`},
}

func extra(name, value string) func(*grid.Params) {
	return func(p *grid.Params) {
		if p.Extra == nil {
			p.Extra = make(map[string]json.RawMessage)
		}
		p.Extra[name] = json.RawMessage(value)
	}
}

// sockets remembers the requests as they came.
func sockets(m *gridtest.Market, replies ...gridtest.Reply) func(i int) map[string]json.RawMessage {
	var mu sync.Mutex
	var raw [][]byte
	m.Model(func(t gridtest.Turn) gridtest.Reply {
		mu.Lock()
		defer mu.Unlock()
		raw = append(raw, bytes.Clone(t.Raw))
		if t.N < len(replies) {
			return replies[t.N]
		}
		return say("done")
	})
	return func(i int) map[string]json.RawMessage {
		mu.Lock()
		defer mu.Unlock()
		var fields map[string]json.RawMessage
		if i >= len(raw) || json.Unmarshal(raw[i], &fields) != nil {
			return nil
		}
		return fields
	}
}

func TestEveryFieldOfARequestCanBeSetForAnAgentAndForAStep(t *testing.T) {
	for _, row := range wireFields {
		t.Run(row.name+" "+row.want, func(t *testing.T) {
			check := func(how string, fields map[string]json.RawMessage, want string) {
				t.Helper()
				if got := string(fields[row.name]); got != want {
					t.Errorf("%s: the socket saw %q, want %q", how, got, want)
				}
			}
			ask := func(cfg agent.Config) func(int) map[string]json.RawMessage {
				m := newMarket(t, gridtest.Config{})
				seen := sockets(m, calls(lookCall()))
				cfg.Tools = append(cfg.Tools, look())
				if _, err := agent.Run[string](t.Context(), open(t, m, cfg), "go"); err != nil {
					t.Fatal(err)
				}
				return seen
			}
			check("not set", ask(agent.Config{})(0), "")

			var params grid.Params
			row.set(&params)
			seen := ask(agent.Config{Params: params})
			check("for the agent", seen(0), row.want)
			check("for the agent, second step", seen(1), row.want)

			seen = ask(agent.Config{Tune: func(_ context.Context, s agent.StepInfo, t *agent.StepTuning) {
				if s.Step == 1 {
					row.set(&t.Params)
				}
			}})
			check("for the other step", seen(0), "")
			check("for one step", seen(1), row.want)

			text := "version: 1\nparams:\n  " + row.name + ": " + row.yaml + "\n"
			if row.yaml == "" {
				text = "version: 1\nparams:\n  extra:\n    " + row.name + ": " + row.want + "\n"
			}
			seen = ask(agent.Config{File: "gridloop.yaml", FS: fstest.MapFS{"gridloop.yaml": {Data: []byte(text)}}})
			check("in the file", seen(0), row.want)
		})
	}
}

// The bound on an answer has a name for each instrument, and a value for each step.
func TestTheBoundOnAnAnswerCanBeSetForAnAgentAndForAStep(t *testing.T) {
	for _, field := range []string{grid.TokenFieldMax, grid.TokenFieldCompletion} {
		m := newMarket(t, gridtest.Config{})
		seen := sockets(m, calls(lookCall()))
		file := fmt.Sprintf("version: 1\ninstruments:\n  agent-prime:\n    token_field: %s\nlimits:\n  max_tokens: 700\n", field)
		a := open(t, m, agent.Config{
			File: "gridloop.yaml", FS: fstest.MapFS{"gridloop.yaml": {Data: []byte(file)}},
			Tools: []tools.Tool{look()},
			Tune: func(_ context.Context, s agent.StepInfo, t *agent.StepTuning) {
				if s.Step == 1 && s.Instrument == "agent-prime" && !s.Final {
					t.MaxTokens = 90
				}
			},
		})
		if _, err := agent.Run[string](t.Context(), a, "go", agent.Pin("agent-prime")); err != nil {
			t.Fatal(err)
		}
		if one, two := string(seen(0)[field]), string(seen(1)[field]); one != "700" || two != "90" {
			t.Errorf("%s: the socket saw %s, then %s", field, one, two)
		}
	}
}

// What one step sets is no other's, and what is set twice and differently is a mistake.
func TestParamsAreMergedAndStayTheAgents(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	seen := sockets(m, calls(lookCall()))
	a := open(t, m, agent.Config{
		Params: grid.Params{Temperature: to(0.5), Extra: map[string]json.RawMessage{"route": json.RawMessage(`"a"`)}},
		File:   "f.yaml", FS: fstest.MapFS{"f.yaml": {Data: []byte("version: 1\nparams:\n  temperature: 0.5\n  seed: 7\n")}},
		Tools: []tools.Tool{look()},
		Tune: func(_ context.Context, s agent.StepInfo, t *agent.StepTuning) {
			if s.Step == 0 {
				t.Params.Extra["route"] = json.RawMessage(`"b"`)
				t.Params.Seed = nil
			}
		},
	})
	if _, err := agent.Run[string](t.Context(), a, "go"); err != nil {
		t.Fatal(err)
	}
	if string(seen(0)["route"]) != `"b"` || seen(0)["seed"] != nil || string(seen(1)["route"]) != `"a"` || string(seen(1)["seed"]) != "7" || string(seen(1)["temperature"]) != "0.5" {
		t.Errorf("the socket saw %s, then %s", seen(0), seen(1))
	}
	if text := a.Explain(); !strings.Contains(text, "Temperature, Seed, route") || !strings.Contains(text, "step by step") {
		t.Errorf("Explain says\n%s", text)
	}
	for _, row := range []struct{ name, file, want string }{
		{"differs", "version: 1\nparams:\n  temperature: 0.7\n", "Params.Temperature and params of the file differ"},
		{"no value", "version: 1\nparams:\n  seed:\n", "seed has no value"},
		{"unknown", "version: 1\nparams:\n  temprature: 1\n", `there is no key "temprature" here`},
		{"ours", "version: 1\nparams:\n  extra:\n    model: x\n", `"model" stands in Extra`},
	} {
		_, err := agent.New(agent.Config{Name: "desk", Market: clientOf(t, m), Params: grid.Params{Temperature: to(0.5)},
			File: "f.yaml", FS: fstest.MapFS{"f.yaml": {Data: []byte(row.file)}}})
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// What Tune is given is a copy to the last pointer: a new field is no exception.
func TestTuneMayChangeWhatItIsGiven(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	seen := sockets(m, calls(lookCall()))
	var params grid.Params
	v := reflect.ValueOf(&params).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Pointer {
			f.Set(reflect.New(f.Type().Elem()))
		}
	}
	params.Stop = []string{"a"}
	params.ToolChoice, params.ResponseFormat = json.RawMessage(`"auto"`), json.RawMessage(`{"type":"text"}`)
	params.Extra = map[string]json.RawMessage{"route": json.RawMessage(`"a"`)}
	a := open(t, m, agent.Config{
		Params: params, Tools: []tools.Tool{look()},
		Tune: func(_ context.Context, s agent.StepInfo, t *agent.StepTuning) {
			if s.Step > 0 {
				return
			}
			v := reflect.ValueOf(&t.Params).Elem()
			for i := range v.NumField() {
				switch f := v.Field(i); f.Kind() {
				case reflect.Pointer:
					switch e := f.Elem(); e.Kind() {
					case reflect.String:
						e.SetString("changed")
					case reflect.Bool:
						e.SetBool(true)
					case reflect.Float64:
						e.SetFloat(0.25)
					default:
						e.SetInt(5)
					}
				}
			}
			t.Params.Stop[0] = "b"
			copy(t.Params.ToolChoice, `"none"`)
			copy(t.Params.ResponseFormat, `{"TYPE"`)
			copy(t.Params.Extra["route"], `"b"`)
		},
	})
	if _, err := agent.Run[string](t.Context(), a, "go"); err != nil {
		t.Fatal(err)
	}
	changed := 0
	for name, was := range map[string]string{
		"temperature": "0", "top_p": "0", "frequency_penalty": "0", "presence_penalty": "0", "seed": "0", "stop": `["a"]`, "tool_choice": `"auto"`,
		"response_format": `{"type":"text"}`, "parallel_tool_calls": "false", "logprobs": "false", "top_logprobs": "0", "reasoning_effort": `""`,
		"verbosity": `""`, "service_tier": `""`, "store": "false", "user": `""`, "safety_identifier": `""`, "prompt_cache_key": `""`,
		"prompt_cache_retention": `""`, "route": `"a"`,
	} {
		if string(seen(0)[name]) != was {
			changed++
		}
		if got := string(seen(1)[name]); got != was {
			t.Errorf("the second step was asked with %s %s, want %s", name, got, was)
		}
	}
	if changed != 20 || v.NumField() != changed {
		t.Errorf("%d of %d fields were changed for the first step", changed, v.NumField())
	}
}

// Whether a provider's own fields may go back is set by instrument, on and off.
func TestEchoIsSetByInstrument(t *testing.T) {
	for _, echo := range []bool{true, false} {
		m := newMarket(t, gridtest.Config{})
		catalogue := grid.DefaultCatalogue()
		in, _ := catalogue.Get("agent-prime")
		in.Echo, in.NoSchema = !echo, true
		if err := catalogue.Put(in); err != nil {
			t.Fatal(err)
		}
		file := fmt.Sprintf("version: 1\ninstruments:\n  agent-prime:\n    echo: %t\n    no_schema: false\n", echo)
		open(t, m, agent.Config{File: "f.yaml", FS: fstest.MapFS{"f.yaml": {Data: []byte(file)}},
			Market: clientOf(t, m, func(cfg *grid.Config) { cfg.Catalogue = catalogue })})
		if in, _ := catalogue.Get("agent-prime"); in.Echo != echo || in.NoSchema {
			t.Errorf("echo: %t leaves %+v", echo, in)
		}
	}
}
