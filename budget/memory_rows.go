package budget

import (
	"iter"
	"maps"
	"math/bits"
)

// row is one reservation. A store keeps many, so a row has no pointers (the garbage collector never looks at it), what rows
// have in common is in their tab, and what few of them have in rest.
type row struct {
	id       [inlineID]byte
	hash     uint32 // of the id
	no       uint32 // where the row is
	tab      uint32
	at       uint32 // where the id is in the table
	length   uint8  // of the id, if it is not long
	state    rowState
	flags    rowFlags
	bound    quantities
	actual   quantities // while it is open: what was drawn from it
	admitted int64
	expires  int64
}

// inlineID is how long an id may be to be kept in the row. Those that agents make are shorter; a longer one is a string of
// its own.
const inlineID = 44

type rowState uint8

const (
	rowFree rowState = iota
	rowOpen
	rowSettled
	rowCharged
	rowExpired
	rowVoided
	rowReleased
)

var rowStates = [...]State{rowOpen: StateOpen, rowSettled: StateSettled, rowCharged: StateCharged, rowExpired: StateExpired,
	rowVoided: StateVoided, rowReleased: StateReleased}

func (s rowState) unconfirmed() bool { return s == rowCharged || s == rowExpired }

type rowFlags uint8

const (
	rowIdle rowFlags = 1 << iota
	rowLate
	rowSaid // usage was reported
	rowOdd  // there is a rest
	rowLong // the id is too long for the row
)

func (r *row) is(f rowFlags) bool { return r.flags&f != 0 }

// quantities are amounts of the meters that everybody has.
type quantities [4]int64

// slot is where quantities have a meter; customSlot for those that only rest has.
type slot uint8

const customSlot slot = 4

func slotOf(m Meter) slot {
	switch m {
	case MeterMoney:
		return 0
	case MeterTokens:
		return 1
	case MeterRequests:
		return 2
	case MeterToolCalls:
		return 3
	}
	return customSlot
}

func quantitiesOf(a *Amounts) quantities {
	return quantities{a.NanoUSD, a.Tokens, a.Requests, a.ToolCalls}
}

// rest is what a reservation has when it did not go as most do.
type rest struct {
	swap, from    string
	taken         Amounts         // from the allowance
	bound, actual map[Meter]int64 // of custom meters
	usage         Amounts         // as it was reported, if a correction has replaced it
	over          []int64         // what it added to the overrun of each count
	corrections   []correction
}

type correction struct {
	source string
	actual Amounts
}

// rows are the reservations of an account: slabs of rows, which never move, and the way from an id to its row.
type rows struct {
	ids
	slabs []*[slabRows]row
	free  []uint32
	rests map[uint32]*rest
	long  map[uint32]string
}

const slabRows = 256

func newRows() rows {
	return rows{ids: newIDs(), rests: map[uint32]*rest{}, long: map[uint32]string{}}
}

func (b *rows) row(no uint32) *row { return &b.slabs[no/slabRows][no%slabRows] }

// byID is the row of an id, nil if there is none.
func (b *rows) byID(id string, hash uint32) *row {
	mask, tag := uint32(len(b.buckets)-1), tagOf(hash)
	for i := hash & mask; ; i = (i + 1) & mask {
		k := &b.buckets[i]
		for m := k.with(tag); m != 0; m &= m - 1 {
			if r := b.row(k.rows[spot(bits.TrailingZeros64(m))]); r.hash == hash && b.has(r, id) {
				return r
			}
		}
		if k.over == 0 {
			return nil
		}
	}
}

func (b *rows) has(r *row, id string) bool {
	if r.is(rowLong) {
		return b.long[r.no] == id
	}
	return string(r.id[:r.length]) == id
}

func (b *rows) id(r *row) string {
	if r.is(rowLong) {
		return b.long[r.no]
	}
	return string(r.id[:r.length])
}

// add makes a row for an id that has none.
func (b *rows) add(id string, hash uint32) *row {
	if len(b.free) == 0 {
		b.slabs = append(b.slabs, new([slabRows]row))
		for i := len(b.slabs)*slabRows - 1; i >= (len(b.slabs)-1)*slabRows; i-- {
			b.free = append(b.free, uint32(i))
		}
	}
	no := b.free[len(b.free)-1]
	b.free = b.free[:len(b.free)-1]
	r := b.row(no)
	r.no, r.hash, r.length, r.flags = no, hash, 0, 0
	if len(id) <= inlineID {
		r.length = uint8(copy(r.id[:], id))
	} else {
		r.flags = rowLong
		b.long[no] = id
	}
	if b.full() {
		b.grow()
	}
	r.at = b.enter(hash, no)
	return r
}

func (b *rows) grow() {
	b.ids = ids{buckets: make([]idBucket, 2*len(b.buckets))}
	for r := range b.kept() {
		r.at = b.enter(r.hash, r.no)
	}
}

// remove forgets a row.
func (b *rows) remove(r *row) {
	b.drop(r.hash, r.at)
	if r.is(rowOdd) {
		delete(b.rests, r.no)
	}
	if r.is(rowLong) {
		delete(b.long, r.no)
	}
	r.state = rowFree
	b.free = append(b.free, r.no)
}

func (b *rows) odd(r *row) *rest {
	if !r.is(rowOdd) {
		r.flags |= rowOdd
		b.rests[r.no] = &rest{}
	}
	return b.rests[r.no]
}

// rest is nil for most.
func (b *rows) rest(r *row) *rest {
	if !r.is(rowOdd) {
		return nil
	}
	return b.rests[r.no]
}

// into writes the quantities, and no custom amounts.
func (q *quantities) into(a *Amounts) {
	a.NanoUSD, a.Tokens, a.Requests, a.ToolCalls = q[0], q[1], q[2], q[3]
	if a.Custom != nil {
		a.Custom = nil
	}
}

func (q *quantities) amounts(custom map[Meter]int64) Amounts {
	return Amounts{NanoUSD: q[0], Tokens: q[1], Requests: q[2], ToolCalls: q[3], Custom: maps.Clone(custom)}
}

func (b *rows) bound(r *row) Amounts {
	if o := b.rest(r); o != nil {
		return r.bound.amounts(o.bound)
	}
	return r.bound.amounts(nil)
}

func (b *rows) actual(r *row) Amounts {
	if o := b.rest(r); o != nil {
		return r.actual.amounts(o.actual)
	}
	return r.actual.amounts(nil)
}

func (b *rows) setBound(r *row, a *Amounts) {
	r.bound = quantitiesOf(a)
	if len(a.Custom) > 0 {
		b.odd(r).bound = maps.Clone(a.Custom)
	}
}

func (b *rows) setActual(r *row, a *Amounts) {
	r.actual = quantitiesOf(a)
	if len(a.Custom) > 0 {
		b.odd(r).actual = maps.Clone(a.Custom)
	} else if o := b.rest(r); o != nil {
		o.actual = nil
	}
}

func (b *rows) swap(r *row) string {
	if o := b.rest(r); o != nil {
		return o.swap
	}
	return ""
}

func (b *rows) from(r *row) string {
	if o := b.rest(r); o != nil {
		return o.from
	}
	return ""
}

func (b *rows) corrected(r *row) bool {
	o := b.rest(r)
	return o != nil && len(o.corrections) > 0
}

// usage is what was reported, of a reservation for which usage was.
func (b *rows) usage(r *row) Amounts {
	if b.corrected(r) {
		return b.rest(r).usage
	}
	return b.actual(r)
}

// kept are all rows, the open ones and the ended ones.
func (b *rows) kept() iter.Seq[*row] {
	return func(yield func(*row) bool) {
		for _, slab := range b.slabs {
			for i := range slab {
				if r := &slab[i]; r.state != rowFree && !yield(r) {
					return
				}
			}
		}
	}
}
