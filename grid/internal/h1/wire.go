package h1

import (
	"net"
	"syscall"
	"time"
)

// wire is a connection that can also be asked what has arrived, without waiting. Under
// TLS it lies beneath, so that a look goes through TLS: a ticket that came late is not
// taken for an answer, nor an alert overlooked.
type wire struct {
	net.Conn
	looking bool
	raw     syscall.RawConn // nil where the kernel cannot be asked
	try     func(fd uintptr) bool
	buf     []byte
	n       int
	err     error
}

func newWire(c net.Conn) *wire {
	w := &wire{Conn: c}
	if s, ok := c.(syscall.Conn); ok && CanLook {
		if raw, err := s.SyscallConn(); err == nil {
			w.raw = raw
			w.try = func(fd uintptr) bool { w.n, w.err = readNow(fd, w.buf); return true }
		}
	}
	return w
}

// nothing is the error of a look that found nothing. It is a net.Error that passes, so
// that TLS can be read again after it.
type nothing struct{}

func (nothing) Error() string   { return "h1: nothing has arrived" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

var past = time.Unix(1, 0)

func (w *wire) Read(p []byte) (int, error) {
	if !w.looking {
		return w.Conn.Read(p)
	}
	if w.raw == nil {
		_ = w.Conn.SetReadDeadline(past)
		n, err := w.Conn.Read(p)
		_ = w.Conn.SetReadDeadline(time.Time{})
		if t, ok := err.(net.Error); ok && t.Timeout() {
			err = nothing{}
		}
		return n, err
	}
	w.buf = p
	err := w.raw.Read(w.try)
	w.buf = nil
	if err != nil {
		return 0, err
	}
	return w.n, w.err
}

// cut ends what is under way on the connection, and all that comes.
func (w *wire) cut() { _ = w.Conn.SetDeadline(past) }
