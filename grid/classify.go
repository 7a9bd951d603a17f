package grid

import (
	"slices"
	"strings"
)

// Class says what kind of failure an attempt met, for branching, metrics and traces.
// The zero Class is success.
type Class string

// The classes.
const (
	ClassTransport  Class = "transport_safe" // no complete request left
	ClassAmbiguous  Class = "ambiguous"      // the request left, nothing came back
	ClassRedirect   Class = "redirect"       // a redirect that may not or cannot be followed
	ClassCaller     Class = "caller"         // the request is at fault
	ClassTooLong    Class = "too_long"       // the conversation is longer than the instrument takes
	ClassAuth       Class = "auth"           // wrong key, or no right
	ClassNotFound   Class = "not_found"      // unknown instrument or path
	ClassTopUp      Class = "topup"          // the balance is dry and may be filled
	ClassExhausted  Class = "exhausted"      // the account's credits are used up
	ClassTimeout    Class = "timeout"        // the server gave up waiting
	ClassConflict   Class = "conflict"
	ClassThrottled  Class = "throttled"  // rate limit
	ClassServer     Class = "server"     // 500
	ClassGateway    Class = "gateway"    // 502, 504 and unknown 5xx
	ClassOverloaded Class = "overloaded" // 503 that no top-up explains
	ClassCut        Class = "cut"        // the answer broke off
	ClassContent    Class = "content"    // refused by a content filter
	ClassMalformed  Class = "malformed"  // a 200 that is no answer
	ClassTooLarge   Class = "too_large"  // an answer beyond MaxResponseBytes
	ClassCanceled   Class = "canceled"
	ClassDeadline   Class = "deadline"
	ClassRefused    Class = "refused" // by the observer, before anything was sent
	ClassClosed     Class = "closed"
	ClassBroken     Class = "broken" // not sent: most calls to the instrument fail
)

// action says what follows a failure.
type action int

const (
	actFail  action = iota
	actRetry        // up to Retry.Max times
	actMaybe        // may have been billed: up to Retry.MaxAmbiguous times
	actCut          // was billed, most likely: up to Retry.MaxCut times
	actOnce
	actWait // for a top-up, within Request.Wait
)

// signal is a failure without an HTTP status, or after a good one.
type signal int

const (
	sigStatus signal = iota
	sigUnsent
	sigUnanswered
	sigUntrusted
	sigRedirect
	sigCut
	sigMalformed
	sigTooLarge
	sigCanceled
	sigDeadline
)

// rule is one row of the table of failures. A row with hop 0 holds for both hops,
// one with status 0 for every status of its family.
type rule struct {
	signal signal
	status int
	hop    int
	class  Class
	billed Billed
	proof  string
	action action
}

// rules is searched from the top: the first row that fits holds. Hop 1 is the market,
// hop 2 whom it redirected to. Failed requests are documented as not billed; where a
// supplier may have worked before it failed, the table does not rely on that.
var rules = [...]rule{
	{signal: sigUnsent, class: ClassTransport, billed: BilledNo, proof: ProofNeverDispatched, action: actRetry},
	{signal: sigUntrusted, class: ClassTransport, billed: BilledNo, proof: ProofNeverDispatched},
	{signal: sigUnanswered, class: ClassAmbiguous, billed: BilledMaybe, action: actMaybe},
	{signal: sigRedirect, hop: 1, class: ClassRedirect, billed: BilledNo, proof: ProofNeverDispatched},
	{signal: sigRedirect, hop: 2, class: ClassRedirect, billed: BilledMaybe},
	{signal: sigCut, class: ClassCut, billed: BilledMaybe, action: actCut},
	{signal: sigMalformed, class: ClassMalformed, billed: BilledMaybe, action: actOnce},
	{signal: sigTooLarge, class: ClassTooLarge, billed: BilledMaybe},
	{signal: sigCanceled, class: ClassCanceled, billed: BilledMaybe},
	{signal: sigDeadline, class: ClassDeadline, billed: BilledMaybe},

	{status: 401, class: ClassAuth, billed: BilledNo, proof: ProofStatus4xx},
	{status: 402, class: ClassTopUp, billed: BilledNo, proof: ProofStatus402, action: actWait},
	{status: 403, class: ClassAuth, billed: BilledNo, proof: ProofStatus4xx},
	{status: 404, class: ClassNotFound, billed: BilledNo, proof: ProofStatus4xx},
	{status: 408, hop: 1, class: ClassTimeout, billed: BilledNo, proof: ProofStatus4xx, action: actRetry},
	{status: 408, hop: 2, class: ClassTimeout, billed: BilledMaybe, action: actMaybe},
	{status: 409, class: ClassConflict, billed: BilledNo, proof: ProofStatus4xx, action: actOnce},
	{status: 413, class: ClassTooLong, billed: BilledNo, proof: ProofStatus4xx},
	{status: 429, class: ClassThrottled, billed: BilledNo, proof: ProofStatus429, action: actRetry},
	{status: 4, class: ClassCaller, billed: BilledNo, proof: ProofStatus4xx},
	{status: 500, hop: 1, class: ClassServer, billed: BilledNo, proof: ProofRouter5xx, action: actRetry},
	{status: 500, hop: 2, class: ClassServer, billed: BilledMaybe, action: actRetry},
	{status: 503, hop: 1, class: ClassOverloaded, billed: BilledNo, proof: ProofRouter5xx, action: actRetry},
	{status: 503, hop: 2, class: ClassOverloaded, billed: BilledMaybe, action: actRetry},
	{status: 5, class: ClassGateway, billed: BilledMaybe, action: actRetry},
	{class: ClassMalformed, billed: BilledMaybe, action: actOnce},
}

func lookup(sig signal, status, hop int) rule {
	for _, r := range rules[:] { // the array itself would be copied
		if r.signal == sig && (r.hop == 0 || r.hop == min(hop, 2)) &&
			(sig != sigStatus || r.status == 0 || r.status == status || r.status == status/100) {
			return r
		}
	}
	return rules[len(rules)-1]
}

// classify decides about an answer with an error status. dry says that this
// instrument's balance was found dry a short time ago.
func classify(status, hop int, f fault, dry bool) rule {
	r := lookup(sigStatus, status, hop)
	switch {
	case r.class == ClassTopUp && f.exhausted():
		r.class = ClassExhausted
	case status == 503 && hop <= 1 && (dry || f.replenishing()):
		r.class, r.action = ClassTopUp, actWait
	case (r.class == ClassCaller || r.class == ClassTooLong) && f.tooLong():
		r.class = ClassTooLong
	case r.class == ClassCaller && f.code == "tool_use_failed":
		// The model wrote a call that the provider could not read: a new try is a new text.
		r.class, r.action = ClassMalformed, actOnce
	case r.class == ClassCaller && f.filtered():
		r.class = ClassContent
	}
	return r
}

// classifyInner decides about an error inside an answer of status 200. The supplier
// was at work, so nothing proves that it is free.
func classifyInner(f fault) rule {
	status := f.status
	switch {
	case f.filtered():
		return rule{class: ClassContent, billed: BilledMaybe}
	case status != 0:
	case f.is("rate_limit", "too_many_requests"):
		status = 429
	case f.is("invalid_request", "context_length"):
		status = 400
	case f.is("authentication", "permission"):
		status = 401
	case f.is("overloaded"):
		status = 503
	default:
		status = 500
	}
	r := classify(status, 2, f, false)
	r.billed, r.proof = BilledMaybe, ""
	return r
}

func (f fault) is(words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool {
		return strings.Contains(f.code, w) || strings.Contains(f.typ, w)
	})
}

func (f fault) says(phrases ...string) bool {
	text := strings.ToLower(f.message)
	return slices.ContainsFunc(phrases, func(p string) bool { return strings.Contains(text, p) })
}

func (f fault) filtered() bool { return f.is("content_filter", "content_policy") }

func (f fault) replenishing() bool {
	return f.is("replenish") || f.says("replenish", "top-up", "top up", "topup", "auto-buy")
}

func (f fault) exhausted() bool {
	return f.is("credits_exhausted", "credits_empty", "insufficient_credits") ||
		f.says("credits are exhausted", "credits exhausted", "credits are empty", "credits empty", "out of credits", "no credits")
}

func (f fault) tooLong() bool {
	return f.is("context_length", "context_size", "request_too_large") ||
		f.says("context length", "maximum context", "context window", "context size", "prompt is too long", "input is too long", "too many tokens")
}
