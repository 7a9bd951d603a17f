package grid

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Observer stands innermost: it sees every attempt that may be billed, before its
// first byte and after its last. Money is reserved in Begin and settled in End.
//
// Begin may lower a.MaxTokens (to 1 at the least), add to a.Header, and refuse by an
// error or a panic: then nothing is sent, End is not called, and Chat returns that
// error wrapped. The context it returns is the attempt's.
//
// End is called exactly once for each Begin that returned nil, on the goroutine that
// called Chat, whatever happened: answer, failure, cancel, deadline, panic. The
// number of Begin calls that returned nil is never less than the number of requests
// at the market's own host.
//
// An Observer that serves several calls at once must be safe for that.
type Observer interface {
	Begin(ctx context.Context, a *Attempt) (context.Context, error)
	End(ctx context.Context, a *Attempt, v Verdict)
}

// Attempt is one request that may be billed.
type Attempt struct {
	Instrument string
	// Number counts the attempts of one Chat from 1; Resend is Number - 1.
	Number, Resend int
	// MessageBytes is the encoded size of the whole body but the digits of MaxTokens:
	// no tokenizer makes more tokens of a body than it has bytes.
	MessageBytes int
	// MaxTokens bounds what the model may write. Begin may lower it.
	MaxTokens int
	// Header is sent with the request. Begin may add to it.
	Header http.Header
	Stream bool
	Start  time.Time
	// URL is where the attempt goes first, without a query.
	URL string
}

// Verdict is what became of an attempt.
type Verdict struct {
	Billed Billed
	Class  Class
	// Proof says why an attempt was not billed; "" for any other.
	Proof string
	// Status is that of the last answer, 0 if there was none. Hops counts the requests:
	// 1 at the market's own host, 2 after a redirect.
	Status, Hops int
	// Usage is nil if none was read. Beside BilledMaybe it is what was known when the
	// answer broke off: a lower bound.
	Usage                 *Usage
	RequestID, ResponseID string
	Model, FinishReason   string
	FirstDelta            time.Duration
	Err                   error
	Start, End            time.Time
}

// Billed says whether an attempt costs money.
type Billed string

const (
	// BilledNo: surely not, for the reason in Verdict.Proof.
	BilledNo Billed = "no"
	// BilledYes: an answer was delivered.
	BilledYes Billed = "yes"
	// BilledMaybe: nobody can tell from here; the receipt will.
	BilledMaybe Billed = "maybe"
)

// The proofs of an attempt that was not billed.
const (
	// ProofNeverDispatched: no complete request left for a host that serves models.
	ProofNeverDispatched = "never_dispatched"
	// ProofDial: no connection was made.
	ProofDial = "dial"
	// ProofStatus402, ProofStatus429 and ProofStatus4xx: refused before serving.
	ProofStatus402 = "status_402"
	ProofStatus429 = "status_429"
	ProofStatus4xx = "status_4xx"
	// ProofRouter5xx: the market failed before it chose a supplier.
	ProofRouter5xx = "router_5xx"
)

// begin calls Begin and turns its panic into a refusal.
func begin(ctx context.Context, o Observer, a *Attempt) (actx context.Context, err error) {
	if o == nil {
		return ctx, nil
	}
	defer func() {
		if r := recover(); r != nil {
			actx, err = nil, fmt.Errorf("grid: the observer panicked in Begin: %v", r)
		}
	}()
	actx, err = o.Begin(ctx, a)
	if actx == nil {
		actx = ctx
	}
	return actx, err
}
