package grid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/gridloop/gridloop/grid/internal/h1"
)

// Chat asks an instrument and returns its whole answer. It follows the market's
// redirect, retries what Retry allows, and waits for a top-up within Request.Wait.
//
// The error is an *Error. Where an answer broke off for good, errors.As finds a
// *CutError in it with what arrived.
func (c *Client) Chat(ctx context.Context, req *Request) (*Response, error) {
	lane, ok := c.enterFor(req.Instrument)
	if !ok {
		return nil, &Error{Class: ClassClosed, Instrument: req.Instrument, kind: ErrClosed}
	}
	defer c.leave()
	k := call{client: c, req: req, lane: lane, began: time.Now()}
	k.stream = req.Stream
	if err := k.prepare(); err != nil {
		return nil, err
	}
	res, err := k.run(ctx)
	if err != nil {
		err.Attempts, err.Waited = k.attempts, k.waited
		return nil, err
	}
	res.Attempts, res.Waited, res.RetryWait, res.RateWait = k.attempts, k.waited, k.retryWait, k.rateWait
	return res, nil
}

// call is one Chat.
type call struct {
	client     *Client
	req        *Request
	instrument Instrument
	maxTokens  int
	stream     bool // is asked for; see streams
	shape      body // ends where the digits of max_tokens go
	began      time.Time

	attempts, retries, ambiguous, cuts, once int
	waited, retryWait, rateWait              time.Duration
	waiting                                  bool // for a top-up, and the watcher knows
	told                                     bool // deltas were delivered

	theirs  string // the key that existing code sends
	lane    *lane  // nil for what draws on no balance
	pass    *pass  // of a gate that is not open
	episode uint64 // of the gate at which the attempt began
	ticket  uint64 // its place in line, once it has one
	queued  bool
	went    bool      // the attempt under way was sent
	sentAt  time.Time // when it began
	trial   bool      // it is the breaker's
	free    func(used int)
	dry     *Error // of its own last refusal for want of a balance
	failed  *Error // of its last attempt
}

func (k *call) fail(class Class, cause error) *Error {
	return &Error{Class: class, Instrument: k.req.Instrument, kind: class.sentinel(), cause: cause}
}

// prepare encodes all of the request but the number of tokens, which Begin may lower.
func (k *call) prepare() error {
	req := k.req
	if req.Instrument == "" {
		return k.fail(ClassCaller, errors.New("no instrument: set Request.Instrument"))
	}
	k.instrument, _ = k.client.catalogue.Get(req.Instrument)
	var messages []byte
	switch {
	case req.Transcript != nil && len(req.Messages) > 0:
		return k.fail(ClassCaller, errors.New("Transcript and Messages: set one of them"))
	case req.Transcript != nil:
		messages = req.Transcript.buf
	default:
		t := Transcript{}
		if err := t.Append(req.Messages...); err != nil {
			return k.fail(ClassCaller, err)
		}
		messages = t.buf
	}
	if len(messages) == 0 {
		return k.fail(ClassCaller, errors.New("no messages: the conversation needs at least one"))
	}
	if err := k.sendable(req.Header); err != nil {
		return err
	}
	if req.MaxTokens < 0 {
		return k.fail(ClassCaller, fmt.Errorf("MaxTokens %d is negative: leave it 0 for %d", req.MaxTokens, DefaultMaxTokens))
	}
	k.maxTokens = req.MaxTokens
	if k.maxTokens == 0 {
		k.maxTokens = DefaultMaxTokens
	}
	if m := k.instrument.MaxOutput; m > 0 && int64(k.maxTokens) > m {
		k.maxTokens = int(m)
	}
	b := make([]byte, 0, 320)
	b = append(b, `{"model":`...)
	b = appendQuoted(b, req.Instrument)
	b = append(b, `,"messages":[`...)
	split := len(b)
	b = append(b, ']')
	tools := -1
	if req.Tools.Len() > 0 {
		b = append(b, `,"tools":[`...)
		tools = len(b)
		b = append(b, ']')
	}
	var err error
	if b, err = req.Params.append(b); err != nil {
		return k.fail(ClassCaller, err)
	}
	if k.stream {
		b = append(b, `,"stream":true,"stream_options":{"include_usage":true}`...)
	}
	field := k.instrument.TokenField
	if field == "" {
		field = TokenFieldMax
	}
	b = append(append(append(b, ',', '"'), field...), '"', ':')
	k.shape.segments[0] = b[:split]
	k.shape.segments[1] = messages[:len(messages):len(messages)]
	if tools < 0 {
		k.shape.segments[2] = b[split:]
	} else {
		k.shape.segments[2] = b[split:tools]
		k.shape.segments[3] = req.Tools.buf
		k.shape.segments[4] = b[tools:]
	}
	k.shape.seal()
	if limit := k.instrument.MaxInput; limit > 0 && k.shape.size/bytesPerToken > limit {
		return k.fail(ClassTooLong, &TooLongError{Max: limit})
	}
	if limit := k.instrument.Context; limit > 0 {
		// Prompt and answer share it.
		left := limit - k.shape.size/bytesPerToken
		if left < 1 {
			return k.fail(ClassTooLong, &TooLongError{Max: limit})
		}
		k.maxTokens = int(min(int64(k.maxTokens), left))
	}
	return nil
}

// sendable refuses a header that no transport sends: trying again would not mend it.
func (k *call) sendable(h http.Header) error {
	for name, values := range h {
		if !h1.Sendable(name, values) {
			return k.fail(ClassCaller, fmt.Errorf("header field %q cannot be sent: its name must be a token, its values without control characters", printable(name)))
		}
	}
	return nil
}

// bytesPerToken is more than any tokenizer averages over a conversation: what is too
// long by this measure is too long by theirs. What is not may still be refused by the
// server, which ends in the same error.
const bytesPerToken = 6

// render returns the body with its number of tokens. The last segment is copied, not
// extended: a transport may still be reading the body of the attempt before.
func (k *call) render(maxTokens int) *body {
	b := k.shape
	last := 2
	if b.segments[4] != nil {
		last = 4
	}
	tail := make([]byte, 0, len(b.segments[last])+24)
	tail = append(tail, b.segments[last]...)
	tail = strconv.AppendInt(tail, int64(maxTokens), 10)
	b.segments[last] = append(tail, '}')
	b.seal()
	return &b
}

// outcome is what an attempt came to.
type outcome struct {
	res  *Response
	err  *Error
	rule rule
	hint time.Duration
	// hinted tells that the server named a time, which may be 0.
	hinted bool
	found  finding
}

func (k *call) run(ctx context.Context) (*Response, *Error) {
	// Also when a callback or a transport panics on the way: nobody else is to wait for it.
	defer k.endWait(ClassCanceled)
	defer k.yield()
	for {
		if err := ctx.Err(); err != nil {
			return nil, k.ended(k.interrupted(ctx))
		}
		if err := k.admit(ctx, int(k.shape.size)); err != nil {
			return nil, k.ended(err)
		}
		k.streams()
		out := k.attempt(ctx)
		k.learn(ctx, &out)
		if out.err == nil {
			return out.res, nil
		}
		delay, err := k.next(ctx, &out)
		if err == nil {
			err = k.pause(ctx, delay, &out)
		}
		if err != nil {
			return nil, k.ended(err)
		}
	}
}

// ended is the end of a call without an answer.
func (k *call) ended(err *Error) *Error {
	k.endWait(err.Class)
	return err
}

// interrupted is the error of a call whose context ended between attempts.
func (k *call) interrupted(ctx context.Context) *Error {
	class := ClassCanceled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		class = ClassDeadline
	}
	return k.fail(class, endOf(ctx))
}

// endOf is the error of a context that ended, with its cause where that says more.
func endOf(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != ctx.Err() {
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	return ctx.Err()
}

// attempt asks once.
func (k *call) attempt(ctx context.Context) (out outcome) {
	c, req := k.client, k.req
	a := &Attempt{
		Instrument: req.Instrument, Number: k.attempts + 1, Resend: k.attempts,
		MessageBytes: int(k.shape.size) + 1, MaxTokens: k.maxTokens, Header: make(http.Header, 8),
		Stream: k.stream, Start: time.Now(), URL: c.chatURL,
	}
	for name, v := range req.Header {
		a.Header[http.CanonicalHeaderKey(name)] = v
	}
	actx, err := begin(ctx, req.Observer, a)
	if err != nil {
		out.err = k.fail(ClassRefused, fmt.Errorf("attempt %d was refused before it was sent: %w", a.Number, err))
		return out
	}
	k.attempts++
	k.went, k.sentAt = true, a.Start
	v := Verdict{Billed: BilledMaybe, Class: ClassAmbiguous, Start: a.Start}
	if req.Observer != nil {
		// Also when a callback or a transport panics on the way.
		defer func() {
			v.End = time.Now()
			req.Observer.End(actx, a, v)
		}()
	}
	k.send(actx, a, &v, &out)
	return out
}

func (k *call) send(ctx context.Context, a *Attempt, v *Verdict, out *outcome) {
	if a.MaxTokens < 1 {
		k.unsendable(a, v, out)
		return
	}
	a.MaxTokens = min(a.MaxTokens, k.maxTokens)
	c := k.client
	x := &exchange{client: c, method: http.MethodPost, first: c.chat, header: c.header(a.Header, a.Stream), body: k.render(a.MaxTokens)}
	// Here a run waits longest: what comes after has no room in this frame.
	err := x.runFor(ctx, k)
	k.take(ctx, x, err, a, v, out)
}

func (k *call) unsendable(a *Attempt, v *Verdict, out *outcome) {
	*v = Verdict{Billed: BilledNo, Class: ClassRefused, Proof: ProofNeverDispatched, Start: a.Start}
	out.err = k.fail(ClassRefused, fmt.Errorf("the observer lowered MaxTokens to %d: refuse in Begin instead", a.MaxTokens))
	v.Err = out.err
}

// take reads what an exchange came to.
func (k *call) take(ctx context.Context, x *exchange, err error, a *Attempt, v *Verdict, out *outcome) {
	v.Hops, v.RequestID = x.hops, x.requestID
	if err != nil {
		sig, dial := x.signalOf(err)
		k.broken(ctx, lookup(sig, 0, x.hops), dial, err, v, out)
		return
	}
	res := x.res
	defer res.Body.Close()
	v.Status = res.StatusCode
	if res.StatusCode > 299 {
		k.status(ctx, res, v, out)
		return
	}
	k.read(ctx, res, a, v, out)
}

// header completes what caller and observer set. Theirs may not replace ours, and no
// idempotency key goes out: with one, net/http would resend by itself.
func (c *Client) header(h http.Header, stream bool) http.Header {
	withoutIdempotency(h)
	h["Authorization"] = c.authorization
	h["Content-Type"] = c.jsonType
	if stream {
		h["Accept"] = c.acceptEvents
	} else {
		h["Accept"] = c.acceptJSON
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = c.agent
	}
	if c.organization != nil {
		h["Openai-Organization"] = c.organization
	}
	return h
}

// withoutIdempotency drops the keys that would make net/http resend by itself, however
// their names are written.
func withoutIdempotency(h http.Header) {
	for name := range h {
		if canonical := http.CanonicalHeaderKey(name); canonical == "Idempotency-Key" || canonical == "X-Idempotency-Key" {
			delete(h, name)
		}
	}
}

// broken ends an attempt that met no HTTP error but a failure on the way.
func (k *call) broken(ctx context.Context, r rule, dial bool, err error, v *Verdict, out *outcome) {
	if ctx.Err() != nil {
		sig := sigCanceled
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			sig = sigDeadline
		}
		unsent := r.billed == BilledNo
		r = lookup(sig, 0, v.Hops)
		if unsent {
			r.billed, r.proof = BilledNo, ProofNeverDispatched
		}
		err = endOf(ctx)
	}
	if dial && r.billed == BilledNo {
		r.proof = ProofDial
	}
	out.rule = r
	out.err = k.fail(r.class, safeCause(err, k.client.key, k.theirs))
	out.err.Status, out.err.Hop, out.err.RequestID = v.Status, v.Hops, v.RequestID
	k.verdict(v, out)
}

// hide takes the keys out of what a provider says.
func (k *call) hide(f *fault) {
	f.hide(k.client.key)
	f.hide(k.theirs)
}

func (k *call) verdict(v *Verdict, out *outcome) {
	v.Billed, v.Class, v.Proof, v.Err = out.rule.billed, out.rule.class, out.rule.proof, out.err
}

// status ends an attempt that was answered with an error status.
func (k *call) status(ctx context.Context, res *http.Response, v *Verdict, out *outcome) {
	buf := k.client.buffers.Get().(*[]byte)
	defer k.client.buffers.Put(buf)
	b := readError(res.Body, (*buf)[:0])
	f := readFault(b)
	k.hide(&f)
	dry := res.StatusCode == http.StatusServiceUnavailable && k.lane != nil &&
		(k.client.funding == FundingAuto && !f.foreign || k.lane.gate.wasDry())
	out.rule = classify(res.StatusCode, v.Hops, f, dry)
	k.judge(f, res.StatusCode, out)
	out.hint, out.hinted = retryAfter(res.Header, time.Now())
	out.err = k.fail(out.rule.class, nil)
	out.err.Status, out.err.Hop, out.err.RequestID, out.err.RetryAfter = res.StatusCode, v.Hops, v.RequestID, out.hint
	out.err.fault(f, res.Status)
	k.special(out.err)
	k.verdict(v, out)
	k.unseen(f, res.StatusCode, v.Hops, out.rule.class)
	if ctx.Err() != nil {
		// The answer is known; what ends the call is still the caller.
		out.rule.action = actFail
	}
}

// special adds the typed causes that a class has.
func (k *call) special(e *Error) {
	switch e.Class {
	case ClassTooLong:
		e.cause = &TooLongError{Max: k.instrument.MaxInput}
	case ClassNotFound:
		e.kind = ErrUnknownInstrument
	}
}
