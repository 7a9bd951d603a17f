package h1

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"time"
)

// Transport is an http.RoundTripper, safe for concurrent use. Its fields are set before
// the first request, and Other and Dial must be.
type Transport struct {
	// Other takes what this transport does not do.
	Other http.RoundTripper
	// Proxy names the proxy of a request; requests that have one go to Other. nil means
	// that none has.
	Proxy func(*http.Request) (*url.URL, error)
	// Dial opens a connection, within its own time.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// TLS is copied for each connection; nil means crypto/tls's defaults.
	TLS *tls.Config
	// HandshakeTimeout bounds a TLS handshake; 0 means no bound but the context's.
	HandshakeTimeout time.Duration
	// IdleTimeout is how long a connection waits for a request; 0 means for ever.
	IdleTimeout time.Duration
	// MaxIdle bounds the connections to one host that wait; 0 means no bound.
	MaxIdle int
	// MaxHeaderBytes bounds the head of an answer, with the interim ones before it; 0
	// means 1 MiB.
	MaxHeaderBytes int64

	idle idle

	buffers sync.Pool // *[]byte, for writing
	readers sync.Pool // *bufio.Reader
}

// sendBuffer is what a caller writes at once. A longer request is written by a goroutine
// of its own, since a server may answer before it has read all, and may then read no
// more. This much fits into what the kernels hold between them.
const sendBuffer = 64 << 10

// UnsentError is the error of a request whose last byte was not written: the server
// cannot have had it whole.
type UnsentError struct {
	Err     error
	Written int64 // bytes of head and body
}

func (e *UnsentError) Error() string { return e.Err.Error() }
func (e *UnsentError) Unwrap() error { return e.Err }

// RoundTrip sends a request and returns when the head of its answer was read. The error
// is the context's cause if the context ended.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !ordinary(req) || !t.straight(req) {
		return t.Other.RoundTrip(req)
	}
	res, err := t.send(req, &message{body: req.Body, rest: req.ContentLength})
	if err != nil && req.Context().Err() != nil {
		cause := context.Cause(req.Context())
		if u, ok := err.(*UnsentError); ok {
			cause = &UnsentError{cause, u.Written}
		}
		err = cause
	}
	return res, err
}

// straight tells whether a request goes straight to its host.
func (t *Transport) straight(req *http.Request) bool {
	if t.Proxy == nil {
		return true
	}
	proxy, err := t.Proxy(req)
	return proxy == nil && err == nil
}

// send finds a connection for m and sends it.
func (t *Transport) send(req *http.Request, m *message) (*http.Response, error) {
	ctx := req.Context()
	trace := httptrace.ContextClientTrace(ctx)
	if err := ctx.Err(); err != nil {
		t.drop(m)
		return nil, &UnsentError{Err: err}
	}
	for {
		c, reused, err := t.conn(ctx, req.URL, trace)
		if err != nil {
			t.drop(m)
			return nil, &UnsentError{Err: err}
		}
		// Not before: many that open connections at once would all hold a buffer.
		if err := t.load(m, req); err != nil {
			c.close()
			t.drop(m)
			return nil, &UnsentError{Err: err}
		}
		res, err := c.roundTrip(req, m, reused, trace)
		if err == nil {
			return res, nil
		}
		if u, ok := err.(*UnsentError); ok && u.Written == 0 && reused && ctx.Err() == nil {
			continue // ends with a new connection
		}
		t.drop(m)
		return nil, err
	}
}

// load puts the head of a message and the beginning of its body into a buffer.
func (t *Transport) load(m *message, req *http.Request) error {
	if m.pooled != nil {
		return nil
	}
	buf, ok := t.buffers.Get().(*[]byte)
	if !ok {
		b := make([]byte, 0, sendBuffer)
		buf = &b
	}
	m.pooled, m.buf = buf, appendHead((*buf)[:0], req)
	return m.fill()
}

// drop gives back what a request needed.
func (t *Transport) drop(m *message) {
	if m.body != nil {
		_ = m.body.Close()
		m.body = nil
	}
	if m.pooled != nil {
		t.buffers.Put(m.pooled)
		m.pooled = nil
	}
}

// conn returns an idle connection that still lives, or a new one.
func (t *Transport) conn(ctx context.Context, u *url.URL, trace *httptrace.ClientTrace) (c *conn, reused bool, err error) {
	to := target{u.Scheme == "https", u.Host}
	if trace != nil && trace.GetConn != nil {
		trace.GetConn(to.address())
	}
	for {
		if c = t.idle.take(to, t.IdleTimeout); c == nil {
			break
		}
		if c.quiet() {
			reused = true
			break
		}
		c.close()
	}
	if c == nil {
		if c, err = t.dial(ctx, to, trace); err != nil {
			return nil, false, err
		}
	}
	if trace != nil && trace.GotConn != nil {
		i := httptrace.GotConnInfo{Conn: c.stream, Reused: reused, WasIdle: reused}
		if reused {
			i.IdleTime = time.Since(c.since)
		}
		trace.GotConn(i)
	}
	return c, reused, nil
}

// CloseIdleConnections closes the connections that wait for a request, Other's too.
func (t *Transport) CloseIdleConnections() {
	t.idle.closeAll()
	if other, ok := t.Other.(interface{ CloseIdleConnections() }); ok {
		other.CloseIdleConnections()
	}
}
