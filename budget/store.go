package budget

import (
	"context"
	"slices"
	"time"
)

// Store keeps counts and reservations. It decides; the [Ledger] only says which counts a request touches. Every operation
// is one atomic step, visible to all replicas, and safe to call concurrently. The package budgettest exercises all of it:
// a store that passes is a store.
//
// Rules that hold for every implementation:
//
//   - Time is the store's own, and never runs backwards. A lease is an interval; a client's clock decides nothing.
//   - Reservation ids come from the client. Every transition is idempotent: the same id with the same arguments gives
//     the recorded answer, with other arguments [ErrMismatch], an id that is not there [ErrUnknownReservation].
//   - A lease is over when now >= expiry. What is over is charged in full (StateExpired), except an idle reservation,
//     which is released. Reserve and Sweep do that, a bounded number at a time.
//   - The counts that a reservation was admitted to are kept with it. Settling moves those, whatever the time.
//   - A count with a rolling window has no turns. It keeps what was settled in buckets by the instant of admission
//     ([Window.Rolls]); a bucket leaves, with its part of the sums, when its end is as old as the window is long. What is held
//     counts whatever its age. Settling what was admitted in a bucket that has left gives up what is held, and no more.
//     Thresholds are armed again when settled spending has fallen below them because time has passed.
//   - A reservation that has ended is kept until the later of its last window's end (rolling: when its bucket leaves) and its
//     lease, plus 24 hours.
//     Forgetting it earlier, to bound memory, only ever leaves money charged.
//   - Errors that are not those of this package mean that nothing is known about the outcome; the ledger reports them as
//     [ErrUnavailable]. Operations on one reservation ignore that ctx was cancelled if they cannot block.
//
// Methods fill an [Answer] that the caller owns, after calling its Reset; they keep no slice of their arguments.
// Interfaces of later versions may have more methods, not other ones.
type Store interface {
	// Traits says what the store can and cannot do. It never fails and never changes.
	Traits() Traits

	// Define adds caps or changes their limits and thresholds, all in one step, and records who did it. Caps that are
	// the same already are left alone. It returns the account's version afterwards.
	Define(ctx context.Context, account, by string, caps []Cap) (int64, error)
	// Caps is what changed after version since; 0 asks for everything.
	Caps(ctx context.Context, account string, since int64) (CapSet, error)
	// Changes is the record of Define, Freeze and Unfreeze, oldest first. The first definition of a cap for one run is
	// not a change. A store may keep only the latest thousand.
	Changes(ctx context.Context, account string) ([]Change, error)

	// Reserve checks every count of op.Links, reports every one that does not fit, or adds to all of them. It answers
	// Stale instead if a cap was changed after op.Version in a way that concerns op.Scopes, or if a span is not the
	// present one. A reservation with the same id and arguments that is still open is answered as a Duplicate; one that
	// has ended is a [*StateError]. op.Swap is freed in the same step if the answer is a grant: it must be idle, and
	// one that was released already frees nothing. What op.From names must be idle, too, and is drawn from as [ReserveOp.From]
	// says.
	Reserve(ctx context.Context, account string, op *ReserveOp, ans *Answer) error
	// Settle replaces the bound by what was used, more or less than it; also after the lease ran out or the bound was charged.
	Settle(ctx context.Context, account, id string, actual Amounts, ans *Answer) error
	// Charge settles at the bound, unconfirmed.
	Charge(ctx context.Context, account, id string, ans *Answer) error
	// Void gives everything back. It is allowed until usage was settled.
	Void(ctx context.Context, account, id string, proof Proof, ans *Answer) error
	// Release gives an idle reservation back.
	Release(ctx context.Context, account, id string, ans *Answer) error
	// Renew lets an open reservation's lease run for another lease from now.
	Renew(ctx context.Context, account, id string, lease time.Duration, ans *Answer) error
	// TrueUp corrects what an ended reservation counts, once per source.
	TrueUp(ctx context.Context, account, id string, actual Amounts, source string, ans *Answer) error
	// Sweep ends up to max reservations whose lease is over; the answer names them in Expired.
	Sweep(ctx context.Context, account string, max int, ans *Answer) error

	// Snapshot is where the counts of links stand, in their order; a count never touched stands at zero. Links whose cap
	// is gone are left out.
	Snapshot(ctx context.Context, account string, links []Link) ([]CapState, error)
	// Open lists the open reservations whose id begins with prefix, by id.
	Open(ctx context.Context, account, prefix string) ([]Reservation, error)
	// Top sums the reservations the store still keeps. Runway is left to the ledger.
	Top(ctx context.Context, account string, q TopQuery) ([]TopRow, error)

	// Freeze refuses every Reserve that names the scope, until f.Until or, if that is zero, Unfreeze.
	Freeze(ctx context.Context, account string, f Freeze) error
	Unfreeze(ctx context.Context, account string, scope Scope, by string) error
	// Freezes lists what is frozen now.
	Freezes(ctx context.Context, account string) ([]Freeze, error)
	// Forget drops a run's counts and its own caps, and refuses further reservations of it with ErrClosed for 24 hours
	// or as long as it keeps ended reservations. ErrStillOpen if one of its reservations is open.
	Forget(ctx context.Context, account string, run Scope) error

	Close() error
}

// Traits are the properties of a store that the ledger must know.
type Traits struct {
	// Forgets is a store whose counts end with the process; caps that outlive a run are refused on it.
	Forgets bool
	// Local is a store that answers without waiting for anything.
	Local bool
	// MaxLimit is the largest limit it counts exactly; 0 is no bound of its own.
	MaxLimit int64
}

// CapSet is the answer to [Store.Caps].
type CapSet struct {
	Version int64
	// Full is set if Caps is everything, and what it does not list is gone.
	Full bool
	Caps []CapRecord
}

// Link is one count that a request touches: a cap, the scopes it counts for, in the order of the target's kinds, and the
// present turn of its window.
type Link struct {
	Cap    string
	Scopes []Scope
	Window Span
}

// ReserveOp is what [Store.Reserve] is asked.
type ReserveOp struct {
	ID      string
	Scopes  []Scope // sorted by kind and name, each once, the account among them
	Amounts Amounts
	Lease   time.Duration
	Idle    bool
	Swap    string
	// From is the id of an open idle reservation, the allowance, that this one is taken from as far as that goes.
	//
	// An allowance of A, of which D was drawn, holds A-D on every count of its chain. Of a meter, d = min(asked, A-D) is
	// drawn, if every count of that meter in the allowance's chain is one of Links: the same cap and scopes in the same turn
	// of the window. If not, and of an allowance that has ended or whose lease is over, nothing is. In the one step d is
	// free on the allowance's counts when op is checked; a grant adds d to D, takes it from what these counts hold, and books
	// op in full. A denial shows the room as with d free, and changes nothing. Swap comes first: what it had drawn has
	// returned when d is reckoned.
	//
	// When a reservation that has drawn d ends, open until then, for what counts x (used, 0, its bound; of an allowance that is
	// released its own D), min(d, bound-x) returns to the allowance if that is open and its lease is not over: D falls and
	// its counts hold more, in the same step, so that nobody comes between. Otherwise the caps have it. What is
	// corrected later moves the caps alone. Whether a lease is over is a matter of the time, not of Sweep having come by.
	//
	// An id that is not there is [ErrUnknownReservation], one that is not idle a [*StateError] of Op "from".
	From string
	// Version is the version of the caps by which Links was made.
	Version int64
	// Links are all the counts of the request, also those of meters it asks nothing of: if it uses some after all,
	// settling finds them.
	Links []Link
	// DryRun asks for the answer only.
	DryRun bool

	memo *memo // of Scopes and Links, if the same are asked for again and again
}

// Stale says what the ledger must look up again before it repeats a Reserve.
type Stale string

// The reasons.
const (
	StaleCaps   Stale = "caps"
	StaleWindow Stale = "window"
)

// Answer is what a store says about one reservation after an operation.
type Answer struct {
	Now        time.Time // the store's
	Stale      Stale
	Violations []Violation // a denial if there are any
	State      State
	// Duplicate says that the operation had been done before and changed nothing.
	Duplicate bool
	// Late says that the lease was over or the bound charged when the operation came.
	Late     bool
	Reserved Amounts
	Actual   Amounts
	Over     Amounts // what Actual has above Reserved, per meter
	Expires  time.Time
	// Left belongs to the answer like the rest, but is to be read only: what never changes in a state is not written
	// again when the answer is used again.
	Left    []CapState
	Crossed []Crossing
	Expired []string // reservations whose lease was found to be over
}

// Reset empties the answer and keeps its memory.
func (a *Answer) Reset() {
	a.empty()
	a.Now, a.Expires = time.Time{}, time.Time{}
	a.State = ""
	a.Late = false
	a.Reserved.reset()
	a.Actual.reset()
}

// empty is Reset but for what a store that answers well sets anyway.
func (a *Answer) empty() {
	if len(a.Violations) > 0 {
		clear(a.Violations)
		a.Violations = a.Violations[:0]
	}
	if len(a.Crossed) > 0 {
		clear(a.Crossed)
		a.Crossed = a.Crossed[:0]
	}
	if len(a.Expired) > 0 {
		clear(a.Expired)
		a.Expired = a.Expired[:0]
	}
	a.Left = a.Left[:0]
	a.Stale = ""
	a.Duplicate = false
	a.Over.reset()
}

// reset writes single words, which is quicker here than the whole at once.
func (a *Amounts) reset() {
	a.NanoUSD, a.Tokens, a.Requests, a.ToolCalls = 0, 0, 0, 0
	if a.Custom != nil {
		a.Custom = nil
	}
}

// State is where a reservation is in its life.
type State string

// The states. Settled, voided and released are known truth; charged and expired are the bound, until usage or a receipt
// says better.
const (
	StateOpen     State = "open"
	StateSettled  State = "settled"
	StateCharged  State = "charged"
	StateExpired  State = "expired"
	StateVoided   State = "voided"
	StateReleased State = "released"
)

// Unconfirmed reports whether the state counts a bound that nobody has confirmed.
func (s State) Unconfirmed() bool { return s == StateCharged || s == StateExpired }

// Proof is why a reservation cannot have been billed.
type Proof string

// The proofs. A cancelled call is none of them: the supplier may have gone on.
const (
	ProofNeverDispatched Proof = "never_dispatched"
	ProofStatus402       Proof = "status_402"
	ProofStatus429       Proof = "status_429"
	ProofStatus4xx       Proof = "status_4xx" // refused as malformed, unauthorised or unknown
	ProofRouter5xx       Proof = "router_5xx" // a failure of the first hop, documented as not billed
	ProofDial            Proof = "dial"       // no byte was written
)

// Validate is [ErrNoProof] for anything that is no proof.
func (p Proof) Validate() error {
	if slices.Contains([]Proof{ProofNeverDispatched, ProofStatus402, ProofStatus429, ProofStatus4xx, ProofRouter5xx, ProofDial}, p) {
		return nil
	}
	return ErrNoProof
}

// Reservation is one reservation as the store has it.
type Reservation struct {
	ID       string
	Scopes   []Scope
	State    State
	Idle     bool
	Reserved Amounts
	// Actual is what it counts now that it has ended; of one that is open and idle, what was drawn from it and has not
	// returned: it holds the rest of Reserved.
	Actual   Amounts
	Admitted time.Time
	Expires  time.Time
}

// Freeze is a stop button that was pressed.
type Freeze struct {
	Scope  Scope
	Reason string
	Until  time.Time // zero: until it is unfrozen
	By     string
	At     time.Time
}

// TopQuery asks who spends most.
type TopQuery struct {
	// By is the kind of scope to compare: "run", "tenant", "tool", "instrument".
	By string
	// Meter to compare by; empty is money, and tool calls if By is a tool.
	Meter Meter
	// For is how far to look back; zero is one hour.
	For time.Duration
	// Since and Until bound the time looked at by the store's clock, Until excluded, instead of For: queries that share
	// an edge share no reservation. Zero are For before Until, and now.
	Since, Until time.Time
	// Limit is how many rows; zero is 10.
	Limit int
}

// Span is the time that a query looks at when the store's clock says now; a reservation belongs to it by when it was
// admitted. For stores.
func (q TopQuery) Span(now time.Time) Span {
	s := Span{Start: q.Since, End: q.Until}
	if s.End.IsZero() {
		s.End = now.Add(time.Nanosecond)
	}
	if s.Start.IsZero() {
		s.Start = s.End.Add(-q.For)
		if q.Until.IsZero() {
			s.Start = now.Add(-q.For)
		}
	}
	return s
}

// TopRow is one scope's use of the meter by the reservations that were admitted in the time looked at.
type TopRow struct {
	Scope        Scope
	Settled      int64
	Held         int64
	Unconfirmed  int64 // part of Settled
	Reservations int
	// PerMinute is the use per minute, from its first reservation in the time looked at until that time's end, at least
	// over one minute.
	PerMinute int64
	// Runway is how long, at that pace, until the first of the scope's own caps on the meter is spent, and Cap its ID. A
	// window that turns before then begins anew. NoRunway and "" when nothing bounds it, nothing was spent, no turn of a
	// window is long enough to spend its cap, or the time looked at is over.
	Runway time.Duration
	Cap    string
}

// NoRunway is a [TopRow.Runway] without end.
const NoRunway time.Duration = 1<<63 - 1
