package budget

// Reservations that are taken from an allowance: see ReserveOp.From. What the open allowance has lent is its row's actual,
// and the rest of the one that has drawn says where from and how much; so both are odd rows.

// allowance finds what a reservation is taken from, or what it has drawn returns to: nil if that does not stand any more.
func (b *books) allowance(id string, now int64) *row {
	if id == "" {
		return nil
	}
	r := b.byID(id, b.hash(id))
	if r == nil || r.state != rowOpen || !r.is(rowIdle) || now >= r.expires {
		return nil
	}
	return r
}

// drawable is what op can have of an allowance to which back has returned before.
func (b *books) drawable(op *ReserveOp, t *tab, from *row, back Amounts) Amounts {
	d := least(op.Amounts, b.bound(from).above(b.actual(from).above(back)))
	for _, c := range b.tabs.all[from.tab].counts {
		if m := c.shape.Meter; d.Get(m) > 0 && !b.touches(op, t, c) {
			d = d.With(m, 0)
		}
	}
	return d
}

// touches reports whether the count is one of op's.
func (b *books) touches(op *ReserveOp, t *tab, c *count) bool {
	for i := range op.Links {
		if t != nil && t.counts[i] == c || t == nil && b.counts[keyOf(&op.Links[i])] == c {
			return true
		}
	}
	return false
}

// draw takes what op can have of the allowance out of what that holds.
func (b *books) draw(op *ReserveOp, t *tab, from *row) Amounts {
	d := b.drawable(op, t, from, Amounts{})
	if d.IsZero() {
		return d
	}
	b.odd(from)
	sum := b.actual(from).Add(d)
	b.setActual(from, &sum)
	for _, c := range b.tabs.all[from.tab].counts {
		c.held = minus(c.held, d.Get(c.shape.Meter))
	}
	return d
}

// returns is what goes back to which allowance when an open reservation ends with used.
func (b *books) returns(r *row, used Amounts, now int64) (*row, Amounts) {
	o := b.rest(r)
	if o == nil || o.taken.IsZero() {
		return nil, Amounts{}
	}
	from := b.allowance(o.from, now)
	if from == nil || from.admitted > r.admitted { // another of that name, made when the first was forgotten
		return nil, Amounts{}
	}
	return from, least(least(o.taken, b.bound(r).above(used)), b.actual(from))
}

// giveBack is told by move that a reservation has ended with used. What the allowance takes here the caps have just got.
func (b *books) giveBack(r *row, used Amounts, now int64) {
	from, back := b.returns(r, used, now)
	if from == nil {
		return
	}
	left := b.actual(from).above(back)
	b.setActual(from, &left)
	for _, c := range b.tabs.all[from.tab].counts {
		c.held = plus(c.held, back.Get(c.shape.Meter))
	}
}

// free marks on the counts what is free for op beside what is: what the swapped reservation holds, less what of it returns
// to an allowance, and what op can draw. The func that it answers takes the marks off.
func (b *books) free(op *ReserveOp, t *tab, swap, from *row, now int64) func() {
	var marked []*count
	mark := func(r *row, a Amounts, sign int64) {
		for _, c := range b.tabs.all[r.tab].counts {
			c.freed += sign * a.Get(c.shape.Meter)
			marked = append(marked, c)
		}
	}
	var back Amounts
	if swap != nil && swap.state == rowOpen {
		lent := b.actual(swap)
		mark(swap, b.bound(swap).above(lent), 1)
		if to, n := b.returns(swap, lent, now); to != nil {
			mark(to, n, -1)
			if to == from {
				back = n
			}
		}
	}
	if from != nil && from != swap {
		mark(from, b.drawable(op, t, from, back), 1)
	}
	return func() {
		for _, c := range marked {
			c.freed = 0
		}
	}
}
