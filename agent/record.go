package agent

import "time"

// StepRecord is the one record of a model step: what was decided, what it
// used, and what was paid for it. It is the event, the row of a table and the
// journal entry.
type StepRecord struct {
	Run        string    `json:"run"` // differs from the result's own in steps of agents that it called
	Step       int       `json:"step"`
	Start      time.Time `json:"start"` // when the step was begun, UTC
	Kind       string    `json:"kind"`
	Final      bool      `json:"final,omitempty"` // the answer at a limit
	Instrument string    `json:"instrument,omitempty"`
	Family     string    `json:"family,omitempty"`
	Tier       string    `json:"tier,omitempty"`

	Policy     string      `json:"policy,omitempty"` // name@version of the routing policy
	Reason     string      `json:"reason,omitempty"` // default, rule, pinned, budget, escalation, fallback, ...
	Rule       string      `json:"rule,omitempty"`
	Why        string      `json:"why,omitempty"`       // one sentence
	Requested  string      `json:"requested,omitempty"` // what the policy wanted, when something changed it
	Candidates []Candidate `json:"candidates,omitempty"`

	PriceNanoUSD int64         `json:"price_nano_usd,omitempty"` // per Unit of 1,000,000 tokens; the ceiling reserved at
	PriceSource  string        `json:"price_source,omitempty"`   // max_price, receipt, live, none
	PriceAge     time.Duration `json:"price_age,omitempty"`
	Shrunk       bool          `json:"shrunk,omitempty"`  // max_tokens was lowered to what the caps had left
	Trimmed      int           `json:"trimmed,omitempty"` // messages left out to fit the allowance

	Model        string `json:"model,omitempty"` // the serving model's own name
	FinishReason string `json:"finish_reason,omitempty"`
	Streamed     bool   `json:"streamed,omitempty"`
	// StreamReason says why a stream was asked for or not; empty when nothing was sent.
	StreamReason StreamReason `json:"stream_reason,omitempty"`
	InputTokens  int64        `json:"input_tokens"`
	OutputTokens int64        `json:"output_tokens"`
	CachedTokens int64        `json:"cached_tokens,omitempty"`

	Attempts  []AttemptRecord `json:"attempts,omitempty"`
	Waited    time.Duration   `json:"waited,omitempty"`     // for a top-up
	RetryWait time.Duration   `json:"retry_wait,omitempty"` // between retries
	RateWait  time.Duration   `json:"rate_wait,omitempty"`  // for rate limits, the market's and the client's own

	// FirstDelta is the time from the last attempt's start to its first piece of text, 0
	// where it was not streamed. Took is that of the whole step, waits included.
	FirstDelta time.Duration `json:"first_delta,omitempty"`
	Took       time.Duration `json:"took,omitempty"`
	// Supplier and Quality are who served and how well, where the answer says so.
	Supplier string        `json:"supplier,omitempty"`
	Quality  string        `json:"quality,omitempty"`
	HeldWait time.Duration `json:"held_wait,omitempty"` // for what others held
	// Uncarved says that the run's share, by Limits.Carved, was not held in this step: the caps had no room to take
	// it again.
	Uncarved bool `json:"uncarved,omitempty"`

	CostNanoUSD int64 `json:"cost_nano_usd"` // sum over Attempts
	// LeftNanoUSD is what the tightest money cap had left after the step; -1
	// when no money cap applies.
	LeftNanoUSD int64 `json:"left_nano_usd"`
	LeftPercent int   `json:"left_percent"` // of the tightest cap of any kind; -1 unknown
}

// StreamReason says why an answer was asked for as a stream, or in one piece.
type StreamReason string

// Why an answer was asked for as a stream: the first two; or in one piece.
const (
	StreamAsked    StreamReason = "asked"    // Stream(StreamOn)
	StreamRead     StreamReason = "read"     // somebody reads events
	StreamDeclined StreamReason = "declined" // Stream(StreamOff)
	StreamUnread   StreamReason = "unread"   // nobody reads events
	StreamChecked  StreamReason = "checked"  // the answer is checked before it is shown
	StreamKind     StreamReason = "kind"     // the step extracts, judges or summarizes: a program reads it whole
	StreamCuts     StreamReason = "cuts"     // the instrument broke too many streams off
)

// Candidate is an instrument that was considered.
type Candidate struct {
	Instrument string `json:"instrument"`
	Skipped    string `json:"skipped,omitempty"` // why not
}

// AttemptRecord is one request that may have been billed.
type AttemptRecord struct {
	Reservation string `json:"reservation"`
	RequestID   string `json:"request_id,omitempty"` // the handle of its receipt
	Instrument  string `json:"instrument"`
	Status      int    `json:"status,omitempty"`
	Billed      string `json:"billed"` // yes, no, maybe
	Class       string `json:"class,omitempty"`
	Tokens      int64  `json:"tokens,omitempty"`
	// ReservedTokens is the bound that was reserved before the request was sent.
	ReservedTokens int64 `json:"reserved_tokens,omitempty"`
	// CostNanoUSD is what the ledger holds for the attempt: tokens at the price
	// ceiling, or the whole reservation when the usage is unknown, until a
	// receipt says what was paid.
	CostNanoUSD int64      `json:"cost_nano_usd"`
	CostSource  CostSource `json:"cost_source,omitempty"`
	// Receipt is what the market has on record, once it is settled.
	Receipt *ReceiptRecord `json:"receipt,omitempty"`
}

// ReceiptRecord is what the market's receipt says of an attempt beside its cost.
type ReceiptRecord struct {
	Model    string        `json:"model,omitempty"` // what served it
	Lots     []LotRecord   `json:"lots,omitempty"`  // the purchases that were drawn on, oldest first
	TTFT     time.Duration `json:"ttft,omitempty"`  // by the market's measure, like Duration
	Duration time.Duration `json:"duration,omitempty"`
	Supplier string        `json:"supplier,omitempty"` // "" where the receipt does not say
	Quality  string        `json:"quality,omitempty"`
}

// LotRecord is a part of an attempt that was paid from one purchase.
type LotRecord struct {
	PriceNanoUSD int64 `json:"price_nano_usd"` // per Unit of 1,000,000 tokens
	Tokens       int64 `json:"tokens"`
	CostNanoUSD  int64 `json:"cost_nano_usd"`
}

// CostSource says how well a cost is known.
type CostSource string

// How well a cost is known.
const (
	CostEstimate CostSource = "estimate" // tokens counted, price a ceiling
	CostBound    CostSource = "bound"    // tokens unknown: charged at the reservation
	CostReceipt  CostSource = "receipt"  // settled by the market's receipt
)
