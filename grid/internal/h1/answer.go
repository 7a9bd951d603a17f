package h1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
)

const (
	readBuffer    = 4 << 10
	defaultHeader = 1 << 20
)

var (
	errSwitched = errors.New("h1: the server switched to a protocol that was not asked for")
	errNotKept  = errors.New("h1: the connection is not kept")
	errNotHTTP  = errors.New("h1: what the server sent is not HTTP")
)

// parting returns the error of a head that could not be read. net/http's repeat what
// was sent, as long as it is, and that might be the request.
func (c *conn) parting(err error) error {
	switch {
	case c.left <= 0:
		return errLongHead
	case err == io.ErrUnexpectedEOF || c.failed != nil && errors.Is(err, c.failed):
		return err
	}
	return errNotHTTP
}

// readHead reads the head of the answer, behind the interim ones.
func (c *conn) readHead(req *http.Request, trace *httptrace.ClientTrace) (*http.Response, error) {
	if r, ok := c.from.readers.Get().(*bufio.Reader); ok {
		r.Reset(c)
		c.reader = r
	} else {
		c.reader = bufio.NewReaderSize(c, readBuffer)
	}
	if c.left = c.from.MaxHeaderBytes; c.left == 0 {
		c.left = defaultHeader
	}
	if _, err := c.reader.Peek(1); err != nil {
		return nil, fmt.Errorf("h1: the connection ended before an answer: %w", err)
	}
	if trace != nil && trace.GotFirstResponseByte != nil {
		trace.GotFirstResponseByte()
	}
	for {
		res, err := http.ReadResponse(c.reader, req)
		if err != nil {
			return nil, c.parting(err)
		}
		switch {
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errSwitched
		case res.StatusCode < 100 || res.StatusCode > 199:
			c.left = math.MaxInt64
			return res, nil
		}
		if trace != nil && trace.Got1xxResponse != nil {
			if err := trace.Got1xxResponse(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
				return nil, err
			}
		}
	}
}
