package rules

import (
	"slices"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// Bucket is what a rolling count has counted of the reservations admitted between Start, in Unix nanoseconds, and the
// width of a bucket later.
type Bucket struct{ Start, Settled, Unconfirmed, Overrun int64 }

// Rolling reports whether the cap's counts have buckets.
func (c *Cap) Rolling() bool { return c.length > 0 }

// bucket is where the bucket begins that an instant lies in.
func (c *Cap) bucket(at int64) int64 { return at - (at%c.width+c.width)%c.width }

// leaves is when all of a bucket is older than the window, and it stops counting.
func (c *Cap) leaves(start int64) int64 { return start + c.width + c.length }

// ends is when a reservation admitted then stops counting: the end of its window, or of its bucket's time; 0 is never.
func (c *Count) ends(admitted int64) int64 {
	if c.Cap.Rolling() {
		return c.Cap.leaves(c.Cap.bucket(admitted))
	}
	return c.End()
}

// Roll takes out the buckets that have left the window at now, with their part of the sums. Thresholds that what remains
// does not reach are armed again. What is held stays: open reservations count however old they are. Check, Answer and
// every move roll by the Now of their answer; a snapshot rolls a copy, and nothing is written.
//
// settled + held <= limit + overrun stays true, because no bucket has more overrun than it has settled.
func (c *Count) Roll(now int64) {
	if !c.Cap.Rolling() {
		return
	}
	gone := 0
	for gone < len(c.Buckets) && c.Cap.leaves(c.Buckets[gone].Start) <= now {
		gone++
	}
	if gone == 0 {
		return
	}
	c.Buckets = slices.Delete(c.Buckets, 0, gone)
	c.Settled, c.Unconfirmed, c.Overrun, c.turned = 0, 0, 0, true
	for _, b := range c.Buckets {
		c.Settled, c.Unconfirmed, c.Overrun = Plus(c.Settled, b.Settled), Plus(c.Unconfirmed, b.Unconfirmed), Plus(c.Overrun, b.Overrun)
	}
	for _, m := range c.Cap.marks {
		if c.Settled < m.at {
			c.Fired[m.percent/64] &^= 1 << (m.percent % 64)
		}
	}
}

// Turned reports whether rolling has changed the count since it was last asked, so that it must be written back though the
// operation moved nothing.
func (c *Count) Turned() bool {
	turned := c.turned
	c.turned = false
	return turned
}

// Empty reports whether a rolling count stands as one that was never touched would, and may be forgotten.
func (c *Count) Empty(now int64) bool {
	c.Roll(now)
	return c.Cap.Rolling() && c.Held == 0 && len(c.Buckets) == 0
}

// in changes the bucket of an instant by f; it is made if it is new, and dropped if nothing is left in it.
func (c *Count) in(admitted int64, f func(b *Bucket)) {
	start := c.Cap.bucket(admitted)
	i, found := slices.BinarySearchFunc(c.Buckets, start, func(b Bucket, start int64) int {
		switch {
		case b.Start < start:
			return -1
		case b.Start > start:
			return 1
		}
		return 0
	})
	if !found {
		c.Buckets = slices.Insert(c.Buckets, i, Bucket{Start: start})
	}
	if f(&c.Buckets[i]); c.Buckets[i].Settled == 0 {
		c.Buckets = slices.Delete(c.Buckets, i, i+1)
	}
}

// reset is when the count has less: at the end of its window or, rolling, when the oldest spending leaves.
func (c *Count) reset() time.Time {
	switch {
	case !c.Cap.Rolling():
		return c.Span.End
	case len(c.Buckets) == 0:
		return time.Time{}
	}
	return At(c.Cap.leaves(c.Buckets[0].Start))
}

// fits is when a request that a rolling count refuses as spent fits, if nothing else is spent and what is held stays held;
// where that alone is in the way, when it would fit once it has settled. What is refused for other reasons does not wait
// for the window.
func (c *Count) fits(kind budget.Kind, asked int64) time.Time {
	if kind != budget.KindSpent {
		return time.Time{}
	}
	room := c.Cap.Limit - asked
	if held := c.Held - c.freed; held <= room {
		room -= held
	}
	left := c.Settled
	for _, b := range c.Buckets {
		if left = minus(left, b.Settled); left <= room {
			return At(c.Cap.leaves(b.Start))
		}
	}
	return time.Time{}
}
