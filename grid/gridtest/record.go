package gridtest

import (
	"net/http"
	"slices"
	"time"
)

// A RequestRecord is what the market noted about one HTTP request.
type RequestRecord struct {
	Time time.Time // when it came

	// Hop is 1 for a chat request at the router, 2 for one at the supplier
	// behind the redirect, 0 for all other requests.
	Hop int

	Method, Path string // the path is without query: redirect tokens stay secret
	Instrument   string // lower case; "" when the request was not that far
	Status       int    // zero: not answered (yet)
	Key          string // name of the key; "" when there was no valid one
	RequestID    string // as in x-grid-request-id: hop 2 only

	// The bill of a request at hop 2: tokens, and nano-USD rounded up once over
	// all lots. Unbilled requests have none.
	PromptTokens, CompletionTokens int64
	CostNanoUSD                    int64
	Billed                         bool
	Lots                           []Draw

	Conversation string      // as in Turn
	Header       http.Header // without Authorization, x-api-key and signatures
	Body         []byte      // as received
}

// entry is a record and what its receipt needs.
type entry struct {
	RequestRecord
	keyID   string
	serving string
	drawn   []drawn
	exact   exact
	first   time.Time // first byte of the answer
	ended   time.Time
	closed  bool // nothing more will happen to it
	failed  bool // no answer came of it
}

// Requests returns a record of every request so far, in the order in which they
// came.
func (m *Market) Requests() []RequestRecord {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]RequestRecord, len(m.entries))
	for i, e := range m.entries {
		all[i] = e.RequestRecord
		all[i].Lots = slices.Clone(e.Lots)
		all[i].Header = e.Header.Clone()
	}
	return all
}

func (m *Market) note(r *http.Request, hop int) *entry {
	h := r.Header.Clone()
	h.Del("Authorization")
	h.Del("X-Api-Key")
	h.Del("X-Thegrid-Signature")
	e := &entry{RequestRecord: RequestRecord{Time: time.Now(), Hop: hop, Method: r.Method, Path: r.URL.Path, Header: h}}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries = append(m.entries, e)
	return e
}

// noting is a ResponseWriter that notes the status before the client sees it.
// Every answer calls its WriteHeader.
type noting struct {
	http.ResponseWriter
	market *Market
	entry  *entry
	wrote  bool
}

func (n *noting) WriteHeader(status int) {
	n.wrote = true
	n.market.mu.Lock()
	n.entry.Status, n.entry.first = status, time.Now()
	n.market.mu.Unlock()
	n.ResponseWriter.WriteHeader(status)
}

func (n *noting) Flush() {
	if f, ok := n.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// charge draws a request's tokens and puts it on the bill.
func (m *Market) charge(e *entry, prompt, completion int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.accounts[e.Instrument]
	a.advance(time.Now(), m.config.TopUp.Window)
	e.drawn = a.draw(addSaturating(prompt, completion))
	e.exact = bill(e.drawn)
	e.PromptTokens, e.CompletionTokens = prompt, completion
	e.CostNanoUSD, e.Billed = e.exact.nano(), true
	for _, d := range e.drawn {
		e.Lots = append(e.Lots, d.Draw)
	}
}

// dischargeLocked takes a request off the bill and returns its tokens.
func (m *Market) dischargeLocked(e *entry) {
	a := m.accounts[e.Instrument]
	a.advance(time.Now(), m.config.TopUp.Window)
	a.putBack(e.drawn)
	e.drawn, e.exact, e.Lots, e.CostNanoUSD, e.Billed = nil, exact{}, nil, 0, false
	e.PromptTokens, e.CompletionTokens = 0, 0
}
