package h1

import (
	"context"
	"errors"
	"net"
	"net/http/httptrace"
	"time"
)

// sender writes a long request beside the caller, who reads meanwhile: a server that
// answers early may not read the rest. It ends with the request at the latest.
type sender struct {
	message *message
	done    chan struct{}
	n       int64
	err     error
}

func (c *conn) send(ctx context.Context, m *message, trace *httptrace.ClientTrace) *sender {
	s := &sender{message: m, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.n, s.err = m.writeTo(c.stream)
		wrote(trace, s.err)
		if s.err != nil {
			c.hurry(ctx)
		}
		if s.n > 0 {
			c.from.drop(m) // else it may go to another connection
		}
	}()
	return s
}

// join waits for the end of a sender whose connection is closed, and returns the error
// of the request, given why its answer could not be read.
func (s *sender) join(reading error) error {
	<-s.done
	switch {
	case s.err == nil:
		return reading
	case errors.Is(s.err, net.ErrClosed):
		return &UnsentError{reading, s.n} // closed by us
	}
	return &UnsentError{s.err, s.n}
}

// finished tells whether all was written. A server that answered has as a rule read all,
// and the sender is about to say so.
func (s *sender) finished() bool {
	select {
	case <-s.done:
		return s.err == nil
	default:
	}
	late := time.NewTimer(senderGrace)
	defer late.Stop()
	select {
	case <-s.done:
		return s.err == nil
	case <-late.C:
		return false
	}
}

// senderGrace is net/http's, for the same.
const senderGrace = 50 * time.Millisecond
