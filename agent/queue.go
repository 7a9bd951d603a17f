package agent

import "sync"

// queue carries events from the run to its one reader. It needs no bound of its
// own: deltas of one step merge, and everything else is bounded by the limits of
// the run, so that a slow reader never blocks a tool.
type queue struct {
	mu     sync.Mutex
	events []Event
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
	if d, ok := e.(TextDelta); ok && len(q.events) > 0 {
		if last, ok := q.events[len(q.events)-1].(TextDelta); ok && last.Step == d.Step {
			last.Text += d.Text
			q.events[len(q.events)-1] = last
			return
		}
	}
	q.events = append(q.events, e)
	q.wake()
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
	q.left, q.events = true, nil
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// next waits for events; false means that no more will come.
func (q *queue) next() ([]Event, bool) {
	for {
		q.mu.Lock()
		if len(q.events) > 0 {
			events := q.events
			q.events = nil
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
