package agent

import "sync"

// queue carries events from the run to its one reader. It needs no bound of its
// own: deltas of one step merge, and everything else is bounded by the limits of
// the run, so that a slow reader never blocks a tool.
type queue struct {
	mu     sync.Mutex
	events []Event
	step   int           // of text
	text   []byte        // the delta that stands behind events
	read   []Event       // the batch that the reader had last
	ready  chan struct{} // holds one token while events or the end are there
	ended  bool
	left   bool // the reader is gone
}

func newQueue() *queue { return &queue{ready: make(chan struct{}, 1)} }

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

// say pushes a TextDelta.
func (q *queue) say(step int, text string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.left || q.ended {
		return
	}
	if q.step != step {
		q.settle()
	}
	q.step, q.text = step, append(q.text, text...)
	q.wake()
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
