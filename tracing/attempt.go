package tracing

import (
	"context"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// AttemptStart describes one request of a model call.
type AttemptStart struct {
	Start         time.Time // zero = now
	URL           string    // recorded without user and query
	Number        int       // 1-based within the call
	Instrument    string
	ServerAddress string // "" = taken from URL
	ServerPort    int
	Reservation   string // id in the ledger
}

// AttemptSpan is an open span of one request.
type AttemptSpan struct {
	span
	instrument string
}

// AttemptEnd is what a request came to.
type AttemptEnd struct {
	End       time.Time // zero = now
	Status    int       // 0 = no answer
	ErrorType string    // "" = none
	Billed    string    // yes, no, maybe
	RequestID string
	// ReservedTokens were set aside for the attempt, UsedTokens is what it came to; both 0 = unknown.
	ReservedTokens, UsedTokens int64
	RedirectHost               string // where the answer came from, if elsewhere; recorded as host and port alone
}

// Attempt opens the span of one request, a plain HTTP client span. With [Config].NoHTTPSpans there is no span and the
// context stays that of the call.
func (t *Tracing) Attempt(ctx context.Context, s AttemptStart) (context.Context, *AttemptSpan) {
	if t == nil {
		return ctx, nil
	}
	begun := orNow(s.Start)
	var otel trace.Span
	if t.noHTTPSpans {
		otel = trace.SpanFromContext(context.Background()) // records nothing
	} else {
		bare, _, _ := strings.Cut(s.URL, "?") // no key of ours holds a token, not even in memory
		key := startKey{"POST", bare, s.ServerAddress, s.ServerPort}
		p, ok := t.starts.get(key)
		if !ok {
			p = t.starts.put(key, attemptPrebuilt(key))
		}
		ctx, otel = t.start(ctx, p, begun, trace.SpanContext{})
	}
	if otel.IsRecording() {
		attrs := make([]attribute.KeyValue, 0, 3)
		if s.Number > 1 {
			attrs = append(attrs, keyResend.Int(s.Number-1))
		}
		attrs = addString(attrs, keyReservation, s.Reservation)
		otel.SetAttributes(addString(attrs, keyInstrument, s.Instrument)...)
	} else if !t.metrics.attempts.Enabled(ctx) && !t.metrics.reservedRatio.Enabled(ctx) {
		return ctx, nil
	}
	return ctx, &AttemptSpan{span: span{tracing: t, ctx: ctx, otel: otel, begun: begun}, instrument: s.Instrument}
}

func attemptPrebuilt(key startKey) *prebuilt {
	attrs := []attribute.KeyValue{keyMethod.String("POST")}
	address, port := key.address, key.port
	if bare := bareURL(key.target); bare != "" {
		attrs = append(attrs, keyURL.String(bare))
		if u, err := url.Parse(bare); err == nil && address == "" {
			address = u.Hostname()
			port, _ = strconv.Atoi(u.Port())
			if port == 0 {
				port = map[string]int{"https": 443, "http": 80}[u.Scheme]
			}
		}
	}
	attrs = addString(attrs, keyServerAddress, address)
	if address != "" && port > 0 {
		attrs = append(attrs, keyServerPort.Int(port))
	}
	return newPrebuilt("POST", trace.SpanKindClient, attrs...)
}

// End closes the attempt.
func (a *AttemptSpan) End(e AttemptEnd) {
	if a == nil || a.ended.Swap(true) {
		return
	}
	failed := word(e.ErrorType)
	if failed == "" && e.Status >= 400 {
		failed = strconv.Itoa(e.Status)
	}
	if a.otel.IsRecording() {
		attrs := make([]attribute.KeyValue, 0, 4)
		if e.Status > 0 {
			attrs = append(attrs, keyStatus.Int(e.Status))
		}
		attrs = addString(attrs, keyBilled, word(e.Billed))
		attrs = addString(attrs, keyRequestID, short(e.RequestID))
		a.otel.SetAttributes(addString(attrs, keyRedirectHost, bareHost(e.RedirectHost))...)
	}
	a.close(orNow(e.End), failed)
	a.tracing.measureAttempt(a.ctx, a.instrument, failed)
	if e.UsedTokens > 0 {
		a.tracing.measureRatio(a.ctx, a.instrument, float64(e.ReservedTokens)/float64(e.UsedTokens))
	}
}
