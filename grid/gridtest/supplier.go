package gridtest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// serveSupplier is the second hop: the token of the redirect, the model, the
// bill, then the answer. Tokens are drawn before the first byte goes out, so
// that a client that has seen anything at all finds it on the bill.
func (m *Market) serveSupplier(w *noting, r *http.Request, e *entry) {
	body, no := readBody(r)
	if no != nil {
		sendRefusal(w, m.envelope(2), no, 0)
		return
	}
	d := m.redeem(r.URL.Query().Get("token"))
	m.mu.Lock()
	e.Body = body
	if d == nil {
		m.mu.Unlock()
		sendRefusal(w, m.envelope(2), refuse(http.StatusUnauthorized, "Invalid or expired token"), 0)
		return
	}
	in := m.accounts[d.turn.Instrument].instrument
	if e.RequestID = d.requestID; e.RequestID == "" || m.receipts[e.RequestID] != nil {
		m.ids++
		e.RequestID = "req_" + m.hex("request", m.ids)
	}
	e.Key, e.keyID, e.Instrument, e.Conversation, e.serving = d.key.name, d.key.id, in.ID, d.turn.Conversation, in.ServingModel
	e.failed = true // until there is an answer
	m.receipts[e.RequestID] = e
	m.mu.Unlock()
	if !m.read.noID {
		w.Header().Set("X-Grid-Request-Id", e.RequestID)
	}

	if !bytes.Equal(body, d.body) {
		sendRefusal(w, m.envelope(2), refuse(http.StatusBadRequest, "The body is not the one that was redirected: %d bytes instead of %d", len(body), len(d.body)), 0)
		return
	}
	m.mu.Lock()
	e.Body = d.body // one copy is enough
	m.mu.Unlock()
	if no := checkTranscript(d.turn.Messages); no != nil {
		sendRefusal(w, m.envelope(2), no, 0)
		return
	}
	m.serveTurn(w, r, e, d, in)
}

// envelope is the hop whose form an error has: the supplier's behind the
// redirect.
func (m *Market) envelope(hop int) int {
	if m.read.marketEnvelope {
		return 1
	}
	return hop
}

// redeem takes a token, which is good for one use.
func (m *Market) redeem(token string) *dispatched {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.waiting[token]
	if !m.read.tokenAgain {
		delete(m.waiting, token)
	}
	if d == nil || !time.Now().Before(d.expires) {
		return nil
	}
	return d
}

func (m *Market) serveTurn(w *noting, r *http.Request, e *entry, d *dispatched, in Instrument) {
	fault := d.fault
	if fault == nil {
		fault = &Fault{Kind: -1}
	}
	if unbilled := fault.Kind == Status && !fault.Billed || fault.Kind == HTML && fault.Status >= 400; unbilled {
		m.strikeBefore(w, 2, fault)
		return
	}

	turn := d.turn
	turn.Header = e.Header.Clone()
	reply, sent, no := m.reply(turn)
	if no != nil {
		sendRefusal(w, m.envelope(2), no, 0)
		return
	}
	to := &delivery{sent: sent}
	defer m.conclude(e, to)

	reply.Calls = slices.Clone(reply.Calls)
	for i := range reply.Calls {
		if reply.Calls[i].ID == "" {
			reply.Calls[i].ID = m.callID(turn, i)
		}
	}
	reasoning := reply.settle(len(d.body), turn.MaxTokens)
	if reply.Raw == nil || reply.Raw.Status < 400 {
		m.charge(e, reply.PromptTokens, reply.CompletionTokens)
	}
	if m.sleep(r.Context(), m.config.Latency+reply.Delay) != nil {
		panic(http.ErrAbortHandler)
	}
	if m.strikeBefore(w, 2, fault) {
		return
	}
	m.send(w, r, d, fault, to, &answer{
		id:        "chatcmpl-" + strings.TrimPrefix(e.RequestID, "req_"),
		model:     in.ServingModel,
		created:   e.Time.Unix(),
		reply:     reply,
		reasoning: reasoning,
		withUsage: d.wire.StreamOptions != nil && d.wire.StreamOptions.IncludeUsage,
	})
}

// delivery is how far an answer came.
type delivery struct {
	whole bool // the client can have all of it
	sent  func(whole bool)
}

// tell reports to the script, once, and before the client can know.
func (d *delivery) tell() {
	if d.sent != nil {
		d.sent(d.whole)
		d.sent = nil
	}
}

// conclude settles what an answer that did not go out whole costs.
func (m *Market) conclude(e *entry, d *delivery) {
	d.tell()
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.Billed && !d.whole && m.read.cutUnbilled {
		m.dischargeLocked(e)
	}
	e.failed = !e.Billed
}

// callID depends on the conversation and not on the order of requests, so that
// parallel runs see the same ids each time.
func (m *Market) callID(t Turn, i int) string {
	d := m.digest(t.Conversation+"/"+strconv.Itoa(t.N), uint64(i))
	return fmt.Sprintf("call_%x", d[:12])
}

// send writes the answer.
func (m *Market) send(w *noting, r *http.Request, d *dispatched, f *Fault, to *delivery, a *answer) {
	noChoices, cut := f.Kind == NoChoices, f.Kind == CutStream
	status, contentType := http.StatusOK, "application/json; charset=utf-8"
	var parts [][]byte
	last := 0 // the part with which a client has the whole answer
	switch raw := a.reply.Raw; {
	case raw != nil && !noChoices:
		for name, values := range raw.Header {
			w.Header()[http.CanonicalHeaderKey(name)] = values
		}
		status, contentType = cmp.Or(raw.Status, http.StatusOK), raw.contentType()
		parts = [][]byte{raw.Body}
		if strings.HasPrefix(contentType, "text/event-stream") {
			parts = rawEvents(raw.Body)
		}
		last = len(parts) - 1
	case d.turn.Stream:
		contentType = "text/event-stream; charset=utf-8"
		parts, last = a.events(noChoices)
	default:
		parts = [][]byte{a.whole(noChoices)}
	}
	streamed := strings.HasPrefix(contentType, "text/event-stream")
	size := 0
	if last >= 0 && last < len(parts) {
		size = len(parts[last])
	}
	if cut {
		parts = cutParts(parts, f)
	}

	w.Header().Set("Content-Type", contentType)
	if streamed {
		w.Header().Set("Cache-Control", "no-cache")
	}
	w.WriteHeader(status)
	if streamed || cut {
		w.Flush()
	}
	for i, part := range parts {
		delay := a.reply.DeltaDelay
		if i == 0 {
			delay = 0
		}
		if f.Kind == SlowStream {
			delay = f.Delay
		}
		if m.sleep(r.Context(), delay) != nil {
			panic(http.ErrAbortHandler)
		}
		// A broken end spoils a JSON answer, but not a stream that is past its
		// finish reason.
		if i == last && len(part) == size && !noChoices && (streamed || !cut || f.CleanEnd) {
			to.whole = true
			to.tell()
		}
		if _, err := w.Write(part); err != nil {
			panic(http.ErrAbortHandler)
		}
		if streamed || cut {
			w.Flush()
		}
	}
	if len(parts) == 0 && last < 0 {
		to.whole = true // an empty body was meant
	}
	to.tell()
	if cut && !f.CleanEnd {
		panic(http.ErrAbortHandler)
	}
}

// cutParts is what of an answer goes out before it breaks off.
func cutParts(parts [][]byte, f *Fault) [][]byte {
	if f.AfterBytes <= 0 {
		return parts[:min(max(f.AfterChunks, 0), len(parts))]
	}
	left := f.AfterBytes
	for i, p := range parts {
		if left < len(p) {
			return append(parts[:i:i], p[:left])
		}
		left -= len(p)
	}
	return parts
}

// sleep waits on the market's clock, or until the client is gone or the market
// closed.
func (m *Market) sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
