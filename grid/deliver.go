package grid

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// read takes the answer of a 200.
func (k *call) read(ctx context.Context, res *http.Response, a *Attempt, v *Verdict, out *outcome) {
	c := k.client
	ans := c.answers.Get().(*answer)
	*ans = answer{limit: c.limit, start: a.Start, raw: ans.raw[:0], piece: piece{calls: ans.piece.calls[:0], extra: ans.piece.extra[:0]},
		assembly: assembly{text: ans.text[:0], usage: ans.usage[:0], slots: ans.slots[:0], extra: ans.extra[:0],
			known: known{tools: k.req.Tools, last: ans.known.last}}}
	if k.req.Stream && k.req.OnDelta != nil {
		ans.live, ans.deliver = true, k.req.OnDelta
	}
	err := c.drain(res, ans)
	k.told = k.told || ans.told
	v.FirstDelta, v.ResponseID, v.Model, v.FinishReason = ans.first, ans.id, ans.model, ans.finish
	v.Usage = readUsage(ans.assembly.usage)
	if err == nil {
		out.res = k.response(ans, v, res.Header)
		v.Billed, v.Class = BilledYes, ""
		ans.deliverWhole(&out.res.Message)
	} else {
		k.unreadable(ctx, err, ans, v, out)
	}
	if k.stream && ctx.Err() == nil {
		c.cuts.note(k.req.Instrument, v.Class == ClassCut, &c.retry)
	}
	// Only what was read to its end goes back: a panic above leaves it to the collector.
	ans.events, ans.deliver, ans.known.tools = events{}, nil, nil
	if ans.size <= maxKept && cap(ans.raw) <= maxKept && cap(ans.slots)+cap(ans.extra) <= 32 {
		c.answers.Put(ans)
	}
}

// maxKept is how large an answer may be whose memory the next one gets.
const maxKept = 256 << 10

func (k *call) response(ans *answer, v *Verdict, h http.Header) *Response {
	if ans.supplier == "" {
		ans.supplier = tellable(h.Get("X-Grid-Supplier"))
	}
	if ans.quality == "" {
		ans.quality = tellable(h.Get("X-Grid-Quality-Score"))
	}
	return &Response{
		Supplier: ans.supplier, Quality: ans.quality,
		Message: ans.message(), FinishReason: ans.finish, Usage: v.Usage, Model: ans.model, ID: ans.id,
		RequestID: v.RequestID, Instrument: k.req.Instrument, FirstDelta: ans.first, Streamed: ans.form == formEvents,
		Attempts: k.attempts, Waited: k.waited, RetryWait: k.retryWait, RateWait: k.rateWait,
	}
}

// drain reads a body to its end, or to the mark that says so.
func (c *Client) drain(res *http.Response, ans *answer) error {
	buf := c.buffers.Get().(*[]byte)
	defer c.buffers.Put(buf)
	// An announced length is trusted as far as it costs little to be wrong.
	if n := min(res.ContentLength, 1<<20, c.limit); n > int64(cap(ans.raw)) {
		ans.raw = make([]byte, 0, n)
	}
	for {
		n, err := res.Body.Read(*buf)
		if n > 0 {
			if err := ans.feed((*buf)[:n]); err != nil {
				return err
			}
			if ans.stop() {
				c.settle(res.Body, *buf)
				return ans.conclude(false)
			}
		}
		switch {
		case err == io.EOF:
			return ans.conclude(false)
		case err != nil:
			if e := ans.conclude(true); e == ErrCut {
				return &brokenBody{err}
			} else {
				return e
			}
		}
	}
}

// brokenBody is a cut with the reason that the connection gave.
type brokenBody struct{ err error }

func (e *brokenBody) Error() string        { return e.err.Error() }
func (e *brokenBody) Is(target error) bool { return target == ErrCut }

// settle reads what follows the end mark, so that the connection can be used again;
// a server that keeps it open behind the mark is not waited for.
func (c *Client) settle(body io.ReadCloser, buf []byte) {
	stop := time.AfterFunc(settleTime, func() { _ = body.Close() })
	defer stop.Stop()
	for range 4 {
		if _, err := body.Read(buf); err != nil {
			return
		}
	}
}

const settleTime = 200 * time.Millisecond

// unreadable ends an attempt whose 200 was no whole answer.
func (k *call) unreadable(ctx context.Context, err error, ans *answer, v *Verdict, out *outcome) {
	if err == errFault {
		f := *ans.failure
		k.hide(&f)
		out.rule = classifyInner(f)
		k.judge(f, f.status, out)
		out.err = k.fail(out.rule.class, nil)
		out.err.Status, out.err.Hop, out.err.RequestID = v.Status, v.Hops, v.RequestID
		out.err.fault(f, "")
		k.special(out.err)
		k.verdict(v, out)
		k.billUsage(v, ans)
		return
	}
	sig := sigMalformed
	switch {
	case errors.Is(err, ErrCut):
		sig = sigCut
	case err == ErrTooLarge:
		sig = sigTooLarge
	}
	cause := err
	if sig == sigCut {
		cause = &CutError{Partial: k.response(ans, v, nil)}
		if reason := reasonOf(err); reason != nil {
			cause = fmt.Errorf("%w: %w", cause, reason)
		}
	}
	k.broken(ctx, lookup(sig, v.Status, v.Hops), false, cause, v, out)
	if err == ErrNoChoices {
		out.err.kind = ErrNoChoices
	}
	k.billUsage(v, ans)
}

// billUsage trusts a whole JSON body that counts its tokens: it was served.
func (k *call) billUsage(v *Verdict, ans *answer) {
	if ans.form == formJSON && v.Usage != nil && v.Billed == BilledMaybe {
		v.Billed = BilledYes
	}
}

func reasonOf(err error) error {
	var b *brokenBody
	if errors.As(err, &b) {
		return safeCause(b.err)
	}
	return nil
}

// readError reads the body of an error. One that breaks off, or does not come, still has
// its status.
func readError(body io.ReadCloser, dst []byte) []byte {
	stop := time.AfterFunc(errorTime, func() { _ = body.Close() })
	defer stop.Stop()
	b, _ := readUpTo(body, dst, maxErrorBytes)
	return b
}

const errorTime = 10 * time.Second

func readUpTo(r io.Reader, dst []byte, limit int) ([]byte, error) {
	for len(dst) < limit {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		n, err := r.Read(dst[len(dst):min(cap(dst), limit)])
		dst = dst[:len(dst)+n]
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return dst, err
		}
	}
	return dst, nil
}
