package grid

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	openai "github.com/sashabaranov/go-openai"
)

// DoerOptions says what existing code gets besides redirects and retries.
type DoerOptions struct {
	// Observer is told of each chat completion's attempts; nil is none. With one, a
	// request without a bound on its answer gets DefaultMaxTokens, the bound that Begin
	// sets is written into the body, and more than one choice (n) is refused.
	Observer Observer
	// Notify is told of waits and retries, on the goroutine of the request.
	Notify func(Notice)
	// Wait bounds the time spent waiting for a dry balance; 0 means DefaultWait, less
	// than 0 not to wait.
	Wait time.Duration
	// Tenant is that of Request.
	Tenant string
}

// Doer returns what go-openai takes for an HTTP client, so that existing code gets
// redirects and retries by one line:
//
//	config.HTTPClient = client.Doer()
//
// Requests go where that code sends them, with its own key. A request that failed for
// good comes back as the market answered it. An answer that has begun is not retried:
// its bytes were handed over. An instrument that broke too many streams off
// (Retry.StreamCuts) is asked without streaming; the answer comes as a stream of one event.
func (c *Client) Doer() openai.HTTPDoer { return c.DoerWith(DoerOptions{}) }

// DoerWith is Doer with options.
func (c *Client) DoerWith(o DoerOptions) openai.HTTPDoer {
	switch {
	case o.Wait == 0:
		o.Wait = DefaultWait
	case o.Wait < 0:
		o.Wait = 0
	}
	return &doer{c, o}
}

type doer struct {
	client  *Client
	options DoerOptions
}

// Do sends the request. Its body is read before, and need not be rewindable.
func (d *doer) Do(req *http.Request) (*http.Response, error) {
	c := d.client
	if !c.enter() {
		return nil, &Error{Class: ClassClosed, kind: ErrClosed}
	}
	defer c.leave()
	var sent []byte
	if req.Body != nil {
		b, err := io.ReadAll(req.Body)
		_ = req.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("grid: reading the request's body: %w", err)
		}
		sent = b
	}
	k := &call{client: c, began: time.Now(), req: &Request{Notify: d.options.Notify, Wait: d.options.Wait, Tenant: d.options.Tenant}}
	k.theirs = strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
	if err := k.sendable(req.Header); err != nil {
		return nil, err
	}
	passed := passedBody{b: sent}
	if strings.HasSuffix(req.URL.Path, "/chat/completions") && req.Method == http.MethodPost {
		if !passed.read() {
			return nil, k.fail(ClassCaller, errors.New("the request's body is not a JSON object"))
		}
		k.req.Instrument, k.req.Stream = passed.model, passed.stream
		k.stream = passed.stream
		k.lane = c.lane(passed.model)
		if d.options.Observer != nil {
			if passed.n > 1 {
				return nil, k.fail(ClassCaller, fmt.Errorf("%d choices are asked for: a metered request asks for one", passed.n))
			}
			k.req.Observer = d.options.Observer
		}
	}
	defer k.endWait(ClassCanceled)
	defer k.yield()
	ctx := req.Context()
	var last *http.Response // of the failure before, to be handed over if it stays at that
	for {
		err := k.admit(ctx, len(sent))
		if err == nil {
			res, out := k.forward(req, &passed)
			if out.err == nil && k.free != nil {
				res.Body = &slotted{ReadCloser: res.Body, free: k.free}
				k.free = nil // with the body
			}
			k.learn(ctx, &out)
			if out.err == nil {
				return res, nil
			}
			var delay time.Duration
			last = res
			if delay, err = k.next(ctx, &out); err == nil {
				err = k.pause(ctx, delay, &out)
			}
		}
		if err == nil {
			continue
		}
		k.endWait(err.Class)
		if last != nil && err.Class != ClassCanceled && err.Class != ClassDeadline && err.Class != ClassClosed {
			return last, nil
		}
		err.Attempts, err.Waited = k.attempts, k.waited
		return nil, err
	}
}

// slotted is a body whose request is under way until it is closed or read to its end.
type slotted struct {
	io.ReadCloser
	free func(used int)
}

func (s *slotted) Read(b []byte) (int, error) {
	n, err := s.ReadCloser.Read(b)
	if err != nil {
		s.free(0)
	}
	return n, err
}

func (s *slotted) Close() error {
	s.free(0)
	return s.ReadCloser.Close()
}

// forward makes one attempt. An error status comes with its response, to be handed over
// if it is not retried.
func (k *call) forward(req *http.Request, p *passedBody) (res *http.Response, out outcome) {
	ctx := req.Context()
	c, o := k.client, k.req.Observer
	if whole := k.req.Stream && c.cuts.off(k.req.Instrument); whole != (k.req.Stream && !k.stream) {
		if k.stream = !whole; whole {
			k.notify(NoticeNoStream, Notice{Instrument: k.req.Instrument, Attempt: k.attempts, Class: ClassCut})
		}
	}
	a := &Attempt{
		Instrument: k.req.Instrument, Number: k.attempts + 1, Resend: k.attempts, MaxTokens: p.maxTokens(),
		MessageBytes: p.size(), Header: make(http.Header, 8), Stream: k.stream, Start: time.Now(),
		URL: req.URL.Scheme + "://" + req.URL.Host + req.URL.Path,
	}
	for name, v := range req.Header {
		if name != "Authorization" {
			a.Header[name] = v
		}
	}
	ctx, err := begin(ctx, o, a)
	if err != nil {
		out.err = k.fail(ClassRefused, fmt.Errorf("attempt %d was refused before it was sent: %w", a.Number, err))
		return nil, out
	}
	k.attempts++
	k.went, k.sentAt = true, a.Start
	v := Verdict{Billed: BilledMaybe, Class: ClassAmbiguous, Start: a.Start}
	handedOver := false
	if o != nil {
		defer func() {
			if !handedOver {
				v.End = time.Now()
				o.End(ctx, a, v)
			}
		}()
	}
	header := a.Header.Clone()
	withoutIdempotency(header)
	if key, ok := req.Header["Authorization"]; ok {
		header["Authorization"] = key
	}
	x := exchange{client: c, method: req.Method, first: req.URL, header: header}
	if len(p.b) > 0 {
		bound := 0
		if o != nil {
			bound = max(min(a.MaxTokens, p.maxTokens()), 1)
		}
		x.body = &body{}
		x.body.segments[0] = p.rewritten(bound, k.req.Stream && !k.stream)
		x.body.seal()
	}
	err = x.runFor(ctx, k)
	v.Hops, v.RequestID = x.hops, x.requestID
	if err != nil {
		sig, dial := x.signalOf(err)
		k.broken(ctx, lookup(sig, 0, x.hops), dial, err, &v, &out)
		return nil, out
	}
	res = x.res
	v.Status = res.StatusCode
	if v.Status <= 299 {
		stream, retry := k.stream && k.lane != nil, &c.retry
		if o != nil || stream {
			handedOver = true
			res.Body = &metered{ReadCloser: res.Body, end: func(m *metered) {
				m.verdict(&v)
				v.End = time.Now()
				if stream && m.over && ctx.Err() == nil {
					c.cuts.note(a.Instrument, v.Class == ClassCut, retry)
				}
				if o != nil {
					o.End(ctx, a, v)
				}
			}, ans: answer{limit: c.limit, start: a.Start}}
		}
		if k.req.Stream && !k.stream {
			res.Body = &recast{whole: res.Body, limit: c.limit}
			res.Header.Set("Content-Type", "text/event-stream")
			res.Header.Del("Content-Length")
			res.ContentLength = -1
		}
		return res, out
	}
	body := readError(res.Body, nil)
	_ = res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(body))
	k.status(ctx, res, &v, &out)
	res.Body = io.NopCloser(bytes.NewReader(body))
	res.ContentLength = int64(len(body))
	return res, out
}
