package grid

// line is who waits at a gate: first come first served inside a tenant, the tenants
// in turn, so that one of them with thousands of runs does not keep out the others.
// Every step costs the same however long it is.
type line struct {
	tenants     map[string]*queue
	first, last *queue // the tenants, whose turn it is first
	n           int
}

// queue is one tenant's part of a line.
type queue struct {
	tenant      string
	first, last *waiter
	n           int
	prev, next  *queue
}

// waiter is one call in a line.
type waiter struct {
	queue      *queue // nil while it is in none
	prev, next *waiter
	// ticket keeps its place when it comes back without having been served.
	ticket uint64
	wake   chan struct{} // holds one wake-up
	// pass was given to it, fail sends it home; the gate's lock guards both.
	pass *pass
	fail error
}

func (w *waiter) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// head is whose turn it is, nil if nobody waits.
func (l *line) head() *waiter {
	if l.first == nil {
		return nil
	}
	return l.first.first
}

// join puts w where its ticket belongs. A tenant that comes back with one is first
// among the tenants: its turn brought it nothing.
func (l *line) join(w *waiter, tenant string, back bool) {
	q := l.tenants[tenant]
	if q == nil {
		if l.tenants == nil {
			l.tenants = make(map[string]*queue)
		}
		q = &queue{tenant: tenant}
		l.tenants[tenant] = q
		l.link(q, back)
	}
	w.queue = q
	q.n++
	l.n++
	if q.last == nil || q.last.ticket < w.ticket {
		w.prev = q.last
		if q.last != nil {
			q.last.next = w
		} else {
			q.first = w
		}
		q.last = w
		return
	}
	at := q.first // who comes back belongs far in front
	for at.ticket < w.ticket {
		at = at.next
	}
	w.next, w.prev = at, at.prev
	at.prev = w
	if w.prev != nil {
		w.prev.next = w
	} else {
		q.first = w
	}
}

// pop takes out the head and gives the turn to the next tenant.
func (l *line) pop() *waiter {
	w := l.head()
	if w == nil {
		return nil
	}
	q := w.queue
	l.leave(w)
	if q.n > 0 && l.last != q {
		l.unlink(q)
		l.link(q, false)
	}
	return w
}

// leave takes out w, wherever it stands.
func (l *line) leave(w *waiter) {
	q := w.queue
	if q == nil {
		return
	}
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.last = w.prev
	}
	w.queue, w.prev, w.next = nil, nil, nil
	q.n--
	l.n--
	if q.n == 0 {
		l.unlink(q)
		delete(l.tenants, q.tenant)
	}
}

func (l *line) link(q *queue, front bool) {
	switch {
	case l.first == nil:
		l.first, l.last = q, q
	case front:
		q.next = l.first
		l.first.prev = q
		l.first = q
	default:
		q.prev = l.last
		l.last.next = q
		l.last = q
	}
}

func (l *line) unlink(q *queue) {
	if q.prev != nil {
		q.prev.next = q.next
	} else {
		l.first = q.next
	}
	if q.next != nil {
		q.next.prev = q.prev
	} else {
		l.last = q.prev
	}
	q.prev, q.next = nil, nil
}

// place is how many are released no later than a waiter that joined last in its
// tenant, itself included. With tenants of different sizes it is an upper bound.
func (l *line) place(w *waiter) int {
	if w.queue == nil {
		return 0
	}
	if l.head() == w {
		return 1
	}
	return min(l.n, w.queue.n*len(l.tenants))
}
