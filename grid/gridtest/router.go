package gridtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	chatPath     = "/v1/chat/completions"
	supplierPath = "/r/v1/chat/completions"

	// maxBody is far above every prompt that an instrument takes.
	maxBody = 64 << 20

	// tokenLife is how long a redirect can be followed.
	tokenLife = time.Minute
)

// dispatched is a request between its two hops.
type dispatched struct {
	key     key
	turn    Turn
	wire    *wire
	body    []byte
	fault   *Fault // that strikes at the second hop
	expires time.Time

	// requestID is set where it is known at the first hop already.
	requestID string
}

func (m *Market) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if m.begin() != nil {
		panic(http.ErrAbortHandler)
	}
	defer m.work.Done()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(m.done, cancel)()
	r = r.WithContext(ctx)

	path := r.URL.Path
	hop := 0
	switch path {
	case chatPath:
		hop = 1
	case supplierPath:
		hop = 2
	}
	e := m.note(r, hop)
	n := &noting{ResponseWriter: w, market: m, entry: e}
	defer func() {
		v := recover()
		m.mu.Lock()
		e.ended, e.closed = time.Now(), true
		if v != nil && v != any(http.ErrAbortHandler) {
			m.failLocked("%s %s: a func given to the market panicked: %v", r.Method, path, v)
		}
		m.mu.Unlock()
		switch {
		case v == nil:
		case v != any(http.ErrAbortHandler) && !n.wrote:
			sendRefusal(n, hop, refuse(http.StatusInternalServerError, "gridtest: a func given to the market panicked: see AssertDone"), 0)
		default:
			panic(http.ErrAbortHandler)
		}
	}()

	if want := method(path); want != "" && r.Method != want {
		n.Header().Set("Allow", want)
		sendRefusal(n, hop, refuse(http.StatusMethodNotAllowed, "%s takes %s", path, want), 0)
		return
	}
	switch {
	case tradingPath(r):
		m.serveTrading(n, r)
	case settingsPath(path):
		m.serveSettings(n, r)
	case hop == 1:
		m.serveRouter(n, r, e)
	case hop == 2:
		m.serveSupplier(n, r, e)
	case path == "/v1/models":
		m.serveModels(n, r, e)
	case path == "/v1/usage":
		m.serveUsageList(n, r, e)
	case path == "/v1/usage/summary":
		m.serveUsageSummary(n, r, e)
	case strings.HasPrefix(path, "/v1/usage/"):
		m.serveReceipt(n, r, e, strings.TrimPrefix(path, "/v1/usage/"))
	case path == "/v1/diagnostics":
		m.serveDiagnostics(n, r, e)
	default:
		sendRefusal(n, hop, refuse(http.StatusNotFound, "Not Found"), 0)
	}
}

// method is the one that a known path takes.
func method(path string) string {
	switch {
	case path == chatPath, path == supplierPath:
		return http.MethodPost
	case path == "/v1/models", path == "/v1/diagnostics", path == "/v1/usage", strings.HasPrefix(path, "/v1/usage/"),
		path == "/v1/me", path == "/v1/currency-trading-accounts", path == "/v1/consumption-accounts", path == "/v1/instruments",
		settingsPath(path):
		return http.MethodGet
	}
	return ""
}

// authorize finds the request's key. The texts are an assumption.
func (m *Market) authorize(r *http.Request, e *entry) (key, *refusal) {
	value, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || value == "" {
		if r.Header.Get("X-Api-Key") != "" {
			return key{}, refuse(http.StatusUnauthorized, "This host takes the key as Authorization: Bearer, not as x-api-key")
		}
		return key{}, refuse(http.StatusUnauthorized, "Missing API key")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.keys {
		if k.value != value {
			continue
		}
		if k.trading {
			return key{}, refuse(http.StatusUnauthorized, "Trading keys cannot be used for inference. Use a Consumption key")
		}
		e.Key, e.keyID = k.name, k.id
		return k, nil
	}
	return key{}, refuse(http.StatusUnauthorized, "Invalid API key")
}

// serveRouter is the first hop: key, instrument, parameters and balance, then
// the way to a supplier.
func (m *Market) serveRouter(w http.ResponseWriter, r *http.Request, e *entry) {
	body, no := readBody(r)
	if no != nil {
		sendRefusal(w, 1, no, 0)
		return
	}
	m.mu.Lock()
	e.Body = body
	m.mu.Unlock()
	k, no := m.authorize(r, e)
	if no != nil {
		sendRefusal(w, 1, no, 0)
		return
	}
	turn, asked, no := decodeTurn(body)
	if no != nil {
		sendRefusal(w, 1, no, 0)
		return
	}
	in, no := m.instrument(turn.Instrument)
	if no != nil {
		sendRefusal(w, 1, no, 0)
		return
	}
	m.mu.Lock()
	e.Instrument, e.Conversation = in.ID, turn.Conversation
	m.mu.Unlock()
	if no := asked.check(turn, in, len(body)); no != nil {
		sendRefusal(w, 1, no, 0)
		return
	}
	turn.Key, turn.MaxTokens = k.name, asked.limit(in)

	d := &dispatched{key: k, turn: turn, wire: asked, body: body}
	location, no, fault := m.dispatch(d)
	if fault != nil && m.strikeBefore(w, 1, fault) {
		return
	}
	if no != nil {
		sendRefusal(w, 1, no, no.after)
		return
	}
	if m.read.idOnBothHops {
		w.Header().Set("X-Grid-Request-Id", d.requestID)
	}
	location = m.supplierURL(r) + "?token=" + location
	w.Header().Set("Location", location)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusTemporaryRedirect)
	fmt.Fprintf(w, `<html><body>You are being <a href="%s">redirected</a>.</body></html>`, location)
}

// dispatch decides about a request in one step: a fault of the first hop, else
// the balance, else a token for the second hop.
func (m *Market) dispatch(d *dispatched) (token string, no *refusal, fault *Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if fault := m.strikeLocked(1, d.turn.Instrument); fault != nil {
		if fault.Kind == CreditsEmpty {
			m.credits = 0
		} else {
			return "", nil, fault
		}
	}
	a := m.accounts[d.turn.Instrument]
	if status, detail := m.admitLocked(a, now, d.turn.MaxTokens); status != 0 {
		no := &refusal{status: status, detail: detail}
		if m.read.dryRetryAfter && a.buy != nil {
			no.after = a.buy.due.Sub(now)
		}
		return "", no, nil
	}
	d.fault = m.strikeLocked(2, d.turn.Instrument)
	d.expires = now.Add(tokenLife)
	for t, old := range m.waiting {
		// A few at a time keeps redirects that nobody follows from piling up.
		if old.expires.After(now) {
			break
		}
		delete(m.waiting, t)
	}
	m.ids++
	token = m.hex("token", m.ids)
	m.waiting[token] = d
	if m.read.idOnBothHops {
		m.ids++
		d.requestID = "req_" + m.hex("request", m.ids)
	}
	return token, nil, nil
}

// strikeBefore does what a fault does in place of an answer and says whether
// it was one of those.
func (m *Market) strikeBefore(w http.ResponseWriter, hop int, f *Fault) bool {
	switch f.Kind {
	case Status:
		sendRefusal(w, m.envelope(hop), f.refusal(), f.RetryAfter)
	case DropConnection:
		panic(http.ErrAbortHandler)
	case HTML:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(cmp.Or(f.Status, http.StatusOK))
		io.WriteString(w, "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body><h1>Checking your browser</h1></body></html>\n")
	case EmptyBody:
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(http.StatusOK)
	default:
		return false
	}
	return true
}

func (m *Market) instrument(id string) (Instrument, *refusal) {
	if id == "" {
		return Instrument{}, refuse(http.StatusUnprocessableEntity, "model is required")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.accounts[id]
	if a == nil {
		return Instrument{}, refuse(http.StatusNotFound, "Instrument not found")
	}
	return a.instrument, nil
}

// supplierURL is where the second hop is, as the client of this request sees it.
func (m *Market) supplierURL(r *http.Request) string {
	scheme := r.URL.Scheme // set in memory
	if scheme == "" {
		scheme = "http"
		if r.TLS != nil {
			scheme = "https"
		}
	}
	host := r.Host
	if m.read.otherHost {
		host = otherHost(host)
	}
	return scheme + "://" + host + supplierPath
}

// otherHost is a second name of the same place, where there is one.
func otherHost(host string) string {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = host, ""
	}
	switch name {
	case "127.0.0.1":
		name = "localhost"
	case "localhost":
		name = "127.0.0.1"
	default:
		name = strings.Replace("synapse."+name, "synapse.api.", "synapse.", 1)
	}
	if port == "" {
		return name
	}
	return net.JoinHostPort(name, port)
}

func readBody(r *http.Request) ([]byte, *refusal) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, refuse(http.StatusRequestEntityTooLarge, "The request body is larger than %d bytes", maxBody)
	case err != nil:
		panic(http.ErrAbortHandler) // the client is gone
	}
	return body, nil
}
