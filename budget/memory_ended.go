package budget

// ended are rows that have ended, the oldest first, until they are forgotten.
type ended struct {
	queue[uint32]
	until int64 // when the first is forgotten, 0 if that was not reckoned yet
}

// end takes a reservation from the open ones to the ended ones.
func (b *books) end(r *row, t *tab) {
	b.leases.open--
	b.leases.forget(lease{r.expires, r.no})
	t.open--
	if r.is(rowIdle) {
		b.idled.push(r.no)
	} else {
		b.ended.push(r.no)
	}
}

// keptUntil is when an ended reservation may be forgotten: its lease and its windows are long over.
func (b *books) keptUntil(r *row) int64 {
	t := b.tabs.all[r.tab]
	until := max(r.expires, t.last)
	if t.longest > 0 {
		until = max(until, r.admitted+t.longest)
	}
	return until + int64(dedup)
}

// compact forgets what nobody will ask for any more, a little at a time.
func (b *books) compact(now int64) {
	b.thin(&b.idled, now, b.keep/idleShare)
	b.thin(&b.ended, now, b.keep)
	b.turn(now)
}

// thin forgets reservations that have ended, the oldest first: those that are too many or, if none are, those whose time is
// over.
func (b *books) thin(q *ended, now int64, most int) {
	crowded := q.len() > most
	for n := 0; n < sweepEach && q.waits(now, most); n++ {
		if q.len() <= most {
			if crowded {
				return
			}
			if q.until == 0 {
				q.until = b.keptUntil(b.row(q.first()))
			}
			if q.until > now {
				return
			}
		}
		b.forget(q)
	}
}

// waits reports whether there is something to forget, or to reckon.
func (q *ended) waits(now int64, most int) bool {
	return q.len() > 0 && (q.len() > most || q.until <= now)
}

// forget takes the oldest.
func (b *books) forget(q *ended) {
	r := b.row(q.first())
	q.pop()
	q.until = 0
	t := b.tabs.all[r.tab]
	b.remove(r)
	b.leave(t)
}
