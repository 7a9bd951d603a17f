package budget

import (
	"slices"
	"time"
)

// rolling is what a count under a rolling window has beside its sums: the parts of them, by admission, oldest first and
// none empty.
type rolling struct{ buckets []bucket }

type bucket struct{ start, settled, unconfirmed, overrun int64 }

// bucket is where the bucket begins that an instant lies in.
func (c *capBook) bucket(at int64) int64 { return at - (at%c.width+c.width)%c.width }

// leaves is when all of a bucket is older than the window, and it stops counting.
func (c *capBook) leaves(start int64) int64 { return start + c.width + c.length }

// left reports whether what was admitted then has left the window.
func (c *count) left(admitted, now int64) bool {
	return c.rolling != nil && c.book.leaves(c.book.bucket(admitted)) <= now
}

// roll takes out the buckets that have left, with their part of the sums. Thresholds that what remains does not reach are
// armed again. What is held stays. settled + held <= limit + overrun stays true, because no bucket has more overrun than
// it has settled.
func (c *count) roll(now int64) {
	if c.rolling == nil || len(c.rolling.buckets) == 0 || c.book.leaves(c.rolling.buckets[0].start) > now {
		return
	}
	gone := 1
	for gone < len(c.rolling.buckets) && c.book.leaves(c.rolling.buckets[gone].start) <= now {
		gone++
	}
	c.rolling.buckets = slices.Delete(c.rolling.buckets, 0, gone)
	c.settled, c.unconfirmed, c.overrun, c.mark = 0, 0, 0, 0
	for _, b := range c.rolling.buckets {
		c.settled, c.unconfirmed, c.overrun = plus(c.settled, b.settled), plus(c.unconfirmed, b.unconfirmed), plus(c.overrun, b.overrun)
	}
	for _, m := range c.book.marks {
		if c.settled < m.at {
			c.fired[m.percent/64] &^= 1 << (m.percent % 64)
		}
	}
}

// change moves the bucket of an admission; it is made if it is new, and dropped if nothing is left in it. It must not have
// left the window.
func (c *count) change(admitted int64, from, to bucket) {
	start, all := c.book.bucket(admitted), c.rolling.buckets
	i := len(all)
	for i > 0 && all[i-1].start > start { // most are of now
		i--
	}
	if i > 0 && all[i-1].start == start {
		i--
	} else {
		all = slices.Insert(all, i, bucket{start: start})
	}
	x := &all[i]
	x.settled = plus(minus(x.settled, from.settled), to.settled)
	x.unconfirmed = plus(minus(x.unconfirmed, from.unconfirmed), to.unconfirmed)
	x.overrun = plus(minus(x.overrun, from.overrun), to.overrun)
	if x.settled == 0 {
		all = slices.Delete(all, i, i+1)
	}
	c.rolling.buckets = all
}

// fits is when a request that was refused as spent fits, if nothing else is spent and what is held stays held; where that
// alone is in the way, when it would fit once it has settled.
func (c *count) fits(kind Kind, asked int64) time.Time {
	if kind != KindSpent {
		return time.Time{}
	}
	room := c.limit - asked
	if held := c.held - c.freed; held <= room {
		room -= held
	}
	left := c.settled
	for _, b := range c.rolling.buckets {
		if left = minus(left, b.settled); left <= room {
			return at(c.book.leaves(b.start))
		}
	}
	return time.Time{}
}
