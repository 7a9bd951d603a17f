package h1

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
)

// answerBody is the body of an answer, read straight from its connection. One goroutine
// reads; any may close, also while it reads.
type answerBody struct {
	conn  *conn
	inner io.Reader // framing, by net/http
	ctx   context.Context
	stop  func() bool // of what cuts the connection when ctx ends
	trace *httptrace.ClientTrace
	keep  bool  // the connection may be used again
	left  int64 // of a known length, else less than 0

	mu      sync.Mutex
	reading bool
	closed  bool
	err     error // why there is no more
}

func (b *answerBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	switch {
	case b.closed:
		b.mu.Unlock()
		return 0, http.ErrBodyReadAfterClose
	case b.err != nil:
		b.mu.Unlock()
		return 0, b.err
	}
	b.reading = true
	b.mu.Unlock()
	n, err := b.inner.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = false
	if b.left >= 0 {
		b.left -= int64(n)
	}
	switch {
	case err == io.EOF:
		b.err = err
		b.end(!b.closed) // else its connection was cut
	case err == nil && !b.closed:
		return n, nil
	default:
		if err == nil || b.closed {
			err = http.ErrBodyReadAfterClose
		}
		if b.ctx.Err() != nil {
			err = context.Cause(b.ctx)
		}
		b.err = err
		b.end(false)
	}
	return n, err
}

// Close ends the answer. Its connection is used again if all of it was read, or is at
// hand.
func (b *answerBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	switch {
	case b.err != nil:
	case b.reading:
		b.conn.cut() // the reader sees to the rest
	default:
		b.err = http.ErrBodyReadAfterClose
		b.end(b.drain())
	}
	return nil
}

// drain reads what is left of the body if that needs no waiting.
func (b *answerBody) drain() bool {
	if b.left < 0 || b.left > int64(b.conn.reader.Buffered()) {
		return false
	}
	_, err := io.Copy(io.Discard, b.inner)
	return err == nil
}

// end parts the answer from its connection, once. Whole tells that it was read to its
// end. Whatever else has arrived then was not asked for.
func (b *answerBody) end(whole bool) {
	c, t := b.conn, b.conn.from
	// Where the context has ended, something may still reach for the connection.
	live := b.stop() && b.keep && whole && c.failed == nil && c.reader.Buffered() == 0
	if s := c.sender; s != nil {
		if live = live && s.finished(); !live {
			c.close()
		}
		<-s.done
		t.drop(s.message)
	}
	c.forget()
	b.conn, b.inner, b.stop = nil, nil, nil
	switch {
	case !live:
		c.close()
	case !t.idle.put(c, t.IdleTimeout, t.MaxIdle):
		c.leave()
		live = false
	}
	if b.trace != nil && b.trace.PutIdleConn != nil {
		var err error
		if !live {
			err = errNotKept
		}
		b.trace.PutIdleConn(err)
	}
}
