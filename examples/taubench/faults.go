package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gridloop/gridloop/grid"
)

// A fault is what may happen to a request.
type fault int

const (
	none fault = iota
	dry402
	throttled429
	broken500
	cutAnswer
	kinds
)

func (f fault) String() string {
	return [...]string{"none", "402", "429", "500", "cut answers"}[f]
}

// inARow bounds the faults of one model call.
const inARow = 2

// patience is the retry policy under faults. Two in a row are fewer than a call
// may meet, whatever they are. What watches over an instrument as a whole is off:
// every request here has the same chance of a fault for as long as the replay
// takes, so an instrument would be left alone that a real market's would not be.
// The clock of all delays runs a thousand times as fast.
func patience() grid.Retry {
	return grid.Retry{
		Max: 8, MaxCut: 4, MaxAmbiguous: 4,
		BudgetMax: -1, BreakerCalls: -1, StreamCuts: -1,
		Base: time.Millisecond, Cap: 30 * time.Millisecond,
		TopUpDelays: []time.Duration{time.Millisecond, 2 * time.Millisecond, 4 * time.Millisecond},
		Patience:    5 * time.Millisecond, ReleaseStep: 250 * time.Microsecond,
	}
}

// explain says what is unusual about this replay.
func (o *options) explain(out io.Writer) {
	if o.stream {
		fmt.Fprintf(out, "Answers are streamed, cut into deltas at random places (seed %d).\n", o.seed)
	}
	if o.faults > 0 {
		p := patience()
		fmt.Fprintf(out, "Faults strike %g%% of the requests (seed %d), at most %d in a row for one model call. For that the retry budget is\n"+
			"widened: %d retries of a call and %d after cut answers instead of 4 and 2, no bound and no breaker over all calls,\n"+
			"streams that break off stay streams. Backoff runs on a clock 1,000 times as fast.\n",
			100*o.faults, o.seed, inARow, p.Max, p.MaxCut)
	}
}

// weather is a network that tells the market which conversation a request belongs
// to, and in which faults happen. What the market has begun to answer stays on its
// bill, also when the answer is cut on the way.
type weather struct {
	sky  http.RoundTripper
	rate float64
	seed uint64

	mu    sync.Mutex
	calls map[string]*forecast
	asked int // requests at the market's door
	drawn [kinds]int
}

// A forecast is what awaits the model call that a conversation is at. Its requests
// come one after another.
type forecast struct {
	call   int
	ahead  []fault
	active fault // of the request under way
}

func newWeather(sky http.RoundTripper, rate float64, seed uint64) *weather {
	return &weather{sky: sky, rate: rate, seed: seed, calls: make(map[string]*forecast)}
}

type nameKey struct{}

// named marks what a conversation does.
func named(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, nameKey{}, name)
}

// RoundTrip sends one request, or lets it meet its fault.
func (w *weather) RoundTrip(req *http.Request) (*http.Response, error) {
	name, _ := req.Context().Value(nameKey{}).(string)
	req = req.Clone(req.Context()) // a RoundTripper must not change what it was given
	req.Header.Set(nameHeader, name)
	if req.Method != http.MethodPost {
		return w.sky.RoundTrip(req)
	}
	if req.URL.Query().Get("token") != "" { // behind the redirect
		res, err := w.sky.RoundTrip(req)
		if err == nil && w.active(name) == cutAnswer {
			err = breakOff(res, dice(w.seed, "break", name, w.number(name)).Float64())
		}
		return res, err
	}
	switch f := w.next(name); f {
	case dry402:
		return refused(req, http.StatusPaymentRequired, "The balance of this instrument is empty.")
	case throttled429:
		return refused(req, http.StatusTooManyRequests, "Too many requests")
	case broken500:
		return refused(req, http.StatusInternalServerError, "Internal Server Error")
	}
	return w.sky.RoundTrip(req)
}

// next is the fault of the request that begins.
func (w *weather) next(name string) fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	c := w.calls[name]
	if c == nil {
		c = &forecast{call: -1}
		w.calls[name] = c
	}
	if c.active == none { // the request before was answered: this is another call
		c.call++
		c.ahead = w.forecast(name, c.call)
	}
	c.active = none
	if len(c.ahead) > 0 {
		c.active, c.ahead = c.ahead[0], c.ahead[1:]
		w.drawn[c.active]++
	}
	return c.active
}

// forecast draws the faults of one model call.
func (w *weather) forecast(name string, call int) []fault {
	d := dice(w.seed, "faults", name, call)
	var ahead []fault
	for len(ahead) < inARow && d.Float64() < w.rate {
		ahead = append(ahead, none+1+fault(d.IntN(int(kinds)-1)))
	}
	return ahead
}

func (w *weather) active(name string) fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.calls[name]; c != nil {
		return c.active
	}
	return none
}

func (w *weather) number(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[name].call
}

// refused is an answer in the market's own form.
func refused(req *http.Request, status int, detail string) (*http.Response, error) {
	if req.Body != nil {
		_, _ = io.Copy(io.Discard, req.Body)
		_ = req.Body.Close()
	}
	body := fmt.Sprintf(`{"errors":{"detail":%q}}`, detail)
	return &http.Response{
		StatusCode: status, Status: fmt.Sprintf("%d %s", status, http.StatusText(status)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)),
	}, nil
}

// breakOff lets an answer end before it is whole: at a share of what comes before
// its finish, by a broken connection.
func breakOff(res *http.Response, share float64) error {
	whole, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		return err
	}
	end := len(whole) - 2
	if i := bytes.Index(whole, []byte(`"finish_reason":"`)); i >= 0 {
		end = i
	}
	keep := slices.Clip(whole[:max(int(share*float64(end)), 0)])
	res.Body = io.NopCloser(io.MultiReader(bytes.NewReader(keep), brokenPipe{}))
	return nil
}

type brokenPipe struct{}

func (brokenPipe) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
