package agent

import "time"

// OpKind says what an [Op] does.
type OpKind string

// The six kinds of work that the loop can ask for.
const (
	OpModel  OpKind = "model"  // one model step: route, reserve, call, settle
	OpTool   OpKind = "tool"   // one tool call
	OpVerify OpKind = "verify" // judge a candidate answer
	OpRun    OpKind = "run"    // a whole run of another agent
	OpSleep  OpKind = "sleep"  // let time pass
	OpAwait  OpKind = "await"  // wait for something from outside: an approval, a delivery, money
)

// Op is work that the loop asks an [Executor] for. It is data: it can be
// written to a journal and executed by another process.
//
// Key is run/turn/index. It is stable: a tool call has the same key when it is
// issued again after an approval or a wait, and tools use it as their
// idempotency key. Issue counts how often the op was issued, from 1; Key and
// Issue together identify one outcome.
type Op struct {
	Kind  OpKind `json:"kind"`
	Name  string `json:"name"` // the agent of a model op, else the registered handler: tool, verifier, agent
	Key   string `json:"key"`
	Issue int    `json:"issue"`

	// Left is the wall time that the run still has; zero means no limit.
	Left time.Duration `json:"left,omitempty"`

	Model  *ModelIn  `json:"model,omitempty"`
	Tool   *ToolIn   `json:"tool,omitempty"`
	Verify *VerifyIn `json:"verify,omitempty"`
	Run    *RunIn    `json:"run,omitempty"`
	Sleep  *SleepIn  `json:"sleep,omitempty"`
	Await  *AwaitIn  `json:"await,omitempty"`
}

// ModelIn is the input of a model op.
type ModelIn struct {
	Step     int           `json:"step"` // 0-based step of the run
	Messages []*MessageRef `json:"messages"`
	Kind     string        `json:"kind"`               // the router's step kind
	NoTools  bool          `json:"no_tools,omitempty"` // tools are not offered
	Final    bool          `json:"final,omitempty"`    // the answer at a limit: paid from the allowance
	Schema   bool          `json:"schema,omitempty"`   // ask for the run's structured output

	MaxTokens  int           `json:"max_tokens,omitempty"` // zero: the agent's own
	Wait       time.Duration `json:"wait,omitempty"`       // what is left for waiting on a top-up
	Pin        string        `json:"pin,omitempty"`
	Sticky     string        `json:"sticky,omitempty"`
	Escalation int           `json:"escalation,omitempty"`
	Exclude    []string      `json:"exclude,omitempty"` // instruments that refused this step
}

// ToolIn is the input of a tool op: the call at Index of an assistant message.
type ToolIn struct {
	Step     int        `json:"step"`
	Message  MessageRef `json:"message"`
	Index    int        `json:"index"`
	Parallel bool       `json:"parallel,omitempty"`
	Decision *Decision  `json:"decision,omitempty"` // what a person said; nil: nobody was asked yet
}

// VerifyIn is the input of a verify op.
type VerifyIn struct {
	Step      int        `json:"step"`
	Candidate MessageRef `json:"candidate"`
}

// RunIn is the input of a run op: an agent, and the tool call it answers.
type RunIn struct {
	Step    int        `json:"step"`
	Message MessageRef `json:"message"`
	Index   int        `json:"index"`
}

// SleepIn is the input of a sleep op.
type SleepIn struct {
	For    time.Duration `json:"for"`
	Reason string        `json:"reason"` // "topup", "broken" or "held"
}

// AwaitIn is the input of an await op.
type AwaitIn struct {
	Reason PauseReason `json:"reason"`
	Call   *CallAt     `json:"call,omitempty"` // the call that waits for a decision
	Detail string      `json:"detail,omitempty"`
}

// CallAt names one tool call of the transcript.
type CallAt struct {
	Key     string     `json:"key"`
	Step    int        `json:"step"`
	Message MessageRef `json:"message"`
	Index   int        `json:"index"`
}

// Decision is what a person decided about one call.
type Decision struct {
	Approved bool   `json:"approved"`
	By       string `json:"by,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// Outcome is what came of an [Op]: data, recorded once and replayed for ever.
// Start and End are the loop's only clock.
type Outcome struct {
	Key   string    `json:"key"`
	Issue int       `json:"issue"`
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`

	// Waited is the part of End-Start that was waited for a top-up. It does not
	// count as wall time, but against the run's wait budget.
	Waited time.Duration `json:"waited,omitempty"`

	// Canceled says that the run was cancelled while the op was under way, or
	// before it began.
	Canceled bool `json:"canceled,omitempty"`

	// OverTime says that the op used up the run's wall time.
	OverTime bool `json:"over_time,omitempty"`

	Model  *ModelOut  `json:"model,omitempty"`
	Tool   *ToolOut   `json:"tool,omitempty"`
	Verify *VerifyOut `json:"verify,omitempty"`
	Run    *RunOut    `json:"run,omitempty"`
	Await  *AwaitOut  `json:"await,omitempty"`
}

// ModelOut is the outcome of a model op. It always carries what the attempts
// cost, also when there is no answer.
type ModelOut struct {
	Record  StepRecord  `json:"record"`
	Message *MessageRef `json:"message,omitempty"` // the answer; nil when there is none
	Refused *Refusal    `json:"refused,omitempty"`
	Failed  *Failure    `json:"failed,omitempty"`
}

// RefusalKind says why a model op came back without an answer that the op,
// issued again, may still get.
type RefusalKind string

// Why a model op may come back without an answer.
const (
	RefusedTooLong  RefusalKind = "too_long"  // the prompt passes the instrument's limit
	RefusedHeld     RefusalKind = "held"      // would fit once open reservations settle
	RefusedSpent    RefusalKind = "spent"     // the cap is used up until its window turns
	RefusedTooBig   RefusalKind = "too_big"   // larger than the whole cap
	RefusedFrozen   RefusalKind = "frozen"    // an operator stopped the scope
	RefusedTryLater RefusalKind = "try_later" // the instrument is being topped up
	RefusedBroken   RefusalKind = "broken"    // most calls to the instrument fail
	RefusedStore    RefusalKind = "store"     // the ledger's store cannot be reached
	RefusedNoLabel  RefusalKind = "no_label"  // a cap on tool calls wants a label that the run lacks
)

// Refusal is a model op that ended without an answer and without holding money.
type Refusal struct {
	Kind       RefusalKind   `json:"kind"`
	Instrument string        `json:"instrument,omitempty"`
	After      time.Duration `json:"after,omitempty"` // when to try again, as far as it is known
	Detail     string        `json:"detail,omitempty"`
	Waited     bool          `json:"waited,omitempty"` // asking again soon is no use: it was waited for
}

// Failure is an error as data. Errors do not survive being written down, so
// Class is what a program should look at.
type Failure struct {
	Class   string `json:"class"`
	Message string `json:"message"`
}

// ToolOut is the outcome of a tool op.
type ToolOut struct {
	Message   *MessageRef `json:"message,omitempty"` // the result; nil when the call asks first
	Status    string      `json:"status"`            // the status of tools.Result, "denied" by a person, or "budget"
	Refused   *Refusal    `json:"refused,omitempty"` // not run, and the run cannot go on as it is: frozen, store, no_label
	Ask       bool        `json:"ask,omitempty"`     // not run: a person has to decide
	Ends      bool        `json:"ends,omitempty"`    // the result ends the run
	Abandoned bool        `json:"abandoned,omitempty"`
}

// VerifyOut is the outcome of a verify op.
type VerifyOut struct {
	OK      bool   `json:"ok"`
	Problem string `json:"problem,omitempty"` // for the model: what to mend; may repeat content
	Rules   string `json:"rules,omitempty"`   // the same for logs, without content
}

// RunOut is the outcome of a run op.
type RunOut struct {
	Message *MessageRef   `json:"message,omitempty"`
	Status  string        `json:"status"`
	Refused *Refusal      `json:"refused,omitempty"` // not begun, as in ToolOut
	Stop    Stop          `json:"stop"`
	Reason  string        `json:"reason,omitempty"`
	Totals  Totals        `json:"totals"`
	Steps   []*StepRecord `json:"steps,omitempty"`
}

// AwaitOut is the outcome of an await op.
type AwaitOut struct {
	Decision *Decision `json:"decision,omitempty"`
}
