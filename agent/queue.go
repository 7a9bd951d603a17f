package agent

import (
	"runtime"
	"sync"
)

// queue carries events from the run to its one reader. It needs no bound of its
// own: deltas of one step merge, and everything else is bounded by the limits of
// the run, so that a slow reader never blocks a tool.
type queue struct {
	mu     sync.Mutex
	events []Event
	step   int           // of the text that came last
	text   []byte        // the delta that stands behind events
	read   []Event       // the batch that the reader had last
	ready  chan struct{} // holds one token while events or the end are there
	ended  bool
	left   bool // the reader is gone
}

func newQueue() *queue { return &queue{step: -1, ready: make(chan struct{}, 1)} }

func (q *queue) push(e Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.left || q.ended {
		return
	}
	q.settle()
	q.events = append(q.events, e)
	q.wake()
}

// say pushes a TextDelta. The first of a step goes to a reader that waits before the
// run goes on: else the reader had its turn when the run has nothing to do, and a stream
// may come without a pause.
func (q *queue) say(step int, text string) {
	if q.add(step, text) {
		runtime.Gosched()
	}
}

// add takes text over and tells whether it is the first of its step.
func (q *queue) add(step int, text string) (first bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.left || q.ended {
		return false
	}
	if first = q.step != step; first {
		q.settle()
	}
	q.step, q.text = step, append(q.text, text...)
	q.wake()
	return first
}

// settle makes one event of the deltas that came last.
func (q *queue) settle() {
	if len(q.text) > 0 {
		q.events = append(q.events, TextDelta{Step: q.step, Text: string(q.text)})
		q.text = q.text[:0]
	}
}

func (q *queue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	q.wake()
}

func (q *queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.left, q.events, q.text = true, nil, nil
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// next waits for events; false means that no more will come. They are the
// reader's until it asks again.
func (q *queue) next() ([]Event, bool) {
	for {
		q.mu.Lock()
		q.settle()
		if len(q.events) > 0 {
			clear(q.read)
			q.events, q.read = q.read[:0], q.events
			events := q.read
			q.mu.Unlock()
			return events, true
		}
		if q.ended {
			q.mu.Unlock()
			return nil, false
		}
		q.mu.Unlock()
		<-q.ready
	}
}
