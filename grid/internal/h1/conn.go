package h1

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"
)

// conn is a connection. It belongs to one request, to the pool, or to nobody.
type conn struct {
	from   *Transport
	to     target
	wire   *wire
	stream net.Conn // wire, or TLS on it
	tls    *tls.ConnectionState
	cut    func()
	since  time.Time // when it became idle

	reader *bufio.Reader // while there is a request
	left   int64         // of what may be read
	failed error         // of a read: there is no further request
	sender *sender       // of a long request
	broken *UnsentError  // why the request was not written whole
	one    [1]byte
}

func newConn(t *Transport, to target, w *wire) *conn {
	c := &conn{from: t, to: to, wire: w, stream: w}
	c.cut = w.cut
	return c
}

// close ends a connection on which something may be under way.
func (c *conn) close() { _ = c.wire.Conn.Close() }

// leave ends an idle connection, and says so.
func (c *conn) leave() { _ = c.stream.Close() }

// quiet tells that an idle connection lives, and that nothing has come unasked.
func (c *conn) quiet() bool {
	c.wire.looking = true
	n, err := c.stream.Read(c.one[:])
	c.wire.looking = false
	return n == 0 && errors.Is(err, nothing{})
}

var errLongHead = errors.New("h1: the answer's head is too long")

// Read reads for the reader, within what the head of an answer may have.
func (c *conn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		c.failed = errLongHead
		return 0, errLongHead
	}
	n, err := c.stream.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if err != nil {
		c.failed = err
	}
	return n, err
}

// roundTrip sends a message and reads the head of its answer. After an error the
// connection is closed; the message is as it was if no byte was written.
func (c *conn) roundTrip(req *http.Request, m *message, reused bool, trace *httptrace.ClientTrace) (*http.Response, error) {
	ctx := req.Context()
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, c.cut)
	}
	whole, err := c.write(ctx, m, reused, trace)
	var res *http.Response
	if err == nil {
		res, err = c.readHead(req, trace)
		if err != nil && !whole {
			err = c.broken
		}
	}
	if err != nil {
		stop()
		c.close()
		if c.sender != nil {
			err = c.sender.join(err)
		}
		c.forget()
		return nil, err
	}
	res.TLS = c.tls
	b := &answerBody{
		conn: c, inner: res.Body, ctx: ctx, stop: stop, trace: trace, left: res.ContentLength,
		keep: whole && !res.Close && !req.Close && res.StatusCode > 199,
	}
	if res.Body == http.NoBody {
		b.end(true)
	} else {
		res.Body = b
	}
	return res, nil
}

// write sends a message, or begins to send a long one. A server that refuses a request
// may have closed before it read all, with its reason behind it: then the message is
// not whole, and the answer is still to be looked for.
func (c *conn) write(ctx context.Context, m *message, reused bool, trace *httptrace.ClientTrace) (whole bool, err error) {
	if m.rest > 0 {
		c.sender = c.send(ctx, m, trace)
		return true, nil
	}
	n, err := m.writeTo(c.stream)
	wrote(trace, err)
	if err == nil {
		c.from.drop(m)
		return true, nil
	}
	c.broken = &UnsentError{err, n}
	if n == 0 && reused {
		return false, c.broken
	}
	c.hurry(ctx)
	return false, nil
}

// hurry bounds the rest of what is read on a connection that cannot be written to.
func (c *conn) hurry(ctx context.Context) {
	_ = c.wire.SetReadDeadline(time.Now().Add(lastWords))
	if ctx.Err() != nil {
		c.cut() // the deadline may have replaced that of the context
	}
}

// lastWords is how long a server's answer is waited for after it stopped reading.
const lastWords = time.Second

func wrote(trace *httptrace.ClientTrace, err error) {
	if trace == nil {
		return
	}
	if err == nil && trace.WroteHeaders != nil {
		trace.WroteHeaders()
	}
	if trace.WroteRequest != nil {
		trace.WroteRequest(httptrace.WroteRequestInfo{Err: err})
	}
}

// forget gives back what was needed for a request.
func (c *conn) forget() {
	if c.reader != nil {
		c.reader.Reset(nil)
		c.from.readers.Put(c.reader)
		c.reader = nil
	}
	c.sender, c.broken = nil, nil
}
