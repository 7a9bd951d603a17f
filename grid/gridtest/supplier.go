package gridtest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
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
		sendRefusal(w, 2, no, 0)
		return
	}
	d := m.redeem(r.URL.Query().Get("token"))
	m.mu.Lock()
	e.Body = body
	if d == nil {
		m.mu.Unlock()
		sendRefusal(w, 2, refuse(http.StatusUnauthorized, "Invalid or expired token"), 0)
		return
	}
	in := m.accounts[d.turn.Instrument].instrument
	m.ids++
	e.RequestID = "req_" + m.hex("request", m.ids)
	e.Key, e.keyID, e.Instrument, e.Conversation, e.serving = d.key.name, d.key.id, in.ID, d.turn.Conversation, in.ServingModel
	e.failed = true // until there is an answer
	m.receipts[e.RequestID] = e
	m.mu.Unlock()
	w.Header().Set("X-Grid-Request-Id", e.RequestID)

	if !bytes.Equal(body, d.body) {
		sendRefusal(w, 2, refuse(http.StatusBadRequest, "The body is not the one that was redirected: %d bytes instead of %d", len(body), len(d.body)), 0)
		return
	}
	e.share(m, d.body)
	if no := checkTranscript(d.turn.Messages); no != nil {
		sendRefusal(w, 2, no, 0)
		return
	}
	m.serveTurn(w, r, e, d, in)
}

// share keeps one copy of a body that both hops received.
func (e *entry) share(m *Market, body []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.Body = body
}

// redeem takes a token, which is good for one use.
func (m *Market) redeem(token string) *dispatched {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.waiting[token]
	delete(m.waiting, token)
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
		sendRefusal(w, 2, no, 0)
		return
	}
	whole := false
	tell := func() {
		if sent != nil {
			sent(whole)
			sent = nil
		}
	}
	defer tell()

	for i, c := range reply.Calls {
		if c.ID == "" {
			if i == 0 {
				reply.Calls = append([]ToolCall(nil), reply.Calls...)
			}
			reply.Calls[i].ID = m.callID(turn, i)
		}
	}
	reasoning := reply.settle(len(d.body), turn.MaxTokens)
	a := &answer{
		id:        "chatcmpl-" + strings.TrimPrefix(e.RequestID, "req_"),
		model:     in.ServingModel,
		created:   e.Time.Unix(),
		reply:     reply,
		reasoning: reasoning,
		withUsage: d.wire.StreamOptions != nil && d.wire.StreamOptions.IncludeUsage,
	}
	if reply.Raw == nil || reply.Raw.Status < 400 {
		m.charge(e, reply.PromptTokens, reply.CompletionTokens)
	}
	defer func() {
		tell()
		m.mu.Lock()
		e.failed = !whole && m.config.CutUnbilled || !e.Billed
		unbill := e.failed && e.Billed
		m.mu.Unlock()
		if unbill {
			m.discharge(e)
		}
	}()

	if m.sleep(r.Context(), m.config.Latency+reply.Delay) != nil {
		return
	}
	if m.strikeBefore(w, 2, fault) {
		return
	}
	whole = m.send(w, r, a, d, fault, tell)
}

// callID depends on the conversation and not on the order of requests, so that
// parallel runs see the same ids each time.
func (m *Market) callID(t Turn, i int) string {
	d := m.digest(t.Conversation+"/"+strconv.Itoa(t.N), uint64(i))
	return fmt.Sprintf("call_%x", d[:12])
}

// send writes the answer and says whether it went out whole. tell is called
// before the client can notice that it did not.
func (m *Market) send(w *noting, r *http.Request, a *answer, d *dispatched, f *Fault, tell func()) bool {
	noChoices := f.Kind == NoChoices
	status, contentType := http.StatusOK, "application/json; charset=utf-8"
	var parts [][]byte
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
	case d.turn.Stream:
		contentType = "text/event-stream; charset=utf-8"
		parts = a.events(noChoices)
	default:
		parts = [][]byte{a.whole(noChoices)}
	}
	if f.Kind == CutStream {
		parts = cutParts(parts, f)
	}

	w.Header().Set("Content-Type", contentType)
	streamed := strings.HasPrefix(contentType, "text/event-stream")
	if streamed {
		w.Header().Set("Cache-Control", "no-cache")
	}
	w.WriteHeader(status)
	if streamed {
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
			return false
		}
		if _, err := w.Write(part); err != nil {
			return false
		}
		if streamed || f.Kind == CutStream {
			w.Flush()
		}
	}
	if f.Kind == CutStream {
		tell()
		if !f.CleanEnd {
			panic(http.ErrAbortHandler)
		}
		return false
	}
	return !noChoices
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
