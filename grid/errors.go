package grid

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	openai "github.com/sashabaranov/go-openai"
)

// The errors that callers branch on with errors.Is.
var (
	ErrAuth              = errors.New("the key was refused")
	ErrUnknownInstrument = errors.New("unknown instrument")
	ErrDry               = errors.New("the balance is dry")
	ErrCut               = errors.New("the answer broke off")
	ErrTooLong           = errors.New("the conversation is too long for the instrument")
	ErrNoChoices         = errors.New("the answer has no choices")
	ErrMalformed         = errors.New("the answer cannot be read")
	ErrRedirect          = errors.New("the redirect was not followed")
	ErrTooLarge          = errors.New("the answer is larger than MaxResponseBytes")
	ErrClosed            = errors.New("the client is closed")
	// ErrRetryBudget: too many calls failed for this one to be retried.
	ErrRetryBudget = errors.New("the retry budget is spent")
	// ErrBroken: nothing was sent, because most calls to the instrument fail.
	ErrBroken = errors.New("most calls fail: the instrument is left alone for a while")
	// ErrCreditsExhausted and ErrInstrumentDry are ErrDry, too.
	ErrCreditsExhausted = fmt.Errorf("%w: the account's credits are used up", ErrDry)
	ErrInstrumentDry    = fmt.Errorf("%w and is not filled by itself", ErrDry)
)

// Error is why a call failed. Its text carries neither keys nor redirect tokens nor
// what was asked. errors.As finds an *openai.APIError in it where a provider sent an
// error, and *TryLaterError, *CutError and *TooLongError where they apply.
type Error struct {
	Class      Class
	Instrument string
	// Status is the HTTP status, 0 if none came; Hop tells who sent it: 1 the market,
	// 2 whom it redirected to.
	Status, Hop int
	// Message, Code, Type and Param are the provider's words, bounded and scrubbed.
	Message, Code, Type, Param string
	RequestID                  string
	// RetryAfter is the server's hint; 0 if there was none.
	RetryAfter time.Duration
	// Attempts is how many requests were made, Waited how long a top-up was waited for.
	Attempts int
	Waited   time.Duration

	cause error // scrubbed
	kind  error // one of the sentinels, nil if none fits
	api   *openai.APIError
	// advice takes the place of what the class alone would say.
	advice string
}

func (e *Error) Error() string {
	if hint := e.hint(); hint != "" {
		return e.text() + ": " + hint
	}
	return e.text()
}

// text is what happened, without the next step.
func (e *Error) text() string {
	var b strings.Builder
	b.WriteString("grid: ")
	if e.Instrument != "" {
		b.WriteString(e.Instrument + ": ")
	}
	b.WriteString(string(e.Class))
	if e.Status != 0 {
		fmt.Fprintf(&b, " (status %d)", e.Status)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.cause != nil && (e.Message == "" || e.Status == http.StatusOK || e.kind == ErrInstrumentDry) {
		b.WriteString(": " + e.cause.Error())
	} else if e.Message == "" && e.kind != nil {
		b.WriteString(": " + e.kind.Error())
	}
	if e.RequestID != "" {
		b.WriteString(" [request " + e.RequestID + "]")
	}
	return b.String()
}

// hint is the next step.
func (e *Error) hint() string {
	if e.advice != "" {
		return e.advice
	}
	switch e.Class {
	case ClassAuth:
		if e.Hop >= 2 {
			return "the redirect lost the credentials: list its host in RedirectHosts"
		}
		return "check the key: inference takes a consumption key, not a trading key"
	case ClassNotFound:
		return "check the instrument's name and that the base URL ends in one /v1"
	case ClassBroken:
		return "ask again later, or another instrument"
	case ClassTopUp, ClassExhausted:
		return "add credits or switch on Auto Top Up, or allow more time to wait"
	case ClassTooLong:
		return "shorten the conversation or take an instrument with a larger context"
	case ClassRedirect:
		return "check RedirectHosts and MaxHops"
	case ClassTooLarge:
		return "raise MaxResponseBytes if such an answer is wanted"
	case ClassThrottled:
		return "ask less often"
	case ClassCaller:
		return "mend the request; asking again will not help"
	case ClassAmbiguous:
		return "it may have been billed: look up the receipt"
	}
	return ""
}

// Unwrap gives errors.Is and errors.As what they look for.
func (e *Error) Unwrap() []error {
	out := make([]error, 0, 3)
	if e.kind != nil {
		out = append(out, e.kind)
	}
	if e.api != nil {
		out = append(out, e.api)
	}
	if e.cause != nil {
		out = append(out, e.cause)
	}
	return out
}

// TryLaterError says that the balance is dry and that the caller would not wait.
type TryLaterError struct {
	// After is when asking again makes sense, from now.
	After      time.Duration
	Instrument string
	Status     int

	exhausted bool
}

func (e *TryLaterError) Error() string {
	return fmt.Sprintf("the balance of %s is dry: try again in %v", e.Instrument, e.After.Round(time.Millisecond))
}

// Is makes a TryLaterError an ErrDry, and an ErrCreditsExhausted where it is one.
func (e *TryLaterError) Is(target error) bool {
	return target == ErrDry || e.exhausted && target == ErrCreditsExhausted
}

// CutError holds what arrived of an answer that broke off. Its tool calls must not
// be run: they may be halves.
type CutError struct{ Partial *Response }

func (e *CutError) Error() string { return "neither a finish reason nor an end mark was read" }

// Is makes a CutError an ErrCut.
func (e *CutError) Is(target error) bool { return target == ErrCut }

// TooLongError says how long a conversation may be.
type TooLongError struct {
	// Max is the instrument's input limit in tokens; 0 where it is not known.
	Max int64
}

func (e *TooLongError) Error() string {
	if e.Max == 0 {
		return "the conversation is longer than the instrument takes"
	}
	return fmt.Sprintf("the conversation is longer than %d tokens", e.Max)
}

// Is makes a TooLongError an ErrTooLong.
func (e *TooLongError) Is(target error) bool { return target == ErrTooLong }

// sentinel returns what errors.Is finds for a class.
func (c Class) sentinel() error {
	switch c {
	case ClassAuth:
		return ErrAuth
	case ClassTopUp:
		return ErrDry
	case ClassExhausted:
		return ErrCreditsExhausted
	case ClassBroken:
		return ErrBroken
	case ClassCut:
		return ErrCut
	case ClassTooLong:
		return ErrTooLong
	case ClassMalformed:
		return ErrMalformed
	case ClassRedirect:
		return ErrRedirect
	case ClassTooLarge:
		return ErrTooLarge
	case ClassClosed:
		return ErrClosed
	}
	return nil
}

// fault takes over what the provider said.
func (e *Error) fault(f fault, httpStatus string) {
	e.Message, e.Code, e.Type, e.Param = f.message, f.code, f.typ, f.param
	e.api = &openai.APIError{
		Message: f.message, Type: f.typ, HTTPStatus: httpStatus, HTTPStatusCode: e.Status,
	}
	if f.code != "" {
		e.api.Code = f.code
	}
	if f.param != "" {
		param := f.param
		e.api.Param = &param
	}
	if e.Status == http.StatusOK && f.status != 0 {
		e.api.HTTPStatusCode = f.status
	}
}
