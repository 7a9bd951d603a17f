package h1

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptrace"
)

// dial opens a connection.
func (t *Transport) dial(ctx context.Context, to target, trace *httptrace.ClientTrace) (*conn, error) {
	raw, err := t.Dial(ctx, "tcp", to.address())
	if err != nil {
		return nil, err
	}
	c := newConn(t, to, newWire(raw))
	if !to.secure {
		return c, nil
	}
	if err := c.secure(ctx, trace); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// secure makes a connection one of TLS.
func (c *conn) secure(ctx context.Context, trace *httptrace.ClientTrace) error {
	t := c.from
	var cfg *tls.Config
	if t.TLS == nil {
		cfg = &tls.Config{}
	} else {
		cfg = t.TLS.Clone()
	}
	if cfg.ServerName == "" {
		cfg.ServerName = c.to.name()
	}
	cfg.NextProtos = []string{"http/1.1"}
	// A server reads a request whole: small first records would gain it nothing.
	cfg.DynamicRecordSizingDisabled = true
	conn := tls.Client(c.wire, cfg)
	if t.HandshakeTimeout > 0 {
		var done context.CancelFunc
		ctx, done = context.WithTimeoutCause(ctx, t.HandshakeTimeout, errSlowHandshake)
		defer done()
	}
	if trace != nil && trace.TLSHandshakeStart != nil {
		trace.TLSHandshakeStart()
	}
	err := conn.HandshakeContext(ctx)
	if err != nil && context.Cause(ctx) == errSlowHandshake {
		err = errSlowHandshake
	}
	state := conn.ConnectionState()
	if trace != nil && trace.TLSHandshakeDone != nil {
		trace.TLSHandshakeDone(state, err)
	}
	c.stream, c.tls = conn, &state
	return err
}

// handshakeTimeout is a net.Error, as the time's end elsewhere is.
type handshakeTimeout struct{}

func (handshakeTimeout) Error() string   { return "h1: the TLS handshake took too long" }
func (handshakeTimeout) Timeout() bool   { return true }
func (handshakeTimeout) Temporary() bool { return true }

var errSlowHandshake net.Error = handshakeTimeout{}
