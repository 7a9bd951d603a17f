package grid

import (
	"math/bits"
	"sync"
	"time"
)

// cutLog remembers which instruments break their streams off. One that does so too
// often is asked without streaming for a while: a whole body either comes or does not,
// and the caller does not pay for text that is thrown away. It is safe for concurrent use.
type cutLog struct {
	mu sync.Mutex
	of map[string]*cutHistory
}

type cutHistory struct {
	calls uint64    // the last streams, the latest lowest: 1 is cut
	until time.Time // when streams are asked for again
}

// note takes down how a stream of the instrument ended.
func (l *cutLog) note(instrument string, cut bool, r *Retry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.of[instrument]
	if h == nil {
		if !cut || r.StreamCuts < 0 {
			return
		}
		h = &cutHistory{}
		if l.of == nil {
			l.of = make(map[string]*cutHistory)
		}
		l.of[instrument] = h
	}
	h.calls <<= 1
	if cut {
		h.calls |= 1
	}
	h.calls &= 1<<r.StreamCalls - 1
	if bits.OnesCount64(h.calls) >= r.StreamCuts {
		h.calls, h.until = 0, time.Now().Add(r.StreamPause)
		return
	}
	if h.calls == 0 && !time.Now().Before(h.until) {
		delete(l.of, instrument)
	}
}

// off tells whether the instrument is asked without streaming.
func (l *cutLog) off(instrument string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.of[instrument]
	return h != nil && time.Now().Before(h.until)
}

// streams decides whether the next attempt asks for a stream, and renders the request
// anew where that changed.
func (k *call) streams() {
	stream := k.req.Stream && !k.client.cuts.off(k.req.Instrument)
	if stream == k.stream {
		return
	}
	k.stream = stream
	_ = k.prepare() // it was encoded without a mistake before
	if !stream {
		k.notify(NoticeNoStream, Notice{Instrument: k.req.Instrument, Attempt: k.attempts, Class: ClassCut})
	}
}
