package grid

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/gridloop/gridloop/grid/internal/h1"
)

// bufferedConn copies request bodies through a pooled buffer, and sends the head of a
// request together with the beginning of its body.
//
// net/http sends the head alone, since the body might be long in coming. Ours never
// is, and a write costs more than all that was done to encode what it carries. So a
// head that announces a body is held back until the body comes. Through TLS and in
// HTTP/2 no head is seen here, and everything is written as it comes.
//
// As in net/http, one goroutine writes at a time; any may close.
type bufferedConn struct {
	net.Conn
	buffers *sync.Pool
	head    []byte // held back
	closed  atomic.Bool
}

// onlyWriter hides every method but Write, so that io.CopyBuffer uses its buffer.
type onlyWriter struct{ io.Writer }

func (c *bufferedConn) Write(p []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	// Of a connection that was closed meanwhile net/http hears now, and takes another.
	if announcesBody(p) && !c.closed.Load() {
		c.head = append(c.head, p...)
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// flush writes the head that is held back.
func (c *bufferedConn) flush() error {
	if len(c.head) == 0 {
		return nil
	}
	n, err := c.Conn.Write(c.head)
	c.head = c.head[:0]
	if err != nil && n == 0 {
		return &h1.UnsentError{Err: err}
	}
	return err
}

// announcesBody tells whether p is one whole head of a POST whose body comes next, and
// does not wait for the server's leave.
func announcesBody(p []byte) bool {
	const end, length = "\r\n\r\n", "\r\nContent-Length: "
	if !bytes.HasPrefix(p, []byte("POST ")) || bytes.Index(p, []byte(end)) != len(p)-len(end) {
		return false
	}
	at := bytes.Index(p, []byte(length))
	return at >= 0 && p[at+len(length)] != '0' && !bytes.Contains(p, []byte("\r\nExpect: "))
}

// ReadFrom writes what r holds, behind the head.
func (c *bufferedConn) ReadFrom(r io.Reader) (int64, error) {
	pooled := c.buffers.Get().(*[]byte)
	defer c.buffers.Put(pooled)
	buf := *pooled
	var first int
	if head := len(c.head); head > 0 && head < len(buf)/2 {
		copy(buf, c.head)
		c.head = c.head[:0]
		n, end := r.Read(buf[head:])
		written, err := c.Conn.Write(buf[:head+n])
		switch {
		case err != nil && written == 0:
			return 0, &h1.UnsentError{Err: err}
		case err != nil:
			return int64(max(written-head, 0)), err
		case end == io.EOF:
			return int64(n), nil
		case end != nil:
			return int64(n), end
		}
		first = n
	}
	if err := c.flush(); err != nil {
		return 0, err
	}
	rest, err := io.CopyBuffer(onlyWriter{c.Conn}, r, buf)
	return int64(first) + rest, err
}

// Close drops a head that is held back: without its body it is no request.
func (c *bufferedConn) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}
