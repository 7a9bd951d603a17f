package agent

import "time"

// LoopVersion is the version of the loop's rules. A [State] written under
// another version is not continued: see [ErrVersion].
const LoopVersion = 1

// State is all that the loop knows of a run. It is small, it can be written as
// JSON, and it holds no content except text that the loop wrote itself:
// messages are named by hash and stand in [Blobs].
type State struct {
	Version     int    `json:"version"`
	Agent       string `json:"agent"`
	Fingerprint string `json:"fingerprint"` // of instructions, tools and output
	Run         string `json:"run"`

	Limits  Limits   `json:"limits"`
	Labels  Labels   `json:"labels"`
	Pin     string   `json:"pin,omitempty"`
	Kind    string   `json:"kind"` // router kind of an ordinary step
	Verify  string   `json:"verify,omitempty"`
	Schema  bool     `json:"schema,omitempty"`
	Repairs int      `json:"repairs,omitempty"` // repair rounds used
	Parents []string `json:"parents,omitempty"` // runs above this one, root first

	Trace string `json:"trace,omitempty"` // traceparent of the part before a pause

	Refs  []*MessageRef `json:"refs"`  // what they point to never changes
	Input int           `json:"input"` // how many of Refs stood there at the start

	Phase   phase  `json:"phase"`
	Turn    int    `json:"turn"`
	Index   int    `json:"index"` // asides of the turn so far
	Pending []Op   `json:"pending,omitempty"`
	Calls   []call `json:"calls,omitempty"`

	Exclude    []string `json:"exclude,omitempty"`
	Sticky     string   `json:"sticky,omitempty"`
	Escalation int      `json:"escalation,omitempty"`
	Stumbles   int      `json:"stumbles,omitempty"` // turns in a row in which every call failed
	Held       int      `json:"held,omitempty"`     // sleeps in a row for reservations of others

	Taken     int           `json:"taken"` // model steps of this run itself
	Steps     []*StepRecord `json:"steps,omitempty"`
	Totals    Totals        `json:"totals"`
	Elapsed   time.Duration `json:"elapsed"` // wall time inside ops
	Waited    time.Duration `json:"waited"`  // waited for top-ups since the last resume
	LastText  *MessageRef   `json:"last_text,omitempty"`
	Candidate *MessageRef   `json:"candidate,omitempty"`
	Again     *Op           `json:"again,omitempty"` // the model op that a rest holds back
	Abandoned []string      `json:"abandoned,omitempty"`

	Stop    Stop        `json:"stop,omitempty"`    // why the run ends; set while the final answer is fetched
	Reason  string      `json:"reason,omitempty"`  // one sentence
	Below   string      `json:"below,omitempty"`   // why a cap stopped a run that this one called
	Failure *Failure    `json:"failure,omitempty"` // with StopError
	Answer  *MessageRef `json:"answer,omitempty"`
	Final   bool        `json:"final,omitempty"` // Answer was given as the answer, it is no leftover
}

// Done reports whether the run has ended.
func (s *State) Done() bool { return s.Phase == phaseDone }

// Labels say whom a run works for. They come from Go code only.
type Labels struct {
	Tenant string            `json:"tenant,omitempty"`
	User   string            `json:"user,omitempty"`
	Tags   map[string]string `json:"tags,omitempty"`
}

// MessageRef names one message of a transcript.
type MessageRef struct {
	Hash    string    `json:"hash,omitempty"` // of the encoded message in Blobs
	Role    string    `json:"role"`
	Bytes   int       `json:"bytes,omitempty"`
	Calls   []CallRef `json:"calls,omitempty"`
	Text    bool      `json:"text,omitempty"`    // has text a reader can use
	Private bool      `json:"private,omitempty"` // has fields only the model that wrote them understands

	// Inline is a message that the loop wrote itself; it has no hash.
	Inline *Inline `json:"inline,omitempty"`
}

// Inline is the text of a message written by the loop.
type Inline struct {
	Text   string `json:"text"`
	CallID string `json:"call_id,omitempty"`
}

// CallRef names one tool call of an assistant message. ID is the model's own
// and is unique within its message only.
type CallRef struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	ReadOnly bool   `json:"read_only,omitempty"`
	Agent    string `json:"agent,omitempty"` // the call is a run of this agent
}

// Totals count what a run used.
type Totals struct {
	ModelCalls   int   `json:"model_calls"` // answers that arrived
	ToolCalls    int   `json:"tool_calls"`
	Attempts     int   `json:"attempts"`
	InputTokens  int64 `json:"input_tokens"`
	OutputTokens int64 `json:"output_tokens"`
	CostNanoUSD  int64 `json:"cost_nano_usd"`
	Escalations  int   `json:"escalations"`
}

func (t Totals) plus(u Totals) Totals {
	t.ModelCalls += u.ModelCalls
	t.ToolCalls += u.ToolCalls
	t.Attempts += u.Attempts
	t.InputTokens += u.InputTokens
	t.OutputTokens += u.OutputTokens
	t.CostNanoUSD += u.CostNanoUSD
	t.Escalations += u.Escalations
	return t
}

// Stop says why a run ended.
type Stop string

// Why a run ended.
const (
	StopCompleted     Stop = "completed"      // the model answered
	StopTool          Stop = "tool"           // a tool ended the run
	StopSteps         Stop = "max_steps"      // Limits.Steps
	StopToolCalls     Stop = "max_tool_calls" // Limits.ToolCalls
	StopWall          Stop = "wall"           // Limits.Wall
	StopBudget        Stop = "budget"         // a cap
	StopTooLong       Stop = "too_long"       // no instrument takes a prompt of this size
	StopInvalidOutput Stop = "invalid_output" // the answer never fitted the wanted type
	StopCanceled      Stop = "canceled"       // the context ended or the reader left
	StopPaused        Stop = "paused"         // waits for an approval or for money; resumable
	StopError         Stop = "error"
)

// PauseReason says what a paused run waits for.
type PauseReason string

// What a paused run may wait for.
const (
	PauseApproval PauseReason = "approval" // a person's decision about tool calls
	PauseTopUp    PauseReason = "topup"    // an instrument stayed dry for longer than the wait budget
	PauseBroken   PauseReason = "broken"   // most calls to the instrument failed, for longer than the wait budget
	PauseFrozen   PauseReason = "frozen"   // an operator stopped the spending
	PauseStore    PauseReason = "store"    // the ledger's store cannot be reached; nothing is spent until it can
)

type phase string

const (
	phaseStart  phase = ""
	phaseModel  phase = "model"
	phaseTools  phase = "tools"
	phaseVerify phase = "verify"
	phaseRest   phase = "rest"  // sleeping or parked before the model op is issued again
	phaseAsk    phase = "ask"   // waiting for decisions
	phaseFinal  phase = "final" // the answer at a limit
	phaseDone   phase = "done"
)

// call is one tool call of the turn under way.
type call struct {
	Ref      CallRef     `json:"ref"`
	State    callState   `json:"state"`
	Issues   int         `json:"issues"`
	Decision *Decision   `json:"decision,omitempty"`
	Result   *MessageRef `json:"result,omitempty"`
	Failed   bool        `json:"failed,omitempty"`
	Ends     bool        `json:"ends,omitempty"`
	Refused  *Refusal    `json:"refused,omitempty"`
}

type callState string

const (
	callTodo  callState = ""
	callOpen  callState = "open"
	callAsked callState = "asked"
	callHalt  callState = "halt" // refused in a way that halts the run
	callDone  callState = "done"
)
