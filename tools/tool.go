package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"strings"
	"time"
)

// A Tool is a Go func that a model may call. Make one with [New] or [Raw].
//
// It is a small immutable value: copy it, compare nothing, use it from any number
// of goroutines. The zero Tool is not usable, and [Tool.Err] says so.
type Tool struct{ def *definition }

// definition is what all copies of one Tool share. It is written by New and Raw only.
type definition struct {
	name, description string
	schema            *Schema
	// bind checks the arguments against the Go type of the func and returns the call.
	bind          func(args []byte) (func(context.Context) (any, error), error)
	approval      func(context.Context, json.RawMessage) (bool, error)
	needsApproval bool
	readOnly      bool
	endsRun       bool
	timeout       time.Duration
	grace         time.Duration
	maxResult     int
	uses          map[string]int64
	mistakes      []error
	err           error
}

// New makes a tool of a func. The schema comes from the type In, which must be a
// struct, a pointer to one, or a map: the arguments of a call are one JSON object.
// The description tells the model what the tool does and when to use it.
//
// New never panics and never fails: what is wrong with the definition is said by
// [Tool.Err], which [NewSet] asks.
//
// fn is called once per call, in its own goroutine, with arguments that are valid.
// It must return when its context ends. It may run in several goroutines at once
// if the loop makes parallel calls. See [CallFrom] for who is calling.
func New[In, Out any](name, description string, fn func(context.Context, In) (Out, error), opts ...Option) Tool {
	d := newDefinition(name, description)
	if strings.TrimSpace(description) == "" {
		d.mistake("the description is empty: say what the tool does and when to use it")
	}
	if fn == nil {
		d.mistake("the func is nil: give the func that does the work")
	}
	schema, err := schemaOf(reflect.TypeFor[In]())
	switch {
	case err != nil:
		d.mistake("arguments of type %v: %w", reflect.TypeFor[In](), err)
	case schema.wrapped:
		d.mistake("arguments of type %v: not a JSON object: use a struct with one field per argument, or tools.Raw", reflect.TypeFor[In]())
	}
	d.schema = schema
	d.bind = func(args []byte) (func(context.Context) (any, error), error) {
		in := new(In)
		if err := schema.unmarshal(args, in); err != nil {
			return nil, err
		}
		return func(ctx context.Context) (any, error) { return fn(ctx, *in) }, nil
	}
	return d.finish(opts)
}

// Raw makes a tool of a func with a hand-made JSON Schema (draft 2020-12 unless
// its $schema says otherwise). The root must be an object schema with
// "type":"object". References within the schema work; none is ever loaded from
// a file or the network. The description may be empty.
//
// fn is given a copy of the arguments as the model sent them, or {} when there
// were none; they fit the schema. Everything else is as for [New].
func Raw(name, description string, schema json.RawMessage, fn func(context.Context, json.RawMessage) (any, error), opts ...Option) Tool {
	d := newDefinition(name, description)
	if fn == nil {
		d.mistake("the func is nil: give the func that does the work")
	}
	compiled, err := schemaFromJSON(schema)
	if err != nil {
		d.mistake("%w", err)
	}
	d.schema = compiled
	d.bind = func(args []byte) (func(context.Context) (any, error), error) {
		// The caller keeps the arguments in the history, and an abandoned func outlives the call.
		own := json.RawMessage(bytes.Clone(args))
		return func(ctx context.Context) (any, error) { return fn(ctx, own) }, nil
	}
	return d.finish(opts)
}

func newDefinition(name, description string) *definition {
	d := &definition{
		name: name, description: description,
		timeout: DefaultTimeout, grace: DefaultGrace, maxResult: DefaultMaxResult,
	}
	if !regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`).MatchString(name) {
		d.mistake("the name does not fit: use 1 to 64 of the characters a-z, A-Z, 0-9, _ and -")
	}
	return d
}

func (d *definition) mistake(format string, args ...any) {
	d.mistakes = append(d.mistakes, fmt.Errorf("tools: tool %q: "+format, append([]any{d.name}, args...)...))
}

func (d *definition) finish(opts []Option) Tool {
	for _, opt := range opts {
		if opt == nil {
			d.mistake("an option is nil: leave it out")
			continue
		}
		opt(d)
	}
	d.err = errors.Join(d.mistakes...)
	return Tool{def: d}
}

// Name is the name the model calls the tool by.
func (t Tool) Name() string {
	if t.def == nil {
		return ""
	}
	return t.def.name
}

// Description is what the model is told about the tool.
func (t Tool) Description() string {
	if t.def == nil {
		return ""
	}
	return t.def.description
}

// Schema is the JSON Schema of the arguments, compact, always the same bytes.
// They are shared and must not be changed. It is nil when the schema has a
// mistake, see [Tool.Err].
func (t Tool) Schema() json.RawMessage {
	if t.def == nil || t.def.schema == nil {
		return nil
	}
	return t.def.schema.text
}

// ReadOnly reports whether the tool was declared with [ReadOnly].
func (t Tool) ReadOnly() bool { return t.def != nil && t.def.readOnly }

// EndsRun reports whether the tool was declared with [EndsRun].
func (t Tool) EndsRun() bool { return t.def != nil && t.def.endsRun }

// AsksApproval reports whether the tool was declared with [NeedsApproval] or
// [NeedsApprovalFunc]. Calls of other tools need neither [Tool.Check] nor
// [Tool.Approval] before they run.
func (t Tool) AsksApproval() bool {
	return t.def != nil && (t.def.needsApproval || t.def.approval != nil)
}

// Timeout is how long one call may run, [NoTimeout] if as long as its context.
func (t Tool) Timeout() time.Duration {
	if t.def == nil {
		return 0
	}
	return t.def.timeout
}

// Uses is how much of each meter a call uses, as declared with [Uses]; nil for none. The map is the caller's.
func (t Tool) Uses() map[string]int64 {
	if t.def == nil {
		return nil
	}
	return maps.Clone(t.def.uses)
}

// Err is every mistake in the definition, joined, or nil: a name that the market
// does not take, a type that has no schema, a schema that does not compile, a nil
// func, an option out of its range. A tool with an Err never runs.
func (t Tool) Err() error {
	if t.def == nil {
		return errors.New("tools: not made by tools.New or tools.Raw: make it with one of them")
	}
	return t.def.err
}
