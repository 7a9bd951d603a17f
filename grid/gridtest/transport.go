package gridtest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
)

// BaseURL is the base of requests that go through [Market.Transport]: the
// platform's own, so that a client needs no option but the transport.
func (m *Market) BaseURL() string { return "https://api.thegrid.ai/v1" }

// Transport returns a network in which the market is the only host there is,
// under every name. It holds no sockets: in a testing/synctest bubble virtual
// time passes while requests wait. Like net/http's it follows no redirect
// itself, ends with the request's context, and wants response bodies closed.
func (m *Market) Transport() http.RoundTripper { return &memory{m} }

type memory struct{ market *Market }

func (t *memory) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		closeBody(req)
		return nil, context.Cause(req.Context())
	}
	if req.URL == nil {
		closeBody(req)
		return nil, errors.New("gridtest: the request has no URL")
	}
	if err := t.market.begin(); err != nil {
		closeBody(req)
		return nil, err
	}
	ctx, cancel := context.WithCancel(req.Context())
	x := &exchange{
		request: req,
		cancel:  cancel,
		header:  make(http.Header),
		started: make(chan struct{}),
		more:    make(chan struct{}, 1),
		shut:    make(chan struct{}),
	}
	received := x.received(ctx)
	go func() {
		defer t.market.work.Done()
		defer cancel()
		defer x.finish()
		defer received.Body.Close()
		t.market.serveHTTP(x, received)
	}()
	select {
	case <-x.started:
	case <-req.Context().Done():
		cancel()
		// What is not read yet was never sent: a market that read on would bill a
		// request that its client knows it did not send whole.
		x.sending.stop()
		return nil, context.Cause(req.Context())
	}
	return x.response()
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

// exchange is one request and its response: the handler's ResponseWriter on
// one side, the client's response body on the other.
type exchange struct {
	request *http.Request
	sending *sending
	cancel  context.CancelFunc
	header  http.Header
	started chan struct{}
	more    chan struct{} // holds one wake-up for the reader
	shut    chan struct{}
	closing sync.Once

	mu     sync.Mutex
	status int         // zero: WriteHeader was not called
	sent   http.Header // as it was at WriteHeader
	begun  bool
	length int64 // of the body, when the handler ended before anything went out; else -1
	buf    []byte
	err    error // behind buf: io.EOF or why the body broke off
}

// received is the request as a server sees it.
func (x *exchange) received(ctx context.Context) *http.Request {
	r := x.request.Clone(ctx)
	if r.Host == "" {
		r.Host = r.URL.Host
	}
	if r.URL.Scheme == "" {
		r.URL.Scheme = "https"
	}
	r.RequestURI = r.URL.RequestURI()
	r.RemoteAddr = "192.0.2.1:1"
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	r.Close = false
	body := r.Body
	if body == nil {
		body = http.NoBody
	}
	x.sending = &sending{ReadCloser: body}
	r.Body = &written{ReadCloser: x.sending, trace: httptrace.ContextClientTrace(x.request.Context())}
	return r
}

// sending is the request's body until its client leaves.
type sending struct {
	io.ReadCloser
	mu   sync.Mutex
	left bool
}

func (s *sending) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left {
		return 0, io.ErrUnexpectedEOF
	}
	return s.ReadCloser.Read(p)
}

func (s *sending) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = true
}

// written tells a client's trace when its request was sent: clients decide by
// it whether a failed request may have been billed.
type written struct {
	io.ReadCloser
	trace *httptrace.ClientTrace
	once  sync.Once
}

func (b *written) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		if err == io.EOF {
			err = nil
		}
		b.tell(err)
		if err == nil {
			return n, io.EOF
		}
	}
	return n, err
}

func (b *written) Close() error {
	b.tell(nil)
	return b.ReadCloser.Close()
}

func (b *written) tell(err error) {
	b.once.Do(func() {
		if b.trace == nil {
			return
		}
		if b.trace.WroteHeaders != nil {
			b.trace.WroteHeaders()
		}
		if b.trace.WroteRequest != nil {
			b.trace.WroteRequest(httptrace.WroteRequestInfo{Err: err})
		}
	})
}

func (x *exchange) Header() http.Header { return x.header }

func (x *exchange) WriteHeader(status int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.writeHeaderLocked(status)
}

func (x *exchange) writeHeaderLocked(status int) {
	if x.status == 0 {
		x.status = status
		x.sent = x.header.Clone()
	}
}

// holdBack is how much a server keeps before it sends without being told to.
const holdBack = 4 << 10

func (x *exchange) Write(b []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.writeHeaderLocked(http.StatusOK)
	select {
	case <-x.shut:
		return 0, io.ErrClosedPipe
	default:
	}
	if err := x.request.Context().Err(); err != nil {
		return 0, err
	}
	x.buf = append(x.buf, b...)
	if x.begun || len(x.buf) > holdBack {
		x.beginLocked(-1)
		x.wake()
	}
	return len(b), nil
}

func (x *exchange) Flush() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.writeHeaderLocked(http.StatusOK)
	x.beginLocked(-1)
	x.wake()
}

func (x *exchange) beginLocked(length int64) {
	if !x.begun {
		x.begun, x.length = true, length
		close(x.started)
	}
}

func (x *exchange) wake() {
	select {
	case x.more <- struct{}{}:
	default:
	}
}

// finish ends the exchange with its handler, also with one that panics.
func (x *exchange) finish() {
	v := recover()
	x.mu.Lock()
	defer x.mu.Unlock()
	if v != nil {
		// A connection that closes: io.EOF in place of an answer, as net/http
		// has it, and half a body is unexpectedly short.
		x.err = io.ErrUnexpectedEOF
		if !x.begun {
			x.status, x.err = 0, io.EOF
		}
	} else {
		x.err = io.EOF
		x.writeHeaderLocked(http.StatusOK)
	}
	x.beginLocked(int64(len(x.buf)))
	x.wake()
}

func (x *exchange) response() (*http.Response, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.status == 0 {
		return nil, x.err
	}
	if t := httptrace.ContextClientTrace(x.request.Context()); t != nil && t.GotFirstResponseByte != nil {
		t.GotFirstResponseByte()
	}
	if x.length >= 0 {
		x.sent.Set("Content-Length", strconv.FormatInt(x.length, 10))
	}
	return &http.Response{
		Status:        strconv.Itoa(x.status) + " " + http.StatusText(x.status),
		StatusCode:    x.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        x.sent,
		Body:          (*received)(x),
		ContentLength: x.length,
		Request:       x.request,
	}, nil
}

// received is the response's body.
type received exchange

func (b *received) Read(p []byte) (int, error) {
	ctx := b.request.Context()
	for {
		select {
		case <-b.shut:
			return 0, http.ErrBodyReadAfterClose
		default:
		}
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		b.mu.Lock()
		if len(b.buf) > 0 {
			n := copy(p, b.buf)
			b.buf = b.buf[n:]
			b.mu.Unlock()
			return n, nil
		}
		err := b.err
		b.mu.Unlock()
		if err != nil {
			return 0, err
		}
		select {
		case <-b.more:
		case <-b.shut:
		case <-ctx.Done():
		}
	}
}

// Close ends the handler too, as a closed connection does.
func (b *received) Close() error {
	b.closing.Do(func() {
		close(b.shut)
		b.cancel()
	})
	return nil
}
