package budget

import "slices"

// lease is when a row's lease is over, as it was when it was written down. A row that has ended or was renewed since leaves
// its lease behind: taking it out would cost every settlement a search, and few leases ever run out.
type lease struct {
	at  int64
	row uint32
}

// leases are a heap by time. What is left behind in it is thrown out when it is the greater part.
type leases struct {
	items []lease
	open  int // reservations that are
}

func (l *leases) push(x lease) {
	l.items = append(l.items, x)
	i := len(l.items) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if l.items[parent].at <= x.at {
			break
		}
		l.items[i] = l.items[parent]
		i = parent
	}
	l.items[i] = x
}

func (l *leases) pop() lease {
	first, last := l.items[0], len(l.items)-1
	l.items[0] = l.items[last]
	l.items = l.items[:last]
	l.down(0)
	return first
}

func (l *leases) down(i int) {
	if i >= len(l.items) {
		return
	}
	x := l.items[i]
	for {
		child := 2*i + 1
		if child >= len(l.items) {
			break
		}
		if child+1 < len(l.items) && l.items[child+1].at < l.items[child].at {
			child++
		}
		if x.at <= l.items[child].at {
			break
		}
		l.items[i] = l.items[child]
		i = child
	}
	l.items[i] = x
}

// forget is told of a lease that stands no more. If it stands at the end, as it often does, it goes.
func (l *leases) forget(x lease) {
	if last := len(l.items) - 1; last >= 0 && l.items[last] == x {
		l.items = l.items[:last]
	}
}

// crowded reports whether most leases were left behind.
func (l *leases) crowded() bool { return len(l.items) > 64+2*l.open }

func (l *leases) keep(stands func(lease) bool) {
	l.items = slices.DeleteFunc(l.items, func(x lease) bool { return !stands(x) })
	for i := len(l.items)/2 - 1; i >= 0; i-- {
		l.down(i)
	}
	if cap(l.items) > 1024 && cap(l.items) > 4*len(l.items) {
		l.items = slices.Clone(l.items)
	}
}

// stands reports whether a lease is one that a reservation has now. If its row was given to another meanwhile whose lease
// ends at the same instant, it is that one's.
func (b *books) stands(x lease) bool {
	r := b.row(x.row)
	return r.state == rowOpen && r.expires == x.at
}

// letRun writes down that a row's lease ends when it says.
func (b *books) letRun(r *row) {
	if b.leases.crowded() {
		b.leases.keep(b.stands)
	}
	b.leases.push(lease{r.expires, r.no})
}
