package budget

import "math/bits"

// ids lead from the hash of an id to the number of its row. A bucket is one line of the processor's cache and knows a byte
// of each hash in it: whether an id is there or not takes one look at memory nearly always, and no guesses. What finds its
// bucket full goes to one of the next, and each on the way counts it, so that a search knows where to end.
type ids struct {
	buckets []idBucket
	used    int
}

type idBucket struct {
	lo   uint64 // the tags of the first eight, 0 where nothing is
	hi   uint32 // and of the last four
	over uint32 // how many have gone past
	rows [bucketRows]uint32
}

const (
	bucketRows  = 12
	bucketsFull = 9 // how many of them are used, on average, before there are more buckets
)

func newIDs() ids { return ids{buckets: make([]idBucket, 4)} }

// tagOf is the byte of a hash that a bucket knows; the others find the bucket. 0 is an empty place, and 1 could be mistaken
// for one.
func tagOf(hash uint32) uint64 { return max(uint64(hash>>24), 2) }

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// with has a bit for each place that has the tag; [spot] reads it. Above the first, it may show one whose tag differs in
// the lowest bit.
func (k *idBucket) with(tag uint64) uint64 {
	lo, hi := k.lo^tag*ones, uint64(k.hi)^tag*ones
	return (lo-ones)&^lo&highs | (hi-ones)&^hi&highs<<32>>35
}

// spot is where the lowest bit stands: the first eight have odd ones.
func spot(bit int) int { return bit>>3 + 8*(1-bit&1) }

// enter adds an id that is not there, and returns where it is.
func (t *ids) enter(hash, row uint32) uint32 {
	mask := uint32(len(t.buckets) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		k := &t.buckets[i]
		free := k.with(0)
		if free == 0 {
			k.over++
			continue
		}
		p := spot(bits.TrailingZeros64(free))
		if p < 8 {
			k.lo |= tagOf(hash) << (8 * p)
		} else {
			k.hi |= uint32(tagOf(hash) << (8 * (p - 8)))
		}
		k.rows[p] = row
		t.used++
		return i<<4 | uint32(p)
	}
}

// drop takes out what enter has put there.
func (t *ids) drop(hash, at uint32) {
	mask := uint32(len(t.buckets) - 1)
	for i := hash & mask; i != at>>4; i = (i + 1) & mask {
		t.buckets[i].over--
	}
	k := &t.buckets[at>>4]
	if p := at & 15; p < 8 {
		k.lo &^= 0xFF << (8 * p)
	} else {
		k.hi &^= 0xFF << (8 * (p - 8))
	}
	t.used--
}

// full reports whether there should be more buckets.
func (t *ids) full() bool { return t.used >= bucketsFull*len(t.buckets) }
