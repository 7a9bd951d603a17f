package tools

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

// Status says how a call ended.
type Status string

const (
	// StatusOK: the func returned without an error.
	StatusOK Status = "ok"
	// StatusUnknownTool: no tool has that name; nothing ran.
	StatusUnknownTool Status = "unknown_tool"
	// StatusInvalidArguments: the arguments do not fit; nothing ran.
	StatusInvalidArguments Status = "invalid_arguments"
	// StatusError: the func returned an error, or a result that has no JSON form.
	StatusError Status = "error"
	// StatusPanic: the func panicked, or ended its goroutine.
	StatusPanic Status = "panic"
	// StatusTimeout: the tool's own time limit ended the call.
	StatusTimeout Status = "timeout"
	// StatusCanceled: the caller's context ended the call.
	StatusCanceled Status = "canceled"
)

// A Result is how one call ended. There is one for every call, whatever happened.
type Result struct {
	// Status says how the call ended.
	Status Status
	// Content is the text for the model, valid UTF-8; after a failure it says what
	// was wrong and what to mend.
	Content string
	// Ends is true when the call succeeded and its tool ends the run.
	Ends bool
	// Abandoned is true when the func ignored the end of its context and still runs.
	Abandoned bool
	// Done is closed when the func has returned. It is nil if the func never started.
	Done <-chan struct{}
	// Err is the cause of a failure, nil when ok: an [*ArgumentsError], a
	// [*PanicError], a [*TimeoutError], the cause of the context, or what the func
	// returned. It may hold content of the run: log it only where content may be logged.
	Err error
}

// A PanicError is the cause of a call whose func panicked. Its text says neither
// the value nor the stack, since both may hold content.
type PanicError struct {
	// Tool is the name of the tool.
	Tool string
	// Value is what the func panicked with; nil if it ended its goroutine with runtime.Goexit.
	Value any
	// Stack is the stack of the goroutine at the panic.
	Stack []byte
}

func (e *PanicError) Error() string {
	if e.Value == nil {
		return fmt.Sprintf("tools: tool %q ended its goroutine: return from the func instead of runtime.Goexit", e.Tool)
	}
	return fmt.Sprintf("tools: tool %q panicked with a %T: see Value and Stack", e.Tool, e.Value)
}

// Unwrap returns the value of the panic if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// A TimeoutError is the cause of a call that did not end within its tool's
// [Timeout]. It is also the cause of the func's context.
type TimeoutError struct {
	// Tool is the name of the tool.
	Tool string
	// After is the limit that was reached.
	After time.Duration
	// Err is what the func returned when its context had ended, nil if it was abandoned.
	Err error
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("tools: tool %q did not return within %v: make it faster or set tools.Timeout", e.Tool, e.After)
}

// Unwrap returns what the func returned.
func (e *TimeoutError) Unwrap() error { return e.Err }

// text is a func's result as the model reads it.
func text(out any) (string, error) {
	switch s := out.(type) {
	case string:
		return s, nil
	case json.Marshaler, encoding.TextMarshaler:
	default:
		if v := reflect.ValueOf(out); v.IsValid() && v.Kind() == reflect.String {
			return v.String(), nil
		}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // the model reads <, not its escape
	if err := enc.Encode(out); err != nil {
		return "", fmt.Errorf("tools: the result of type %T has no JSON form: return another type: %w", out, err)
	}
	return string(bytes.TrimSuffix(buf.Bytes(), []byte("\n"))), nil
}

// cut makes s valid UTF-8 of at most limit bytes, and says so to the model if that took anything away.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	end := limit
	for end > 0 && limit-end < utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return strings.ToValidUTF8(s[:end], "\uFFFD") +
		fmt.Sprintf("\n[cut: the result has %d bytes, these are the first %d; ask for less at a time]", len(s), end)
}
