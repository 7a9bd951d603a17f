package budget

// What nearly every call is: a reservation of scopes that were seen before, which fits, and its settlement within the bound
// and the lease. Both go over the counts once to look and once to write, and answer in the same pass. The rest of the store
// says the same of these calls, and of all others.

// quickReserve grants a request of that kind; false says that it is of another, and that nothing has changed.
func (b *books) quickReserve(op *ReserveOp, hash uint32, now int64, ans *Answer) bool {
	if op.Swap != "" || op.From != "" || op.Idle || op.DryRun || len(op.Amounts.Custom) > 0 || len(op.ID) > inlineID ||
		len(b.freezes) > 0 || b.thorough || b.chores(now) {
		return false
	}
	t := b.tab(op)
	if t == nil || !t.plain || !t.present(now) || op.Version < b.version && op.Version < b.needed(op.Scopes, t) ||
		b.byID(op.ID, hash) != nil {
		return false
	}
	asked := quantitiesOf(&op.Amounts)
	for _, c := range t.counts {
		if n := asked[c.slot&3]; n > c.limit-plus(c.settled, c.held) && n > 0 && c.bounded() {
			return false
		}
	}
	expires := now + int64(op.Lease)
	r := b.add(op.ID, hash)
	r.tab, r.state, r.bound, r.actual = t.no, rowOpen, asked, quantities{}
	r.admitted, r.expires = now, expires
	t.rows++
	t.open++
	b.leases.open++
	b.letRun(r)
	for n := 0; n < sweepEach && b.ended.len() > b.keep; n++ {
		b.forget(&b.ended)
	}
	ans.empty()
	left, same := t.room(ans), true
	for i, c := range t.counts {
		settled, held := c.settled, plus(c.held, asked[c.slot&3])
		c.held = held
		s := &left[i]
		same = same && s.of(c)
		s.stands(c, settled, held)
	}
	if !same {
		t.show(left)
	}
	ans.State, ans.Late, ans.Now, ans.Expires = StateOpen, false, at(now), at(expires)
	asked.into(&ans.Reserved)
	ans.Actual.reset()
	return true
}

// chores reports whether a Reserve has more to do for others than to forget one reservation that is too many.
func (b *books) chores(now int64) bool {
	return len(b.leases.items) > 0 && b.leases.items[0].at <= now || len(b.turns.items) > 0 && b.turns.items[0].look <= now ||
		b.ended.waits(now, b.keep) && b.ended.len() <= b.keep || b.idled.waits(now, b.keep/idleShare)
}

// quickSettle settles a reservation of that kind, as quickReserve grants it.
func (b *books) quickSettle(r *row, actual *Amounts, now int64, ans *Answer) bool {
	used, t := quantitiesOf(actual), b.tabs.all[r.tab]
	if r.state != rowOpen || r.flags != 0 || b.thorough || now >= r.expires || !t.plain || len(actual.Custom) > 0 || !used.within(&r.bound) {
		return false
	}
	ans.empty()
	crossed := false
	left, same := t.room(ans), true
	for i, c := range t.counts {
		n := used[c.slot&3]
		held, settled := minus(c.held, r.bound[c.slot&3]), plus(c.settled, n)
		c.held, c.settled = held, settled
		crossed = crossed || settled >= c.mark && n > 0
		s := &left[i]
		same = same && s.of(c)
		s.stands(c, settled, held)
	}
	if !same {
		t.show(left)
	}
	if crossed {
		for _, c := range t.counts {
			if c.settled >= c.mark && used[c.slot&3] > 0 {
				c.cross(ans)
			}
		}
	}
	r.state, r.flags, r.actual = rowSettled, rowSaid, used
	b.end(r, t)
	ans.State, ans.Late, ans.Now, ans.Expires = StateSettled, false, at(now), at(r.expires)
	r.bound.into(&ans.Reserved)
	used.into(&ans.Actual)
	return true
}

// room is where the answer has the states of the tab's counts.
func (t *tab) room(ans *Answer) []CapState {
	n := len(t.counts)
	if cap(ans.Left) < n {
		ans.Left = make([]CapState, n)
	}
	ans.Left = ans.Left[:n]
	return ans.Left
}

// of reports whether all but the numbers is there from an earlier answer: scopes are one slice in memory only if they are of
// one count.
func (s *CapState) of(c *count) bool { return len(s.Scopes) > 0 && &s.Scopes[0] == c.scopes }

// stands writes the numbers of a count that has just come to settled and held; they are handed on, so that they are not read
// again from where they were written.
func (s *CapState) stands(c *count, settled, held int64) {
	limit := c.limit
	s.Limit, s.Settled, s.Held, s.Left = limit, settled, held, limit
	s.Unconfirmed, s.Overrun = c.unconfirmed, c.overrun
	if limit != None {
		s.Left = max(limit-plus(settled, held), 0)
	}
}

// show writes where the counts of the tab stand.
func (t *tab) show(left []CapState) {
	for i, c := range t.counts {
		c.show(&left[i])
	}
}
