package budget

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// The table that leads from ids to rows is compared with a map, with hashes that collide much.
func TestRowsAreFoundByTheirIDs(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, hashes := range []uint32{1, 7, 90, 1 << 31} {
		b := newRows()
		want := map[string]*row{}
		hash := func(id string) uint32 {
			h := uint32(2166136261)
			for _, c := range []byte(id) {
				h = (h ^ uint32(c)) * 16777619
			}
			return h % hashes
		}
		for range 6000 {
			id := fmt.Sprint(rnd.IntN(300))
			if rnd.IntN(4) == 0 {
				id += strings.Repeat("x", inlineID)
			}
			r := b.byID(id, hash(id))
			if r != want[id] {
				t.Fatalf("%q is at %p, want %p", id, r, want[id])
			}
			switch {
			case r == nil:
				r = b.add(id, hash(id))
				r.state = rowOpen
				want[id] = r
			case b.id(r) != id:
				t.Fatalf("the row of %q says %q", id, b.id(r))
			case rnd.IntN(3) == 0:
				b.remove(r)
				delete(want, id)
			}
		}
		n := 0
		for r := range b.kept() {
			if want[b.id(r)] != r {
				t.Fatalf("%q is kept and should not be", b.id(r))
			}
			n++
		}
		if n != len(want) || b.used != n || len(b.long) > n || len(b.buckets) > 64 {
			t.Fatalf("%d rows, %d used, %d long, table of %d; want %d", n, b.used, len(b.long), len(b.buckets), len(want))
		}
		for _, r := range want {
			b.remove(r)
		}
		for i := range b.buckets {
			if k := &b.buckets[i]; k.lo != 0 || k.hi != 0 || k.over != 0 {
				t.Fatalf("bucket %d of an empty table has %+v", i, *k)
			}
		}
	}
}

// Leases that were left behind do not pile up, and those that stand come out in order.
func TestLeasesLeftBehindAreThrownOut(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var l leases
	standing := map[uint32]int64{}
	for no := range uint32(20_000) {
		x := lease{at: int64(no) + rnd.Int64N(50), row: no}
		standing[no] = x.at
		l.open++
		if l.crowded() {
			l.keep(func(x lease) bool { _, ok := standing[x.row]; return ok || x.row == no })
		}
		l.push(x)
		if gone := no - uint32(rnd.IntN(100)); standing[gone] != 0 && l.open > 40 {
			delete(standing, gone)
			l.open--
		}
		if len(l.items) > 70+2*l.open {
			t.Fatalf("%d leases for %d that are open", len(l.items), l.open)
		}
	}
	last, found := int64(0), 0
	for len(l.items) > 0 {
		x := l.pop()
		if x.at < last {
			t.Fatalf("%d comes after %d", x.at, last)
		}
		last = x.at
		if standing[x.row] == x.at {
			found++
		}
	}
	if found != len(standing) {
		t.Fatalf("%d of %d leases came out", found, len(standing))
	}
}
