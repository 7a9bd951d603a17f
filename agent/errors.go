package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Errors that callers may branch on with errors.Is. Errors of the rooms come
// through as they are: budget.ErrSpent, grid.ErrAuth, *openai.APIError.
var (
	ErrRunning       = errors.New("agent: the run is under way: read Events to their end, or wait for the other Result")
	ErrEventsUsed    = errors.New("agent: Events can be ranged over once: start another run, or keep what you read")
	ErrClosed        = errors.New("agent: the agent was shut down")
	ErrToken         = errors.New("agent: unknown or used resume token: this process did not pause such a run, or it was resumed already")
	ErrVersion       = errors.New("agent: the state was written by another version of the loop")
	ErrFingerprint   = errors.New("agent: the agent has changed since the run paused: its instructions, tools or output differ")
	ErrNoBlob        = errors.New("agent: content is missing from Blobs")
	ErrInvalidOutput = errors.New("agent: the answer does not have the wanted form")
	ErrNoAnswer      = errors.New("agent: the run was stopped before there was any answer")
	ErrPriceUnknown  = errors.New("agent: no price is known for the instrument, so its money cap cannot hold")
	ErrPriceOver     = errors.New("agent: the instrument is dearer than its max_price")
	ErrNoInstrument  = errors.New("agent: no instrument can serve the step")
)

// PendingCall is a tool call that waits for a decision.
type PendingCall struct {
	Key  string          // names the call in decisions; also its idempotency key
	ID   string          // the model's own id
	Name string          // the tool
	Args json.RawMessage // as the model wrote them
	Step int
}

// Paused is the error of a run that waits for somebody outside: for approvals,
// for money, for a thaw. It is one mechanism for all. [Resume] goes on.
type Paused struct {
	Token  string        // for Resume; this process only
	Reason PauseReason   // what it waits for
	Detail string        // one sentence
	Calls  []PendingCall // with PauseApproval: the calls to decide
	Err    error         // what led here, when it was an error; errors.Is sees it
	at     time.Time
}

func (p *Paused) Error() string {
	var names []string
	for _, c := range p.Calls {
		names = append(names, c.Name)
	}
	return sentence("agent: the run is paused", string(p.Reason), p.Detail, strings.Join(names, ", "))
}

func (p *Paused) Unwrap() error { return p.Err }

// PanicError is the cause of a run that ended because a handler panicked: a
// router, store, transport or hook that was plugged in, or a bug here. Its text
// says neither the value nor the stack, since both may hold content.
type PanicError struct {
	Op    OpKind
	Key   string
	Value any
	Stack []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("agent: the %s op %s panicked with a %T: see Value and Stack", e.Op, e.Key, e.Value)
}

// RunError is the error of a run that failed. Class is stable; errors.Is and
// errors.As see the cause while it is at hand in this process.
type RunError struct {
	Run     string
	Class   string
	Message string
	Err     error
}

func (e *RunError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("agent: run %s: %v", e.Run, e.Err)
	}
	return fmt.Sprintf("agent: run %s: %s", e.Run, e.Message)
}

func (e *RunError) Unwrap() error { return e.Err }
