package grid

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gridloop/gridloop/grid/internal/h1"
)

// exchange is one request with the redirects it meets. Every hop sends the same bytes.
type exchange struct {
	client *Client
	method string
	first  *url.URL
	header http.Header
	body   *body // nil for none
	hops   int
	// requestID is the last that was seen on the way.
	requestID string
	res       *http.Response
	// sent tells whether the current hop took the last byte of the request; nil if
	// there is none to take.
	sent *atomic.Bool
}

// redirectError says why a redirect was not followed. It names hosts, never addresses:
// they carry a token.
type redirectError struct{ reason string }

func (e *redirectError) Error() string        { return e.reason }
func (e *redirectError) Is(target error) bool { return target == ErrRedirect }

// run goes from hop to hop until one answers with something other than a redirect.
func (x *exchange) run(ctx context.Context) error { return x.runFor(ctx, nil) }

// runFor is run for a call that is told when the market lets it pass.
func (x *exchange) runFor(ctx context.Context, k *call) error {
	at := x.first
	header := x.header
	for {
		res, err := x.hop(ctx, at, header)
		if err != nil {
			return err
		}
		if id := res.Header.Get("X-Grid-Request-Id"); id != "" {
			x.requestID = id
		}
		if k != nil && k.lane != nil && x.hops == 1 && (res.StatusCode < 300 || res.StatusCode == http.StatusTemporaryRedirect || res.StatusCode == http.StatusPermanentRedirect) {
			k.admitted()
		}
		if res.StatusCode < 300 || res.StatusCode > 399 {
			x.res = res
			return nil
		}
		next, err := x.follow(res, at)
		discard(res)
		if err != nil {
			return err
		}
		header = x.headerFor(next)
		at = next
	}
}

func (x *exchange) hop(ctx context.Context, at *url.URL, header http.Header) (*http.Response, error) {
	x.hops++
	req := (&http.Request{
		Method: x.method, URL: at, Host: at.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	x.sent = nil
	if x.body != nil {
		b := newBodyReader(x.body)
		x.sent = b.sent
		req.Body, req.ContentLength, req.GetBody = b, x.body.size, b.again
	}
	res, err := x.client.do(req)
	if err != nil {
		return nil, err
	}
	if res.Body == nil {
		res.Body = http.NoBody // transports of tests leave it out
	}
	return res, nil
}

// follow returns where a redirect leads, if it may be followed.
func (x *exchange) follow(res *http.Response, from *url.URL) (*url.URL, error) {
	if res.StatusCode != http.StatusTemporaryRedirect && res.StatusCode != http.StatusPermanentRedirect {
		return nil, &redirectError{"status " + strconv.Itoa(res.StatusCode) + " would turn the request into another: the market answers 307"}
	}
	if x.hops > x.client.maxHops {
		return nil, &redirectError{"there were more redirects than MaxHops"}
	}
	to, err := url.Parse(res.Header.Get("Location"))
	if err != nil || res.Header.Get("Location") == "" {
		return nil, &redirectError{"the redirect names no address"}
	}
	next := from.ResolveReference(to)
	next.Fragment, next.User = "", nil
	// What was asked under TLS stays there, and no market far away sends it to a service
	// on this machine.
	if next.Host == "" || next.Scheme != "https" && (next.Scheme != "http" || from.Scheme != "http" || !loopback(next.Hostname())) {
		return nil, &redirectError{"the redirect leads to a host without https"}
	}
	if next.Host == x.first.Host && next.Path == x.first.Path {
		return nil, &redirectError{"the redirect leads back to where it came from"}
	}
	if !x.own(next) && len(x.client.hosts) > 0 && !x.client.listed(next) {
		return nil, &redirectError{"host " + printable(next.Host) + " is not in RedirectHosts"}
	}
	return next, nil
}

// own tells whether u is at the host that the request was meant for.
func (x *exchange) own(u *url.URL) bool { return u.Host == x.first.Host && u.Scheme == x.first.Scheme }

func (c *Client) listed(u *url.URL) bool { return c.hosts[strings.ToLower(u.Host)] }

// headerFor returns what a redirect's target may see. A stranger gets what the request
// needs and the trace, no key, no organisation and none of the caller's own headers.
func (x *exchange) headerFor(u *url.URL) http.Header {
	if x.own(u) || x.client.listed(u) {
		return x.header
	}
	out := make(http.Header, 6)
	for _, name := range [...]string{"Content-Type", "Accept", "Accept-Encoding", "User-Agent", "Traceparent", "Tracestate"} {
		if v, ok := x.header[name]; ok {
			out[name] = v
		}
	}
	return out
}

// discard reads the rest of a short body, so that its connection can be used again. A
// body that does not come is not waited for.
func discard(res *http.Response) {
	if res.Body == http.NoBody {
		return
	}
	stop := time.AfterFunc(settleTime, func() { _ = res.Body.Close() })
	defer stop.Stop()
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10)
	_ = res.Body.Close()
}

// signalOf tells what a request that was not answered means.
func (x *exchange) signalOf(err error) (sig signal, dial bool) {
	if errors.Is(err, ErrRedirect) {
		return sigRedirect, false
	}
	if _, unsent := errors.AsType[*h1.UnsentError](err); !unsent && x.hops > 0 && (x.sent == nil || x.sent.Load()) {
		return sigUnanswered, false
	}
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		return sigUntrusted, false
	}
	var op *net.OpError
	return sigUnsent, errors.As(err, &op) && op.Op == "dial"
}
