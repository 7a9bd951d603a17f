package budget

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// What errors.Is may ask for. A [*DeniedError] is ErrDenied and exactly one of ErrHeld, ErrSpent, ErrTooBig, ErrFrozen and
// ErrNoLabel: the gravest of its violations.
var (
	ErrDenied  = errors.New("budget: denied")
	ErrHeld    = errors.New("budget: held by calls in flight: ask again when they have settled")
	ErrSpent   = errors.New("budget: spent: wait until the window gives room again, or raise the cap")
	ErrTooBig  = errors.New("budget: larger than the cap itself: ask for less")
	ErrFrozen  = errors.New("budget: frozen: wait until it is unfrozen")
	ErrNoLabel = errors.New("budget: the request lacks a label that a cap is for: label the run")

	// ErrUnavailable is a store that could not answer. Nothing new may be dispatched; what is in flight may go on.
	ErrUnavailable = errors.New("budget: the store cannot be reached: dispatch nothing and ask again")
	// ErrMismatch is an id that was used before with other arguments.
	ErrMismatch = errors.New("budget: the id was used with other arguments: use a new id")
	// ErrUnknownReservation is an id that was never reserved, or that was forgotten long after it ended.
	ErrUnknownReservation = errors.New("budget: no such reservation")
	// ErrFinished is an operation that the reservation's state does not allow any more. See [*StateError].
	ErrFinished = errors.New("budget: the reservation has ended: reserve under a new id")
	// ErrStillOpen is an operation that needs a reservation, or all of a run's, to have ended.
	ErrStillOpen = errors.New("budget: still open: settle, charge, void or release it first")
	// ErrNotIdle is Release or Swap of a reservation that may have been dispatched, or a draw from it, or Settle or Charge of one
	// that was not.
	ErrNotIdle = errors.New("budget: only an idle reservation is released, and only a dispatched one is settled")
	// ErrNoProof is a Void without a reason to believe that nothing was billed.
	ErrNoProof = errors.New("budget: void needs proof that nothing was billed: charge it instead")
	// ErrClosed is a ledger that was shut down, or a run that was forgotten.
	ErrClosed = errors.New("budget: closed")
	// ErrInvalid is any [*FieldError].
	ErrInvalid = errors.New("budget: invalid")
)

// FieldError is one mistake in what was handed in.
type FieldError struct {
	At      string // which of several, such as "Caps[2]"; empty when there is one
	Field   string
	Problem string
	Fix     string
}

func (e *FieldError) Error() string {
	field := e.Field
	if e.At != "" {
		field = e.At + "." + e.Field
	}
	return "budget: " + field + ": " + e.Problem + ": " + e.Fix
}

// Is makes every FieldError an [ErrInvalid].
func (e *FieldError) Is(target error) bool { return target == ErrInvalid }

// fieldErrors collects mistakes, so that all of them are reported at once.
type fieldErrors []error

func (f *fieldErrors) add(field, problem, fix string) {
	*f = append(*f, &FieldError{Field: field, Problem: problem, Fix: fix})
}

// wrap adds the mistakes of a part, saying where the part is.
func (f *fieldErrors) wrap(at string, err error) {
	if err == nil {
		return
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			f.wrap(at, e)
		}
		return
	}
	var fe *FieldError
	if at != "" && errors.As(err, &fe) {
		within := *fe
		within.At = strings.TrimSuffix(at+"."+fe.At, ".")
		err = &within
	}
	*f = append(*f, err)
}

func (f fieldErrors) join() error { return errors.Join(f...) }

// Kind says why a cap denied.
type Kind string

// The kinds of denial, from what passes soonest to what never passes by itself.
const (
	KindHeld    Kind = "held"     // it fits once reservations in flight have settled
	KindSpent   Kind = "spent"    // it fits when the window turns or, if that rolls, when enough spending is old enough
	KindTooBig  Kind = "too_big"  // it is larger than the whole limit
	KindFrozen  Kind = "frozen"   // somebody pressed the stop button
	KindNoLabel Kind = "no_label" // a cap is for each of a kind that the request does not name
)

var gravity = map[Kind]int{KindHeld: 1, KindSpent: 2, KindTooBig: 3, KindFrozen: 4, KindNoLabel: 5}

var kindErrors = map[Kind]error{KindHeld: ErrHeld, KindSpent: ErrSpent, KindTooBig: ErrTooBig, KindFrozen: ErrFrozen, KindNoLabel: ErrNoLabel}

// Violation is one cap, or one freeze, that refused a request.
type Violation struct {
	Cap   string // Cap.ID; empty for a freeze
	Scope Scope  // for no_label, Name is empty
	Meter Meter
	// Window and ResetAt say when the count starts anew; ResetAt is zero when it never does. Under a rolling window it is
	// when enough spending has left for this very request, a smaller one may fit earlier; it is set for what is spent
	// only. For a freeze ResetAt is its end, zero when it stands until somebody ends it.
	Window    string
	ResetAt   time.Time
	Kind      Kind
	Limit     int64
	Settled   int64
	Held      int64
	Requested int64
	Reason    string // of a freeze, as its author wrote it
}

// String is the violation for a person.
func (v Violation) String() string {
	switch v.Kind {
	case KindFrozen:
		s := v.Scope.String() + " is frozen"
		if v.Reason != "" {
			s += " (" + v.Reason + ")"
		}
		if !v.ResetAt.IsZero() {
			s += " until " + v.ResetAt.Format(time.RFC3339)
		}
		return s
	case KindNoLabel:
		return fmt.Sprintf("cap %q: the request names no %s: label the run with one", v.Cap, v.Scope.Kind)
	}
	f := v.Meter.format
	s := fmt.Sprintf("cap %q for %s: %s requested, %s settled and %s held of %s", v.Cap, v.Scope, f(v.Requested), f(v.Settled), f(v.Held), f(v.Limit))
	switch {
	case v.Kind == KindTooBig:
		s += ": it can never fit, ask for less"
	case v.Kind == KindHeld:
		s += ": ask again when calls in flight have settled"
	case v.ResetAt.IsZero():
		s += ": this cap does not reset, raise it"
	case strings.HasPrefix(v.Window, "rolling "):
		s += ": enough of that is older than the window at " + v.ResetAt.Format(time.RFC3339)
	default:
		s += ": it resets at " + v.ResetAt.Format(time.RFC3339)
	}
	return s
}

// DeniedError is a refused [Ledger.Reserve]. Nothing was reserved, and what Swap named still stands.
type DeniedError struct {
	Violations []Violation // every one, in the order of the caps
	Requested  Amounts
	// Left is where the caps of the whole chain stand, the violated ones too. If Swap or From was asked for, what would have
	// been free is counted as left.
	Left []CapState
	// Crossed and Expired belong to leases that ran out and were charged on the way, as in [Grant].
	Crossed []Crossing
	Expired []string
}

// Kind is the gravest kind among the violations: no_label, frozen, too_big, spent, held.
func (e *DeniedError) Kind() Kind {
	var worst Kind
	for _, v := range e.Violations {
		if gravity[v.Kind] > gravity[worst] {
			worst = v.Kind
		}
	}
	return worst
}

// Available is how much of meter m would have been granted, the other meters aside: what the tightest cap has left, 0 when
// something is frozen or the label of a cap on m is missing. It is false when nothing bounds m.
func (e *DeniedError) Available(m Meter) (int64, bool) {
	left, bounded := int64(math.MaxInt64), false
	for _, c := range e.Left {
		if c.Meter == m && c.Limit != None {
			left, bounded = min(left, c.Left), true
		}
	}
	for _, v := range e.Violations {
		if v.Kind == KindFrozen || (v.Kind == KindNoLabel && v.Meter == m) {
			return 0, true
		}
	}
	return left, bounded
}

// ResetAt is when the last of the violated windows has turned, or has room again, and the last freeze has ended; zero when
// one of them never does, or when waiting would not help.
func (e *DeniedError) ResetAt() time.Time {
	var at time.Time
	for _, v := range e.Violations {
		switch {
		case v.Kind == KindHeld:
		case v.Kind == KindTooBig || v.Kind == KindNoLabel || v.ResetAt.IsZero():
			return time.Time{}
		case v.ResetAt.After(at):
			at = v.ResetAt
		}
	}
	return at
}

func (e *DeniedError) Error() string {
	parts := make([]string, len(e.Violations))
	for i, v := range e.Violations {
		parts[i] = v.String()
	}
	return fmt.Sprintf("budget: denied (%s): %s", e.Kind(), strings.Join(parts, "; "))
}

// Is matches [ErrDenied] and the sentinel of [DeniedError.Kind].
func (e *DeniedError) Is(target error) bool {
	return target == ErrDenied || target == kindErrors[e.Kind()]
}

// StateError is an operation that the state of a reservation does not allow. errors.Is finds its cause: [ErrFinished],
// [ErrStillOpen], [ErrNotIdle] or [ErrMismatch].
type StateError struct {
	Op    string
	ID    string
	State State
	Cause error
}

func (e *StateError) Error() string {
	return fmt.Sprintf("budget: %s of %q, which is %s: %s", e.Op, clip(e.ID), e.State, strings.TrimPrefix(e.Cause.Error(), "budget: "))
}

// Unwrap is the sentinel.
func (e *StateError) Unwrap() error { return e.Cause }
