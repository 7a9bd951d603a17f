package agent

import (
	"encoding/json"
	"time"

	"github.com/gridloop/gridloop/grid"
)

// Event is something a reader of a live run may want to see. The set is closed:
// every event is one of the types of this file.
type Event interface{ event() }

// Routed says which instrument serves a step, and why.
type Routed struct {
	Step        int
	Instrument  string
	Reason      string // default, rule, pinned, budget, escalation, fallback, ...
	Why         string // one sentence
	Requested   string // what the policy wanted, when something changed it
	LeftNanoUSD int64  // of the tightest money cap before the step; -1 when none applies or nothing was reserved yet
}

// TextDelta is a piece of the answer as it is written. Text comes only while
// somebody reads events, and never from a step whose answer is checked first.
type TextDelta struct {
	Step int
	Text string
}

// TextDiscarded takes back all text of a step so far: its stream was cut and is
// asked for again.
type TextDiscarded struct {
	Step int
}

// ToolStarted says that a tool call begins.
type ToolStarted struct {
	Step     int
	Key      string // the call's idempotency key
	ID       string // the model's own id, unique within the step only
	Name     string
	Args     json.RawMessage // as the model wrote them
	Parallel bool
}

// ToolFinished says what came of a tool call.
type ToolFinished struct {
	Step      int
	Key       string
	ID        string
	Name      string
	Status    string // ok, invalid_arguments, unknown_tool, error, panic, timeout, canceled, denied
	Content   string // what the model is told
	Duration  time.Duration
	Abandoned bool
}

// ToolAsked says that a call waits for a decision; the run will pause.
type ToolAsked struct {
	Step int
	Call PendingCall
}

// TopUpWait says that an instrument is dry and the run waits for its top-up.
type TopUpWait struct {
	Step       int
	Instrument string
	Attempt    int           // tries so far
	Waited     time.Duration // by this step, so far
	Next       time.Duration // until the next try
	Position   int           // in the line of those who wait for this instrument, from 1
	Estimate   time.Duration // of the wait, judged by the last top-up; 0 before the first
}

// TopUpDone says that a wait for a top-up is over.
type TopUpDone struct {
	Step       int
	Instrument string
	Waited     time.Duration
	OK         bool // tokens arrived; else the wait budget ran out
}

// Retrying says that a model call failed and is tried again.
type Retrying struct {
	Step       int
	Instrument string
	Attempt    int // the one that failed
	Status     int // 0 when no answer came
	Class      string
	Delay      time.Duration
}

// RateWait says that a step waits for the market's rate limit or for the client's own.
type RateWait struct {
	Step       int
	Instrument string
	Delay      time.Duration // 0 where it waits for another call to end
}

// MarketChanged says that the market's list of instruments changed since the run
// began: a new instrument, preview to live, a limit, a live price.
type MarketChanged struct {
	Step   int // in which it was noticed
	Change grid.Change
}

// BalanceAlert passes on what a watch of the account saw: see [Agent.Alert].
type BalanceAlert struct {
	Step  int
	Alert grid.Alert
}

// UnknownRefusal says that the market refused for want of a balance in words that
// are not known: name them in grid.Config.DryTexts. A client tells each wording to
// one run.
type UnknownRefusal struct {
	Step       int
	Instrument string
	Status     int    // 402 or 503
	Class      string // what it was taken for
	Detail     string // at most 200 bytes, without secrets
}

// BudgetDenied says that a cap refused a step, or a call of a tool.
type BudgetDenied struct {
	Step       int
	Instrument string // empty when not even the answer at a limit, or the run's share, could be reserved
	Tool       string // the tool, or the agent called as one, that was not called; empty for a step
	Kind       string // held, spent, too_big, frozen, no_label
	Detail     string // every violated cap
}

// HeldWait says that a cap is held by calls of others, and the run waits for them.
type HeldWait struct {
	Step       int
	Instrument string
	Detail     string // every violated cap
}

// HeldDone says that a wait for what others hold is over.
type HeldDone struct {
	Step       int
	Instrument string
	Waited     time.Duration
	OK         bool // there is room now
}

// BudgetOverrun says that a call used more than was reserved for it. The use is
// counted in full.
type BudgetOverrun struct {
	Step        int
	Instrument  string
	OverNanoUSD int64 // beyond the reservation
	OverTokens  int64
	Halted      []string // what was frozen: "instrument agent-prime"
}

// CapCrossed says that a cap passed one of its soft thresholds.
type CapCrossed struct {
	Cap     string
	Percent int
}

// Warning is something an operator should mend; the run goes on.
type Warning struct {
	Step int
	Text string
}

// StepDone closes a step with its record.
type StepDone struct {
	Record StepRecord
}

// Misused says that the handle was used in a way that cannot work, such as
// ranging over Events twice.
type Misused struct {
	Err error
}

func (Routed) event()         {}
func (TextDelta) event()      {}
func (TextDiscarded) event()  {}
func (ToolStarted) event()    {}
func (ToolFinished) event()   {}
func (ToolAsked) event()      {}
func (TopUpWait) event()      {}
func (TopUpDone) event()      {}
func (Retrying) event()       {}
func (RateWait) event()       {}
func (MarketChanged) event()  {}
func (BalanceAlert) event()   {}
func (UnknownRefusal) event() {}
func (BudgetDenied) event()   {}
func (HeldWait) event()       {}
func (HeldDone) event()       {}
func (BudgetOverrun) event()  {}
func (CapCrossed) event()     {}
func (Warning) event()        {}
func (StepDone) event()       {}
func (Misused) event()        {}
