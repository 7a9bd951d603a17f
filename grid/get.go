package grid

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"
)

// source is what is read from the market, below the client's base URL.
type source struct {
	path  []string
	query url.Values
	// sign, unless nil, puts its own proof into the header in place of the key.
	sign func(h http.Header, method, path string)
}

func (c *Client) get(ctx context.Context, path ...string) ([]byte, error) {
	return c.fetch(ctx, source{path: path})
}

// fetch reads a JSON value from the market, with the same retries as Chat. Reading costs
// nothing, so a failure that leaves doubt is simply tried again.
func (c *Client) fetch(ctx context.Context, from source) ([]byte, error) {
	if !c.enter() {
		return nil, &Error{Class: ClassClosed, kind: ErrClosed}
	}
	defer c.leave()
	k := call{client: c, req: &Request{}, began: time.Now()}
	for {
		b, out := k.getOnce(ctx, from)
		if out.err == nil {
			return b, nil
		}
		if out.rule.action == actWait {
			out.rule.action = actFail // a dry balance is not a reason here
		}
		delay, err := k.next(ctx, &out)
		if err == nil {
			err = k.pause(ctx, delay, &out)
		}
		if err != nil {
			err.Attempts = k.attempts
			return nil, err
		}
	}
}

func (k *call) getOnce(ctx context.Context, from source) (b []byte, out outcome) {
	c := k.client
	k.attempts++
	h := make(http.Header, 5)
	c.header(h, false)
	delete(h, "Content-Type")
	first := c.base.JoinPath(from.path...)
	first.RawQuery = from.query.Encode()
	if from.sign != nil {
		delete(h, "Authorization")
		from.sign(h, http.MethodGet, first.EscapedPath()) // anew each time: a signature ages
	}
	x := exchange{client: c, method: http.MethodGet, first: first, header: h}
	var v Verdict
	err := x.run(ctx)
	v.Hops, v.RequestID = x.hops, x.requestID
	if err != nil {
		sig, dial := x.signalOf(err)
		k.broken(ctx, lookup(sig, 0, x.hops), dial, err, &v, &out)
		return nil, out
	}
	defer x.res.Body.Close()
	v.Status = x.res.StatusCode
	if v.Status > 299 {
		k.status(ctx, x.res, &v, &out)
		if out.rule.class == ClassNotFound {
			out.err.kind = nil
		}
		return nil, out
	}
	b, err = io.ReadAll(io.LimitReader(x.res.Body, c.limit+1))
	switch {
	case err != nil:
		k.broken(ctx, lookup(sigCut, v.Status, v.Hops), false, err, &v, &out)
	case int64(len(b)) > c.limit:
		k.broken(ctx, lookup(sigTooLarge, v.Status, v.Hops), false, ErrTooLarge, &v, &out)
	case !validJSON(b):
		k.broken(ctx, lookup(sigMalformed, v.Status, v.Hops), false, errors.New("the answer is not JSON"), &v, &out)
	}
	return b, out
}
