package h1

import (
	"errors"
	"io"
)

// message is a request on its way: its head and as much of its body as the buffer holds.
// They stay as they are until a byte was written, so that all can go to another
// connection.
type message struct {
	buf    []byte
	pooled *[]byte // where buf came from
	body   io.ReadCloser
	rest   int64 // bytes of the body that are not in buf yet
}

var errShortBody = errors.New("h1: the request's body is shorter than its length")

// fill reads as much of the body as the buffer holds.
func (m *message) fill() error {
	for m.rest > 0 && len(m.buf) < cap(m.buf) {
		n, err := m.body.Read(m.buf[len(m.buf):min(int64(cap(m.buf)), int64(len(m.buf))+m.rest)])
		m.buf = m.buf[:len(m.buf)+n]
		m.rest -= int64(n)
		if err != nil && m.rest > 0 {
			if err == io.EOF {
				err = errShortBody
			}
			return err
		}
	}
	return nil
}

// writeTo writes the message, and returns how much of it was written.
func (m *message) writeTo(w io.Writer) (n int64, err error) {
	for {
		k, err := w.Write(m.buf)
		n += int64(k)
		switch {
		case m.rest == 0 && k == len(m.buf):
			return n, nil // to its last byte, whatever else there is to say
		case err != nil || m.rest == 0:
			return n, err
		}
		m.buf = m.buf[:0]
		if err := m.fill(); err != nil {
			return n, err
		}
	}
}
