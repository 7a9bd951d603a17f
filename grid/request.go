package grid

import (
	"net/http"
	"time"
)

const (
	// DefaultMaxTokens is asked for where a request names no number.
	DefaultMaxTokens = 4096
	// DefaultWait is how long a run usually waits for a dry balance to be topped up.
	// A Request with Wait 0 does not wait: whoever wants this default sets it.
	DefaultWait = 90 * time.Second
)

// Request is one question to an instrument. It is not changed by Chat and may be
// used again when Chat has returned.
type Request struct {
	// Instrument is the name in the market, e.g. "agent-prime".
	Instrument string
	// Transcript or Messages is the conversation: one of the two.
	Transcript *Transcript
	Messages   []Message
	Tools      *ToolList
	Params     Params
	// MaxTokens bounds what the model may write, reasoning included. 0 means
	// DefaultMaxTokens; more than the instrument can is lowered to what it can.
	MaxTokens int
	// Stream asks for the answer piece by piece. An answer that comes whole in spite of
	// it is delivered as one Delta.
	Stream bool
	// OnDelta is called with each piece of a stream, on the goroutine that called Chat.
	OnDelta func(Delta)
	// Observer is told of each attempt; nil is none.
	Observer Observer
	// Notify is told of waits and retries, on the goroutine that called Chat.
	Notify func(Notice)
	// Wait bounds the time spent waiting for a dry balance (402, and 503 while it is
	// replenished). 0 means never to wait: Chat returns a *TryLaterError at once.
	Wait time.Duration
	// Tenant is for whom the question is asked. Those who wait for a balance are served
	// in order within a tenant, and the tenants in turn.
	Tenant string
	// Header is added to each request to the market's own host. Idempotency keys are
	// dropped: with one, net/http would send a billed request again by itself.
	Header http.Header
}

// Delta is a piece of a streamed answer.
type Delta struct {
	Text, Reasoning string
	// Discard says that everything delivered so far is to be forgotten: the stream
	// broke and the question is asked again.
	Discard bool
}

// Notice tells a watcher why Chat takes its time.
type Notice struct {
	Kind       NoticeKind
	Instrument string
	// Attempt is the number of the attempt that ended before this notice.
	Attempt int
	// Delay is how long Chat is about to wait; Waited the top-up wait so far.
	Delay, Waited time.Duration
	// Status is the HTTP status that caused it, 0 if there was none.
	Status int
	// Class says what kind of failure caused it; empty with NoticeTopUpEnd where
	// tokens have arrived.
	Class Class
	// Position is the place in the line of those who wait for the same balance, from 1;
	// with several tenants it may be less far back. 0 outside of a line.
	Position int
	// Estimate is how long the wait may take, judged by the instrument's last top-up.
	Estimate time.Duration
	// Detail is what the market wrote, with NoticeUnknownDetail: 200 bytes of it at most,
	// without control characters and secrets.
	Detail string
}

// NoticeKind says what happens.
type NoticeKind string

const (
	// NoticeTopUpWait: the balance is dry; Chat waits in line. The instrument is asked
	// again in Delay, by the first in line.
	NoticeTopUpWait NoticeKind = "topup_wait"
	// NoticeTopUpEnd: the waiting is over. An empty Class says that the market let this
	// call pass; the answer is still to come. Else it is that of the error.
	NoticeTopUpEnd NoticeKind = "topup_end"
	// NoticeExhausted: the account's credits are used up, so that no instrument can be
	// topped up. One call is told, whatever their number.
	NoticeExhausted NoticeKind = "exhausted"
	// NoticeRateWait: Chat waits for its own rate, or out a pause that the server asked
	// for. Delay is 0 where it waits for another call to end.
	NoticeRateWait NoticeKind = "rate_wait"
	// NoticeRetry: the attempt failed; Chat waits Delay and asks again.
	NoticeRetry NoticeKind = "retry"
	// NoticeNoStream: a stream was asked for, but the instrument broke too many off
	// (Retry.StreamCuts): the answer will come in one piece, delivered as one Delta.
	NoticeNoStream NoticeKind = "no_stream"
	// NoticeUnknownDetail: the market refused for want of a balance (402, 503) in words
	// that neither Config.DryTexts nor this package knows; Detail has them, Class what
	// they were taken for. Each wording is told once by a client, and 64 of them at most.
	NoticeUnknownDetail NoticeKind = "unknown_detail"
	// NoticeDiscard: delivered text is void, see Delta.Discard.
	NoticeDiscard NoticeKind = "discard"
)

// Response is an answer.
type Response struct {
	Message Message
	// FinishReason is as received, often wrong and sometimes empty: whether tools are
	// to be run is told by Message.ToolCalls alone.
	FinishReason string
	// Usage is nil where the provider sent none.
	Usage *Usage
	// Model is what served the request, not the instrument that was asked.
	Model string
	// Supplier and Quality are who served and how well, where the answer says so: in its
	// field provider, supplier or quality_score, or in a header x-grid-supplier or
	// x-grid-quality-score. The market documents neither.
	Supplier, Quality string
	// ID is the provider's id of the answer, RequestID the market's handle of its receipt.
	ID, RequestID string
	Instrument    string
	// Attempts is how many requests were made, this answer's included.
	Attempts int
	// Waited is the time spent waiting for a top-up, RetryWait that between other attempts.
	Waited, RetryWait time.Duration
	// RateWait is the time spent waiting for rates and pauses.
	RateWait time.Duration
	// FirstDelta is the time from the attempt's start to the first piece; 0 if not streamed.
	FirstDelta time.Duration
	// Streamed says that the answer came as a stream of events, asked for or not.
	Streamed bool
}
